"""Learned strategies in an evaluation: fitted to the choices of the log, one in so many, as affinity does it."""

from __future__ import annotations

import numpy as np

from eddyline.evaluation.interaction_log import IMPRESSION, LoggedInteraction
from eddyline.evaluation.learned_state import InMemoryState
from eddyline.evaluation.strategy_recommender import SearchCache
from eddyline.model.ranking.blend import BlendLearner, average
from eddyline.model.ranking.choices import plan_choice, shipped_weights, to_choice, with_weights
from eddyline.settings import RankingSettings, StrategySettings
from eddyline.settings.strategies import LEARNED_TERMS

SAMPLED = 5
"""One choice in so many is learnt from, for speed: services learn from all of them, up to four a second."""


class LoggedChoices:
    """Learns the weights of a strategy from what people of the log choose for the first time."""

    def __init__(self, ranking: RankingSettings, strategy: StrategySettings, searches: SearchCache) -> None:
        self._ranking, self._searches = ranking, searches
        self._strategy, self._shipped = strategy, shipped_weights(strategy)
        self._learner = BlendLearner(LEARNED_TERMS, self._shipped)
        self._seen = 0

    def __call__(self) -> StrategySettings:
        """Return the strategy with the weights of now."""
        return self._strategy

    def observe(self, state: InMemoryState, event: LoggedInteraction) -> None:
        """Learn from an event that the state hasn't learnt yet, if it is one of the sample."""
        if event.type == IMPRESSION or event.weight <= 0 or state.has_seen(event.person, event.item):
            return
        self._seen += 1
        profile = state.profile(event.person, event.time)
        if self._seen % SAMPLED or profile.is_unknown:
            return
        plan = plan_choice(profile, event.time, state.taus, self._ranking)
        searches = self._searches.for_request(state, event.person, event.time)
        candidates = searches.run(plan, self._ranking, self._ranking.candidates)()
        chosen = np.flatnonzero(candidates.places == event.item)
        if len(chosen):
            self._learner.learn(to_choice(candidates, plan, int(chosen[0]), self._ranking, event.time))
            learnt = average([(self._learner.weights, self._learner.choices)], self._shipped)
            self._strategy = with_weights(self._strategy, learnt)
