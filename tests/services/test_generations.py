"""A writer that has not yet noticed that another generation is live writes where it always did."""

from __future__ import annotations

import pytest
from tests.services.profiling import click
from tests.support.fakes import Clock, FakeDeadLetters, FakeProducer, FakeStore, TinyEncoder, feed, record

from eddyline.adapters.kafka import TopicPartition
from eddyline.adapters.telemetry import Metrics
from eddyline.adapters.vectors import Collections, Distance, generations, item_collection, profile_collection
from eddyline.affinity import AffinityLearner
from eddyline.embedder.handler import Embedder
from eddyline.errors import Misconfigured
from eddyline.profiler import Profiler
from eddyline.settings import EventSettings, ProfileSettings

OLD, NEW = Collections("items-1", "profiles-1", "rows-1"), Collections("items-2", "profiles-2", "rows-1")


@pytest.fixture
def store() -> FakeStore:
    """Generation 2 is live; nothing is in either."""
    store = FakeStore()
    store.ensure(item_collection(TinyEncoder.dimension, Distance.COSINE, {}, NEW.items))
    store.ensure(profile_collection(NEW.profiles))
    generations.go_live(store, NEW)
    return store


def embedder(store: FakeStore, items: str, space: str = "tiny-t1") -> Embedder:
    return Embedder(store, TinyEncoder(space), FakeProducer(), Metrics(), Clock(), items=items)


def test_every_writer_keeps_to_the_collections_that_it_was_given(store: FakeStore) -> None:
    made = record("content", "a", {"item_id": "a", "title": "red shoes"}, 0)
    offered = record("availability", "a", {"item_id": "a", "available": True, "price": 3}, 0)
    feed(embedder(store, OLD.items), made, offered)
    came = {"item_id": "a", "weight": 1.0, "timestamp": 1.0, "source": "interactions:0:0", "recents": []}
    learner = AffinityLearner(store, OLD)
    learner.assigned({TopicPartition("activity", 0): 1})
    listing = {"type": "listing", "item_id": "a", "fields": {"meta": {}}}
    feed(learner, record("activity", "a", listing, 0), record("activity", "a", came, 1))
    clock = Clock()
    profiler = Profiler(
        store,
        FakeProducer(),
        FakeDeadLetters(),
        EventSettings(),
        ProfileSettings(),
        1,
        Metrics(),
        clock=clock,
        monotonic=clock,
        collections=OLD,
    )
    profiler.assigned({TopicPartition("interactions", 0): 1})
    feed(profiler, click(0, "a"))
    profiler.tick()
    item = store.scroll(OLD.items)[0][0].payload
    assert item["offer"]["price"] == 3
    assert store.scroll(OLD.rows)[0][0].payload["trend"]["count"] == 1
    assert store.scroll(OLD.profiles)[0][0].payload["events"] == 1
    assert (store.count(NEW.items), store.count(NEW.profiles)) == (0, 0)


def test_an_embedder_of_another_space_than_the_generation_it_is_to_work_on_is_refused(store: FakeStore) -> None:
    feed(embedder(store, OLD.items), record("content", "a", {"item_id": "a", "title": "red shoes"}, 0))
    embedder(store, NEW.items, "other-t1").check_space()
    feed(embedder(store, NEW.items, "other-t1"), record("content", "a", {"item_id": "a", "title": "red shoes"}, 0))
    with pytest.raises(Misconfigured, match="other-t1"):
        embedder(store, NEW.items).check_space()
    embedder(store, OLD.items).check_space()
