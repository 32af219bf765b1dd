"""Directories of what people did: nobody else on the machine reads them, and a power cut leaves them whole."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path


def make_private(directory: Path) -> None:
    """Make a directory, and missing ones above it, that only its user may enter; one of theirs that exists becomes so.

    Raises `OSError` where it can't be had.
    """
    for missing in [one for one in reversed(directory.parents) if not one.exists()]:
        missing.mkdir(mode=0o700, exist_ok=True)
    directory.mkdir(mode=0o700, exist_ok=True)
    with suppress(PermissionError):  # another user's, who may let a group in
        directory.chmod(0o700)


class SyncedTree:
    """A directory whose files are synchronised with the disk, each when it has changed since it last was.

    What is in a directory called `first` has its turn before the rest; `recursive`: with what is in directories at all.
    """

    def __init__(self, directory: Path, first: str | None = None, recursive: bool = True) -> None:
        self._directory, self._first, self._recursive = directory, first, recursive
        self._synced: dict[str, tuple[int, int, int]] = {}

    def sync(self) -> None:
        """Have all files and names of now on disk. Files may come and go meanwhile. Raises `OSError`."""
        for folder, below, files in os.walk(self._directory):
            below[:] = sorted(below, key=lambda name: name != self._first) if self._recursive else []
            for path in (*(os.path.join(folder, name) for name in files), folder):
                with suppress(FileNotFoundError):
                    is_now = os.stat(path)
                    state = (is_now.st_ino, is_now.st_mtime_ns, is_now.st_size)
                    if self._synced.get(path) != state:
                        sync_path(path)
                        self._synced[path] = state


def sync_path(path: str | Path) -> None:
    """Have a file on disk, or which names a directory holds. Raises `OSError`."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
