"""A dead letter: the record as it was, and why, when and at which attempt it became one."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import NamedTuple, Protocol, TypeAlias, TypeVar

from eddyline.adapters.kafka.contract import Headers, Record

Clock: TypeAlias = Callable[[], float]
"""Gives epoch seconds."""
Item = TypeVar("Item")

DETAIL_CHARACTERS = 500
"""Most of a dead letter's detail: an error may quote what it failed at."""
CUT = "cut"
"""The field of a dead letter that holds only the beginning of its record: how many bytes that has."""
MAX_BATCH_RECORDS, MAX_BATCH_BYTES = 500, 1_000_000


class DeadLetterKey(NamedTuple):
    """What makes two dead letters the same: a crash may leave one twice."""

    log: str
    topic: str
    partition: int
    offset: int
    reason: str


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A dead letter. `record` is the original, at its original place; `given_up_at` is when, in epoch milliseconds."""

    record: Record
    reason: str
    detail: str
    attempt: int
    given_up_at: int

    @property
    def identity(self) -> DeadLetterKey:
        """What makes it the same as another."""
        record = self.record
        return DeadLetterKey(record.log, record.topic, record.partition, record.offset, self.reason)

    @property
    def id(self) -> str:
        """The name for people: `topic:partition:offset@log`, with four digits of the log's hash, since a topic that
        is made anew counts from 0."""
        return f"{self._place}@{_short_hash(self.record.log)}" if self.record.log else self._place

    def is_at(self, place: str) -> bool:
        """Whether `place` is its id, with or without the log."""
        return place in (self.id, self._place)

    @property
    def _place(self) -> str:
        return f"{self.record.topic}:{self.record.partition}:{self.record.offset}"


@dataclass(frozen=True, slots=True)
class UnreadableDeadLetter:
    """Something among the dead letters that isn't one: where it is, what is wrong with it, and its bytes."""

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
        """Yield the dead letters in the order in which they were kept, each once. Raises `Unavailable`."""

    def remove(self, gone: Set[DeadLetterKey]) -> None:
        """Remove these for good; what was kept meanwhile stays, as does what can't be read.

        A crash leaves each of the others once or twice, never not at all. Raises `Unavailable`.
        """


class DeadLetterStore(Protocol):
    """All dead letters of a deployment."""

    def logs(self, topic: str | None = None) -> Sequence[DeadLetterLog]:
        """Return the logs there are now, of all topics or of one (a source's logical name). Raises `Unavailable`."""

    def close(self) -> None:
        """Release what was opened."""


def to_fields(record: Record, reason: str, detail: str, attempt: int, at: float) -> dict[str, str]:
    """Return what is kept beside the record's key, value and headers. `at` in epoch seconds."""
    return {
        "reason": reason,
        "detail": detail if len(detail) <= DETAIL_CHARACTERS else detail[: DETAIL_CHARACTERS - 1] + "…",
        "topic": record.topic,
        "partition": str(record.partition),
        "offset": str(record.offset),
        "log": record.log,
        "timestamp": str(record.timestamp),
        "attempt": str(attempt),
        "at": str(int(at * 1000)),
    }


def from_fields(
    fields: Mapping[str, str], topic: str, key: bytes | None, value: bytes | None, headers: Headers
) -> DeadLetter:
    """Invert `to_fields`; `topic` is the one whose dead letters these are. Raises ValueError saying what is wrong."""
    if fields.get("topic") != topic:
        raise ValueError(f"it says that it is from topic {fields.get('topic')!r}, among those from {topic!r}")
    if not fields.get("reason"):
        raise ValueError("it doesn't say its reason")
    if CUT in fields:
        place = ":".join(fields.get(name, "?") for name in ("topic", "partition", "offset"))
        raise ValueError(f"it holds the beginning alone, its record of {fields[CUT]} bytes is too large: see {place}")
    record = Record(
        topic,
        _number(fields, "partition"),
        _number(fields, "offset"),
        key,
        value,
        _number(fields, "timestamp"),
        fields.get("log", ""),
        headers,
    )
    given_up_at = _number(fields, "at") if "at" in fields else record.timestamp
    attempt = _number(fields, "attempt") if "attempt" in fields else 1
    return DeadLetter(record, fields["reason"], fields.get("detail", ""), attempt, given_up_at)


def without_duplicates(
    found: Iterable[DeadLetter | UnreadableDeadLetter],
) -> Iterator[DeadLetter | UnreadableDeadLetter]:
    """Leave out the dead letters that came before."""
    seen: set[DeadLetterKey] = set()
    for each in found:
        if isinstance(each, DeadLetter):
            if each.identity in seen:
                continue
            seen.add(each.identity)
        yield each


def in_size_limited_batches(items: Iterable[Item], size: Callable[[Item], int]) -> Iterator[list[Item]]:
    """Yield runs of up to `MAX_BATCH_RECORDS` items and, but for a single one, `MAX_BATCH_BYTES` of `size`."""
    batch: list[Item] = []
    total = 0
    for item in items:
        if batch and (len(batch) == MAX_BATCH_RECORDS or total + size(item) > MAX_BATCH_BYTES):
            yield batch
            batch, total = [], 0
        batch.append(item)
        total += size(item)
    if batch:
        yield batch


def _short_hash(log: str) -> str:
    return hashlib.blake2b(log.encode(), digest_size=2).hexdigest()


def _number(fields: Mapping[str, str], name: str) -> int:
    text = fields.get(name)
    if not isinstance(text, str) or not (text.isascii() and text.isdigit()):
        raise ValueError(f"its {name} is {text!r}, not a number")
    return int(text)
