"""A file that is read again when it changes, in a thread of its own."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from pathlib import Path
from typing import TypeAlias

import structlog

CHECK_SECONDS = 1.0
FileVersion: TypeAlias = tuple[int, int, int, int] | None
"""What tells one state of a file from another: its inode, its size, and when it and its status (who may read it, too)
changed, in nanoseconds; None where there is none."""

log = structlog.get_logger("eddyline")


class FileWatcher(ABC):
    """Looks at `path` about every second. The caller must `close` it; a heir reads the file after this `__init__`."""

    def __init__(self, path: Path, name: str) -> None:
        """`name`: of the thread."""
        self._path = path
        self._read = self._seen = self._file_version()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    @abstractmethod
    def _reload(self) -> None:
        """Read the changed file. What is wrong with it must be logged, not raised."""

    def reload_if_changed(self) -> None:
        """Read the file if it has changed since it was read, and no more since the last check: not while it is being
        written."""
        version, before = self._file_version(), self._seen
        self._seen = version
        if version == self._read or version != before:
            return
        self._read = version
        self._reload()

    def start(self) -> None:
        """Check about every second."""
        self._thread.start()

    def close(self) -> None:
        """Stop checking."""
        self._closing.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while not self._closing.wait(CHECK_SECONDS):
            try:
                self.reload_if_changed()
            except Exception:  # a bug here must not end the thread
                log.exception("couldn't check the file", file=str(self._path))

    def _file_version(self) -> FileVersion:
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
