"""Which dead letters are meant, and what there is of them."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from eddyline.adapters.kafka import DeadLetter, DeadLetterLog, UnreadableDeadLetter
from eddyline.errors import InvalidInput
from eddyline.model.events import parse_timestamp


@dataclass(frozen=True, slots=True)
class DeadLetterSelection:
    """Which letters: those that meet all that is given. `since` (included) and `until` (not) are about the time of
    burial, in epoch seconds; `places` are ids, with or without the log; an empty `places` means any."""

    topic: str | None = None
    reason: str | None = None
    key: bytes | None = None
    since: float | None = None
    until: float | None = None
    places: tuple[str, ...] = ()

    def takes(self, letter: DeadLetter) -> bool:
        """Whether it is meant."""
        buried = letter.buried / 1000
        return (
            (self.topic is None or letter.record.topic == self.topic)
            and (self.reason is None or letter.reason == self.reason)
            and (self.key is None or letter.record.key == self.key)
            and (self.since is None or buried >= self.since)
            and (self.until is None or buried < self.until)
            and (not self.places or any(letter.is_at(place) for place in self.places))
        )

    def shows(self, unreadable: UnreadableDeadLetter) -> bool:
        """Whether it is meant: what can't be read meets no condition but its place."""
        if self.places:
            return unreadable.place in self.places
        return self.reason is None and self.key is None and self.since is None and self.until is None


@dataclass(slots=True)
class DeadLetterSummary:
    """What was found: letters by (topic, reason), the newest of them first, and what can't be read."""

    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    newest: list[DeadLetter] = field(default_factory=list)
    unreadable: list[UnreadableDeadLetter] = field(default_factory=list)

    @property
    def total(self) -> int:
        """How many letters."""
        return self.counts.total()


def select_dead_letters(
    logs: Iterable[DeadLetterLog], selection: DeadLetterSelection
) -> Iterator[DeadLetter | UnreadableDeadLetter]:
    """What is meant, in the order in which it was kept. Raises `Unavailable`."""
    for log in logs:
        for each in log.read():
            if selection.shows(each) if isinstance(each, UnreadableDeadLetter) else selection.takes(each):
                yield each


def summarise_dead_letters(
    logs: Iterable[DeadLetterLog], selection: DeadLetterSelection, newest: int = 0
) -> DeadLetterSummary:
    """Count what is meant, and keep the newest letters. Raises `Unavailable`."""
    found = DeadLetterSummary()
    heap: list[tuple[int, int, DeadLetter]] = []
    for number, each in enumerate(select_dead_letters(logs, selection)):
        if isinstance(each, UnreadableDeadLetter):
            found.unreadable.append(each)
            continue
        found.counts[each.record.topic, each.reason] += 1
        heapq.heappush(heap, (each.buried, number, each))
        if len(heap) > newest:
            heapq.heappop(heap)
    found.newest = [letter for _, _, letter in sorted(heap, key=lambda entry: entry[:2], reverse=True)]
    return found


def parse_moment(text: str, field: str) -> float:
    """Epoch seconds, from RFC 3339 or an epoch number. Raises `InvalidInput`."""
    try:
        number: str | float = float(text)
    except ValueError:
        number = text
    try:
        return parse_timestamp(number)
    except ValueError as error:
        raise InvalidInput(str(error), field) from None
