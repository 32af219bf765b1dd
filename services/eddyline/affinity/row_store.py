"""The rows of the partitions that are ours: cached, written whole under the owner's epoch, one request a batch."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping

from eddyline.adapters.vectors import Filter, HasId, VectorStore
from eddyline.adapters.vectors.epoch_fence import EpochFence, not_above
from eddyline.affinity.row_state import VECTOR, RowState
from eddyline.errors import Unavailable
from eddyline.model.ids import item_point_id
from eddyline.settings import AffinitySettings
from eddyline.topics import ACTIVITY

CACHED_ROWS = 10_000
"""Rows kept in memory, of some 8 kB each where they are full."""


class RowStore:
    """Rows out, durable writes in. `collection` is the concrete one. All calls come from the consume loop's thread."""

    def __init__(self, store: VectorStore, collection: str, settings: AffinitySettings) -> None:
        self._store, self._collection, self._settings = store, collection, settings
        self._fence = EpochFence(ACTIVITY)
        self._cache: OrderedDict[str, RowState] = OrderedDict()

    def add_partition(self, partition: int, epoch: float) -> None:
        """Own the partition from now on."""
        self._fence.add(partition, epoch)

    def remove_partitions(self, partitions: Iterable[int]) -> None:
        """Give the partitions up: somebody else may write their rows now, so what is cached is worthless."""
        self._fence.remove(partitions)
        self._cache.clear()

    def load(self, items: Mapping[str, int]) -> dict[str, RowState]:
        """Return the rows that there are, from the cache or the store. `items`: item id → its partition.

        Raises `Fenced` where a stored one was written under a higher epoch than ours.
        """
        found = {item_id: self._cache[item_id] for item_id in items if item_id in self._cache}
        missing = {item_point_id(item_id): item_id for item_id in items if item_id not in found}
        if missing:
            points = self._store.retrieve(self._collection, sorted(missing), vectors=(VECTOR,))
            stored = {missing[id]: RowState.from_point(point, self._settings) for id, point in points.items()}
            for item_id, state in stored.items():
                loaded = (other.epoch for other in stored.values())
                self._fence.check(f"the row of item {item_id!r}", state.epoch, items[item_id], loaded)
            found |= stored
            self._keep(stored)
        return found

    def write(self, rows: Mapping[str, RowState | None], partitions: Mapping[str, int]) -> None:
        """Make the rows durable, and delete those that are None, unless a higher epoch has written them.

        `partitions`: of each item's log.
        """
        by_epoch: dict[float, dict[str, RowState | None]] = {}
        for item_id, state in rows.items():
            by_epoch.setdefault(self._fence.epoch(partitions[item_id]), {})[item_id] = state
        try:
            for epoch, some in by_epoch.items():
                self._write(epoch, some)
        except Unavailable:
            self._fence.outdate(partitions[item_id] for item_id in rows)
            raise
        for item_id in rows:
            self._cache.pop(item_id, None)
        self._keep({item_id: state for item_id, state in rows.items() if state is not None})

    def _write(self, epoch: float, rows: Mapping[str, RowState | None]) -> None:
        points = [state.to_point(self._settings, epoch) for state in rows.values() if state is not None]
        if points:
            self._store.upsert(self._collection, points, condition=not_above(epoch))
        gone = [item_point_id(item_id) for item_id, state in rows.items() if state is None]
        if gone:
            only = Filter(must=(HasId(tuple(gone)),))
            self._store.delete_matching(self._collection, only & not_above(epoch))

    def _keep(self, rows: Mapping[str, RowState]) -> None:
        for item_id, state in rows.items():
            self._cache[item_id] = state
            self._cache.move_to_end(item_id)
        while len(self._cache) > CACHED_ROWS:
            self._cache.popitem(last=False)
