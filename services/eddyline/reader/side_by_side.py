"""Two calls to the store at the same time, so that a list waits for the slower one and not for both."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

THREADS = 32
"""Calls beside others at a time, about as many as a reader answers requests at a time."""

One = TypeVar("One")
Other = TypeVar("Other")


class SideBySide:
    """A few threads, started as they are needed. May be used from any thread, and not after `close`."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(THREADS, "side-by-side")

    def run(self, one: Callable[[], One], other: Callable[[], Other]) -> tuple[One, Other]:
        """Return both results. `one` runs in the caller's thread; raises what either raises, `one` first."""
        beside = self._threads.submit(other)
        result = one()
        return result, beside.result()

    def close(self) -> None:
        """Finish what runs, and take no more."""
        self._threads.shutdown()
