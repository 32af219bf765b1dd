"""Choices: their values times the weights are the score of a list that is ranked by those weights."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from eddyline.model.decay import LANDMARK
from eddyline.model.ranking import Hit, RetrievalPlan, merge_candidates
from eddyline.model.ranking.blend import BlendWeights
from eddyline.model.ranking.choices import LEAST_CONTENT, shipped_weights, to_choice, with_weights
from eddyline.model.ranking.terms import ENOUGH, score_terms
from eddyline.settings import STRATEGIES, RankingSettings
from eddyline.settings.strategies import LEARNED_TERMS

NOW = LANDMARK + 1000.0
RANKING = RankingSettings()
CONTENT = {"taste": 0.7, "lifetime": 0.3, "session": 0.5}
"""Shares of the content terms."""


def hits(scores: dict[str, float], chosen: int) -> list[Hit]:
    payload = {"trend": {"count": chosen, "quarter": np.log(chosen), "week": np.log(chosen)}, "listed_at": NOW - 500}
    return [Hit(item, score, payload) for item, score in scores.items()]


@pytest.mark.parametrize("known", [0, 5, ENOUGH, 2 * ENOUGH])
def test_values_times_weights_are_the_score(known: int) -> None:
    draw = np.random.default_rng(known)
    row = {f"known{n}": float(draw.random()) + 0.1 for n in range(known)}
    candidates = merge_candidates(
        {
            "affinity": hits(row, 5) + hits({"hearsay": 0.05}, 1),
            "next": hits(dict(list(row.items())[:2]), 5),
            "taste": hits({"near": 0.9, "far": 0.2}, 1),
            "lifetime": hits({"near": 0.5, "hearsay": 0.3}, 1),
            "session": hits({"far": 0.9, "near": 0.1}, 1),
        },
        depth=50,
    )
    weights: dict[str, float] = {name: float(draw.random()) for name in LEARNED_TERMS}
    weights["people"] = 0.0
    unit: dict[str, float] = dict.fromkeys(LEARNED_TERMS, 1.0)
    plan = RetrievalPlan({}, {**unit, **CONTENT}, is_learned=True)
    choice = to_choice(candidates, plan, 1, RANKING, NOW)
    assert (choice.values >= 0).all()

    weights |= {"taste": weights["session"]}  # what stands in is shared out by these, and was at equal weights
    by_weights = {**weights, **{name: share * weights["session"] for name, share in CONTENT.items()}}
    terms = score_terms(candidates, replace(plan, weights=by_weights), RANKING, NOW)

    expected = np.sum(list(terms.values()), axis=0)
    given = np.array([weights[name] for name in LEARNED_TERMS]) @ choice.values
    assert given == pytest.approx(expected, rel=1e-5)


def test_what_is_learnt_takes_the_place_of_the_shipped_weights_and_content_is_still_searched_for() -> None:
    shipped = STRATEGIES["learned"]
    assert with_weights(shipped, shipped_weights(shipped)).weights(0.3) == shipped.weights(0.3)

    running: dict[str, float] = dict.fromkeys(LEARNED_TERMS, 0.0)
    start: dict[str, float] = dict.fromkeys(LEARNED_TERMS, 1.0)
    learnt = BlendWeights({**running, "next": 4.0}, start)
    strategy = with_weights(shipped, learnt)
    assert (strategy.weights(1.0)["next"], strategy.weights(0.5)["next"]) == (4.0, 2.5)
    assert strategy.weights(1.0)["taste"] == strategy.weights(1.0)["session"] == LEAST_CONTENT
    assert strategy.explore == shipped.explore
