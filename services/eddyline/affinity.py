"""Affinity: folds `activity` into what items owe to people: their trends.

The only writer of an item's `trend` payload. Each window is the logarithm of a forward-decayed count (`model.decay`),
so an idle item needs no rewrite and the store can order by it. The watermark lies in the same payload object, so a
batch that is handled twice counts once, and so do the newest sources, since a profiler that crashed tells them again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from eddyline.adapters.kafka import Message, Record, TopicPartition
from eddyline.adapters.vectors import ITEMS, VectorStore
from eddyline.model.decay import count_in
from eddyline.model.events import Activity, parse
from eddyline.model.ids import fingerprint, item_point
from eddyline.model.ranking import TREND_HALF_LIVES, trend_tau

SOURCES = 64
"""Newest interactions remembered per item, to recognise those that a profiler tells twice around a crash."""


class Affinity:
    """The handler of the topic `activity`."""

    topics = ("activity",)

    def __init__(self, store: VectorStore, items: str = ITEMS) -> None:
        """`items`: the concrete collection that is written; the alias does in a store of one generation."""
        self._store, self._items = store, items

    def parse(self, record: Record) -> Activity:
        """Raises `InvalidEvent`."""
        return parse(Activity, record.value)

    def handle(self, batch: Sequence[Message[Activity]]) -> None:
        """Count each activity once; items that are gone are passed over."""
        points = {item_point(message.value.item_id) for message in batch}
        stored = self._store.retrieve(self._items, sorted(points), payload=("trend",))
        trends: dict[str, dict[str, Any]] = {}
        for message in batch:
            point = item_point(message.value.item_id)
            if point not in stored:
                continue
            trend = trends.get(point) or dict(stored[point].payload.get("trend") or {})
            if not _is_folded(trend, message):
                trends[point] = _counted(trend, message)
        if trends:
            self._store.set_payload(self._items, {point: {"trend": trend} for point, trend in trends.items()})

    def assigned(self, epochs: Mapping[TopicPartition, int]) -> None:
        """Nothing is kept between batches."""

    def revoked(self, partitions: Iterable[TopicPartition]) -> None:
        """Nothing is kept between batches."""

    def tick(self) -> None:
        """Nothing waits."""


def _is_folded(trend: Mapping[str, Any], message: Message[Activity]) -> bool:
    record = message.record
    if trend.get("log") == _log(record) and record.offset <= trend.get("offset", -1):
        return True
    return fingerprint(message.value.source) in trend.get("sources", ())


def _counted(trend: Mapping[str, Any], message: Message[Activity]) -> dict[str, Any]:
    activity, record = message.value, message.record
    windows = {
        window: count_in(trend.get(window), 1.0, activity.timestamp, trend_tau(window)) for window in TREND_HALF_LIVES
    }
    sources = [*trend.get("sources", ()), fingerprint(activity.source)][-SOURCES:]
    count = trend.get("count", 0) + 1
    return {**windows, "count": count, "log": _log(record), "offset": record.offset, "sources": sources}


def _log(record: Record) -> str:
    return f"{record.log}:{record.partition}"
