"""Strategies compared on one log: run as it happened and shuffled, and measured on every slice."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from eddyline.clients.progress import ProgressListener
from eddyline.evaluation.blend_tuning import LoggedChoices
from eddyline.evaluation.interaction_log import InteractionLog, LoggedInteraction
from eddyline.evaluation.learned_state import InMemoryState
from eddyline.evaluation.metrics import SliceMetrics, measure
from eddyline.evaluation.prequential import EvaluationProtocol, EvaluationRun, run
from eddyline.evaluation.strategy_recommender import SearchCache, StrategyRecommender
from eddyline.settings import RankingSettings, Settings, StrategySettings

SHUFFLED = "shuffled"
"""The slice of all requests of a run over the log that was shuffled inside each visit."""


@dataclass(frozen=True, slots=True)
class Contender:
    """A strategy to compare, under the settings of the ranking."""

    ranking: RankingSettings
    strategy: StrategySettings


@dataclass(frozen=True, slots=True)
class StrategyComparison:
    """Result of a comparison; `shuffled` is the log that was shuffled, and its run."""

    measured: list[SliceMetrics]
    answered: EvaluationRun
    shuffled: tuple[InteractionLog, EvaluationRun] | None


@dataclass(frozen=True, slots=True)
class Evaluation:
    """A log and what it is run with: the items' vectors (items, dimension), the answers' by person, the settings."""

    log: InteractionLog
    content: NDArray[np.float32]
    answers: Mapping[int, NDArray[np.float32]]
    settings: Settings
    protocol: EvaluationProtocol

    def run(
        self, contenders: Mapping[str, Contender], begin: int, progress: ProgressListener, what: str = "events"
    ) -> EvaluationRun:
        """Run the log once with all contenders, recommending from place `begin` on: they share what is learnt.

        Raises `InvalidInput` where there is nobody to recommend to.
        """
        searches = SearchCache()
        state = InMemoryState(self.log, self.content, self.settings, self.answers, self.protocol.repeats)
        tuned = {
            name: LoggedChoices(one.ranking, one.strategy, searches)
            for name, one in contenders.items()
            if one.strategy.learned
        }
        recommenders = {
            name: partial(
                StrategyRecommender(one.ranking, one.strategy, searches, learned=tuned.get(name)).prepare, state
            )
            for name, one in contenders.items()
        }

        def learn(event: LoggedInteraction) -> None:
            for choices in tuned.values():
                choices.observe(state, event)
            state.learn(event)

        return run(self.log, self.content, learn, state.settle, recommenders, begin, self.protocol, progress, what)

    def compare(
        self,
        contenders: Mapping[str, Contender],
        begin: int,
        seed: int,
        also_shuffled: bool,
        progress: ProgressListener,
    ) -> StrategyComparison:
        """Run the log, and the shuffled one, and measure. Raises `InvalidInput` as `run` does."""
        answered, items = self.run(contenders, begin, progress), len(self.log.items)
        measured: list[SliceMetrics] = []
        for name in answered.slices:
            measured += _measure(name, answered, name, items, seed)
        if not also_shuffled:
            return StrategyComparison(measured, answered, None)
        log = self.log.shuffled(seed)
        shuffled = replace(self, log=log).run(contenders, begin, progress, SHUFFLED)
        measured += _measure(SHUFFLED, shuffled, "all", items, seed)
        return StrategyComparison(measured, answered, (log, shuffled))


def _measure(title: str, answered: EvaluationRun, slice_: str, items: int, seed: int) -> list[SliceMetrics]:
    mask = answered.slices[slice_]
    lists = {strategy: one.where(mask) for strategy, one in answered.lists.items()}
    return measure(title, answered.person[mask], lists, items, seed)
