"""Several strategies on one log: the run itself, the shuffled run, and what was measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from eddyline.clients.progress import ProgressListener
from eddyline.evaluation.interaction_log import InteractionLog
from eddyline.evaluation.learned_state import InMemoryState
from eddyline.evaluation.metrics import SliceMetrics
from eddyline.evaluation.prequential import EvaluationProtocol, EvaluationRun, run
from eddyline.evaluation.result_files import measured
from eddyline.evaluation.strategy_recommender import SearchCache, StrategyRecommender
from eddyline.settings import RankingSettings, Settings, StrategySettings


@dataclass(frozen=True, slots=True)
class Contender:
    """What is compared: a strategy, under the settings of the ranking."""

    ranking: RankingSettings
    strategy: StrategySettings


@dataclass(frozen=True, slots=True)
class EvaluationInputs:
    """What a log is run with: the items' vectors (items, dimension), the answers' by person, the settings."""

    content: NDArray[np.float32]
    answers: Mapping[int, NDArray[np.float32]]
    settings: Settings


@dataclass(frozen=True, slots=True)
class StrategyComparison:
    """What was found; `shuffled` is the log that was shuffled, and its run."""

    measured: list[SliceMetrics]
    answered: EvaluationRun
    shuffled: tuple[InteractionLog, EvaluationRun] | None


def compare(
    log: InteractionLog,
    ground: EvaluationInputs,
    contenders: Mapping[str, Contender],
    begin: int,
    protocol: EvaluationProtocol,
    seed: int,
    also_shuffled: bool,
    progress: ProgressListener,
) -> StrategyComparison:
    """Run the log, recommending from place `begin` on. Raises `InvalidInput` where there is nobody to ask for."""
    answered = run_once(log, ground, contenders, begin, protocol, progress)
    shuffled = None
    if also_shuffled:
        other = log.shuffled(seed)
        shuffled = (other, run_once(other, ground, contenders, begin, protocol, progress, "shuffled"))
    found = measured(answered, shuffled[1] if shuffled else None, len(log.items), seed)
    return StrategyComparison(found, answered, shuffled)


def run_once(
    log: InteractionLog,
    ground: EvaluationInputs,
    contenders: Mapping[str, Contender],
    begin: int,
    protocol: EvaluationProtocol,
    progress: ProgressListener,
    what: str = "events",
) -> EvaluationRun:
    """All contenders in one run: what is learnt doesn't depend on what they recommend."""
    shared = SearchCache()
    served = {name: StrategyRecommender(one.ranking, one.strategy, shared) for name, one in contenders.items()}
    memory = InMemoryState(log, ground.content, ground.settings, ground.answers)
    return run(log, memory, served, begin, protocol, progress, what)
