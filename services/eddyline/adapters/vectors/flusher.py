"""Flush in the background, on a thread of its own: soon after a write, at most once every few seconds."""

from __future__ import annotations

import threading
from collections.abc import Callable

import structlog

_log = structlog.get_logger(__name__)


class Flusher:
    """Calls `flush` at most once every `every` seconds while there are writes, and again after a failure."""

    def __init__(self, flush: Callable[[], None], every: float) -> None:
        """Start the thread; the caller must `close` it."""
        self._flush = flush
        self._every = every
        self._written = threading.Event()
        self._closing = threading.Event()
        self.failure: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="vectors-flush", daemon=True)
        self._thread.start()

    def wrote(self) -> None:
        """Note that there is something to flush."""
        if not self._written.is_set():
            self._written.set()

    def close(self) -> None:
        """Stop. What isn't flushed yet is the caller's to flush."""
        self._closing.set()
        self._written.set()
        self._thread.join()

    def _run(self) -> None:
        while self._written.wait() and not self._closing.wait(self._every):
            self._written.clear()
            try:
                self._flush()
            except Exception as error:
                self.failure = error
                self._written.set()
                _log.error("vectors.flush_failed", error=str(error))
            else:
                self.failure = None
