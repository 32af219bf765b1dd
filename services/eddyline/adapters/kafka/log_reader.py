"""Read topics between fixed offsets, outside any group; read and set what groups have committed."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Mapping
from concurrent.futures import Future
from functools import partial
from typing import Any, TypeVar

from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, KafkaError, KafkaException
from confluent_kafka import TopicPartition as KafkaPartition
from confluent_kafka.admin import AdminClient

from eddyline.adapters.kafka.client_config import (
    UNKNOWN_TOPIC,
    KafkaOptions,
    admin_config,
    create_client,
    create_log_consumer,
)
from eddyline.adapters.kafka.contract import Record, TopicPartition
from eddyline.adapters.kafka.group_member import query_watermarks, to_record
from eddyline.adapters.kafka.membership import OffsetAndMetadata, Watermarks
from eddyline.adapters.kafka.topic_admin import log_identities
from eddyline.errors import Misconfigured, Unavailable

Response = TypeVar("Response")

_BATCH = 500
_POLL_SECONDS = 0.1
_TRANSIENT = {
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.FENCED_LEADER_EPOCH,
    KafkaError.UNKNOWN_LEADER_EPOCH,
    KafkaError.NOT_COORDINATOR,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
}
"""Codes while leaders or coordinators move, or a topic is new."""
_HAS_MEMBERS = {
    KafkaError.UNKNOWN_MEMBER_ID,
    KafkaError.ILLEGAL_GENERATION,
    KafkaError.STALE_MEMBER_EPOCH,
    KafkaError.REBALANCE_IN_PROGRESS,
    KafkaError.NON_EMPTY_GROUP,
}
_NO_GROUP = {KafkaError.GROUP_ID_NOT_FOUND}


class LogReader:
    """Read topics between fixed offsets, outside any group; read and set what groups have committed.

    For one thread; the caller must `close` it. Topics and groups go by their logical names. A cluster that gives
    no answer for `patience_seconds` is `Unavailable`.
    """

    def __init__(self, options: KafkaOptions, patience_seconds: float = 30.0) -> None:
        self._options, self._patience = options, patience_seconds
        self._logs: dict[str, str] = {}
        self._open: set[Consumer] = set()
        self._admin = create_client(AdminClient, admin_config(options))
        self._consumer: Consumer | None = None
        self._group_consumers: dict[str, Consumer] = {}

    def bounds(self, topic: str) -> dict[int, Watermarks]:
        """Return the first offset of each partition, and the one that its next record will get. Raises `Misconfigured`
        for a topic that doesn't exist, and `Unavailable`."""
        name = self._options.prefix + topic
        if self._consumer is None:
            self._consumer = self._new_consumer()
        return self._retry_transient(partial(self._bounds, self._consumer, name), f"topic {name}")

    def read(self, topic: str, partition: int, start: int, end: int) -> Generator[Record, None, None]:
        """Yield the records at offsets `start` to `end` - 1, oldest first.

        Compaction, retention and aborted transactions leave gaps.

        Several may be read in turns. Records up to an `end` that lies ahead are waited for. Raises `Unavailable` when
        nothing more comes.
        """
        if start >= end:
            return
        if topic not in self._logs:
            self._logs |= log_identities(self._options, [topic])
        consumer = self._new_consumer()
        try:
            consumer.assign([KafkaPartition(self._options.prefix + topic, partition, start)])
            for message in self._messages(consumer, f"{topic} {partition}"):
                offset = message.offset()
                if message.error() is not None:  # the end of the log, with the offset of its next record
                    reached = offset
                else:
                    reached = offset + 1
                    if start <= offset < end:
                        yield to_record(message, self._options, self._logs)
                if reached >= end:
                    return
        finally:
            self._release(consumer)

    def committed(self, group: str, topic: str) -> dict[int, OffsetAndMetadata | None]:
        """Return what `group` has committed of each partition; None where nothing. Raises as `bounds` does."""
        name = self._options.prefix + topic
        partitions = [KafkaPartition(name, partition) for partition in self.bounds(topic)]
        # By a consumer that never joins: an admin client of librdkafka 2.16 crashes the process when the coordinator
        # has moved or is still loading, as after a broker's restart.
        if group not in self._group_consumers:
            self._group_consumers[group] = self._new_consumer(group)
        request = partial(self._group_consumers[group].committed, partitions, timeout=self._patience)
        found = self._retry_transient(request, f"group {group}")
        return {
            partition.partition: OffsetAndMetadata(partition.offset, partition.metadata or "")
            if partition.offset >= 0
            else None
            for partition in _raise_partition_errors(found, f"group {group}")
        }

    def commit(self, group: str, positions: Mapping[TopicPartition, OffsetAndMetadata]) -> None:
        """Set where `group` goes on, for a group without members. Raises `Misconfigured` when it has some (the
        cluster sees to that, so that none can join meanwhile), and `Unavailable`."""
        offsets = [
            KafkaPartition(self._options.prefix + topic, partition, position.offset, metadata=position.metadata)
            for (topic, partition), position in positions.items()
        ]
        if not offsets:
            return
        request = ConsumerGroupTopicPartitions(self._options.prefix + group, offsets)
        found = self._await_response(self._admin.alter_consumer_group_offsets([request]), f"group {group}")
        _raise_partition_errors(found.topic_partitions, f"group {group}")

    def members(self, group: str) -> int:
        """Count the consumers in `group`; 0 for one that doesn't exist. Raises `Unavailable`."""
        name = self._options.prefix + group
        # So that its coordinator is known: librdkafka 2.16 aborts the process when it learns of that too late below.
        offsets = self._admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(name)])
        self._await_response(offsets, f"group {group}")
        request = self._admin.describe_consumer_groups([name], request_timeout=self._patience)
        try:
            return len(self._result(request[name], f"group {group}").members)
        except KafkaException as error:
            if error.args[0].code() in _NO_GROUP:
                return 0
            raise _translate_error(error.args[0], f"group {group}") from error

    def close(self) -> None:
        """Stop what is being read, and release the connections."""
        for consumer in tuple(self._open):
            self._release(consumer)

    def _new_consumer(self, group: str = "log-reader") -> Consumer:
        consumer = create_log_consumer(self._options, group)
        self._open.add(consumer)
        return consumer

    def _release(self, consumer: Consumer) -> None:
        if consumer in self._open:
            self._open.remove(consumer)
            consumer.close()

    def _bounds(self, consumer: Consumer, name: str) -> dict[int, Watermarks]:
        found = consumer.list_topics(name, timeout=self._patience).topics[name]
        if found.error is not None:
            raise KafkaException(found.error)
        return {n: query_watermarks(consumer, name, n, self._patience) for n in sorted(found.partitions)}

    def _retry_transient(self, request: Callable[[], Response], what: str) -> Response:
        """Repeat the request while it fails for a reason that passes."""
        deadline = time.monotonic() + self._patience
        while True:
            try:
                return request()
            except KafkaException as error:
                if error.args[0].code() not in _TRANSIENT or time.monotonic() > deadline:
                    raise _translate_error(error.args[0], what) from error
                time.sleep(_POLL_SECONDS)

    def _messages(self, consumer: Consumer, what: str) -> Iterator[Any]:
        """Records and ends of the log, until nothing more comes."""
        deadline = time.monotonic() + self._patience
        while time.monotonic() < deadline:
            first = consumer.poll(_POLL_SECONDS)
            if first is None:
                continue
            for message in (first, *consumer.consume(_BATCH - 1, timeout=0)):
                error = message.error()
                if error is None or error.code() == KafkaError._PARTITION_EOF:
                    yield message
                    deadline = time.monotonic() + self._patience
                elif error.fatal() or error.code() in UNKNOWN_TOPIC or "AUTHORIZATION" in error.name():
                    raise _translate_error(error, what)
        raise Unavailable(f"Kafka returned nothing more of {what} for {self._patience:g} s")

    def _await_response(self, request: Mapping[str, Future[Any]], what: str) -> Any:
        (future,) = request.values()
        try:
            return self._result(future, what)
        except KafkaException as error:
            raise _translate_error(error.args[0], what) from error

    def _result(self, future: Future[Any], what: str) -> Any:
        try:
            return future.result(timeout=self._patience)
        except TimeoutError as error:
            raise Unavailable(f"{what}: Kafka doesn't answer") from error


def _raise_partition_errors(partitions: list[KafkaPartition], what: str) -> list[KafkaPartition]:
    for partition in partitions:
        if partition.error is not None:
            raise _translate_error(partition.error, what)
    return partitions


def _translate_error(error: KafkaError, what: str) -> Exception:
    if error.code() in UNKNOWN_TOPIC:
        return Misconfigured(f"{what} doesn't exist: run `eddyline init`")
    if error.code() in _HAS_MEMBERS:
        return Misconfigured(f"{what} has members, which alone may commit: stop them first")
    if "AUTHORIZATION" in error.name():
        return Misconfigured(f"{what}: {error.str()}; grant this client access")
    return Unavailable(f"{what}: {error.str()}")
