"""A topic that is deleted and made anew is another log: it is read from its start, under another identity."""

from __future__ import annotations

from confluent_kafka.admin import AdminClient
from tests.kafka.loops import Noting, a_loop, joined, numbered, running
from tests.support.kafka import KafkaForTest, wait_until

from eddyline.adapters.kafka import LogReader, OffsetAndMetadata, Outgoing, TopicPartition, ensure_topics
from eddyline.adapters.kafka.ownership import commit_metadata

SLOWLY = 60.0


def make_anew(kafka: KafkaForTest, before: str) -> None:
    """Delete `interactions` and create it again, at once."""
    admin = AdminClient({"bootstrap.servers": kafka.options.bootstrap_servers})
    name = kafka.options.prefix + "interactions"
    (deleted,) = admin.delete_topics([name]).values()
    deleted.result(10)
    wait_until(lambda: name not in admin.list_topics(timeout=5).topics, "it is gone")
    wait_until(lambda: _created(kafka), "it is there again")
    wait_until(lambda: kafka.log_identity("interactions") != before, "it is another log")


def _created(kafka: KafkaForTest) -> bool:
    try:
        ensure_topics(kafka.options, ["interactions"])
    except Exception:
        return False
    return True


def produce(kafka: KafkaForTest, records: list[Outgoing]) -> None:
    kafka.producer().send_all(records)


def test_after_a_pause_the_new_log_is_read_from_its_start(real_kafka: KafkaForTest) -> None:
    before, handler = real_kafka.log_identity("interactions"), Noting()
    produce(real_kafka, numbered(40))
    with running(a_loop(real_kafka, handler)):
        wait_until(lambda: len(handler.handled) == 40, "the old log is read")
    make_anew(real_kafka, before)
    produce(real_kafka, numbered(60, start=100))  # more than there were, so that the old offsets exist again
    again = Noting()
    with running(a_loop(real_kafka, again)):
        wait_until(lambda: len(again.handled) >= 60, "the new log is read", SLOWLY)
    assert sorted(again.values, key=int) == [str(n) for n in range(100, 160)]
    assert {record.log for record in again.handled} == {real_kafka.log_identity("interactions")}


def test_under_a_running_consumer_too(real_kafka: KafkaForTest) -> None:
    before, handler = real_kafka.log_identity("interactions"), Noting()
    produce(real_kafka, numbered(40))
    loop = a_loop(real_kafka, handler)
    with running(loop):
        wait_until(lambda: len(handler.handled) == 40, "the old log is read")
        make_anew(real_kafka, before)
        produce(real_kafka, numbered(60, start=100))
        now = real_kafka.log_identity("interactions")

        def read() -> set[str]:
            return {(record.value or b"").decode() for record in handler.handled if record.log == now}

        wait_until(lambda: len(read()) == 60, "the new log is read under its own identity", SLOWLY)
        joined(loop)
    assert {record.log for record in handler.handled} == {before, now}


def test_an_offset_that_was_committed_of_the_old_log_is_not_taken_for_one_of_the_new(real_kafka: KafkaForTest) -> None:
    """As by a consumer that had not noticed yet."""
    before = real_kafka.log_identity("interactions")
    make_anew(real_kafka, before)
    produce(real_kafka, numbered(60))
    reader = LogReader(real_kafka.options)
    stale = OffsetAndMetadata(3, commit_metadata(7, before))
    reader.commit("readers", {TopicPartition("interactions", partition): stale for partition in range(4)})
    reader.close()
    handler = Noting()
    with running(a_loop(real_kafka, handler)):
        wait_until(lambda: len(handler.handled) >= 60, "all of the new log is read", SLOWLY)
    assert sorted(handler.values, key=int) == [str(n) for n in range(60)]
    assert all(epoch > 7 for epochs in handler.epochs for epoch in epochs.values())
