"""The producer of a consumer that writes to the topic it reads, where that topic can be full.

Records that don't fit wait in memory, and a thread of the producer's own writes them in order as room appears. A crash
loses them with the in-process broker, whose log is in the same memory.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future

from eddyline.adapters.kafka.client_config import QUEUE_BYTES, KafkaOptions
from eddyline.adapters.kafka.contract import Outgoing, RecordMetadata, TopicPartition
from eddyline.adapters.kafka.delivery_reports import DeliveryReport
from eddyline.adapters.kafka.producer import KafkaProducer, checked_size
from eddyline.adapters.kafka.retention import RetentionGuard
from eddyline.errors import Overloaded, Unavailable

NOT_YET = -1
"""The offset of a record that waits for room."""
_FLUSH_SECONDS = 0.02


class FeedbackProducer(KafkaProducer):
    """For the in-process broker. In `topic`, sending doesn't wait for room, since only its caller can make any: what
    doesn't fit waits in memory, which is where that broker's log is as well, and is written in order as room appears.

    The guard lets nobody else write to the topic meanwhile, so that what waits is bounded by what the topic held.
    """

    def __init__(
        self,
        options: KafkaOptions,
        guard: RetentionGuard,
        topic: str,
        delivery_seconds: float = 10.0,
        queue_bytes: int = QUEUE_BYTES,
    ) -> None:
        super().__init__(options, guard, delivery_seconds, queue_bytes)
        self._topic, self._own_guard = topic, guard
        self._deferred: dict[TopicPartition, deque[Outgoing]] = {}
        self._lock_deferred, self._closing = threading.Lock(), threading.Event()
        self._flusher = threading.Thread(target=self._flush, name="kafka-feedback", daemon=True)
        self._flusher.start()

    def close(self) -> None:
        """Close as the base does; what still waits for room is given up."""
        self._closing.set()
        self._flusher.join()
        super().close()

    def _make_room(self, guard: RetentionGuard, source: TopicPartition, size: int) -> None:
        if source.topic == self._topic:
            guard.reserve_deferred(source, size)
        else:
            guard.reserve(source, size)

    def _enqueue(self, record: Outgoing, settle: Callable[[DeliveryReport], None], deadline: float) -> None:
        if record.topic == self._topic:
            self._submit_or_defer(record, settle)
        else:
            super()._enqueue(record, settle, deadline)

    def _submit_or_defer(self, record: Outgoing, settle: Callable[[DeliveryReport], None]) -> None:
        checked_size(record)
        source = self._partition_for(record)
        with self._lock_deferred:
            if source not in self._deferred:
                try:
                    self._submit(record, settle)
                except Overloaded:
                    self._deferred[source] = deque()
                else:
                    return
            self._deferred[source].append(record)
            self._own_guard.defer(source)
        settle(RecordMetadata(source.topic, source.partition, NOT_YET))

    def _flush(self) -> None:
        while not self._closing.wait(_FLUSH_SECONDS):
            with self._lock_deferred:
                sources = tuple(self._deferred)
            for source in sources:
                self._write(source)

    def _write(self, source: TopicPartition) -> None:
        """Write what fits, in order; from the first that isn't acknowledged on, it stays."""
        with self._lock_deferred:
            sent = self._send_what_fits(source)
        acknowledged = 0
        for future in sent:
            try:
                future.result()
            except Unavailable:
                break
            acknowledged += 1
        with self._lock_deferred:
            deferred = self._deferred[source]
            for _ in range(acknowledged):
                deferred.popleft()
            if not deferred:
                del self._deferred[source]
        self._own_guard.written(source, acknowledged)

    def _send_what_fits(self, source: TopicPartition) -> list[Future[RecordMetadata]]:
        sent: list[Future[RecordMetadata]] = []
        for record in self._deferred[source]:
            try:
                sent.append(self.send(record))
            except (Overloaded, Unavailable):
                break
        return sent
