"""One item as it learns: its row and its trends, how far its log is folded into them, and how that is stored."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from typing import Any

from eddyline.adapters.kafka import Message
from eddyline.adapters.vectors import Point, Sparse
from eddyline.model import affinity
from eddyline.model.affinity import AffinityRow
from eddyline.model.decay import add_to_decayed_count
from eddyline.model.events import Activity
from eddyline.model.ids import fingerprint
from eddyline.model.trends import TREND_HALF_LIVES, trend_tau
from eddyline.settings import AffinitySettings

VECTOR, ROW, TREND = "affinity", "row", "trend"
"""The vector, and the two payload objects, that only this service writes."""
SOURCES = 256
"""Newest records remembered per item, to recognise those that a profiler sends twice around a crash."""
_SOURCE_HASH_LENGTH = 8
"""Length of what stands for each: 48 bits of its source's hash in base64, half as long as in a list of numbers."""


class ItemLearner:
    """An item's state, to which activities are applied.

    Stored are: the row over its divisor as the vector; `row`, with what it takes to recover it (count, time, divisor),
    whether any of it was learnt of events (and not only seeded), the watermark (the log's partition, the offset) and
    the newest sources; and `trend`, with the windows and a count.
    """

    def __init__(self, point: Point, settings: AffinitySettings) -> None:
        self._settings = settings
        self.stored: Mapping[str, Any] = point.payload.get(ROW) or {}
        """The stored `row`: while it is the same, so is the row before any activity."""
        self.before = restored_row(self.stored, point.vectors.get(VECTOR), settings)
        """The row before any activity."""
        self.applied = 0
        """Activities that were learnt from."""
        self._trend = dict(point.payload.get(TREND) or {})
        self._log: str | None = self.stored.get("log")
        self._offset: int = self.stored.get("offset", -1)
        sources: str = self.stored.get("sources", "")
        self._sources = [sources[at : at + _SOURCE_HASH_LENGTH] for at in range(0, len(sources), _SOURCE_HASH_LENGTH)]
        self._updates: list[AffinityRow] = []

    def apply(self, message: Message[Activity]) -> None:
        """Learn from an activity, unless it was applied before: by its offset, or sent again by a profiler that
        crashed."""
        activity, record = message.value, message.record
        log, source = f"{record.log}:{record.partition}", _source_hash(activity.source)
        if (log == self._log and record.offset <= self._offset) or source in self._sources:
            return
        self._log, self._offset = log, record.offset
        self._sources = [*self._sources, source][-SOURCES:]
        self.applied += 1
        if activity.position is None:
            self._updates.append(affinity.forward_update(activity.recents, activity.timestamp))
            self._count(activity.timestamp)
        else:
            self._updates += [
                affinity.backward_update(follower, activity.position, activity.timestamp)
                for follower in activity.recents
            ]

    def encode(self) -> tuple[dict[str, Sparse], dict[str, Any]]:
        """Return what is to be stored: the vectors (none, while the row is empty) and the payload."""
        row = affinity.fold(self.before, self._updates, self._settings)
        learnt = bool(self.stored.get("learnt")) or any(len(update.indices) for update in self._updates)
        progress = {"learnt": learnt, "log": self._log, "offset": self._offset, "sources": "".join(self._sources)}
        payload = {ROW: {**self.stored, **row_payload(row, self._settings), **progress}}
        return row_vectors(row, self._settings), payload | ({TREND: self._trend} if self._trend else {})

    def _count(self, time: float) -> None:
        windows = {
            window: add_to_decayed_count(self._trend.get(window), 1.0, time, trend_tau(window))
            for window in TREND_HALF_LIVES
        }
        self._trend = {**windows, "count": self._trend.get("count", 0) + 1}


def restored_row(known: Mapping[str, Any], vector: object, settings: AffinitySettings) -> AffinityRow:
    """Return the row of a stored point, from its payload object `row` and its vector.

    A vector without the former was written just before a crash: it has had no event, as far as anyone knows.
    """
    count, time = float(known.get("count", 0.0)), float(known.get("time", 0.0))
    if not isinstance(vector, Sparse):
        return AffinityRow.from_weights({}, count, time)
    divided_by = float(known.get("divisor", affinity.divisor(0.0, settings)))
    return affinity.restore_row(vector.indices, vector.values, divided_by, count, time)


def row_payload(row: AffinityRow, settings: AffinitySettings) -> dict[str, Any]:
    """Return what it takes, beside the vector, to recover the row."""
    return {"count": row.count, "time": row.time, "divisor": affinity.divisor(row.count, settings)}


def row_vectors(row: AffinityRow, settings: AffinitySettings) -> dict[str, Sparse]:
    """Return the row as the named vector that is searched; nothing while it is empty."""
    return {VECTOR: Sparse(row.indices, row.stored(settings))} if len(row.indices) else {}


def _source_hash(source: str) -> str:
    return b64encode((fingerprint(source) & 0xFFFF_FFFF_FFFF).to_bytes(6, "big")).decode()
