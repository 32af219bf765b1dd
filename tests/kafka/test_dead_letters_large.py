"""The largest poison that a topic can hold finds room among the dead letters, with why it is dead."""

from __future__ import annotations

import time

import pytest
from confluent_kafka import Producer
from tests.support.kafka import KafkaForTest

from eddyline.adapters.kafka import LogReader, Outgoing, TopicDeadLetterWriter
from eddyline.errors import TooLarge

WHOLE = 1_048_588
"""What a broker takes as one batch, unless told otherwise."""


def test_the_largest_poison_is_kept(real_kafka: KafkaForTest) -> None:
    largest = b"x" * (WHOLE - 200)
    foreign = Producer({"bootstrap.servers": real_kafka.options.bootstrap_servers, "message.max.bytes": 2_000_000})
    told: list[object] = []
    foreign.produce(
        real_kafka.options.prefix + "interactions",
        largest,
        key=b"u:ada",
        partition=0,
        on_delivery=lambda error, _: told.append(error),
    )
    assert foreign.flush(10) == 0
    assert told == [None]
    reader = LogReader(real_kafka.options)
    (poison,) = reader.read("interactions", 0, 0, 1)
    TopicDeadLetterWriter(real_kafka.producer()).put(poison, "invalid_event", "no JSON", int(time.time()))
    bounds = reader.bounds("interactions.dlq")
    kept = [r for p, (low, high) in bounds.items() for r in reader.read("interactions.dlq", p, low, high)]
    reader.close()
    assert [letter.value for letter in kept] == [largest]


def test_our_own_records_are_refused_before_a_broker_would(kafka: KafkaForTest) -> None:
    with pytest.raises(TooLarge, match=r"1,000,\d+ bytes, interactions takes 1,000,000"):
        kafka.producer().send(Outgoing("interactions", b"u:ada", b"x" * 1_000_000))
