"""The vectors of items, as the profiler folds them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from eddyline.adapters.vectors import Collections, Filter, IsEmpty, Point, PointStore, Sparse
from eddyline.model.decay import Vector, decayed_count_at
from eddyline.model.ids import item_point_id
from eddyline.model.trends import POPULARITY, trend_tau
from eddyline.settings import ProfileSettings

TREND = f"trend.{POPULARITY}"
ITEM_CACHE_SECONDS = 60.0
"""How long a cached item vector may be used before it is read again."""
CACHED_BYTES = 256 * 2**20
"""Most memory of all cached items."""
ENTRY_BYTES = 900
"""Of an item without its vector, its id the longest that there is."""


@dataclass(frozen=True, slots=True)
class ItemVector:
    """An item's content vector and the space it lives in; `read_at` by the monotonic clock.

    `popularity`: its decayed count over about a quarter, when it was read.
    """

    vector: Vector
    space: str
    read_at: float
    popularity: float = 0.0


class ItemCache:
    """Reads items' vectors through a bounded cache. `clock` in epoch seconds, `monotonic` in seconds."""

    def __init__(
        self,
        store: PointStore,
        collections: Collections,
        settings: ProfileSettings,
        clock: Callable[[], float],
        monotonic: Callable[[], float],
    ) -> None:
        self._store, self._collections, self._settings = store, collections, settings
        self._clock, self._monotonic = clock, monotonic
        self._items: OrderedDict[str, ItemVector] = OrderedDict()

    def find(self, item_ids: set[str]) -> dict[str, ItemVector]:
        """Return the vectors of those items that are embedded."""
        now = self._monotonic()
        found: dict[str, ItemVector] = {}
        for item_id in item_ids:
            cached = self._items.get(item_id)
            if cached is not None and now - cached.read_at < ITEM_CACHE_SECONDS:
                self._items.move_to_end(item_id)
                found[item_id] = cached
        missing = {item_point_id(item_id): item_id for item_id in item_ids - found.keys()}
        if missing:
            items = self._collections.items
            points = self._store.retrieve(items, sorted(missing), payload=("space",), vectors=("content",))
            rows = self._store.retrieve(self._collections.rows, sorted(points), payload=(TREND,)) if points else {}
            for point_id, point in points.items():
                vector = point.vectors.get("content")
                # An item that is just being made has its vector a moment before its space.
                if vector is None or isinstance(vector, Sparse) or "space" not in point.payload:
                    continue
                popularity = round(_popularity(rows.get(point_id), self._clock()), 2)
                item = ItemVector(np.asarray(vector, dtype=np.float64), str(point.payload["space"]), now, popularity)
                found[missing[point_id]] = self._items[missing[point_id]] = item
                self._items.move_to_end(missing[point_id])
        while len(self._items) > self._max_items():
            self._items.popitem(last=False)
        return found

    def reference(self) -> ItemVector | None:
        """Return some item's vector, which every other one must be comparable with; None while there is none."""
        newest = next(reversed(self._items.values()), None)
        if newest is not None:
            return newest
        embedded = Filter(must_not=(IsEmpty("space"),))
        page, _ = self._store.scroll(
            self._collections.items, filter=embedded, limit=1, payload=("item_id",), vectors=()
        )
        return next(iter(self.find({point.payload["item_id"] for point in page}).values()), None)

    def _max_items(self) -> int:
        """Return how many may be cached: as many as are set, of long vectors fewer."""
        newest = next(reversed(self._items.values()), None)
        by_bytes = CACHED_BYTES // (ENTRY_BYTES + (0 if newest is None else newest.vector.nbytes))
        return min(self._settings.cached_items, by_bytes)


def _popularity(row: Point | None, now: float) -> float:
    trend: Mapping[str, float] = {} if row is None else row.payload.get("trend") or {}
    return decayed_count_at(trend.get(POPULARITY), now, trend_tau(POPULARITY))
