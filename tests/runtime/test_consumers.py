"""The consumers of a process: they stop for a seal, follow a new generation, and end in order."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, cast

import pytest
from tests.support.system import wait_until

from eddyline.adapters.kafka import LoopStatus, TopicPartition
from eddyline.adapters.vectors import ITEMS, PROFILES, Collections
from eddyline.adapters.vectors.generations import Generations, group_of
from eddyline.errors import EddylineError, Misconfigured, Unavailable
from eddyline.runtime.consumers import ConsumerThreads, RoleConsumer

FIRST, SECOND = Collections("items-1", "profiles-1", "rows-1"), Collections("items-2", "profiles-2", "rows-1")


class FakeLoop:
    """Runs until it is stopped, and then, while `busy`, until its batch is done."""

    def __init__(self, group: str, journal: list[str]) -> None:
        self.group, self._journal = group, journal
        self.stopped, self.idle = threading.Event(), threading.Event()
        self.idle.set()
        self.running = False
        self.error: Exception | None = None
        self.dead_letters = 0

    def run(self) -> None:
        assert not self.running, "a loop is run at most once"
        self.running = True
        self._journal.append(f"begin {self.group}")
        assert self.stopped.wait(30)
        assert self.idle.wait(30)
        self._journal.append(f"end {self.group}")
        if self.error is not None:
            raise self.error

    def stop(self) -> None:
        self.stopped.set()

    def status(self) -> LoopStatus:
        return LoopStatus(self.group, running=self.running, joined=self.running, dead_letters=self.dead_letters)

    def lag(self) -> dict[TopicPartition, int]:
        return {TopicPartition("interactions", 0): 3}


class World:
    """A process with an embedder and a profiler, and what they would see of the store."""

    def __init__(self) -> None:
        self.now: Generations | Exception = Generations(FIRST)
        self.journal: list[str] = []
        self._seen = 0
        self.made: dict[str, list[tuple[Collections, FakeLoop]]] = {"embedder": [], "profiler": []}
        self.refusal: Exception | None = None
        self.retired: list[str] = []
        self.failed = threading.Event()
        self.embedder = self._consumer("embedder", (ITEMS,))
        self.profiler = self._consumer("profiler", (ITEMS, PROFILES))
        self.consumers = ConsumerThreads([self.embedder, self.profiler], self.read, self.failed.set)

    def _consumer(self, name: str, holds: tuple[str, ...]) -> RoleConsumer:
        return RoleConsumer(name, holds, cast(Any, self._making(name)), self.retired.append, self.read())

    def read(self) -> Generations:
        if isinstance(self.now, Exception):
            raise self.now
        return self.now

    def _making(self, name: str) -> Callable[[Collections], FakeLoop]:
        def make(collections: Collections) -> FakeLoop:
            if self.refusal is not None:
                raise self.refusal
            group = group_of(name, collections.profiles) if name == "profiler" else name
            loop = FakeLoop(group, self.journal)
            self.made[name].append((collections, loop))
            return loop

        return make

    def loop(self, name: str) -> FakeLoop:
        """The newest."""
        return self.made[name][-1][1]

    def watch(self, *expected: str) -> None:
        """Look again and again until exactly these lines were added to the journal, in any order."""
        seen = self._seen

        def added() -> bool:
            self.consumers.follow()
            return sorted(self.journal[seen:]) == sorted(expected)

        wait_until(added, f"{expected}, not {self.journal[seen:]}")
        self._seen = len(self.journal)


@pytest.fixture
def world() -> World:
    return World()


def test_one_that_must_wait_for_another_begins_once_it_need_not(world: World) -> None:
    reasons = ["the embedder repeats"]
    consumer = RoleConsumer(
        "profiler",
        (ITEMS, PROFILES),
        cast(Any, world._making("profiler")),
        world.retired.append,
        world.read(),
        obstacle=lambda: reasons[0] if reasons else None,
    )
    world.consumers = ConsumerThreads([consumer], world.read, world.failed.set)
    world.watch()
    with pytest.raises(Unavailable, match="the embedder repeats"):
        consumer.check()
    reasons.clear()
    world.watch("begin profiler")
    consumer.check()


def test_all_consume_what_is_live(world: World) -> None:
    world.watch("begin embedder", "begin profiler")
    assert [made[0][0] for made in world.made.values()] == [FIRST, FIRST]
    world.profiler.check()
    world.watch()
    world.consumers.stop()
    assert sorted(world.journal[2:]) == ["end embedder", "end profiler"]


def test_a_sealed_profile_collection_stops_the_profiler_alone_and_says_what_it_waits_for(world: World) -> None:
    world.watch("begin embedder", "begin profiler")
    world.now = Generations(FIRST, {"profiles-1": 3})
    world.watch("end profiler")
    with pytest.raises(Unavailable, match="profiles-1 is sealed: waiting for generation 3 to go live"):
        world.profiler.check()
    world.embedder.check()
    world.watch()
    world.consumers.stop()


def test_a_sealed_item_collection_stops_all_that_work_on_it(world: World) -> None:
    world.watch("begin embedder", "begin profiler")
    world.now = Generations(FIRST, {"items-1": 2})
    world.watch("end embedder", "end profiler")
    for consumer in (world.embedder, world.profiler):
        with pytest.raises(Unavailable, match="waiting for generation 2"):
            consumer.check()
    world.consumers.stop()


def test_a_batch_in_hand_is_finished_before_the_next_generation_begins(world: World) -> None:
    world.watch("begin embedder", "begin profiler")
    busy = world.loop("profiler")
    busy.idle.clear()
    world.now = Generations(Collections("items-1", "profiles-2", "rows-1"))
    world.watch()
    assert busy.stopped.is_set()
    world.watch()
    assert len(world.made["profiler"]) == 1
    busy.idle.set()
    world.watch("end profiler", "begin profiler-2")
    assert world.made["profiler"][-1][0] == Collections("items-1", "profiles-2", "rows-1")
    world.profiler.check()
    assert world.retired == ["profiler"]
    assert len(world.made["embedder"]) == 1
    world.consumers.stop()


def test_consumers_go_on_with_what_went_live_while_they_waited(world: World) -> None:
    world.watch("begin embedder", "begin profiler")
    world.now = Generations(FIRST, {"items-1": 2, "profiles-1": 2})
    world.watch("end embedder", "end profiler")
    world.now = Generations(SECOND)
    world.watch("begin embedder", "begin profiler-2")
    assert [made[-1][0] for made in world.made.values()] == [SECOND, SECOND]
    assert world.retired == ["profiler"]
    world.consumers.stop()


def test_a_lifted_seal_lets_them_go_on_where_they_were(world: World) -> None:
    world.watch("begin embedder", "begin profiler")
    world.now = Generations(FIRST, {"profiles-1": 2})
    world.watch("end profiler")
    world.now = Generations(FIRST)
    world.watch("begin profiler")
    assert [made[0] for made in world.made["profiler"]] == [FIRST, FIRST]
    assert world.retired == []
    world.consumers.stop()


def test_a_process_that_starts_under_a_seal_waits(world: World) -> None:
    world.now = Generations(FIRST, {"profiles-1": 2})
    world.watch("begin embedder")
    with pytest.raises(Unavailable, match="waiting"):
        world.profiler.check()
    assert (world.profiler.lag(), world.embedder.lag()) == (0, 3)
    world.now = Generations(SECOND)
    world.watch("end embedder", "begin embedder", "begin profiler-2")
    world.consumers.stop()


def test_a_store_that_does_not_answer_changes_nothing(world: World) -> None:
    world.watch("begin embedder", "begin profiler")
    world.now = Unavailable("Qdrant is down")
    world.watch()
    assert not world.loop("profiler").stopped.is_set()
    world.now, world.refusal = Generations(SECOND), Unavailable("Qdrant is down again")
    world.watch("end embedder", "end profiler")
    world.watch()
    world.refusal = None
    world.watch("begin embedder", "begin profiler-2")
    world.consumers.stop()


def test_a_generation_that_a_service_cannot_work_on_ends_the_process(world: World) -> None:
    world.consumers.start()
    wait_until(lambda: len(world.journal) == 2, "both began")
    world.refusal = Misconfigured("the stored items are in another space")
    world.now = Generations(SECOND)
    assert world.failed.wait(30)
    world.consumers.stop()
    assert world.consumers.failure is world.refusal


def test_a_loop_that_fails_ends_the_process_and_is_not_begun_again(world: World) -> None:
    world.consumers.start()
    wait_until(lambda: len(world.journal) == 2, "both began")
    world.loop("profiler").error = error = EddylineError("a bug")
    world.loop("profiler").stop()
    assert world.failed.wait(30)
    world.consumers.stop()
    assert world.consumers.failure is error
    assert world.journal.count("begin profiler") == 1
    assert world.journal[-1] == "end embedder"


def test_a_process_without_consumers_watches_nothing() -> None:
    def never() -> Generations:
        raise AssertionError("nothing to follow")

    consumers = ConsumerThreads([], never, lambda: None)
    consumers.start()
    consumers.stop()
    assert consumers.failure is None
