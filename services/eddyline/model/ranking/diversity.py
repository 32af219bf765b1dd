"""What goes on the list: by score, diversity, exploration and a cap per category, one position after the other."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from eddyline.model.decay import Vector
from eddyline.model.distance import normalise_rows
from eddyline.model.ranking import seeded_random
from eddyline.model.ranking.candidates import Candidates, Column
from eddyline.model.ranking.options import RankOptions
from eddyline.model.trends import POPULARITY

EXPLORATION = "exploration"
FIRST_EXPLORED = 2
"""The first two positions are never given to exploration."""


def select(
    candidates: Candidates, scores: Column, order: NDArray[np.intp], options: RankOptions
) -> list[tuple[int, bool]]:
    """Return the rows of the list's items in its order, and whether each is there by exploration.

    `order`: the rows that may be chosen, best first.
    """
    explored = np.zeros(options.limit, np.bool_)
    if options.explore > 0:
        explored = seeded_random.uniform_draws(options.limit, options.seed, EXPLORATION) < options.explore
        explored[:FIRST_EXPLORED] = False
    if options.diversity <= 0 and options.per_category is None and not explored.any():
        return [(row, False) for row in order[: options.limit].tolist()]
    selection = _DiverseSelection(candidates, scores, order, options)
    selected = []
    for is_explored in explored.tolist():
        index = selection.novel() if is_explored else selection.best()
        if index is None:
            break
        selected.append((int(order[index]), is_explored))
        selection.select(index)
    return selected


class _DiverseSelection:
    """What may still be chosen, by its index in the order; greedy maximal marginal relevance.

    (Carbonell and Goldstein, "The use of MMR, diversity-based reranking for reordering documents and producing
    summaries", SIGIR 1998): the next is the one with the largest $(1 - d)\\,relevance - d \\max_j \\cos(x, x_j)$ over
    those chosen already, relevance being the score over the largest.
    """

    def __init__(
        self,
        candidates: Candidates,
        scores: Column,
        order: NDArray[np.intp],
        options: RankOptions,
    ) -> None:
        self._options = options
        self._free = np.ones(len(order), dtype=np.bool_)
        self._categories = candidates.categories()[order] if options.per_category is not None else None
        self._category_counts: dict[int, int] = {}
        best = float(scores[order].max(initial=0.0)) or 1.0
        self._relevance = (1.0 - options.diversity) * scores[order] / best
        self._similarity = np.zeros(len(order))
        self._has_vectors = bool(candidates.vectors)
        reach = self._reach()
        self._vectors = [candidates.vectors[row] for row in order.tolist()] if reach else []
        self._matrix = _unit_rows(self._vectors[:reach])
        if options.explore > 0:
            counts = candidates.counts(POPULARITY, options.now)[order]
            draws = seeded_random.gumbel_draws(candidates.hashes()[order], options.seed, EXPLORATION)
            self._novelty = draws - np.log1p(counts)

    def best(self) -> int | None:
        """Return the next by relevance and diversity."""
        if not len(self._matrix):
            return self._first(self._relevance)
        return self._first(self._relevance - self._options.diversity * self._similarity)

    def novel(self) -> int | None:
        """Draw one that few people have chosen: with a probability in proportion to 1 / (their number + 1)."""
        return self._first(self._novelty)

    def select(self, index: int) -> None:
        """Put it on the list."""
        self._free[index] = False
        vector = self._vectors[index] if self._vectors else None
        if vector is not None:
            similarity = self._similarity[: len(self._matrix)]
            np.maximum(similarity, self._matrix @ _unit_rows([vector])[0], out=similarity)
        if self._categories is None:
            return
        category = int(self._categories[index])
        self._category_counts[category] = self._category_counts.get(category, 0) + 1
        if category >= 0 and self._category_counts[category] >= (self._options.per_category or 0):
            self._free &= self._categories != category

    def _reach(self) -> int:
        """Return how many, from the best one on, diversity can affect at all.

        The similarity is in 0…1, and while a list isn't full, one of the first `limit` is free: whatever is behind them
        all by more than its weight comes too late. Not so where a category may be full.
        """
        options = self._options
        if options.diversity <= 0 or not self._has_vectors:
            return 0
        if self._categories is not None or len(self._relevance) <= options.limit:
            return len(self._relevance)
        lowest = self._relevance[options.limit - 1] - options.diversity
        return int(np.count_nonzero(self._relevance >= lowest - 1e-5))

    def _first(self, keys: Column) -> int | None:
        index = int(np.argmax(np.where(self._free, keys, -np.inf))) if len(keys) else 0
        return index if len(keys) and self._free[index] else None


def _unit_rows(vectors: Sequence[Vector | None]) -> NDArray[np.floating]:
    """Stack content vectors in rows, at unit length; zero where there is none."""
    known = next((vector for vector in vectors if vector is not None), np.zeros(1))
    empty = np.zeros_like(known)
    rows = [empty if vector is None else vector for vector in vectors]
    matrix = np.concatenate(rows) if rows else np.zeros(0)
    return normalise_rows(np.asarray(matrix, dtype=np.float32).reshape(len(rows), len(empty)))
