"""A journal as it was at one moment, read beside the process that goes on writing it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from eddyline.adapters.kafka.embedded.journal_database import DATABASE, load_topics
from eddyline.errors import EddylineError, Misconfigured


class JournalSnapshot:
    """What a journal held when this was opened."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def copy_to(self, directory: Path) -> dict[str, int]:
        """Copy it into a directory that has none; it is on disk then. Return the number of offsets by topic.

        Raises `EddylineError`.
        """
        try:
            with closing(sqlite3.connect(directory / DATABASE, isolation_level=None)) as copy:
                copy.execute("PRAGMA synchronous = FULL")
                self._connection.backup(copy)
                _, topics = load_topics(copy)
        except sqlite3.Error as error:
            raise EddylineError(f"the journal can't be copied to {directory}: {error}") from error
        return {
            name: kept
            for name, topic in sorted(topics.items())
            if (kept := sum(one.high - one.low for one in topic.partitions))
        }


@contextmanager
def journal_snapshot(directory: Path) -> Iterator[JournalSnapshot]:
    """Open the journal in `directory` as it is now. Raises `Misconfigured` where it can't be read."""
    try:
        connection = sqlite3.connect(f"{(directory / DATABASE).absolute().as_uri()}?mode=rw", uri=True)
        connection.isolation_level = None
        connection.execute("BEGIN")
        connection.execute("SELECT value FROM meta").fetchone()  # from here on it sees nothing that is written
    except sqlite3.Error as error:
        raise Misconfigured(f"the journal in {directory} can't be read: {error}") from error
    with closing(connection):
        yield JournalSnapshot(connection)
