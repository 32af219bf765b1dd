"""What has been polled and not handled yet."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Generic

from eddyline.adapters.kafka.contract import Message, Parsed, Record, TopicPartition
from eddyline.adapters.kafka.loop_options import LoopOptions
from eddyline.errors import EddylineError, InvalidInput, RecordFault, TooManyDeadLetters

INVALID = "invalid_event"
"""The reason of a dead letter that `parse` refused."""
FAILED = "handler_failed"
"""The reason of a dead letter that made the handler raise."""


def is_records_fault(error: Exception) -> bool:
    """Whether an error says something of the record being worked on, and nothing of this process or what it needs.

    Those of what a record asks for do, and any that isn't raised on purpose: it is a mistake in code that this record
    has brought to light. Only the machine's own (a full disk, no memory) do not.
    """
    return isinstance(error, InvalidInput | RecordFault) or not isinstance(error, EddylineError | MemoryError | OSError)


class Batch(Generic[Parsed]):
    """Pending records, and the batch in hand: parsed, to be handled until that succeeds, at once or part by part.

    A part is the beginning of `messages`, all of them as a rule. When the handler fails by itself, the part is halved
    until it is the one record that is at fault. A dead letter counts as handled once it is kept, but its offset is only
    given out with its batch's.
    """

    def __init__(self, options: LoopOptions) -> None:
        self._options = options
        self._pending: list[Record] = []
        self._reached: dict[TopicPartition, int] = {}
        self._counts: Counter[str] = Counter()
        self._dead: deque[bool] = deque(maxlen=options.dead_letter_window)
        self._part_size = options.batch_size
        self.messages: list[Message[Parsed]] = []

    def __bool__(self) -> bool:
        return bool(self._pending or self._reached)

    @property
    def pending(self) -> bool:
        """Whether records are pending: polled, and not parsed yet."""
        return bool(self._pending)

    @property
    def room(self) -> int:
        """How many more pending records make a full batch."""
        return self._options.batch_size - len(self._pending)

    def add(self, records: Iterable[Record]) -> None:
        """Add what was polled."""
        self._pending.extend(records)

    def start(self, offsets: Mapping[TopicPartition, int], logs: Mapping[str, str]) -> None:
        """Begin these partitions at these offsets, in these logs: drop or correct what was polled before."""
        self._pending = [
            replace(record, log=logs[record.topic]) if record.source in offsets else record
            for record in self._pending
            if record.offset >= offsets.get(record.source, 0)
        ]

    def fill(
        self,
        takes: Callable[[TopicPartition], bool],
        parse: Callable[[Record], Parsed],
        put_dead_letter: Callable[[Record, str, Exception], None],
    ) -> bool:
        """Parse what is pending of the partitions it `takes`, unless a batch is in hand; say whether there is one now.

        What can't be parsed becomes a dead letter, and so does what `parse` fails at by itself. When that fails, what
        was parsed before stays in hand and the rest pending. Raises `TooManyDeadLetters`, and what `put_dead_letter`
        does.
        """
        if self.messages:
            return True
        later: list[Record] = []
        taken = 0
        try:
            for record in self._pending[: self._options.batch_size]:
                if takes(record.source):
                    self._parse(record, parse, put_dead_letter)
                else:
                    later.append(record)
                taken += 1
        finally:
            self._pending = later + self._pending[taken:]
        return bool(self._reached)

    @property
    def part(self) -> tuple[Message[Parsed], ...]:
        """What is to be handled at once."""
        return tuple(self.messages[: self._part_size])

    def part_handled(self, messages: Sequence[Message[Parsed]]) -> None:
        """Go on behind a part that was handled, with twice as much at once."""
        self.messages = self.messages[len(messages) :]
        self._part_size = min(2 * self._part_size, self._options.batch_size)

    def halve(self) -> None:
        """Handle half as much at once."""
        self._part_size = max(1, len(self.part) // 2)

    def drop_failed(self, message: Message[Parsed], error: Exception) -> None:
        """Go on behind a record that has become a dead letter, the first of `messages`. Raises `TooManyDeadLetters`."""
        self.messages = self.messages[1:]
        newest_good = max((at for at, is_dead in enumerate(self._dead) if not is_dead), default=None)
        if newest_good is not None:  # as it was counted when it was parsed
            self._dead[newest_good] = True
        self._limit(message.record, error)

    def counts(self) -> Counter[str]:
        """Count the records of each topic in hand, dead letters included."""
        return self._counts.copy()

    def take(self) -> dict[TopicPartition, int]:
        """End the batch, which is handled; return the offset after it in each partition."""
        reached, self._reached, self.messages = self._reached, {}, []
        self._counts.clear()
        return reached

    def drop(self, partitions: Iterable[TopicPartition]) -> None:
        """Drop what is of these partitions, which are no longer ours."""
        gone = frozenset(partitions)
        self._pending = [record for record in self._pending if record.source not in gone]
        self.messages = [message for message in self.messages if message.record.source not in gone]
        self._reached = {source: offset for source, offset in self._reached.items() if source not in gone}

    def _parse(
        self,
        record: Record,
        parse: Callable[[Record], Parsed],
        put_dead_letter: Callable[[Record, str, Exception], None],
    ) -> None:
        try:
            self.messages.append(Message(record, parse(record)))
        except Exception as error:
            if not is_records_fault(error):
                raise
            put_dead_letter(record, INVALID if isinstance(error, InvalidInput) else FAILED, error)
            self._dead.append(True)
            self._limit(record, error)
        else:
            self._dead.append(False)
        self._reached[record.source] = record.offset + 1
        self._counts[record.topic] += 1

    def _limit(self, record: Record, error: Exception) -> None:
        dead, seen = sum(self._dead), len(self._dead)
        if seen >= self._options.dead_letter_minimum and dead > seen * self._options.dead_letter_share:
            raise TooManyDeadLetters(
                f"{dead} of the last {seen} records became dead letters, the last one at {record.topic} "
                f"{record.partition}:{record.offset} ({error}). `eddyline dlq list` shows them. Fix the producer, or "
                "upgrade Eddyline; to go on past them, start with EDDYLINE_KAFKA__DEAD_LETTER_SHARE=1 until they have "
                "been passed"
            )
