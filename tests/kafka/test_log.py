"""Reading a log between fixed offsets, and what groups have committed of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from itertools import zip_longest

import pytest
from confluent_kafka import Producer
from tests.kafka.loops import RecordingHandler, a_loop, joined, numbered, running
from tests.support.kafka import KafkaForTest, wait_until

from eddyline.adapters.kafka import LogReader, OffsetAndMetadata, Outgoing, Record, TopicPartition, Watermarks
from eddyline.errors import Misconfigured, Unavailable

pytestmark = pytest.mark.topics("users", "interactions")


@pytest.fixture
def reader(kafka: KafkaForTest) -> Iterator[LogReader]:
    with closing(LogReader(kafka.options)) as it:
        yield it


def on(partition: int, count: int, start: int = 0) -> list[Outgoing]:
    return [Outgoing("users", b"k", b"%d" % n, partition=partition) for n in range(start, start + count)]


def test_a_topic_is_read_between_two_offsets(kafka: KafkaForTest, reader: LogReader) -> None:
    kafka.producer().send_all([*on(1, 1200), Outgoing("users", b"k", None, (("h", b"\xfe"),), partition=1)])
    assert reader.bounds("users") == {partition: Watermarks(0, 1201 * (partition == 1)) for partition in range(4)}
    read = list(reader.read("users", 1, 5, 1199))
    assert [record.offset for record in read] == list(range(5, 1199))
    (last,) = reader.read("users", 1, 1200, 1201)
    assert (last.topic, last.partition, last.key, last.value) == ("users", 1, b"k", None)
    assert (last.headers, last.log) == ((("h", b"\xfe"),), kafka.log_identity("users"))
    assert last.timestamp > 1_700_000_000_000
    assert list(reader.read("users", 0, 0, 0)) == []


def test_partitions_are_read_in_turns_while_the_log_goes_on_growing(kafka: KafkaForTest, reader: LogReader) -> None:
    producer = kafka.producer()
    producer.send_all(on(0, 700) + on(1, 900))
    bounds = reader.bounds("users")
    turns: list[tuple[Record | None, ...]] = []
    for pair in zip_longest(*(reader.read("users", partition, *bounds[partition]) for partition in (0, 1))):
        if len(turns) == 100:
            producer.send_all(on(0, 50) + on(1, 50))
        turns.append(pair)
    assert [record.offset for record, _ in turns if record] == list(range(700))
    assert [record.offset for _, record in turns if record] == list(range(900))


@pytest.mark.slow(10)
def test_reading_ends_where_an_aborted_transaction_leaves_a_gap(real_kafka: KafkaForTest, reader: LogReader) -> None:
    topic = real_kafka.options.prefix + "users"
    config = {"bootstrap.servers": real_kafka.options.bootstrap_servers, "transactional.id": topic}
    producer = Producer(config)
    producer.init_transactions(20)
    for value, finish in ((b"kept", producer.commit_transaction), (b"aborted", producer.abort_transaction)):
        producer.begin_transaction()
        for _ in range(3):
            producer.produce(topic, value, b"k", partition=2)
        producer.flush(20)
        finish(20)
    wait_until(lambda: reader.bounds("users")[2] == Watermarks(0, 8), "both markers are written")
    assert [(record.offset, record.value) for record in reader.read("users", 2, 0, 8)] == [
        (offset, b"kept") for offset in range(3)
    ]
    assert list(reader.read("users", 2, 4, 7)) == []


@pytest.mark.slow(10)
def test_a_cluster_that_stops_answering_is_unavailable(kafka: KafkaForTest) -> None:
    kafka.producer().send_all(on(0, 3))
    reader = LogReader(kafka.options, patience_seconds=0.5)
    reading = reader.read("users", 0, 0, 4)
    assert [next(reading).offset for _ in range(3)] == [0, 1, 2]
    with pytest.raises(Unavailable, match="nothing more of users 0"):
        next(reading)
    reader.close()
    nowhere = LogReader(replace(kafka.options, bootstrap_servers="127.0.0.1:1"), patience_seconds=0.5)
    for ask in (lambda: nowhere.bounds("users"), lambda: nowhere.committed("readers", "users")):
        with pytest.raises(Unavailable):
            ask()
    nowhere.close()


def test_a_topic_that_does_not_exist_is_named(kafka: KafkaForTest, reader: LogReader) -> None:
    with pytest.raises(Misconfigured, match="nowhere doesn't exist: run `eddyline init`"):
        reader.bounds("nowhere")


@pytest.mark.slow(10)
def test_a_group_without_members_is_moved_and_goes_on_there(kafka: KafkaForTest, reader: LogReader) -> None:
    kafka.producer().send_all(numbered(40))
    assert reader.committed("readers", "interactions") == dict.fromkeys(range(4))
    ends = {partition: bounds.high for partition, bounds in reader.bounds("interactions").items()}
    wanted = {n: OffsetAndMetadata(max(0, ends[n] - 2), '{"epoch":7}') for n in ends}
    reader.commit("readers", {TopicPartition("interactions", n): position for n, position in wanted.items()})
    assert reader.committed("readers", "interactions") == wanted
    assert reader.committed("others", "interactions") == dict.fromkeys(range(4))
    left = sum(ends[n] - wanted[n].offset for n in ends)
    handler = RecordingHandler()
    with running(a_loop(kafka, handler)):
        wait_until(lambda: len(handler.handled) == left, "the rest is handled")
    assert {(record.partition, record.offset) for record in handler.handled} == {
        (n, offset) for n in ends for offset in range(wanted[n].offset, ends[n])
    }


def test_a_group_with_members_is_left_alone(kafka: KafkaForTest, reader: LogReader) -> None:
    move = {TopicPartition("interactions", 0): OffsetAndMetadata(0, "")}
    assert reader.members("readers") == 0
    loop = a_loop(kafka, RecordingHandler())
    with running(loop):
        joined(loop)
        assert reader.members("readers") == 1
        with pytest.raises(Misconfigured, match=r"group readers has members.*stop them"):
            reader.commit("readers", move)
    wait_until(lambda: reader.members("readers") == 0, "the member has left")
    reader.commit("readers", move)
    committed = reader.committed("readers", "interactions")[0]
    assert committed == OffsetAndMetadata(0, "")
