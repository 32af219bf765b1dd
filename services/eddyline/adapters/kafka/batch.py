"""What has been polled and not handled yet."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Generic

from eddyline.adapters.kafka.contract import Message, Parsed, Record, TopicPartition
from eddyline.adapters.kafka.options import LoopOptions
from eddyline.errors import InvalidEvent, TooManyDeadLetters

INVALID = "invalid_event"
"""The reason of a dead letter that `parse` refused."""


class Batch(Generic[Parsed]):
    """Records that wait, and the batch in hand: parsed, to be handled again as it is until that succeeds.

    A dead letter counts as handled once it is buried, but its offset is only given out with its batch's.
    """

    def __init__(self, options: LoopOptions) -> None:
        self._options = options
        self._waiting: list[Record] = []
        self._reached: dict[TopicPartition, int] = {}
        self._counts: Counter[str] = Counter()
        self._dead: deque[bool] = deque(maxlen=options.dead_letter_window)
        self.messages: list[Message[Parsed]] = []

    def __bool__(self) -> bool:
        return bool(self._waiting or self._reached)

    @property
    def waiting(self) -> bool:
        """Whether records wait to be parsed."""
        return bool(self._waiting)

    @property
    def room(self) -> int:
        """How many more records make a full batch."""
        return self._options.batch_size - len(self._waiting)

    def add(self, records: Iterable[Record]) -> None:
        """They were polled."""
        self._waiting.extend(records)

    def start(self, offsets: Mapping[TopicPartition, int], logs: Mapping[str, str]) -> None:
        """These partitions begin at these offsets, in these logs: mend or drop what was polled before that
        was known."""
        self._waiting = [
            replace(record, log=logs[record.topic]) if record.source in offsets else record
            for record in self._waiting
            if record.offset >= offsets.get(record.source, 0)
        ]

    def fill(
        self,
        takes: Callable[[TopicPartition], bool],
        parse: Callable[[Record], Parsed],
        bury: Callable[[Record, InvalidEvent], None],
    ) -> bool:
        """Parse what waits of the partitions it `takes`, unless a batch is in hand; whether there is one now.

        What can't be parsed is buried. When that fails, what was parsed before stays in hand and the rest
        waits. Raises `TooManyDeadLetters`, and whatever `parse` and `bury` do.
        """
        if self.messages:
            return True
        later: list[Record] = []
        taken = 0
        try:
            for record in self._waiting[: self._options.batch_size]:
                if takes(record.source):
                    self._parse(record, parse, bury)
                else:
                    later.append(record)
                taken += 1
        finally:
            self._waiting = later + self._waiting[taken:]
        return bool(self._reached)

    def counts(self) -> Counter[str]:
        """How many records of each topic are in hand, dead letters included."""
        return self._counts.copy()

    def take(self) -> dict[TopicPartition, int]:
        """The batch is handled: the offset after it in each partition."""
        reached, self._reached, self.messages = self._reached, {}, []
        self._counts.clear()
        return reached

    def drop(self, partitions: Iterable[TopicPartition]) -> None:
        """These are no longer ours."""
        gone = frozenset(partitions)
        self._waiting = [record for record in self._waiting if record.source not in gone]
        self.messages = [message for message in self.messages if message.record.source not in gone]
        self._reached = {source: offset for source, offset in self._reached.items() if source not in gone}

    def _parse(
        self, record: Record, parse: Callable[[Record], Parsed], bury: Callable[[Record, InvalidEvent], None]
    ) -> None:
        try:
            message = Message(record, parse(record))
        except InvalidEvent as error:
            bury(record, error)
            self._dead.append(True)
            self._limit(record, error)
        else:
            self.messages.append(message)
            self._dead.append(False)
        self._reached[record.source] = record.offset + 1
        self._counts[record.topic] += 1

    def _limit(self, record: Record, error: InvalidEvent) -> None:
        dead, seen = sum(self._dead), len(self._dead)
        if seen >= self._options.dead_letter_minimum and dead > seen * self._options.dead_letter_share:
            raise TooManyDeadLetters(
                f"{dead} of the last {seen} records can't be read, the last one at {record.topic} "
                f"{record.partition}:{record.offset} ({error}). `eddyline dlq list` shows them. Fix the producer; "
                "to go on past them, start with EDDYLINE_KAFKA__DEAD_LETTER_SHARE=1 until they have been passed"
            )
