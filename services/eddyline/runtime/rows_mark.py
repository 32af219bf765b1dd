"""A mark in the data directory of an embedded store: for which collections, by which version, rows were completed.

A later version may copy more of an item into its row, and one from before there was a log could lose what it told
affinity: then a start compares all of them, which at 50,000 items takes seconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import orjson

from eddyline import __version__
from eddyline.adapters.vectors import Collections
from eddyline.model.affinity import EVIDENCE_UNIT
from eddyline.model.listing import LISTED_META


@dataclass(frozen=True, slots=True)
class RowsMark:
    """The mark is a file at `path`. Only whoever holds the data directory may call these."""

    path: Path

    def holds(self, live: Collections) -> bool:
        """Return whether the rows were completed, of these collections and by this version."""
        return self.path.is_file() and self.path.read_bytes() == _content(live)

    def leave(self, live: Collections) -> None:
        """Say that they are, now that they are on disk."""
        self.path.write_bytes(_content(live))


def _content(live: Collections) -> bytes:
    fields = {
        "items": live.items,
        "rows": live.rows,
        "copied": LISTED_META,
        "unit": EVIDENCE_UNIT,
        "version": __version__,
    }
    return orjson.dumps(fields)
