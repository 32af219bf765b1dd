"""The handler of `activity`: the only writer of rows.

A batch is at most one read and one upsert: a row, its trends, the watermark of its input and what lists filter it by
are one point. So a crash repeats nothing, and a batch that is tried again starts from the rows as they were. What a
crashed profiler sends twice is known by its source. Upserts are fenced by the partition's epoch, as profiles are. All
calls come from the consume loop's one thread.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from eddyline.adapters.kafka import Message, Record, TopicPartition, partition_of
from eddyline.adapters.telemetry import Metrics
from eddyline.adapters.vectors import Collections, VectorStore
from eddyline.affinity.blend_store import BlendStore
from eddyline.affinity.choice_finder import ChoiceFinder
from eddyline.affinity.row_state import RowUpdate
from eddyline.affinity.row_store import RowStore
from eddyline.affinity.seeder import Seeder
from eddyline.errors import InvalidEvent
from eddyline.model.events import Activity, RowEvent, clamp_event_time, parse_row_event
from eddyline.model.ranking.blend import Choice
from eddyline.model.token_bucket import TokenBucket
from eddyline.settings import AffinitySettings
from eddyline.topics import ACTIVITY

CHOICE_SHARE = 0.05
"""Share of a core that this thread may spend on finding choices; what more there is of the sample isn't learnt from."""
CHOICE_SECONDS = 0.1
"""Most processor time that may be saved up for choices that come together."""


@dataclass(frozen=True, slots=True)
class ChoiceLearning:
    """What learned strategies learn by: choices, as they are found, and the learners."""

    finder: ChoiceFinder
    blends: BlendStore


def parse_record(record: Record, home_of: Callable[[str], int]) -> RowEvent:
    """Read a record of `activity`. `home_of`: the partition of an item's records, whose owner alone may write its row.

    Raises `InvalidEvent`: none of our own, a time far ahead, another item's partition.
    """
    event = parse_row_event(record.value)
    home = home_of(event.item_id)
    if home != record.partition:
        raise InvalidEvent(f"its records lie on partition {home}", "item_id")
    if isinstance(event, Activity):
        clamp_event_time(event.timestamp, record.timestamp / 1000)
    return event


class AffinityLearner:
    """The handler of the topic `activity`."""

    topics = (ACTIVITY,)

    def __init__(
        self,
        store: VectorStore,
        collections: Collections = Collections(),
        settings: AffinitySettings = AffinitySettings(),
        partitions: int = 1,
        metrics: Metrics | None = None,
        choices: ChoiceLearning | None = None,
        monotonic: Callable[[], float] = time.monotonic,
        processor: Callable[[], float] = time.thread_time,
    ) -> None:
        """`collections`: the concrete ones; the aliases do in a store of one generation.

        `partitions`: of the topic, for knowing whose an item is. `choices`: what learned
        strategies learn by; None: there are none. `monotonic` in seconds; `processor`: those that
        this thread has computed for.
        """
        self._settings = settings
        self._partition_of = lru_cache(maxsize=100_000)(lambda item_id: partition_of(item_id.encode(), partitions))
        self._metrics = metrics or Metrics()
        self._choices, self._processor = choices, processor
        self._allowance = TokenBucket(CHOICE_SHARE, CHOICE_SECONDS, monotonic)
        self._rows = RowStore(store, collections.rows, settings)
        self._seeding = Seeder(store, self._rows, collections, settings, partitions, self._metrics, monotonic)

    def parse(self, record: Record) -> RowEvent:
        """Read a record. Raises `InvalidEvent`: none of our own, a time far ahead, another item's partition."""
        return parse_record(record, self._partition_of)

    def handle(self, batch: Sequence[Message[RowEvent]]) -> None:
        """Apply each record once; items without a row, which aren't listed or are gone, are passed over."""
        partitions = {message.value.item_id: message.record.partition for message in batch}
        stored = self._rows.load(partitions)
        updates = {item_id: RowUpdate(stored.get(item_id), self._settings) for item_id in partitions}
        for message in batch:
            updates[message.value.item_id].apply(message.value, message.record)
        changed = {item_id: update for item_id, update in updates.items() if update.changed}
        choices = self._find_choices(updates.values(), partitions)
        if changed:
            self._rows.write({item_id: update.result() for item_id, update in changed.items()}, partitions)
        if self._choices is not None and choices:
            self._choices.blends.learn(choices)
        self._metrics.learnt.inc(sum(update.applied for update in changed.values()))

    def _find_choices(self, updates: Iterable[RowUpdate], partitions: Mapping[str, int]) -> dict[int, list[Choice]]:
        """Find the choices behind the activities of the sample, by partition: before any row knows of them."""
        found: dict[int, list[Choice]] = {}
        if self._choices is None:
            return found
        for activity in (one for update in updates for one in update.samples):
            if self._allowance.level() <= 0:
                break
            before = self._processor()
            choice = self._choices.finder.find(activity)
            self._allowance.spend(self._processor() - before)
            if choice is not None:
                found.setdefault(partitions[activity.item_id], []).append(choice)
        return found

    def assigned(self, epochs: Mapping[TopicPartition, int]) -> None:
        """Own these partitions, whose new items are ours to seed."""
        for source, epoch in epochs.items():
            self._rows.add_partition(source.partition, epoch)
        self._seeding.add_partitions(source.partition for source in epochs)

    def revoked(self, partitions: Iterable[TopicPartition]) -> None:
        """Give these partitions up."""
        gone = [source.partition for source in partitions]
        self._rows.remove_partitions(gone)
        if self._choices is not None:
            self._choices.blends.forget(gone)
        self._seeding.remove_partitions(gone)

    def tick(self) -> None:
        """Seed some of the items that have learnt nothing yet."""
        self._seeding.tick()
