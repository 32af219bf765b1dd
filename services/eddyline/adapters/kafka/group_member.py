"""One member of a consumer group: confluent_kafka's Consumer in our terms, which never blocks for long.

A commit that waits for its answer blocks for ever when a broker hangs (tried: over 190 s), and so does
`close`: hence commits are sent and their answers come while polling, and closing gets a thread and a limit.

All of it runs on the loop's thread, the library's callbacks too: it calls them from within `poll`. Its own threads
fetch and send heartbeats; they go on while a batch is handled, until `max.poll.interval.ms` has passed without a poll.
When the process dies, the group waits for the session to time out, and then gives its partitions to others.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException
from confluent_kafka import TopicPartition as KafkaPartition

from eddyline.adapters.kafka.client_config import (
    UNKNOWN_TOPIC,
    KafkaOptions,
    consumer_config,
    create_client,
    refused_login,
)
from eddyline.adapters.kafka.contract import Record, TopicPartition
from eddyline.adapters.kafka.membership import (
    CommitRefused,
    GroupListener,
    OffsetAndMetadata,
    RebalanceInProgress,
    Watermarks,
)
from eddyline.adapters.kafka.topic_admin import log_identities
from eddyline.errors import Misconfigured, Unavailable

_REFUSED = {
    KafkaError.UNKNOWN_MEMBER_ID,
    KafkaError.FENCED_INSTANCE_ID,
    KafkaError.FENCED_MEMBER_EPOCH,
    KafkaError._ASSIGNMENT_LOST,
    KafkaError._FENCED,
}
# A wrong generation under a member id that the group knows: it has moved on, and we are about to learn of it. (A
# zombie's member id is unknown.)
_REBALANCING = {
    KafkaError.REBALANCE_IN_PROGRESS,
    KafkaError.ILLEGAL_GENERATION,
    KafkaError.STALE_MEMBER_EPOCH,
}
_NOT_OURS_TO_RETRY = {
    KafkaError.GROUP_AUTHORIZATION_FAILED,
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.OFFSET_METADATA_TOO_LARGE,
}


class KafkaGroupMember:
    """The `GroupMember` of a cluster: consumes `topics` (logical names) in `group` and tells `listener` what happens.

    One topic is assigned cooperatively, several by `range`. See `JoinGroup`.
    """

    def __init__(
        self,
        options: KafkaOptions,
        group: str,
        topics: Sequence[str],
        listener: GroupListener,
        logs: Mapping[str, str],
    ) -> None:
        self._options, self._prefix = options, options.prefix
        self._listener = listener
        self._logs = logs
        self._silent = False
        self._refusal: str | None = None
        """Why it wasn't let in when it last tried."""
        assignor = "range" if len(topics) > 1 else "cooperative-sticky"
        config = consumer_config(options, group, assignor, self._on_error) | {"on_commit": self._on_commit}
        self._consumer = create_client(Consumer, config)
        self._topics = [self._prefix + topic for topic in topics]
        self._consumer.subscribe(
            self._topics,
            on_assign=self._callback("on_assigned"),
            on_revoke=self._callback("on_revoked"),
            on_lost=self._callback("on_lost"),
        )

    def poll(self, max_records: int, seconds: float) -> list[Record]:
        first = self._consumer.poll(seconds)
        if first is None:
            return []
        messages, self._refusal = [first], None
        if max_records > 1:
            messages += self._consumer.consume(max_records - 1, timeout=0)
        return [record for message in messages if (record := self._record(message)) is not None]

    def commit(self, positions: Mapping[TopicPartition, OffsetAndMetadata]) -> None:
        offsets = [
            KafkaPartition(self._prefix + topic, partition, position.offset, metadata=position.metadata)
            for (topic, partition), position in positions.items()
        ]
        try:
            self._consumer.commit(offsets=offsets, asynchronous=True)
        except KafkaException as error:
            raise _translate_commit_error(error.args[0]) from error

    def committed(
        self, partitions: Iterable[TopicPartition], seconds: float
    ) -> dict[TopicPartition, OffsetAndMetadata | None]:
        requested = [KafkaPartition(self._prefix + source.topic, source.partition) for source in partitions]
        try:
            found = self._consumer.committed(requested, timeout=seconds)
        except KafkaException as error:
            raise Unavailable(f"Kafka didn't return the committed offsets: {error.args[0].str()}") from error
        for partition in found:
            if partition.error is not None:
                raise Unavailable(f"Kafka didn't return the committed offsets: {partition.error.str()}")
        return {
            self._in_our_terms(p): OffsetAndMetadata(p.offset, p.metadata or "") if p.offset >= 0 else None
            for p in found
        }

    def watermarks(self, source: TopicPartition, seconds: float) -> Watermarks:
        try:
            return query_watermarks(self._consumer, self._prefix + source.topic, source.partition, seconds)
        except KafkaException as error:
            raise Unavailable(f"Kafka didn't return {source.topic}'s offsets: {error.args[0].str()}") from error

    def known_high(self, source: TopicPartition) -> int | None:
        partition = KafkaPartition(self._prefix + source.topic, source.partition)
        found = self._consumer.get_watermark_offsets(partition, cached=True)
        return found[1] if found is not None and found[1] >= 0 else None

    def present(self, seconds: float) -> set[str] | None:
        try:
            found = self._consumer.list_topics(timeout=seconds).topics
        except KafkaException:
            return None
        return {topic.removeprefix(self._prefix) for topic in self._topics if topic in found}

    def log_identities(self, topics: Iterable[str]) -> dict[str, str]:
        return log_identities(self._options, topics)

    def seek(self, source: TopicPartition, offset: int) -> None:
        try:
            self._consumer.seek(KafkaPartition(self._prefix + source.topic, source.partition, offset))
        except KafkaException as error:
            raise Unavailable(f"Kafka doesn't read {source.topic} yet: {error.args[0].str()}") from error

    def pause(self) -> None:
        self._consumer.pause(self._consumer.assignment())

    def resume(self) -> None:
        self._consumer.resume(self._consumer.assignment())

    def close(self, seconds: float) -> bool:
        self._silent = True
        closing = threading.Thread(target=self._consumer.close, name="kafka-close", daemon=True)
        closing.start()
        closing.join(seconds)
        return not closing.is_alive()

    def _in_our_terms(self, partition: KafkaPartition) -> TopicPartition:
        return TopicPartition(partition.topic.removeprefix(self._prefix), partition.partition)

    def _callback(self, event: str) -> Any:
        def call(_consumer: Consumer, partitions: list[KafkaPartition]) -> None:
            if not self._silent:
                getattr(self._listener, event)([self._in_our_terms(partition) for partition in partitions])

        return call

    def _on_commit(self, error: KafkaError | None, partitions: list[KafkaPartition]) -> None:
        if self._silent:
            return
        taken = {
            self._in_our_terms(p): OffsetAndMetadata(p.offset, p.metadata or "") for p in partitions if p.error is None
        }
        failed = error or next((p.error for p in partitions if p.error is not None), None)
        if error is None and taken:
            self._listener.on_committed(taken)
        if failed is not None:
            self._listener.on_commit_failed(_translate_commit_error(failed))

    def _on_error(self, error: KafkaError) -> None:
        if self._silent:
            return
        if error.code() == KafkaError._AUTHENTICATION:
            self._refusal = refused_login(error, self._options)
        if error.code() in (KafkaError._AUTHENTICATION, KafkaError._ALL_BROKERS_DOWN):
            self._listener.on_problem(self._refusal or "no Kafka broker can be reached")

    def _record(self, message: Any) -> Record | None:
        error = message.error()
        if error is None:
            return to_record(message, self._options, self._logs)
        if error.fatal():
            raise KafkaException(error)
        if error.code() in UNKNOWN_TOPIC:
            self._listener.on_missing(message.topic().removeprefix(self._prefix))
        elif error.code() != KafkaError._MAX_POLL_EXCEEDED:  # then `on_lost` follows
            self._listener.on_problem(f"Kafka: {error.str()}")
        return None


def query_watermarks(consumer: Consumer, topic: str, partition: int, seconds: float) -> Watermarks:
    """Ask the broker for a partition's bounds (`topic` with its prefix). Raises `KafkaException`, and `Unavailable`
    where no answer comes in time."""
    found = consumer.get_watermark_offsets(KafkaPartition(topic, partition), timeout=seconds)
    if found is None:
        raise Unavailable(f"Kafka didn't return {topic}'s offsets in time")
    return Watermarks(*found)


def to_record(message: Any, options: KafkaOptions, logs: Mapping[str, str]) -> Record:
    """Convert the library's message; `logs` gives each topic's identity, by its logical name."""
    topic = message.topic().removeprefix(options.prefix)
    headers = tuple((name, value or b"") for name, value in message.headers() or ())
    return Record(
        topic,
        message.partition(),
        message.offset(),
        message.key(),
        message.value(),
        message.timestamp()[1],
        logs.get(topic, ""),
        headers,
        options.trusts(message.key(), message.value(), headers),
    )


def _translate_commit_error(error: KafkaError) -> Exception:
    if error.code() in _REFUSED:
        return CommitRefused(error.str())
    if error.code() in _REBALANCING:
        return RebalanceInProgress(error.str())
    if error.code() in _NOT_OURS_TO_RETRY:
        return Misconfigured(f"Kafka refused the commit: {error.str()}")
    return Unavailable(f"Kafka can't take the commit now: {error.str()}")
