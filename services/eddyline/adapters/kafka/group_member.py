"""One member of a consumer group: confluent_kafka's Consumer in our terms, never blocking for long.

A commit that waits for its answer blocks for ever when a broker hangs (tried: over 190 s), and so does
`close`: hence commits are sent and their answers heard while polling, and closing gets a thread and a limit.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from confluent_kafka import Consumer, KafkaError, KafkaException
from confluent_kafka import TopicPartition as KafkaPartition

from eddyline.adapters.kafka.contract import Record, TopicPartition
from eddyline.adapters.kafka.options import KafkaOptions, consumer_config
from eddyline.errors import Misconfigured, Unavailable

_REFUSED = {
    KafkaError.UNKNOWN_MEMBER_ID,
    KafkaError.FENCED_INSTANCE_ID,
    KafkaError.FENCED_MEMBER_EPOCH,
    KafkaError._ASSIGNMENT_LOST,
    KafkaError._FENCED,
}
# A wrong generation under a member id that the group knows: it has moved on, and we are about to hear. (A
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
_UNKNOWN_TOPIC = {KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC, KafkaError._UNKNOWN_PARTITION}


class CommitRefused(Exception):
    """The group no longer takes our commits: we are a zombie, and own nothing."""


class RebalanceInProgress(Exception):
    """The commit can't be taken just now; it may be when the rebalance is over."""


class OffsetAndMetadata(NamedTuple):
    """What a group has committed of a partition: the next offset to read, and our metadata."""

    offset: int
    metadata: str


class Watermarks(NamedTuple):
    """A partition's first offset, and the one that its next record will get."""

    low: int
    high: int


class GroupListener(Protocol):
    """What happens while polling. Called on the polling thread; must not raise."""

    def on_assigned(self, partitions: Sequence[TopicPartition]) -> None:
        """These came; perhaps none, when others own them all."""

    def on_revoked(self, partitions: Sequence[TopicPartition]) -> None:
        """These go; commits that were sent before still count."""

    def on_lost(self, partitions: Sequence[TopicPartition]) -> None:
        """These are gone already."""

    def on_committed(self, positions: Mapping[TopicPartition, OffsetAndMetadata]) -> None:
        """The broker has taken these."""

    def on_commit_failed(self, error: Exception) -> None:
        """It hasn't: `CommitRefused`, `RebalanceInProgress`, `Unavailable` or `Misconfigured`."""

    def on_problem(self, problem: str) -> None:
        """The cluster can't be reached; the library keeps trying."""

    def on_missing(self, topic: str) -> None:
        """A topic doesn't exist (yet)."""


class GroupMember:
    """Consumes `topics` (logical names) in `group`, telling `listener` what happens. For one thread.

    `logs` gives each topic's identity for the records; it is the caller's to keep up to date.
    """

    def __init__(
        self,
        options: KafkaOptions,
        group: str,
        topics: Sequence[str],
        listener: GroupListener,
        logs: Mapping[str, str],
    ) -> None:
        self._prefix = options.prefix
        self._listener = listener
        self._logs = logs
        self._silent = False
        assignor = "range" if len(topics) > 1 else "cooperative-sticky"
        config = consumer_config(options, group, assignor, self._on_error) | {"on_commit": self._on_commit}
        try:
            self._consumer = Consumer(config)
        except KafkaException as error:
            raise Misconfigured(f"Kafka's client settings: {error.args[0].str()}") from error
        self._topics = [self._prefix + topic for topic in topics]
        self._consumer.subscribe(
            self._topics,
            on_assign=self._told("on_assigned"),
            on_revoke=self._told("on_revoked"),
            on_lost=self._told("on_lost"),
        )

    def poll(self, most: int, seconds: float) -> list[Record]:
        """Wait up to `seconds` for a record, then take what is there, up to `most`. Callbacks run
        meanwhile."""
        first = self._consumer.poll(seconds)
        if first is None:
            return []
        messages = [first]
        if most > 1:
            messages += self._consumer.consume(most - 1, timeout=0)
        return [record for message in messages if (record := self._record(message)) is not None]

    def commit(self, positions: Mapping[TopicPartition, OffsetAndMetadata]) -> None:
        """Send a commit; its outcome comes to the listener while polling. Raises as `on_commit_failed` is
        told."""
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
        """What the group has committed; None where nothing. Raises `Unavailable`."""
        wanted = [KafkaPartition(self._prefix + source.topic, source.partition) for source in partitions]
        try:
            found = self._consumer.committed(wanted, timeout=seconds)
        except KafkaException as error:
            raise Unavailable(f"Kafka didn't return the committed offsets: {error.args[0].str()}") from error
        for partition in found:
            if partition.error is not None:
                raise Unavailable(f"Kafka didn't return the committed offsets: {partition.error.str()}")
        return {self._ours(p): OffsetAndMetadata(p.offset, p.metadata or "") if p.offset >= 0 else None for p in found}

    def watermarks(self, source: TopicPartition, seconds: float) -> Watermarks:
        """Ask the broker. Raises `Unavailable`."""
        partition = KafkaPartition(self._prefix + source.topic, source.partition)
        try:
            found = self._consumer.get_watermark_offsets(partition, timeout=seconds)
        except KafkaException as error:
            raise Unavailable(f"Kafka didn't return {source.topic}'s offsets: {error.args[0].str()}") from error
        if found is None:
            raise Unavailable(f"Kafka didn't return {source.topic}'s offsets in time")
        return Watermarks(*found)

    def known_high(self, source: TopicPartition) -> int | None:
        """The next record's offset as the last fetch told it, without asking; None before the first."""
        partition = KafkaPartition(self._prefix + source.topic, source.partition)
        found = self._consumer.get_watermark_offsets(partition, cached=True)
        return found[1] if found is not None and found[1] >= 0 else None

    def present(self, seconds: float) -> set[str] | None:
        """Which of our topics exist; None when the cluster doesn't answer."""
        try:
            found = self._consumer.list_topics(timeout=seconds).topics
        except KafkaException:
            return None
        return {topic.removeprefix(self._prefix) for topic in self._topics if topic in found}

    def seek(self, source: TopicPartition, offset: int) -> None:
        """Read on from there. Raises `Unavailable` while the partition isn't being read yet."""
        try:
            self._consumer.seek(KafkaPartition(self._prefix + source.topic, source.partition, offset))
        except KafkaException as error:
            raise Unavailable(f"Kafka doesn't read {source.topic} yet: {error.args[0].str()}") from error

    def pause(self) -> None:
        """Fetch nothing of what is assigned now."""
        self._consumer.pause(self._consumer.assignment())

    def resume(self) -> None:
        """Fetch again."""
        self._consumer.resume(self._consumer.assignment())

    def close(self, seconds: float) -> bool:
        """Leave the group, telling the listener nothing more; False when that took longer than `seconds`."""
        self._silent = True
        closing = threading.Thread(target=self._consumer.close, name="kafka-close", daemon=True)
        closing.start()
        closing.join(seconds)
        return not closing.is_alive()

    def _ours(self, partition: KafkaPartition) -> TopicPartition:
        return TopicPartition(partition.topic.removeprefix(self._prefix), partition.partition)

    def _told(self, event: str) -> Any:
        def tell(_consumer: Consumer, partitions: list[KafkaPartition]) -> None:
            if not self._silent:
                getattr(self._listener, event)([self._ours(partition) for partition in partitions])

        return tell

    def _on_commit(self, error: KafkaError | None, partitions: list[KafkaPartition]) -> None:
        if self._silent:
            return
        taken = {self._ours(p): OffsetAndMetadata(p.offset, p.metadata or "") for p in partitions if p.error is None}
        failed = error or next((p.error for p in partitions if p.error is not None), None)
        if error is None and taken:
            self._listener.on_committed(taken)
        if failed is not None:
            self._listener.on_commit_failed(_translate_commit_error(failed))

    def _on_error(self, error: KafkaError) -> None:
        if not self._silent and error.code() == KafkaError._ALL_BROKERS_DOWN:
            self._listener.on_problem("no Kafka broker can be reached")

    def _record(self, message: Any) -> Record | None:
        error = message.error()
        if error is None:
            return to_record(message, self._prefix, self._logs)
        if error.fatal():
            raise KafkaException(error)
        if error.code() in _UNKNOWN_TOPIC:
            self._listener.on_missing(message.topic().removeprefix(self._prefix))
        elif error.code() != KafkaError._MAX_POLL_EXCEEDED:  # then `on_lost` follows
            self._listener.on_problem(f"Kafka: {error.str()}")
        return None


def to_record(message: Any, prefix: str, logs: Mapping[str, str]) -> Record:
    """The library's message in our terms; `logs` gives each topic's identity, by its logical name."""
    topic = message.topic().removeprefix(prefix)
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
    )


def _translate_commit_error(error: KafkaError) -> Exception:
    if error.code() in _REFUSED:
        return CommitRefused(error.str())
    if error.code() in _REBALANCING:
        return RebalanceInProgress(error.str())
    if error.code() in _NOT_OURS_TO_RETRY:
        return Misconfigured(f"Kafka refused the commit: {error.str()}")
    return Unavailable(f"Kafka can't take the commit now: {error.str()}")
