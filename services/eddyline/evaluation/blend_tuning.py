"""Learned strategies in an evaluation: fitted to the choices of the log as the tuner does it, one in so many."""

from __future__ import annotations

import os

import numpy as np

from eddyline.evaluation.interaction_log import IMPRESSION, LoggedInteraction
from eddyline.evaluation.learned_state import InMemoryState
from eddyline.evaluation.strategy_recommender import SearchCache
from eddyline.model.ranking.blend import BlendLearner
from eddyline.model.ranking.choices import plan_choice, shipped_weights, to_choice, with_weights
from eddyline.settings import RankingSettings, StrategySettings
from eddyline.settings.strategies import LEARNED_TERMS

SAMPLED = int(os.environ.get("SAMPLED", "200"))
"""One choice in so many is learnt from."""


class LoggedChoices:
    """Learns the weights of one strategy from what people of the log choose for the first time."""

    def __init__(self, ranking: RankingSettings, strategy: StrategySettings, searches: SearchCache) -> None:
        self._ranking, self._strategy, self._searches = ranking, strategy, searches
        self._learner = BlendLearner(LEARNED_TERMS, shipped_weights(strategy))
        self._events = 0

    @property
    def strategy(self) -> StrategySettings:
        """Return the strategy with the weights of now."""
        return with_weights(self._strategy, self._learner.weights)

    @property
    def learner(self):
        return self._learner

    def observe(self, state: InMemoryState, event: LoggedInteraction) -> None:
        """Learn from an event that the state hasn't learnt yet, if it is one of the sample."""
        if event.type == IMPRESSION or event.weight <= 0 or event.item in set(state.seen(event.person).tolist()):
            return
        self._events += 1
        profile = state.profile(event.person, event.time)
        if self._events % SAMPLED or profile.is_unknown:
            return
        plan = plan_choice(profile, event.time, state.taus, self._ranking)
        candidates = self._searches.for_request(state, event.person, event.time).run(
            plan, self._ranking, self._ranking.candidates
        )()
        found = np.flatnonzero(candidates.places == event.item)
        if len(found):
            self._learner.learn(to_choice(candidates, plan, int(found[0]), self._ranking, event.time))
