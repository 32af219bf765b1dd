"""Writes records to another log at the offsets that they have had, with their times."""

from __future__ import annotations

import time
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from dataclasses import dataclass

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka import Producer as ConfluentProducer
from confluent_kafka import TopicPartition as KafkaPartition
from confluent_kafka.admin import AdminClient

from eddyline.adapters.kafka.client_config import KafkaOptions, admin_config, create_client, producer_config
from eddyline.adapters.kafka.contract import Headers, Record
from eddyline.adapters.kafka.log_reader import LogReader
from eddyline.errors import Unavailable
from eddyline.topics import INTERACTIONS, LARGE_RECORD_BYTES

DELIVERY_SECONDS = 120.0
_QUEUE_BYTES = 64 * 1024 * 1024
_POLL_SECONDS = 0.05
_FILLERS = 10_000


@dataclass(frozen=True, slots=True)
class CopiedPartition:
    """A partition as it was copied: `offsets` of its records in the log that they come from, in order."""

    offsets: array[int]

    def next_offset(self, offset: int) -> int:
        """Return the offset in the copy that comes after all records from before an offset."""
        return bisect_left(self.offsets, offset)

    def new_offset(self, offset: int) -> int:
        """Return where in the copy the record is that was at an offset, or the last one before it where it is gone;
        -1 where none is."""
        return bisect_right(self.offsets, offset) - 1


class LogWriter:
    """Fills new topics of a cluster, that nobody else writes to. For one thread; the caller must `close` it.

    What the cluster doesn't take raises `Unavailable`: then the topics hold a part, and are of no use.
    """

    def __init__(self, options: KafkaOptions) -> None:
        self._options = options
        config = producer_config(options, DELIVERY_SECONDS, _QUEUE_BYTES, self._on_error) | {
            "linger.ms": 5,
            "compression.type": "lz4",
            "message.max.bytes": LARGE_RECORD_BYTES,
            "delivery.report.only.error": True,
        }
        self._producer = create_client(ConfluentProducer, config)
        self._reader = LogReader(options)
        self._error: KafkaError | None = None

    def copy(self, topic: str, partition: int, records: Iterable[Record]) -> CopiedPartition:
        """Copy a partition's records, one after another: at the next offsets, whatever theirs are."""
        offsets = array("q")
        for record in records:
            self._write(topic, partition, record)
            offsets.append(record.offset)
        self._await_end(topic, partition, len(offsets))
        return CopiedPartition(offsets)

    def copy_in_place(self, topic: str, partition: int, low: int, high: int, records: Iterable[Record]) -> None:
        """Copy a partition's records from `low` up to `high`, each at its offset.

        What is before `low` is deleted again, so the topic must not be compacted. Gaps hold empty records.
        """
        following = 0
        for record in records:
            self._fill(topic, partition, record.offset - following)
            self._write(topic, partition, record)
            following = record.offset + 1
        self._fill(topic, partition, high - following)
        self._await_end(topic, partition, high)
        if low:
            self._delete_before(topic, partition, low)

    def close(self) -> None:
        """Release the connections; what isn't acknowledged is given up."""
        self._producer.purge()
        self._producer.flush(1.0)
        self._reader.close()

    def _write(self, topic: str, partition: int, record: Record) -> None:
        headers = self._signed(record)
        while True:
            try:
                self._producer.produce(
                    self._options.prefix + topic,
                    value=record.value,
                    key=record.key,
                    headers=list(headers),
                    partition=partition,
                    timestamp=record.timestamp,
                    on_delivery=self._on_delivery,
                )
            except BufferError:
                self._make_room()
            else:
                return

    def _signed(self, record: Record) -> Headers:
        signer = self._options.signer
        if signer is None or record.topic != INTERACTIONS:
            return record.headers
        return signer.signed(record.key, record.value, record.headers)

    def _fill(self, topic: str, partition: int, count: int) -> None:
        while count > 0:
            fillers = [{"value": b""} for _ in range(min(count, _FILLERS))]
            count -= self._producer.produce_batch(
                self._options.prefix + topic, fillers, partition=partition, on_delivery=self._on_delivery
            )
            self._make_room()

    def _make_room(self) -> None:
        self._producer.poll(_POLL_SECONDS)
        self._raise_error()

    def _await_end(self, topic: str, partition: int, end: int) -> None:
        """Wait until all is acknowledged, and see that the log ends where it must."""
        deadline = time.monotonic() + DELIVERY_SECONDS
        while self._producer.flush(1.0) and time.monotonic() < deadline:
            self._raise_error()
        self._raise_error()
        high = self._reader.bounds(topic)[partition].high
        if high != end:
            raise Unavailable(
                f"{topic} {partition} ends at {high:,} instead of {end:,}: does something else write to it, or did the "
                "cluster not take all?"
            )

    def _delete_before(self, topic: str, partition: int, offset: int) -> None:
        name = self._options.prefix + topic
        admin = create_client(AdminClient, admin_config(self._options))
        (future,) = admin.delete_records([KafkaPartition(name, partition, offset)]).values()
        try:
            future.result(timeout=DELIVERY_SECONDS)
        except (KafkaException, TimeoutError) as error:
            raise Unavailable(f"{topic} {partition} can't be cut before {offset:,}: {error}") from error

    def _on_delivery(self, error: KafkaError | None, _message: object) -> None:
        if error is not None:
            self._error = self._error or error

    def _on_error(self, error: KafkaError) -> None:
        if error.fatal():
            self._error = self._error or error

    def _raise_error(self) -> None:
        if self._error is not None:
            raise Unavailable(f"Kafka didn't take all records: {self._error.str()}")
