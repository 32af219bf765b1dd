"""A topic that is deleted and made anew is another log: it is read from its start, under another identity."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import pytest
from confluent_kafka.admin import AdminClient
from tests.kafka.loops import Backend, LiveBackend, RecordingHandler, ScriptedBackend, joined, numbered
from tests.support.kafka import KafkaForTest, wait_until

from eddyline.adapters.kafka import LogReader, OffsetAndMetadata, TopicPartition, ensure_topics
from eddyline.adapters.kafka.ownership import commit_metadata

SLOWLY = 60.0


@dataclass
class Recreatable:
    """A Kafka whose topic `interactions` can be deleted and made anew."""

    backend: Backend
    recreate: Callable[[], None]
    """Delete `interactions` and create it again, at once."""
    commit: Callable[[Mapping[TopicPartition, OffsetAndMetadata]], None]
    """Commit for the group `readers`, as by a consumer that had not noticed yet."""


@pytest.fixture(params=["scripted", pytest.param("live", marks=pytest.mark.slow(30))])
def recreatable(request: pytest.FixtureRequest) -> Recreatable:
    if request.param == "scripted":
        scripted = ScriptedBackend()
        committed = scripted.kafka.committed["readers"]
        return Recreatable(scripted, lambda: scripted.kafka.recreate("interactions"), committed.update)
    kafka: KafkaForTest = request.getfixturevalue("real_kafka")
    return Recreatable(LiveBackend(kafka), lambda: delete_and_create(kafka), lambda positions: commit(kafka, positions))


def delete_and_create(kafka: KafkaForTest) -> None:
    before = kafka.log_identity("interactions")
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


def commit(kafka: KafkaForTest, positions: Mapping[TopicPartition, OffsetAndMetadata]) -> None:
    reader = LogReader(kafka.options)
    reader.commit("readers", positions)
    reader.close()


@pytest.mark.slow(10)
def test_after_a_pause_the_new_log_is_read_from_its_start(recreatable: Recreatable) -> None:
    backend, handler = recreatable.backend, RecordingHandler()
    backend.send(numbered(40))
    with backend.running(backend.loop(handler)):
        backend.wait_until(lambda: len(handler.handled) == 40, "the old log is read")
    recreatable.recreate()
    backend.send(numbered(60, start=100))  # more than there were, so that the old offsets exist again
    again = RecordingHandler()
    with backend.running(backend.loop(again)):
        backend.wait_until(lambda: len(again.handled) >= 60, "the new log is read", SLOWLY)
    assert sorted(again.values, key=int) == [str(n) for n in range(100, 160)]
    assert {record.log for record in again.handled} == {backend.log_identity("interactions")}


@pytest.mark.slow(30)
@pytest.mark.parametrize("recreatable", ["scripted", pytest.param("live", marks=pytest.mark.extended)], indirect=True)
def test_under_a_running_consumer_too(recreatable: Recreatable) -> None:
    backend, handler = recreatable.backend, RecordingHandler()
    before = backend.log_identity("interactions")
    backend.send(numbered(40))
    loop = backend.loop(handler)
    with backend.running(loop):
        backend.wait_until(lambda: len(handler.handled) == 40, "the old log is read")
        recreatable.recreate()
        backend.send(numbered(60, start=100))
        now = backend.log_identity("interactions")

        def read() -> set[str]:
            return {(record.value or b"").decode() for record in handler.handled if record.log == now}

        backend.wait_until(lambda: len(read()) == 60, "the new log is read under its own identity", SLOWLY)
        joined(loop, wait=backend.wait_until)
    assert {record.log for record in handler.handled} == {before, now}


def test_one_whose_old_offset_exists_in_the_new_log_starts_over_there() -> None:
    backend, handler = ScriptedBackend(), RecordingHandler()
    backend.send(numbered(40))
    with backend.running(backend.loop(handler)):
        backend.wait_until(lambda: len(handler.handled) == 40, "the old log is read")
        backend.kafka.recreate("interactions", offsets_stay=True)
        backend.send(numbered(60, start=100))
        now = backend.log_identity("interactions")

        def read() -> set[str]:
            return {(record.value or b"").decode() for record in handler.handled if record.log == now}

        backend.wait_until(lambda: len(read()) == 60, "the new log is read under its own identity", SLOWLY)


@pytest.mark.slow(10)
def test_an_offset_that_was_committed_of_the_old_log_is_not_taken_for_one_of_the_new(recreatable: Recreatable) -> None:
    backend = recreatable.backend
    stale = OffsetAndMetadata(3, commit_metadata(7, backend.log_identity("interactions")))
    recreatable.recreate()
    backend.send(numbered(60))
    recreatable.commit({TopicPartition("interactions", partition): stale for partition in range(4)})
    handler = RecordingHandler()
    with backend.running(backend.loop(handler)):
        backend.wait_until(lambda: len(handler.handled) >= 60, "all of the new log is read", SLOWLY)
    assert sorted(handler.values, key=int) == [str(n) for n in range(60)]
    assert all(epoch > 7 for epochs in handler.epochs for epoch in epochs.values())
