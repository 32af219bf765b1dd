"""What learned strategies weigh by now: read from the store about once a second, by the request that comes then."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from eddyline.adapters.telemetry import Metrics
from eddyline.adapters.vectors import BLENDS, VectorStore, scroll_pages
from eddyline.model.ranking.blend import BlendWeights, average
from eddyline.model.ranking.choices import begun_with, shipped_weights, with_weights
from eddyline.settings import StrategySettings

READ_SECONDS = 1.0
_PAYLOAD = ("strategy", "shipped", "running", "start", "choices", "state.loss", "state.shipped_loss")


@dataclass(frozen=True, slots=True)
class _Learnt:
    """What the owner of a partition has learnt. `losses`: mean of late choices, by its weights and by shipped ones."""

    weights: BlendWeights
    choices: int
    losses: tuple[float, float]


class LearnedWeights:
    """The strategies of the settings, those that are learned with what the owners of all partitions have learnt.

    May be called from any thread. `monotonic` in seconds.
    """

    def __init__(
        self,
        store: VectorStore,
        strategies: Mapping[str, StrategySettings],
        metrics: Metrics,
        monotonic: Callable[[], float],
    ) -> None:
        self._store, self._settings, self._metrics, self._monotonic = store, strategies, metrics, monotonic
        self._strategies, self._read_at = strategies, -math.inf
        self._learnt: dict[str, list[_Learnt]] = {}
        self._lock = threading.Lock()

    def named(self, name: str) -> StrategySettings:
        """Return a strategy as it is now. Raises `Unavailable`."""
        if self._settings[name].learned:
            self._refresh()
        return self._strategies[name]

    def describe(self) -> list[dict[str, Any]]:
        """Return each strategy's weights of now, and what those that are learned were shipped with and have learnt.

        Raises `Unavailable`.
        """
        self._refresh()
        return [self._describe(name, strategy) for name, strategy in self._strategies.items()]

    def _describe(self, name: str, strategy: StrategySettings) -> dict[str, Any]:
        told: dict[str, Any] = {"name": name, "learned": strategy.learned, "weights": _weights(strategy)}
        if strategy.learned:
            learnt = self._learnt.get(name, [])
            told |= {"shipped": _weights(self._settings[name]), "choices": sum(one.choices for one in learnt)}
            told["loss"], told["shipped_loss"] = _mean_losses(learnt)
        return told

    def _refresh(self) -> None:
        if self._monotonic() - self._read_at >= READ_SECONDS and self._lock.acquire(blocking=False):
            try:
                self._read()
            finally:
                self._lock.release()

    def _read(self) -> None:
        learnt: dict[str, list[_Learnt]] = {}
        begun = {name: begun_with(strategy) for name, strategy in self._settings.items() if strategy.learned}
        for page in scroll_pages(self._store, BLENDS, payload=_PAYLOAD):
            for payload in (point.payload for point in page):
                if payload["shipped"] == begun.get(payload["strategy"]):
                    weights = BlendWeights(payload["running"], payload["start"])
                    losses = (payload["state"]["loss"], payload["state"]["shipped_loss"])
                    learnt.setdefault(payload["strategy"], []).append(_Learnt(weights, payload["choices"], losses))
        strategies = dict(self._settings)
        for name, parts in learnt.items():
            shipped = self._settings[name]
            mean = average([(one.weights, one.choices) for one in parts], shipped_weights(shipped))
            strategies[name] = with_weights(shipped, mean)
            self._report(name, mean)
        self._strategies, self._learnt = strategies, learnt
        self._read_at = self._monotonic()

    def _report(self, name: str, weights: BlendWeights) -> None:
        for visit, part in (("running", weights.running), ("first list", weights.start)):
            for term, weight in part.items():
                self._metrics.blend_weight.labels(name, visit, term).set(weight)


def _weights(strategy: StrategySettings) -> dict[str, dict[str, float]]:
    """Return the weights that aren't 0: of a running visit, and of its first list."""
    parts = {"running": strategy.weights(1.0), "first_list": strategy.weights(0.0)}
    return {visit: {term: round(weight, 4) for term, weight in part.items() if weight} for visit, part in parts.items()}


def _mean_losses(learnt: Sequence[_Learnt]) -> tuple[float | None, float | None]:
    total = sum(one.choices for one in learnt)
    if not total:
        return None, None
    mean, shipped = (sum(one.losses[part] * one.choices for one in learnt) / total for part in (0, 1))
    return round(mean, 4), round(shipped, 4)
