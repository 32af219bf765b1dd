"""What the delivery guarantee costs: the profiler's loop with it, beside the same loop without it, in one run.

    .venv/bin/python benchmarks/delivery.py
    KAFKA_BOOTSTRAP=127.0.0.1:29092 .venv/bin/python benchmarks/delivery.py --rounds 9

Both read the same records from the same broker (the in-process one, or `KAFKA_BOOTSTRAP`) and fold them into a new
collection of the same store (Qdrant Edge), in turns. Without the guarantee nothing is skipped as a repeat and no ids
are remembered, offsets are committed by the library in the background, perhaps before what they stand for is handled,
no partition is claimed, profiles are written whatever the stored epoch, and nobody waits until activity is
acknowledged.

A ratio of neighbouring rounds says more than one of totals where the machine has other work, and the processor time
(of all threads, the in-process broker's too) more than the time that passed.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast
from unittest.mock import patch

import numpy as np
from confluent_kafka.admin import AdminClient

from eddyline.adapters.kafka import (
    Acknowledgements,
    ConsumeLoop,
    EmbeddedBroker,
    KafkaOptions,
    KafkaProducer,
    LoopOptions,
    Message,
    Outgoing,
    TopicDeadLetterWriter,
    ensure_topics,
)
from eddyline.adapters.telemetry import Metrics
from eddyline.adapters.vectors import (
    ITEMS,
    Collections,
    Distance,
    EdgeStore,
    Point,
    VectorStore,
    item_collection,
    profile_collection,
    row_collection,
)
from eddyline.clients.sources import open_source
from eddyline.model.events import Content, Interaction
from eddyline.model.ids import item_point_id
from eddyline.model.profile.delivery import Delivery
from eddyline.profiler import Profiler
from eddyline.settings import Settings

SAMPLE = Path(__file__).parents[1] / "examples" / "movielens"
DIMENSION = 384


# -- without -----------------------------------------------------------------------------------------------------------


class AutoCommitting(ConsumeLoop[Any]):
    """A loop that claims nothing and leaves commits to the library."""

    def _claim(self) -> None:
        new = dict.fromkeys(self._owned.unannounced(), 1)
        if new:
            self._handler.assigned(new)
            self._owned.announce(new)

    def _save(self) -> None: ...


class NotWaiting(KafkaProducer):
    """Sends, and hopes for the best."""

    def begin_all(self, records: Sequence[Outgoing]) -> Acknowledgements:
        for record in records:
            self._library.produce(
                self._options.prefix + record.topic, record.value, record.key, headers=list(record.headers)
            )
        return list


class Unconditional:
    """A store in which whoever writes last wins."""

    def __init__(self, store: EdgeStore) -> None:
        self._store = store

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def upsert(self, collection: str, points: Sequence[Point], **_conditions: object) -> None:
        self._store.upsert(collection, points)


@contextmanager
def forgetful_profiles() -> Iterator[None]:
    """Profiles that know neither offsets nor event ids."""
    with patch.multiple(
        Delivery,
        has_folded=lambda *_: False,
        advance=lambda *_: None,
        is_repeat=lambda *_: False,
        remember=lambda *_: None,
    ):
        yield


# -- one round ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Round:
    """How long it took from the first batch to the last profile: seconds that passed, and of processor time."""

    passed: float
    processor: float


class Timed(Profiler):
    """Notes when the first batch came, and when all was handled."""

    def expect(self, events: int) -> None:
        self.done, self._left = threading.Event(), events
        self._started: tuple[float, float] | None = None

    def handle(self, batch: Sequence[Message[Any]]) -> None:
        self._started = self._started or (time.perf_counter(), time.process_time())
        super().handle(batch)
        self._left -= len(batch)
        if self._left <= 0 and not self.done.is_set():
            self.result = Round(time.perf_counter() - self._started[0], time.process_time() - self._started[1])
            self.done.set()


@dataclass(frozen=True)
class Track:
    """Where both run: the log that holds the records, the store that holds the items."""

    options: KafkaOptions
    store: EdgeStore
    events: int
    directory: Path

    def with_guarantee(self) -> Round:
        return self._round(self.store, KafkaProducer(self.options), ConsumeLoop, self.options)

    def without(self) -> Round:
        client = {**self.options.client, "enable.auto.commit": "true", "enable.auto.offset.store": "true"}
        store = cast(VectorStore, Unconditional(self.store))
        with forgetful_profiles():
            return self._round(store, NotWaiting(self.options), AutoCommitting, replace(self.options, client=client))

    def _round(
        self,
        store: VectorStore,
        producer: KafkaProducer,
        kind: type[ConsumeLoop[Any]],
        options: KafkaOptions,
    ) -> Round:
        settings, metrics, letters = Settings(), Metrics(), TopicDeadLetterWriter(producer)
        profiles = f"profiles-{uuid.uuid4().hex[:8]}"
        self.store.ensure(profile_collection(profiles))
        profiler = Timed(
            store,
            producer,
            letters,
            settings.events,
            settings.profile,
            options.partitions,
            metrics,
            collections=Collections(ITEMS, profiles),
        )
        profiler.expect(self.events)
        loop_options = LoopOptions(batch_size=settings.kafka.batch_size)
        loop = kind(options, loop_options, profiles, profiler.topics, profiler, letters, metrics=metrics)
        thread = threading.Thread(target=loop.run)
        thread.start()
        assert profiler.done.wait(300), loop.status()
        loop.stop()
        thread.join()
        producer.close()
        self.store.drop(profiles)
        return profiler.result


# -- setting up --------------------------------------------------------------------------------------------------------


def put_items(store: EdgeStore) -> None:
    store.ensure(item_collection(DIMENSION, Distance.COSINE, {}))
    store.ensure(row_collection({}))
    films = [Content.model_validate(line.value).item_id for line in open_source(SAMPLE).items()]
    rows = np.random.default_rng(1).normal(size=(len(films), DIMENSION)).astype(np.float32)
    store.upsert(
        ITEMS,
        [
            Point(item_point_id(film), {"content": row}, {"item_id": film, "space": "s", "meta": {"title": film}})
            for film, row in zip(films, rows, strict=True)
        ],
    )


def send_events(options: KafkaOptions, most: int) -> int:
    lines = list(open_source(SAMPLE).events())[:most]
    events = [Interaction.model_validate({**line.value, "event_id": f"e{n}"}) for n, line in enumerate(lines)]
    producer = KafkaProducer(options)
    producer.send_all([Outgoing("interactions", each.person.key.encode(), each.to_bytes()) for each in events])
    producer.close()
    return len(events)


@contextmanager
def a_cluster() -> Iterator[KafkaOptions]:
    """`KAFKA_BOOTSTRAP`, with topics that go afterwards, or the in-process broker."""
    servers = os.environ.get("KAFKA_BOOTSTRAP", "in-process")
    if servers == "in-process":
        broker = EmbeddedBroker()
        yield broker.options
        broker.close()
        return
    options = KafkaOptions(servers, prefix=f"benchmark-{uuid.uuid4().hex[:8]}.")
    topics = list(ensure_topics(options))
    try:
        yield options
    finally:
        AdminClient({"bootstrap.servers": servers}).delete_topics(topics)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="The profiler's loop with and without the delivery guarantee.")
    parser.add_argument("--rounds", type=int, default=15, help="of each, in turns")
    parser.add_argument("--events", type=int, default=5_000, help="in each round")
    given = parser.parse_args(arguments)
    ours: list[Round] = []
    theirs: list[Round] = []
    with tempfile.TemporaryDirectory() as name, a_cluster() as options:
        store = EdgeStore(Path(name) / "vectors")
        put_items(store)
        track = Track(options, store, send_events(options, given.events), Path(name))
        track.with_guarantee()  # the first is slower, whichever it is
        for number in range(given.rounds):
            for run, rounds in turns(track, ours, theirs, number):
                rounds.append(run())
        store.close()
        report(track.events, ours, theirs)


def turns(
    track: Track, ours: list[Round], theirs: list[Round], number: int
) -> Sequence[tuple[Callable[[], Round], list[Round]]]:
    """Both, each first in every other round."""
    both = ((track.with_guarantee, ours), (track.without, theirs))
    return both if number % 2 else both[::-1]


def report(events: int, ours: Sequence[Round], theirs: Sequence[Round]) -> None:
    """Rates, and ratios: at 1 it costs nothing. What else the machine does only adds, so the best rounds count, too."""
    for words, rounds in (("with the guarantee", ours), ("without", theirs)):
        rates = sorted(events / each.passed for each in rounds)
        processor = sorted(each.processor / events * 1e6 for each in rounds)
        print(
            f"{words:<20} {statistics.median(rates):>8,.0f} events/s, at best {rates[-1]:>8,.0f}   "
            f"{statistics.median(processor):>4.0f} µs of processor an event, at best {processor[0]:>4.0f}"
        )
    by_clock = [(theirs[n].passed, ours[n].passed) for n in range(len(ours))]
    by_processor = [(theirs[n].processor, ours[n].processor) for n in range(len(ours))]
    for words, pairs in (("time that passed", by_clock), ("processor time", by_processor)):
        ratios = sorted(without / guaranteed for without, guaranteed in pairs)
        best = min(without for without, _ in pairs) / min(guaranteed for _, guaranteed in pairs)
        print(
            f"ratio by {words:<17} {statistics.median(ratios):.2f} (median of neighbours, {ratios[0]:.2f} to "
            f"{ratios[-1]:.2f}), of the best {best:.2f}"
        )


if __name__ == "__main__":
    main()
