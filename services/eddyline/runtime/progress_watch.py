"""Whether a consumer gets anywhere: one that runs, has records to handle and handles none is not ready."""

from __future__ import annotations

from collections.abc import Callable, Hashable


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
