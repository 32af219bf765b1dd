"""The learners of the partitions that are ours: each fits the blend to the choices of its partition's items, and is
kept in the store as one point, which readers average.

A choice is learnt after its row is durable. A crash in between loses it, and none counts twice: rows know what they
have applied.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from eddyline.adapters.telemetry import Metrics
from eddyline.adapters.vectors import BLENDS, Point, VectorStore
from eddyline.model.ids import blend_point_id
from eddyline.model.ranking.blend import BlendLearner, Choice
from eddyline.model.ranking.choices import begun_with, shipped_weights
from eddyline.settings import StrategySettings
from eddyline.settings.strategies import LEARNED_TERMS


class BlendStore:
    """A learner for each strategy that is learned, and each partition. All calls come from the consume loop's thread;
    they raise `Unavailable`."""

    def __init__(self, store: VectorStore, strategies: Mapping[str, StrategySettings], metrics: Metrics) -> None:
        self._store, self._metrics = store, metrics
        self._learned = {name: strategy for name, strategy in strategies.items() if strategy.learned}
        self._learners: dict[tuple[str, int], BlendLearner] = {}

    def forget(self, partitions: Iterable[int]) -> None:
        """Give the partitions up: what is stored of theirs is somebody else's now."""
        gone = set(partitions)
        self._learners = {key: one for key, one in self._learners.items() if key[1] not in gone}

    def learn(self, choices: Mapping[int, list[Choice]]) -> None:
        """Learn from choices, by partition, and store what was learnt."""
        points = []
        for partition, several in choices.items():
            for name, strategy in self._learned.items():
                learner = self._learner(name, strategy, partition)
                for choice in several:
                    learner.learn(choice)
                points.append(_to_point(name, partition, strategy, learner))
                self._metrics.blend_loss.labels(name, "learned").set(learner.loss)
                self._metrics.blend_loss.labels(name, "shipped").set(learner.shipped_loss)
            self._metrics.choices.inc(len(several))
        if points:
            self._store.upsert(BLENDS, points)

    def _learner(self, name: str, strategy: StrategySettings, partition: int) -> BlendLearner:
        learner = self._learners.get((name, partition))
        if learner is None:
            learner = BlendLearner(LEARNED_TERMS, shipped_weights(strategy))
            point_id = blend_point_id(name, partition)
            stored = self._store.retrieve(BLENDS, [point_id]).get(point_id)
            if stored is not None and stored.payload.get("shipped") == begun_with(strategy):
                learner.restore(stored.payload["state"])
            self._learners[name, partition] = learner
        return learner


def _to_point(name: str, partition: int, strategy: StrategySettings, learner: BlendLearner) -> Point:
    weights = learner.weights
    payload = {
        "strategy": name,
        "running": dict(weights.running),
        "start": dict(weights.start),
        "choices": learner.choices,
        "shipped": begun_with(strategy),
        "state": learner.to_state(),
    }
    return Point(blend_point_id(name, partition), {}, payload)
