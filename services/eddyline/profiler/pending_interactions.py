"""Interactions that wait for their item: kept in the profiles, and an index of whom each item concerns."""

from __future__ import annotations

from collections import defaultdict
from contextlib import suppress
from itertools import islice

from eddyline.adapters.kafka import Record
from eddyline.errors import InvalidEvent
from eddyline.model.events import Interaction, parse_person_event
from eddyline.model.ids import Person
from eddyline.model.profile import PendingInteraction, Profile
from eddyline.profiler.attempt import Attempt

UNKNOWN_ITEM = "unknown_item"
PENDING_BYTES = 262_144
"""Bytes that the pending interactions of one person may take together, as they are stored: JSON in JSON."""


class PendingIndex:
    """Which items are waited for, and by whom."""

    def __init__(self) -> None:
        self._people: defaultdict[str, set[Person]] = defaultdict(set)
        self._items: dict[Person, frozenset[str]] = {}

    def __len__(self) -> int:
        return len(self._people)

    def note(self, profile: Profile) -> None:
        """Note what this person waits for now."""
        pending = frozenset(entry.item_id for entry in profile.delivery.pending)
        noted = self._items.pop(profile.person, frozenset())
        for item_id in noted - pending:
            self._people[item_id].discard(profile.person)
            if not self._people[item_id]:
                del self._people[item_id]
        for item_id in pending - noted:
            self._people[item_id].add(profile.person)
        if pending:
            self._items[profile.person] = pending

    def next_items(self, count: int) -> set[str]:
        """Return some of the items; those are then at the end of the line, so that each has its turn."""
        due = list(islice(self._people, count))
        for item_id in due:
            self._people[item_id] = self._people.pop(item_id)
        return set(due)

    def waiting_for(self, item_id: str) -> set[Person]:
        """Return whom the item concerns."""
        return self._people[item_id]

    def people(self) -> list[Person]:
        """Return the people who wait for anything."""
        return list(self._items)


def to_pending(item_id: str, record: Record, since: float) -> PendingInteraction:
    """Return a record in the form in which it is kept in a profile until its item comes."""
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
    """Return the record as it came."""
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


def limit_pending(profile: Profile, attempt: Attempt) -> None:
    """Give up on the oldest where there are too many, or too large."""
    sizes = [entry.stored_bytes for entry in profile.delivery.pending]
    size, surplus = sum(sizes), 0
    while len(sizes) - surplus > profile.settings.pending or size > PENDING_BYTES:
        size -= sizes[surplus]
        surplus += 1
    give_up_oldest(profile, surplus, attempt)


def give_up_oldest(profile: Profile, count: int, attempt: Attempt) -> None:
    """Give up on so many of those that have waited the longest."""
    given_up, profile.delivery.pending = profile.delivery.pending[:count], profile.delivery.pending[count:]
    for entry in given_up:
        too_many = "too many interactions of this person wait for unknown items"
        give_up_pending(profile, from_pending(entry), UNKNOWN_ITEM, too_many, attempt)


def give_up_pending(profile: Profile, record: Record, reason: str, detail: str, attempt: Attempt) -> None:
    """Make a dead letter of it; it counts should it be sent again."""
    attempt.give_up(record, reason, detail)
    with suppress(InvalidEvent):
        event = parse_person_event(record.value)
        if isinstance(event, Interaction):
            profile.delivery.forget(event.scoped_id(record.place))
