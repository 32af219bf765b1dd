"""What people did, and what else changes a profile."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal, TypeAlias

from pydantic import ConfigDict, Field, JsonValue, model_validator

from eddyline.errors import InvalidEvent
from eddyline.model.events.odd_fields import LeftOut
from eddyline.model.events.record_formats import load_record
from eddyline.model.events.timestamps import Timestamp
from eddyline.model.events.wire import (
    Attributes,
    Context,
    FieldError,
    Finite,
    Id,
    PersonRecord,
    WireModel,
    requires_field,
    validate_event,
)
from eddyline.model.ids import Person
from eddyline.model.offsets import LogPosition
from eddyline.settings import EventSettings

RATING = "rating"
MAX_STRENGTH = 100.0
"""What one rating can weigh, either way: an absurd value must not drown a profile, or overflow it."""


class Interaction(PersonRecord):
    """What someone did. Topic `interactions`, key `u:<user_id>` or `a:<anonymous_id>`."""

    ce_name: ClassVar = "interaction"
    may_be_left_out: ClassVar = frozenset({"session_id", "value", "dwell_ms", "request_id", "context"})

    model_config = ConfigDict(
        json_schema_extra={
            "anyOf": [requires_field("user_id"), requires_field("anonymous_id")],
            "if": {"properties": {"type": {"const": RATING}}},
            "then": requires_field("value"),
        }
    )

    type: Annotated[str, Field(min_length=1, max_length=64)]
    """view, click, like, … : one of the settings' `events.weights`."""
    item_id: Id
    event_id: Id | None = None
    """Made by the collector where missing; the same id again, of the same type and item, changes nothing."""
    session_id: Id | None = None
    timestamp: Timestamp | None = None
    """When it happened; the time of arrival where missing. At most 24 hours ahead."""
    value: Finite | None = None
    """A rating, a price."""
    dwell_ms: Annotated[float, Field(ge=0, le=86_400_000, allow_inf_nan=False)] | None = None
    request_id: Id | None = None
    """The response it came from."""
    context: Context = {}
    """Surface, device, locale, …"""

    def scoped_id(self, place: str) -> str:
        """Return what a repeat is known by: its id (its `place` in the log, where it has none) within its type and
        item, since an order's id may stand on each of its lines."""
        return f"{self.event_id or place}\0{self.type}\0{self.item_id}"

    @model_validator(mode="after")
    def _has_value(self) -> Interaction:
        if self.type == RATING and self.value is None:
            raise FieldError("value", "is needed with a rating")
        return self


class RecordOrigin(WireModel):
    """Where in another log a record of our own came from."""

    ce_name: ClassVar = "origin"

    log: str
    partition: int
    offset: int

    @property
    def position(self) -> LogPosition:
        """Return the same as a plain tuple."""
        return LogPosition(self.log, self.partition, self.offset)


class Onboarded(WireModel):
    """Internal, topic `interactions`: the embedded answers of a `users` record, for the profiler."""

    ce_name: ClassVar = "onboarded"

    type: Literal["onboarded"] = "onboarded"
    user_id: Id
    vector: list[Finite] | None = None
    """As the encoder of `space` makes it; None where nothing was answered."""
    space: str | None = None
    segment: str | None = None
    attributes: Attributes = {}
    origin: RecordOrigin

    @property
    def person(self) -> Person:
        """Return the person whose profile it changes."""
        return Person("u", self.user_id)


class Erased(PersonRecord):
    """Internal, topic `interactions`: the person is forgotten, and so is what they did until then.

    With both ids: the anonymous one, as far as it is known to be the user's. With the anonymous one alone: unless it is
    somebody's by now.
    """

    ce_name: ClassVar = "erased"

    type: Literal["erased"] = "erased"
    timestamp: Timestamp
    origin: RecordOrigin | None = None
    """The tombstone in `users`: repeated, it must not erase what came after it. None where nothing but this record
    says so."""

    @property
    def person(self) -> Person:
        """Return the person whose profile it erases."""
        if self.anonymous_id is not None:
            return Person("a", self.anonymous_id)
        assert self.user_id is not None
        return Person("u", self.user_id)


class Identify(WireModel):
    """Someone anonymous turned out to be this user. Topic `interactions`, key `a:<anonymous_id>`.

    What they did anonymously becomes the user's, once; so does what they do under the anonymous id from then on.
    """

    ce_name: ClassVar = "identify"
    may_be_left_out: ClassVar = frozenset({"session_id", "context"})

    type: Literal["identify"] = "identify"
    anonymous_id: Id
    user_id: Id
    event_id: Id | None = None
    """Made by the collector where missing; the same id again changes nothing."""
    session_id: Id | None = None
    timestamp: Timestamp | None = None
    """When it happened; the time of arrival where missing. At most 24 hours ahead."""
    context: Context = {}

    @property
    def person(self) -> Person:
        """Return the anonymous person whose profile is handed over."""
        return Person("a", self.anonymous_id)

    @property
    def user(self) -> Person:
        """Return the user whose profile it becomes."""
        return Person("u", self.user_id)


class Transfer(WireModel):
    """Internal, topic `interactions`, key `u:<user_id>`: the profile of an anonymous id, as it was when identified."""

    ce_name: ClassVar = "transfer"

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
        """Return the user whose profile absorbs it."""
        return Person("u", self.user_id)


class Exposure(PersonRecord):
    """Internal, topic `interactions`: items of lists that were served to a person within a minute."""

    ce_name: ClassVar = "shown"

    type: Literal["shown"] = "shown"
    timestamp: Timestamp
    """When the first of them was served; a profile keeps the minute."""
    items: Annotated[list[Id], Field(min_length=1, max_length=1000)]


INTERNAL_EVENTS = (Onboarded, Erased, Transfer, Exposure)
"""What only services write."""
PersonEvent: TypeAlias = Interaction | Onboarded | Erased | Identify | Transfer | Exposure
_INTERNAL: Mapping[str, type[Onboarded | Erased | Identify | Transfer | Exposure]] = {
    "onboarded": Onboarded,
    "erased": Erased,
    "identify": Identify,
    "transfer": Transfer,
    "shown": Exposure,
}


def parse_person_event(data: bytes | None, left_out: list[LeftOut] | None = None) -> PersonEvent:
    """Read a record of `interactions`: someone's, or one of our own. Raises `InvalidEvent`; see `validate_event`."""
    value = load_record(data)
    kind = value.get("type") if isinstance(value, dict) else None
    model = _INTERNAL.get(kind) if isinstance(kind, str) else None
    return validate_event(Interaction, value, left_out) if model is None else validate_event(model, value)


def interaction_weight(event: Interaction, settings: EventSettings) -> float:
    """Return the signed weight of an event: its type's, times a factor for its rating or its dwell time.

    A rating weighs (value - neutral) x scale, at most `MAX_STRENGTH` either way; a view or click with a dwell time d
    weighs log2(1 + d / dwell_seconds), within a quarter and twice its type's weight.

    Raises `InvalidEvent` for an unknown type.
    """
    weight = settings.weights.get(event.type)
    if weight is None:
        known = ", ".join(sorted(settings.weights))
        raise InvalidEvent(
            f"unknown type {event.type[:64]!r}; known are {known}; add it to events.weights in the settings", "type"
        )
    if event.type == RATING and event.value is not None:
        given = weight * (event.value - settings.rating_neutral) * settings.rating_scale
        return min(MAX_STRENGTH, max(-MAX_STRENGTH, given))
    if event.dwell_ms is not None and weight > 0 and event.type in ("view", "click"):
        seconds = event.dwell_ms / 1000
        return weight * min(2.0, max(0.25, math.log2(1 + seconds / settings.dwell_seconds)))
    return weight
