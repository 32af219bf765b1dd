"""Consumers in threads of this process, on one embedded store: they come, go, and stall at fail-points."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from tests.chaos.failpoints import FailPoint
from tests.chaos.worker import build, build_affinity
from tests.chaos.world import STOP_SECONDS, SharedEdge, World, wait_until

from eddyline.adapters.kafka import ConsumeLoop, KafkaProducer
from eddyline.adapters.telemetry import Metrics
from eddyline.model.events import PersonEvent, RowEvent

STALL = {"max.poll.interval.ms": "2000"}
"""How long a consumer may stall before its group goes on without it."""


@dataclass(eq=False)
class Consumer:
    """A running consumer. `stalled` at its fail-point until `wakes`."""

    loop: ConsumeLoop[PersonEvent]
    rows: ConsumeLoop[RowEvent]
    threads: list[threading.Thread]
    wakes: threading.Event
    stalled: threading.Event
    failures: list[BaseException] = field(default_factory=list)


class Threads:
    """As `WorkerPool`, but a thread can't be killed: it can stall for long, though."""

    def __init__(self, world: World, edge: SharedEdge) -> None:
        self._world, self._edge = world, edge
        self._producer = KafkaProducer(world.worker_options().kafka)
        self.consumers: list[Consumer] = []
        world.pools.append(self)

    def __str__(self) -> str:
        return ", ".join(
            f"threads (alive: {[thread.is_alive() for thread in consumer.threads]}, "
            f"stalled: {consumer.stalled.is_set()}, awake: {consumer.wakes.is_set()}, {consumer.loop.status()}, "
            f"failures: {consumer.failures})"
            for consumer in self.consumers
        )

    def join(self, stall_at: str | None = None, on: int = 1) -> Consumer:
        """One more, which may stall at a point."""
        options = self._world.worker_options()
        options = replace(options, consumer={**options.consumer, **STALL})
        stalled, wakes = threading.Event(), threading.Event()

        def stall() -> None:
            stalled.set()
            wakes.wait()

        point = FailPoint(stall_at, on, stall)
        loop, _ = build(options, self._edge.store, self._producer, point, Metrics())
        rows = build_affinity(options, self._edge.store, self._producer, point, Metrics())
        consumer = Consumer(loop, rows, [], wakes, stalled)
        consumer.threads = [threading.Thread(target=self._running(consumer, each)) for each in (loop, rows)]
        for thread in consumer.threads:
            thread.start()
        self.consumers.append(consumer)
        return consumer

    def leave(self, consumer: Consumer) -> None:
        """It finishes its batch and leaves the group."""
        consumer.loop.stop()
        consumer.rows.stop()
        consumer.wakes.set()
        for thread in consumer.threads:
            thread.join(STOP_SECONDS)
            assert not thread.is_alive(), "a consumer doesn't leave"
        self.consumers.remove(consumer)
        self._world.trouble += [f"a consumer ended by itself: {error!r}" for error in consumer.failures]

    def replace_dead(self) -> None:
        """They don't die."""

    def disarm(self) -> None:
        """Nor are they replaced."""

    def finish(self) -> None:
        for consumer in list(self.consumers):
            self.leave(consumer)
        self._producer.close()

    def abandon(self) -> None:
        self.finish()

    def joined(self, consumer: Consumer) -> None:
        """Wait until it is in its group, and owns something."""
        wait_until(lambda: consumer.loop.status().assigned, "a consumer joins", STOP_SECONDS)

    def _running(self, consumer: Consumer, loop: ConsumeLoop[Any]) -> Callable[[], None]:
        def run() -> None:
            try:
                loop.run()
            except BaseException as error:
                consumer.failures.append(error)

        return run
