"""A record of `interactions`, read once into all that the profiler needs of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from eddyline.adapters.kafka import Record
from eddyline.errors import InvalidEvent, Misconfigured
from eddyline.model.events import (
    Exposure,
    Identify,
    Interaction,
    LeftOut,
    Onboarded,
    PersonEvent,
    Transfer,
    clamp_event_time,
    interaction_weight,
    parse_person_event,
)
from eddyline.model.events.timestamps import MAX_AHEAD_SECONDS
from eddyline.model.forwarding import ForwardedFrom
from eddyline.model.ids import Person
from eddyline.model.placed_time import place_of
from eddyline.model.placeholders import refuse_placeholders
from eddyline.model.profile import Profile, unpack_profile
from eddyline.model.profile.snapshot_check import check_snapshot, check_vector
from eddyline.model.signatures import require_author
from eddyline.profiler.item_cache import ItemVector
from eddyline.settings import EventSettings, ProfileSettings

GROUP = "profiler"
HEADER_BYTES = 16_384
"""Most bytes of a record's headers: they travel with it, and wait with it in the profile."""


@dataclass(frozen=True, slots=True)
class ParsedEvent:
    """An event, with everything of its record and of the settings that folding it takes.

    `event` is None where the record was forwarded, by a profiler that could read it, and this one can't (other
    settings; `error` says why). Its origin counts as applied, so that what follows doesn't seem to have come through a
    gap; then it is a dead letter.
    """

    record: Record
    person: Person
    """Whose profile it changes."""
    event: PersonEvent | None
    time: float
    """When it happened, in epoch seconds; of what people and apps send, never after it arrived."""
    weight: float = 0.0
    """Of an interaction: its signed weight."""
    forwarded_from: ForwardedFrom | None = None
    snapshot: Profile | None = None
    """Of a transfer: the profile in it. Not to be changed."""
    error: str = ""
    forwarding_ids: Sequence[str] = ()
    """Of a user's erasure: anonymous ids that forward to them, and which their profile may no longer name."""

    @property
    def ingest_time(self) -> float:
        """When the broker got it, in epoch seconds."""
        return self.record.timestamp / 1000

    @property
    def place(self) -> int:
        """Where it comes among what happened at the same time (`model.placed_time`)."""
        forwarded, record = self.forwarded_from, self.record
        return place_of(record.partition, record.offset) if forwarded is None else forwarded.place

    @property
    def event_id(self) -> str:
        """The event's own id, or the position where it was first."""
        own = self.event.event_id if isinstance(self.event, Interaction | Identify) else None
        return own or self.record.place

    @property
    def scoped_id(self) -> str:
        """What a repeat of it is known by: its id, of an interaction within its type and item."""
        event, place = self.event, self.record.place
        return event.scoped_id(place) if isinstance(event, Interaction) else self.event_id

    @property
    def experiment_key(self) -> str:
        """The typed key under which an experiment knew the person: with both ids, it is still the anonymous one that
        says who they were before they signed in; so it is in what an anonymous id forwards."""
        named = isinstance(self.event, Interaction | Identify | Exposure) and self.event.anonymous_id
        return Person("a", named).key if named else self.person.key

    def incomparable(self, reference: ItemVector | None) -> str:
        """Say why the vectors that the record brings can't be compared with an item's; nothing where they can."""
        if reference is None or not isinstance(self.event, Onboarded | Transfer):
            return ""
        if isinstance(self.event, Onboarded):
            space, vectors = self.event.space, [np.asarray(self.event.vector or ())]
        else:
            assert self.snapshot is not None
            space = self.snapshot.taste.space
            vectors = [total.sum for total in self.snapshot.taste.sums if total.sum is not None]
        if space not in (None, reference.space):
            return f"its vectors are in space {space!r:.100}, those of the items in {reference.space}"
        lengths = {len(vector) for vector in vectors if len(vector)} - {len(reference.vector)}
        return f"its vectors have {min(lengths)} numbers, those of the items {len(reference.vector)}" if lengths else ""

    def to_forward(self) -> PersonEvent:
        """Return the event with its id (of what has one) and its time, wherever it is read from then on."""
        event = self.event
        assert event is not None
        if isinstance(event, Exposure):
            return event.model_copy(update={"timestamp": self.time})
        if isinstance(event, Interaction | Identify):
            return event.model_copy(update={"event_id": self.event_id, "timestamp": self.time})
        return event


def read_event(
    record: Record, events: EventSettings, settings: ProfileSettings, left_out: list[LeftOut] | None = None
) -> ParsedEvent:
    """Read a valid record, and name in `left_out` what of it can't be right.

    Raises `InvalidEvent`: not JSON, no such event, an unknown type, a time far ahead, an id of nobody.
    """
    forwarded = ForwardedFrom.from_headers(record.headers)
    headers = sum(len(name.encode()) + len(value) for name, value in record.headers)
    if headers > HEADER_BYTES:
        raise InvalidEvent(f"its headers have {headers:,} bytes, at most {HEADER_BYTES:,} are taken")
    event = parse_person_event(record.value, left_out)
    require_author(event, record.headers, record.is_trusted)
    if isinstance(event, Interaction | Identify | Onboarded):
        refuse_placeholders(event, events)
    if isinstance(event, Onboarded) and event.vector is not None:
        _check_answers(event.vector, event.space)
    weight, time, snapshot = 0.0, record.timestamp / 1000, None
    if isinstance(event, Interaction):
        weight = interaction_weight(event, events)
    if isinstance(event, Interaction | Identify | Exposure):
        time = clamp_event_time(event.timestamp, time)
    elif not isinstance(event, Onboarded):
        clamp_event_time(event.timestamp, time)  # refused where it is far ahead: all that came before it would be gone
        time = event.timestamp
    if isinstance(event, Transfer):
        snapshot = _unpack(event, settings, record.timestamp / 1000 + MAX_AHEAD_SECONDS)
    return ParsedEvent(record, event.person, event, time, weight, forwarded, snapshot)


def parse_record(
    record: Record, events: EventSettings, settings: ProfileSettings, left_out: list[LeftOut] | None = None
) -> ParsedEvent:
    """Read a record as `read_event` does; a forwarded one that is invalid comes without its event, and an error."""
    try:
        return read_event(record, events, settings, left_out)
    except InvalidEvent as error:
        forwarded = ForwardedFrom.from_headers(record.headers)
        if forwarded is None or not record.is_trusted:
            raise
        return ParsedEvent(
            record, _addressee(record), None, record.timestamp / 1000, forwarded_from=forwarded, error=str(error)
        )


def _addressee(record: Record) -> Person:
    try:
        return Person.from_key((record.key or b"").decode())
    except ValueError:
        raise InvalidEvent("can't be forwarded: its key is not a person key") from None


def _check_answers(vector: Sequence[float], space: str | None) -> None:
    if space is None:
        raise InvalidEvent("is needed with a vector", "space")
    try:
        check_vector(np.asarray(vector))
    except ValueError as error:
        raise InvalidEvent(str(error), "vector") from None


def _unpack(event: Transfer, settings: ProfileSettings, latest: float) -> Profile:
    try:
        snapshot = unpack_profile(Person("a", event.anonymous_id), event.payload, event.vectors, settings)
        check_snapshot(snapshot, latest)
        return snapshot
    except (ArithmeticError, LookupError, TypeError, ValueError, Misconfigured) as error:
        raise InvalidEvent(f"is not a profile: {type(error).__name__} {error}", "payload") from None
