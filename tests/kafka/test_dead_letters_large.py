"""The largest poison that a topic can hold finds room among the dead letters, with why it is dead."""

from __future__ import annotations

import time

import pytest
from confluent_kafka import Producer
from tests.kafka.letters import a_record
from tests.support.fakes import FakeProducer
from tests.support.kafka import KafkaForTest

from eddyline.adapters.kafka import LogReader, Outgoing, TopicDeadLetterWriter
from eddyline.adapters.kafka.dead_letters.dead_letter import from_fields
from eddyline.errors import TooLarge

WHOLE = 1_048_588
"""What a broker takes as one batch, unless told otherwise."""


def test_the_largest_poison_is_kept(kafka: KafkaForTest) -> None:
    largest = b"x" * (WHOLE - 200)
    foreign = Producer({"bootstrap.servers": kafka.options.bootstrap_servers, "message.max.bytes": 2_000_000})
    told: list[object] = []
    foreign.produce(
        kafka.options.prefix + "interactions",
        largest,
        key=b"u:ada",
        partition=0,
        on_delivery=lambda error, _: told.append(error),
    )
    assert foreign.flush(10) == 0
    assert told == [None]
    reader = LogReader(kafka.options)
    (poison,) = reader.read("interactions", 0, 0, 1)
    TopicDeadLetterWriter(kafka.producer()).put(poison, "invalid_event", "no JSON", int(time.time()))
    bounds = reader.bounds("interactions.dlq")
    kept = [r for p, (low, high) in bounds.items() for r in reader.read("interactions.dlq", p, low, high)]
    reader.close()
    assert [letter.value for letter in kept] == [largest]


def test_of_a_record_that_came_compressed_and_is_larger_still_the_beginning_is_kept() -> None:
    producer = FakeProducer()
    giant = a_record(7, key=b"k" * 300_000, value=b"x" * 20_000_000, headers=(("h", b"y" * 5_000_000),))
    TopicDeadLetterWriter(producer).put(giant, "invalid_event", "no JSON " * 100_000)
    (sent,) = producer.sent
    headers = dict(sent.headers)
    assert (sent.value or b"").startswith(b"xxx")
    assert int(headers["eddyline-dlq-cut"]) > 25_000_000
    assert (headers["eddyline-dlq-topic"], headers["eddyline-dlq-offset"]) == (b"users", b"7")
    fields = {name.removeprefix("eddyline-dlq-"): value.decode() for name, value in sent.headers}
    with pytest.raises(ValueError, match=r"the beginning alone.*see users:2:7"):
        from_fields(fields, "users", sent.key, sent.value, ())


def test_our_own_records_are_refused_before_a_broker_would(kafka: KafkaForTest) -> None:
    with pytest.raises(TooLarge, match=r"1,000,\d+ bytes, interactions takes 1,000,000"):
        kafka.producer().send(Outgoing("interactions", b"u:ada", b"x" * 1_000_000))
