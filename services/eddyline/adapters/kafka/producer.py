"""The idempotent producer: records out, a future for each.

`send` and `send_all` may be called from any thread. Outcomes come on a thread of the producer's own, which polls the
library, so nothing that they call may block. What isn't acknowledged when the process dies may or may not be written:
whoever sent it sends it again, and consumers recognise it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import partial
from typing import Any

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka import Producer as ConfluentProducer

from eddyline.adapters.kafka.client_config import (
    QUEUE_BYTES,
    UNKNOWN_TOPIC,
    KafkaOptions,
    create_client,
    producer_config,
)
from eddyline.adapters.kafka.contract import Acknowledgements, Headers, Outgoing, RecordMetadata
from eddyline.adapters.kafka.delivery_reports import DeliveryReport, DeliveryReports
from eddyline.errors import EddylineError, Misconfigured, Overloaded, TooLarge, Unavailable
from eddyline.topics import DEAD_LETTER_BYTES, DEAD_LETTER_SUFFIX, INTERACTIONS, RECORD_BYTES

_POLL_SECONDS = 0.1
_ROOM_SECONDS = 0.02
_BY_KEY = -1  # librdkafka's RD_KAFKA_PARTITION_UA
_REFUSED_FOR_GOOD = {KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.CLUSTER_AUTHORIZATION_FAILED}


class KafkaProducer:
    """The `Producer` of a cluster: idempotent, all replicas, Java's partitioner, no lingering. Thread-safe.

    Acknowledged is only what the broker gave an offset; the library's guesses are `Unavailable`.
    The caller must `close` it. A fatal error of the library surfaces as `Unavailable` on the next
    call, which also puts a new producer in place; until then, nothing is sent.
    """

    def __init__(
        self,
        options: KafkaOptions,
        delivery_seconds: float = 10.0,
        queue_bytes: int = QUEUE_BYTES,
    ) -> None:
        """`queue_bytes`: how much may be in flight before `send` refuses."""
        self._options = options
        self._queue_bytes = queue_bytes
        self._delivery_seconds = delivery_seconds
        self._fatal: KafkaError | None = None
        self._lock = threading.Lock()
        self._closed = False
        self._library = self._open()
        self._poller = threading.Thread(target=self._poll, name="kafka-producer", daemon=True)
        self._poller.start()

    def send(self, record: Outgoing) -> Future[RecordMetadata]:
        """Queue a record; never blocks. Raises `Overloaded` when there is no room, `TooLarge` for a giant.

        The future can't be cancelled. It fails with `Unavailable` when the record wasn't acknowledged in
        time, with `TooLarge` or `Misconfigured` when the broker will never take it.
        """
        future: Future[RecordMetadata] = Future()
        future.set_running_or_notify_cancel()
        self._submit(record, partial(_settle, future))
        return future

    def send_all(self, records: Sequence[Outgoing]) -> list[RecordMetadata]:
        """Send in order, waiting for room, and return when all are acknowledged.

        Raises `Unavailable` when there was no room or no acknowledgement in time, and what `send`'s future
        may raise; some records may have been written then, so the caller must be ready to send all of them
        again.
        """
        return self.begin_all(records)()

    def begin_all(self, records: Sequence[Outgoing]) -> Acknowledgements:
        """Send in order, waiting for room; what is returned waits for the acknowledgements. The two raise what
        `send_all` does."""
        deadline = time.monotonic() + self._delivery_seconds
        reports = DeliveryReports(len(records))
        for index, record in enumerate(records):
            self._enqueue(record, reports.slot(index), deadline)
        # The library's own time-out comes first; the margin is for a poll thread that is starved.
        return partial(reports.wait, 2 * self._delivery_seconds)

    def check(self) -> None:
        """Raise `Unavailable` unless the cluster answers within two seconds."""
        self._check_alive()
        try:
            self._library.list_topics(timeout=2.0)
        except KafkaException as error:
            raise Unavailable(f"Kafka doesn't answer: {error.args[0].str()}") from error

    def close(self) -> None:
        """Wait for what is queued, as long as a delivery may take; what is left fails with `Unavailable`."""
        if self._closed:
            return
        self._closed = True
        self._poller.join()
        _discard(self._library, self._delivery_seconds)

    def _submit(self, record: Outgoing, settle: Callable[[DeliveryReport], None]) -> None:
        """Queue a record; `settle` is called with its outcome, on another thread. Raises as `send` does."""
        self._check_alive()
        check_size(record)
        try:
            self._library.produce(
                self._options.prefix + record.topic,
                value=record.value,
                key=record.key,
                headers=list(self._signed(record)),
                partition=_BY_KEY if record.partition is None else record.partition,
                on_delivery=partial(_deliver, settle, record.topic),
            )
        except BufferError as error:
            raise Overloaded("the producer's queue is full: the broker is slower than the intake") from error
        except KafkaException as error:
            raise _translate_error(error.args[0], record.topic) from error

    def _signed(self, record: Outgoing) -> Headers:
        signer = self._options.signer
        if signer is None or record.topic != INTERACTIONS:
            return record.headers
        return signer.signed(record.key, record.value, record.headers)

    def _enqueue(self, record: Outgoing, settle: Callable[[DeliveryReport], None], deadline: float) -> None:
        while True:
            try:
                return self._submit(record, settle)
            except Overloaded as error:
                if time.monotonic() >= deadline:
                    raise Unavailable(f"no room to send: {error}") from error
                time.sleep(_ROOM_SECONDS)

    def _open(self) -> ConfluentProducer:
        config = producer_config(self._options, self._delivery_seconds, self._queue_bytes, self._on_error)
        return create_client(ConfluentProducer, config)

    def _check_alive(self) -> None:
        if self._closed:
            raise Unavailable("the producer is closed")
        if self._fatal is not None:
            self._replace()

    def _replace(self) -> None:
        with self._lock:
            if self._fatal is None:  # another thread was quicker
                return
            reason, self._fatal = self._fatal.str(), None
            broken, self._library = self._library, self._open()
        _discard(broken, 0.0)
        raise Unavailable(f"the producer failed and was replaced: {reason}")

    def _on_error(self, error: KafkaError) -> None:
        if error.fatal():
            self._fatal = error

    def _poll(self) -> None:
        while not self._closed:
            self._library.poll(_POLL_SECONDS)


def _deliver(settle: Callable[[DeliveryReport], None], topic: str, error: KafkaError | None, message: Any) -> None:
    if error is not None:
        settle(_translate_error(error, topic))
    elif message.offset() is None:
        # librdkafka concludes from a later request's success that this one's records were written as well. On a
        # partition that knows nothing of this producer yet, they were not: the broker takes any first sequence.
        # https://github.com/confluentinc/confluent-kafka-go/issues/921
        settle(Unavailable(f"{topic}: Kafka didn't say where it wrote the record: it may not have"))
    else:
        settle(RecordMetadata(topic, message.partition(), message.offset()))


def _settle(future: Future[RecordMetadata], outcome: DeliveryReport) -> None:
    if isinstance(outcome, EddylineError):
        future.set_exception(outcome)
    else:
        future.set_result(outcome)


def check_size(record: Outgoing) -> None:
    """Raise `TooLarge` for a record that no broker takes."""
    max_bytes = DEAD_LETTER_BYTES if record.topic.endswith(DEAD_LETTER_SUFFIX) else RECORD_BYTES
    size = record.size
    if size > max_bytes:
        raise TooLarge(f"the record has {size:,} bytes, {record.topic} takes {max_bytes:,}")


def _discard(library: ConfluentProducer, seconds: float) -> None:
    if library.flush(seconds):
        library.purge()
        library.flush(1.0)


def _translate_error(error: KafkaError, topic: str) -> EddylineError:
    if error.code() == KafkaError.MSG_SIZE_TOO_LARGE:
        return TooLarge(f"the record is larger than {topic} takes")
    if error.code() in _REFUSED_FOR_GOOD:
        return Misconfigured(f"topic {topic}: not allowed: {error.str()}; grant this client access")
    if error.code() in UNKNOWN_TOPIC:
        return Unavailable(f"topic {topic} doesn't exist: run `eddyline init`")
    return Unavailable(f"{topic} didn't take the record: {error.str()}")
