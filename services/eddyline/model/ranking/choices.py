"""Choices: what a learned strategy's weights are fitted to, made of what the sources find for a person just before."""

from __future__ import annotations

import numpy as np

from eddyline.model.ids import Person, fingerprint
from eddyline.model.profile import Profile, TimeConstants
from eddyline.model.ranking.blend import BlendWeights, Choice
from eddyline.model.ranking.candidates import Candidates
from eddyline.model.ranking.retrieval_plan import RetrievalPlan, plan_retrieval
from eddyline.model.ranking.terms import score_terms
from eddyline.settings import RankingSettings, StrategySettings
from eddyline.settings.strategies import LEARNED_TERMS

SAMPLED = 20
"""One choice in so many may be learnt from."""
SOMEONE = Person("a", "someone")
"""Whose a profile is that goes with a choice."""
UNIT = StrategySettings.model_validate({**dict.fromkeys(LEARNED_TERMS, 1.0), "learned": True})
"""Weighs each term by 1, so that what they come to is their values."""
_TERM_OF = {term: row for row, term in enumerate(LEARNED_TERMS)} | {
    source: LEARNED_TERMS.index("taste") for source in ("lifetime", "onboarding")
}


def is_sampled(source: str) -> bool:
    """Whether the choice behind a record (`log:partition:offset`) is learnt from; always the same for one."""
    return fingerprint(source) % SAMPLED == 0


def plan_choice(profile: Profile, now: float, taus: TimeConstants, settings: RankingSettings) -> RetrievalPlan:
    """Decide what to search for to know the values of every term that is learnt; `now` in epoch seconds."""
    return plan_retrieval(profile, now, taus, settings, UNIT)


def to_choice(
    candidates: Candidates, plan: RetrievalPlan, chosen: int, settings: RankingSettings, now: float
) -> Choice:
    """Return the choice of one candidate, by its row, among what was found by the plan."""
    values = np.zeros((len(LEARNED_TERMS), len(candidates)), np.float32)
    for name, column in score_terms(candidates, plan, settings, now).items():
        values[_TERM_OF[name]] += column
    return Choice(values, chosen, plan.session_activity)


def shipped_weights(strategy: StrategySettings) -> BlendWeights:
    """Return the weights that a learned strategy begins with: those of its settings."""
    running, start = (strategy.weights(activity) for activity in (1.0, 0.0))
    return BlendWeights({term: running[term] for term in LEARNED_TERMS}, {term: start[term] for term in LEARNED_TERMS})


def with_weights(strategy: StrategySettings, weights: BlendWeights) -> StrategySettings:
    """Return the strategy with what was learnt in the place of its own weights."""
    start = dict(strategy.session_start)
    start |= {term: weights.start[term] for term in LEARNED_TERMS if term in weights.start}
    return strategy.model_copy(update={**weights.running, "session_start": start})
