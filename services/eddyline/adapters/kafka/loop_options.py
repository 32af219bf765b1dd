"""How a consume loop behaves: batch size, back-off and its cap, dead-letter limits, time-outs."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LoopOptions:
    """How a consume loop behaves. Times are in seconds.

    A retry waits `backoff_initial`, then twice as long each time up to `backoff_cap`, each drawn between half
    and the whole. The loop stops when more than `dead_letter_share` of the newest `dead_letter_window`
    records were dead letters, once it has seen `dead_letter_minimum`. A rebalance that refuses commits
    for longer than `rebalance_seconds` makes it join again. A handler that is fenced more than `fenced_limit`
    times in a row stops it. A handler that fails by itself is tried `handler_tries` times before the record that is at
    fault is looked for. Every `log_check_seconds` it asks whether its topics are still the same logs.
    """

    batch_size: int = 500
    poll_seconds: float = 0.05
    backoff_initial: float = 0.1
    backoff_cap: float = 10.0
    dead_letter_share: float = 0.5
    dead_letter_minimum: int = 100
    dead_letter_window: int = 1000
    tick_seconds: float = 1.0
    request_seconds: float = 5.0
    rebalance_seconds: float = 30.0
    fenced_limit: int = 5
    handler_tries: int = 3
    log_check_seconds: float = 15.0

    def backoff(self, failures: int, jitter: float) -> float:
        """Seconds to wait after so many failures in a row (from 1 on); `jitter` in [0, 1)."""
        doublings = min(failures - 1, 30)
        return min(self.backoff_cap, self.backoff_initial * 2.0**doublings) * (1 + jitter) / 2
