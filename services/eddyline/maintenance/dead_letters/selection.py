"""Dead letters selected by topic, reason, key, time or place; listed and counted."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable, Iterator, Set
from dataclasses import dataclass, field

from eddyline.adapters.kafka import DeadLetter, DeadLetterLog, Record, UnreadableDeadLetter
from eddyline.maintenance.dead_letters.restored_record import json_object
from eddyline.model.ids import Person
from eddyline.topics import USERS


@dataclass(frozen=True, slots=True)
class DeadLetterSelection:
    """Conditions that a letter must all meet. `since` (included) and `until` (not) bound the time when the record was
    given up, in epoch seconds; `places` are ids, with or without the log; an empty `places` means any. `people`: whom
    the record is of, by its key or in its value; none means anyone."""

    topic: str | None = None
    reason: str | None = None
    key: bytes | None = None
    since: float | None = None
    until: float | None = None
    places: tuple[str, ...] = ()
    people: frozenset[Person] = frozenset()

    def matches(self, letter: DeadLetter) -> bool:
        """Whether a letter meets all conditions."""
        given_up_at = letter.given_up_at / 1000
        return (
            (self.topic is None or letter.record.topic == self.topic)
            and (self.reason is None or letter.reason == self.reason)
            and (self.key is None or letter.record.key == self.key)
            and (self.since is None or given_up_at >= self.since)
            and (self.until is None or given_up_at < self.until)
            and (not self.places or any(letter.is_at(place) for place in self.places))
            and (not self.people or _is_of(letter.record, self.people))
        )

    def includes(self, unreadable: UnreadableDeadLetter) -> bool:
        """Whether something unreadable is shown: it can meet no condition but its place."""
        if self.places:
            return unreadable.place in self.places
        return not self.people and all(given is None for given in (self.reason, self.key, self.since, self.until))


def _is_of(record: Record, people: Set[Person]) -> bool:
    key = (record.key or b"").decode(errors="replace")
    if key in {person.key for person in people} or (record.topic == USERS and Person("u", key) in people):
        return True
    value = (None if record.value is None else json_object(record.value)) or {}
    return any(value.get("user_id" if person.kind == "u" else "anonymous_id") == person.id for person in people)


@dataclass(slots=True)
class DeadLetterSummary:
    """Selected letters: their counts by (topic, reason), the newest of them first, and what can't be read."""

    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    newest: list[DeadLetter] = field(default_factory=list)
    unreadable: list[UnreadableDeadLetter] = field(default_factory=list)

    @property
    def total(self) -> int:
        """Count the letters."""
        return self.counts.total()


def select_dead_letters(
    logs: Iterable[DeadLetterLog], selection: DeadLetterSelection
) -> Iterator[DeadLetter | UnreadableDeadLetter]:
    """Yield what is selected, in the order in which it was kept. Raises `Unavailable`."""
    for log in logs:
        for each in log.read():
            if selection.includes(each) if isinstance(each, UnreadableDeadLetter) else selection.matches(each):
                yield each


def summarise_dead_letters(
    logs: Iterable[DeadLetterLog], selection: DeadLetterSelection, newest: int = 0
) -> DeadLetterSummary:
    """Count what is selected, and keep the `newest` letters. Raises `Unavailable`."""
    found = DeadLetterSummary()
    heap: list[tuple[int, int, DeadLetter]] = []
    for number, each in enumerate(select_dead_letters(logs, selection)):
        if isinstance(each, UnreadableDeadLetter):
            found.unreadable.append(each)
            continue
        found.counts[each.record.topic, each.reason] += 1
        heapq.heappush(heap, (each.given_up_at, number, each))
        if len(heap) > newest:
            heapq.heappop(heap)
    found.newest = [letter for _, _, letter in sorted(heap, key=lambda entry: entry[:2], reverse=True)]
    return found
