"""One item as it learns: its row and its trends, how far its log is folded into them, and how that is stored."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from typing import Any

from eddyline.adapters.kafka import Message, Record
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
"""Newest records remembered per item, to recognise those that a profiler tells twice around a crash."""
_SOURCE_HASH_LENGTH = 8
"""Length of what stands for each: 48 bits of its source's hash in base64, half as long as in a list of numbers."""


class ItemLearner:
    """An item's state, to which messages are taken.

    Stored are: the row over its divisor as the vector; `row`, with what it takes to recover it (count, time, divisor),
    whether any of it was learnt of events (and not only seeded), the watermark (the log's partition, the offset) and
    the newest sources; and `trend`, with the windows and a count.
    """

    def __init__(self, point: Point, settings: AffinitySettings) -> None:
        self._settings = settings
        self._known: Mapping[str, Any] = point.payload.get(ROW) or {}
        self._trend = dict(point.payload.get(TREND) or {})
        self._log: str | None = self._known.get("log")
        self._offset: int = self._known.get("offset", -1)
        sources: str = self._known.get("sources", "")
        self._sources = [sources[at : at + _SOURCE_HASH_LENGTH] for at in range(0, len(sources), _SOURCE_HASH_LENGTH)]
        self._lessons: list[AffinityRow] = []
        self.taken = 0
        """Messages that it has learnt from."""
        self.before = restored_row(self._known, point.vectors.get(VECTOR), settings)
        """The row before any message."""

    @property
    def mark(self) -> Mapping[str, Any]:
        """What the stored `row` said, by which a row of before is known to be of this state."""
        return self._known

    def take(self, message: Message[Activity]) -> None:
        """Learn from it, unless it was folded before: by its offset, or told again by a profiler that crashed."""
        activity, record = message.value, message.record
        log, source = _log_partition(record), _source_hash(activity.source)
        if (log == self._log and record.offset <= self._offset) or source in self._sources:
            return
        self._log, self._offset = log, record.offset
        self._sources = [*self._sources, source][-SOURCES:]
        self.taken += 1
        if activity.position is None:
            self._lessons.append(affinity.forward_update(activity.recents, activity.timestamp))
            self._count(activity.timestamp)
        else:
            self._lessons += [
                affinity.backward_update(follower, activity.position, activity.timestamp)
                for follower in activity.recents
            ]

    def written(self) -> tuple[dict[str, Sparse], dict[str, Any]]:
        """What is to be stored: the vectors (none, while the row is empty) and the payload."""
        row = affinity.fold(self.before, self._lessons, self._settings)
        learnt = bool(self._known.get("learnt")) or any(len(lesson.indices) for lesson in self._lessons)
        marks = {"learnt": learnt, "log": self._log, "offset": self._offset, "sources": "".join(self._sources)}
        payload = {ROW: {**self._known, **row_payload(row, self._settings), **marks}}
        return row_vectors(row, self._settings), payload | ({TREND: self._trend} if self._trend else {})

    def _count(self, time: float) -> None:
        windows = {
            window: add_to_decayed_count(self._trend.get(window), 1.0, time, trend_tau(window))
            for window in TREND_HALF_LIVES
        }
        self._trend = {**windows, "count": self._trend.get("count", 0) + 1}


def restored_row(known: Mapping[str, Any], vector: object, settings: AffinitySettings) -> AffinityRow:
    """The row of a stored point, from its payload object `row` and its vector.

    A vector without the former was written just before a crash: it has had no event, as far as anyone knows.
    """
    count, time = float(known.get("count", 0.0)), float(known.get("time", 0.0))
    if not isinstance(vector, Sparse):
        return AffinityRow.of({}, count, time)
    divided_by = float(known.get("divisor", affinity.divisor(0.0, settings)))
    return affinity.restore_row(vector.indices, vector.values, divided_by, count, time)


def row_payload(row: AffinityRow, settings: AffinitySettings) -> dict[str, Any]:
    """What it takes, beside the vector, to recover the row."""
    return {"count": row.count, "time": row.time, "divisor": affinity.divisor(row.count, settings)}


def row_vectors(row: AffinityRow, settings: AffinitySettings) -> dict[str, Sparse]:
    """The row as the named vector that is searched; nothing while it is empty."""
    return {VECTOR: Sparse(row.indices, row.stored(settings))} if len(row.indices) else {}


def _source_hash(source: str) -> str:
    return b64encode((fingerprint(source) & 0xFFFF_FFFF_FFFF).to_bytes(6, "big")).decode()


def _log_partition(record: Record) -> str:
    return f"{record.log}:{record.partition}"
