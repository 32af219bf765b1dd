"""Sparse rows by their columns: the dot product of a sparse query with every row, exactly."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]
SMALLEST = 4
"""Entries that a column has room for at first."""


@dataclass(frozen=True, slots=True)
class _Row:
    """Where a row's entries are: their dimensions and columns, ascending, and for each the place in that column."""

    dimensions: NDArray[np.uint32]
    columns: Integers
    slots: Integers


class InvertedIndex:
    """`rows` sparse rows. They are written often and read rarely: a written one is pending until the next query.

    `dimensions`: all that a row may have. All columns lie in one pool, each with some room to grow; one that is full
    moves to the pool's end. An entry that leaves a row stays in its column as a zero; should it come back, it gets a
    later place.
    """

    def __init__(self, rows: int, dimensions: Iterable[int]) -> None:
        self._dimensions = np.unique(np.fromiter(dimensions, dtype=np.uint32))
        nothing = np.zeros(0, dtype=np.int64)
        self._rows = [_Row(nothing.astype(np.uint32), nothing, nothing)] * rows
        self._pending: dict[int, tuple[NDArray[np.uint32], Floats]] = {}
        self._starts, self._sizes, self._rooms = (np.zeros(len(self._dimensions), dtype=np.int64) for _ in range(3))
        self._used = 0
        self._owners = np.zeros(1024, dtype=np.int32)
        self._values = np.zeros(1024, dtype=np.float32)

    def write(self, row: int, indices: NDArray[np.uint32], values: Floats) -> None:
        """Replace a row; `indices` are distinct."""
        self._pending[row] = indices, values

    def scores(self, indices: NDArray[np.uint32], values: NDArray[np.floating]) -> Floats:
        """Compute the dot products of a sparse query with every row, shape (rows); 0 where nothing is shared."""
        for row, (dimensions, weights) in self._pending.items():
            self._put(row, dimensions, weights)
        self._pending.clear()
        known, columns = self._columns(indices)
        sizes = self._sizes[columns]
        ends = np.cumsum(sizes)
        # The places of one column after another: each begins where its own start is.
        places = np.arange(ends[-1] if len(ends) else 0) + np.repeat(self._starts[columns] - ends + sizes, sizes)
        products = np.repeat(values[known].astype(np.float64), sizes) * self._values[places]
        # Where an owner comes twice in a column, the earlier entry is a zero that was left.
        return np.bincount(self._owners[places], products, len(self._rows)).astype(np.float32)

    def _columns(self, indices: NDArray[np.uint32]) -> tuple[NDArray[np.bool_], Integers]:
        """Mask the dimensions that a row may have, and find their columns."""
        at = np.searchsorted(self._dimensions, indices)
        known = at < len(self._dimensions)
        known[known] = self._dimensions[at[known]] == indices[known]
        return known, at[known]

    def _put(self, row: int, indices: NDArray[np.uint32], values: Floats) -> None:
        dimensions, weights, before = indices, values, self._rows[row]
        if not (dimensions[1:] > dimensions[:-1]).all():
            order = np.argsort(dimensions)
            dimensions, weights = dimensions[order], values[order]
        if np.array_equal(dimensions, before.dimensions):
            self._values[self._starts[before.columns] + before.slots] = weights
            return
        known, columns = self._columns(dimensions)
        if not known.all():
            raise ValueError("a row has a dimension that the index wasn't made for")
        at = np.searchsorted(before.columns, columns)
        stays = at < len(before.columns)
        stays[stays] = before.columns[at[stays]] == columns[stays]
        left = np.ones(len(before.columns), dtype=np.bool_)
        left[at[stays]] = False
        self._values[self._starts[before.columns[left]] + before.slots[left]] = 0.0
        slots = np.empty(len(columns), dtype=np.int64)
        slots[stays] = before.slots[at[stays]]
        slots[~stays] = self._append(columns[~stays], row)
        self._values[self._starts[columns] + slots] = weights
        self._rows[row] = _Row(dimensions, columns, slots)

    def _append(self, columns: Integers, row: int) -> Integers:
        """Add an entry to each of these, which are distinct; return its place there."""
        slots = self._sizes[columns]
        for column in columns[slots == self._rooms[columns]].tolist():
            self._move(column, max(SMALLEST, 2 * int(self._sizes[column])))
        self._owners[self._starts[columns] + slots] = row
        self._sizes[columns] += 1
        return slots

    def _move(self, column: int, room: int) -> None:
        """Give a column more room, at the end of the pool."""
        while self._used + room > len(self._owners):
            self._owners = np.concatenate([self._owners, np.zeros_like(self._owners)])
            self._values = np.concatenate([self._values, np.zeros_like(self._values)])
        start, size, end = int(self._starts[column]), int(self._sizes[column]), self._used
        for pool in (self._owners, self._values):
            pool[end : end + size] = pool[start : start + size]
        self._starts[column], self._rooms[column], self._used = end, room, end + room
