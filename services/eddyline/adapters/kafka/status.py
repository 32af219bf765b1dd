"""What a consume loop shows of itself, for /readyz, logs and metrics."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import structlog

from eddyline.adapters.kafka.contract import TopicPartition
from eddyline.adapters.telemetry import Metrics
from eddyline.model.events import format_timestamp

_LOG = structlog.get_logger("eddyline.kafka.loop")


@dataclass(frozen=True, slots=True)
class LoopStatus:
    """A snapshot. `problem`: why the loop makes no progress; `since`: since when, in epoch seconds."""

    group: str
    running: bool = False
    joined: bool = False
    assigned: tuple[TopicPartition, ...] = ()
    problem: str | None = None
    since: float | None = None
    attempts: int = 0
    records: int = 0
    dead_letters: int = 0

    @property
    def ready(self) -> bool:
        """Whether it has joined its group (perhaps with nothing to own) and nothing is wrong."""
        return self.running and self.joined and self.problem is None

    @property
    def trouble(self) -> str | None:
        """The problem in words, since when, and how many attempts have failed; None where there is none."""
        if self.problem is None or self.since is None:
            return self.problem
        tried = f"; tried {self.attempts} times" if self.attempts > 1 else ""
        return f"{self.problem} (since {format_timestamp(int(self.since))}{tried})"


class LoopHealth:
    """Keep a loop's status, and log each change of state once. Written by the loop's thread, read by any."""

    def __init__(self, group: str, clock: Callable[[], float], metrics: Metrics) -> None:
        self._clock = clock
        self._retrying, self._retries = metrics.retrying.labels(group), metrics.retries.labels(group)
        self._retry: str | None = None
        self._outage: str | None = None
        self._missing: frozenset[str] = frozenset()
        self.status = LoopStatus(group)

    @property
    def troubled(self) -> bool:
        """Whether the cluster was unreachable, or a topic missing, at the last news of it."""
        return self._outage is not None or bool(self._missing)

    def running(self, running: bool) -> None:
        """Note that `run` began or ended."""
        self.status = replace(self.status, running=running, joined=False, assigned=())

    def owns(self, joined: bool, partitions: Iterable[TopicPartition]) -> None:
        """Note what the group has assigned."""
        self.status = replace(self.status, joined=joined, assigned=tuple(sorted(partitions)))

    def count(self, records: int = 0, dead_letters: int = 0) -> None:
        """Count more records that were handled, and dead letters."""
        now = self.status
        self.status = replace(now, records=now.records + records, dead_letters=now.dead_letters + dead_letters)

    def failed(self, reason: str) -> int:
        """Note that an attempt failed; return how many have in a row."""
        if self._retry is None:
            _LOG.warning("retrying", group=self.status.group, reason=reason)
            self._retrying.set(1)
        self._retries.inc()
        self._retry = reason
        self.status = replace(self.status, attempts=self.status.attempts + 1)
        self._update()
        return self.status.attempts

    def succeeded(self) -> None:
        """Note that an attempt succeeded."""
        if self._retry is None:
            return
        _LOG.info("recovered", group=self.status.group, attempts=self.status.attempts)
        self._retrying.set(0)
        self._retry = None
        self.status = replace(self.status, attempts=0)
        self._update()

    def unreachable(self, problem: str) -> None:
        """Note that the cluster doesn't answer."""
        if problem != self._outage:
            _LOG.warning("cluster unreachable", group=self.status.group, problem=problem)
        self._outage = problem
        self._update()

    def missing(self, topic: str) -> None:
        """Note that a topic doesn't exist."""
        if topic not in self._missing:
            _LOG.warning("topic missing", group=self.status.group, topic=topic)
        self._missing |= {topic}
        self._update()

    def reachable(self, present: Iterable[str] = ()) -> None:
        """Note that the cluster answers, and that these topics exist."""
        if not self.troubled:
            return
        if self._outage is not None:
            _LOG.info("cluster answers again", group=self.status.group)
        self._outage = None
        self._missing -= frozenset(present)
        self._update()

    def _update(self) -> None:
        absent = (
            f"no such topic yet: {', '.join(sorted(self._missing))}; run `eddyline init`" if self._missing else None
        )
        problem = self._retry or self._outage or absent
        since = self.status.since or self._clock() if problem else None
        self.status = replace(self.status, problem=problem, since=since)
