"""Sparse vectors in memory: exact dot products with all of them, by an inverted index that takes changes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]
SMALLEST = 4
"""Entries that a column has room for at first."""


@dataclass(slots=True)
class _Row:
    """Where a row's entries are: dimensions, ascending, and for each its column and its place in that column."""

    dimensions: NDArray[np.uint32]
    columns: Integers
    slots: Integers


class InvertedIndex:
    """One sparse row per item. Rows are written often and read rarely: a written one waits until the next query.

    All columns lie in one pool, each with some room to grow; one that is full moves to the pool's end. An entry that
    leaves a row stays in its column as a zero; should it come back, it gets a later place, and that one counts.
    """

    def __init__(self, items: int) -> None:
        nothing = np.zeros(0, dtype=np.int64)
        self._items = items
        self._rows = [_Row(np.zeros(0, dtype=np.uint32), nothing, nothing)] * items
        self._waiting: dict[int, tuple[NDArray[np.uint32], Floats]] = {}
        self._column_of: dict[int, int] = {}
        self._starts, self._sizes, self._rooms = nothing.copy(), nothing.copy(), nothing.copy()
        self._used = 0
        self._owners = np.zeros(1024, dtype=np.int32)
        self._values = np.zeros(1024, dtype=np.float32)

    def write(self, item: int, indices: NDArray[np.uint32], values: Floats) -> None:
        """Replace an item's row; `indices` are distinct."""
        self._waiting[item] = indices, values

    def scores(self, indices: NDArray[np.uint32], values: NDArray[np.floating]) -> Floats:
        """Dot products of a sparse query with every row, shape (items); 0 where nothing is shared."""
        for item, (dimensions, weights) in self._waiting.items():
            self._put(item, dimensions, weights)
        self._waiting.clear()
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
        """A new entry's column, and its place there."""
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
