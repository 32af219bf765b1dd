"""A profiler with everything around it, for tests that hand it records and look at profiles."""

from __future__ import annotations

import random
from collections.abc import Mapping
from string import ascii_letters, digits
from typing import Any

import numpy as np
from tests.support.fakes import (
    LOG,
    NOW,
    Clock,
    FakeDeadLetters,
    FakeProducer,
    FakeStore,
    feed,
    near,
    record,
    text_vector,
)

from eddyline.adapters.kafka import Outgoing, Record, TopicPartition, partition_of
from eddyline.adapters.telemetry import Metrics
from eddyline.adapters.vectors import ITEMS, PROFILES, Point
from eddyline.model.ids import Person, item_point_id, person_point_id
from eddyline.model.profile import Profile, decode_profile
from eddyline.profiler import Profiler
from eddyline.settings import EventSettings, ProfileSettings

SPACE = "tiny-t1"


class Profiling:
    """One partition, unless told otherwise; owned under epoch 1."""

    def __init__(
        self,
        settings: ProfileSettings = ProfileSettings(),
        partitions: int = 1,
        events: EventSettings = EventSettings(),
    ) -> None:
        self.journal: list[str] = []
        self.store = FakeStore(journal=self.journal)
        self.producer = FakeProducer(self.journal)
        self.dead_letters = FakeDeadLetters(self.journal)
        self.clock = Clock()
        self.settings, self.events, self.partitions = settings, events, partitions
        self.metrics = Metrics()
        self.passed_on: dict[int, int] = {}
        """Offsets given to what was passed on, by partition: above those of the tests."""
        self.profiler = self.new_profiler()

    def new_profiler(self, epoch: int = 1, events: EventSettings | None = None) -> Profiler:
        """Another instance on the same store, owning everything: as after a restart."""
        self.metrics = Metrics()
        profiler = Profiler(
            self.store,
            self.producer,
            self.dead_letters,
            events or self.events,
            self.settings,
            self.partitions,
            self.metrics,
            clock=self.clock,
            monotonic=self.clock,
        )
        profiler.assigned({TopicPartition("interactions", n): epoch for n in range(self.partitions)})
        return profiler

    def restart(self, epoch: int = 2, events: EventSettings | None = None) -> None:
        self.profiler = self.new_profiler(epoch, events)

    def add_items(self, *item_ids: str, space: str = SPACE) -> None:
        self.store.upsert(
            ITEMS,
            [
                Point(
                    item_point_id(item_id),
                    {"content": text_vector(item_id).astype(np.float32)},
                    {"item_id": item_id, "space": space, "meta": {"title": item_id}},
                )
                for item_id in item_ids
            ],
        )
        self.journal.clear()

    def feed(self, *records: Record) -> None:
        feed(self.profiler, *records)

    def stored(self, key: str = "u:ada") -> Profile:
        """The profile as a reader would load it."""
        point = self.point(key)
        return decode_profile(Person.from_key(key), point.payload, point.vectors, self.settings)

    def point(self, key: str = "u:ada") -> Point:
        point_id = person_point_id(Person.from_key(key))
        return self.store.retrieve(PROFILES, [point_id], vectors=("history",))[point_id]

    def deliver(self, seen: int = 0) -> None:
        """Hand what was sent on to `interactions`, from the `seen`th record on, to the profiler, until it is quiet."""
        while True:
            passed = self.producer.to("interactions")[seen:]
            if not passed:
                return
            seen += len(passed)
            for one in passed:
                self._arrive(one)

    def _arrive(self, one: Outgoing) -> None:
        partition = partition_of(one.key or b"", self.partitions)
        offset = self.passed_on[partition] = self.passed_on.get(partition, 10_000) + 1
        self.feed(
            Record("interactions", partition, offset, one.key, one.value, int(self.clock() * 1000), LOG, one.headers)
        )

    def knows(self, key: str) -> bool:
        return person_point_id(Person.from_key(key)) in self.store.retrieve(
            PROFILES, [person_point_id(Person.from_key(key))]
        )

    def metric(self, name: str, **labels: str) -> float:
        return self.metrics.registry.get_sample_value(name, labels) or 0.0


def long_item_ids(count: int) -> list[str]:
    """Item ids about as long as they may be, which don't deflate either."""
    letters = random.Random(1)
    return [f"{n:04}-" + "".join(letters.choices(ascii_letters + digits + "-_", k=500)) for n in range(count)]


def same_sums(one: Profile, other: Profile, relative: float = 1e-6) -> None:
    """Fail unless the tastes of two profiles are as good as equal."""
    for mine, theirs in zip(one.taste.sums, other.taste.sums, strict=True):
        near(mine.sum, theirs.sum, relative)
        near(mine.weight, theirs.weight)
        assert mine.time == theirs.time


def click(offset: int, item: str, *, user: str = "ada", at: float = NOW, **more: Any) -> Record:
    """Something done `at` that time, arriving `arrived` (the same time, where not given)."""
    arrived = more.pop("arrived", at)
    where = {name: more.pop(name) for name in ("log", "partition", "headers") if name in more}
    key = more.pop("key", f"u:{user}")
    value: Mapping[str, Any] = {"type": "click", "item_id": item, "user_id": user, "timestamp": at, **more}
    return record("interactions", key, {k: v for k, v in value.items() if v is not None}, offset, at=arrived, **where)


def onboarded(offset: int, *, user: str = "ada", space: str | None = SPACE, source: int = 0, **more: Any) -> Record:
    value = {
        "type": "onboarded",
        "user_id": user,
        "vector": [float(x) for x in text_vector("space opera")],
        "space": space,
        "origin": {"log": "users-log", "partition": 0, "offset": source},
        **more,
    }
    return record("interactions", f"u:{user}", {k: v for k, v in value.items() if v is not None}, offset)


def erased(offset: int, *, user: str = "ada", at: float = NOW, source: int = 0) -> Record:
    origin = {"log": "users-log", "partition": 0, "offset": source}
    return record(
        "interactions",
        f"u:{user}",
        {"type": "erased", "user_id": user, "timestamp": at, "origin": origin},
        offset,
        at=at,
    )
