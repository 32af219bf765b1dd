"""Several strategies on one log: the run itself, the shuffled run, and what was measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from eddyline.clients.progress import ProgressListener
from eddyline.offline.evaluation.log import Log
from eddyline.offline.evaluation.memory import Memory
from eddyline.offline.evaluation.metrics import Measured
from eddyline.offline.evaluation.prequential import Answered, Protocols, run
from eddyline.offline.evaluation.report import measured
from eddyline.offline.evaluation.serving import Served, SharedSearches
from eddyline.settings import Ranking, Settings, Strategy


@dataclass(frozen=True, slots=True)
class Contender:
    """What is compared: a strategy, under the settings of the ranking."""

    ranking: Ranking
    strategy: Strategy


@dataclass(frozen=True, slots=True)
class Ground:
    """What a log is run with: the items' vectors (items, dimension), the answers' by person, the settings."""

    content: NDArray[np.float32]
    answers: Mapping[int, NDArray[np.float32]]
    settings: Settings


@dataclass(frozen=True, slots=True)
class Comparison:
    """What was found; `shuffled` is the log that was shuffled, and its run."""

    measured: list[Measured]
    answered: Answered
    shuffled: tuple[Log, Answered] | None


def compare(
    log: Log,
    ground: Ground,
    contenders: Mapping[str, Contender],
    begin: int,
    protocol: Protocols,
    seed: int,
    also_shuffled: bool,
    progress: ProgressListener,
) -> Comparison:
    """Run the log, recommending from place `begin` on. Raises `InvalidInput` where there is nobody to ask for."""
    answered = run_once(log, ground, contenders, begin, protocol, progress)
    shuffled = None
    if also_shuffled:
        other = log.shuffled(seed)
        shuffled = (other, run_once(other, ground, contenders, begin, protocol, progress, "shuffled"))
    found = measured(answered, shuffled[1] if shuffled else None, len(log.items), seed)
    return Comparison(found, answered, shuffled)


def run_once(
    log: Log,
    ground: Ground,
    contenders: Mapping[str, Contender],
    begin: int,
    protocol: Protocols,
    progress: ProgressListener,
    what: str = "events",
) -> Answered:
    """All contenders in one run: what is learnt doesn't depend on what they recommend."""
    shared = SharedSearches()
    served = {name: Served(one.ranking, one.strategy, shared) for name, one in contenders.items()}
    memory = Memory(log, ground.content, ground.settings, ground.answers)
    return run(log, memory, served, begin, protocol, progress, what)
