"""What the producer promises: acknowledged, or an error that says so; never blocked, never silent."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import Producer as ConfluentProducer
from tests.kafka.loops import RecordingHandler, a_loop, numbered, running
from tests.support.kafka import KafkaForTest, wait_until

from eddyline.adapters.kafka import KafkaProducer, Outgoing
from eddyline.errors import Misconfigured, Overloaded, Unavailable

pytestmark = pytest.mark.topics("users", "interactions")


def test_records_of_a_key_stay_in_order_and_get_their_place(kafka: KafkaForTest) -> None:
    delivered = kafka.producer().send_all([Outgoing("users", b"ann", b"%d" % n) for n in range(500)])
    assert [each.offset for each in delivered] == list(range(500))
    assert len({each.partition for each in delivered}) == 1
    assert {each.topic for each in delivered} == {"users"}


def test_a_record_can_be_sent_to_a_partition_of_ones_choice(kafka: KafkaForTest) -> None:
    future = kafka.producer().send(Outgoing("users", b"ann", b"", partition=3))
    assert future.result(timeout=10).partition == 3


@pytest.mark.slow(10)
def test_a_full_queue_is_overloaded_at_once(kafka: KafkaForTest) -> None:
    nowhere = replace(kafka.options, bootstrap_servers="127.0.0.1:1", client={"queue.buffering.max.messages": "10"})
    producer = KafkaProducer(nowhere, delivery_seconds=0.3)
    futures = [producer.send(record) for record in numbered(10)]
    with pytest.raises(Overloaded) as caught:
        producer.send(*numbered(1))
    assert caught.value.retry_after > 0
    for future in futures:
        assert isinstance(future.exception(timeout=10), Unavailable)
    with pytest.raises(Unavailable):
        producer.check()
    producer.close()


@pytest.mark.slow(15)
@pytest.mark.parametrize("size", [0, 5_000])
def test_its_queue_takes_as_many_bytes_as_it_was_told_however_small_the_records(kafka: KafkaForTest, size: int) -> None:
    nowhere = replace(kafka.options, bootstrap_servers="127.0.0.1:1")
    producer = KafkaProducer(nowhere, delivery_seconds=2.0, queue_bytes=2_000_000)
    record, taken = Outgoing("users", b"a", b"x" * size), 0

    def fill() -> None:
        nonlocal taken
        while True:
            producer.send(record)
            taken += record.size

    with pytest.raises(Overloaded):
        fill()
    assert taken >= 2_000_000
    producer.close()


def test_send_all_waits_for_room_and_says_when_it_cannot_deliver(kafka: KafkaForTest) -> None:
    tight = replace(kafka.options, client={"queue.buffering.max.messages": "10"})
    producer = KafkaProducer(tight)
    assert len(producer.send_all(numbered(200))) == 200
    producer.close()
    nowhere = KafkaProducer(replace(tight, bootstrap_servers="127.0.0.1:1"), delivery_seconds=0.3)
    with pytest.raises(Unavailable):
        nowhere.send_all(numbered(20))
    nowhere.close()


def test_what_is_begun_is_on_its_way_before_anybody_waits_for_it(kafka: KafkaForTest) -> None:
    producer, handler = kafka.producer(), RecordingHandler()
    with running(a_loop(kafka, handler)):
        acknowledged = producer.begin_all(numbered(20))
        wait_until(lambda: len(handler.handled) == 20, "all are read")
        assert len(acknowledged()) == 20
    nowhere = KafkaProducer(replace(kafka.options, bootstrap_servers="127.0.0.1:1"), delivery_seconds=0.3)
    refused = nowhere.begin_all(numbered(20))
    with pytest.raises(Unavailable):
        refused()
    nowhere.close()


@pytest.mark.slow(10)
def test_a_topic_that_does_not_exist_fails_in_time(kafka: KafkaForTest) -> None:
    producer = KafkaProducer(replace(kafka.options, prefix=kafka.options.prefix + "no."))
    with pytest.raises(Unavailable, match="eddyline init"):
        producer.send(Outgoing("users", b"ann", b"")).result(timeout=20)
    producer.close()


def test_closing_sends_what_is_queued_and_then_refuses(kafka: KafkaForTest) -> None:
    producer = KafkaProducer(kafka.options)
    futures = [producer.send(record) for record in numbered(300)]
    producer.close()
    assert all(future.result(timeout=0).offset >= 0 for future in futures)
    with pytest.raises(Unavailable, match="closed"):
        producer.send(*numbered(1))


def test_closing_fails_what_cannot_be_sent(kafka: KafkaForTest) -> None:
    producer = KafkaProducer(replace(kafka.options, bootstrap_servers="127.0.0.1:1"), delivery_seconds=0.5)
    future = producer.send(*numbered(1))
    producer.close()
    assert isinstance(future.exception(timeout=0), Unavailable)


def test_check_passes_on_a_cluster_that_answers(kafka: KafkaForTest) -> None:
    kafka.producer().check()


def test_settings_that_the_library_refuses_are_named(kafka: KafkaForTest) -> None:
    with pytest.raises(Misconfigured, match=r"no\.such\.setting"):
        KafkaProducer(replace(kafka.options, client={"no.such.setting": "1"}))


def test_a_fatal_error_surfaces_on_the_next_call_and_the_one_after_works(kafka: KafkaForTest) -> None:
    from confluent_kafka import KafkaError

    producer = kafka.producer()
    producer.send_all(numbered(10))
    producer._on_error(KafkaError(KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER, "lost the thread", fatal=True))
    with pytest.raises(Unavailable, match="lost the thread"):
        producer.send(*numbered(1))
    handler = RecordingHandler()
    with running(a_loop(kafka, handler)):
        producer.send_all(numbered(10, start=10))
        wait_until(lambda: len(handler.handled) == 20, "both tens")


def test_what_the_library_only_believes_to_be_written_is_not_acknowledged(
    kafka: KafkaForTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a request was refused and the next one taken, as happens on a partition that is just being made."""

    class Guessing(ConfluentProducer):
        def produce(self, topic: str, *, on_delivery: Any, **record: Any) -> None:  # type: ignore[override]
            def delivered(error: object, message: Any) -> None:
                on_delivery(error, SimpleNamespace(partition=message.partition, offset=lambda: None))

            first = record["value"] == b"0"
            super().produce(topic, on_delivery=delivered if first else on_delivery, **record)

    monkeypatch.setattr("eddyline.adapters.kafka.producer.ConfluentProducer", Guessing)
    producer = kafka.producer()
    guess, truth = (producer.send(record) for record in numbered(2))
    assert truth.result(timeout=10).offset is not None
    with pytest.raises(Unavailable, match="may not have"):
        guess.result(timeout=10)
    with pytest.raises(Unavailable, match="may not have"):
        producer.send_all(numbered(2))
