"""Interactions that wait for their item: in the profiles, and an index of whom each item concerns."""

from __future__ import annotations

from collections import defaultdict
from contextlib import suppress
from itertools import islice

from eddyline.adapters.kafka import Record
from eddyline.errors import InvalidEvent
from eddyline.model.events import Interaction, parse_person_event
from eddyline.model.ids import Person
from eddyline.model.profile import Profile
from eddyline.profiler.attempt import Attempt
from eddyline.profiler.records import event_id, from_pending
from eddyline.settings import ProfileSettings

UNKNOWN_ITEM = "unknown_item"
PENDING_BYTES = 262_144
"""Most that the waiting interactions of one person may hold together."""


class PendingIndex:
    """Which items are waited for, and by whom."""

    def __init__(self) -> None:
        self._people: defaultdict[str, set[Person]] = defaultdict(set)
        self._items: dict[Person, frozenset[str]] = {}

    def __len__(self) -> int:
        return len(self._people)

    def note(self, profile: Profile) -> None:
        """What this person waits for now."""
        wanted = frozenset(entry.item_id for entry in profile.pending)
        noted = self._items.get(profile.person, frozenset())
        for item_id in noted - wanted:
            self._people[item_id].discard(profile.person)
            if not self._people[item_id]:
                del self._people[item_id]
        for item_id in wanted - noted:
            self._people[item_id].add(profile.person)
        if wanted:
            self._items[profile.person] = wanted
        else:
            self._items.pop(profile.person, None)

    def next_items(self, most: int) -> set[str]:
        """Some of the items; those are then at the end of the line, so that each has its turn."""
        due = list(islice(self._people, most))
        for item_id in due:
            self._people[item_id] = self._people.pop(item_id)
        return set(due)

    def waiting_for(self, item_id: str) -> set[Person]:
        """Whom the item concerns."""
        return self._people[item_id]

    def people(self) -> list[Person]:
        """Return the people who wait for anything."""
        return list(self._items)


def limit_pending(profile: Profile, settings: ProfileSettings, attempt: Attempt) -> None:
    """Give up on the oldest where there are too many, or too large."""
    size = sum(len(entry.value) for entry in profile.pending)
    while len(profile.pending) > settings.pending or size > PENDING_BYTES:
        oldest, *rest = profile.pending
        size -= len(oldest.value)
        profile.pending = tuple(rest)
        too_many = "too many interactions of this person wait for unknown items"
        give_up_pending(profile, from_pending(oldest), UNKNOWN_ITEM, too_many, attempt)


def give_up_pending(profile: Profile, record: Record, reason: str, detail: str, attempt: Attempt) -> None:
    """Make a dead letter of it; it counts should it be sent again."""
    attempt.give_up(record, reason, detail)
    with suppress(InvalidEvent):
        event = parse_person_event(record.value)
        if isinstance(event, Interaction):
            profile.forget(event_id(event, record))
