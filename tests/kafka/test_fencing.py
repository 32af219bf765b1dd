"""An epoch that is overtaken: its rightful owner goes on under a higher one, a zombie can't."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

import orjson
import pytest
from confluent_kafka import Consumer
from confluent_kafka import TopicPartition as KafkaPartition
from confluent_kafka.admin import AdminClient
from structlog.testing import capture_logs
from tests.kafka.loops import (
    QUICK,
    RecordingHandler,
    ScriptedBackend,
    a_loop,
    joined,
    numbered,
    running,
)
from tests.services.profiling import Profiling, click
from tests.support.fakes import Clock
from tests.support.kafka import KafkaForTest, wait_until

from eddyline.adapters.kafka import KafkaOptions, Message, Outgoing, TopicPartition
from eddyline.adapters.kafka.membership import CommitRefused, OffsetAndMetadata
from eddyline.adapters.kafka.ownership import OwnedPartition, PartitionOwnership, epoch_of
from eddyline.errors import Fenced, Unavailable

NOW = 1_790_000_000.0
NOW_MS = 1_790_000_000_000
HOUR_MS = 3_600_000


def committed(kafka: KafkaForTest) -> list[KafkaPartition]:
    """What the group `readers` has committed of `interactions`."""
    group = kafka.options.prefix + "readers"
    consumer = Consumer({"bootstrap.servers": kafka.options.bootstrap_servers, "group.id": group})
    topic = kafka.options.prefix + "interactions"
    found = consumer.committed([KafkaPartition(topic, number) for number in range(4)], timeout=10)
    consumer.close()
    return found


def committed_epochs(kafka: KafkaForTest) -> list[int]:
    return [orjson.loads(partition.metadata or "{}").get("epoch", 0) for partition in committed(kafka)]


def committed_offsets(kafka: KafkaForTest) -> int:
    return sum(max(0, partition.offset) for partition in committed(kafka))


def fenced_at(calls: Container[int], epoch: int) -> Callable[[Sequence[Message[str]]], None]:
    """Raises `Fenced` when it is called for the nth time, having seen `epoch` + n; n is in `calls`, and begins at 0."""
    called = 0

    def fence(_batch: Sequence[Message[str]]) -> None:
        nonlocal called
        called += 1
        if called - 1 in calls:
            raise Fenced("written under a newer epoch", epoch=epoch + called - 1)

    return fence


def test_an_owner_whose_epoch_went_back_goes_on_under_a_higher_one_and_repeats_nothing(
    scripted: ScriptedBackend,
) -> None:
    ahead = NOW_MS + HOUR_MS
    handler = RecordingHandler(fenced_at((0, 1, 3, 4), ahead))
    loop = scripted.loop(handler, settings=replace(QUICK, fenced_limit=2), clock=partial(float, NOW))
    with capture_logs() as logged, scripted.running(loop):
        scripted.send([Outgoing("interactions", b"u:1", b"0")])
        scripted.wait_until(lambda: len(handler.handled) == 1, "the first is handled")
        scripted.send(numbered(200, start=1))
        scripted.wait_until(lambda: len(handler.handled) == 201, "and what comes later")
    epochs = [epoch_of(position.metadata) for position in scripted.kafka.committed["readers"].values()]
    assert sorted(map(int, handler.values)) == list(range(201))
    latest = {source: epoch for told in handler.epochs for source, epoch in told.items()}
    assert len(latest) == 4
    assert set(latest.values()) == {ahead + 5}, "over the highest that was seen"
    assert epochs == [ahead + 5] * 4
    said = [line["epoch"] for line in logged if line["event"] == "fenced: claiming the partitions again"]
    assert said == [ahead, ahead + 3], "said once each time"
    after = RecordingHandler()
    scripted.run_until(scripted.loop(after, clock=partial(float, NOW)), lambda: after.epochs)
    assert set(after.epochs[0].values()) == {ahead + 6}


def test_a_fenced_handler_forgets_and_gets_nothing_before_the_higher_epoch_is_committed(
    scripted: ScriptedBackend,
) -> None:
    scripted.send(numbered(50))
    mend = threading.Event()
    handler = RecordingHandler(fenced_at((0,), NOW_MS))

    def down(_positions: Mapping[TopicPartition, OffsetAndMetadata]) -> None:
        if handler.gone and not mend.is_set():
            raise Unavailable("Kafka takes no commit")

    scripted.kafka.commit_answer = down
    loop = scripted.loop(handler, clock=partial(float, NOW))
    with scripted.running(loop):
        scripted.wait_until(lambda: loop.status().attempts > 2, "it tries to commit")
        assert sorted(handler.gone) == sorted({source for epochs in handler.epochs for source in epochs})
        assert handler.handled == []
        before = len(handler.epochs)
        mend.set()
        scripted.wait_until(lambda: len(handler.handled) == 50, "all are handled")
        assert all(epoch > NOW_MS for epochs in handler.epochs[before:] for epoch in epochs.values())
    assert sorted(map(int, handler.values)) == list(range(50))


def test_a_handler_that_is_fenced_in_its_tick_goes_on_too(scripted: ScriptedBackend) -> None:
    class Ticking(RecordingHandler):
        def tick(self) -> None:
            super().tick()
            if self.ticks == 2:
                raise Fenced("written under a newer epoch", epoch=NOW_MS)

    handler = Ticking()
    loop = scripted.loop(handler, clock=partial(float, NOW))
    with scripted.running(loop):
        joined(loop, wait=scripted.wait_until)
        scripted.wait_until(lambda: handler.ticks > 3, "it ticks on")
        scripted.send(numbered(50))
        scripted.wait_until(lambda: len(handler.handled) == 50, "all are handled")
    assert all(epoch > NOW_MS for epoch in handler.epochs[-1].values())


def test_one_that_is_fenced_again_and_again_stops(scripted: ScriptedBackend) -> None:
    scripted.send([Outgoing("interactions", b"u:1", b"1")])
    handler = RecordingHandler(fenced_at(range(1000), NOW_MS))
    with pytest.raises(Fenced) as ended:
        scripted.loop(handler, settings=replace(QUICK, fenced_limit=3)).run()
    assert ended.value.epoch == NOW_MS + 3
    assert handler.handled == []


# -- with the profiler -------------------------------------------------------------------------------------------------


@contextmanager
def profiling(scripted: ScriptedBackend, it: Profiling, clock: Clock) -> Iterator[None]:
    """The profiler of `it` in a loop, for as long as the block runs."""
    it.profiler = it.new_profiler()
    it.profiler.revoked([TopicPartition("interactions", number) for number in range(it.partitions)])
    with scripted.running(scripted.loop(it.profiler, group="profiler", clock=clock)):
        yield


def an_event(user: str, number: int) -> Outgoing:
    record = click(number, f"i{number}", user=user, event_id=f"{user}-{number}")
    return Outgoing("interactions", f"u:{user}".encode(), record.value)


def test_a_profiler_whose_stored_epochs_are_ahead_goes_on_and_nothing_vanishes(scripted: ScriptedBackend) -> None:
    it = Profiling(partitions=4)
    it.add_items(*(f"i{number}" for number in range(12)))
    people = [f"p{number}" for number in range(60)]
    now = Clock()
    # An earlier group, under clocks that ran ahead, differently for each person.
    for number, user in enumerate(people):
        it.profiler = it.new_profiler(epoch=round(now() * 1000) + HOUR_MS + number)
        partition = it.profiler._partition_of(f"u:{user}")
        it.feed(click(0, "i0", user=user, partition=partition, event_id=f"{user}-0", log="an earlier log"))
    scripted.send([an_event(user, number) for number in range(6) for user in people])
    folded = len(people) * 5  # the first of each was folded before
    with profiling(scripted, it, now):
        scripted.wait_until(lambda: it.metric("eddyline_profiler_folded_total") == folded, "all that is new is folded")
        scripted.send([an_event(user, number) for number in range(4, 12) for user in people])
        folded += len(people) * 6
        scripted.wait_until(lambda: it.metric("eddyline_profiler_folded_total") == folded, "and what comes later")
    for user in people:
        profile = it.stored(f"u:{user}")
        assert profile.events == 12
        assert profile.seen.recents.times.keys() == {f"i{number}" for number in range(12)}
    highest = round(now() * 1000) + HOUR_MS + len(people) - 1
    assert all(it.stored(f"u:{user}").delivery.epoch > highest for user in people)


# -- zombies -----------------------------------------------------------------------------------------------------------

MUTE = {"session.timeout.ms": "40000", "heartbeat.interval.ms": "39000", "max.poll.interval.ms": "60000"}
"""A member that hardly sends a heartbeat, as when its process is stopped: what became of it in its group it hears from
the answer to its next commit."""


def declare_dead(options: KafkaOptions, group: str) -> None:
    """Have the coordinator remove the only member of a group, as it does when a session ends."""
    admin = AdminClient({"bootstrap.servers": options.bootstrap_servers})
    name = options.prefix + group
    described = admin.describe_consumer_groups([name])[name].result(10)
    [member] = described.members
    leave_group, version, correlation = 13, 1, 1
    client, text, member_id = b"undertaker", name.encode(), member.member_id.encode()
    request = struct.pack(f">hhih{len(client)}s", leave_group, version, correlation, len(client), client)
    request += struct.pack(f">h{len(text)}sh{len(member_id)}s", len(text), text, len(member_id), member_id)
    with socket.create_connection((described.coordinator.host, described.coordinator.port), timeout=10) as connection:
        connection.sendall(struct.pack(">i", len(request)) + request)
        answer = connection.makefile("rb").read(4 + 4 + 4 + 2)  # size, correlation, throttle time, error
    assert struct.unpack(">iiih", answer)[1:] == (correlation, 0, 0)


class Zombie:
    """A loop that stalls in its first batch until `wake`, and then does `waking`."""

    def __init__(self, kafka: KafkaForTest, waking: Callable[[], None]) -> None:
        self._entered, self._wake, self._waking = threading.Event(), threading.Event(), waking
        self.handler = RecordingHandler(self._stall)
        self.loop = a_loop(kafka, self.handler, options=replace(kafka.options, client=MUTE))
        self.refusals: list[Exception] = []
        listen = self.loop.on_commit_failed

        def note(error: Exception) -> None:
            self.refusals.append(error)
            listen(error)

        self.loop.on_commit_failed = note  # type: ignore[method-assign]

    def _stall(self, _batch: Sequence[Message[str]]) -> None:
        if not self._wake.is_set():
            self._entered.set()
            assert self._wake.wait(60)
            self._waking()

    def stalls(self) -> None:
        assert self._entered.wait(20)

    def wake(self) -> None:
        self._wake.set()


def go_on() -> None:
    """What a handler does that notices nothing."""


def see_the_epoch_of(successor: RecordingHandler) -> Callable[[], None]:
    """What a handler does that finds its successor's writes in the store."""

    def fenced() -> None:
        raise Fenced("written under a newer epoch", epoch=max(successor.epochs[0].values()))

    return fenced


@pytest.mark.slow(20)
@pytest.mark.parametrize("fenced", [False, True], ids=["commits what it handled", "is fenced, and claims anew"])
def test_kafka_refuses_a_zombies_commit_and_it_joins_again_as_a_newcomer(kafka: KafkaForTest, fenced: bool) -> None:
    kafka.producer().send_all(numbered(40))
    successor = RecordingHandler()
    zombie = Zombie(kafka, see_the_epoch_of(successor) if fenced else go_on)
    with running(zombie.loop):
        zombie.stalls()
        declare_dead(kafka.options, "readers")
        new = a_loop(kafka, successor)
        with running(new):
            joined(new)
            wait_until(lambda: committed_offsets(kafka) == 40, "the successor has handled and committed all")
            before = committed_epochs(kafka)
            assert sorted(before) == sorted(successor.epochs[0].values())
            assert zombie.handler.gone == [], "it knows of nothing"
            zombie.wake()
            wait_until(lambda: zombie.refusals, "its commit is refused")
            wait_until(lambda: len(zombie.handler.gone) == 4, "it forgets its partitions")
            assert (committed_epochs(kafka), committed_offsets(kafka)) == (before, 40), "nothing went back"
            wait_until(lambda: zombie.loop.status().joined, "it has joined again")
    [refusal] = zombie.refusals
    assert isinstance(refusal, CommitRefused), "it was Kafka that refused"
    told = {source.partition: epoch for epochs in zombie.handler.epochs[1:] for source, epoch in epochs.items()}
    stored = committed_epochs(kafka)
    assert all(epoch <= stored[number] for number, epoch in told.items()), "it was told of no epoch it couldn't commit"


def test_how_far_a_partition_is_handled_stays_with_its_log() -> None:
    source, owned = TopicPartition("interactions", 0), PartitionOwnership()
    owned.add_partitions([source])
    owned.claim({source: OwnedPartition(epoch=1, handled=5, log="one")})
    owned.invalidate_epochs()
    owned.claim({source: OwnedPartition(epoch=2, handled=3, log="one")})
    assert owned[source].handled == 5
    owned.invalidate_epochs()
    owned.claim({source: OwnedPartition(epoch=3, handled=0, log="made anew")})
    assert owned[source].handled == 0
