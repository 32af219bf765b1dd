"""From candidates to a list: score, then what varies it (fatigue, boosts, rotation, exploration, diversity, caps)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eddyline.model.decay import Vector
from eddyline.model.distance import normalise_rows
from eddyline.model.ids import Person
from eddyline.model.profile import HOUR
from eddyline.model.ranking import seeded_random as chance
from eddyline.model.ranking.candidates import Candidates
from eddyline.model.ranking.retrieval_plan import RetrievalPlan
from eddyline.model.ranking.terms import Column, score_terms
from eddyline.model.trends import POPULARITY
from eddyline.settings import RankingSettings, StrategySettings

EXPLORED, ROTATION = "exploration", "rotation"
FIRST_EXPLORED = 2
"""The first two places are never given away."""


@dataclass(frozen=True, slots=True)
class ScoreBoost:
    """Items whose payload `matches` score `factor` times as much."""

    matches: Callable[[Mapping[str, Any]], bool]
    factor: float


@dataclass(frozen=True, slots=True)
class RankOptions:
    """How to make the list. `now` in epoch seconds; `exclude`: item ids.

    `fatigue`: decayed number of earlier showings without a click, by item. `seed`: of all that is left to chance; the
    same one gives the same list.
    """

    now: float
    settings: RankingSettings
    limit: int
    exclude: Collection[str] = ()
    excluded: Callable[[str], bool] | None = None
    """A further test of item ids, e.g. those of earlier pages."""
    boosts: Sequence[ScoreBoost] = ()
    fatigue: Mapping[str, float] = field(default_factory=dict)
    diversity: float = 0.0
    explore: float = 0.0
    rotation: float = 0.0
    per_category: int | None = None
    min_score: float | None = None
    seed: int = 0


def rank_options(
    asked: RetrievalPlan,
    strategy: StrategySettings,
    settings: RankingSettings,
    now: float,
    limit: int,
    person: Person | None,
    session_id: str | None = None,
    varies: bool = True,
) -> RankOptions:
    """What a strategy makes of a request. Rotation and exploration vary the list from visit to visit, less as a visit
    goes on (what people do changes it by itself then); it holds for `session_id`, or else for `rotation_hours`.

    `varies`: whether there is reason to rotate, an earlier list of which nothing came, or one can't know.
    """
    arriving = 1.0 - asked.session_activity
    held = session_id or int(now // (settings.rotation_hours * HOUR))
    return RankOptions(
        now=now,
        settings=settings,
        limit=limit,
        diversity=strategy.diversity,
        explore=max(strategy.explore, settings.cold_start_explore) if asked.is_cold else strategy.explore * arriving,
        rotation=strategy.rotation * arriving if varies else 0.0,
        per_category=settings.per_category,
        seed=chance.seed_from(person and person.key, held),
    )


@dataclass(frozen=True, slots=True)
class RankedItem:
    """A place on the list. `score_terms` add up to `score`; `explored`: it is there to be tried."""

    item_id: str
    score: float
    payload: Mapping[str, Any] = field(default_factory=dict)
    terms: Mapping[str, float] = field(default_factory=dict)
    explored: bool = False

    @property
    def reasons(self) -> list[str]:
        """The names of the terms above zero, the largest first; rotation is chance, and no reason."""
        above = [term for term, part in self.terms.items() if part > 0 and term != ROTATION]
        return sorted(above, key=lambda term: (self.terms[term], term), reverse=True)


def rank(candidates: Candidates, plan: RetrievalPlan, options: RankOptions) -> list[RankedItem]:
    """The best `limit` of the candidates, best first; equal scores in the order of their ids.

    Works for any number of candidates. Those of `exclude` are left out before anything is normalised by them, except
    for the floors, which are the sources' own. Those that are `excluded` were there: the others' scores stay.
    """
    keep = ~np.array(list(map(options.exclude.__contains__, candidates.item_ids)), np.bool_)
    left = candidates.kept(keep)
    if not len(left):
        return []
    parts = score_terms(left, plan, options.settings, options.now)
    marks = chance.item_hashes(left.item_ids) if options.rotation > 0 or options.explore > 0 else _NO_MARKS
    _adjust(left, marks, parts, options)
    rounded = {name: np.round(column, 6) for name, column in parts.items()}
    scores = np.round(np.sum(list(rounded.values()), axis=0), 6) if rounded else np.zeros(len(left))
    order = _order(left, scores, options)
    chosen = _choose(left, marks, scores, order, options)
    return [
        RankedItem(
            left.item_ids[place],
            float(scores[place]),
            left.payloads[place],
            {name: float(column[place]) for name, column in rounded.items()},
            explored,
        )
        for place, explored in chosen
    ]


_NO_MARKS = np.zeros(0, np.uint64)


def _adjust(candidates: Candidates, marks: NDArray[np.uint64], parts: dict[str, Column], options: RankOptions) -> None:
    """Boosts, fatigue and rotation multiply the score; as terms, they are what that adds or takes."""
    score = np.sum(list(parts.values()), axis=0) if parts else np.zeros(len(candidates))
    if options.boosts:
        factors = np.ones(len(candidates))
        for boost in options.boosts:
            factors[[boost.matches(payload) for payload in candidates.payloads]] *= boost.factor
        parts["boost"] = score * (factors - 1.0)
        score = score * factors
    if options.fatigue:
        showings = np.array([options.fatigue.get(item, 0.0) for item in candidates.item_ids])
        parts["fatigue"] = score * (np.exp2(-showings / options.settings.fatigue_exposures) - 1.0)
        score = score + parts["fatigue"]
    if options.rotation > 0:
        drawn = chance.gumbel_draws(marks, options.seed, ROTATION)
        parts[ROTATION] = score * np.expm1(options.rotation * drawn)


def _order(candidates: Candidates, scores: Column, options: RankOptions) -> NDArray[np.intp]:
    """Best first, by score, then by id; without those below the least score, or of earlier pages."""
    order = np.argsort(-scores, kind="stable")
    ordered = scores[order]
    if len(order) > 1 and (ordered[1:] == ordered[:-1]).any():
        by_id = np.array(sorted(range(len(order)), key=candidates.item_ids.__getitem__), np.intp)
        order = by_id[np.argsort(-scores[by_id], kind="stable")]
    if options.min_score is not None:
        order = order[scores[order] >= options.min_score]
    if options.excluded is not None:
        order = order[[not options.excluded(candidates.item_ids[place]) for place in order.tolist()]]
    return order


def _choose(
    candidates: Candidates,
    marks: NDArray[np.uint64],
    scores: Column,
    order: NDArray[np.intp],
    options: RankOptions,
) -> list[tuple[int, bool]]:
    """The places in the list's order, and whether each is there to be tried."""
    if options.diversity <= 0 and options.per_category is None and options.explore <= 0:
        return [(int(place), False) for place in order[: options.limit]]
    waiting = _DiverseSelection(candidates, marks, scores, order, options)
    tried = chance.uniform_draws(options.limit, options.seed, EXPLORED) < options.explore
    tried[:FIRST_EXPLORED] = False
    chosen = []
    for explores in tried.tolist():
        at = waiting.to_try() if explores else waiting.best()
        if at is None:
            break
        chosen.append((int(order[at]), explores))
        waiting.take(at)
    return chosen


class _DiverseSelection:
    """Who may still be chosen, by their position in the order; greedy maximal marginal relevance among them.

    (Carbonell and Goldstein, "The use of MMR, diversity-based reranking for reordering documents and producing
    summaries", SIGIR 1998): the next is the one with the largest $(1 - d)\\,relevance - d \\max_j \\cos(x, x_j)$ over
    those chosen already, relevance being the score over the largest.
    """

    def __init__(
        self,
        candidates: Candidates,
        marks: NDArray[np.uint64],
        scores: Column,
        order: NDArray[np.intp],
        options: RankOptions,
    ) -> None:
        self._options = options
        self._free = np.ones(len(order), dtype=np.bool_)
        self._categories = candidates.categories()[order] if options.per_category is not None else None
        self._taken: dict[int, int] = {}
        best = float(scores[order].max(initial=0.0)) or 1.0
        self._relevance = (1.0 - options.diversity) * scores[order] / best
        self._likeness = np.zeros(len(order))
        self._has_contents = bool(candidates.vectors)
        reach = self._reach()
        self._contents = [candidates.vectors[place] for place in order.tolist()] if reach else []
        self._vectors = _matrix(self._contents[:reach])
        if options.explore > 0:
            counts = candidates.counts(POPULARITY, options.now)[order]
            self._novelty = chance.gumbel_draws(marks[order], options.seed, EXPLORED) - np.log1p(counts)

    def best(self) -> int | None:
        """The next by relevance and diversity."""
        if not len(self._vectors):
            return self._first(self._relevance)
        return self._first(self._relevance - self._options.diversity * self._likeness)

    def to_try(self) -> int | None:
        """One of those that few have chosen: with a probability in proportion to 1 / (their number + 1)."""
        return self._first(self._novelty)

    def take(self, at: int) -> None:
        """Put it on the list."""
        self._free[at] = False
        content = self._contents[at] if self._contents else None
        if content is not None:
            likeness = self._likeness[: len(self._vectors)]
            np.maximum(likeness, self._vectors @ _matrix([content])[0], out=likeness)
        if self._categories is None:
            return
        category = int(self._categories[at])
        self._taken[category] = self._taken.get(category, 0) + 1
        if category >= 0 and self._taken[category] >= (self._options.per_category or 0):
            self._free &= self._categories != category

    def _reach(self) -> int:
        """How many, from the best one on, diversity can have any say in.

        Likeness lies in 0…1, and while a list isn't full, one of the first `limit` is free: whoever is behind them all
        by more than its weight comes too late. Not so where a category may be full.
        """
        options = self._options
        if options.diversity <= 0 or not self._has_contents:
            return 0
        if self._categories is not None or len(self._relevance) <= options.limit:
            return len(self._relevance)
        least = self._relevance[options.limit - 1] - options.diversity
        return int(np.count_nonzero(self._relevance >= least - 1e-5))

    def _first(self, keys: Column) -> int | None:
        at = int(np.argmax(np.where(self._free, keys, -np.inf))) if len(keys) else 0
        return at if len(keys) and self._free[at] else None


def _matrix(contents: Sequence[Vector | None]) -> NDArray[np.floating]:
    """Content vectors in rows, at unit length; zero where there is none."""
    known = next((content for content in contents if content is not None), np.zeros(1))
    empty = np.zeros_like(known)
    rows = [empty if content is None else content for content in contents]
    matrix = np.concatenate(rows) if rows else np.zeros(0)
    return normalise_rows(np.asarray(matrix, dtype=np.float32).reshape(len(rows), len(empty)))
