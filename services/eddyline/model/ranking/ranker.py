"""From candidates to a list: score, then what varies it (fatigue, boosts, rotation), order and select."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eddyline.model.ranking.candidates import Candidates, Column
from eddyline.model.ranking.distinct import distinct, stand_ins_needed
from eddyline.model.ranking.diversity import select
from eddyline.model.ranking.options import RankOptions
from eddyline.model.ranking.retrieval_plan import RetrievalPlan
from eddyline.model.ranking.seeded_random import gumbel_draws
from eddyline.model.ranking.terms import score_terms

ROTATION = "rotation"


@dataclass(frozen=True, slots=True)
class RankedItem:
    """An item on a list. `terms` add up to `score`; `explored`: it is there to be tried.

    `promotion`: the name of the promotion that put it there; `is_repeat`: it was seen before, and fills a short list;
    `because`: a sentence, where an explanation is asked for.
    """

    item_id: str
    score: float
    payload: Mapping[str, Any] = field(default_factory=dict)
    terms: Mapping[str, float] = field(default_factory=dict)
    explored: bool = False
    promotion: str | None = None
    is_repeat: bool = False
    because: str | None = None

    @property
    def reasons(self) -> list[str]:
        """The names of the terms above zero, the largest first; rotation is chance, and no reason."""
        above = [term for term, part in self.terms.items() if part > 0 and term != ROTATION]
        return sorted(above, key=lambda term: (self.terms[term], term), reverse=True)

    @property
    def category(self) -> str | None:
        """The item's category, where it has one."""
        category: str | None = self.payload.get("meta", {}).get("category")
        return category


@dataclass(frozen=True, slots=True)
class RankedRows:
    """A list as rows of its candidates, best first, each with whether it is there by exploration.

    `scores`, and the `terms` that add up to them: of all candidates, shape (n).
    """

    rows: Sequence[tuple[int, bool]]
    scores: Column
    terms: Mapping[str, Column]


def rank(candidates: Candidates, plan: RetrievalPlan, options: RankOptions) -> list[RankedItem]:
    """Return the best `limit` of the candidates, best first; equal scores in the order of their ids.

    Works for any number of candidates. Those of `exclude` are left out before anything is normalised by them, except
    for the floors, which are the sources' own. Those that are `excluded` were there: the others' scores stay.
    """
    left = candidates
    if options.exclude:
        left = candidates.kept(~np.array(list(map(options.exclude.__contains__, candidates.item_ids)), np.bool_))
    ranked = rank_rows(left, plan, options)
    return [
        RankedItem(
            left.item_ids[row],
            float(ranked.scores[row]),
            left.payloads[row],
            {name: float(column[row]) for name, column in ranked.terms.items()},
            explored,
        )
        for row, explored in ranked.rows
    ]


def rank_rows(candidates: Candidates, plan: RetrievalPlan, options: RankOptions) -> RankedRows:
    """Rank as `rank` does, without making an object of each item; `exclude` is the caller's business."""
    if not len(candidates):
        return RankedRows((), np.zeros(0), {})
    parts = score_terms(candidates, plan, options.settings, options.now)
    _adjust(candidates, parts, options)
    rounded = {name: np.round(column, 6) for name, column in parts.items()}
    scores = np.round(np.sum(list(rounded.values()), axis=0), 6) if rounded else np.zeros(len(candidates))
    order = _order(candidates, scores)
    shown = _shown(candidates, scores, order, options)
    rows = select(candidates, scores, shown, options, plan.mix)
    # Most lists have nothing twice, and to find that out by the list alone is cheap.
    if stand_ins_needed(candidates.sameness(_listed(rows, order, shown)), options.settings.collapse_duplicates):
        order = distinct(order, candidates.sameness(order), options.settings.collapse_duplicates)
        rows = select(candidates, scores, _shown(candidates, scores, order, options), options, plan.mix)
    return RankedRows(rows, scores, rounded)


def _listed(rows: Sequence[tuple[int, bool]], order: NDArray[np.intp], shown: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return the rows that are on the list, and those that may be on an earlier page."""
    listed = np.array([row for row, _ in rows], np.intp)
    return listed if len(shown) == len(order) else np.concatenate((listed, np.setdiff1d(order, shown)))


def _adjust(candidates: Candidates, parts: dict[str, Column], options: RankOptions) -> None:
    """Multiply the score by boosts, fatigue and rotation; as terms, they are what that adds or takes."""
    score = np.sum(list(parts.values()), axis=0) if parts else np.zeros(len(candidates))
    if options.boosts:
        factors = np.ones(len(candidates))
        for boost in options.boosts:
            factors[[boost.matches(payload) for payload in candidates.payloads]] *= boost.factor
        parts["boost"] = score * (factors - 1.0)
        score = score * factors
    if options.fatigue:
        exposures = np.array([options.fatigue.get(item, 0.0) for item in candidates.item_ids])
        parts["fatigue"] = score * (np.exp2(-exposures / options.settings.fatigue_exposures) - 1.0)
        score = score + parts["fatigue"]
    if options.rotation > 0:
        draws = gumbel_draws(candidates.hashes(), options.seed, ROTATION)
        parts[ROTATION] = score * np.expm1(options.rotation * draws)


def _order(candidates: Candidates, scores: Column) -> NDArray[np.intp]:
    """Return the rows best first, by score, then by id."""
    order = np.argsort(-scores, kind="stable")
    ordered = scores[order]
    if len(order) > 1 and (ordered[1:] == ordered[:-1]).any():
        by_id = candidates.by_id()
        order = by_id[np.argsort(-scores[by_id], kind="stable")]
    return order


def _shown(candidates: Candidates, scores: Column, order: NDArray[np.intp], options: RankOptions) -> NDArray[np.intp]:
    """Leave out of an order what is under the minimum score, or on an earlier page."""
    if options.min_score is not None:
        order = order[scores[order] >= options.min_score]
    if options.excluded is not None:
        order = order[[not options.excluded(candidates.item_ids[row]) for row in order.tolist()]]
    return order
