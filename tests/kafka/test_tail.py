"""Following a topic from its beginning, outside any group."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
from confluent_kafka.admin import AdminClient
from structlog.testing import capture_logs
from tests.kafka.loops import numbered
from tests.support.kafka import Cluster, KafkaForTest, start_cluster, wait_until

from eddyline.adapters.kafka import KafkaOptions, Outgoing, Record, TopicTail, ensure_topics
from eddyline.errors import Misconfigured

pytestmark = pytest.mark.topics("verdicts")

TOPIC = "verdicts"
SLOWLY = 60.0


class Followed:
    """What a tail told, and the tail."""

    def __init__(self, options: KafkaOptions, topic: str = TOPIC) -> None:
        self.records: list[Record] = []
        self.tail = TopicTail(options, topic, self.records.append)

    @property
    def values(self) -> list[bytes]:
        return sorted(record.value or b"" for record in self.records)


@contextmanager
def following(options: KafkaOptions, topic: str = TOPIC) -> Iterator[Followed]:
    followed = Followed(options, topic)
    followed.tail.start()
    try:
        yield followed
    finally:
        followed.tail.close()


def verdicts(count: int, start: int = 0) -> list[Outgoing]:
    return [replace(record, topic=TOPIC) for record in numbered(count, start=start)]


def values(records: list[Outgoing]) -> list[bytes]:
    return sorted(record.value or b"" for record in records)


def test_it_tells_what_was_there_and_then_what_comes_in_each_partitions_order(kafka: KafkaForTest) -> None:
    producer = kafka.producer()
    producer.send_all(verdicts(1200))
    with following(kafka.options) as followed:
        wait_until(lambda: followed.tail.caught_up, "it has read what there was")
        assert followed.values == values(verdicts(1200))
        producer.send_all([*verdicts(100, start=1200), Outgoing(TOPIC, b"k", None, (("h", b"\xfe"),), partition=1)])
        wait_until(lambda: len(followed.records) == 1301, "what comes is told")
    offsets = defaultdict(list)
    for record in followed.records:
        offsets[record.partition].append(record.offset)
    assert all(each == list(range(len(each))) for each in offsets.values())
    tombstone = next(record for record in followed.records if record.value is None)
    assert (tombstone.topic, tombstone.partition, tombstone.key, tombstone.headers) == (
        TOPIC,
        1,
        b"k",
        (("h", b"\xfe"),),
    )
    assert {record.log for record in followed.records} == {kafka.log_identity(TOPIC)}


def test_nothing_is_told_once_it_is_closed(kafka: KafkaForTest) -> None:
    with following(kafka.options) as followed:
        wait_until(lambda: followed.tail.caught_up, "an empty topic is read at once")
    kafka.producer().send_all(verdicts(5))
    with following(kafka.options) as another:
        wait_until(lambda: another.tail.caught_up, "the records are there")
    assert (len(followed.records), len(another.records)) == (0, 5)


def test_what_the_callback_cannot_take_is_left_out_and_logged(kafka: KafkaForTest) -> None:
    kafka.producer().send_all(verdicts(3))
    taken: list[Record] = []

    def take(record: Record) -> None:
        if record.value == verdicts(3)[1].value:
            raise ValueError("not that one")
        taken.append(record)

    tail = TopicTail(kafka.options, TOPIC, take)
    with capture_logs() as logged:
        tail.start()
        wait_until(lambda: tail.caught_up, "it has gone on")
        tail.close()
    assert len(taken) == 2
    assert [line["event"] for line in logged] == ["skipped a record"]


def test_a_cluster_that_does_not_answer_is_said_once_and_holds_nobody_up(kafka: KafkaForTest) -> None:
    nowhere = replace(kafka.options, bootstrap_servers="127.0.0.1:1", client={"log_level": "0"})
    with capture_logs() as logged, following(nowhere) as followed:
        wait_until(lambda: logged, "it says that it can't", SLOWLY)
        assert not followed.tail.caught_up
    assert [line["event"] for line in logged] == ["can't follow a topic now; will try again"]


def test_client_settings_that_the_library_does_not_take_are_refused_at_once(kafka: KafkaForTest) -> None:
    with pytest.raises(Misconfigured, match="client settings"):
        Followed(replace(kafka.options, client={"no.such.setting": "1"}))


def test_a_topic_that_is_made_later_is_followed_then(kafka: KafkaForTest) -> None:
    later = replace(kafka.options, prefix=kafka.options.prefix + "later.")
    try:
        with following(later) as followed:
            ensure_topics(later, [TOPIC])
            kafka.producer().send_all([replace(record, topic="later." + TOPIC) for record in verdicts(5)])
            wait_until(lambda: len(followed.records) == 5, "it is found", SLOWLY)
            assert {record.topic for record in followed.records} == {TOPIC}
    finally:
        AdminClient({"bootstrap.servers": later.bootstrap_servers}).delete_topics([later.prefix + TOPIC])


@pytest.fixture
def mortal() -> Iterator[tuple[Cluster, KafkaForTest]]:
    """A Kafka of the test's own, which can be killed without harm to others."""
    cluster = start_cluster()
    try:
        if cluster.kill is None:
            pytest.skip("this Kafka can't be killed")
        kafka = KafkaForTest(cluster.kind, KafkaOptions(cluster.bootstrap_servers))
        ensure_topics(kafka.options, [TOPIC])
        yield cluster, kafka
        for producer in kafka.producers:
            producer.close()
    finally:
        cluster.close()


@pytest.mark.slow(30)
def test_it_goes_on_where_it_was_when_the_broker_comes_back(mortal: tuple[Cluster, KafkaForTest]) -> None:
    cluster, kafka = mortal
    assert cluster.kill is not None
    assert cluster.start is not None
    producer = kafka.producer()
    producer.send_all(verdicts(40))
    with following(kafka.options) as followed:
        wait_until(lambda: followed.tail.caught_up, "it has read what there was")
        cluster.kill()
        early = Followed(kafka.options)
        early.tail.start()
        cluster.start()
        producer.send_all(verdicts(40, start=40))
        wait_until(lambda: len(followed.records) >= 80, "it goes on", SLOWLY)
        wait_until(lambda: len(early.records) >= 80, "so does one that was started meanwhile", SLOWLY)
        early.tail.close()
    assert followed.values == values(verdicts(80)) == early.values
