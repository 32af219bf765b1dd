"""What is done to the workers, while events keep coming, from a scenario's beginning to its verdict."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from itertools import cycle
from pathlib import Path
from typing import Literal

from tests.chaos.failpoints import POINTS
from tests.chaos.fork_server import ForkServer
from tests.chaos.load import Size
from tests.chaos.poison import send_poison
from tests.chaos.proxy import FaultyProxy
from tests.chaos.stream import PARTITIONS
from tests.chaos.threads import Consumer, Threads
from tests.chaos.world import (
    SETTLE_SECONDS,
    Backend,
    Outcome,
    OwnEdge,
    Server,
    SharedEdge,
    WorkerPool,
    WorkerProcess,
    World,
    a_world,
)
from tests.support.kafka import Cluster

from eddyline.profiler import GROUP

AMID = tuple(point for point in POINTS if point not in ("claimed", "committed"))
"""Points at which a worker holds a batch that isn't committed."""
PATIENCE = 0.5
"""Seconds that workers wait for a store that is made to fail."""

SEED = int(os.environ.get("CHAOS_SEED", "1"))
"""`CHAOS_SEED=7 make test ARGS="-m chaos"` runs another history."""

Store = Literal["server", "lasting server", "impatient server", "own Edge", "shared Edge"]


@dataclass(frozen=True)
class Scenario:
    """`fault` as the table says it; `slug` as the tests do. `breaks_broker`: it needs a Kafka of its own."""

    fault: str
    slug: str
    store: Store
    run: Callable[[World], None]
    breaks_broker: bool = False
    breaks_broker_in_short: bool = False
    pending_seconds: float = 1.5

    @property
    def in_short(self) -> Scenario:
        """Without what takes long: one of them restarts a broker, that is enough."""
        return replace(self, breaks_broker=self.breaks_broker_in_short)

    def backend(self, fork_server: ForkServer, directory: Path) -> Backend:
        """The store that it runs on."""
        log = directory / "store.log"
        if self.store == "own Edge":
            return OwnEdge(directory)
        if self.store == "shared Edge":
            return SharedEdge(directory)
        kept = directory / "qdrant" if self.store == "lasting server" else None
        return Server(fork_server, log, kept, PATIENCE if self.store == "impatient server" else 5.0)

    def unfit(self, cluster: Cluster) -> str | None:
        """Why the scenario can't be run here; None where it can."""
        if cluster.kind == "in-process":
            return f"no real Kafka: {'; '.join(cluster.fell_back)}"
        if self.breaks_broker and cluster.kill is None:
            return f"this Kafka ({cluster.kind}) isn't ours to kill"
        if os.environ.get("QDRANT_URL") and self.slug == "store-killed":
            return "the server at QDRANT_URL isn't ours to kill"
        return None

    def play(self, seed: int, size: Size, cluster: Cluster, fork_server: ForkServer, directory: Path) -> Outcome:
        """Run the scenario, and compare. The workers' logs stay in `directory`."""
        backend = self.backend(fork_server, directory)
        if not self.breaks_broker:
            cluster = replace(cluster, kill=None, start=None)
        with a_world(self.fault, seed, size, cluster, fork_server, directory, backend, self.pending_seconds) as world:
            self.run(world)
            return world.conclude()


# -- dying -----------------------------------------------------------------------------------------------------------


def kill_at_random(world: World) -> None:
    pool = world.pool(2)
    for _ in world.moments(0.3, 1.5):
        pool.kill(world.rng.choice(pool.workers))
        pool.replace_dead()


def kill_at_fail_points(world: World) -> None:
    points = cycle(world.rng.sample(POINTS, len(POINTS)))
    pool = world.pool(4, lambda: _armed(world, next(points)))
    for _ in world.moments(0.05, 0.1):
        pool.replace_dead()
    world.until(lambda: len(world.faults.counts) == len(POINTS), "every point is reached", 3 * SETTLE_SECONDS)


def _armed(world: World, point: str) -> tuple[str, int, str]:
    """To die at the point, the first time or a little later. Nobody may ever claim twice."""
    return point, 1 if point == "claimed" else world.rng.randint(1, 3), "kill"


def kill_with_its_store(world: World) -> None:
    """A process that has the embedded store to itself: now and then at a point, now and then at random."""
    points = cycle(world.rng.sample(POINTS, len(POINTS)))
    pool = world.pool(1, lambda: _armed(world, next(points)) if world.rng.random() < 0.5 else None)
    for _ in world.moments(0.5, 2.0):
        pool.replace_dead()
        pool.kill(world.rng.choice(pool.workers))
        pool.replace_dead()


# -- sleeping --------------------------------------------------------------------------------------------------------


def stop_and_wake(world: World) -> None:
    """Zombies. The last ones, a profiler and an affinity service, wake when all is long handled: nobody would mend what
    they break."""
    points = cycle(world.rng.sample(AMID, len(AMID)))
    pool = world.pool(2)
    zombie = _asleep(world, pool, next(points))
    while not world.is_over:
        _wake(world, pool, zombie)
        zombie = _asleep(world, pool, next(points))
    other = _asleep(world, pool, "before rows")
    world.load.stop()
    world.until(world.is_quiet, "everything is handled without the sleepers")
    for sleeper in (zombie, other):
        sleeper.child.signal(signal.SIGCONT)
        world.faults.note("SIGCONT")
    _rejoined(world, pool)


def _asleep(world: World, pool: WorkerPool, point: str) -> WorkerProcess:
    """A worker that stopped in the middle of a batch, which others have handled since."""
    sleeper = pool.add((point, world.rng.randint(1, 3), "stop"))
    world.until(lambda: sleeper.child.stopped, f"a worker stops at: {point}")
    world.faults.note(f"SIGSTOP at: {point}")
    ends = world.ends()
    world.until(lambda: world.has_handled(ends), "the group goes on without the sleeper")
    return sleeper


def _wake(world: World, pool: WorkerPool, sleeper: WorkerProcess) -> None:
    """It stays, and another leaves: each zombie is the next one's successor."""
    sleeper.child.signal(signal.SIGCONT)
    world.faults.note("SIGCONT")
    pool.stop(next(worker for worker in pool.staying if worker is not sleeper))


def _rejoined(world: World, pool: WorkerPool) -> None:
    world.until(lambda: world.log.members(GROUP) == len(pool.workers), "the sleeper is back in its group")


def stall_in_threads(world: World) -> None:
    """Consumers of one process and one embedded store: they join, leave, and stall until their group goes on."""
    assert isinstance(world.backend, SharedEdge)
    threads = Threads(world, world.backend)
    points = cycle(world.rng.sample(AMID, len(AMID)))
    for _ in range(2):
        threads.join()
    for number in world.moments(0.2, 0.6):
        if number % 3 == 2 and not world.is_over:
            _stall(world, threads, next(points)).wakes.set()
        elif len(threads.consumers) > 2:
            threads.leave(world.rng.choice(threads.consumers))
            world.faults.note("one leaves")
        else:
            threads.join()
            world.faults.note("one joins")
    stalled = _stall(world, threads, next(points))
    world.load.stop()
    world.until(world.is_quiet, "everything is handled without the one that stalls")
    stalled.wakes.set()
    threads.joined(stalled)


def _stall(world: World, threads: Threads, point: str) -> Consumer:
    """A consumer that stalled in the middle of a batch, which others have handled since."""
    while len(threads.consumers) >= PARTITIONS:  # one more would have no partition, and never stall
        threads.leave(world.rng.choice(threads.consumers))
    stalled = threads.join(point, world.rng.randint(1, 3))
    world.until(stalled.stalled.is_set, f"a consumer stalls at: {point}")
    world.faults.note(f"stalls at: {point}")
    ends = world.ends()
    world.until(lambda: world.has_handled(ends), "the group goes on without the one that stalls")
    return stalled


# -- coming and going ------------------------------------------------------------------------------------------------


def come_and_go(world: World) -> None:
    pool = world.pool(2)
    for _ in world.moments(0.3, 1.0):
        pool.resize(world.rng.choice([size for size in (1, 2, 3) if size != pool.size]))
        pool.replace_dead()


# -- Kafka and the store ---------------------------------------------------------------------------------------------


def restart_broker(world: World) -> None:
    world.pool(2)
    for _ in world.moments(1.0, 3.0):
        _restart_broker(world)


def _restart_broker(world: World) -> None:
    assert world.cluster.kill is not None
    assert world.cluster.start is not None
    began = time.monotonic()
    world.cluster.kill()
    world.faults.note("kill -9 of the broker")
    world.pause(0.1, 1.0)
    world.cluster.start()
    world.began += time.monotonic() - began  # nothing is asked of the profilers meanwhile


def fail_store(world: World) -> None:
    with _faulty(world):
        world.pool(2)
        for _ in world.moments(0.5, 1.0):
            pass
        world.until(lambda: world.faults.counts, "a request to the store fails")  # the workers may start late


@contextmanager
def _faulty(world: World) -> Iterator[None]:
    """Requests to the store go through a proxy that lets some fail."""
    server = world.backend
    assert isinstance(server, Server)
    with closing(FaultyProxy(server.url, PATIENCE, world.seed, world.faults.note)) as proxy:
        server.proxied = proxy.url
        proxy.begin()
        yield
        proxy.end()
        world.load.stop()
        world.until(world.is_quiet, "everything is handled")


def restart_store(world: World) -> None:
    server = world.backend
    assert isinstance(server, Server)
    pool = world.pool(2)
    for _ in world.moments(0.5, 2.0):
        _restart_store(world, server)
        pool.replace_dead()


def _restart_store(world: World, server: Server) -> None:
    server.kill()
    world.faults.note("kill -9 of the store")
    world.pause(0.1, 1.0)
    server.start()


# -- all of it -------------------------------------------------------------------------------------------------------


def everything(world: World) -> None:
    """All of the above at once: workers with fail-points, through the faulty proxy, to a store that dies, too."""
    server = world.backend
    assert isinstance(server, Server)
    rng, asleep = world.rng, set[WorkerProcess]()

    def arm() -> tuple[str, int, str] | None:
        return (rng.choice(POINTS), rng.randint(1, 20), "kill") if rng.random() < 0.5 else None

    with _faulty(world):
        pool = world.pool(3, arm)
        for _ in world.moments(0.3, 1.0):
            pool.replace_dead()
            worker = rng.choice(pool.staying)
            chance = rng.random()
            if chance < 0.35:
                pool.kill(worker)
            elif chance < 0.6:
                worker.child.signal(signal.SIGSTOP)
                asleep.add(worker)
                world.faults.note("SIGSTOP")
            elif chance < 0.8:
                pool.resize(rng.choice([size for size in (2, 3) if size != pool.size]))
            elif chance < 0.9 and server.can_be_killed:
                _restart_store(world, server)
            elif world.cluster.kill is not None:
                _restart_broker(world)
            for sleeper in [worker for worker in asleep if rng.random() < 0.4]:
                _rouse(world, sleeper, asleep)
        for sleeper in list(asleep):
            _rouse(world, sleeper, asleep)
        pool.disarm()


def _rouse(world: World, sleeper: WorkerProcess, asleep: set[WorkerProcess]) -> None:
    asleep.remove(sleeper)
    sleeper.child.signal(signal.SIGCONT)
    world.faults.note("SIGCONT")


SCENARIOS = (
    Scenario("a profiler killed (kill -9) at random moments", "killed", "server", kill_at_random),
    Scenario("a profiler killed at each point of a batch's way", "killed-at-points", "server", kill_at_fail_points),
    Scenario("a profiler stopped in a batch, woken when others had done it", "zombies", "server", stop_and_wake),
    Scenario("one to three profilers, joining and leaving", "joining-and-leaving", "server", come_and_go),
    Scenario(
        "the broker killed and started again",
        "broker",
        "server",
        restart_broker,
        breaks_broker=True,
        breaks_broker_in_short=True,
    ),
    Scenario("the store: errors, time-outs, slow and late writes", "store-faults", "impatient server", fail_store),
    Scenario(
        "the store killed and started again", "store-killed", "lasting server", restart_store, pending_seconds=4.0
    ),
    Scenario("embedded: consumers join, leave, and stall in a batch", "edge-threads", "shared Edge", stall_in_threads),
    Scenario("embedded: a process killed with its store", "edge-killed", "own Edge", kill_with_its_store),
    Scenario("poison of every kind, to every consumer", "poison", "server", send_poison),
    Scenario("all at once", "everything", "lasting server", everything, breaks_broker=True, pending_seconds=4.0),
)
