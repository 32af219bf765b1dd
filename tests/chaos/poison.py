"""Poison for every consumer, among what people and shops send: none stops, and all of it ends as dead letters."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import orjson
from confluent_kafka import Producer
from tests.chaos.checks import dead_letters
from tests.chaos.failpoints import BreakingHandler
from tests.chaos.stream import PARTITIONS
from tests.chaos.truth import Poisoned
from tests.chaos.worker import LOOP
from tests.chaos.world import World
from tests.insights.worker_process import Windows, measuring
from tests.services.imaging import ColourEncoder
from tests.support.fakes import TinyEncoder
from tests.support.kafka import KafkaForTest
from tests.support.poison import BREAKS, Poison, all_poison

from eddyline.adapters.kafka import (
    ConsumeLoop,
    KafkaProducer,
    Outgoing,
    TopicDeadLetterWriter,
    partition_of,
)
from eddyline.adapters.telemetry import Metrics
from eddyline.adapters.vectors import VectorStore
from eddyline.embedder.handler import Embedder
from eddyline.errors import ImageRefused
from eddyline.imaging import ImageEmbedder
from eddyline.model.ids import item_point_id
from eddyline.runtime.collection_setup import ensure_image_vectors
from eddyline.settings import ImageSettings
from eddyline.topics import IMPRESSIONS

VICTIM, ITEM = "user 40", "item 0"
CATALOGUE = ("content", "availability", "users")
GOOD_EACH = 3
"""Good records for each poisonous one of a topic that has no other traffic: else the share of dead letters is too
large."""
PAUSE_SECONDS = 0.01
BREAKING_WORKER = f"""
from eddyline.insights.handler import PartitionHandler

add_event = PartitionHandler._add_event

def fail(self, known, timed):
    if getattr(timed.event, "request_id", None) == {BREAKS!r}:
        raise RuntimeError("a mistake that this record has brought to light")
    add_event(self, known, timed)

PartitionHandler._add_event = fail
"""


def send_poison(world: World) -> None:
    """Every kind at least once. Then each consumer must have handled what came after, and nothing else be dead."""
    world.pool(2)
    with ExitStack() as stack:
        kafka = KafkaForTest(world.cluster.kind, world.kafka)
        _, windows = stack.enter_context(measuring(kafka, world.directory, BREAKING_WORKER, "error"))
        store = stack.enter_context(closing(world.backend.open()))
        stack.enter_context(_catalogue_consumers(world, store))
        sender = stack.enter_context(closing(_Sender(world)))
        while not sender.rounds or not world.is_over:
            sender.send_round()
        world.load.stop()
        sender.flush()
        for group, topics in {"embedder": Embedder.topics, "imager": ImageEmbedder.topics}.items():
            world.until(partial(_has_handled, world, group, topics), f"{group} has handled all")
        sender.show_pictures()
        world.until(lambda: sender.items <= _with_pictures(store, world, sender.items), "the pictures are embedded")
        world.until(world.is_quiet, "everything is handled")
        world.until(lambda: _is_measured(world, windows), "insights has handled all")
        world.until(lambda: windows.total()["requests"] == sender.lists, "the lists are measured")
    twice = [place for place, count in Counter(place for place, _, _ in dead_letters(world.log)).items() if count > 1]
    world.trouble += [f"dead letters that are there twice, though nothing crashed: {twice}"] if twice else []


class _Sender:
    """Sends poison, and good records beside it."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._producer = Producer({"bootstrap.servers": world.kafka.bootstrap_servers, "linger.ms": 1})
        self._good = KafkaProducer(world.kafka)
        self.rounds = self.lists = 0
        self.items: set[str] = set()

    def send_round(self) -> None:
        """Send one of each kind."""
        self.rounds += 1
        for poison in all_poison(time.time(), VICTIM, ITEM):
            if poison.key is None and poison.topic in CATALOGUE:
                continue  # Kafka itself takes none without a key into a compacted topic
            self._send(poison)
            self._world.faults.note(f"poison in {poison.topic}: {poison.name}")
            if poison.topic in CATALOGUE:
                self._good.send_all([self._good_record(poison.topic, n) for n in range(GOOD_EACH)])
            elif poison.topic == IMPRESSIONS:
                self._serve_list()
            time.sleep(PAUSE_SECONDS)

    def show_pictures(self) -> None:
        """Say of each item again what it is, with a picture."""
        self._good.send_all([self._content(item, image_url="https://pictures.example/red") for item in self.items])

    def flush(self) -> None:
        """Wait until the broker has all."""
        assert self._producer.flush(60) == 0

    def close(self) -> None:
        self._good.close()

    def _send(self, poison: Poison) -> None:
        home = partition_of(poison.key or b"", PARTITIONS)
        self._producer.produce(
            self._world.kafka.prefix + poison.topic,
            key=poison.key,
            value=poison.value,
            headers=list(poison.headers),
            partition=(home + 1) % PARTITIONS if poison.misplaced else home,
            on_delivery=partial(self._delivered, poison),
        )
        self._producer.poll(0)

    def _delivered(self, poison: Poison, error: object, message: Any) -> None:
        assert error is None, error
        poisoned = Poisoned(poison.key, poison.value, poison.reason, poison.name)
        self._world.poisoned[poison.topic, message.partition(), message.offset()] = poisoned

    def _good_record(self, topic: str, number: int) -> Outgoing:
        item = f"good {number}"
        if topic == "content":
            self.items.add(item)
            return self._content(item)
        if topic == "availability":
            return _record(topic, item, {"item_id": item, "available": True, "price": 1.0})
        return _record(topic, VICTIM, {"user_id": VICTIM, "interests": ["rivers", f"{self.rounds}"]})

    def _content(self, item: str, **more: Any) -> Outgoing:
        return _record("content", item, {"item_id": item, "title": item, **more})

    def _serve_list(self) -> None:
        self.lists += 1
        served = {"type": "served", "request_id": f"list {self.lists}", "user_id": VICTIM, "timestamp": time.time()}
        line = {"item_id": ITEM, "rank": 1}
        self._good.send_all([_record("impressions", f"u:{VICTIM}", {**served, "items": [line]})])


def _record(topic: str, key: str, value: dict[str, Any]) -> Outgoing:
    return Outgoing(topic, key.encode(), orjson.dumps(value))


@contextmanager
def _catalogue_consumers(world: World, store: VectorStore) -> Iterator[None]:
    """An embedder and an image embedder, in threads; what ends them is trouble."""
    items = world.backend.collections.items
    ensure_image_vectors(store, ColourEncoder.dimension)
    options = world.worker_options()
    kafka = replace(options.kafka, client=dict(options.consumer))
    producer, fetchers = KafkaProducer(world.kafka), ThreadPoolExecutor(1)
    embedder = Embedder(store, TinyEncoder(), producer, Metrics(), items=items)
    imager = ImageEmbedder(
        store,
        ColourEncoder(),
        _fetch,
        bytes.decode,
        lambda *_: None,
        fetchers,
        ImageSettings(enabled=True),
        Metrics(),
        items=items,
    )
    letters = TopicDeadLetterWriter(producer)
    handlers: Mapping[str, Any] = {"embedder": BreakingHandler(embedder), "imager": imager}
    loops: list[ConsumeLoop[Any]] = [
        ConsumeLoop(kafka, LOOP, name, handler.topics, handler, letters) for name, handler in handlers.items()
    ]
    threads = [threading.Thread(target=_guarded(world, loop.run)) for loop in loops]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        for loop, thread in zip(loops, threads, strict=True):
            loop.stop()
            thread.join(30)
        fetchers.shutdown()
        producer.close()


def _guarded(world: World, run: Callable[[], None]) -> Callable[[], None]:
    def guarded() -> None:
        try:
            run()
        except BaseException as error:
            world.trouble.append(f"a consumer ended by itself: {error!r}")

    return guarded


def _fetch(url: str) -> bytes:
    if url.startswith("https://pictures.example/"):
        return url.rpartition("/")[2].encode()
    raise ImageRefused("not_found", "there is no such picture")


# -- what came of it --------------------------------------------------------------------------------------------------


def _has_handled(world: World, group: str, topics: Sequence[str]) -> bool:
    assert not world.trouble, world.trouble
    return all(
        world.committed(group, topic)[partition] >= high
        for topic in topics
        for partition, (_, high) in world.log.bounds(topic).items()
        if high
    )


def _with_pictures(store: VectorStore, world: World, items: set[str]) -> set[str]:
    points = store.retrieve(world.backend.collections.items, [item_point_id(item) for item in items])
    return {
        point.payload["item_id"]
        for point in points.values()
        if (point.payload.get("image") or {}).get("state") == "ready"
    }


def _is_measured(world: World, windows: Windows) -> bool:
    handled = windows.handled()
    return all(
        handled[topic] == sum(high for _, high in world.log.bounds(topic).values())
        for topic in ("impressions", "interactions")
    )
