"""Requests that write and read records.

All of it runs on the broker's event loop. Reading the journal holds that up for some milliseconds at most; writing to
it is awaited.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable

from confluent_kafka import KafkaError

from eddyline.adapters.kafka.embedded.api import NO_ERROR, STORAGE_ERROR, UNKNOWN_TOPIC, Api, Request, find, written
from eddyline.adapters.kafka.embedded.journal import Journal, JournalUnavailable
from eddyline.adapters.kafka.embedded.log_state import LogPartition
from eddyline.adapters.kafka.embedded.producer_sequences import OutOfOrderSequence
from eddyline.adapters.kafka.embedded.record_batch import DamagedBatch, split_batches
from eddyline.adapters.kafka.embedded.wire import ResponseWriter

TOO_LARGE = KafkaError.MSG_SIZE_TOO_LARGE
CORRUPT = KafkaError.INVALID_MSG
OUT_OF_RANGE = KafkaError.OFFSET_OUT_OF_RANGE
_MAX_MESSAGE_BYTES = 1_048_588
"""Kafka's default of `max.message.bytes`."""
_LATEST, _EARLIEST = -1, -2


class RecordRequests:
    """Writes to the journal, and reads from it."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._appended: dict[LogPartition, set[asyncio.Event]] = {}
        self._next_producer = time.time_ns() // 1000
        self.apis = (
            Api(0, 7, self._produce),
            Api(1, 4, self._fetch),
            Api(2, 2, self._list_offsets),
            Api(21, 1, self._delete_records),
            Api(22, 1, self._init_producer_id),
        )

    async def _init_producer_id(self, request: Request) -> ResponseWriter:
        self._next_producer += 1
        response = request.response
        response.int32(0)
        response.int16(NO_ERROR)
        response.int64(self._next_producer)
        response.int16(0)
        return response

    async def _produce(self, request: Request) -> ResponseWriter | None:
        body, version, response = request.body, request.version, request.response
        body.nullable_string()
        acks, _ = body.int16(), body.int32()
        topics = body.array(lambda: (body.string(), body.array(lambda: (body.int32(), body.nullable_bytes() or b""))))
        appends = [
            (name, number, self._append(name, number, records))
            for name, partitions in topics
            for number, records in partitions
        ]
        outcomes = [(name, number, await outcome) for name, number, outcome in appends]
        if acks == 0:
            return None

        def write_partition(outcome: tuple[str, int, tuple[int, int]]) -> None:
            _, number, (error, base) = outcome
            response.int32(number)
            response.int16(error)
            response.int64(base)
            if version >= 2:
                response.int64(-1)
            if version >= 5:
                response.int64(0)

        def write_topic(name: str) -> None:
            response.string(name)
            response.array([one for one in outcomes if one[0] == name], write_partition)

        response.array(dict.fromkeys(name for name, _ in topics), write_topic)
        response.int32(0)
        return response

    def _append(self, name: str, number: int, records: bytes) -> Awaitable[tuple[int, int]]:
        """Submit the records at once, in the order of the requests; await an error and the first offset."""
        topic, partition = find(self._journal, name, number)
        if topic is None or partition is None:
            return _refused(UNKNOWN_TOPIC)
        if len(records) > int(topic.config.get("max.message.bytes", _MAX_MESSAGE_BYTES)):
            return _refused(TOO_LARGE)
        try:
            batches = split_batches(records)
        except DamagedBatch:
            return _refused(CORRUPT)
        if not batches:
            return _refused(CORRUPT)
        futures = [self._journal.append(partition, header, batch) for header, batch in batches]
        return self._outcome(partition, [asyncio.wrap_future(future) for future in futures])

    async def _outcome(self, partition: LogPartition, futures: list[asyncio.Future[int]]) -> tuple[int, int]:
        try:
            bases = await asyncio.gather(*futures)
        except OutOfOrderSequence:
            return KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER, -1
        except JournalUnavailable:
            return STORAGE_ERROR, -1
        for event in self._appended.get(partition, ()):
            event.set()
        return NO_ERROR, bases[0]

    async def _fetch(self, request: Request) -> ResponseWriter:
        body, response = request.body, request.response
        _, max_wait_ms, min_bytes, max_bytes, _ = body.int32(), body.int32(), body.int32(), body.int32(), body.int8()
        topics = body.array(lambda: (body.string(), body.array(lambda: (body.int32(), body.int64(), body.int32()))))
        deadline = asyncio.get_running_loop().time() + max_wait_ms / 1000
        wanted = [find(self._journal, name, number)[1] for name, partitions in topics for number, _, _ in partitions]
        while True:
            event = asyncio.Event()  # before reading, so that nothing is missed
            for partition in filter(None, wanted):
                self._appended.setdefault(partition, set()).add(event)
            try:
                found = self._read(topics, max_bytes)
                size = sum(len(one[4]) for partitions in found.values() for one in partitions)
                failed = any(one[1] != NO_ERROR for partitions in found.values() for one in partitions)
                left = deadline - asyncio.get_running_loop().time()
                if size >= max(min_bytes, 1) or failed or left <= 0:
                    break
                try:
                    await asyncio.wait_for(event.wait(), left)
                except TimeoutError:
                    break
            finally:
                for partition in filter(None, wanted):
                    self._appended[partition].discard(event)

        def write_partition(one: tuple[int, int, int, int, bytes]) -> None:
            number, error, high, _, records = one
            response.int32(number)
            response.int16(error)
            response.int64(high)
            response.int64(high)  # the last stable offset: there are no transactions
            response.int32(0)
            response.bytes(records)

        def write_topic(name: str) -> None:
            response.string(name)
            response.array(found[name], write_partition)

        response.int32(0)
        response.array(found, write_topic)
        return response

    def _read(
        self, topics: list[tuple[str, list[tuple[int, int, int]]]], max_bytes: int
    ) -> dict[str, list[tuple[int, int, int, int, bytes]]]:
        """Return number, error, high and low watermark, and records of each partition."""
        found: dict[str, list[tuple[int, int, int, int, bytes]]] = {}
        left = max_bytes
        for name, partitions in topics:
            for number, offset, partition_bytes in partitions:
                _, partition = find(self._journal, name, number)
                if partition is None:
                    one = (number, UNKNOWN_TOPIC, -1, -1, b"")
                elif not partition.low <= offset <= partition.high:
                    one = (number, OUT_OF_RANGE, partition.high, partition.low, b"")
                else:
                    is_wanted = left > 0 and offset < partition.high
                    records = self._journal.read(partition, offset, min(left, partition_bytes)) if is_wanted else b""
                    left -= len(records)
                    one = (number, NO_ERROR, partition.high, partition.low, records)
                found.setdefault(name, []).append(one)
        return found

    async def _list_offsets(self, request: Request) -> ResponseWriter:
        body, version, response = request.body, request.version, request.response
        body.int32()
        if version >= 2:
            body.int8()

        def read() -> tuple[int, int]:
            number, timestamp = body.int32(), body.int64()
            if version == 0:
                body.int32()
            return number, timestamp

        topics = body.array(lambda: (body.string(), body.array(read)))

        def write_topic(topic: tuple[str, list[tuple[int, int]]]) -> None:
            name, partitions = topic

            def write(wanted: tuple[int, int]) -> None:
                number, timestamp = wanted
                _, partition = find(self._journal, name, number)
                response.int32(number)
                response.int16(UNKNOWN_TOPIC if partition is None else NO_ERROR)
                offset = -1 if partition is None else self._offset_at(partition, timestamp)
                if version == 0:
                    response.array([offset], response.int64)
                else:
                    response.int64(-1)
                    response.int64(offset)

            response.string(name)
            response.array(partitions, write)

        if version >= 2:
            response.int32(0)
        response.array(topics, write_topic)
        return response

    def _offset_at(self, partition: LogPartition, timestamp: int) -> int:
        if timestamp == _LATEST:
            return partition.high
        if timestamp == _EARLIEST:
            return partition.low
        found = self._journal.offset_at(partition, timestamp)
        return -1 if found is None else found

    async def _delete_records(self, request: Request) -> ResponseWriter:
        body, response = request.body, request.response
        topics = body.array(lambda: (body.string(), body.array(lambda: (body.int32(), body.int64()))))
        outcomes: dict[str, list[tuple[int, int, int]]] = {}
        for name, partitions in topics:
            for number, offset in partitions:
                _, partition = find(self._journal, name, number)
                if partition is None:
                    outcomes.setdefault(name, []).append((number, -1, UNKNOWN_TOPIC))
                    continue
                end = partition.high if offset == -1 else offset
                low = await written(self._journal.delete_before(partition, end))
                error = NO_ERROR if low is not None else STORAGE_ERROR
                outcomes.setdefault(name, []).append((number, -1 if low is None else low, error))

        def write(outcome: tuple[int, int, int]) -> None:
            number, low, error = outcome
            response.int32(number)
            response.int64(low)
            response.int16(error)

        def write_topic(name: str) -> None:
            response.string(name)
            response.array(outcomes[name], write)

        response.int32(0)
        response.array(outcomes, write_topic)
        return response


async def _refused(error: int) -> tuple[int, int]:
    return error, -1
