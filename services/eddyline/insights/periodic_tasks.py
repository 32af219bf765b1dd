"""The periodic tasks of insights beside its answers: guardrails and gauges, in one thread of their own."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping

import structlog

log = structlog.get_logger("insights")


class PeriodicTasks:
    """Runs tasks, by name, every so many seconds. What one raises is logged, and the rest goes on."""

    def __init__(self, tasks: Mapping[str, Callable[[], None]], seconds: float) -> None:
        self._tasks, self._seconds = tasks, seconds
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="insights-watch", daemon=True)

    def start(self) -> None:
        """Begin. Returns at once."""
        self._thread.start()

    def close(self) -> None:
        """Stop, once the task in hand has ended."""
        self._over.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while not self._over.wait(self._seconds):
            for name, task in self._tasks.items():
                try:
                    task()
                except Exception:
                    log.exception("failed; will try again at the next check", task=name)
