"""Keep the in-process broker from dropping what nobody has read yet."""

from __future__ import annotations

import heapq
import math
import threading
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from eddyline.adapters.kafka.contract import TopicPartition
from eddyline.errors import Overloaded

BROKER_RETENTION_BYTES = 5 * 1024 * 1024
"""Bytes a partition of the in-process broker holds before it silently drops its oldest batches."""

SAFE_BYTES = 4_000_000
"""Below `BROKER_RETENTION_BYTES` by more than one batch (1 MB): the batch where reading stopped is dropped as a
whole."""


@dataclass(slots=True)
class _PartitionUsage:
    """What a partition holds that some group hasn't committed, and what is in flight to it."""

    unread: list[tuple[int, int]] = field(default_factory=list)  # a heap of (offset, bytes)
    unread_bytes: int = 0
    in_flight: int = 0

    def forget_below(self, offset: float) -> None:
        while self.unread and self.unread[0][0] < offset:
            self.unread_bytes -= heapq.heappop(self.unread)[1]


class RetentionGuard:
    """Refuses a record that could make the broker drop one that a subscribed group hasn't committed yet.

    The producers reserve room before they send and say how it went; the consume loops subscribe (before the
    first record is produced) and report their commits. A topic that nobody subscribes to isn't limited.
    Thread-safe.
    """

    def __init__(self, limit: int = SAFE_BYTES) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._held: defaultdict[TopicPartition, _PartitionUsage] = defaultdict(_PartitionUsage)
        self._groups: defaultdict[str, set[str]] = defaultdict(set)
        self._committed: dict[tuple[str, TopicPartition], int] = {}
        self._deferred: Counter[TopicPartition] = Counter()

    def subscribe(self, group: str, topics: Iterable[str]) -> None:
        """Hold what `group` hasn't committed of these topics, from now on."""
        with self._lock:
            for topic in topics:
                self._groups[topic].add(group)

    def unsubscribe(self, group: str) -> None:
        """Hold nothing for `group` any more, which has stopped reading."""
        with self._lock:
            for topic in [topic for topic, groups in self._groups.items() if group in groups]:
                self._groups[topic].discard(group)
                if not self._groups[topic]:
                    del self._groups[topic]
            for source, held in self._held.items():
                held.forget_below(self._floor(source))

    def reserve(self, source: TopicPartition, size: int) -> None:
        """Reserve room for a record; every reservation must be settled, by `acknowledged` or `release`.

        Raises `Overloaded` when there is no room, or deferred records of this topic wait for some.
        """
        with self._lock:
            deferred = sum(count for partition, count in self._deferred.items() if partition.topic == source.topic)
            if deferred:
                raise Overloaded(f"{deferred} records that a service forwarded must go to {source.topic} first")
            self._reserve(source, size)

    def reserve_deferred(self, source: TopicPartition, size: int) -> None:
        """Reserve room for a deferred record, which goes before those of others."""
        with self._lock:
            self._reserve(source, size)

    def defer(self, source: TopicPartition) -> None:
        """Note that a record waits for room, to be written before those of others."""
        with self._lock:
            self._deferred[source] += 1

    def written(self, source: TopicPartition, count: int) -> None:
        """Note that so many deferred records are acknowledged."""
        with self._lock:
            self._deferred[source] -= count

    def expects(self, source: TopicPartition) -> bool:
        """Whether records are in flight to the log, or wait for room in it."""
        with self._lock:
            return self._held[source].in_flight > 0 or self._deferred[source] > 0

    def release(self, source: TopicPartition, size: int) -> None:
        """Settle a reservation: the record was not written."""
        with self._lock:
            self._held[source].in_flight -= size

    def acknowledged(self, source: TopicPartition, offset: int, size: int) -> None:
        """Settle a reservation: the record was written at `offset`."""
        with self._lock:
            held = self._held[source]
            held.in_flight -= size
            if source.topic in self._groups and offset >= self._floor(source):
                heapq.heappush(held.unread, (offset, size))
                held.unread_bytes += size

    def committed(self, group: str, source: TopicPartition, offset: int) -> None:
        """Note that `group` has handled everything before `offset`."""
        with self._lock:
            self._committed[group, source] = offset
            self._held[source].forget_below(self._floor(source))

    def unread_bytes(self, source: TopicPartition) -> int:
        """Count the bytes written and not yet committed by every subscribed group, conservatively."""
        with self._lock:
            return self._held[source].unread_bytes

    def _reserve(self, source: TopicPartition, size: int) -> None:
        held = self._held[source]
        if source.topic in self._groups and held.unread_bytes + held.in_flight + size > self._limit:
            readers = " and ".join(sorted(self._groups[source.topic]))
            raise Overloaded(
                f"{source.topic} holds {held.unread_bytes + held.in_flight} bytes in partition "
                f"{source.partition} that {readers} must read first"
            )
        held.in_flight += size

    def _floor(self, source: TopicPartition) -> float:
        """Return the first offset that must be held: 0 before a group has committed, infinity without groups."""
        groups = self._groups.get(source.topic, ())
        return min((self._committed.get((group, source), 0) for group in groups), default=math.inf)
