"""A dead letter: the record as it was, and why, when and at which attempt it was given up."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import NamedTuple, Protocol, TypeAlias, TypeVar

from eddyline.adapters.kafka.contract import Headers, Record

Clock: TypeAlias = Callable[[], float]
"""Gives epoch seconds."""
Item = TypeVar("Item")

BATCH_RECORDS, BATCH_BYTES = 500, 1_000_000


class DeadLetterKey(NamedTuple):
    """What makes two dead letters the same: a crash may leave one twice."""

    log: str
    topic: str
    partition: int
    offset: int
    reason: str


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A dead letter. `record` is the original, at its original place; `buried` is when, in epoch milliseconds."""

    record: Record
    reason: str
    detail: str
    attempt: int
    buried: int

    @property
    def identity(self) -> DeadLetterKey:
        """Tells it from all others."""
        record = self.record
        return DeadLetterKey(record.log, record.topic, record.partition, record.offset, self.reason)

    @property
    def id(self) -> str:
        """Names it for people: `topic:partition:offset@log`, with four digits of the log's hash, since every start of
        the in-process broker counts from 0."""
        return f"{self._place}@{_short_hash(self.record.log)}" if self.record.log else self._place

    def is_at(self, place: str) -> bool:
        """Whether `place` is its id, with or without the log."""
        return place in (self.id, self._place)

    @property
    def _place(self) -> str:
        return f"{self.record.topic}:{self.record.partition}:{self.record.offset}"


@dataclass(frozen=True, slots=True)
class UnreadableDeadLetter:
    """What lies among the dead letters and isn't one: where, what is wrong with it, and the bytes."""

    place: str
    problem: str
    key: bytes | None
    value: bytes | None
    headers: Headers = ()


class DeadLetterLog(Protocol):
    """The dead letters of a partition of a topic, or of a file, as they were when it was opened."""

    name: str
    """`interactions.dlq:0`, `interactions.jsonl`."""
    topic: str
    """Where they come from."""

    def read(self) -> Iterator[DeadLetter | UnreadableDeadLetter]:
        """In the order in which they were kept, each letter once. Raises `Unavailable`."""

    def remove(self, gone: Set[DeadLetterKey]) -> None:
        """Remove these for good; what was kept meanwhile stays, as does what can't be read.

        A crash leaves each of the others once or twice, never not at all. Raises `Unavailable`.
        """


class DeadLetterStore(Protocol):
    """All dead letters of a deployment."""

    def logs(self, topic: str | None = None) -> Sequence[DeadLetterLog]:
        """What there is now, of all topics or of one (a source's logical name). Raises `Unavailable`."""

    def close(self) -> None:
        """Release what was opened."""


def to_fields(record: Record, reason: str, detail: str, attempt: int, at: float) -> dict[str, str]:
    """What is kept beside the record's key, value and headers. `at` in epoch seconds."""
    return {
        "reason": reason,
        "detail": detail,
        "topic": record.topic,
        "partition": str(record.partition),
        "offset": str(record.offset),
        "log": record.log,
        "timestamp": str(record.timestamp),
        "attempt": str(attempt),
        "at": str(int(at * 1000)),
    }


def from_fields(
    said: Mapping[str, str], topic: str, key: bytes | None, value: bytes | None, headers: Headers
) -> DeadLetter:
    """The inverse of `to_fields`; `topic` is the one whose dead letters these are. Raises ValueError saying what is
    wrong."""
    if said.get("topic") != topic:
        raise ValueError(f"it says that it is from topic {said.get('topic')!r}, among those from {topic!r}")
    if not said.get("reason"):
        raise ValueError("it doesn't say its reason")
    record = Record(
        topic,
        _number(said, "partition"),
        _number(said, "offset"),
        key,
        value,
        _number(said, "timestamp"),
        said.get("log", ""),
        headers,
    )
    buried = _number(said, "at") if "at" in said else record.timestamp
    attempt = _number(said, "attempt") if "attempt" in said else 1
    return DeadLetter(record, said["reason"], said.get("detail", ""), attempt, buried)


def without_duplicates(
    found: Iterable[DeadLetter | UnreadableDeadLetter],
) -> Iterator[DeadLetter | UnreadableDeadLetter]:
    """Without the letters that came before."""
    seen: set[DeadLetterKey] = set()
    for each in found:
        if isinstance(each, DeadLetter):
            if each.identity in seen:
                continue
            seen.add(each.identity)
        yield each


def in_size_limited_batches(items: Iterable[Item], size: Callable[[Item], int]) -> Iterator[list[Item]]:
    """Runs of up to `BATCH_RECORDS` items and, but for a single one, `BATCH_BYTES` of `size`."""
    batch: list[Item] = []
    total = 0
    for item in items:
        if batch and (len(batch) == BATCH_RECORDS or total + size(item) > BATCH_BYTES):
            yield batch
            batch, total = [], 0
        batch.append(item)
        total += size(item)
    if batch:
        yield batch


def _short_hash(log: str) -> str:
    return hashlib.blake2b(log.encode(), digest_size=2).hexdigest()


def _number(said: Mapping[str, str], name: str) -> int:
    text = said.get(name)
    if not isinstance(text, str) or not (text.isascii() and text.isdigit()):
        raise ValueError(f"its {name} is {text!r}, not a number")
    return int(text)
