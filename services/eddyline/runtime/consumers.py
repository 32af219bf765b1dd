"""The consumers of a process, each on the collections that are live, and then on those that take over.

Each loop runs in a thread of its own; one more looks for generations once a second, and starts, stops and replaces
loops. A loop that fails ends the process: what it had not committed is handled again by the next one.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import structlog

from eddyline.adapters.kafka import ConsumeLoop
from eddyline.adapters.vectors import Collections
from eddyline.adapters.vectors.generations import Generations
from eddyline.errors import Unavailable
from eddyline.runtime.progress_watch import BacklogReport, ProgressWatch

WATCH_SECONDS = 1.0
STALLED_SECONDS = 120.0
"""A consumer that has records to handle and has handled none for so long isn't ready."""

log = structlog.get_logger("eddyline")


class RoleConsumer:
    """One service's consume loop on the live collections: stopped while they are sealed, replaced on their successors.

    `holds`: the logical names of the collections that it works on. `make` gives it a loop on concrete ones, and
    subscribes its group; `retire` gets a group that the successor doesn't share.
    """

    def __init__(
        self,
        name: str,
        holds: Sequence[str],
        make: Callable[[Collections], ConsumeLoop[Any]],
        retire: Callable[[str], None],
        now: Generations,
        monotonic: Callable[[], float] = time.monotonic,
        obstacle: Callable[[], str | None] = lambda: None,
    ) -> None:
        """Make the first loop, on what is live `now`. Raises what `make` raises.

        `monotonic` in seconds; `obstacle` says why it must wait with consuming, as long as it must.
        """
        self.name = name
        self._holds, self._make, self._retire = tuple(holds), make, retire
        self._on = now.live
        self._loop = make(now.live)
        self._thread: threading.Thread | None = None
        self._waiting: str | None = None
        self._must_wait = obstacle
        self._progress = ProgressWatch(STALLED_SECONDS, monotonic)
        self._backlog = BacklogReport(name, monotonic)

    def follow(self, now: Generations, run: Callable[[ConsumeLoop[Any]], None]) -> None:
        """Start, stop or replace the loop as `now` asks; `run` is called with it in a thread of its own.

        A loop that is to stop finishes its batch first: the next call finds it ended. Raises what `make` raises.
        """
        self._waiting = self._obstacle(now)
        status = self._loop.status()
        is_consuming = status.ready and not self._waiting
        left = self.lag() if is_consuming else 0
        self._progress.note(status.records, left)
        if is_consuming:
            self._backlog.note(left)
        moved = self._held(now.live) != self._held(self._on)
        if self._is_running():
            if self._waiting or moved:
                self._loop.stop()
        elif not self._waiting:
            if moved or self._thread is not None:
                self._replace(now.live)
            self._thread = threading.Thread(target=run, args=(self._loop,), name=self.name)
            self._thread.start()

    def check(self) -> None:
        """Raise `Unavailable` unless it consumes, saying why it doesn't."""
        status = self._loop.status()
        problem = self._waiting or status.trouble or self._progress.problem
        if problem or not status.ready:
            raise Unavailable(problem or f"{self.name} hasn't joined its group yet")

    def lag(self) -> int:
        """Count the records that a running loop still has to handle, as of the last second."""
        return sum(self._loop.lag().values()) if self._is_running() else 0

    def halt(self) -> None:
        """Ask the loop to end after its batch. Takes no lock, so that a signal handler may call it."""
        self._loop.stop()

    def stop(self) -> None:
        """End the loop after its batch, and wait for it."""
        self._loop.stop()
        if self._thread is not None:
            self._thread.join()

    def _held(self, collections: Collections) -> list[str]:
        return [collections.named(name) for name in self._holds]

    def _obstacle(self, now: Generations) -> str | None:
        """Say why it must not consume; None when it may."""
        if (reason := self._must_wait()) is not None:
            return reason
        for collection in self._held(now.live):
            if collection in now.sealed:
                return f"{collection} is sealed: waiting for generation {now.sealed[collection]} to go live"
        return None

    def _is_running(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def _replace(self, live: Collections) -> None:
        group = self._loop.status().group
        self._loop, self._on = self._make(live), live
        if self._loop.status().group != group:
            self._retire(group)
        log.info("consuming", consumer=self.name, group=self._loop.status().group, collections=self._held(live))


class ConsumerThreads:
    """The consumers of a process, and the thread that watches for generations.

    `read` returns what is live and sealed; `failed` is called, once, when one of them can't go on.
    """

    def __init__(
        self, consumers: Sequence[RoleConsumer], read: Callable[[], Generations], failed: Callable[[], None]
    ) -> None:
        self._consumers, self._read, self._failed = consumers, read, failed
        self._over = threading.Event()
        self._watcher = threading.Thread(target=self._watch, name="generations")
        self.failure: BaseException | None = None
        """What made one of them end."""

    def start(self) -> None:
        """Run those that may, and watch from now on."""
        if self._consumers:
            self._watcher.start()

    def follow(self) -> None:
        """Look once. Raises `Misconfigured` where nothing is live, or a consumer can't work on what is."""
        try:
            now = self._read()
            for consumer in self._consumers:
                consumer.follow(now, self._run)
        except Unavailable:
            pass  # /readyz says it; the next look is soon

    def halt(self) -> None:
        """Have all of them end after their batch. A signal handler may call it."""
        for consumer in self._consumers:
            consumer.halt()

    def stop(self) -> None:
        """End all of them, and wait for them."""
        self._over.set()
        if self._watcher.is_alive():
            self._watcher.join()
        self.halt()
        for consumer in self._consumers:
            consumer.stop()

    def _watch(self) -> None:
        try:
            self.follow()
            while not self._over.wait(WATCH_SECONDS):
                self.follow()
        except BaseException as error:
            self._fail(error)

    def _run(self, loop: ConsumeLoop[Any]) -> None:
        try:
            loop.run()
        except BaseException as error:
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        self.failure = self.failure or error
        self._over.set()
        self._failed()
