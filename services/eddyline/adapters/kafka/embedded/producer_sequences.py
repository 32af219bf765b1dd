"""What idempotent producers have sent: a batch that comes twice is written once, and none before one that failed."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from eddyline.adapters.kafka.embedded.record_batch import BatchHeader

_REMEMBERED = 5
"""Batches that a producer may have in flight to one partition."""
_NO_PRODUCER = -1


class OutOfOrderSequence(Exception):
    """A batch that an idempotent producer sent before this one isn't there."""


class _Written(NamedTuple):
    producer_epoch: int
    first: int
    last: int
    base_offset: int


class ProducerSequences:
    """For one thread. In memory alone: producers of an embedded broker end with its process.

    What is noted counts once it is `confirm`ed, and is forgotten by `discard`: the transaction it belongs to failed.
    """

    def __init__(self) -> None:
        self._written: dict[tuple[int, int], deque[_Written]] = {}
        self._noted: dict[tuple[int, int], list[_Written]] = {}

    def find(self, partition: int, header: BatchHeader) -> int | None:
        """Return the offset at which the batch is already; None for a new one. Raises `OutOfOrderSequence`."""
        if header.producer_id == _NO_PRODUCER:
            return None
        key = (header.producer_id, partition)
        known: list[_Written] = [*self._written.get(key, ()), *self._noted.get(key, ())]
        for batch in known:
            if (batch.producer_epoch, batch.first) == (header.producer_epoch, header.base_sequence):
                return batch.base_offset
        newest = known[-1] if known else None
        is_next = newest is not None and newest.producer_epoch == header.producer_epoch
        expected = (newest.last + 1) & 0x7FFFFFFF if newest is not None and is_next else 0
        if header.base_sequence != expected:
            raise OutOfOrderSequence(f"producer {header.producer_id} sent {header.base_sequence}, not {expected}")
        return None

    def note(self, partition: int, header: BatchHeader, base_offset: int) -> None:
        """Note that a batch is in the transaction at hand."""
        if header.producer_id != _NO_PRODUCER:
            first = header.base_sequence
            written = _Written(
                header.producer_epoch, first, (first + header.record_count - 1) & 0x7FFFFFFF, base_offset
            )
            self._noted.setdefault((header.producer_id, partition), []).append(written)

    def confirm(self) -> None:
        """Keep what was noted: the transaction is on disk."""
        for key, written in self._noted.items():
            self._written.setdefault(key, deque(maxlen=_REMEMBERED)).extend(written)
        self._noted = {}

    def discard(self) -> None:
        """Forget what was noted: the transaction isn't."""
        self._noted = {}
