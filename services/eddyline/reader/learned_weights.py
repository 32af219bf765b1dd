"""What learned strategies weigh by now: read from the store about once a second, by the request that comes then."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Mapping

from eddyline.adapters.vectors import BLENDS, VectorStore, scroll_pages
from eddyline.model.ranking.blend import BlendWeights, average
from eddyline.model.ranking.choices import with_weights
from eddyline.settings import StrategySettings

READ_SECONDS = 1.0


class LearnedWeights:
    """The strategies of the settings, those that are learned with what the owners of all partitions have learnt.

    May be called from any thread. `monotonic` in seconds.
    """

    def __init__(
        self, store: VectorStore, strategies: Mapping[str, StrategySettings], monotonic: Callable[[], float]
    ) -> None:
        self._store, self._settings, self._monotonic = store, strategies, monotonic
        self._strategies, self._read_at = strategies, -math.inf
        self._lock = threading.Lock()

    def named(self, name: str) -> StrategySettings:
        """Return a strategy as it is now. Raises `Unavailable`."""
        is_due = self._settings[name].learned and self._monotonic() - self._read_at >= READ_SECONDS
        if is_due and self._lock.acquire(blocking=False):
            try:
                self._read()
            finally:
                self._lock.release()
        return self._strategies[name]

    def _read(self) -> None:
        learnt: dict[str, list[tuple[BlendWeights, int]]] = {}
        for page in scroll_pages(self._store, BLENDS, payload=("strategy", "running", "start", "choices")):
            for point in page:
                weights = BlendWeights(point.payload["running"], point.payload["start"])
                learnt.setdefault(point.payload["strategy"], []).append((weights, point.payload["choices"]))
        strategies = dict(self._settings)
        for name, strategy in self._settings.items():
            mean = average(learnt.get(name, []))
            if strategy.learned and mean is not None:
                strategies[name] = with_weights(strategy, mean)
        self._strategies = strategies
        self._read_at = self._monotonic()
