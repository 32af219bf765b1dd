"""Vectors that were paid for, kept on disk by the text that was embedded."""

from __future__ import annotations

import hashlib
import sqlite3
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import structlog
from numpy.typing import NDArray

TRIMMED_SHARE = 0.1
"""Share that is dropped at once when it is full."""
_MAX_KEYS = 500
"""Keys in one query."""

log = structlog.get_logger("encoder")


class VectorCache:
    """A file of at most `max_entries` vectors; the oldest are dropped. Threads and processes may share it.

    It only saves money: where it can't be read or written, it says so once and does nothing.
    """

    def __init__(self, path: Path, max_entries: int) -> None:
        self._max_entries, self._lock, self._is_broken = max_entries, threading.Lock(), False
        self._file: sqlite3.Connection | None = None
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = sqlite3.connect(path, timeout=5.0, check_same_thread=False, isolation_level=None)
            self._file.execute("PRAGMA journal_mode = WAL")
            self._file.execute("PRAGMA synchronous = NORMAL")
            self._file.execute(
                "CREATE TABLE IF NOT EXISTS vectors (number INTEGER PRIMARY KEY, key BLOB UNIQUE, row BLOB)"
            )
        except (OSError, sqlite3.Error) as error:
            self._give_up(error)

    @staticmethod
    def key(space: str, text: str) -> bytes:
        """Return the key of a text: 16 bytes."""
        return hashlib.blake2b(f"{space}\0{text}".encode(), digest_size=16).digest()

    def get(self, keys: Sequence[bytes]) -> dict[bytes, NDArray[np.float32]]:
        """Return the vectors that are cached."""
        found: dict[bytes, NDArray[np.float32]] = {}
        with self._lock:
            if self._file is None:
                return found
            try:
                for start in range(0, len(keys), _MAX_KEYS):
                    some = keys[start : start + _MAX_KEYS]
                    marks = ", ".join("?" * len(some))
                    rows = self._file.execute(f"SELECT key, row FROM vectors WHERE key IN ({marks})", some)
                    found.update((bytes(key), np.frombuffer(row, dtype=np.float32)) for key, row in rows)
            except (sqlite3.Error, ValueError) as error:
                self._give_up(error)
                return {}
        return found

    def put(self, rows: Mapping[bytes, NDArray[np.float32]]) -> None:
        """Store these durably."""
        with self._lock:
            if self._file is None:
                return
            try:
                self._file.execute("BEGIN IMMEDIATE")
                self._file.executemany(
                    "INSERT OR IGNORE INTO vectors (key, row) VALUES (?, ?)",
                    [(key, np.asarray(row, dtype=np.float32).tobytes()) for key, row in rows.items()],
                )
                self._trim(self._file)
                self._file.execute("COMMIT")
            except sqlite3.Error as error:
                self._give_up(error)

    def close(self) -> None:
        """Release the file."""
        with self._lock:
            if self._file is not None:
                self._file.close()
                self._file = None

    def _trim(self, file: sqlite3.Connection) -> None:
        # Numbers only grow, and the oldest go first, so there are about as many as lie between the ends.
        oldest, newest = file.execute("SELECT min(number), max(number) FROM vectors").fetchone()
        if newest is not None and newest - oldest >= self._max_entries:
            keep_from = newest - int(self._max_entries * (1 - TRIMMED_SHARE))
            file.execute("DELETE FROM vectors WHERE number <= ?", (keep_from,))

    def _give_up(self, error: Exception) -> None:
        log.warning("vectors aren't cached", reason=str(error))
        if self._file is not None:
            self._file.close()
            self._file = None
