"""The Faust worker as a process, on the most real Kafka there is: its windows equal a recount of the log, whatever
befalls it."""

from __future__ import annotations

import os
import random
import signal
import time
import uuid
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from tests.insights.worker_process import SETTINGS, Windows, measuring
from tests.support.kafka import KafkaForTest, wait_until
from tests.support.recount import recount

from eddyline.adapters.kafka import (
    DeadLetter,
    EmbeddedBroker,
    KafkaProducer,
    LogReader,
    OffsetAndMetadata,
    Outgoing,
    TopicDeadLetterStore,
    TopicPartition,
    ensure_topics,
)
from eddyline.insights.handler import TOPICS
from eddyline.insights.supervisor import Supervisor
from eddyline.model.events import ImpressionReport, Interaction, ServedItem, ServedList

pytestmark = [pytest.mark.process, pytest.mark.topics()]  # all topics

SLOWLY = 90.0


class App:
    """People who are shown lists and click, seeded."""

    def __init__(self, producer: KafkaProducer, seed: int = 1) -> None:
        self._producer, self._chance = producer, random.Random(seed)
        self.sent: Counter[str] = Counter()

    def use(self, lists: int) -> None:
        records = []
        for _ in range(lists):
            records += self._visit(f"p{self._chance.randrange(30)}")
        self._producer.send_all(records)
        self.sent.update(record.topic for record in records)

    def _visit(self, user: str) -> list[Outgoing]:
        chance, now, request_id = self._chance, time.time(), str(uuid.UUID(int=self._chance.getrandbits(128)))
        items = chance.sample([f"item-{number}" for number in range(40)], 8)
        places = [
            ServedItem(item_id=item, rank=rank, category=f"c{hash(item) % 3}")
            for rank, item in enumerate(items, start=1)
        ]
        said: list[ServedList | ImpressionReport | Interaction] = [
            ServedList(
                request_id=request_id,
                user_id=user,
                surface="home",
                strategy="eddyline",
                experiment="x",
                revision="1",
                variant=f"v{len(user) % 2}",
                items=places,
                timestamp=now,
                took_ms=chance.uniform(1, 30),
            )
        ]
        if chance.random() < 0.5:
            said.append(
                ImpressionReport(request_id=request_id, user_id=user, positions=[1, 2, 3], timestamp=now + 0.001)
            )
        for item in chance.sample(items, chance.randrange(3)):
            event_id = str(uuid.UUID(int=chance.getrandbits(128)))
            named = request_id if chance.random() < 0.7 else None
            said.append(
                Interaction(
                    type=chance.choice(["click", "purchase"]),
                    item_id=item,
                    user_id=user,
                    event_id=event_id,
                    request_id=named,
                    value=2.5,
                    timestamp=now + 0.002,
                )
            )
        return [
            Outgoing(
                "interactions" if isinstance(one, Interaction) else "impressions", f"u:{user}".encode(), one.to_bytes()
            )
            for one in said
        ]


SLOW_TO_RESUME = """
import asyncio
from faust.transport.consumer import Consumer
from eddyline.insights.faust import worker

perform_seek, events = Consumer.perform_seek, worker._events

async def seek_slowly(self):
    await perform_seek(self)
    await asyncio.sleep(2)

async def stop_to_think(stream):
    count = 0
    async for event in events(stream):
        yield event
        count += 1
        if count == 20:
            await asyncio.sleep(4)

Consumer.perform_seek, worker._events = seek_slowly, stop_to_think
"""
"""A worker that is late: Faust has read on when it resumes, and empties the queues."""


def records(kafka: KafkaForTest) -> list[tuple[str, bytes | None, float]]:
    """All that the topics hold."""
    reader = LogReader(kafka.options)
    try:
        return [
            (topic, record.value, record.timestamp / 1000)
            for topic in TOPICS
            for partition, bounds in reader.bounds(topic).items()
            for record in reader.read(topic, partition, *bounds)
        ]
    finally:
        reader.close()


def await_all(app: App, table: Windows) -> None:
    wait_until(lambda: table.handled() == app.sent, "everything is handled", SLOWLY)


@pytest.fixture
def table_topics(kafka: KafkaForTest) -> KafkaForTest:
    ensure_topics(kafka.options)
    return kafka


@pytest.mark.slow(90)
def test_after_kills_at_any_moment_the_windows_equal_a_recount(table_topics: KafkaForTest, tmp_path: Path) -> None:
    kafka = table_topics
    app, chance = App(kafka.producer()), random.Random(7)
    with measuring(kafka, tmp_path) as (worker, table):
        for _ in range(2):
            kill_in_mid_work(app, worker, table, chance)
        await_all(app, table)
        recount(records(kafka), SETTINGS).assert_equal(table.all_cells())
        assert table.total()["clicks"] > 50


def kill_in_mid_work(app: App, worker: Supervisor, table: Windows, chance: random.Random) -> None:
    wait_until(lambda: worker.pid is not None, "a worker runs", SLOWLY)
    victim, before = worker.pid, table.handled().total()
    assert victim is not None
    app.use(100)
    wait_until(lambda: table.handled().total() > before, "it has begun", SLOWLY)
    for _ in range(chance.randrange(5)):
        app.use(5)
    os.kill(victim, signal.SIGKILL)
    wait_until(lambda: worker.pid != victim, "it has ended", SLOWLY)


@pytest.mark.slow(60)
def test_compressed_batches_of_every_codec_are_measured(table_topics: KafkaForTest, tmp_path: Path) -> None:
    kafka, sent = table_topics, Counter[str]()
    with measuring(kafka, tmp_path) as (worker, table):
        for seed, codec in enumerate(("gzip", "lz4", "snappy", "zstd")):
            options = replace(kafka.options, client={**kafka.options.client, "compression.type": codec})
            producer = KafkaProducer(options)
            app = App(producer, seed)
            app.use(20)
            producer.close()
            sent += app.sent
        wait_until(lambda: table.handled() == sent, "all of them are handled", SLOWLY)
        worker.check()


@pytest.mark.slow(60)
def test_a_worker_that_lost_its_disk_goes_on_from_the_changelog(real_kafka: KafkaForTest, tmp_path: Path) -> None:
    ensure_topics(real_kafka.options)
    app = App(real_kafka.producer())
    for life in ("first", "second"):
        with measuring(real_kafka, tmp_path / life) as (_, table):
            app.use(50)
            await_all(app, table)
    recount(records(real_kafka), SETTINGS).assert_equal(table.all_cells())


@pytest.mark.extended  # two workers start
@pytest.mark.slow(90)
def test_what_was_committed_and_not_counted_is_read_again(table_topics: KafkaForTest, tmp_path: Path) -> None:
    kafka = table_topics
    app = App(kafka.producer())
    with measuring(kafka, tmp_path) as (_, table):
        app.use(40)
        await_all(app, table)
    app.use(40)
    reader = LogReader(kafka.options)
    try:
        ends = {
            TopicPartition(topic, partition): OffsetAndMetadata(bounds.high, "")
            for topic in TOPICS
            for partition, bounds in reader.bounds(topic).items()
        }
        reader.commit("insights", ends)
    finally:
        reader.close()
    with measuring(kafka, tmp_path) as (_, table):
        app.use(20)  # what the committed offsets lead to
        await_all(app, table)
        recount(records(kafka), SETTINGS).assert_equal(table.all_cells())
        assert table.count("missed") == 0


@pytest.mark.extended  # twenty seconds
@pytest.mark.slow(300)
def test_what_came_before_the_streams_resumed_is_read_again(real_kafka: KafkaForTest, tmp_path: Path) -> None:
    ensure_topics(real_kafka.options)
    app = App(real_kafka.producer())
    with measuring(real_kafka, tmp_path / "one") as (_, table):
        app.use(10)
        await_all(app, table)
    app.use(500)
    with measuring(real_kafka, tmp_path / "two", SLOW_TO_RESUME) as (_, table):
        await_all(app, table)
        assert table.count("missed") == 0
        recount(records(real_kafka), SETTINGS).assert_equal(table.all_cells())


@pytest.mark.extended  # three workers start
@pytest.mark.slow(90)
def test_two_workers_share_the_partitions_and_hand_them_over(real_kafka: KafkaForTest, tmp_path: Path) -> None:
    ensure_topics(real_kafka.options)
    app = App(real_kafka.producer())
    with measuring(real_kafka, tmp_path / "one") as (first, table):
        app.use(60)
        wait_until(lambda: table.handled().total() > 0, "the first has begun", SLOWLY)
        with measuring(real_kafka, tmp_path / "two"):
            for _ in range(10):
                app.use(20)
                await_all(app, table)
        app.use(20)  # the second leaves in order, the first goes on alone
        await_all(app, table)
        recount(records(real_kafka), SETTINGS).assert_equal(table.all_cells())
        assert first.pid is not None


@pytest.mark.slow(90)
@pytest.mark.parametrize(
    "is_kept",
    [pytest.param(True, id="with its log"), pytest.param(False, id="without it", marks=pytest.mark.extended)],
)
def test_what_was_measured_outlives_the_embedded_broker(tmp_path: Path, is_kept: bool) -> None:
    """And so do lists: what people do in the second life may come from a list of the first. Before there was a log
    that outlived the process, the tables did so alone."""
    log: list[tuple[str, bytes | None, float]] = []
    for life in (1, 2):
        broker = EmbeddedBroker(tmp_path / ("log" if is_kept else f"log-{life}"))
        kafka = KafkaForTest("in-process", broker.options)
        app = App(kafka.producer(), seed=life)
        if is_kept and log:
            app.sent.update(topic for topic, _, _ in log)
        try:
            with measuring(kafka, tmp_path) as (_, table):
                if log:
                    wait_until(lambda: table.total()["requests"] == 50, "what was there is there again", SLOWLY)
                app.use(50)
                await_all(app, table)
                log = records(kafka) if is_kept else [*log, *records(kafka)]
                recount(log, SETTINGS).assert_equal(table.all_cells())
        finally:
            for producer in kafka.producers:
                producer.close()
            broker.close()


@pytest.mark.slow(30)
def test_rubbish_becomes_dead_letters_and_the_rest_is_measured(table_topics: KafkaForTest, tmp_path: Path) -> None:
    kafka = table_topics
    app = App(kafka.producer())
    with measuring(kafka, tmp_path) as (_, table):
        kafka.producer().send_all([Outgoing("impressions", b"x", b"{rubbish") for _ in range(200)])
        app.use(20)
        wait_until(lambda: table.total()["requests"] == 20, "the lists are counted", SLOWLY)
        wait_until(lambda: table.count("unreadable") == 200, "the rubbish is counted", SLOWLY)
    box = TopicDeadLetterStore(kafka.options, kafka.producer())
    letters = [each for log in box.logs("impressions") for each in log.read() if isinstance(each, DeadLetter)]
    box.close()
    assert len(letters) == 200
    assert {(letter.reason, letter.record.value) for letter in letters} == {("invalid_event", b"{rubbish")}
