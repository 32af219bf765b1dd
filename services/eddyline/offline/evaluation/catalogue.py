"""The item collection in memory: answers what the vector store would, exactly, over numpy arrays.

Items are places 0…n-1 in the log's list. They are all there from the start.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from eddyline.model.decay import LANDMARK, count_in
from eddyline.model.events import Content
from eddyline.model.trends import TREND_HALF_LIVES, trend_tau

Floats = NDArray[np.float32]
Places = NDArray[np.int64]


class SparseRows:
    """One sparse row per item, and all dot products with a query at once, by an inverted index.

    Rows are written often and read rarely: a written row waits until the next query.
    """

    def __init__(self, items: int) -> None:
        self._columns: dict[int, tuple[array[int], array[float]]] = {}
        self._slots: list[dict[int, int]] = [{} for _ in range(items)]
        self._waiting: dict[int, tuple[NDArray[np.uint32], Floats]] = {}

    def write(self, item: int, indices: NDArray[np.uint32], values: Floats) -> None:
        """Replace an item's row; `indices` are distinct."""
        self._waiting[item] = indices, values

    def scores(self, indices: NDArray[np.uint32], values: NDArray[np.floating]) -> Floats:
        """Dot products of a sparse query with every row; 0 where nothing is shared."""
        for item, row in self._waiting.items():
            self._put(item, *row)
        self._waiting.clear()
        scores = np.zeros(len(self._slots), dtype=np.float32)
        for dimension, weight in zip(indices.tolist(), values.tolist(), strict=True):
            column = self._columns.get(dimension)
            if column is not None:
                # An item is in a column once, so that no addition is lost.
                scores[np.frombuffer(column[0], dtype=np.int32)] += weight * np.frombuffer(column[1], dtype=np.float32)
        return scores

    def _put(self, item: int, indices: NDArray[np.uint32], values: Floats) -> None:
        slots = self._slots[item]
        row = dict(zip(indices.tolist(), values.tolist(), strict=True))
        for dimension in slots.keys() - row.keys():
            self._columns[dimension][1][slots[dimension]] = 0.0
        for dimension, value in row.items():
            slot = slots.get(dimension)
            if slot is not None:
                self._columns[dimension][1][slot] = value
                continue
            column = self._columns.setdefault(dimension, (array("i"), array("f")))
            slots[dimension] = len(column[0])
            column[0].append(item)
            column[1].append(value)


class Catalogue:
    """Content vectors (unit, float32), affinity rows, trends and dates of all items."""

    def __init__(self, items: Sequence[Content], content: Floats) -> None:
        self.items, self.content = items, content
        self.item_ids = [item.item_id for item in items]
        self.place_of = {item_id: place for place, item_id in enumerate(self.item_ids)}
        self.affinity = SparseRows(len(items))
        self.trends: Mapping[str, NDArray[np.float64]] = {
            window: np.full(len(items), -np.inf) for window in TREND_HALF_LIVES
        }
        """Logarithms of forward-decayed counts, minus infinity where there are none."""
        self.listed_at = np.asarray([_listed_at(item) for item in items], dtype=np.float64)
        """Epoch seconds; minus infinity where unknown."""

    def count(self, item: int, time: float) -> None:
        """Someone chose the item."""
        for window, logarithms in self.trends.items():
            known = float(logarithms[item])
            logarithms[item] = count_in(None if known == -np.inf else known, 1.0, time, trend_tau(window))

    def similarities(self, vectors: Sequence[NDArray[np.floating]]) -> Floats:
        """Cosine of every unit query vector with every item: (vectors, items)."""
        return np.asarray(np.stack(vectors).astype(np.float32, copy=False) @ self.content.T)

    def counts(self, window: str, now: float) -> NDArray[np.float64]:
        """Decayed counts of all items at `now`."""
        tau = trend_tau(window)
        return np.exp(np.minimum(700.0, self.trends[window] - (now - LANDMARK) / tau))


def top(scores: NDArray[np.floating], depth: int, blocked: Places) -> Places:
    """Places of the best `depth` scores above minus infinity, best first, equals by place; none of `blocked`."""
    left = scores.copy()
    left[blocked] = -np.inf
    if depth < len(left):
        # All that are as good as the last one, so that equals are told apart by their place alone.
        least = np.partition(left, len(left) - depth)[len(left) - depth]
        found = np.flatnonzero(left >= least) if least > -np.inf else np.flatnonzero(left > -np.inf)
    else:
        found = np.flatnonzero(left > -np.inf)
    return found[np.argsort(-left[found], kind="stable")][:depth]


def _listed_at(item: Content) -> float:
    known = item.published_at if item.published_at is not None else item.timestamp
    return -np.inf if known is None else known
