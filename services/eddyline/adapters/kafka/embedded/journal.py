"""The log of an embedded broker: topics, their records, and what groups have committed, in one SQLite database.

A thread of the journal's own, the writer, has the only connection that writes. What is submitted while it waits for
the disk goes into its next transaction: one synchronised write for all of it, and nothing is acknowledged before that.
Between transactions it drops what is no longer kept, a bounded slice at a time (`cleaner`). `read` is for one thread,
the broker's; everything else may be called from any.

A crash at any point, of the process or of the machine, leaves what was acknowledged: SQLite recovers its last whole
transaction. A write that fails (a full or failing disk) fails what was submitted with it as `JournalUnavailable`; the
writer tries again by itself until one succeeds.
"""

from __future__ import annotations

import os
import queue
import shutil
import sqlite3
import threading
import time
import uuid
import zlib
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import Future
from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import orjson
import structlog

from eddyline.adapters.kafka.embedded.group_offsets import GroupOffsets
from eddyline.adapters.kafka.embedded.journal_database import (
    DATABASE,
    load_committed,
    load_topics,
    lock_directory,
    open_database,
)
from eddyline.adapters.kafka.embedded.log_state import CommittedOffset, LogPartition, LogTopic, key_of, last_offset_of
from eddyline.adapters.kafka.embedded.producer_sequences import OutOfOrderSequence, ProducerSequences
from eddyline.adapters.kafka.embedded.record_batch import BatchHeader, at_offset, empty_batch
from eddyline.errors import Misconfigured

Result = TypeVar("Result")
Clock = Callable[[], float]

log = structlog.get_logger("eddyline.journal")

RESERVE_BYTES = 64 * 1024 * 1024
"""Room that intake leaves on the disk, for the services to work off what was taken in."""
_MAX_CHANGES = 1000
_CHECK_SECONDS, _CLEAN_SECONDS = 0.5, 60.0


class JournalUnavailable(Exception):
    """The disk took nothing of a transaction; why is the message."""


class Journal:
    """The journal in a directory, which it alone may use. The caller must `close` it."""

    def __init__(
        self,
        directory: Path,
        max_bytes: int,
        clock: Clock = time.time,
        free_bytes: Callable[[Path], int] = lambda directory: shutil.disk_usage(directory).free,
    ) -> None:
        """`max_bytes`: how much it may hold. `clock` gives epoch seconds.

        Raises `AlreadyRunning` where another process has it, and `Misconfigured` for one that can't be used.
        """
        self.directory, self.max_bytes, self.clock, self._free_bytes = directory, max_bytes, clock, free_bytes
        self._lock = lock_directory(directory)
        try:
            self.database = open_database(directory)
            self._reading = sqlite3.connect(directory / DATABASE, check_same_thread=False, isolation_level=None)
            self.cluster_id, self.topics = load_topics(self.database)
        except sqlite3.Error as error:
            os.close(self._lock)
            raise Misconfigured(f"the journal in {directory} can't be opened: {error}") from error
        self._sequences = ProducerSequences()
        self._staged_high: dict[LogPartition, int] = {}
        self._on_disk: list[Callable[[], None]] = []
        """What changes in memory once the transaction at hand is on disk."""
        self._groups = GroupOffsets(self.database, load_committed(self.database), self._on_disk.append, clock)
        self._damaged: set[int] = set()
        self._changes: queue.SimpleQueue[tuple[Callable[[], Any], Future[Any]] | None] = queue.SimpleQueue()
        self._problem: str | None = None
        self._limit: str | None = None
        self._next_check = self._next_cleaning = 0.0
        self._cleaning: Iterator[None] | None = None
        self._cleaner: Callable[[], Iterator[None]] | None = None
        self._closed = False
        self._writer = threading.Thread(target=self._write, name="journal", daemon=True)
        self._writer.start()

    # -- any thread -------------------------------------------------------------------------------------------------

    @property
    def problem(self) -> str | None:
        """Why nothing can be written just now; None where it can."""
        return self._problem

    @property
    def limit(self) -> str | None:
        """Why nothing new should be taken in, though the journal can still be written; None where it may be."""
        return self._limit

    def create_topic(self, name: str, partitions: int, config: Mapping[str, str]) -> Future[bool]:
        """Create a topic; the result says whether it is new."""
        return self._submit(lambda: self._create_topic(name, partitions, config))

    def append(self, partition: LogPartition, header: BatchHeader, batch: bytes) -> Future[int]:
        """Append a batch; the result is its first offset. Fails with `OutOfOrderSequence` and `JournalUnavailable`."""
        return self._submit(lambda: self._append(partition, header, batch))

    def commit(self, group: str, offsets: Mapping[LogPartition, tuple[int, str]]) -> Future[None]:
        """Keep what a group has committed of each partition: the next offset, and its metadata."""
        return self._submit(lambda: self._groups.commit(group, offsets))

    def committed(self, group: str) -> Mapping[int, CommittedOffset]:
        """Return what a group has committed, by the partition's id."""
        return self._groups.committed(group)

    def repeats(self, group: str) -> bool:
        """Tell whether a group has yet to handle again some of what it had committed before a `rewind`."""
        return self._groups.repeats(group)

    def forget_group(self, group: str) -> Future[None]:
        """Drop what a group has committed: it holds nothing any more."""
        return self._submit(lambda: self._groups.forget(group))

    def checkpoint(self) -> Callable[[], Future[None]]:
        """Remember what all groups have committed; what is returned keeps it as `stored`.

        For a store that is on disk only after a flush: begin before it, end once it has succeeded. After a failure of
        the machine `rewind` has each group handle again what the store may have lost.
        """
        offsets = self._groups.unstored()
        return lambda: self._submit(lambda: self._groups.store(offsets))

    def rewind(self, but: Collection[str]) -> Future[None]:
        """Have all groups go on from what is stored, `but` those that keep nothing in the store."""
        return self._submit(lambda: self._groups.rewind(but))

    def delete_before(self, partition: LogPartition, offset: int) -> Future[int]:
        """Drop the records before an offset; the result is the first that is kept."""
        return self._submit(lambda: self.drop_before(partition, min(offset, partition.high)))

    def uncommitted_from(self, partition: LogPartition) -> int:
        """Return the first offset that some group hasn't handled yet; the end, where every one has."""
        return self._groups.uncommitted_from(partition)

    def close(self) -> None:
        """Write what was submitted, and let go of the files."""
        if self._closed:
            return
        self._closed = True
        self._changes.put(None)
        self._writer.join()
        self._reading.close()
        self.database.close()
        os.close(self._lock)

    # -- the broker's thread ----------------------------------------------------------------------------------------

    def read(self, partition: LogPartition, offset: int, max_bytes: int) -> bytes:
        """Return whole batches from the one with `offset` on: at least one where there is any, up to `max_bytes`.

        In the place of one whose bytes aren't what was written, which is logged, comes one without records.
        """
        found: list[bytes] = []
        size = 0
        query = "SELECT id, base, crc, records FROM batches WHERE id BETWEEN ? AND ? ORDER BY id"
        with closing(
            self._reading.execute(query, (key_of(partition, offset), key_of(partition, partition.high)))
        ) as rows:
            for key, base, crc, records in rows:
                if found and size + len(records) > max_bytes:
                    break
                found.append(records if zlib.crc32(records) == crc else self._replace_damaged(partition, base, key))
                size += len(records)
        return b"".join(found)

    def offset_at(self, partition: LogPartition, timestamp: int) -> int | None:
        """Return the first offset of the first batch that was written at that time or later (epoch milliseconds)."""
        query = "SELECT base FROM batches WHERE id BETWEEN ? AND ? AND at >= ? ORDER BY id LIMIT 1"
        bounds = (key_of(partition, partition.low), key_of(partition, partition.high))
        row = self._reading.execute(query, (*bounds, timestamp)).fetchone()
        return None if row is None else max(row[0], partition.low)

    def _replace_damaged(self, partition: LogPartition, base: int, key: int) -> bytes:
        last = last_offset_of(key)
        if key not in self._damaged:
            self._damaged.add(key)
            log.error(
                "skipped records whose bytes on disk are damaged",
                topic=partition.topic,
                partition=partition.number,
                offsets=f"{base}-{last}",
            )
        return empty_batch(base, last)

    # -- the writer -------------------------------------------------------------------------------------------------

    def clean_with(self, cleaner: Callable[[], Iterator[None]]) -> None:
        """Run the slices of `cleaner`, each in a transaction of its own, from now on and again a minute after each."""
        self._cleaner, self._next_cleaning = cleaner, 0.0

    def drop_before(self, partition: LogPartition, offset: int) -> int:
        """Drop the batches that end before `offset`; return the first offset that is kept."""
        if offset <= partition.low:
            return partition.low
        bounds = (key_of(partition, 0), key_of(partition, offset))
        self.database.execute("DELETE FROM batches WHERE id >= ? AND id < ?", bounds)
        self.database.execute("UPDATE partitions SET low = ? WHERE id = ?", (offset, partition.id))
        self._on_disk.append(partial(setattr, partition, "low", offset))
        return offset

    def rewrite(self, key: int, batch: bytes) -> None:
        """Write a compacted batch in the place of what it was made from."""
        self.database.execute("UPDATE batches SET crc = ?, records = ? WHERE id = ?", (zlib.crc32(batch), batch, key))

    def compacted(self, partition: LogPartition, offset: int) -> None:
        """Note that a partition is compacted up to `offset`."""
        self.database.execute("UPDATE partitions SET compacted = ? WHERE id = ?", (offset, partition.id))
        self._on_disk.append(partial(setattr, partition, "compacted", offset))

    def used_bytes(self) -> int:
        """Return how much the journal holds; room that was freed in its file doesn't count."""
        (pages,), (free,), (size,) = (
            self.database.execute(f"PRAGMA {name}").fetchone() for name in ("page_count", "freelist_count", "page_size")
        )
        return int(pages - free) * int(size)

    def _submit(self, work: Callable[[], Result]) -> Future[Result]:
        future: Future[Result] = Future()
        future.set_running_or_notify_cancel()
        if self._closed:
            future.set_exception(JournalUnavailable("the journal is closed"))
        else:
            self._changes.put((work, future))
        return future

    def _write(self) -> None:
        while True:
            changes, is_last = self._take()
            if changes:
                self._transact(changes)
            if is_last:
                return
            if time.monotonic() >= self._next_check:
                self._check()
                self._next_check = time.monotonic() + _CHECK_SECONDS
            self._clean()

    def _take(self) -> tuple[list[tuple[Callable[[], Any], Future[Any]]], bool]:
        """Wait for changes, and take all that are there; whether they are the last."""
        changes = []
        try:
            change = self._changes.get(timeout=0.001 if self._cleaning is not None else _CHECK_SECONDS)
            while change is not None:
                changes.append(change)
                if len(changes) >= _MAX_CHANGES:
                    return changes, False
                change = self._changes.get_nowait()
        except queue.Empty:
            return changes, False
        return changes, True

    def _transact(self, changes: list[tuple[Callable[[], Any], Future[Any]]]) -> None:
        outcomes: list[tuple[Future[Any], Any]] = []

        def work() -> None:
            for change, future in changes:
                try:
                    outcomes.append((future, change()))
                except OutOfOrderSequence as error:
                    outcomes.append((future, error))
            for partition, high in self._staged_high.items():
                self.database.execute("UPDATE partitions SET high = ? WHERE id = ?", (high, partition.id))

        problem = self._in_transaction(work)
        if problem is not None:
            for _, future in changes:
                future.set_exception(JournalUnavailable(problem))
            return
        for future, outcome in outcomes:
            if isinstance(outcome, Exception):
                future.set_exception(outcome)
            else:
                future.set_result(outcome)

    def _in_transaction(self, work: Callable[[], None]) -> str | None:
        """Do it, and keep it on disk and in memory, or neither; then return why."""
        try:
            self.database.execute("BEGIN IMMEDIATE")
            work()
            self.database.execute("COMMIT")
        except Exception as error:
            with suppress(sqlite3.Error):  # the disk's failure may have ended it
                self.database.execute("ROLLBACK")
            self._sequences.discard()
            return self._note_failure(error)
        else:
            self._note_success()
            self._sequences.confirm()
            for partition, high in self._staged_high.items():
                partition.high = high
            for apply in self._on_disk:
                apply()
            return None
        finally:
            self._staged_high = {}
            self._on_disk.clear()

    def _note_failure(self, error: Exception) -> str:
        reason = f"the journal in {self.directory} can't be written: {error}"
        if self._problem is None:
            log.error("the journal can't be written", reason=str(error), exc_info=not isinstance(error, sqlite3.Error))
        self._problem = reason
        return reason

    def _note_success(self) -> None:
        if self._problem is not None:
            log.info("the journal can be written again")
        self._problem = None

    def _check(self) -> None:
        """See whether there is room, and whether it can be written again."""
        if self._problem is not None:
            self._transact([(self._probe, Future())])
        self._limit = self._find_limit()

    def _probe(self) -> None:
        self.database.execute("REPLACE INTO meta VALUES ('probe', ?)", (str(self.clock()),))

    def _find_limit(self) -> str | None:
        try:
            free, used = self._free_bytes(self.directory), self.used_bytes()
        except (OSError, sqlite3.Error) as error:
            return f"the journal in {self.directory} can't be looked at: {error}"
        if free < RESERVE_BYTES:
            return f"the disk of {self.directory} has {free:,} bytes left, and {RESERVE_BYTES:,} are kept in reserve"
        if used >= self.max_bytes:
            return f"the journal in {self.directory} holds {used:,} bytes, its bound (journal.max_bytes)"
        return None

    def _clean(self) -> None:
        """Run one slice of the cleaner."""
        if self._cleaner is None or self._problem is not None:
            return
        if self._cleaning is None:
            if time.monotonic() < self._next_cleaning:
                return
            self._cleaning = self._cleaner()
        slices = self._cleaning

        def work() -> None:
            if next(slices, self) is self:
                self._cleaning, self._next_cleaning = None, time.monotonic() + _CLEAN_SECONDS

        if self._in_transaction(work) is not None:
            self._cleaning = None

    def _create_topic(self, name: str, partitions: int, config: Mapping[str, str]) -> bool:
        identity = uuid.uuid4()
        row = (name, str(identity), orjson.dumps(dict(config)).decode())
        if self.database.execute("INSERT OR IGNORE INTO topics VALUES (?, ?, ?)", row).rowcount == 0:
            return False
        made = []
        insert = "INSERT INTO partitions (topic, number, low, high, compacted) VALUES (?, ?, 0, 0, 0)"
        for number in range(partitions):
            key = self.database.execute(insert, (name, number)).lastrowid or 0
            made.append(LogPartition(key, name, number, 0, 0, 0))
        topic = LogTopic(name, identity, dict(config), tuple(made))
        self._on_disk.append(lambda: setattr(self, "topics", {**self.topics, name: topic}))
        return True

    def _append(self, partition: LogPartition, header: BatchHeader, batch: bytes) -> int:
        known = self._sequences.find(partition.id, header)
        if known is not None:
            return known
        base = self._staged_high.get(partition, partition.high)
        last = base + header.last_offset_delta
        placed = at_offset(batch, base)
        row = (key_of(partition, last), base, int(self.clock() * 1000), zlib.crc32(placed), placed)
        self.database.execute("INSERT INTO batches VALUES (?, ?, ?, ?, ?)", row)
        self._sequences.note(partition.id, header, base)
        self._staged_high[partition] = last + 1
        return base
