"""Logs in which the right answer is plain, and what baselines make of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from eddyline.clients.progress import ProgressListener
from eddyline.evaluation.baselines import Baseline, BaselineTask, baseline_factory
from eddyline.evaluation.interaction_log import LoggedInteraction

NOW = 1_500_000_000.0


def did(person: int, item: int, time: float, kind: str = "click") -> LoggedInteraction:
    return LoggedInteraction(person, item, kind, 1.0, NOW + time, f"{person}.{item}.{time}")


def task(items: int, begin: int, events: int, repeats: bool = False, seed: int = 0) -> BaselineTask:
    return BaselineTask(items, begin, events, repeats, seed, ProgressListener())


def taught(name: str, about: BaselineTask, events: Iterable[LoggedInteraction]) -> Baseline:
    baseline = baseline_factory(name)(about)
    for event in events:
        baseline.learn(event)
    return baseline


def listed(baseline: Baseline, person: int, time: float, k: int) -> Mapping[str, list[int]]:
    return {name: list(ask(person, NOW + time, k)()) for name, ask in baseline.recommenders().items()}
