"""Strategies compared on one log: run as it happened and shuffled, and measured on every slice."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from eddyline.clients.progress import ProgressListener
from eddyline.evaluation.baselines import BaselineFactory, BaselineTask
from eddyline.evaluation.interaction_log import InteractionLog, LoggedInteraction
from eddyline.evaluation.learned_state import InMemoryState
from eddyline.evaluation.logged_choices import LoggedChoices
from eddyline.evaluation.metrics import SliceMetrics, measure
from eddyline.evaluation.prequential import EvaluationProtocol, EvaluationRun, MakeList, Recommend, run
from eddyline.evaluation.strategy_recommender import SearchCache, StrategyRecommender
from eddyline.settings import RankingSettings, Settings, StrategySettings

SHUFFLED = "shuffled"
"""The slice of all requests of a run over the log that was shuffled inside each visit."""

RecommendFrom: TypeAlias = Callable[[InMemoryState, int, float, int], MakeList]
"""As `Recommend`, from a state."""


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
    baselines: Sequence[BaselineFactory] = ()
    """Whom the contenders are compared with, on the same requests."""

    def run(
        self,
        contenders: Mapping[str, Contender],
        begin: int,
        progress: ProgressListener,
        what: str = "events",
        seed: int = 0,
    ) -> EvaluationRun:
        """Run the log once with all contenders, recommending from place `begin` on: they share what is learnt.

        `seed`: of what the baselines draw.

        Raises `InvalidInput` where there is nobody to recommend to.
        """
        searches = SearchCache()
        chosen = {
            name: LoggedChoices(one.ranking, one.strategy, searches)
            for name, one in contenders.items()
            if one.strategy.learned
        }
        recommenders = {
            name: StrategyRecommender(one.ranking, one.strategy, searches, learned=chosen.get(name)).prepare
            for name, one in contenders.items()
        }
        return self.run_with(recommenders, begin, progress, what, seed, [one.observe for one in chosen.values()])

    def run_with(
        self,
        asked: Mapping[str, RecommendFrom],
        begin: int,
        progress: ProgressListener,
        what: str = "events",
        seed: int = 0,
        observers: Sequence[Callable[[InMemoryState, LoggedInteraction], None]] = (),
    ) -> EvaluationRun:
        """Run the log once with what recommends by the learnt state; `observers` see each event before it is learnt."""
        state = InMemoryState(self.log, self.content, self.settings, self.answers, self.protocol.repeats)
        recommenders: dict[str, Recommend] = {name: partial(ask, state) for name, ask in asked.items()}
        task = BaselineTask(len(self.log.items), begin, len(self.log.events), self.protocol.repeats, seed, progress)
        baselines = [make(task) for make in self.baselines]
        for baseline in baselines:
            recommenders |= baseline.recommenders()

        def learn(event: LoggedInteraction) -> None:
            for observe in observers:
                observe(state, event)
            state.learn(event)
            for baseline in baselines:
                baseline.learn(event)

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
        answered, items = self.run(contenders, begin, progress, seed=seed), len(self.log.items)
        measured: list[SliceMetrics] = []
        for name in answered.slices:
            measured += _measure(name, answered, name, items, seed)
        if not also_shuffled:
            return StrategyComparison(measured, answered, None)
        log = self.log.shuffled(seed)
        shuffled = replace(self, log=log).run(contenders, begin, progress, SHUFFLED, seed)
        measured += _measure(SHUFFLED, shuffled, "all", items, seed)
        return StrategyComparison(measured, answered, (log, shuffled))


def _measure(title: str, answered: EvaluationRun, slice_: str, items: int, seed: int) -> list[SliceMetrics]:
    mask = answered.slices[slice_]
    lists = {strategy: one.where(mask) for strategy, one in answered.lists.items()}
    return measure(title, answered.person[mask], lists, items, seed)
