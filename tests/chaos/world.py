"""Everything around a scenario: a corner of a Kafka, a vector store, workers kept alive, a stream of events."""

from __future__ import annotations

import os
import random
import shutil
import signal
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import httpx
from confluent_kafka.admin import AdminClient
from tests.chaos.checks import Findings, check
from tests.chaos.fork_server import Child, ForkServer
from tests.chaos.load import Load, Size, locate
from tests.chaos.stream import EVENT_IDS, PARTITIONS, SIGNER, Stream
from tests.chaos.truth import Place, Poisoned, Truth
from tests.chaos.worker import ROW_GROUP, Mailbox, WorkerOptions, item_points
from tests.support.fakes import TinyEncoder
from tests.support.kafka import Cluster, free_port

from eddyline.adapters.kafka import KafkaOptions, KafkaProducer, LogReader, Outgoing, ensure_topics
from eddyline.adapters.vectors import (
    Collections,
    Distance,
    EdgeStore,
    Filter,
    Match,
    ServerStore,
    VectorStore,
    generations,
)
from eddyline.errors import Unavailable
from eddyline.model.events import Listing
from eddyline.profiler import GROUP
from eddyline.runtime.collection_setup import create_collections
from eddyline.settings import ProfileSettings, Settings

SETTLE_SECONDS = 60.0
STOP_SECONDS = 30.0
PENDING = Filter(must=(Match("waiting", tuple(range(PARTITIONS))),))


class Faults:
    """What was done, and when. Any thread may note."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.log: list[str] = []
        self._began = time.monotonic()
        self._lock = threading.Lock()

    def note(self, fault: str) -> None:
        """Count an injected fault."""
        with self._lock:
            self.counts[fault] += 1
            self.log.append(f"{time.monotonic() - self._began:7.3f} s  {fault}")


# -- vector stores ----------------------------------------------------------------------------------------------------


class Backend(Protocol):
    """A vector store as a scenario uses it."""

    kind: str
    collections: Collections

    def options(self) -> dict[str, Any]:
        """The options by which workers find it."""

    def put(self, items: Sequence[str]) -> None:
        """Put items. Raises `Unavailable`."""

    def has_pending(self) -> bool:
        """Whether interactions are pending until their item comes."""

    def open(self) -> VectorStore:
        """Open it to look into it, once all workers have ended. The caller closes it."""

    def close(self) -> None:
        """End the store, and delete what was made."""


class Server:
    """A server that processes share: at `QDRANT_URL`, or the stand-in for its REST API.

    `directory`: the stand-in keeps what is written there, through its own death; None for its memory. `patience`:
    seconds that workers wait for an answer.
    """

    def __init__(
        self, fork_server: ForkServer, log: Path, directory: Path | None = None, patience: float = 5.0
    ) -> None:
        self._fork_server, self._log, self._directory, self._patience = fork_server, log, directory, patience
        self._given = os.environ.get("QDRANT_URL")
        self._key = os.environ.get("QDRANT_API_KEY") if self._given else None
        self.kind = "Qdrant server" if self._given else "stand-in"
        self._port = 0 if self._given else free_port()
        self.url = self._given or f"http://127.0.0.1:{self._port}"
        self._child: Child | None = None
        self._prefix = f"chaos-{uuid.uuid4().hex[:8]}-"
        self.proxied: str | None = None
        """Where workers find it, when that isn't where it is."""
        self.start()
        self._store = ServerStore(self.url, self._key, 10.0, self._prefix)
        create_collections(self._store, Settings(), TinyEncoder.dimension, Distance.COSINE)
        self.collections = generations.live(self._store)

    @property
    def can_be_killed(self) -> bool:
        """Whether the server is ours, and keeps its data."""
        return self._given is None and self._directory is not None

    def start(self) -> None:
        """Start the server, where it is ours."""
        if self._given is not None:
            return
        directory = None if self._directory is None else str(self._directory)
        self._child = self._fork_server.fork(
            "tests.chaos.store", {"port": self._port, "directory": directory}, self._log
        )
        wait_until(self._answers, "the stand-in for Qdrant answers", 30.0)

    def kill(self) -> None:
        """Send SIGKILL."""
        assert self._child is not None
        self._child.signal(signal.SIGKILL)
        assert self._child.wait(10)

    def options(self) -> dict[str, Any]:
        return {
            "url": self.proxied or self.url,
            "api_key": self._key,
            "store_prefix": self._prefix,
            "store_timeout": self._patience,
            "collections": (self.collections.items, self.collections.profiles, self.collections.rows),
        }

    def put(self, items: Sequence[str]) -> None:
        self._store.upsert(self.collections.items, item_points(list(items)))

    def has_pending(self) -> bool:
        return self._store.count(self.collections.profiles, PENDING) > 0

    def open(self) -> VectorStore:
        return ServerStore(self.url, self._key, 30.0, self._prefix)

    def close(self) -> None:
        if self._given is not None:
            for collection in self._store.collections():
                self._store.drop(collection)
        self._store.close()
        if self._child is not None:
            self._child.signal(signal.SIGTERM)
            assert self._child.wait(10)

    def _answers(self) -> bool:
        assert self._child is not None
        assert self._child.alive, f"it ended with {self._child.code}; see {self._log}"
        try:
            return httpx.get(f"{self.url}/readyz", timeout=2.0).is_success
        except httpx.TransportError:
            return False


class OwnEdge:
    """Qdrant Edge that one worker has to itself, and is killed with."""

    kind = "Qdrant Edge"

    def __init__(self, directory: Path) -> None:
        self._directory, self._mail = directory / "vectors", directory / "mail"
        self._mail.mkdir(parents=True)
        self._mailbox = Mailbox(self._mail)
        self._is_served = False
        with closing(EdgeStore(self._directory)) as store:
            create_collections(store, Settings(), TinyEncoder.dimension, Distance.COSINE)
            self.collections = generations.live(store)

    def options(self) -> dict[str, Any]:
        return {
            "directory": str(self._directory),
            "mailbox": str(self._mail),
            "collections": (self.collections.items, self.collections.profiles, self.collections.rows),
        }

    def put(self, items: Sequence[str]) -> None:
        """Those of the start by ourselves; later ones by whoever holds the directory."""
        if not self._is_served:
            self._is_served = True
            with closing(EdgeStore(self._directory)) as store:
                store.upsert(self.collections.items, item_points(list(items)))
            return
        for done in [self._mailbox.post(item) for item in items]:
            wait_until(done.exists, f"{done.stem} is put", SETTLE_SECONDS)

    def has_pending(self) -> bool:
        since = time.time()
        wait_until(
            lambda: self._mailbox.pending(since) is not None, "the worker counts what is pending", SETTLE_SECONDS
        )
        return bool(self._mailbox.pending(since))

    def open(self) -> VectorStore:
        return EdgeStore(self._directory)

    def close(self) -> None:
        shutil.rmtree(self._directory)


class SharedEdge:
    """Qdrant Edge in this process, for consumers in threads."""

    kind = "Qdrant Edge"

    def __init__(self, directory: Path) -> None:
        self._directory = directory / "vectors"
        self.store = EdgeStore(self._directory)
        create_collections(self.store, Settings(), TinyEncoder.dimension, Distance.COSINE)
        self.collections = generations.live(self.store)
        self._lent = False

    def options(self) -> dict[str, Any]:
        return {"collections": (self.collections.items, self.collections.profiles, self.collections.rows)}

    def put(self, items: Sequence[str]) -> None:
        self.store.upsert(self.collections.items, item_points(list(items)))

    def has_pending(self) -> bool:
        return self.store.count(self.collections.profiles, PENDING) > 0

    def open(self) -> VectorStore:
        self.store.close()
        self.store = EdgeStore(self._directory)  # what was written is read back from the disk
        return self.store

    def close(self) -> None:
        self.store.close()
        shutil.rmtree(self._directory)


# -- workers ----------------------------------------------------------------------------------------------------------


@dataclass(eq=False)
class WorkerProcess:
    """A worker process. `armed`: its fail-point; `ending`: how it was made to end, where it was."""

    child: Child
    armed: str | None
    ending: str | None = None


Arm = Callable[[], tuple[str, int, str] | None]
"""The fail-point of the next worker: (point, on the n-th time, kill or stop)."""


class Workers(Protocol):
    """Processes or threads that handle the events."""

    def replace_dead(self) -> None:
        """Start as many as are missing."""

    def disarm(self) -> None:
        """Start workers without fail-points from now on."""

    def finish(self) -> None:
        """End all; everything is handled."""

    def abandon(self) -> None:
        """End whatever is left."""


class WorkerPool:
    """Worker processes that are replaced when they die."""

    def __init__(self, world: World, size: int, arm: Arm = lambda: None) -> None:
        self._world, self._arm = world, arm
        self.size = size
        self.workers: list[WorkerProcess] = []

    def __str__(self) -> str:
        return ", ".join(
            f"{worker.child.log.name} (alive: {worker.child.alive}, stopped: {worker.child.stopped}, "
            f"to fail at: {worker.armed}, ending: {worker.ending})"
            for worker in self.workers
        )

    def replace_dead(self) -> None:
        """Start as many as are missing."""
        for worker in [worker for worker in self.workers if not worker.child.alive]:
            self.workers.remove(worker)
            self._check_exit(worker)
        while len(self.staying) < self.size:
            self.add()

    @property
    def staying(self) -> list[WorkerProcess]:
        """Those that weren't made to end."""
        return [worker for worker in self.workers if worker.ending is None]

    def resize(self, size: int) -> None:
        """Have so many workers: others join, or some leave in order."""
        self.size = size
        for worker in self.staying[size:]:
            self.stop(worker)
            self._world.faults.note("one leaves")
        while len(self.staying) < size:
            self.add()
            self._world.faults.note("one joins")

    def add(self, armed: tuple[str, int, str] | None = None) -> WorkerProcess:
        """Start one more, with this fail-point or the one whose turn it is."""
        armed = armed or self._arm()
        options = self._world.worker_options()
        if armed is not None:
            options = replace(options, fail=armed[0], on=armed[1], action=armed[2])
        log = self._world.directory / f"worker-{self._world.next_number()}.log"
        worker = WorkerProcess(
            self._world.fork_server.fork("tests.chaos.worker", options.to_json(), log), armed and armed[0]
        )
        self.workers.append(worker)
        return worker

    def disarm(self) -> None:
        """Start workers without fail-points from now on."""
        self._arm = lambda: None

    def kill(self, worker: WorkerProcess) -> None:
        """Send SIGKILL."""
        if worker.child.alive and worker.ending is None:
            worker.ending = "killed"
            worker.child.signal(signal.SIGKILL)
            worker.child.wait(10)
            self._world.faults.note("kill -9")

    def stop(self, worker: WorkerProcess) -> None:
        """Send SIGTERM: it finishes its batch and leaves the group."""
        worker.ending = "left"
        worker.child.signal(signal.SIGTERM)

    def finish(self) -> None:
        """Kill all: nothing of what they have acknowledged may be lost with them."""
        for worker in self.workers:
            worker.ending = worker.ending or "killed"
            worker.child.signal(signal.SIGKILL)
        for worker in self.workers:
            assert worker.child.wait(10)
            self._check_exit(worker)
        self.workers.clear()

    def abandon(self) -> None:
        """Kill whatever is left."""
        for worker in self.workers:
            worker.child.signal(signal.SIGKILL)
            worker.child.wait(10)
        self.workers.clear()

    def _check_exit(self, worker: WorkerProcess) -> None:
        code = worker.child.code
        if code == -signal.SIGKILL and worker.ending is not None:
            return
        if code == -signal.SIGKILL and worker.armed is not None:
            self._world.faults.note(f"kill -9 at: {worker.armed}")
            return
        if not (
            worker.ending == "left" and code in (0, -signal.SIGTERM)
        ):  # the signal came before its handler was there
            self._world.trouble.append(f"a worker ended by itself, with {code}: {worker.child.log}")


# -- all of it --------------------------------------------------------------------------------------------------------


@dataclass
class Outcome:
    """What a scenario came to."""

    scenario: str
    seed: int
    kafka: str
    store: str
    faults: Faults
    sent: int
    findings: Findings
    directory: Path

    @property
    def injected(self) -> int:
        """Faults, of whatever kind."""
        return sum(self.faults.counts.values())

    def complaint(self) -> str:
        """Why it failed, and how to see it again."""
        return "\n".join(
            [
                f"{self.scenario}: lost {self.findings.lost}, doubled {self.findings.doubled}, of {self.sent} events",
                *self.findings.problems[:30],
                f"… {len(self.findings.problems)} problems",
                f"CHAOS_SEED={self.seed}; the workers' logs are in {self.directory}; what was done to them:",
                *self.faults.log,
            ]
        )


@dataclass
class World:
    """A scenario's surroundings. Made by `a_world`."""

    scenario: str
    seed: int
    size: Size
    cluster: Cluster
    fork_server: ForkServer
    directory: Path
    backend: Backend
    kafka: KafkaOptions
    profile: dict[str, Any]
    rng: random.Random
    load: Load
    log: LogReader
    people: list[str]
    consumer: dict[str, str]
    faults: Faults = field(default_factory=Faults)
    trouble: list[str] = field(default_factory=list)
    began: float = field(default_factory=time.monotonic)
    pools: list[Workers] = field(default_factory=list)
    poisoned: dict[Place, Poisoned] = field(default_factory=dict)
    """What was sent to be a dead letter, beside what the load sends."""
    _numbers: int = 0

    def next_number(self) -> int:
        """1, 2, …"""
        self._numbers += 1
        return self._numbers

    def worker_options(self) -> WorkerOptions:
        """The options of the next worker."""
        return WorkerOptions(
            bootstrap_servers=self.kafka.bootstrap_servers,
            prefix=self.kafka.prefix,
            profile=self.profile,
            consumer=self.consumer,
            batch_size=self.rng.choice((50, 200, 500)),
            **self.backend.options(),
        )

    def pool(self, size: int, arm: Arm = lambda: None) -> WorkerPool:
        """Workers, started."""
        pool = WorkerPool(self, size, arm)
        self.pools.append(pool)
        pool.replace_dead()
        return pool

    @property
    def is_over(self) -> bool:
        """Whether its time is up."""
        return time.monotonic() > self.began + self.size.seconds

    def moments(self, least: float, most: float) -> Iterator[int]:
        """Random moments while the scenario lasts: numbered, after waits of `least` to `most` seconds."""
        number = 0
        while not self.is_over:
            self.pause(least, most)
            yield number
            number += 1

    def pause(self, least: float, most: float) -> None:
        """Let `least` to `most` seconds go by: faults come at moments that have nothing to do with the work."""
        time.sleep(self.rng.uniform(least, most))

    def until(self, condition: Callable[[], object], what: str, seconds: float = SETTLE_SECONDS) -> None:
        """Wait, keeping the pools at their size."""

        def replaced() -> object:
            for pool in self.pools:
                pool.replace_dead()
            return condition()

        try:
            wait_until(replaced, what, seconds)
        except AssertionError as error:
            raise AssertionError(f"{error}; {self.state()}") from None

    def state(self) -> str:
        """How far everything is, for whoever waited in vain."""
        workers = "; ".join(f"{pool}" for pool in self.pools)
        done = "\n".join(self.faults.log[-5:])
        return (
            f"committed {self.committed()} of {self.ends()}, {self.log.members(GROUP)} members; workers: {workers}; "
            f"trouble: {self.trouble}; logs in {self.directory}; seed {self.seed}; done last:\n{done}"
        )

    def conclude(self) -> Outcome:
        """No more faults: wait until everything is handled, end the workers, compare."""
        for pool in self.pools:
            pool.disarm()
        self.load.stop()
        self.until(self.is_quiet, "everything is handled")
        for pool in self.pools:
            pool.finish()
        assert self._is_handled(), "records came after everything was handled"
        locate(self.log, self.load.events)
        settings = ProfileSettings(**self.profile)
        truth = Truth.of(self.load.events, self.people, self.load.put_at, settings)
        truth.poison |= self.poisoned
        with closing(self.backend.open()) as store:
            findings = check(truth, store, self.backend.collections, self.log, settings)
        findings.problems += self.trouble
        return Outcome(
            self.scenario,
            self.seed,
            self.cluster.kind,
            self.backend.kind,
            self.faults,
            len(self.load.events),
            findings,
            self.directory,
        )

    def is_quiet(self) -> bool:
        """Whether all is handled, and nothing waits: looked at between two looks at the offsets."""
        return self._is_handled() and not self.backend.has_pending() and self._is_handled()

    def has_handled(self, ends: dict[int, int]) -> bool:
        """Whether everything below these offsets is handled and committed."""
        committed = self.committed()
        return all(committed[partition] >= end for partition, end in ends.items())

    def ends(self) -> dict[int, int]:
        """The offset that the next record of each partition will get."""
        return {partition: high for partition, (_, high) in self.log.bounds("interactions").items()}

    def committed(self, group: str = GROUP, topic: str = "interactions") -> dict[int, int]:
        """The next offset to handle of each partition, -1 where nothing is committed."""
        found = self.log.committed(group, topic)
        return {partition: -1 if at is None else at.offset for partition, at in found.items()}

    def _is_handled(self) -> bool:
        # Committed first: what was appended later is above it then, whoever appends.
        committed = self.committed()
        if committed != self.ends():
            return False
        learnt = self.committed(ROW_GROUP, "activity")
        return learnt == {partition: high for partition, (_, high) in self.log.bounds("activity").items()}


@contextmanager
def a_world(
    scenario: str,
    seed: int,
    size: Size,
    cluster: Cluster,
    fork_server: ForkServer,
    directory: Path,
    backend: Backend,
    pending_seconds: float,
) -> Iterator[World]:
    """The surroundings of a scenario, running; cleared away afterwards, but for the logs."""
    options = KafkaOptions(
        cluster.bootstrap_servers, prefix=f"chaos-{uuid.uuid4().hex[:8]}.", partitions=PARTITIONS, signer=SIGNER
    )
    ensured = ensure_topics(options)
    stream = Stream(seed)
    producer = KafkaProducer(options)

    def put(items: Sequence[str]) -> None:
        _list_items(producer, items)
        backend.put(items)

    put(stream.items)
    load = Load(options, stream, size, lambda item: put([item]))
    world = World(
        scenario,
        seed,
        size,
        cluster,
        fork_server,
        directory,
        backend,
        options,
        {"event_ids": EVENT_IDS, "pending": 400, "pending_seconds": pending_seconds},
        random.Random(seed),
        load,
        LogReader(options),
        stream.people,
        consumer_settings(cluster),
    )
    try:
        load.start()
        yield world
    finally:
        for pool in world.pools:
            pool.abandon()
        load.abandon()
        producer.close()
        world.log.close()
        backend.close()
        AdminClient({"bootstrap.servers": options.bootstrap_servers}).delete_topics(list(ensured))


def _list_items(producer: KafkaProducer, items: Sequence[str]) -> None:
    """Say what they are filtered by, as the embedder does before it makes them."""
    listings = [Listing(item_id=item, fields={"meta": {}}, offer={}) for item in items]
    producer.send_all([Outgoing("activity", one.item_id.encode(), one.to_bytes(), ()) for one in listings])


def consumer_settings(cluster: Cluster) -> dict[str, str]:
    """A group that soon sees who is dead: as soon as the cluster allows."""
    least = 6000 if cluster.kind == "KAFKA_BOOTSTRAP" else 1000
    return {"session.timeout.ms": str(least), "heartbeat.interval.ms": "250"}


def wait_until(condition: Callable[[], object], what: str, seconds: float) -> None:
    """Return as soon as it holds; fail when it doesn't in time. Whoever can't be asked for a moment is asked again."""
    deadline = time.monotonic() + seconds
    while True:
        with suppress(Unavailable):
            if condition():
                return
        assert time.monotonic() < deadline, f"{what}: not within {seconds} s"
        time.sleep(0.02)
