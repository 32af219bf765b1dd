"""Letters leave: sent again and then removed, or dropped."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from eddyline.adapters.kafka import DeadLetter, DeadLetterLog, Outgoing, Producer, Record
from eddyline.adapters.kafka.dead_letters import DeadLetterKey, in_size_limited_batches
from eddyline.errors import TooLarge
from eddyline.maintenance.dead_letters.restored_record import restore_record
from eddyline.maintenance.dead_letters.selection import DeadLetterSelection


class ReplayDestination(Protocol):
    """Where letters are sent again."""

    def send(self, letters: Sequence[DeadLetter]) -> list[str | None]:
        """Send them, all of one topic, in order; for each, None when it was acknowledged, or why it wasn't taken.
        Raises `Unavailable`."""

    def refuses(self, letter: DeadLetter) -> str | None:
        """Why it can't be sent there at all; None where it can be tried."""


@dataclass(slots=True)
class ReplayOutcome:
    """What became of a replay: how many were taken, and which weren't, and why."""

    taken: int = 0
    refused: list[tuple[DeadLetter, str]] = field(default_factory=list)


class TopicDestination:
    """The topics that the letters come from."""

    def __init__(self, producer: Producer) -> None:
        self._producer = producer

    def send(self, letters: Sequence[DeadLetter]) -> list[str | None]:
        """To the partition of their key; without one, to the partition where they were."""
        outgoing = [_outgoing(letter.record) for letter in letters]
        try:
            self._producer.send_all(outgoing)
        except TooLarge as error:
            if len(letters) == 1:
                return [str(error)]
            return [answer for letter in letters for answer in self.send([letter])]
        return [None] * len(letters)

    def refuses(self, letter: DeadLetter) -> str | None:  # noqa: ARG002
        """Kafka takes anything."""
        return None


def replay(
    logs: Iterable[DeadLetterLog],
    selection: DeadLetterSelection,
    destination: ReplayDestination,
    advance: Callable[[int], None],
) -> ReplayOutcome:
    """Send what is selected again, oldest first, and remove what was taken; `advance` is told of each few.

    Stopped in between (`Unavailable`, Ctrl-C), it removes what was taken until then. A crash may leave some that were
    taken: they are sent twice, then.
    """
    outcome = ReplayOutcome()
    for log in logs:
        letters = [letter for letter in log.read() if isinstance(letter, DeadLetter) and selection.takes(letter)]
        # What a removal has kept stands behind what came after it.
        letters.sort(key=lambda letter: (letter.record.timestamp, letter.record.offset))
        gone: set[DeadLetterKey] = set()
        try:
            for batch in in_size_limited_batches(letters, _size):
                _note(batch, destination.send(batch), outcome, gone)
                advance(len(batch))
        finally:
            if gone:
                log.remove(gone)
    return outcome


def drop(logs: Iterable[DeadLetterLog], selection: DeadLetterSelection, advance: Callable[[int], None]) -> int:
    """Remove what is selected for good; how many. Raises `Unavailable`."""
    dropped = 0
    for log in logs:
        gone = {letter.identity for letter in log.read() if isinstance(letter, DeadLetter) and selection.takes(letter)}
        if gone:
            log.remove(gone)
            dropped += len(gone)
            advance(len(gone))
    return dropped


def _note(
    letters: Sequence[DeadLetter], answers: Sequence[str | None], outcome: ReplayOutcome, gone: set[DeadLetterKey]
) -> None:
    for letter, refusal in zip(letters, answers, strict=True):
        if refusal is None:
            outcome.taken += 1
            gone.add(letter.identity)
        else:
            outcome.refused.append((letter, refusal))


def _outgoing(given: Record) -> Outgoing:
    record = restore_record(given)
    partition = record.partition if record.key is None else None
    return Outgoing(record.topic, record.key, record.value, record.headers, partition)


def _size(letter: DeadLetter) -> int:
    return len(letter.record.value or b"")
