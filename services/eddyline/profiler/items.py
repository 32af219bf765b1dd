"""The vectors of items, as the profiler folds them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from eddyline.adapters.vectors import Sparse, VectorStore
from eddyline.model.decay import Vector
from eddyline.model.ids import item_point
from eddyline.settings import Profile as ProfileSettings


@dataclass(frozen=True, slots=True)
class ItemVector:
    """An item's content vector (unit length) and the space it lives in; `read_at` by the monotonic clock."""

    vector: Vector
    space: str
    read_at: float


class ItemVectors:
    """Reads them, through a bounded cache. `monotonic` in seconds."""

    def __init__(
        self, store: VectorStore, collection: str, settings: ProfileSettings, monotonic: Callable[[], float]
    ) -> None:
        self._store, self._collection, self._settings = store, collection, settings
        self._monotonic = monotonic
        self._items: OrderedDict[str, ItemVector] = OrderedDict()

    def find(self, item_ids: set[str]) -> dict[str, ItemVector]:
        """Those of the items that are embedded."""
        now = self._monotonic()
        found: dict[str, ItemVector] = {}
        for item_id in item_ids:
            cached = self._items.get(item_id)
            if cached is not None and now - cached.read_at < self._settings.item_cache_seconds:
                self._items.move_to_end(item_id)
                found[item_id] = cached
        missing = {item_point(item_id): item_id for item_id in item_ids - found.keys()}
        if missing:
            points = self._store.retrieve(self._collection, sorted(missing), payload=("space",), vectors=("content",))
            for point_id, point in points.items():
                vector = point.vectors.get("content")
                # An item that is just being made has its vector a moment before its space.
                if vector is None or isinstance(vector, Sparse) or "space" not in point.payload:
                    continue
                item = ItemVector(np.asarray(vector, dtype=np.float64), str(point.payload["space"]), now)
                found[missing[point_id]] = self._items[missing[point_id]] = item
                self._items.move_to_end(missing[point_id])
        while len(self._items) > self._settings.cached_items:
            self._items.popitem(last=False)
        return found
