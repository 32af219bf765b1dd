"""Which choices the weights of learned strategies are fitted to: every one while there are few, else some a second."""

from __future__ import annotations

from collections.abc import Callable

from eddyline.model.token_bucket import TokenBucket

RATE = 4.0
"""Choices a second of one profiler, in the long run: finding one takes affinity some ten milliseconds."""
BURST = 8.0
"""Most at once."""


class ChoiceSampler:
    """`monotonic` in seconds."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._bucket = TokenBucket(RATE, BURST, monotonic)

    def takes_next(self) -> bool:
        """Return whether the next choice is one of the sample."""
        if self._bucket.level() < 1.0:
            return False
        self._bucket.spend(1.0)
        return True
