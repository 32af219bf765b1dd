"""Which choices the weights of learned strategies are fitted to: every one while there are few, else some a second."""

from __future__ import annotations

from collections.abc import Callable

RATE = 4.0
"""Choices a second of one profiler, in the long run: finding one takes affinity some ten milliseconds."""
BURST = 8.0
"""Most at once."""


class ChoiceSampler:
    """A token bucket. `monotonic` in seconds."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._tokens, self._filled_at = BURST, monotonic()

    def takes_next(self) -> bool:
        """Return whether the next choice is one of the sample."""
        now = self._monotonic()
        self._tokens = min(BURST, self._tokens + RATE * (now - self._filled_at))
        self._filled_at = now
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True
