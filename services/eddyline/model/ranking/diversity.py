"""What goes on the list: by score, diversity, calibration, exploration and caps, one position after the other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from eddyline.model.decay import Vector
from eddyline.model.distance import normalise_rows
from eddyline.model.ranking import seeded_random
from eddyline.model.ranking.candidates import Candidates, Column
from eddyline.model.ranking.exploration import EXPLORATION, draw_promise
from eddyline.model.ranking.options import RankOptions

FIRST_EXPLORED = 2
"""The first two positions are never given to exploration."""
SMOOTHING = 0.01
"""Share of a list's mix of categories that is taken to be the person's, so that no divergence is infinite."""


def select(
    candidates: Candidates,
    scores: Column,
    order: NDArray[np.intp],
    options: RankOptions,
    mix: Mapping[str, float] | None = None,
) -> list[tuple[int, bool]]:
    """Return the rows of the list's items in its order, and whether each is there by exploration.

    `order`: the rows that may be chosen, best first; `mix`: the share of each category that the list is calibrated to,
    where that is known.
    """
    explored = np.zeros(options.limit, np.bool_)
    if options.explore > 0:
        explored = seeded_random.uniform_draws(options.limit, options.seed, EXPLORATION) < options.explore
        explored[:FIRST_EXPLORED] = False
    is_calibrated = options.calibration > 0 and mix is not None
    if not (options.diversity > 0 or is_calibrated or options.has_caps or explored.any()):
        return [(row, False) for row in order[: options.limit].tolist()]
    selection = _DiverseSelection(candidates, scores, order, options, mix)
    if explored.any():
        selection.try_out(draw_promise(candidates, order, options.seed, options.now))
    selected = []
    for is_explored in explored.tolist():
        tried = selection.promising() if is_explored else None
        index = selection.best() if tried is None else tried
        if index is None:
            break
        selected.append((int(order[index]), tried is not None))
        selection.select(index)
    return selected


class _DiverseSelection:
    r"""What may still be chosen, by its index in the order; greedy.

    Maximal marginal relevance (Carbonell and Goldstein, "The use of MMR, diversity-based reranking for reordering
    documents and producing summaries", SIGIR 1998): the next is the one with the largest
    $(1 - d)\,relevance - d \max_j \cos(x, x_j)$ over those chosen already, relevance being the score over the largest.

    Calibrated (Steck, "Calibrated recommendations", RecSys 2018), that counts $1 - c$, beside c times what the item
    takes from $KL(p \| q) = \sum_g p_g \ln(p_g / \tilde q_g)$, p being the person's mix of categories, q that of the
    list so far with the item, $\tilde q = (1 - \alpha) q + \alpha p$. Only what its own category has in it differs from
    item to item.
    """

    def __init__(
        self,
        candidates: Candidates,
        scores: Column,
        order: NDArray[np.intp],
        options: RankOptions,
        mix: Mapping[str, float] | None,
    ) -> None:
        self._options = options
        self._free = np.ones(len(order), dtype=np.bool_)
        self._caps = [_Cap(labels[order], most) for labels, most in _labels(candidates, options)]
        best = float(scores[order].max(initial=0.0)) or 1.0
        self._relevance = (1.0 - options.diversity) * scores[order] / best
        self._balance: _CategoryBalance | None = None
        if mix is not None and options.calibration > 0:
            self._relevance *= 1.0 - options.calibration
            self._balance = _CategoryBalance(candidates.categories()[order], candidates.shares(mix)[order])
        self._similarity = np.zeros(len(order))
        self._has_vectors = bool(candidates.vectors)
        reach = self._reach()
        self._vectors = [candidates.vectors[row] for row in order.tolist()] if reach else []
        self._matrix = _unit_rows(self._vectors[:reach])
        self._promise = self._relevance

    def try_out(self, promise: Column) -> None:
        """Take what each may be worth to try; -inf for what isn't tried."""
        self._promise = promise

    def best(self) -> int | None:
        """Return the next by relevance, diversity and calibration."""
        keys = self._relevance
        if len(self._matrix):
            weight = 1.0 if self._balance is None else 1.0 - self._options.calibration
            keys = keys - weight * self._options.diversity * self._similarity
        if self._balance is not None:
            keys = keys + self._options.calibration * self._balance.gains()
        return self._first(keys)

    def promising(self) -> int | None:
        """Return the most promising one to try out; None where there is none."""
        index = self._first(self._promise)
        return None if index is None or np.isneginf(self._promise[index]) else index

    def select(self, index: int) -> None:
        """Put it on the list."""
        self._free[index] = False
        vector = self._vectors[index] if self._vectors else None
        if vector is not None:
            similarity = self._similarity[: len(self._matrix)]
            np.maximum(similarity, self._matrix @ _unit_rows([vector])[0], out=similarity)
        if self._balance is not None:
            self._balance.add(index)
        for cap in self._caps:
            cap.add(index, self._free)

    def _reach(self) -> int:
        """Return how many, from the best one on, diversity can affect at all.

        The similarity is in 0…1, and while a list isn't full, one of the first `limit` is free: whatever is behind them
        all by more than its weight comes too late. Not so where a cap may be full, or categories count.
        """
        options = self._options
        if options.diversity <= 0 or not self._has_vectors:
            return 0
        if self._caps or self._balance is not None or len(self._relevance) <= options.limit:
            return len(self._relevance)
        lowest = self._relevance[options.limit - 1] - options.diversity
        return int(np.count_nonzero(self._relevance >= lowest - 1e-5))

    def _first(self, keys: Column) -> int | None:
        index = int(np.argmax(np.where(self._free, keys, -np.inf))) if len(keys) else 0
        return index if len(keys) and self._free[index] else None


class _Cap:
    """At most so many of each value. `values`: a number for each item's, -1 where it has none."""

    def __init__(self, values: NDArray[np.intp], most: int) -> None:
        self._values, self._most = values, most
        self._counts: dict[int, int] = {}

    def add(self, index: int, free: NDArray[np.bool_]) -> None:
        """Count an item; where its value has as many as it may, the others aren't free any more."""
        value = int(self._values[index])
        self._counts[value] = self._counts.get(value, 0) + 1
        if value >= 0 and self._counts[value] >= self._most:
            free &= self._values != value


class _CategoryBalance:
    """How far the list's categories are from the person's. `categories`: a number for each item's; `shares`: what share
    of the person's mix it has."""

    def __init__(self, categories: NDArray[np.intp], shares: Column) -> None:
        self._categories, self._shares = categories, shares
        self._counts = np.zeros(len(categories))
        self._length = 0

    def gains(self) -> Column:
        """Return by how much less the list would diverge with each item than with one that the person never chose."""
        listed = (1.0 - SMOOTHING) / (self._length + 1)
        floor = SMOOTHING * self._shares
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = (listed * (self._counts + 1.0) + floor) / (listed * self._counts + floor)
            return np.where(self._shares > 0, self._shares * np.log(ratio), 0.0)

    def add(self, index: int) -> None:
        """Count an item that is on the list now."""
        self._counts[self._categories == self._categories[index]] += 1.0
        self._length += 1


def _labels(candidates: Candidates, options: RankOptions) -> Iterator[tuple[NDArray[np.intp], int]]:
    """Return what is capped, as a number for each candidate's value, and the cap."""
    if options.per_category is not None:
        yield candidates.categories(), options.per_category
    for name, most in options.settings.per_attribute.items():
        yield candidates.attribute(name), most


def _unit_rows(vectors: Sequence[Vector | None]) -> NDArray[np.floating]:
    """Stack content vectors in rows, at unit length; zero where there is none."""
    known = next((vector for vector in vectors if vector is not None), np.zeros(1))
    empty = np.zeros_like(known)
    rows = [empty if vector is None else vector for vector in vectors]
    matrix = np.concatenate(rows) if rows else np.zeros(0)
    return normalise_rows(np.asarray(matrix, dtype=np.float32).reshape(len(rows), len(empty)))
