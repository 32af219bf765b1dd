"""librdkafka's in-process broker: what it does, and that nobody loses an unread record to it."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from concurrent.futures import Future
from typing import Any

import pytest
from confluent_kafka import Consumer
from confluent_kafka import TopicPartition as KafkaPartition
from confluent_kafka.admin import AdminClient
from tests.kafka.loops import RecordingDeadLetters, RecordingHandler, Running, a_loop, joined, running
from tests.support.kafka import KafkaForTest, wait_until

from eddyline.adapters.kafka import (
    EmbeddedBroker,
    KafkaProducer,
    Outgoing,
    RecordMetadata,
    RetentionGuard,
    TopicPartition,
    log_identities,
)
from eddyline.adapters.kafka import embedded as module
from eddyline.adapters.kafka.retention import BROKER_RETENTION_BYTES, SAFE_BYTES
from eddyline.errors import Misconfigured, Overloaded

INTERACTIONS = TopicPartition("interactions", 0)


def test_a_client_that_asks_for_a_topic_while_the_broker_starts_does_not_hinder_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As one does that an earlier process left behind, on the port that the new broker happens to get."""
    function = module._function

    def hurried(library: Any, name: str, result: Any, *arguments: Any) -> Any:
        found = function(library, name, result, *arguments)
        if name != "rd_kafka_mock_topic_create":
            return found
        address = function(library, "rd_kafka_mock_cluster_bootstraps", ctypes.c_char_p, ctypes.c_void_p)

        def ask_and_create(cluster: Any, topic: bytes, *rest: Any) -> Any:
            admin = AdminClient({"bootstrap.servers": address(cluster).decode()})
            assert topic.decode() in admin.list_topics(topic.decode(), timeout=10).topics
            return found(cluster, topic, *rest)

        return ask_and_create

    monkeypatch.setattr(module, "_function", hurried)
    broker = EmbeddedBroker(topics=["interactions", "users"])
    assert {
        len(
            AdminClient({"bootstrap.servers": broker.options.bootstrap_servers})
            .list_topics(name, timeout=10)
            .topics[name]
            .partitions
        )
        for name in ("interactions", "users")
    } == {4}
    broker.close()


@pytest.fixture
def broker() -> Iterator[EmbeddedBroker]:
    it = EmbeddedBroker(prefix="x.")
    yield it
    it.close()


@pytest.fixture
def guarded(broker: EmbeddedBroker) -> Iterator[KafkaProducer]:
    it = KafkaProducer(broker.options, broker.guard)
    yield it
    it.close()


def watermarks(broker: EmbeddedBroker, topic: str, partition: int = 0) -> tuple[int, int]:
    consumer = Consumer({"bootstrap.servers": broker.options.bootstrap_servers, "group.id": "watching"})
    found: tuple[int, int] = consumer.get_watermark_offsets(
        KafkaPartition(broker.options.prefix + topic, partition), timeout=10
    )
    consumer.close()
    return found


def test_the_broker_drops_the_oldest_beyond_five_mebibytes(broker: EmbeddedBroker) -> None:
    """If this fails, librdkafka has another limit: `BROKER_RETENTION_BYTES` and `SAFE_BYTES` must follow it."""
    producer = KafkaProducer(broker.options)
    value = b"x" * 10_000

    def fill(size: int) -> None:
        for _ in range(size // len(value)):
            producer.send_all([Outgoing("interactions", b"", value, partition=0)])

    fill(BROKER_RETENTION_BYTES - 100_000)
    assert watermarks(broker, "interactions")[0] == 0
    fill(200_000)
    assert watermarks(broker, "interactions")[0] > 0
    producer.close()


@pytest.mark.slow(15)
@pytest.mark.parametrize("size", [0, 100, 10_000, 900_000])
def test_nothing_unread_is_dropped_when_it_is_filled_through_the_guard(
    broker: EmbeddedBroker, guarded: KafkaProducer, size: int
) -> None:
    broker.guard.subscribe("readers", ["interactions"])
    headers = (("h", b""),)
    record = Outgoing("interactions", b"k", b"x" * size, headers, partition=0)
    futures: list[Future[RecordMetadata]] = []

    def fill() -> None:
        while True:
            futures.append(guarded.send(record))
            if len(futures) % 3 == 0:  # some batches of one record, some of more
                futures[-1].result(timeout=10)

    with pytest.raises(Overloaded, match="readers"):
        fill()
    for future in futures:
        future.result(timeout=10)
    assert watermarks(broker, "interactions") == (0, len(futures))
    assert len(futures) * (size + 120) > SAFE_BYTES - 1_000_000, "it is not too cautious"


def test_reading_makes_room_and_everything_arrives(broker: EmbeddedBroker, guarded: KafkaProducer) -> None:
    kafka = KafkaForTest("in-process", broker.options, broker.guard)
    handler = RecordingHandler()
    loop = a_loop(kafka, handler)  # subscribed from here on
    count = 3 * BROKER_RETENTION_BYTES // 20_000
    sent = [Outgoing("interactions", b"k", b"%06d" % n + b"x" * 20_000, partition=0) for n in range(count)]

    def send_unread() -> None:
        for record in sent:
            guarded.send(record)

    with pytest.raises(Overloaded):
        send_unread()
    with running(loop):
        guarded.send_all(sent)
        wait_until(lambda: [r.value for r in handler.handled[-count:]] == [r.value for r in sent], "all arrive")
        wait_until(lambda: broker.guard.unread_bytes(INTERACTIONS) == 0, "nothing is unread")
    assert [record.offset for record in handler.handled] == list(range(len(handler.handled)))


def test_the_slowest_group_counts() -> None:
    guard = RetentionGuard(limit=100)
    guard.subscribe("quick", ["interactions"])
    guard.subscribe("slow", ["interactions"])
    for offset in range(4):
        guard.reserve(INTERACTIONS, 25)
        guard.acknowledged(INTERACTIONS, offset, 25)
    guard.committed("quick", INTERACTIONS, 4)
    with pytest.raises(Overloaded, match="slow"):
        guard.reserve(INTERACTIONS, 1)
    guard.committed("slow", INTERACTIONS, 2)
    guard.reserve(INTERACTIONS, 50)
    with pytest.raises(Overloaded):
        guard.reserve(INTERACTIONS, 1)
    guard.release(INTERACTIONS, 50)
    guard.reserve(INTERACTIONS, 50)


def test_a_group_that_reads_no_more_holds_nothing_back() -> None:
    guard = RetentionGuard(limit=100)
    guard.subscribe("gone", ["interactions"])
    guard.subscribe("reading", ["interactions"])
    for offset in range(4):
        guard.reserve(INTERACTIONS, 25)
        guard.acknowledged(INTERACTIONS, offset, 25)
    guard.committed("reading", INTERACTIONS, 3)
    assert guard.unread_bytes(INTERACTIONS) == 100
    guard.unsubscribe("gone")
    assert guard.unread_bytes(INTERACTIONS) == 25
    guard.committed("gone", INTERACTIONS, 1)
    guard.reserve(INTERACTIONS, 75)
    with pytest.raises(Overloaded, match="that reading must read"):
        guard.reserve(INTERACTIONS, 1)
    guard.unsubscribe("reading")
    guard.reserve(INTERACTIONS, 1000)
    assert guard.unread_bytes(INTERACTIONS) == 0


def test_a_commit_may_come_before_the_acknowledgement_and_those_in_any_order() -> None:
    guard = RetentionGuard(limit=100)
    guard.subscribe("readers", ["interactions"])
    for _ in range(3):
        guard.reserve(INTERACTIONS, 30)
    guard.acknowledged(INTERACTIONS, 2, 30)
    guard.committed("readers", INTERACTIONS, 2)
    guard.acknowledged(INTERACTIONS, 1, 30)
    guard.acknowledged(INTERACTIONS, 0, 30)
    assert guard.unread_bytes(INTERACTIONS) == 30
    guard.committed("readers", INTERACTIONS, 3)
    assert guard.unread_bytes(INTERACTIONS) == 0


def test_more_is_expected_until_what_waits_is_written() -> None:
    guard = RetentionGuard(limit=100)
    guard.subscribe("readers", ["interactions"])
    assert not guard.expects(INTERACTIONS)
    guard.defer(INTERACTIONS)
    assert guard.expects(INTERACTIONS)
    guard.reserve_deferred(INTERACTIONS, 90)
    with pytest.raises(Overloaded, match="must read first"):
        guard.reserve_deferred(INTERACTIONS, 90)
    guard.written(INTERACTIONS, 1)
    assert guard.expects(INTERACTIONS), "it is on its way"
    guard.acknowledged(INTERACTIONS, 0, 90)
    assert not guard.expects(INTERACTIONS)
    assert not guard.expects(TopicPartition("interactions", 1))


def test_a_loop_is_not_drained_while_more_is_expected(broker: EmbeddedBroker) -> None:
    handler = RecordingHandler()
    loop = a_loop(KafkaForTest("in-process", broker.options, broker.guard), handler)
    broker.guard.defer(INTERACTIONS)
    loop.stop(drain=True, deadline_seconds=60)
    it = Running(loop)
    wait_until(lambda: handler.owned and handler.ticks > 5, "it goes on, though its log is empty")
    assert it.alive
    broker.guard.written(INTERACTIONS, 1)
    assert it.ended() is None


def test_a_topic_that_nobody_reads_is_not_limited(broker: EmbeddedBroker, guarded: KafkaProducer) -> None:
    for _ in range(8):
        guarded.send_all([Outgoing("impressions", b"k", b"x" * 900_000, partition=0)])
    assert watermarks(broker, "impressions")[0] > 0


@pytest.mark.slow(10)
def test_each_broker_has_an_identity_of_its_own(broker: EmbeddedBroker) -> None:
    other = EmbeddedBroker()
    assert broker.log_identity != other.log_identity
    identities = log_identities(broker.options, ["users", "content"])
    assert all(broker.log_identity in identity for identity in identities.values())
    assert identities["users"] != identities["content"]
    other.close()


def test_it_makes_as_many_partitions_as_asked() -> None:
    broker = EmbeddedBroker(partitions=7)
    kafka = KafkaForTest("in-process", broker.options, broker.guard)
    loop = a_loop(kafka, RecordingHandler())
    with running(loop):
        joined(loop, 7)
    broker.close()


@pytest.mark.slow(10)
def test_without_the_mock_api_it_still_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object) -> None:
        raise AttributeError("rd_kafka_mock_topic_create")

    monkeypatch.setattr(module, "_TunedCluster", missing)
    broker = EmbeddedBroker()
    kafka = KafkaForTest("in-process", broker.options, broker.guard)
    producer, handler = KafkaProducer(broker.options, broker.guard), RecordingHandler()
    with running(a_loop(kafka, handler, dead_letters=RecordingDeadLetters())):
        producer.send_all([Outgoing("interactions", b"k", b"1")])
        wait_until(lambda: handler.values == ["1"], "it arrives")
    producer.close()
    broker.close()
    with pytest.raises(Misconfigured, match="4 partitions"):
        EmbeddedBroker(partitions=7)
