"""Where a key goes: as Java's clients and librdkafka's `murmur2_random` put it."""

from __future__ import annotations

import random

import pytest
from tests.support.kafka import KafkaForTest

from eddyline.adapters.kafka import EmbeddedBroker, KafkaProducer, Outgoing, murmur2, partition_of


@pytest.mark.parametrize(
    ("key", "signed"),
    [  # from Apache Kafka's UtilsTest
        (b"21", -973932308),
        (b"foobar", -790332482),
        (b"a-little-bit-long-string", -985981536),
        (b"a-little-bit-longer-string", -1486304829),
        (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        (b"abc", 479470107),
    ],
)
def test_murmur2_agrees_with_javas(key: bytes, signed: int) -> None:
    assert murmur2(key) == signed & 0xFFFFFFFF


@pytest.mark.slow(10)
def test_it_agrees_with_librdkafka_for_a_number_of_partitions_that_is_no_power_of_two() -> None:
    broker = EmbeddedBroker(partitions=7)
    producer = KafkaProducer(broker.options)  # no guard: librdkafka itself chooses
    keys = [b"u:%d" % n for n in range(200)]
    delivered = producer.send_all([Outgoing("interactions", key, b"") for key in keys])
    assert [each.partition for each in delivered] == [partition_of(key, 7) for key in keys]
    producer.close()
    broker.close()


def test_a_key_goes_where_the_producer_puts_it(kafka: KafkaForTest) -> None:
    rng = random.Random(7)
    keys = [rng.randbytes(length) for length in range(1, 65) for _ in range(4)] + ["ü:☃".encode()]
    delivered = kafka.producer().send_all([Outgoing("interactions", key, b"") for key in keys])
    assert [each.partition for each in delivered] == [partition_of(key, kafka.options.partitions) for key in keys]
    assert {each.partition for each in delivered} == {0, 1, 2, 3}
