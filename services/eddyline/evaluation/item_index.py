"""The searches of the vector store, done exactly in memory: items by dense vectors, sparse rows and payload fields.

Items are places 0…n-1 in the log's list. They are all there from the start.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eddyline.model.decay import add_to_decayed_count, decayed_count_at
from eddyline.model.distance import Distance, similarities
from eddyline.model.events import Content
from eddyline.model.ranking import PriceAndImage
from eddyline.model.trends import POPULARITY, TREND_HALF_LIVES, trend_tau

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]
SMALLEST = 4
"""Entries that a column has room for at first."""


class ItemIndex:
    """Content vectors (float32, compared by `distance`), affinity rows, trends and dates of all items."""

    def __init__(self, items: Sequence[Content], content: Floats, distance: Distance = Distance.COSINE) -> None:
        self.items, self.content, self.distance = items, content, distance
        self._columns = np.ascontiguousarray(content.T)  # a third faster to multiply with
        self.item_ids = [item.item_id for item in items]
        self.place_of = {item_id: place for place, item_id in enumerate(self.item_ids)}
        self.affinity = InvertedIndex(len(items))
        self.trends: Mapping[str, NDArray[np.float64]] = {
            window: np.full(len(items), -np.inf) for window in TREND_HALF_LIVES
        }
        """Logarithms of forward-decayed counts, minus infinity where there are none."""
        self.listed_at = np.asarray([_listed_at(item) for item in items], dtype=np.float64)
        """Epoch seconds; minus infinity where unknown."""
        self._payloads = [_payload(item) for item in items]

    def count(self, item: int, time: float) -> None:
        """Count that someone chose the item."""
        for window, logarithms in self.trends.items():
            known = float(logarithms[item])
            logarithms[item] = add_to_decayed_count(None if known == -np.inf else known, 1.0, time, trend_tau(window))
        chosen = self._payloads[item].get("trend", {}).get("count", 0) + 1
        windows = {window: float(each[item]) for window, each in self.trends.items()}
        self._payloads[item]["trend"] = {**windows, "count": chosen}

    def popularity(self, item: int, now: float) -> float:
        """Compute the item's decayed count over about a quarter."""
        known = float(self.trends[POPULARITY][item])
        return decayed_count_at(None if known == -np.inf else known, now, trend_tau(POPULARITY))

    def payload(self, item: int, now: float) -> Mapping[str, Any]:
        """Give what the store has beside the vectors, as far as ranking reads it.

        Items are there from the start, whatever the date they are listed with; one that isn't over yet says nothing.
        """
        payload = self._payloads[item]
        if self.listed_at[item] <= now:
            return payload
        return {name: value for name, value in payload.items() if name != "listed_at"}

    def detail(self, item_id: str) -> PriceAndImage:
        """Give what ranking reads of a recent item. There are no pictures."""
        return PriceAndImage(self.items[self.place_of[item_id]].price)

    def similarities(self, vectors: Sequence[NDArray[np.floating]]) -> Floats:
        """Compare every query vector with every item: (vectors, items)."""
        if self.distance is Distance.EUCLID:
            return np.stack([similarities(vector, self.content, self.distance) for vector in vectors])
        return np.asarray(np.stack(vectors).astype(np.float32, copy=False) @ self._columns)

    def ordered(self, field: str, now: float) -> NDArray[np.float64]:
        """Give the values to order by: a `trend.<window>`, or `listed_at`; minus infinity where there is none."""
        if field == "listed_at":
            return np.where(self.listed_at <= now, self.listed_at, -np.inf)
        return self.trends[field.removeprefix("trend.")]


def top(scores: NDArray[np.floating], depth: int, blocked: Integers) -> Integers:
    """Integers of the best `depth` scores above minus infinity, best first, equals by place; none of `blocked`."""
    left = scores.copy()
    left[blocked] = -np.inf
    if depth < len(left):
        # All that are as good as the last one, so that equals are told apart by their place alone.
        worst = np.partition(left, len(left) - depth)[len(left) - depth]
        found = np.flatnonzero(left >= worst) if worst > -np.inf else np.flatnonzero(left > -np.inf)
    else:
        found = np.flatnonzero(left > -np.inf)
    return found[np.argsort(-left[found], kind="stable")][:depth]


def _payload(item: Content) -> dict[str, Any]:
    listed_at = _listed_at(item)
    known = {} if listed_at == -np.inf else {"listed_at": listed_at}
    rated = {} if item.rating is None else {"rating": item.rating.model_dump()}
    priced = {} if item.price is None else {"offer": {"price": item.price}}
    return {"item_id": item.item_id, "meta": {"category": item.category, **rated}, **priced, **known}


def _listed_at(item: Content) -> float:
    known = item.published_at if item.published_at is not None else item.timestamp
    return -np.inf if known is None else known


@dataclass(slots=True)
class _Row:
    """Where a row's entries are: dimensions, ascending, and for each its column and its place in that column."""

    dimensions: NDArray[np.uint32]
    columns: Integers
    slots: Integers


class InvertedIndex:
    """One sparse row per item. Rows are written often and read rarely: a written one is pending until the next query.

    All columns lie in one pool, each with some room to grow; one that is full moves to the pool's end. An entry that
    leaves a row stays in its column as a zero; should it come back, it gets a later place, and that one counts.
    """

    def __init__(self, items: int) -> None:
        nothing = np.zeros(0, dtype=np.int64)
        self._items = items
        self._rows = [_Row(np.zeros(0, dtype=np.uint32), nothing, nothing)] * items
        self._pending: dict[int, tuple[NDArray[np.uint32], Floats]] = {}
        self._column_of: dict[int, int] = {}
        self._starts, self._sizes, self._rooms = nothing.copy(), nothing.copy(), nothing.copy()
        self._used = 0
        self._owners = np.zeros(1024, dtype=np.int32)
        self._values = np.zeros(1024, dtype=np.float32)

    def write(self, item: int, indices: NDArray[np.uint32], values: Floats) -> None:
        """Replace an item's row; `indices` are distinct."""
        self._pending[item] = indices, values

    def scores(self, indices: NDArray[np.uint32], values: NDArray[np.floating]) -> Floats:
        """Compute the dot products of a sparse query with every row, shape (items); 0 where nothing is shared."""
        for item, (dimensions, weights) in self._pending.items():
            self._put(item, dimensions, weights)
        self._pending.clear()
        scores = np.zeros(self._items, dtype=np.float32)
        for dimension, weight in zip(indices.tolist(), values.tolist(), strict=True):
            column = self._column_of.get(dimension)
            if column is not None:
                part = slice(int(self._starts[column]), int(self._starts[column] + self._sizes[column]))
                # Where an owner comes twice, numpy keeps the later sum: the earlier entry is a zero that was left.
                scores[self._owners[part]] += np.float32(weight) * self._values[part]
        return scores

    def _put(self, item: int, indices: NDArray[np.uint32], values: Floats) -> None:
        order = np.argsort(indices, kind="stable")
        dimensions, weights, row = indices[order], values[order], self._rows[item]
        at = np.searchsorted(row.dimensions, dimensions)
        known = np.zeros(len(dimensions), dtype=np.bool_)
        inside = at < len(row.dimensions)
        known[inside] = row.dimensions[at[inside]] == dimensions[inside]
        left = np.ones(len(row.dimensions), dtype=np.bool_)
        left[at[known]] = False
        self._values[self._starts[row.columns[left]] + row.slots[left]] = 0.0
        columns, slots = np.empty(len(dimensions), dtype=np.int64), np.empty(len(dimensions), dtype=np.int64)
        columns[known], slots[known] = row.columns[at[known]], row.slots[at[known]]
        for place in np.flatnonzero(~known).tolist():
            columns[place], slots[place] = self._append(int(dimensions[place]), item)
        self._values[self._starts[columns] + slots] = weights
        self._rows[item] = _Row(dimensions, columns, slots)

    def _append(self, dimension: int, item: int) -> tuple[int, int]:
        """Add an entry; return its column, and its place there."""
        column = self._column_of.setdefault(dimension, len(self._column_of))
        if column == len(self._starts):
            more = max(1024, column)
            self._starts, self._sizes, self._rooms = (
                np.concatenate([each, np.zeros(more, dtype=np.int64)])
                for each in (self._starts, self._sizes, self._rooms)
            )
        slot = int(self._sizes[column])
        if slot == self._rooms[column]:
            self._move(column, max(SMALLEST, 2 * slot))
        self._owners[self._starts[column] + slot] = item
        self._sizes[column] += 1
        return column, slot

    def _move(self, column: int, room: int) -> None:
        """Give a column more room, at the end of the pool."""
        while self._used + room > len(self._owners):
            self._owners = np.concatenate([self._owners, np.zeros_like(self._owners)])
            self._values = np.concatenate([self._values, np.zeros_like(self._values)])
        start, size, end = int(self._starts[column]), int(self._sizes[column]), self._used
        for pool in (self._owners, self._values):
            pool[end : end + size] = pool[start : start + size]
        self._starts[column], self._rooms[column], self._used = end, room, end + room
