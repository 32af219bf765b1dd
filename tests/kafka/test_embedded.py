"""The embedded broker: Kafka's protocol on a log that outlives the process."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from confluent_kafka import Consumer
from confluent_kafka import TopicPartition as KafkaPartition
from tests.kafka.loops import RecordingHandler, a_loop, running
from tests.support.kafka import KafkaForTest, wait_until

from eddyline.adapters.kafka import (
    EmbeddedBroker,
    GatedProducer,
    KafkaProducer,
    LogReader,
    OffsetAndMetadata,
    Outgoing,
    TopicPartition,
    log_identities,
    open_embedded_log,
)
from eddyline.errors import Misconfigured, Overloaded, Unavailable

INTERACTIONS = TopicPartition("interactions", 0)


def numbered(count: int, start: int = 0) -> list[Outgoing]:
    return [Outgoing("interactions", b"k", b"%d" % number, partition=0) for number in range(start, start + count)]


def send(broker: EmbeddedBroker, records: list[Outgoing]) -> list[int]:
    with closing(KafkaProducer(broker.options)) as producer:
        return [sent.offset for sent in producer.send_all(records)]


def test_a_group_goes_on_where_it_committed_in_the_same_log(tmp_path: Path) -> None:
    lives: list[RecordingHandler] = []
    identities = set()
    for life in range(3):
        with closing(EmbeddedBroker(tmp_path / "log")) as broker:
            identities.add(log_identities(broker.options, ["interactions"])["interactions"])
            assert send(broker, numbered(5, 5 * life)) == [5 * life + n for n in range(5)]
            lives.append(RecordingHandler())
            if life == 1:
                continue  # nobody reads
            with running(a_loop(KafkaForTest("in-process", broker.options), lives[-1])):
                wait_until(lambda: lives[-1].values[-1:] == [str(5 * life + 4)], "all is read")  # noqa: B023
    assert lives[2].values == [str(number) for number in range(5, 15)]
    assert len(identities) == 1


def test_a_burst_that_nobody_reads_yet_is_taken_in_and_worked_off(embedded: EmbeddedBroker) -> None:
    records = [Outgoing("interactions", b"k", b"%06d" % n + b"x" * 20_000, partition=0) for n in range(1_000)]
    send(embedded, records)
    handler = RecordingHandler()
    with running(a_loop(KafkaForTest("in-process", embedded.options), handler)):
        wait_until(lambda: len(handler.handled) == len(records), "all is read", 60)
    assert [record.value for record in handler.handled] == [record.value for record in records]


def test_it_has_the_partitions_that_are_asked_for_and_a_number_that_changed_is_refused(tmp_path: Path) -> None:
    with (
        closing(EmbeddedBroker(tmp_path / "log", partitions=7)) as broker,
        closing(LogReader(broker.options)) as reader,
    ):
        assert sorted(reader.bounds("interactions")) == list(range(7))
    with pytest.raises(Misconfigured, match="partitions is 7, must be 4"):
        EmbeddedBroker(tmp_path / "log")


def test_each_broker_without_a_directory_has_a_log_of_its_own(embedded: EmbeddedBroker) -> None:
    with closing(EmbeddedBroker()) as other:
        topics = ["interactions", "content"]
        known = [*log_identities(embedded.options, topics).values(), *log_identities(other.options, topics).values()]
        assert len(set(known)) == 4


def test_a_forgotten_group_begins_anew(embedded: EmbeddedBroker) -> None:
    send(embedded, numbered(3))
    with closing(LogReader(embedded.options)) as reader:
        reader.commit("gone", {INTERACTIONS: OffsetAndMetadata(2, "")})
        assert reader.committed("gone", "interactions")[0] == OffsetAndMetadata(2, "")
        embedded.forget_group("gone")
        assert reader.committed("gone", "interactions")[0] is None


def test_a_time_is_found_in_the_log(embedded: EmbeddedBroker) -> None:
    send(embedded, numbered(3))
    consumer = Consumer({"bootstrap.servers": embedded.options.bootstrap_servers, "group.id": "looking"})
    (from_the_start,) = consumer.offsets_for_times([KafkaPartition("interactions", 0, 0)], timeout=10)
    (never,) = consumer.offsets_for_times([KafkaPartition("interactions", 0, 2**40 * 1000)], timeout=10)
    consumer.close()
    assert from_the_start.offset == 0
    assert never.offset < 0


def test_its_log_is_reached_through_whoever_has_it_open(tmp_path: Path) -> None:
    directory = tmp_path / "log"
    with closing(EmbeddedBroker(directory)) as broker:
        send(broker, numbered(3))
        with open_embedded_log(directory, rewinds=False) as options:
            assert options.bootstrap_servers == broker.options.bootstrap_servers
    with open_embedded_log(directory, rewinds=False) as options, closing(LogReader(options)) as reader:
        assert reader.bounds("interactions")[0].high == 3
    with (
        pytest.raises(Misconfigured, match="`eddyline up` makes one"),
        open_embedded_log(tmp_path / "no" / "log", False),
    ):
        pass


def test_while_the_log_takes_nothing_intake_is_refused_with_the_reason(tmp_path: Path) -> None:
    with closing(EmbeddedBroker(tmp_path / "log", max_bytes=1)) as broker:
        producer = GatedProducer(KafkaProducer(broker.options), broker.gate)
        wait_until(lambda: broker.gate.reason is not None, "it is over its bound")
        with pytest.raises(Overloaded, match=r"holds [\d,]+ bytes, its bound \(journal.max_bytes\)"):
            producer.send(numbered(1)[0])
        with pytest.raises(Overloaded):
            producer.send_all(numbered(1))
        with pytest.raises(Unavailable, match=r"journal\.max_bytes"):
            producer.check()
        producer.close()


@pytest.fixture
def connection(embedded: EmbeddedBroker) -> Iterator[socket.socket]:
    host, _, port = embedded.options.bootstrap_servers.partition(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        yield connection


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"\0",
        struct.pack(">hhih", 99, 0, 1, -1),
        struct.pack(">hhih", 1, 9, 1, -1),
        struct.pack(">hhihi", 1, 4, 1, -1, 7),
    ],
    ids=["empty", "torn", "unknown", "another version", "cut short"],
)
def test_what_is_no_request_ends_its_connection_alone(
    embedded: EmbeddedBroker, connection: socket.socket, frame: bytes
) -> None:
    connection.sendall(struct.pack(">i", len(frame)) + frame)
    assert connection.recv(1) == b""
    assert send(embedded, numbered(1)) == [0]


def test_a_newer_client_learns_which_versions_there_are(connection: socket.socket) -> None:
    request = struct.pack(">hhih", 18, 99, 7, -1)
    connection.sendall(struct.pack(">i", len(request)) + request)
    size, correlation, error = struct.unpack(">iih", connection.recv(10))
    assert (correlation, error) == (7, 35)
    assert size == 10
