"""Following a topic: every record from its beginning, and then as they come, outside any group."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException
from confluent_kafka import TopicPartition as KafkaPartition

from eddyline.adapters.kafka.contract import Record
from eddyline.adapters.kafka.group_member import to_record
from eddyline.adapters.kafka.options import KafkaOptions, LoopOptions, consumer_config
from eddyline.adapters.kafka.topic_admin import log_identities
from eddyline.errors import Misconfigured, Unavailable

log = structlog.get_logger("kafka")

_GROUP = "log-reader"
"""The library wants a name; nobody joins it and nothing is committed under it."""
_BATCH = 500
_POLL_SECONDS = 0.1
_REQUEST_SECONDS = 1.0
_PAUSE_SECONDS = 1.0
_CLOSE_SECONDS = 10.0
_MISSING_TOPIC = {KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC, KafkaError._UNKNOWN_PARTITION}


class TopicTail:
    """Calls `on_record` with each record of a topic (its logical name), in a thread of its own, in each partition's
    order: first what the log holds, then what comes. For compacted topics, whose records are all to be known.

    Neither a cluster that doesn't answer nor a topic that isn't there (yet) is an error: it goes on as soon as it can,
    where it was; from the beginning, in a topic that was created anew. What `on_record` raises is logged, and the
    record left out. The caller must `close` it.
    """

    def __init__(self, options: KafkaOptions, topic: str, on_record: Callable[[Record], None]) -> None:
        """Raises `Misconfigured` for client settings that the library doesn't take, before anything is started."""
        self._options, self._topic, self._on_record = options, topic, on_record
        self._name = options.prefix + topic
        self._positions: dict[int, int] = {}
        self._behind: dict[int, int] = {}
        """Of the partitions whose end, as it was at the start, isn't reached yet: that end."""
        self._log: str | None = None
        self._caught_up = threading.Event()
        self._stopping = threading.Event()
        self._problem: str | None = None
        self._thread = threading.Thread(target=self._run, name=f"tail-{topic}", daemon=True)
        self._new_consumer().close()

    @property
    def caught_up(self) -> bool:
        """Whether all is read that the topic held at the start."""
        return self._caught_up.is_set()

    def start(self) -> None:
        """Begin. Returns at once."""
        self._thread.start()

    def close(self) -> None:
        """Stop: once this returns, `on_record` isn't called any more (but for one that hangs)."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(_CLOSE_SECONDS)

    # -- in the thread ------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._stopping.is_set():
            consumer = self._new_consumer()
            try:
                if self._begin(consumer):
                    self._follow(consumer)
            except KafkaException as error:
                self._say(error.args[0].str())
                self._stopping.wait(_PAUSE_SECONDS)
            finally:
                consumer.close()

    def _begin(self, consumer: Consumer) -> bool:
        """Ask until the partitions are known; False where it was stopped before that."""
        failures, pace = 0, LoopOptions(backoff_cap=5.0)
        while not self._stopping.is_set():
            try:
                self._assign(consumer)
            except (KafkaException, Unavailable, Misconfigured) as error:
                failures += 1
                self._say(error.args[0].str() if isinstance(error, KafkaException) else str(error))
                self._stopping.wait(pace.backoff(failures, 1.0))
            else:
                self._say(None)
                return True
        return False

    def _assign(self, consumer: Consumer) -> None:
        """Take all partitions, from where each was left. Raises `KafkaException`, `Unavailable`, `Misconfigured`."""
        found = consumer.list_topics(self._name, timeout=_REQUEST_SECONDS).topics[self._name]
        if found.error is not None:
            raise KafkaException(found.error)
        now = log_identities(self._options, [self._topic])[self._topic]
        if now != self._log:
            self._positions, self._log = {}, now
        bounds = {partition: self._bounds(consumer, partition) for partition in found.partitions}
        if not self.caught_up:
            self._behind = {n: high for n, (low, high) in bounds.items() if self._positions.get(n, low) < high}
            self._check()
        consumer.assign([KafkaPartition(self._name, n, self._positions.get(n, low)) for n, (low, _) in bounds.items()])

    def _bounds(self, consumer: Consumer, partition: int) -> tuple[int, int]:
        found = consumer.get_watermark_offsets(KafkaPartition(self._name, partition), timeout=_REQUEST_SECONDS)
        if found is None:
            raise Unavailable(f"Kafka didn't return {self._name}'s offsets in time")
        return found

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
            self._tell(to_record(message, self._options.prefix, {self._topic: self._log or ""}))
            self._reached(message.partition(), message.offset() + 1)
        elif error.code() == KafkaError._PARTITION_EOF:  # with the offset of the next record
            self._reached(message.partition(), message.offset())
        elif error.fatal() or error.code() in _MISSING_TOPIC:
            raise KafkaException(error)
        else:  # the library goes on by itself
            self._say(error.str())

    def _tell(self, record: Record) -> None:
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

    def _say(self, problem: str | None) -> None:
        """Log a problem once, not at every attempt."""
        if problem is not None and problem != self._problem:
            log.warning("can't follow a topic now; will try again", topic=self._name, reason=problem)
        self._problem = problem

    def _new_consumer(self) -> Consumer:
        config = consumer_config(self._options, _GROUP, "range", _ignore_error)
        try:
            return Consumer(config | {"enable.partition.eof": True, "queued.max.messages.kbytes": 16_384})
        except KafkaException as error:
            raise Misconfigured(f"Kafka's client settings: {error.args[0].str()}") from error


def _ignore_error(_error: KafkaError) -> None:
    """Brokers come and go; the library reconnects."""
