"""The logs of a cluster in memory: written by producers, read as `LogReader` does, and what groups have committed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Generator, Mapping, Sequence
from concurrent.futures import Future
from typing import Any

import orjson
from tests.support.fakes import LOG, Clock

from eddyline.adapters.kafka import (
    Acknowledgements,
    LogReader,
    OffsetAndMetadata,
    Outgoing,
    Record,
    RecordMetadata,
    TopicPartition,
    Watermarks,
    partition_of,
)


class FakeLog(LogReader):
    """Every topic has `partitions`; each record arrives at the clock's time."""

    def __init__(self, partitions: int, clock: Clock) -> None:
        self.partitions, self.clock = partitions, clock
        self.records: defaultdict[TopicPartition, list[Record]] = defaultdict(list)
        self.lows: defaultdict[TopicPartition, int] = defaultdict(int)
        self.groups: defaultdict[str, dict[TopicPartition, OffsetAndMetadata]] = defaultdict(dict)
        self.in_group: defaultdict[str, int] = defaultdict(int)

    def append(self, record: Outgoing) -> RecordMetadata:
        partition = partition_of(record.key or b"", self.partitions) if record.partition is None else record.partition
        source = TopicPartition(record.topic, partition)
        held = self.records[source]
        arrived = int(self.clock() * 1000)
        offset = len(held)
        held.append(
            Record(record.topic, partition, offset, record.key, record.value, arrived, LOG, tuple(record.headers))
        )
        return RecordMetadata(record.topic, partition, offset)

    def say(
        self, key: str, value: Mapping[str, Any] | None, topic: str = "interactions", **more: Any
    ) -> RecordMetadata:
        body = None if value is None else orjson.dumps(value)
        return self.append(Outgoing(topic, key.encode(), body, **more))

    def forget(self, topic: str, partition: int, below: int) -> None:
        """The retention has dropped what is older."""
        self.lows[TopicPartition(topic, partition)] = below

    # -- LogReader -------------------------------------------------------------------------------------------------

    def bounds(self, topic: str) -> dict[int, Watermarks]:
        sources = [TopicPartition(topic, partition) for partition in range(self.partitions)]
        return {s.partition: Watermarks(self.lows[s], len(self.records[s])) for s in sources}

    def read(self, topic: str, partition: int, start: int, end: int) -> Generator[Record, None, None]:
        source = TopicPartition(topic, partition)
        yield from self.records[source][max(start, self.lows[source]) : end]

    def committed(self, group: str, topic: str) -> dict[int, OffsetAndMetadata | None]:
        return {p: self.groups[group].get(TopicPartition(topic, p)) for p in range(self.partitions)}

    def commit(self, group: str, positions: Mapping[TopicPartition, OffsetAndMetadata]) -> None:
        self.groups[group].update(positions)

    def members(self, group: str) -> int:
        return self.in_group[group]

    def close(self) -> None:
        """Nothing to release."""


class LogProducer:
    """Appends to a `FakeLog`, acknowledged at once."""

    def __init__(self, log: FakeLog) -> None:
        self._log = log

    def send(self, record: Outgoing) -> Future[RecordMetadata]:
        future: Future[RecordMetadata] = Future()
        future.set_result(self._log.append(record))
        return future

    def send_all(self, records: Sequence[Outgoing]) -> list[RecordMetadata]:
        return self.begin_all(records)()

    def begin_all(self, records: Sequence[Outgoing]) -> Acknowledgements:
        sent = [self._log.append(record) for record in records]
        return lambda: sent

    def check(self) -> None:
        """It always answers."""

    def close(self) -> None:
        """Nothing to release."""
