"""Dead letters removed: replayed (sent again) first, or dropped."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from eddyline.adapters.kafka import DeadLetter, DeadLetterLog, Outgoing, Producer, Record
from eddyline.adapters.kafka.dead_letters.dead_letter import DeadLetterKey, in_size_limited_batches
from eddyline.errors import TooLarge
from eddyline.maintenance.dead_letters.restored_record import restore_record
from eddyline.maintenance.dead_letters.selection import DeadLetterSelection


class ReplayDestination(Protocol):
    """A place to which letters are sent again."""

    def send(self, letters: Sequence[DeadLetter]) -> list[str | None]:
        """Send letters, all of one topic, in order; return None for each that was acknowledged, or why it was refused.

        Raises `Unavailable`.
        """

    def refuses(self, letter: DeadLetter) -> str | None:
        """Say why a letter can't be sent there at all; None where it can be tried."""


@dataclass(slots=True)
class ReplayOutcome:
    """Result of a replay: how many letters were accepted, and which weren't, and why."""

    accepted: int = 0
    refused: list[tuple[DeadLetter, str]] = field(default_factory=list)


class TopicDestination:
    """The topics that the letters come from."""

    def __init__(self, producer: Producer) -> None:
        self._producer = producer

    def send(self, letters: Sequence[DeadLetter]) -> list[str | None]:
        """Send to the partition of each key; without a key, to the partition where the record was."""
        outgoing = [_outgoing(letter.record) for letter in letters]
        try:
            self._producer.send_all(outgoing)
        except TooLarge as error:
            if len(letters) == 1:
                return [str(error)]
            return [answer for letter in letters for answer in self.send([letter])]
        return [None] * len(letters)

    def refuses(self, letter: DeadLetter) -> str | None:  # noqa: ARG002
        """Refuse nothing: Kafka takes anything."""
        return None


def replay(
    logs: Iterable[DeadLetterLog],
    selection: DeadLetterSelection,
    destination: ReplayDestination,
    advance: Callable[[int], None],
) -> ReplayOutcome:
    """Send what is selected again, oldest first, and remove what was accepted; `advance` gets the size of each batch.

    Stopped in between (`Unavailable`, Ctrl-C), it removes what was accepted until then. A crash may leave some that
    were accepted: they are sent again by the next replay.
    """
    outcome = ReplayOutcome()
    for log in logs:
        letters = [letter for letter in log.read() if isinstance(letter, DeadLetter) and selection.matches(letter)]
        # What a removal has kept stands behind what came after it.
        letters.sort(key=lambda letter: (letter.record.timestamp, letter.record.offset))
        gone: set[DeadLetterKey] = set()
        try:
            for batch in in_size_limited_batches(letters, lambda letter: len(letter.record.value or b"")):
                for letter, refusal in zip(batch, destination.send(batch), strict=True):
                    if refusal is None:
                        outcome.accepted += 1
                        gone.add(letter.identity)
                    else:
                        outcome.refused.append((letter, refusal))
                advance(len(batch))
        finally:
            if gone:
                log.remove(gone)
    return outcome


def drop(logs: Iterable[DeadLetterLog], selection: DeadLetterSelection, advance: Callable[[int], None]) -> int:
    """Remove what is selected for good; return the count. Raises `Unavailable`."""
    dropped = 0
    for log in logs:
        gone = {
            letter.identity for letter in log.read() if isinstance(letter, DeadLetter) and selection.matches(letter)
        }
        if gone:
            log.remove(gone)
            dropped += len(gone)
            advance(len(gone))
    return dropped


def _outgoing(given: Record) -> Outgoing:
    record = restore_record(given)
    partition = record.partition if record.key is None else None
    return Outgoing(record.topic, record.key, record.value, record.headers, partition)
