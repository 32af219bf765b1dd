"""The mark of a clean stop, in the data directory from such a stop to the next start.

Embedded, rows follow their items by way of the in-process broker, whose memory ends with the process. After a stop that
handled everything they agree with the items, and a start need not compare them: at 50,000 items that takes seconds.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import orjson

from eddyline import __version__
from eddyline.adapters.vectors import Collections
from eddyline.model.listing import LISTED_META


@dataclass(frozen=True, slots=True)
class CleanStop:
    """The mark is a file at `path`. Only whoever holds the data directory may call these."""

    path: Path

    def leave(self, live: Collections) -> None:
        """Say that the rows agree with their items, now that both are on disk."""
        with self.path.open("wb") as file:
            file.write(_content(live))
            file.flush()
            os.fsync(file.fileno())

    def take(self, live: Collections) -> bool:
        """Return whether the mark is there, of these collections and this version; remove it for good, since whatever
        happens from now on needs one of its own."""
        try:
            content = self.path.read_bytes()
        except FileNotFoundError:
            return False
        self.path.unlink()
        directory = os.open(self.path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
        return content == _content(live)


def _content(live: Collections) -> bytes:
    fields = {"items": live.items, "rows": live.rows, "copied": LISTED_META, "version": __version__}
    return orjson.dumps(fields)
