"""What a consume loop shows of itself: for /readyz and for metrics."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Protocol

import structlog

from eddyline.adapters.kafka.contract import TopicPartition

_LOG = structlog.get_logger("eddyline.kafka.loop")


@dataclass(frozen=True, slots=True)
class LoopStatus:
    """A snapshot. `problem` says why the loop makes no progress, `since` (epoch seconds) since when."""

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
        """For people: the problem, since when, and how often it was tried in vain. None where there is none."""
        if self.problem is None or self.since is None:
            return self.problem
        since = datetime.fromtimestamp(self.since, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        tried = f"; tried {self.attempts} times" if self.attempts > 1 else ""
        return f"{self.problem} (since {since}{tried})"


class LoopMetrics(Protocol):
    """Where a loop counts. Called from the loop's thread; must not raise."""

    def records(self, group: str, topic: str, count: int) -> None:
        """So many records of a topic were handled, dead letters included."""

    def dead_letter(self, group: str, topic: str, reason: str) -> None:
        """A record became a dead letter."""

    def batch_seconds(self, group: str, seconds: float) -> None:
        """A batch was handled in so many seconds, its commit not counted."""

    def lag(self, group: str, topic: str, partition: int, records: int) -> None:
        """So many records of an owned partition aren't handled yet."""

    def retrying(self, group: str, retrying: bool) -> None:
        """The loop began (or ceased) to retry."""

    def retry(self, group: str) -> None:
        """An attempt failed, since something is unavailable; it will be made again."""


class NoLoopMetrics:
    """Counts nothing."""

    def records(self, group: str, topic: str, count: int) -> None:
        """Ignore."""

    def dead_letter(self, group: str, topic: str, reason: str) -> None:
        """Ignore."""

    def batch_seconds(self, group: str, seconds: float) -> None:
        """Ignore."""

    def lag(self, group: str, topic: str, partition: int, records: int) -> None:
        """Ignore."""

    def retrying(self, group: str, retrying: bool) -> None:
        """Ignore."""

    def retry(self, group: str) -> None:
        """Ignore."""


class LoopHealth:
    """Keeps a loop's status, and logs each change of state once. Written by the loop's thread, read by
    any."""

    def __init__(self, group: str, clock: Callable[[], float], metrics: LoopMetrics) -> None:
        self._clock, self._metrics = clock, metrics
        self._retry: str | None = None
        self._outage: str | None = None
        self._missing: frozenset[str] = frozenset()
        self.status = LoopStatus(group)

    @property
    def troubled(self) -> bool:
        """Whether the cluster was unreachable, or a topic missing, when last heard of."""
        return self._outage is not None or bool(self._missing)

    def running(self, running: bool) -> None:
        """`run` began or ended."""
        self.status = replace(self.status, running=running, joined=False, assigned=())

    def owns(self, joined: bool, partitions: Iterable[TopicPartition]) -> None:
        """The group gave or took partitions."""
        self.status = replace(self.status, joined=joined, assigned=tuple(sorted(partitions)))

    def count(self, records: int = 0, dead_letters: int = 0) -> None:
        """So many more were handled, or buried."""
        now = self.status
        self.status = replace(now, records=now.records + records, dead_letters=now.dead_letters + dead_letters)

    def failed(self, reason: str) -> int:
        """An attempt failed; how many have in a row."""
        if self._retry is None:
            _LOG.warning("retrying", group=self.status.group, reason=reason)
            self._metrics.retrying(self.status.group, True)
        self._metrics.retry(self.status.group)
        self._retry = reason
        self.status = replace(self.status, attempts=self.status.attempts + 1)
        self._tell()
        return self.status.attempts

    def succeeded(self) -> None:
        """An attempt succeeded."""
        if self._retry is None:
            return
        _LOG.info("recovered", group=self.status.group, attempts=self.status.attempts)
        self._metrics.retrying(self.status.group, False)
        self._retry = None
        self.status = replace(self.status, attempts=0)
        self._tell()

    def unreachable(self, problem: str) -> None:
        """The cluster doesn't answer."""
        if problem != self._outage:
            _LOG.warning("cluster unreachable", group=self.status.group, problem=problem)
        self._outage = problem
        self._tell()

    def missing(self, topic: str) -> None:
        """A topic doesn't exist."""
        if topic not in self._missing:
            _LOG.warning("topic missing", group=self.status.group, topic=topic)
        self._missing |= {topic}
        self._tell()

    def reachable(self, present: Iterable[str] = ()) -> None:
        """The cluster answers, and these topics exist."""
        if not self.troubled:
            return
        if self._outage is not None:
            _LOG.info("cluster answers again", group=self.status.group)
        self._outage = None
        self._missing -= frozenset(present)
        self._tell()

    def _tell(self) -> None:
        absent = (
            f"no such topic yet: {', '.join(sorted(self._missing))}; run `eddyline init`" if self._missing else None
        )
        problem = self._retry or self._outage or absent
        since = self.status.since or self._clock() if problem else None
        self.status = replace(self.status, problem=problem, since=since)
