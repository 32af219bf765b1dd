"""What the services know of Kafka: records in, records out, and what a handler must keep to in the consume loop."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Generic, NamedTuple, Protocol, TypeAlias, TypeVar

from eddyline.model.offsets import LogPosition

_BATCH_OVERHEAD, _RECORD_OVERHEAD, _HEADER_OVERHEAD = 61, 32, 10

Headers: TypeAlias = tuple[tuple[str, bytes], ...]
Parsed = TypeVar("Parsed")
Parsed_co = TypeVar("Parsed_co", covariant=True)


class TopicPartition(NamedTuple):
    """A partition of a topic. `topic` is the logical name (`content`), without the deployment's prefix."""

    topic: str
    partition: int


@dataclass(frozen=True, slots=True)
class Record:
    """A consumed record. `timestamp` is the broker's, in epoch milliseconds; `log` is the log's identity, which
    changes when the topic is recreated; `key` and `value` are the bytes as they came (`value` None: a tombstone)."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    timestamp: int
    log: str
    headers: Headers = ()
    is_trusted: bool = True
    """Whether a service of ours has signed it, or nothing needs a signature here (`model.signatures`)."""

    @property
    def place(self) -> str:
        """`log:partition:offset`: names it among all records of all time, its log's topic being known."""
        return str(self.position)

    @property
    def position(self) -> LogPosition:
        """Where it is in its topic's log."""
        return LogPosition(self.log, self.partition, self.offset)

    @property
    def source(self) -> TopicPartition:
        """The partition it came from."""
        return TopicPartition(self.topic, self.partition)


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A record to produce. `topic` is the logical name. `partition` None: by the key's murmur2 (any, without a key)."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Headers = ()
    partition: int | None = None

    @property
    def size(self) -> int:
        """The most bytes that it can take in a log: alone in its batch, uncompressed."""
        size = _BATCH_OVERHEAD + _RECORD_OVERHEAD + len(self.key or b"") + len(self.value or b"")
        for name, value in self.headers:  # a loop: it runs for every record, and a sum() takes twice as long
            size += _HEADER_OVERHEAD + len(value) + (len(name) if name.isascii() else len(name.encode()))
        return size


class RecordMetadata(NamedTuple):
    """Where the broker put a record."""

    topic: str
    partition: int
    offset: int


@dataclass(frozen=True, slots=True)
class Message(Generic[Parsed_co]):
    """A record and what the handler's `parse` made of it."""

    record: Record
    value: Parsed_co


class Handler(Protocol[Parsed]):
    """A service's half of the consume loop. All calls come from the loop's one thread."""

    def parse(self, record: Record) -> Parsed:
        """Read one record. Raising `InvalidEvent`, or anything that isn't an `EddylineError`, makes it a dead letter;
        the other errors stop the service."""

    def handle(self, batch: Sequence[Message[Parsed]]) -> None:
        """Apply the batch; its effects must be durable when this returns, since its offsets are committed then.

        It may be called again with the same records (after a crash, a rebalance, or `Unavailable`), or with some of
        them, so it must be idempotent. Raising `Unavailable` makes the loop back off and call again; `Fenced` makes it
        call `revoked`, and `assigned` with higher epochs, and then call again; other `EddylineError`s stop the service.
        `InvalidInput`, and whatever isn't an `EddylineError`, is taken to be a record's fault: after a few tries the
        batch is handled in ever smaller parts, in order, and the record that still fails alone becomes a dead letter.
        """

    def assigned(self, epochs: Mapping[TopicPartition, int]) -> None:
        """Own these partitions from now on, each under an epoch higher than every earlier owner's."""

    def revoked(self, partitions: Iterable[TopicPartition]) -> None:
        """Give these partitions up: forget all state of theirs, write nothing."""

    def tick(self) -> None:
        """Called about once a second between batches, and once more before a drain ends; the same rules as for
        `handle`."""


Acknowledgements: TypeAlias = Callable[[], list[RecordMetadata]]
"""Waits until all records are acknowledged. Raises `Unavailable` if any is not."""


class Producer(Protocol):
    """An idempotent producer: every record is acknowledged by all in-sync replicas or its future fails."""

    def send(self, record: Outgoing) -> Future[RecordMetadata]:
        """Queue a record. Never blocks: raises `Overloaded` when the queue is full.

        The future fails with `Unavailable` when the record could not be delivered within its time-out.
        """

    def send_all(self, records: Sequence[Outgoing]) -> list[RecordMetadata]:
        """Send in order, waiting for room, and return when all are acknowledged. Raises `Unavailable` if any is not."""

    def begin_all(self, records: Sequence[Outgoing]) -> Acknowledgements:
        """Send as `send_all`, and return what waits for the acknowledgements, to be called once. Raises `Unavailable`
        where there is no room."""

    def check(self) -> None:
        """Raise `Unavailable` unless the cluster answers."""

    def close(self) -> None:
        """Flush and release."""


class DeadLetterWriter(Protocol):
    """Keeps records that can never be applied: whole, with why and where from."""

    def put(self, record: Record, reason: str, detail: str, attempt: int = 1) -> None:
        """Durably keep a record. `reason` is a short stable slug (`invalid_event`), `detail` a sentence."""

    def put_all(self, records: Sequence[tuple[Record, str, str]]) -> None:
        """Durably keep records, each with its reason and detail: one wait for all. Raising, it may have kept some."""
