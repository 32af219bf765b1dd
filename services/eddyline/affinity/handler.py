"""The handler of `activity`.

A batch is one read and two writes: the vectors, then the payloads with the watermarks. Between the two the store may
die, or this process. Then the batch is handled again, and the rows whose vectors were written learn it twice; were it
the other way round, they would never learn it, and what they had would be taken for more than it is. A batch that is
only tried again starts from the rows as they were before, which are kept until the payloads are written.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from eddyline.adapters.kafka import Message, Record, TopicPartition
from eddyline.adapters.telemetry import Metrics
from eddyline.adapters.vectors import ITEMS, VectorStore
from eddyline.affinity.learner import ROW, TREND, VECTOR, ItemLearner
from eddyline.affinity.seeder import Seeder
from eddyline.model.affinity import AffinityRow
from eddyline.model.events import Activity, parse_event
from eddyline.model.ids import item_point_id
from eddyline.settings import AffinitySettings
from eddyline.topics import ACTIVITY


class AffinityLearner:
    """The handler of the topic `activity`: the only writer of an item's vector `affinity`, of `row` and of `trend`."""

    topics = (ACTIVITY,)

    def __init__(
        self,
        store: VectorStore,
        items: str = ITEMS,
        settings: AffinitySettings = AffinitySettings(),
        partitions: int = 1,
        metrics: Metrics | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`items`: the concrete collection that is written; the alias does in a store of one generation.

        `partitions`: of the topic, for knowing whose an item without any activity is. `monotonic` in seconds.
        """
        self._store, self._items, self._settings = store, items, settings
        self._metrics = metrics or Metrics()
        self._seeding = Seeder(store, items, settings, partitions, self._metrics, monotonic)
        self._in_doubt: dict[str, tuple[Mapping[str, Any], AffinityRow]] = {}
        """By point: its row before a write that may have been done in part, and the `row` that was stored then."""

    def parse(self, record: Record) -> Activity:
        """Read an activity. Raises `InvalidEvent`."""
        return parse_event(Activity, record.value)

    def handle(self, batch: Sequence[Message[Activity]]) -> None:
        """Learn each activity once; items that are gone are passed over."""
        points = {item_point_id(message.value.item_id) for message in batch}
        stored = self._store.retrieve(self._items, sorted(points), payload=(ROW, TREND), vectors=(VECTOR,))
        learners = {
            point_id: self._restored(point_id, ItemLearner(point, self._settings)) for point_id, point in stored.items()
        }
        for message in batch:
            learner = learners.get(item_point_id(message.value.item_id))
            if learner is not None:
                learner.apply(message)
        self._write({point_id: learner for point_id, learner in learners.items() if learner.applied})

    def assigned(self, epochs: Mapping[TopicPartition, int]) -> None:
        """Own these partitions, whose new items are ours to seed."""
        self._seeding.add_partitions(source.partition for source in epochs)

    def revoked(self, partitions: Iterable[TopicPartition]) -> None:
        """Give these partitions up: somebody else may write their items now, so what was kept of them is worthless."""
        self._in_doubt.clear()
        self._seeding.remove_partitions(source.partition for source in partitions)

    def tick(self) -> None:
        """Seed some of the items that have no row."""
        self._seeding.tick()

    def _restored(self, point_id: str, learner: ItemLearner) -> ItemLearner:
        """Return it with the row of before where a write was begun, and its payload not written."""
        if point_id in self._in_doubt:
            stored, before = self._in_doubt[point_id]
            if stored == learner.stored:
                learner.before = before
        return learner

    def _write(self, learners: Mapping[str, ItemLearner]) -> None:
        if not learners:
            return
        self._in_doubt |= {point_id: (learner.stored, learner.before) for point_id, learner in learners.items()}
        encoded = {point_id: learner.encode() for point_id, learner in learners.items()}
        vectors = {point_id: vectors for point_id, (vectors, _) in encoded.items() if vectors}
        self._store.update_vectors(self._items, vectors)
        self._store.set_payload(self._items, {point_id: payload for point_id, (_, payload) in encoded.items()})
        for point_id in learners:
            del self._in_doubt[point_id]
        self._metrics.learnt.inc(sum(learner.applied for learner in learners.values()))
