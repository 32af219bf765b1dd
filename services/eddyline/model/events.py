"""Everything that travels on the topics, as models; and the one place where bytes become one of them.

The wire format is JSON. Every model is versioned by `v` (1, where it is missing); `schemas/` is generated from here.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Annotated, Any, Literal, Self, TypeAlias, TypeVar

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
    model_validator,
)

from eddyline.errors import InvalidEvent
from eddyline.model.ids import Person
from eddyline.settings import Events

MAX_ID_BYTES = 512
MILLISECONDS_FROM = 1e11
EARLIEST_EPOCH, LATEST_EPOCH = -62_135_596_800.0, 253_402_300_799.0  # the years 1 to 9999, which RFC 3339 can write
MAX_AHEAD_SECONDS = 86_400.0
MAX_RANK = 1000
RATING = "rating"
MAX_STRENGTH = 100.0
"""Most that one rating can weigh, either way: an absurd value must not drown a profile, or overflow it."""


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


@lru_cache(maxsize=16_384)  # every list says again since when its items are there
def format_timestamp(seconds: float) -> str:
    """RFC 3339 in UTC, to the microsecond."""
    return datetime.fromtimestamp(round(seconds, 6), UTC).isoformat().replace("+00:00", "Z")


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


def _needs(field: str) -> dict[str, JsonValue]:
    """In JSON Schema: the field is there, and not null."""
    return {"required": [field], "properties": {field: {"not": {"type": "null"}}}}


class Wire(BaseModel):
    """Common to all: strict types, no unknown fields, immutable."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, use_attribute_docstrings=True)

    v: Literal[1] = 1
    """Schema version."""

    def to_bytes(self) -> bytes:
        """The record's value: JSON without the fields that aren't set."""
        return orjson.dumps(self.model_dump(mode="json", exclude_none=True))


class Content(Wire):
    """The full state of an item. Topic `content`, key item_id; a tombstone deletes it."""

    item_id: Id
    title: Annotated[str, Field(min_length=1, max_length=1000)]
    """Embedded and displayed."""
    description: Annotated[str, Field(max_length=100_000)] | None = None
    """Embedded, as far as the model reads."""
    category: Short | None = None
    """Embedded, displayed and filterable."""
    tags: Annotated[list[Short], Field(max_length=100)] = []
    """Embedded and filterable."""
    url: Annotated[str, Field(max_length=2048)] | None = None
    image_url: Annotated[str, Field(max_length=2048)] | None = None
    language: Annotated[str, Field(min_length=2, max_length=35)] | None = None
    """BCP 47, e.g. `en`; filterable."""
    published_at: Timestamp | None = None
    """Not recommended before; also what `latest` and freshness go by (without it: the item's first arrival)."""
    expires_at: Timestamp | None = None
    """Not recommended from then on."""
    available: bool = True
    """Not recommended while false."""
    price: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    attributes: Attributes = {}
    """Anything else. Filterable where declared in the settings."""
    timestamp: Timestamp | None = None
    """When this state was true; the time of arrival where missing."""

    @model_validator(mode="after")
    def _expires_later(self) -> Content:
        if self.published_at is not None and self.expires_at is not None and self.expires_at <= self.published_at:
            raise FieldError("expires_at", "must be after published_at")
        return self


class Availability(Wire):
    """Price and stock alone, always both. Topic `availability`, key item_id.

    The topic keeps only the last record of an item, and an item that is built anew from it must come out the same.
    """

    item_id: Id
    available: bool
    """Not recommended while false."""
    price: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None
    """Null: not known, or no longer."""
    timestamp: Timestamp | None = None

    @model_validator(mode="before")
    @classmethod
    def _says_all(cls, given: Any) -> Any:
        for field in ("available", "price"):
            if isinstance(given, dict) and field not in given:
                raise FieldError(field, "is needed: price and stock replace what was said of both (price may be null)")
        return given

    def to_bytes(self) -> bytes:
        """The record's value, in which the price is always there."""
        return orjson.dumps(self.model_dump(mode="json", exclude_none=True) | {"price": self.price})


class User(Wire):
    """Onboarding answers and attributes. Topic `users`, key user_id; a tombstone erases the person."""

    user_id: Id
    interests: Annotated[list[Short], Field(max_length=100)] = []
    goals: Annotated[list[Short], Field(max_length=100)] = []
    experience: Annotated[str, Field(max_length=256)] | None = None
    segment: Short | None = None
    attributes: Attributes = {}
    timestamp: Timestamp | None = None


class Interaction(Wire):
    """What someone did. Topic `interactions`, key `u:<user_id>` or `a:<anonymous_id>`."""

    model_config = ConfigDict(
        json_schema_extra={
            "anyOf": [_needs("user_id"), _needs("anonymous_id")],
            "if": {"properties": {"type": {"const": RATING}}},
            "then": _needs("value"),
        }
    )

    type: Annotated[str, Field(min_length=1, max_length=64)]
    """view, click, like, … : one of the settings' `events.weights`."""
    item_id: Id
    user_id: Id | None = None
    """The signed-in person. One of user_id and anonymous_id is needed; with both, the event is the user's."""
    anonymous_id: Id | None = None
    event_id: Id | None = None
    """Made by the collector where missing; the same id again changes nothing."""
    session_id: Id | None = None
    timestamp: Timestamp | None = None
    """When it happened; the time of arrival where missing. At most 24 hours ahead."""
    value: Finite | None = None
    """A rating, a price."""
    dwell_ms: Annotated[float, Field(ge=0, le=86_400_000, allow_inf_nan=False)] | None = None
    request_id: Id | None = None
    """The response it came from."""
    context: Annotated[dict[Annotated[str, Field(max_length=64)], ContextValue], Field(max_length=32)] = {}
    """Surface, device, locale, …"""

    @model_validator(mode="after")
    def _has_person(self) -> Interaction:
        if self.user_id is None and self.anonymous_id is None:
            raise FieldError("user_id", "is needed, or anonymous_id")
        if self.type == RATING and self.value is None:
            raise FieldError("value", "is needed with a rating")
        return self

    @property
    def person(self) -> Person:
        """Whose profile it changes."""
        person = Person.named(self.user_id, self.anonymous_id)
        assert person is not None
        return person


class Origin(Wire):
    """Where in another log a record of our own came from."""

    log: str
    partition: int
    offset: int


class Onboarded(Wire):
    """Internal, topic `interactions`: the embedded answers of a `users` record, for the profiler."""

    type: Literal["onboarded"] = "onboarded"
    user_id: Id
    vector: list[Finite] | None = None
    """Unit length; None where nothing was answered."""
    space: str | None = None
    segment: str | None = None
    attributes: Attributes = {}
    origin: Origin

    @property
    def person(self) -> Person:
        """Whose profile it changes."""
        return Person("u", self.user_id)


class Erased(Wire):
    """Internal, topic `interactions`: the person is forgotten, and so is what they did until then."""

    type: Literal["erased"] = "erased"
    user_id: Id
    anonymous_id: Id | None = None
    """With it: the erasure of this anonymous id, as far as it is known to be the user's."""
    timestamp: Timestamp
    origin: Origin
    """The tombstone in `users`: told twice, it must not erase what came after it."""

    @property
    def person(self) -> Person:
        """Whose profile it erases."""
        return Person("u", self.user_id) if self.anonymous_id is None else Person("a", self.anonymous_id)


class Identify(Wire):
    """Someone anonymous turned out to be this user. Topic `interactions`, key `a:<anonymous_id>`.

    What they did anonymously becomes the user's, once; so does what they do under the anonymous id from then on.
    """

    type: Literal["identify"] = "identify"
    anonymous_id: Id
    user_id: Id
    event_id: Id | None = None
    """Made by the collector where missing; the same id again changes nothing."""
    session_id: Id | None = None
    timestamp: Timestamp | None = None
    """When it happened; the time of arrival where missing. At most 24 hours ahead."""
    context: Annotated[dict[Annotated[str, Field(max_length=64)], ContextValue], Field(max_length=32)] = {}

    @property
    def person(self) -> Person:
        """Whose profile is handed over."""
        return Person("a", self.anonymous_id)

    @property
    def user(self) -> Person:
        """Whose it becomes."""
        return Person("u", self.user_id)


class Transfer(Wire):
    """Internal, topic `interactions`, key `u:<user_id>`: the profile of an anonymous id, as it was when identified."""

    type: Literal["transfer"] = "transfer"
    user_id: Id
    anonymous_id: Id
    timestamp: Timestamp
    """When they were identified."""
    payload: dict[str, JsonValue]
    """The profile's payload, as it is stored."""
    vectors: dict[str, str] = {}
    """Its sums: little-endian float64 in base64, so that nothing is rounded on the way."""

    @property
    def person(self) -> Person:
        """Whose profile takes it in."""
        return Person("u", self.user_id)


class Shown(Wire):
    """Internal, topic `interactions`: items of lists that were served to a person within a minute."""

    model_config = ConfigDict(json_schema_extra={"anyOf": [_needs("user_id"), _needs("anonymous_id")]})

    type: Literal["shown"] = "shown"
    user_id: Id | None = None
    """The signed-in person. One of user_id and anonymous_id is needed; with both, it is the user's."""
    anonymous_id: Id | None = None
    timestamp: Timestamp
    """When the first of them was served; a profile keeps the minute."""
    items: Annotated[list[Id], Field(min_length=1, max_length=1000)]

    @model_validator(mode="after")
    def _has_person(self) -> Shown:
        if self.user_id is None and self.anonymous_id is None:
            raise FieldError("user_id", "is needed, or anonymous_id")
        return self

    @property
    def person(self) -> Person:
        """To whom they were shown."""
        person = Person.named(self.user_id, self.anonymous_id)
        assert person is not None
        return person


PersonEvent: TypeAlias = Interaction | Onboarded | Erased | Identify | Transfer | Shown
_INTERNAL: Mapping[str, type[Onboarded | Erased | Identify | Transfer | Shown]] = {
    "onboarded": Onboarded,
    "erased": Erased,
    "identify": Identify,
    "transfer": Transfer,
    "shown": Shown,
}


def _once_each(ranks: list[int]) -> list[int]:
    return sorted(set(ranks))


class Served(BaseModel):
    """One place of a list."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, use_attribute_docstrings=True)

    item_id: Id
    rank: Annotated[int, Field(ge=1, le=MAX_RANK)]
    """Its place, counted from 1 over all pages."""
    score: Finite | None = None
    category: Short | None = None
    published_at: Timestamp | None = None
    """When it was published, or first came: a younger one is new."""


def _check_places(items: Iterable[Served]) -> None:
    """Raise `FieldError` where two places have one item, or one rank."""
    item_ids: set[str] = set()
    ranks: set[int] = set()
    for place, one in enumerate(items):
        if one.item_id in item_ids:
            raise FieldError(f"items.{place}.item_id", "is in the list already")
        if one.rank in ranks:
            raise FieldError(f"items.{place}.rank", f"{one.rank} is another item's already")
        item_ids.add(one.item_id)
        ranks.add(one.rank)


class _Addressed(Wire):
    """Goes to one person. Topic `impressions`, key the typed person key."""

    model_config = ConfigDict(json_schema_extra={"anyOf": [_needs("user_id"), _needs("anonymous_id")]})

    request_id: Id
    """Of the response."""
    user_id: Id | None = None
    """The signed-in person. One of user_id and anonymous_id is needed; with both, it is the user's."""
    anonymous_id: Id | None = None
    session_id: Id | None = None
    surface: Short | None = None
    """Where the list is, in the app's own words."""
    strategy: Short | None = None
    """What it is ranked by."""
    experiment: Short | None = None
    variant: Short | None = None
    """Of the experiment; without one what the response says, or a name of the app's own."""

    @model_validator(mode="after")
    def _has_person(self) -> Self:
        if self.user_id is None and self.anonymous_id is None:
            raise FieldError("user_id", "is needed, or anonymous_id")
        return self

    @property
    def person(self) -> Person:
        """To whom it went."""
        person = Person.named(self.user_id, self.anonymous_id)
        assert person is not None
        return person


class Impression(_Addressed):
    """Internal, topic `impressions`: a response of the reader, as it was served."""

    type: Literal["served"] = "served"
    revision: Short | None = None
    """Of the experiment's definition."""
    forced: bool = False
    """The variant was forced by a header: it isn't measured."""
    batch: bool = False
    """The list was made ahead: it counts only once it is opened."""
    degraded: bool = False
    """It came from a cache, since the vector store didn't answer."""
    took_ms: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    """Time to make the response."""
    items: Annotated[list[Served], Field(max_length=1000)]
    """Empty where nothing was found."""
    timestamp: Timestamp


class Seen(_Addressed):
    """What a person really saw: an event of type `impression`, which goes to the topic `impressions`.

    Of a list of the reader, by its `request_id`: the `positions` that were seen, or, without any, all of it. With
    `items` it is a list of another system, which counts as served and seen at once.
    """

    type: Literal["impression"] = "impression"
    event_id: Id | None = None
    """Made by the collector where missing."""
    positions: (
        Annotated[
            list[Annotated[int, Field(ge=1, le=MAX_RANK)]],
            Field(min_length=1, max_length=1000),
            AfterValidator(_once_each),
        ]
        | None
    ) = None
    """Ranks; one that is there twice counts once."""
    items: Annotated[list[Served], Field(min_length=1, max_length=1000)] | None = None
    """Of another system's list."""
    revision: Short | None = None
    """Of the experiment's definition, as its assignment says it."""
    timestamp: Timestamp | None = None
    """When it was seen; the time of arrival where missing. At most 24 hours ahead."""
    context: Annotated[dict[Annotated[str, Field(max_length=64)], ContextValue], Field(max_length=32)] = {}
    """Device, locale, …"""

    @model_validator(mode="before")
    @classmethod
    def _is_of_a_list(cls, given: Any) -> Any:
        if isinstance(given, dict) and "item_id" in given:
            raise FieldError(
                "item_id",
                "is none of an impression's, which is of a list: name the list's request_id, and the positions seen, "
                "or the items of another system's list",
            )
        return given

    @model_validator(mode="after")
    def _is_of_one_list(self) -> Self:
        if self.items is None:
            for field in ("surface", "strategy", "experiment", "variant", "revision"):
                if getattr(self, field) is not None:
                    raise FieldError(field, "belongs to the list of another system: give its items too")
            return self
        if self.positions is not None:
            raise FieldError("positions", "are of the reader's own list: leave items out, or name just the items seen")
        _check_places(self.items)
        if self.experiment is not None and self.variant is None:
            raise FieldError("variant", "is needed with an experiment")
        if self.revision is not None and self.experiment is None:
            raise FieldError("experiment", "is needed with a revision")
        return self


ImpressionRecord: TypeAlias = Impression | Seen


class Activity(Wire):
    """Internal, topic `activity`, key item_id: this item came, after these recent ones of the same person.

    With a `position` it is the other way round: one of `recents`, the only one, came after this item.
    """

    item_id: Id
    recents: list[str] = []
    """Newest first, without the item itself."""
    position: Annotated[int, Field(ge=0, le=1000)] | None = None
    """Where this item was among the person's recents, 0 being the newest, when the other came. It makes no trend."""
    weight: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    timestamp: Timestamp
    source: str
    """`log:partition:offset` of the interaction; with `/position` where there is one."""


Model = TypeVar("Model", bound=Wire)


def parse(model: type[Model], data: bytes | None) -> Model:
    """Read one value. Raises `InvalidEvent` with the field and the reason."""
    return validate(model, load_json(data))


def validate(model: type[Model], value: Any) -> Model:
    """Check one already decoded value. Raises `InvalidEvent` with the field and the reason."""
    if not isinstance(value, dict):
        raise InvalidEvent(f"must be a JSON object, not {_kind(value)}")
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise InvalidEvent(*explain(error)) from None


def check_id(value: str, field: str) -> str:
    """An id that comes outside of a JSON value, as in a key or a path. Raises `InvalidEvent`."""
    try:
        return _ID.validate_python(value)
    except ValidationError as error:
        raise InvalidEvent(explain(error)[0], field) from None


def load_json(data: bytes | None) -> Any:
    """Decode JSON (NaN, Infinity and invalid UTF-8 are none). Raises `InvalidEvent`."""
    if data is None:
        raise InvalidEvent("a tombstone has no meaning here")
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise InvalidEvent(f"is not valid JSON: {error}") from None


def parse_person_event(data: bytes | None) -> PersonEvent:
    """Read a record of `interactions`: someone's, or one of our own. Raises `InvalidEvent`."""
    value = load_json(data)
    kind = value.get("type") if isinstance(value, dict) else None
    model = _INTERNAL.get(kind) if isinstance(kind, str) else None
    return validate(Interaction, value) if model is None else validate(model, value)


def parse_impression(data: bytes | None) -> ImpressionRecord:
    """Read a record of `impressions`. Raises `InvalidEvent`."""
    value = load_json(data)
    kind = value.get("type") if isinstance(value, dict) else None
    if kind not in (None, "served", "impression"):
        raise InvalidEvent("must be 'served' or 'impression' on this topic", "type")
    return validate(Seen, value) if kind == "impression" else validate(Impression, value)


def timely(timestamp: float | None, arrived: float) -> float:
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


def check_type(event: Interaction, weights: Mapping[str, float]) -> None:
    """Raise `InvalidEvent` unless the type is configured."""
    if event.type not in weights:
        known = ", ".join(sorted(weights))
        raise InvalidEvent(
            f"unknown type {event.type[:64]!r}; known are {known}; add it to events.weights in the settings", "type"
        )


def strength(event: Interaction, settings: Events) -> float:
    """The signed weight of an event: its type's, times what its rating or its dwell time says.

    A rating weighs (value - neutral) x scale, at most `MAX_STRENGTH` either way; a view or click with a dwell time d
    weighs log2(1 + d / dwell_seconds), within a quarter and twice its type's weight.

    Raises `InvalidEvent` for an unknown type.
    """
    check_type(event, settings.weights)
    weight = settings.weights[event.type]
    if event.type == RATING and event.value is not None:
        given = weight * (event.value - settings.rating_neutral) * settings.rating_scale
        return min(MAX_STRENGTH, max(-MAX_STRENGTH, given))
    if event.dwell_ms is not None and weight > 0 and event.type in ("view", "click"):
        seconds = event.dwell_ms / 1000
        return weight * min(2.0, max(0.25, math.log2(1 + seconds / settings.dwell_seconds)))
    return weight


def cloud_event(said: Wire, event_id: str, source: str) -> tuple[tuple[str, bytes], ...]:
    """CloudEvents 1.0 attributes as record headers (Kafka binding, binary mode). `source`: the service that speaks."""
    attributes = {
        "ce_specversion": "1.0",
        "ce_id": event_id,
        "ce_source": f"/eddyline/{source}",
        "ce_type": f"io.eddyline.{type(said).__name__.lower()}.v{said.v}",
        "content-type": "application/json",
    }
    return tuple((name, value.encode()) for name, value in attributes.items())


def explain(error: ValidationError) -> tuple[str, str | None]:
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
