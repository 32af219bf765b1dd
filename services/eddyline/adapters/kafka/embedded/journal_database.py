"""The journal's files: one SQLite database, and the lock of its directory."""

from __future__ import annotations

import fcntl
import os
import sqlite3
import uuid
from pathlib import Path

import orjson
import structlog

from eddyline.adapters.kafka.embedded.log_state import CommittedOffset, LogPartition, LogTopic
from eddyline.adapters.kafka.embedded.write_ahead_log import torn_tail
from eddyline.adapters.private_files import make_private
from eddyline.errors import AlreadyRunning, Misconfigured

log = structlog.get_logger("eddyline.journal")

DATABASE = "journal.db"
_VERSION = 1
_CACHE_KIB = 16 * 1024
_CHECKPOINT_PAGES = 4000
"""How long the write-ahead log gets, 32 MiB, before it is written to its place: each time synchronises twice more."""
_SCHEMA = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE topics (name TEXT PRIMARY KEY, id TEXT NOT NULL, config TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE partitions (
    id INTEGER PRIMARY KEY, topic TEXT NOT NULL, number INTEGER NOT NULL,
    low INTEGER NOT NULL, high INTEGER NOT NULL, compacted INTEGER NOT NULL
);
-- id: the partition's, and the batch's last offset in the low bits; at: when it was written, in epoch milliseconds
CREATE TABLE batches (id INTEGER PRIMARY KEY, base INTEGER NOT NULL, at INTEGER NOT NULL, crc INTEGER NOT NULL,
    records BLOB NOT NULL);
-- stored: `next`, as of the last time that what the group had written elsewhere was on disk; reached: the most
CREATE TABLE committed (
    name TEXT NOT NULL, partition INTEGER NOT NULL, next INTEGER NOT NULL, metadata TEXT NOT NULL, at INTEGER NOT NULL,
    stored INTEGER NOT NULL, reached INTEGER NOT NULL, PRIMARY KEY (name, partition)
) WITHOUT ROWID;
"""


def open_database(directory: Path) -> sqlite3.Connection:
    """Open the connection that writes; make the database where there is none. Raises `sqlite3.Error`."""
    path = directory / DATABASE
    tail = torn_tail(path.with_name(DATABASE + "-wal"))
    if tail is not None:
        log.warning("cut the journal's end at its last whole transaction", bytes=tail.bytes, damaged=tail.is_damaged)
    # A power cut may spoil a whole sector of which only a part was being written: no two transactions share one.
    uri = f"{path.absolute().as_uri()}?psow=0"
    database = sqlite3.connect(uri, uri=True, check_same_thread=False, isolation_level=None, cached_statements=64)
    database.execute("PRAGMA page_size = 8192")
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("PRAGMA synchronous = FULL")
    database.execute("PRAGMA secure_delete = ON")  # of an erased person nothing is left in the file
    database.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
    database.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_PAGES}")
    database.execute("PRAGMA journal_size_limit = 67108864")
    (version,) = database.execute("PRAGMA user_version").fetchone()
    if version > _VERSION:
        raise Misconfigured(f"the journal in {directory} was written by a later version of Eddyline")
    if version == 0:
        script = f"BEGIN; {_SCHEMA} INSERT INTO meta VALUES ('cluster', '{uuid.uuid4()}');"
        database.executescript(f"{script} PRAGMA user_version = {_VERSION}; COMMIT;")
    return database


def load_topics(database: sqlite3.Connection) -> tuple[str, dict[str, LogTopic]]:
    """Return the cluster's id, and the topics by name."""
    (cluster,) = database.execute("SELECT value FROM meta WHERE name = 'cluster'").fetchone()
    partitions: dict[str, list[LogPartition]] = {}
    query = "SELECT id, topic, number, low, high, compacted FROM partitions ORDER BY topic, number"
    for row in database.execute(query):
        partitions.setdefault(row[1], []).append(LogPartition(*row))
    topics = {
        name: LogTopic(name, uuid.UUID(identity), orjson.loads(config), tuple(partitions[name]))
        for name, identity, config in database.execute("SELECT name, id, config FROM topics")
    }
    return cluster, topics


def load_committed(database: sqlite3.Connection) -> dict[str, dict[int, CommittedOffset]]:
    """Return what groups have committed, by group and by the partition's id."""
    committed: dict[str, dict[int, CommittedOffset]] = {}
    for group, partition, *rest in database.execute("SELECT * FROM committed"):
        committed.setdefault(group, {})[partition] = CommittedOffset(*rest)
    return committed


def lock_directory(directory: Path) -> int:
    """Take the directory for this process; closing what is returned lets go of it."""
    try:
        make_private(directory)
        descriptor = os.open(directory / ".lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise Misconfigured(f"data directory {directory} can't be used: {error}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        raise AlreadyRunning(
            f"data directory {directory} is in use by another process: stop that one, or choose another"
        ) from error
    return descriptor
