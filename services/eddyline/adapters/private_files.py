"""Directories of what people did: nobody else on the machine reads them."""

from __future__ import annotations

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
