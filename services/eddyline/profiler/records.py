"""What the profiler reads off a record: when it came, what it is called, and the form in which it waits."""

from __future__ import annotations

from eddyline.adapters.kafka import Record
from eddyline.errors import InvalidEvent
from eddyline.model.events import Erased, Exposure, Identify, Interaction, Onboarded, Transfer, clamp_event_time
from eddyline.model.ids import Person
from eddyline.model.profile import PendingInteraction, Profile
from eddyline.settings import ProfileSettings

GROUP = "profiler"


def ingest_time(record: Record) -> float:
    """When the broker got it, in epoch seconds."""
    return record.timestamp / 1000


def event_time(event: Interaction | Identify | Exposure, record: Record) -> float:
    """When it happened, in epoch seconds. Raises `InvalidEvent` for a time far ahead."""
    return clamp_event_time(event.timestamp, ingest_time(record))


def experiment_key(event: Interaction | Identify | Exposure) -> str:
    """The typed key under which an experiment knew the person: with both ids, it is still the anonymous one that says
    who they were before they signed in; so it is in what an anonymous id forwards."""
    person = Person.named(None, event.anonymous_id) or event.person
    return person.key


def event_id(event: Interaction | Identify, record: Record) -> str:
    """Return the event's own id, or the place where it was first."""
    return event.event_id or record.place


def with_id_and_time(event: Interaction | Identify | Exposure, record: Record) -> Interaction | Identify | Exposure:
    """With its id (of what has one) and its time, wherever it is read from then on."""
    if isinstance(event, Exposure):
        return event.model_copy(update={"timestamp": event_time(event, record)})
    return event.model_copy(update={"event_id": event_id(event, record), "timestamp": event_time(event, record)})


def origin(event: Onboarded | Erased) -> tuple[str, int, int]:
    """The record of `users` that it is due to."""
    return event.origin.log, event.origin.partition, event.origin.offset


def unpack_transfer(event: Transfer, settings: ProfileSettings) -> Profile:
    """The profile in a transfer. Raises `InvalidEvent`."""
    try:
        return Profile.unpack(Person("a", event.anonymous_id), event.payload, event.vectors, settings)
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidEvent(f"is not a profile: {type(error).__name__} {error}", "payload") from None


def to_pending(item_id: str, record: Record, since: float) -> PendingInteraction:
    """As it is kept in a profile until its item comes."""
    return PendingInteraction(
        item_id,
        (record.value or b"").decode(),
        record.topic,
        record.partition,
        record.offset,
        record.log,
        record.timestamp,
        since,
        tuple((name, value.decode("latin-1")) for name, value in record.headers),
        None if record.key is None else record.key.decode("latin-1"),
    )


def from_pending(entry: PendingInteraction) -> Record:
    """The record as it came."""
    return Record(
        topic=entry.topic,
        partition=entry.partition,
        offset=entry.offset,
        key=None if entry.key is None else entry.key.encode("latin-1"),
        value=entry.value.encode(),
        timestamp=entry.timestamp,
        log=entry.log,
        headers=tuple((name, value.encode("latin-1")) for name, value in entry.headers),
    )
