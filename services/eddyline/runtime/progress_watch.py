"""Whether a consumer gets anywhere: one that runs, has records to handle and handles none is not ready. And how far one
is behind that has many: it says so in the log."""

from __future__ import annotations

from collections.abc import Callable, Hashable

import structlog

BEHIND_RECORDS = 10_000
"""From how many records on a consumer says how many are left."""
_REPORT_SECONDS = 10.0

log = structlog.get_logger("eddyline")


class ProgressWatch:
    """Compares how far a consumer has come, from one look to the next. `monotonic` in seconds.

    One thread notes, any may read.
    """

    def __init__(self, stalled_seconds: float, monotonic: Callable[[], float]) -> None:
        self._limit, self._monotonic = stalled_seconds, monotonic
        self._reached: Hashable = None
        self._since = monotonic()
        self._left = 0

    def note(self, reached: Hashable, left: int) -> None:
        """Note how far it has come (anything that changes with each record), and how many records are left."""
        if reached != self._reached or left == 0:
            self._reached, self._since = reached, self._monotonic()
        self._left = left

    @property
    def problem(self) -> str | None:
        """Say since when it has made no progress; None where it has, or has nothing to do."""
        stalled = self._monotonic() - self._since
        if self._left == 0 or stalled < self._limit:
            return None
        return f"makes no progress: no record handled for {stalled:.0f} s, {self._left:,} are left"


class BacklogReport:
    """Says in the log how many records a consumer has left, now and then from `BEHIND_RECORDS` on, until it has a tenth
    of that. `monotonic` in seconds; for one thread."""

    def __init__(self, consumer: str, monotonic: Callable[[], float]) -> None:
        self._consumer, self._monotonic = consumer, monotonic
        self._next: float | None = None

    def note(self, left: int) -> None:
        """Note how many are left."""
        now = self._monotonic()
        if left >= BEHIND_RECORDS and (self._next is None or now >= self._next):
            log.info("catching up", consumer=self._consumer, records_left=left)
            self._next = now + _REPORT_SECONDS
        elif self._next is not None and left < BEHIND_RECORDS // 10:
            log.info("caught up", consumer=self._consumer)
            self._next = None
