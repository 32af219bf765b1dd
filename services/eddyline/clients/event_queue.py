"""Events in the background: `put` returns at once, a thread sends what is there, in batches.

The thread starts with the first event, and ends with `close`, which the end of the process calls, too. Without an
answer, or with a 429, 502, 503 or 504, a batch is sent again with the same ids for as long as it takes, so each event
counts once; what is put meanwhile waits. A crash of the process loses what waits.
"""

from __future__ import annotations

import atexit
import logging
import threading
import time
import uuid
import weakref
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from itertools import chain, repeat
from typing import Final, TypeAlias

import orjson

from eddyline.clients.requests import Fields
from eddyline.clients.responses import Rejections
from eddyline.clients.retries import AWAY, BUSY, PAUSES, Retries
from eddyline.errors import EddylineError, Overloaded, Unavailable

log = logging.getLogger("eddyline.clients")

MAX_BATCH: Final = 500
MAX_PENDING: Final = 10_000
CLOSE_SECONDS: Final = 10.0
"""Longest wait at the end for what isn't sent."""

Sender: TypeAlias = Callable[[Sequence[Fields], Retries, Callable[[float], object]], Rejections]
"""Sends events with these retries; the callable waits so many seconds before each."""


def log_refusal(event: Fields, error: EddylineError) -> None:
    """Log an event that was refused for good."""
    log.warning("event %s of type %s was refused: %s", event.get("event_id"), event.get("type"), error)


class EventQueue:
    """Sends events by `send`; safe for threads. `on_refused` gets each that was refused for good, in the thread."""

    def __init__(
        self,
        send: Sender,
        on_refused: Callable[[Fields, EddylineError], None] = log_refusal,
        clock: Callable[[], float] = time.time,
        max_pending: int = MAX_PENDING,
    ) -> None:
        """`clock` in epoch seconds."""
        self._send, self._on_refused, self._clock, self._max_pending = send, on_refused, clock, max_pending
        self._changed = threading.Condition()
        self._pending: deque[Fields] = deque()
        self._in_flight = 0
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None

    def put(self, event: Fields) -> str:
        """Have an event sent; return its id. Without a `timestamp` it happened now.

        Raises `Overloaded` where too many wait already, or it is closed, and TypeError where JSON has no place for what
        is in it: it would spoil the batch.
        """
        event_id = str(event.get("event_id") or uuid.uuid4())
        made = {"timestamp": self._clock(), **event, "event_id": event_id}
        orjson.dumps(made)
        with self._changed:
            if self._closing.is_set() or len(self._pending) >= self._max_pending:
                raise Overloaded(f"{len(self._pending):,} events wait to be sent already, or this is closed")
            self._pending.append(made)
            self._changed.notify_all()
            if self._thread is None or not self._thread.is_alive():  # a fork has no threads but its own
                self._start()
        return event_id

    def flush(self, seconds: float | None = None) -> bool:
        """Wait until all that was put is sent, or refused; return whether it is, within so many seconds."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._pending and not self._in_flight, seconds)

    def close(self, seconds: float = CLOSE_SECONDS) -> int:
        """Wait as `flush` does, and end; return how many are lost."""
        self.flush(seconds if self._thread is not None and self._thread.is_alive() else 0)
        self._closing.set()
        with self._changed:
            lost = len(self._pending) + self._in_flight
            self._pending.clear()
            self._changed.notify_all()
        if lost:
            log.warning("%d events could not be sent", lost)
        return lost

    def _start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="eddyline-events", daemon=True)
        self._thread.start()
        close = weakref.WeakMethod(self.close)
        atexit.register(lambda: (found := close()) and found())

    def _run(self) -> None:
        while True:
            with self._changed:
                self._in_flight = 0
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._pending or self._closing.is_set())
                if self._closing.is_set():
                    return
                batch = [self._pending.popleft() for _ in range(min(MAX_BATCH, len(self._pending)))]
                self._in_flight = len(batch)
            self._deliver(batch)

    def _deliver(self, batch: Sequence[Fields]) -> None:
        forever = Retries(AWAY | BUSY, unreachable=True, pauses=chain(PAUSES, repeat(PAUSES[-1])))
        try:
            refusals: Mapping[int, EddylineError] = self._send(batch, forever, self._pause)
        except Unavailable:  # closing
            return
        except EddylineError as error:
            refusals = dict.fromkeys(range(len(batch)), error)
        except Exception:
            log.exception("%d events are lost", len(batch))
            return
        for index, refusal in refusals.items():
            try:
                self._on_refused(batch[index], refusal)
            except Exception:
                log.exception("nobody was told of a refused event: %s", refusal)

    def _pause(self, seconds: float) -> None:
        if self._closing.wait(seconds):
            raise Unavailable("closed while it waited for an answer")
