"""From candidates to a list: score, then what varies it (fatigue, boosts, rotation, exploration, diversity, caps)."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eddyline.model.ids import Person
from eddyline.model.profile import HOUR
from eddyline.model.ranking import chance
from eddyline.model.ranking.candidates import Candidates
from eddyline.model.ranking.plan import Plan
from eddyline.model.ranking.terms import Column, terms
from eddyline.model.trends import POPULARITY
from eddyline.settings import Ranking, Strategy

EXPLORED = "exploration"
FIRST_EXPLORED = 2
"""The first two places are never given away."""


@dataclass(frozen=True, slots=True)
class Boost:
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
    settings: Ranking
    limit: int
    exclude: Collection[str] = ()
    excluded: Callable[[str], bool] = lambda _: False
    """A further test of item ids, e.g. those of earlier pages."""
    boosts: Sequence[Boost] = ()
    fatigue: Mapping[str, float] = field(default_factory=dict)
    diversity: float = 0.0
    explore: float = 0.0
    rotation: float = 0.0
    per_category: int | None = None
    min_score: float | None = None
    seed: int = 0


def usual_options(
    asked: Plan,
    strategy: Strategy,
    settings: Ranking,
    now: float,
    limit: int,
    person: Person | None,
    session_id: str | None = None,
) -> RankOptions:
    """What a strategy makes of a request. The order varies from visit to visit, less as a visit goes on (what people
    do changes the list by itself then), and holds for `session_id`, or else for `rotation_hours`."""
    held = session_id or int(now // (settings.rotation_hours * HOUR))
    return RankOptions(
        now=now,
        settings=settings,
        limit=limit,
        diversity=strategy.diversity,
        explore=max(strategy.explore, settings.cold_explore) if asked.is_cold else strategy.explore,
        rotation=strategy.rotation * (1.0 - asked.pace),
        per_category=settings.per_category,
        seed=chance.seed(person and person.key, held),
    )


@dataclass(frozen=True, slots=True)
class Ranked:
    """A place on the list. `terms` add up to `score`; `explored`: it is there to be tried."""

    item_id: str
    score: float
    payload: Mapping[str, Any] = field(default_factory=dict)
    terms: Mapping[str, float] = field(default_factory=dict)
    explored: bool = False

    @property
    def strongest(self) -> str | None:
        """The name of the largest term, where any is above zero."""
        best = max(self.terms, key=lambda term: (self.terms[term], term), default=None)
        return best if best is not None and self.terms[best] > 0 else None


def rank(candidates: Candidates, plan: Plan, options: RankOptions) -> list[Ranked]:
    """The best `limit` of the candidates, best first; equal scores in the order of their ids.

    Works for any number of candidates. Excluded ones are left out before anything is normalised by them, except for the
    floors, which are the sources' own.
    """
    keep = np.fromiter(
        (item not in options.exclude and not options.excluded(item) for item in candidates.item_ids),
        np.bool_,
        len(candidates),
    )
    left = candidates.kept(keep)
    if not len(left):
        return []
    parts = terms(left, plan, options.settings, options.now)
    _adjust(left, parts, options)
    rounded = {name: np.round(column, 6) for name, column in parts.items()}
    scores = np.round(np.sum(list(rounded.values()), axis=0), 6) if rounded else np.zeros(len(left))
    order = _order(left, scores, options)
    chosen = _choose(left, scores, order, options)
    return [
        Ranked(
            left.item_ids[place],
            float(scores[place]),
            left.payloads[place],
            {name: float(column[place]) for name, column in rounded.items()},
            explored,
        )
        for place, explored in chosen
    ]


def _adjust(candidates: Candidates, parts: dict[str, Column], options: RankOptions) -> None:
    """Boosts, fatigue and rotation multiply the score; as terms, they are what that adds or takes."""
    score = np.sum(list(parts.values()), axis=0) if parts else np.zeros(len(candidates))
    if options.boosts:
        factors = np.fromiter(
            (
                math.prod(boost.factor for boost in options.boosts if boost.matches(payload))
                for payload in candidates.payloads
            ),
            np.float64,
            len(candidates),
        )
        parts["boost"] = score * (factors - 1.0)
        score = score * factors
    if options.fatigue:
        showings = np.fromiter((options.fatigue.get(item, 0.0) for item in candidates.item_ids), np.float64)
        parts["fatigue"] = score * (np.exp2(-showings / options.settings.fatigue_showings) - 1.0)
        score = score + parts["fatigue"]
    if options.rotation > 0:
        drawn = chance.gumbel(candidates.item_ids, options.seed, "rotation")
        parts["rotation"] = score * np.expm1(options.rotation * drawn)


def _order(candidates: Candidates, scores: Column, options: RankOptions) -> NDArray[np.intp]:
    """Best first, by score, then by id; without those below the least score."""
    by_id = np.argsort(np.asarray(candidates.item_ids, dtype=object), kind="stable")
    order = by_id[np.argsort(-scores[by_id], kind="stable")]
    if options.min_score is not None:
        order = order[scores[order] >= options.min_score]
    return order


def _choose(
    candidates: Candidates, scores: Column, order: NDArray[np.intp], options: RankOptions
) -> list[tuple[int, bool]]:
    """The places in the list's order, and whether each is there to be tried."""
    if options.diversity <= 0 and options.per_category is None and options.explore <= 0:
        return [(int(place), False) for place in order[: options.limit]]
    waiting = _Waiting(candidates, scores, order, options)
    tried = chance.places(options.limit, options.seed, EXPLORED) < options.explore
    tried[:FIRST_EXPLORED] = False
    chosen = []
    for explores in tried:
        place = waiting.to_try() if explores else waiting.best()
        if place is None:
            break
        chosen.append((place, bool(explores)))
        waiting.take(place)
    return chosen


class _Waiting:
    """Who may still be chosen, in order; greedy maximal marginal relevance among them.

    (Carbonell and Goldstein, "The use of MMR, diversity-based reranking for reordering documents and producing
    summaries", SIGIR 1998): the next is the one with the largest $(1 - d)\\,relevance - d \\max_j \\cos(x, x_j)$ over
    those chosen already, relevance being the score over the largest.
    """

    def __init__(self, candidates: Candidates, scores: Column, order: NDArray[np.intp], options: RankOptions) -> None:
        self._order, self._options = order, options
        self._free = np.ones(len(order), dtype=np.bool_)
        self._categories = candidates.categories() if options.per_category is not None else []
        self._taken: dict[str | None, int] = {}
        best = float(scores[order].max(initial=0.0)) or 1.0
        self._relevance = scores[order] / best
        self._likeness = np.zeros(len(order))
        self._vectors = _matrix(candidates, order) if options.diversity > 0 and candidates.vectors else None
        if options.explore > 0:
            ids = [candidates.item_ids[place] for place in order]
            counts = candidates.counts(POPULARITY, options.now)[order]
            self._novelty = chance.gumbel(ids, options.seed, EXPLORED) - np.log1p(counts)

    def best(self) -> int | None:
        """The next by relevance and diversity."""
        diversity = self._options.diversity
        return self._first((1.0 - diversity) * self._relevance - diversity * self._likeness)

    def to_try(self) -> int | None:
        """One of those that few have chosen: with a probability in proportion to 1 / (their number + 1)."""
        return self._first(self._novelty)

    def take(self, place: int) -> None:
        """It is on the list now."""
        at = int(np.flatnonzero(self._order == place)[0])
        self._free[at] = False
        if self._vectors is not None:
            self._likeness = np.maximum(self._likeness, self._vectors @ self._vectors[at])
        if self._options.per_category is None:
            return
        category = self._categories[place]
        self._taken[category] = self._taken.get(category, 0) + 1
        if category is not None and self._taken[category] >= self._options.per_category:
            full = np.fromiter((self._categories[other] == category for other in self._order), np.bool_)
            self._free &= ~full

    def _first(self, keys: Column) -> int | None:
        if not self._free.any():
            return None
        return int(self._order[int(np.argmax(np.where(self._free, keys, -np.inf)))])


def _matrix(candidates: Candidates, order: NDArray[np.intp]) -> NDArray[np.float32]:
    """Content vectors in that order; zero where there is none."""
    known = next((vector for vector in candidates.vectors if vector is not None), np.zeros(1))
    empty = np.zeros_like(known)
    vectors = [candidates.vectors[place] for place in order]
    return np.asarray([empty if vector is None else vector for vector in vectors], dtype=np.float32)
