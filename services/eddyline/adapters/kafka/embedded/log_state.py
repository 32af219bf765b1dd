"""What a journal knows in memory of its topics and groups."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass

_OFFSET_BITS = 44


@dataclass(slots=True, eq=False)
class LogPartition:
    """A partition of a topic. Only the writer changes it, once the disk has what it says."""

    id: int
    topic: str
    number: int
    low: int
    """The first offset that is kept."""
    high: int
    """The offset of the next record."""
    compacted: int
    """Everything before this offset is compacted."""


@dataclass(frozen=True, slots=True)
class LogTopic:
    """A topic, with `cleanup.policy`, `retention.ms` and so on in `config`."""

    name: str
    id: uuid.UUID
    config: Mapping[str, str]
    partitions: tuple[LogPartition, ...]


@dataclass(frozen=True, slots=True)
class CommittedOffset:
    """What a group has committed of a partition, and when (epoch milliseconds).

    `stored`: what it would go on from, had the machine failed: see `Journal.checkpoint`. `reached`: the most that it
    has ever committed.
    """

    next_offset: int
    metadata: str
    at: int
    stored: int
    reached: int


def key_of(partition: LogPartition, offset: int) -> int:
    """Return the key of a batch of that partition whose last record has that offset."""
    return partition.id << _OFFSET_BITS | offset


def last_offset_of(key: int) -> int:
    """Return the last offset of the batch with that key."""
    return key & ((1 << _OFFSET_BITS) - 1)
