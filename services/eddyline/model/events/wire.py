"""What all records share: the base of the models, the types of their fields, and how bytes become one of them."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Annotated, Any, ClassVar, Literal, Self, TypeAlias, TypeVar

import orjson
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    TypeAdapter,
    ValidationError,
    model_validator,
)
from pydantic_core import ErrorDetails

from eddyline.errors import InvalidEvent
from eddyline.model.events.odd_fields import MEMBERWISE, LeftOut, Path, odd_path, without, without_empty_texts
from eddyline.model.events.record_formats import load_record
from eddyline.model.events.timestamps import RECEIVED
from eddyline.model.ids import Person

MAX_ID_BYTES = 512
ATTRIBUTE_BYTES = 16_384
"""Most bytes of a person's or an item's attributes, as JSON: they travel, and are stored, in several records."""
CONTEXT_BYTES = 8_192
"""Most bytes of a context, as JSON: interactions that wait for their items keep theirs in the profile."""
_PASSES = 5
"""How often what is left of an event is checked again: a value that is one of too many may be wrong in itself, too."""
_NULL = "is null"
VERSION: Literal[1] = 1
"""Of all models' schemas."""


class FieldError(ValueError):
    """A complaint of a whole model about one of its fields."""

    def __init__(self, field: str, reason: str) -> None:
        self.field = field
        super().__init__(reason)


def _id(value: str) -> str:
    try:
        size = len(orjson.dumps(value)) - 2
    except TypeError:
        raise ValueError("must be valid UTF-8") from None
    if not 1 <= size <= MAX_ID_BYTES:
        raise ValueError(f"must be 1 to {MAX_ID_BYTES} bytes of UTF-8, as JSON writes it; this is {size}")
    if "\0" in value:
        raise ValueError("must not contain a NUL")
    return value


Id = Annotated[str, Field(min_length=1, max_length=MAX_ID_BYTES), AfterValidator(_id)]
_ID: TypeAdapter[str] = TypeAdapter(Id)
Finite = Annotated[float, Field(allow_inf_nan=False)]
Short = Annotated[str, Field(min_length=1, max_length=256)]
Scalar: TypeAlias = str | int | Finite | bool


def _takes_at_most(limit: int) -> AfterValidator:
    """Bound a value by the bytes that it takes as JSON, which characters say little of: an escape takes six."""

    def check(value: Any) -> Any:
        size = len(orjson.dumps(value))
        if size > limit:
            raise ValueError(f"takes {size:,} bytes as JSON, at most {limit:,} are taken")
        return value

    return AfterValidator(check)


Context = Annotated[
    dict[Annotated[str, Field(max_length=64)], Annotated[str, Field(max_length=1024)] | int | Finite | bool],
    Field(max_length=32),
    _takes_at_most(CONTEXT_BYTES),
]


def _without_nulls(attributes: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in attributes.items() if value is not None}


Attributes = Annotated[
    dict[Annotated[str, Field(min_length=1, max_length=64)], Scalar | list[Scalar] | None],
    Field(max_length=64),
    _takes_at_most(ATTRIBUTE_BYTES),
    AfterValidator(_without_nulls),
]


def requires_field(field: str) -> dict[str, JsonValue]:
    """Return the JSON Schema of what has the field, and not null."""
    return {"required": [field], "properties": {field: {"not": {"type": "null"}}}}


class WireModel(BaseModel):
    """Common to all: strict types, no unknown fields, immutable."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, use_attribute_docstrings=True)

    ce_name: ClassVar[str]
    """The record's name in the CloudEvents attribute `ce_type`: part of the contract, whatever the class is called."""
    may_be_left_out: ClassVar[frozenset[str]] = frozenset()
    """Optional fields whose values don't cost the rest, however odd they are (see `odd_fields`)."""

    v: Literal[1] = VERSION
    """Schema version."""

    def to_bytes(self) -> bytes:
        """Return the record's value: JSON without the fields that aren't set."""
        return orjson.dumps(self.model_dump(mode="json", exclude_none=True))


class PersonRecord(WireModel):
    """Something of one person, whom one of two ids names."""

    model_config = ConfigDict(json_schema_extra={"anyOf": [requires_field("user_id"), requires_field("anonymous_id")]})

    user_id: Id | None = None
    """The signed-in person. One of user_id and anonymous_id is needed; with both, it is the user's."""
    anonymous_id: Id | None = None

    @model_validator(mode="after")
    def _has_person(self) -> Self:
        if self.user_id is None and self.anonymous_id is None:
            raise FieldError("user_id", "is needed, or anonymous_id")
        return self

    @property
    def person(self) -> Person:
        """Return whose it is."""
        person = Person.named(self.user_id, self.anonymous_id)
        assert person is not None
        return person


Model = TypeVar("Model", bound=WireModel)


def parse_event(model: type[Model], data: bytes | None, left_out: list[LeftOut] | None = None) -> Model:
    """Read one value. Raises `InvalidEvent` with the field and the reason; see `validate_event`."""
    return validate_event(model, load_record(data), left_out)


def validate_event(model: type[Model], value: Any, left_out: list[LeftOut] | None = None) -> Model:
    """Check one already decoded value by the rule of `odd_fields`; what that leaves out is added to `left_out`.

    Raises `InvalidEvent` with the field and the reason.
    """
    if not isinstance(value, dict):
        raise InvalidEvent(f"must be a JSON object, not {_kind(value)}")
    value = without_empty_texts(value, _required(model))
    odd: dict[str, str] = {}
    for _ in range(_PASSES):
        try:
            event = model.model_validate(value, context=RECEIVED)
        except ValidationError as error:
            value = without(value, _odd_paths(model, value, error, odd))
        else:
            if left_out is not None:
                left_out.extend(LeftOut(field, reason) for field, reason in odd.items())
            return event
    raise InvalidEvent("has too many values that can't be right")


@lru_cache
def _required(model: type[WireModel]) -> frozenset[str]:
    return frozenset(name for name, field in model.model_fields.items() if field.is_required())


def _odd_paths(model: type[WireModel], value: Any, error: ValidationError, odd: dict[str, str]) -> set[Path]:
    """Return the paths of what is to be left out, and note why in `odd`. Raises `InvalidEvent` where it may not be."""
    paths: dict[Path, tuple[str, str]] = {}
    beyond: set[Path] = set()
    for complaint in error.errors(include_url=False):
        path = odd_path(value, complaint["loc"], complaint.get("input"), model.may_be_left_out)
        reason, field = explain_complaint(complaint)
        if path is None:
            before = odd.get(field or "", _NULL)
            raise InvalidEvent(reason if before == _NULL else before, field)
        name = ".".join(map(str, path)) if path[0] in MEMBERWISE else field or ""
        paths.setdefault(path, (name, reason))
        if complaint["type"] == "too_long" and isinstance(complaint.get("input"), list):
            beyond.update((*path, n) for n in range(complaint["ctx"]["max_length"], complaint["ctx"]["actual_length"]))
    # Of a list in a union, it is said that it is no text, too: what is odd is in it.
    deepest = [path for path in paths if not any(other[: len(path)] == path for other in paths if other != path)]
    for path in deepest:
        name, reason = paths[path]
        odd.setdefault(name, reason)
    return {path for path in deepest if not any(one[:-1] == path for one in beyond)} | beyond


def check_id(value: str, field: str) -> str:
    """Check an id that comes outside of a JSON value, as in a key or a path. Raises `InvalidEvent`."""
    try:
        return _ID.validate_python(value)
    except ValidationError as error:
        raise InvalidEvent(explain_validation_error(error)[0], field) from None


def load_json(data: bytes) -> Any:
    """Decode JSON (NaN, Infinity and invalid UTF-8 are none). Raises `InvalidEvent`."""
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise InvalidEvent(f"is not valid JSON: {error}") from None


def cloud_event_headers(
    event: WireModel | type[WireModel], event_id: str, source: str
) -> tuple[tuple[str, bytes], ...]:
    """Return the CloudEvents 1.0 attributes as record headers (Kafka binding, binary mode). `source`: its sender."""
    version, *others = _constant_headers(event.ce_name, source)
    return (version, ("ce_id", event_id.encode()), *others)


def event_type(ce_name: str) -> str:
    """Return the CloudEvents type of an event."""
    return f"io.eddyline.{ce_name}.v{VERSION}"


@lru_cache
def _constant_headers(ce_name: str, source: str) -> tuple[tuple[str, bytes], ...]:
    attributes = {
        "ce_specversion": "1.0",
        "ce_source": f"/eddyline/{source}",
        "ce_type": event_type(ce_name),
        "content-type": "application/json",
    }
    return tuple((name, value.encode()) for name, value in attributes.items())


def explain_validation_error(error: ValidationError) -> tuple[str, str | None]:
    """Return the first of pydantic's complaints as (reason, dotted field)."""
    return explain_complaint(error.errors(include_url=False)[0])


def explain_complaint(first: ErrorDetails) -> tuple[str, str | None]:
    """Return one of pydantic's complaints as (reason, dotted field)."""
    path, kind, given = _parts(first["loc"]), first["type"], first.get("input")
    cause = first.get("ctx", {}).get("error")
    if isinstance(cause, FieldError):
        path.append(cause.field)
    field = ".".join(path) or None
    if kind == "missing":
        return "is needed", field
    if kind == "extra_forbidden":
        return "there is no such field", field
    reason = first["msg"].removeprefix("Value error, ")
    if given is None and first["type"] != "value_error":
        reason = _NULL
    shown = isinstance(given, str | int | float | bool) and kind not in ("value_error",)
    return reason + (f" (it is {_clip(given)})" if shown else ""), field


def _parts(location: Iterable[int | str]) -> list[str]:
    # pydantic names the branch of a union it tried ('list[str]', 'float'): no field of the sender's.
    names = {"str", "int", "float", "bool", "constrained-str", "constrained-float"}
    return [str(part) for part in location if not (isinstance(part, str) and (part in names or "[" in part))]


def _clip(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "…'"


def _kind(value: Any) -> str:
    names = {list: "a list", str: "a string", bool: "a boolean", int: "a number", float: "a number"}
    return names.get(type(value), "null")
