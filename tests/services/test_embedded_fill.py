"""The in-process broker keeps 5 MiB a partition and drops the oldest beyond. Filled to the brim, it loses nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import httpx
import pytest
from tests.kafka.loops import QUICK, RecordingDeadLetters, RecordingHandler, Running, a_loop, running
from tests.services.learning import row_point
from tests.services.profiling import Profiling
from tests.services.serving import problem, served
from tests.support.fakes import FakeStore
from tests.support.kafka import KafkaForTest, wait_until

from eddyline.adapters.kafka import (
    ConsumeLoop,
    EmbeddedBroker,
    FeedbackProducer,
    Handler,
    KafkaProducer,
    Outgoing,
    TopicPartition,
    partition_of,
)
from eddyline.adapters.kafka.retention import SAFE_BYTES
from eddyline.adapters.telemetry import Metrics
from eddyline.adapters.vectors import ROWS
from eddyline.affinity import AffinityLearner
from eddyline.collector.api import Collector
from eddyline.errors import Overloaded
from eddyline.model.events import Activity
from eddyline.model.ids import item_point_id
from eddyline.settings import EventSettings, ServerSettings

PARTITIONS = 4


@pytest.fixture
def broker() -> Iterator[EmbeddedBroker]:
    it = EmbeddedBroker()
    yield it
    it.close()


@pytest.fixture
def producer(broker: EmbeddedBroker) -> Iterator[KafkaProducer]:
    it = KafkaProducer(broker.options, broker.guard, delivery_seconds=1.0)
    yield it
    it.close()


@contextmanager
def intake(producer: KafkaProducer) -> Iterator[httpx.Client]:
    with served(Collector(producer, EventSettings(), ServerSettings(), Metrics()).router()) as client:
        yield client


def bulk(kilobytes: int) -> dict[str, str]:
    """A context of that size."""
    return {f"k{n}": "x" * 1000 for n in range(kilobytes)}


def some_events(n: int) -> tuple[str, str, Any]:
    events = [
        {"type": "click", "item_id": "i", "user_id": f"p{n % 13}", "event_id": f"e{n}-{m}", "context": bulk(7)}
        for m in range(70)
    ]
    return "POST", "/v1/events", {"events": events}


def an_item(n: int) -> tuple[str, str, Any]:
    return "PUT", f"/v1/items/i{n}", {"title": "t", "description": "x" * 90_000}


def a_user(n: int) -> tuple[str, str, Any]:
    return "PUT", f"/v1/users/u{n}", {name: ["🎬" * 250] * 100 for name in ("interests", "goals")}


@pytest.mark.slow(10)
@pytest.mark.parametrize(
    ("topic", "say"),
    [("interactions", some_events), ("content", an_item), ("users", a_user)],
    ids=["interactions", "content", "users"],
)
def test_what_is_acknowledged_over_http_until_it_is_full_is_all_read_once(
    broker: EmbeddedBroker, producer: KafkaProducer, topic: str, say: Any
) -> None:
    reader = RecordingHandler()
    stopped = a_loop(KafkaForTest("in-process", broker.options, broker.guard), reader, topics=(topic,))
    acknowledged: Counter[str] = Counter()
    refusals = 0
    with intake(producer) as client:
        for number in range(100_000):
            method, path, body = say(number)
            answer = client.request(method, path, json=body)
            said = answer.json()
            if answer.status_code == 202:
                acknowledged.update(said["ids"])
            else:
                refusals += 1
                problem(answer, 503)
                assert answer.headers["retry-after"] == "1"
                assert "readers must read first" in said["detail"]
                acknowledged.update(said["acknowledged"])
            if refusals == 50:  # by then every partition has been tried
                break
    unread = [broker.guard.unread_bytes(TopicPartition(topic, number)) for number in range(PARTITIONS)]
    assert max(unread) > 0.95 * SAFE_BYTES, "it is full"
    with running(stopped):
        wait_until(lambda: len(reader.handled) >= acknowledged.total(), "all are read")
        wait_until(lambda: sum(stopped.lag().values()) == 0, "and there is nothing else")
    assert (
        Counter(
            dict(record.headers)["ce_id"].decode() if topic == "interactions" else (record.key or b"").decode()
            for record in reader.handled
        )
        == acknowledged
    )
    assert set(acknowledged.values()) == {1}
    for number in range(PARTITIONS):
        offsets = [record.offset for record in reader.handled if record.partition == number]
        assert offsets == list(range(len(offsets))), "nothing was dropped"


# -- what the services send each other ---------------------------------------------------------------------------------


def a_consumer(broker: EmbeddedBroker, group: str, handler: Handler[Any]) -> ConsumeLoop[Any]:
    """Its group holds what it hasn't read from now on."""
    topics: tuple[str, ...] = handler.topics  # type: ignore[attr-defined]
    settings = replace(QUICK, batch_size=200)
    return ConsumeLoop(broker.options, settings, group, topics, handler, RecordingDeadLetters(), guard=broker.guard)


FILLERS = {partition_of(f"filler{n}".encode(), PARTITIONS): f"filler{n}" for n in range(8 * PARTITIONS)}
"""An item for each partition."""


def fill(producer: KafkaProducer, recents: list[str]) -> None:
    """Write copies of an activity to every partition until there is no room."""
    for item in FILLERS.values():
        filler = Activity(item_id=item, recents=recents, weight=1, timestamp=1, source="log:0:0")
        with pytest.raises(Overloaded):
            fill_one(producer, Outgoing("activity", item.encode(), filler.to_bytes()))


def fill_one(producer: KafkaProducer, record: Outgoing) -> None:
    while True:
        producer.send(record).result(10)


def counts(store: FakeStore, *items: str) -> list[int]:
    """How often each item was counted."""
    points = store.retrieve(ROWS, [item_point_id(item) for item in items], payload=("trend",))
    return [points[item_point_id(item)].payload.get("trend", {}).get("count", 0) for item in items]


@pytest.mark.slow(10)
def test_a_profiler_waits_while_activity_is_full_and_goes_on_as_it_is_read(
    broker: EmbeddedBroker, producer: KafkaProducer
) -> None:
    it = Profiling(partitions=PARTITIONS)
    it.producer = producer  # type: ignore[assignment]
    it.profiler = it.new_profiler()
    assert sorted(FILLERS) == list(range(PARTITIONS))
    it.add_items("a", "b", *FILLERS.values())
    it.store.upsert(ROWS, [row_point(item) for item in ("a", "b", *FILLERS.values())])
    profiler = a_consumer(broker, "profiler", it.profiler)
    affinity = a_consumer(broker, "affinity", AffinityLearner(it.store, partitions=PARTITIONS))
    people = [f"p{number}" for number in range(40)]
    clicks = [
        Outgoing(
            "interactions",
            f"u:{user}".encode(),
            b'{"type":"click","item_id":"%s","user_id":"%s","timestamp":1}' % (item, user.encode()),
        )
        for item in (b"a", b"b")
        for user in people
    ]
    for recents in (["x" * 500] * 40, []):  # the small ones for the room that a large one doesn't fit into
        fill(producer, recents)
    producer.send_all(clicks)
    waiting = Running(profiler)
    wait_until(lambda: profiler.status().attempts > 0, "it can't send")
    assert "affinity must read first" in (profiler.status().problem or "")
    assert not any(it.knows(f"u:{user}") for user in people), "nothing is written of what isn't acknowledged"
    with running(affinity):
        wait_until(lambda: counts(it.store, "a", "b") == [40, 40], "all came through, once")
        assert waiting.alive
        wait_until(lambda: sum(profiler.lag().values()) == 0 == sum(affinity.lag().values()), "nothing is left")
        profiler.stop()
        assert waiting.ended() is None
    assert counts(it.store, "a", "b", *FILLERS.values()) == [40, 40, *[1] * PARTITIONS]
    assert all(it.stored(f"u:{user}").events == 2 for user in people)


@pytest.mark.slow(20)
def test_a_profiler_that_passes_on_goes_on_while_its_own_topic_is_full(
    broker: EmbeddedBroker, producer: KafkaProducer
) -> None:
    it = Profiling(partitions=PARTITIONS)
    own = it.producer = FeedbackProducer(broker.options, broker.guard, "interactions")  # type: ignore[assignment]
    it.profiler = it.new_profiler()
    it.add_items("a")
    profiler = a_consumer(broker, "profiler", it.profiler)
    activity = a_consumer(broker, "affinity", AffinityLearner(it.store, partitions=PARTITIONS))
    visitors = range(40)
    sent: Counter[str] = Counter()
    with intake(producer) as client:
        known = [{"type": "identify", "anonymous_id": f"v{n}", "user_id": f"p{n}"} for n in visitors]
        assert client.post("/v1/events", json={"events": known}).status_code == 202
        refusals = 0
        while refusals < 200:  # what they do from now on is passed on, whole
            for n in visitors:
                event = {"type": "click", "item_id": "a", "anonymous_id": f"v{n}", "context": bulk(7)}
                answer = client.post("/v1/events", json=event)
                refusals += answer.status_code == 503
                sent[f"p{n}"] += answer.status_code == 202
        assert sent.total() > 500
        profiler.stop(drain=True)
        with running(activity):
            assert Running(profiler).ended(60) is None, "all that it passed on to itself is drained, too"
    own.close()
    assert {f"p{n}": it.stored(f"u:p{n}").events for n in visitors} == sent
    assert it.metric("eddyline_profiler_repeated_total", by="origin") == 0


def test_nobody_else_writes_while_what_was_passed_on_waits_for_room(
    broker: EmbeddedBroker, producer: KafkaProducer
) -> None:
    reader = RecordingHandler()
    loop = a_loop(KafkaForTest("in-process", broker.options, broker.guard), reader)
    own = FeedbackProducer(broker.options, broker.guard, "interactions")
    record = Outgoing("interactions", b"u:1", b"x" * 100_000)
    with pytest.raises(Overloaded, match="readers must read first"):
        fill_one(producer, record)
    own.send_all([replace(record, value=b"%03d" % number) for number in range(500)])  # small, and behind one that waits
    own.send_all([replace(record, value=b"y" * 500_000)])
    own.send_all([replace(record, value=b"last")])
    elsewhere = replace(record, partition=(partition_of(b"u:1", PARTITIONS) + 1) % PARTITIONS)
    with pytest.raises(Overloaded, match="forwarded must go to interactions first"):
        producer.send(elsewhere)
    producer.send(replace(record, topic="users")).result(10)
    with running(loop):
        wait_until(lambda: reader.values[-1:] == ["last"], "all are read")
        producer.send_all([elsewhere])
    passed_on = [value for value in reader.values if not value.startswith("x")]
    assert passed_on == [*(f"{number:03d}" for number in range(500)), "y" * 500_000, "last"], "in order, once"
    own.close()
