"""A rate that may be saved up for a while."""

from __future__ import annotations

from collections.abc import Callable


class TokenBucket:
    """Fills at `rate` a second, up to `capacity`, with which it begins. `monotonic` in seconds."""

    __slots__ = ("_capacity", "_filled_at", "_level", "_monotonic", "_rate")

    def __init__(self, rate: float, capacity: float, monotonic: Callable[[], float]) -> None:
        self._rate, self._capacity, self._monotonic = rate, capacity, monotonic
        self._level, self._filled_at = capacity, monotonic()

    def level(self) -> float:
        """Return what is in it now; below zero after more was spent."""
        now = self._monotonic()
        self._level = min(self._capacity, self._level + self._rate * (now - self._filled_at))
        self._filled_at = now
        return self._level

    def spend(self, amount: float) -> None:
        """Take so much out of it, whether it is there or not."""
        self._level -= amount
