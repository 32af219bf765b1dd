"""Follow a topic outside any group: every record from its beginning, and then as they come.

`on_record` is called on a thread of the tail's own, `caught_up` may be read and `close` called from any. Nothing is
committed: after a crash all is read again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException
from confluent_kafka import TopicPartition as KafkaPartition

from eddyline.adapters.kafka.client_config import UNKNOWN_TOPIC, KafkaOptions, create_log_consumer
from eddyline.adapters.kafka.contract import Record
from eddyline.adapters.kafka.group_member import query_watermarks, to_record
from eddyline.adapters.kafka.loop_options import LoopOptions
from eddyline.adapters.kafka.topic_admin import log_identities
from eddyline.errors import Misconfigured, Unavailable

log = structlog.get_logger("kafka")

_BATCH = 500
_POLL_SECONDS = 0.1
_REQUEST_SECONDS = 1.0
_PAUSE_SECONDS = 1.0
_CLOSE_SECONDS = 10.0


class TopicTail:
    """Call `on_record` with each record of a topic (its logical name), in each partition's order: first what the log
    holds, then what comes. For compacted topics, all of whose records matter.

    Neither a cluster that doesn't answer nor a topic that isn't there (yet) is an error: it goes on as soon as it can,
    where it was; from the beginning, in a topic that was recreated. What `on_record` raises is logged, and the
    record left out. The caller must `close` it.
    """

    def __init__(self, options: KafkaOptions, topic: str, on_record: Callable[[Record], None]) -> None:
        """Raises `Misconfigured` for client settings that the library doesn't take, before anything is started."""
        self._options, self._topic, self._on_record = options, topic, on_record
        self._name = options.prefix + topic
        self._positions: dict[int, int] = {}
        self._behind: dict[int, int] = {}
        """Ends, as they were at the start, of the partitions that haven't reached theirs yet."""
        self._log: str | None = None
        self._caught_up = threading.Event()
        self._stopping = threading.Event()
        self._problem: str | None = None
        self._thread = threading.Thread(target=self._run, name=f"tail-{topic}", daemon=True)
        create_log_consumer(options).close()

    @property
    def caught_up(self) -> bool:
        """Whether all is read that the topic held at the start."""
        return self._caught_up.is_set()

    def start(self) -> None:
        """Start following. Returns at once."""
        self._thread.start()

    def close(self) -> None:
        """Stop: once this returns, `on_record` isn't called any more, unless a call of it hangs."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(_CLOSE_SECONDS)

    # -- in the thread ------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._stopping.is_set():
            consumer = create_log_consumer(self._options)
            try:
                if self._begin(consumer):
                    self._follow(consumer)
            except KafkaException as error:
                self._report(error.args[0].str())
                self._stopping.wait(_PAUSE_SECONDS)
            finally:
                consumer.close()

    def _begin(self, consumer: Consumer) -> bool:
        """Ask until the partitions are known; False where it was stopped before that."""
        failures, retry = 0, LoopOptions(backoff_cap=5.0)
        while not self._stopping.is_set():
            try:
                self._assign(consumer)
            except (KafkaException, Unavailable, Misconfigured) as error:
                failures += 1
                self._report(error.args[0].str() if isinstance(error, KafkaException) else str(error))
                self._stopping.wait(retry.backoff(failures, 1.0))
            else:
                self._report(None)
                return True
        return False

    def _assign(self, consumer: Consumer) -> None:
        """Take all partitions, from where each was left. Raises `KafkaException`, `Unavailable`, `Misconfigured`."""
        found = consumer.list_topics(self._name, timeout=_REQUEST_SECONDS).topics[self._name]
        if found.error is not None:
            raise KafkaException(found.error)
        identity = log_identities(self._options, [self._topic])[self._topic]
        if identity != self._log:
            self._positions, self._log = {}, identity
        bounds = {n: query_watermarks(consumer, self._name, n, _REQUEST_SECONDS) for n in found.partitions}
        if not self.caught_up:
            self._behind = {n: high for n, (low, high) in bounds.items() if self._positions.get(n, low) < high}
            self._check()
        consumer.assign([KafkaPartition(self._name, n, self._positions.get(n, low)) for n, (low, _) in bounds.items()])

    def _follow(self, consumer: Consumer) -> None:
        """Until stopped. Raises `KafkaException` where only a new consumer goes on."""
        while not self._stopping.is_set():
            first = consumer.poll(_POLL_SECONDS)
            if first is None:
                continue
            for message in (first, *consumer.consume(_BATCH - 1, timeout=0)):
                self._take(message)

    def _take(self, message: Any) -> None:
        error = message.error()
        if error is None:
            self._deliver(to_record(message, self._options, {self._topic: self._log or ""}))
            self._reached(message.partition(), message.offset() + 1)
        elif error.code() == KafkaError._PARTITION_EOF:  # with the offset of the next record
            self._reached(message.partition(), message.offset())
        elif error.fatal() or error.code() in UNKNOWN_TOPIC:
            raise KafkaException(error)
        else:  # the library goes on by itself
            self._report(error.str())

    def _deliver(self, record: Record) -> None:
        if self._stopping.is_set():
            return
        try:
            self._on_record(record)
        except Exception:
            log.exception("skipped a record", topic=self._name, partition=record.partition, offset=record.offset)

    def _reached(self, partition: int, offset: int) -> None:
        self._positions[partition] = offset
        if offset >= self._behind.get(partition, offset + 1):
            del self._behind[partition]
            self._check()

    def _check(self) -> None:
        if not self._behind:
            self._caught_up.set()

    def _report(self, problem: str | None) -> None:
        """Log a problem once, not at every attempt."""
        if problem is not None and problem != self._problem:
            log.warning("can't follow a topic now; will try again", topic=self._name, reason=problem)
        self._problem = problem
