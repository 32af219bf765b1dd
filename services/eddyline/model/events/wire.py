"""What all records share: the base of the models, the types of their fields, and how bytes become one of them."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from functools import lru_cache
from typing import Annotated, Any, ClassVar, Literal, TypeAlias, TypeVar

import orjson
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    PlainSerializer,
    TypeAdapter,
    ValidationError,
    WithJsonSchema,
)

from eddyline.errors import InvalidEvent

MAX_ID_BYTES = 512
MILLISECONDS_FROM = 1e11
EARLIEST_EPOCH, LATEST_EPOCH = -62_135_596_800.0, 253_402_300_799.0  # the years 1 to 9999, which RFC 3339 can write
MAX_AHEAD_SECONDS = 86_400.0
_DURATION = re.compile(r"([1-9][0-9]{0,5})([mhd])")
_DURATION_UNITS = {"m": 60.0, "h": 3600.0, "d": 86_400.0}


class FieldError(ValueError):
    """A complaint of a whole model about one of its fields."""

    def __init__(self, field: str, reason: str) -> None:
        self.field = field
        super().__init__(reason)


def _id(value: str) -> str:
    size = len(value.encode("utf-8", "surrogatepass"))
    if not 1 <= size <= MAX_ID_BYTES:
        raise ValueError(f"must be 1 to {MAX_ID_BYTES} bytes of UTF-8, this is {size}")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError("must be valid UTF-8") from None
    if "\0" in value:
        raise ValueError("must not contain a NUL")
    return value


def parse_timestamp(value: Any) -> float:
    """Epoch seconds from RFC 3339 with an offset, or from an epoch number (seconds; milliseconds from 1e11 on).

    Raises ValueError saying what is wrong.
    """
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError("must be RFC 3339 with an offset, or an epoch number")
    if isinstance(value, str):
        try:
            parsed = datetime.fromisoformat(value)
        except ValueError:
            raise ValueError(f"{value[:40]!r} is not RFC 3339, e.g. 2026-03-01T12:00:00Z") from None
        if parsed.tzinfo is None:
            raise ValueError(f"{value!r} has no offset: add Z or, say, +01:00")
        seconds = parsed.timestamp()
    else:
        seconds = float(value)
        seconds = seconds / 1000 if abs(seconds) >= MILLISECONDS_FROM else seconds
    if not math.isfinite(seconds):
        raise ValueError("must be finite")
    if not EARLIEST_EPOCH <= seconds <= LATEST_EPOCH:
        raise ValueError(f"{value!r} is " + ("before the year 1" if seconds < 0 else "beyond the year 9999"))
    return seconds


def parse_timestamp_text(text: str) -> float:
    """Return the epoch seconds of a query parameter: as `parse_timestamp`, where a number comes as text.

    Raises ValueError saying what is wrong.
    """
    given: Any = text
    try:
        given = float(text)
    except ValueError:
        pass
    else:
        if not math.isfinite(given):
            raise ValueError("must be RFC 3339 with an offset, or an epoch number")
    return parse_timestamp(given)


@lru_cache(maxsize=16_384)  # every list says again since when its items are there
def format_timestamp(seconds: float) -> str:
    """RFC 3339 in UTC, to the microsecond."""
    return datetime.fromtimestamp(round(seconds, 6), UTC).isoformat().replace("+00:00", "Z")


def parse_duration(text: str) -> float:
    """Parse a duration, e.g. 30m, 24h or 7d, into seconds. Raises ValueError."""
    match = _DURATION.fullmatch(text)
    if match is None:
        raise ValueError(f"{text[:20]!r} isn't a duration: write minutes, hours or days, e.g. 30m, 24h or 7d")
    return int(match[1]) * _DURATION_UNITS[match[2]]


def _parsed_by(parse: Callable[[str], float]) -> AfterValidator:
    """Validate a text that stays one until it is used."""

    def check(text: str) -> str:
        parse(text)
        return text

    return AfterValidator(check)


TimeText = Annotated[str, _parsed_by(parse_timestamp_text)]
"""A time in a query: RFC 3339 with an offset, or an epoch number."""
DurationText = Annotated[str, _parsed_by(parse_duration)]
Id = Annotated[str, Field(min_length=1, max_length=MAX_ID_BYTES), AfterValidator(_id)]
_ID: TypeAdapter[str] = TypeAdapter(Id)
Timestamp = Annotated[
    float,
    BeforeValidator(parse_timestamp),
    PlainSerializer(format_timestamp, return_type=str, when_used="json"),
    WithJsonSchema(
        {
            "anyOf": [{"type": "string", "format": "date-time"}, {"type": "number"}],
            "description": "RFC 3339 with an offset, or epoch seconds (milliseconds from 1e11 on)",
        }
    ),
]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Short = Annotated[str, Field(min_length=1, max_length=256)]
Scalar: TypeAlias = str | int | Finite | bool
ContextValue: TypeAlias = Annotated[str, Field(max_length=1024)] | int | Finite | bool
Attributes = Annotated[
    dict[Annotated[str, Field(min_length=1, max_length=64)], Scalar | list[Scalar] | None], Field(max_length=64)
]


def requires_field(field: str) -> dict[str, JsonValue]:
    """In JSON Schema: the field is there, and not null."""
    return {"required": [field], "properties": {field: {"not": {"type": "null"}}}}


class WireModel(BaseModel):
    """Common to all: strict types, no unknown fields, immutable."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, use_attribute_docstrings=True)

    ce_name: ClassVar[str]
    """The record's name in the CloudEvents attribute `ce_type`: part of the contract, whatever the class is called."""

    v: Literal[1] = 1
    """Schema version."""

    def to_bytes(self) -> bytes:
        """The record's value: JSON without the fields that aren't set."""
        return orjson.dumps(self.model_dump(mode="json", exclude_none=True))


Model = TypeVar("Model", bound=WireModel)


def parse_event(model: type[Model], data: bytes | None) -> Model:
    """Read one value. Raises `InvalidEvent` with the field and the reason."""
    return validate_event(model, load_json(data))


def validate_event(model: type[Model], value: Any) -> Model:
    """Check one already decoded value. Raises `InvalidEvent` with the field and the reason."""
    if not isinstance(value, dict):
        raise InvalidEvent(f"must be a JSON object, not {_kind(value)}")
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise InvalidEvent(*explain_validation_error(error)) from None


def check_id(value: str, field: str) -> str:
    """An id that comes outside of a JSON value, as in a key or a path. Raises `InvalidEvent`."""
    try:
        return _ID.validate_python(value)
    except ValidationError as error:
        raise InvalidEvent(explain_validation_error(error)[0], field) from None


def load_json(data: bytes | None) -> Any:
    """Decode JSON (NaN, Infinity and invalid UTF-8 are none). Raises `InvalidEvent`."""
    if data is None:
        raise InvalidEvent("a tombstone has no meaning here")
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise InvalidEvent(f"is not valid JSON: {error}") from None


def clamp_event_time(timestamp: float | None, arrived: float) -> float:
    """When it happened, in epoch seconds: `arrived` where unknown, or where it is at most 24 h ahead of it.

    Raises `InvalidEvent` when it is more than 24 h ahead, or before 1970.
    """
    if timestamp is None:
        return arrived
    if timestamp > arrived + MAX_AHEAD_SECONDS:
        raise InvalidEvent(f"{format_timestamp(timestamp)} is more than 24 hours ahead", "timestamp")
    if timestamp < 0:
        raise InvalidEvent(f"{format_timestamp(timestamp)} is before 1970", "timestamp")
    return min(timestamp, arrived)


def cloud_event_headers(said: WireModel, event_id: str, source: str) -> tuple[tuple[str, bytes], ...]:
    """CloudEvents 1.0 attributes as record headers (Kafka binding, binary mode). `source`: the service that speaks."""
    attributes = {
        "ce_specversion": "1.0",
        "ce_id": event_id,
        "ce_source": f"/eddyline/{source}",
        "ce_type": f"io.eddyline.{said.ce_name}.v{said.v}",
        "content-type": "application/json",
    }
    return tuple((name, value.encode()) for name, value in attributes.items())


def explain_validation_error(error: ValidationError) -> tuple[str, str | None]:
    """The first of pydantic's complaints as (reason, dotted field)."""
    first = error.errors(include_url=False)[0]
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
