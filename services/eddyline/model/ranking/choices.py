"""Choices: what a learned strategy's weights are fitted to, made of what the sources find for a person just before."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from eddyline.model.ids import Person
from eddyline.model.profile import Profile, TimeConstants
from eddyline.model.ranking.blend import BlendWeights, Choice
from eddyline.model.ranking.candidates import Candidates, Column
from eddyline.model.ranking.retrieval_plan import RetrievalPlan, plan_retrieval
from eddyline.model.ranking.terms import score_terms
from eddyline.settings import RankingSettings, StrategySettings
from eddyline.settings.strategies import LEARNED_TERMS

SOMEONE = Person("a", "someone")
"""Whose a profile is that goes with a choice."""
UNIT = StrategySettings.model_validate({**dict.fromkeys(LEARNED_TERMS, 1.0), "learned": True})
"""Weighs each term by 1, so that what they come to is their values."""
LEAST_CONTENT = 0.01
"""What each content term weighs at least: it is searched for."""
_CONTENT = ("taste", "session")
_SHARED = ("hearsay", "stand_in")
"""Terms that are part of others: of affinity, and of content."""
_TERM_OF = {"lifetime": "taste", "onboarding": "taste"}


def plan_choice(profile: Profile, now: float, taus: TimeConstants, settings: RankingSettings) -> RetrievalPlan:
    """Decide what to search for to know the values of every term that is learnt; `now` in epoch seconds."""
    return plan_retrieval(profile, now, taus, settings, UNIT)


def to_choice(
    candidates: Candidates, plan: RetrievalPlan, chosen: int, settings: RankingSettings, now: float
) -> Choice:
    """Return the choice of one candidate, by its row, among what was found by the plan."""
    alone = {**plan.weights, **dict.fromkeys(_SHARED, 0.0)}
    plain = _values(candidates, replace(plan, weights=alone), settings, now)
    values = dict(plain)
    for name in _SHARED:
        parts = _values(candidates, replace(plan, weights={**alone, name: 1.0}), settings, now)
        values[name] = np.sum([parts[term] - plain[term] for term in ("affinity", "taste", "session")], axis=0)
    stacked = np.stack([values[name] for name in LEARNED_TERMS]).astype(np.float32)
    return Choice(stacked, chosen, plan.session_activity, candidates.item_ids[chosen])


def _values(candidates: Candidates, plan: RetrievalPlan, settings: RankingSettings, now: float) -> dict[str, Column]:
    """Return what every learned term comes to, shape (candidates) each."""
    values: dict[str, Column] = {name: np.zeros(len(candidates)) for name in LEARNED_TERMS}
    for name, column in score_terms(candidates, plan, settings, now).items():
        values[_TERM_OF.get(name, name)] += column
    return values


def shipped_weights(strategy: StrategySettings) -> BlendWeights:
    """Return the weights that a learned strategy begins with: those of its settings."""
    running, start = (strategy.weights(activity) for activity in (1.0, 0.0))
    return BlendWeights({term: running[term] for term in LEARNED_TERMS}, {term: start[term] for term in LEARNED_TERMS})


def begun_with(strategy: StrategySettings) -> list[float]:
    """Return what is kept beside learnt weights: where the settings' are others, learning begins anew."""
    weights = shipped_weights(strategy)
    return [*weights.running.values(), *weights.start.values()]


def with_weights(strategy: StrategySettings, weights: BlendWeights) -> StrategySettings:
    """Return the strategy with what was learnt in the place of its own weights.

    Content keeps a little weight, so that it is there to stand in for affinity.
    """
    least = dict.fromkeys(_CONTENT, LEAST_CONTENT)
    running = {term: max(weight, least.get(term, 0.0)) for term, weight in weights.running.items()}
    start = {term: max(weights.start[term], least.get(term, 0.0)) for term in LEARNED_TERMS if term in weights.start}
    return strategy.model_copy(update={**running, "session_start": {**strategy.session_start, **start}})
