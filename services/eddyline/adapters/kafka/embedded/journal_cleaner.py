"""What the journal no longer keeps: old records, superseded states, and the oldest where there is too much.

Nothing goes that a group has yet to handle. Each `yield` ends a slice, which is a transaction on the journal's writer.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from contextlib import closing
from hashlib import blake2b
from itertools import takewhile

import structlog

from eddyline.adapters.kafka.embedded.journal import Journal
from eddyline.adapters.kafka.embedded.log_state import LogPartition, LogTopic, key_of, last_offset_of
from eddyline.adapters.kafka.embedded.record_batch import (
    DamagedBatch,
    KeyedRecord,
    read_header,
    records_of,
    with_records,
)

log = structlog.get_logger("eddyline.journal")

MIN_DIRTY_BYTES = 1024 * 1024
"""What a partition must have got since it was compacted, and half as much as it had, before it is again."""
TOMBSTONE_MS = 86_400_000
"""How long a tombstone is kept: Kafka's `delete.retention.ms`."""
_BATCHES, _BYTES = 200, 1024 * 1024
_FULL, _ROOM = 0.9, 0.85
_WHOLE_KEY = 32


class JournalCleaner:
    """Applies the topics' `cleanup.policy` and `retention.ms`, and the journal's bound."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    def slices(self) -> Iterator[None]:
        """Clean everything once."""
        topics = tuple(self._journal.topics.values())
        for topic in topics:
            for partition in topic.partitions:
                if topic.config.get("cleanup.policy") == "compact":
                    yield from self._compact(partition)
                elif "retention.ms" in topic.config:
                    yield from self._expire(partition, int(topic.config["retention.ms"]))
        yield from self._make_room(topics)

    def _expire(self, partition: LogPartition, retention_ms: int) -> Iterator[None]:
        horizon = self._journal.clock() * 1000 - retention_ms
        while old := list(takewhile(lambda row: row[1] < horizon, self._oldest(partition))):
            self._journal.drop_before(partition, last_offset_of(old[-1][0]) + 1)
            yield

    def _make_room(self, topics: tuple[LogTopic, ...]) -> Iterator[None]:
        """Drop the oldest handled records of topics that keep them for a time, where the journal is almost full."""
        bound = self._journal.max_bytes
        if self._journal.used_bytes() < _FULL * bound:
            return
        timed = [one for topic in topics if "retention.ms" in topic.config for one in topic.partitions]
        while self._journal.used_bytes() >= _ROOM * bound:
            found = [(rows[0][1], one, rows) for one in timed if (rows := self._oldest(one))]
            if not found:
                return
            _, partition, rows = min(found, key=lambda each: each[0])
            offset = self._journal.drop_before(partition, last_offset_of(rows[-1][0]) + 1)
            log.warning(
                "dropped records before their time: the journal is almost full",
                topic=partition.topic,
                partition=partition.number,
                before=offset,
            )
            yield

    def _oldest(self, partition: LogPartition) -> list[tuple[int, int]]:
        """Return key and time of the oldest batches that every group has handled."""
        handled = key_of(partition, self._journal.uncommitted_from(partition))
        query = "SELECT id, at FROM batches WHERE id >= ? AND id < ? ORDER BY id LIMIT ?"
        return self._journal.database.execute(query, (key_of(partition, 0), handled, _BATCHES)).fetchall()

    def _compact(self, partition: LogPartition) -> Iterator[None]:
        end = self._compactable_to(partition)
        dirty = self._bytes(partition, partition.compacted, end)
        if dirty < max(MIN_DIRTY_BYTES, self._bytes(partition, partition.low, partition.compacted) / 2):
            return
        newest: dict[bytes, int] = {}
        for rows in self._batches(partition, self._journal.uncommitted_from(partition) + 1):
            for _, _, batch in rows:
                newest.update(
                    (_digest(record.key), record.offset) for record in _records(batch) if record.key is not None
                )
            yield
        for rows in self._batches(partition, end):
            for key, at, batch in rows:
                self._compact_batch(key, at, batch, newest)
            yield
        self._journal.compacted(partition, end)
        yield

    def _compact_batch(self, key: int, at: int, batch: bytes, newest: dict[bytes, int]) -> None:
        records = _records(batch)
        is_old = at < self._journal.clock() * 1000 - TOMBSTONE_MS
        kept = [
            record
            for record in records
            if record.key is None
            or (newest.get(_digest(record.key)) == record.offset and not (record.is_tombstone and is_old))
        ]
        if len(kept) == len(records):
            return
        if kept:
            self._journal.rewrite(key, with_records(batch, kept))
        else:
            self._journal.database.execute("DELETE FROM batches WHERE id = ?", (key,))

    def _compactable_to(self, partition: LogPartition) -> int:
        """Return the offset before which everything is handled; the last batch stays: the log ends with it."""
        handled = key_of(partition, self._journal.uncommitted_from(partition))
        query = "SELECT base FROM batches WHERE id >= ? AND id <= ? ORDER BY id DESC LIMIT 1"
        row = self._journal.database.execute(query, (key_of(partition, 0), handled)).fetchone()
        return partition.low if row is None else int(row[0])

    def _bytes(self, partition: LogPartition, start: int, end: int) -> int:
        query = "SELECT coalesce(sum(length(records)), 0) FROM batches WHERE id >= ? AND id < ?"
        (size,) = self._journal.database.execute(query, (key_of(partition, start), key_of(partition, end))).fetchone()
        return int(size)

    def _batches(self, partition: LogPartition, end: int) -> Iterator[list[tuple[int, int, bytes]]]:
        """Yield key, time and bytes of the batches before `end`, a megabyte or so at a time, but for damaged ones."""
        query = "SELECT id, at, crc, records FROM batches WHERE id >= ? AND id < ? ORDER BY id LIMIT ?"
        start = key_of(partition, 0)
        while True:
            rows: list[tuple[int, int, bytes]] = []
            last, size = start, 0
            bounds = (start, key_of(partition, end), _BATCHES)
            with closing(self._journal.database.execute(query, bounds)) as found:
                for key, at, crc, batch in found:
                    if zlib.crc32(batch) == crc:
                        rows.append((key, at, batch))
                    last, size = key + 1, size + len(batch)
                    if size >= _BYTES:
                        break
            if last == start:
                return
            yield rows
            start = last


def _records(batch: bytes) -> list[KeyedRecord]:
    """Return the records of a batch; none of one that can't be taken apart, which stays as it is."""
    try:
        return list(records_of(batch)) if read_header(batch).can_be_decoded else []
    except DamagedBatch:
        return []


def _digest(key: bytes) -> bytes:
    return key if len(key) <= _WHOLE_KEY else blake2b(key, digest_size=_WHOLE_KEY + 1).digest()
