"""What was shown to whom, on its way to the profiles: one record a person and minute, sent in the background.

It is statistics: an answer never waits for it, and what doesn't fit or isn't taken is dropped and counted.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterable
from concurrent.futures import Future, wait
from dataclasses import dataclass, field
from functools import partial

import structlog

from eddyline.adapters.kafka import Outgoing, Producer, RecordMetadata
from eddyline.adapters.telemetry import Metrics
from eddyline.errors import EddylineError
from eddyline.model.events import Exposure, cloud_event_headers
from eddyline.model.ids import Person
from eddyline.topics import INTERACTIONS

WINDOW_SECONDS = 60.0
"""How long a person's lists are gathered, from the first one on: so records go out evenly, not all on the minute."""
ITEMS_A_RECORD = 1000
MOST = 200_000
"""Most items gathered at once, of all people."""
CLOSING_SECONDS = 5.0
FULL, BROKER = "full", "broker"

log = structlog.get_logger("reader")


@dataclass(slots=True)
class _ExposureWindow:
    """What one person was shown since `start` (epoch seconds), in that order."""

    start: float
    anonymous_id: str | None = None
    """That the first of these lists was asked for with, beside the user's: by it an experiment knew them."""
    items: dict[str, None] = field(default_factory=dict)


class ExposureLog:
    """Gathers what was served and tells the profilers. Thread-safe; the caller must `close`. `clock`: epoch seconds."""

    def __init__(
        self, producer: Producer, metrics: Metrics, clock: Callable[[], float] = time.time, most: int = MOST
    ) -> None:
        self._producer, self._metrics, self._clock, self._most = producer, metrics, clock, most
        self._lock = threading.Lock()
        self._windows: dict[Person, _ExposureWindow] = {}
        """In the order in which they began."""
        self._held = 0
        self._sent: set[Future[RecordMetadata]] = set()
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None

    def note(self, person: Person, item_ids: Iterable[str], anonymous_id: str | None = None) -> None:
        """Note items that were just served to a person. Returns at once and raises nothing.

        `anonymous_id`: the request's, which a user's may have too.
        """
        dropped = 0
        with self._lock:
            window = self._windows.get(person) or _ExposureWindow(self._clock(), anonymous_id)
            for item_id in item_ids:
                if item_id in window.items:
                    continue
                if self._held >= self._most or len(window.items) >= ITEMS_A_RECORD or self._closing.is_set():
                    dropped += 1
                    continue
                window.items[item_id] = None
                self._held += 1
            if window.items:
                self._windows[person] = window
        if dropped:
            self._metrics.shown_dropped.labels(FULL).inc(dropped)

    def start(self) -> None:
        """Send about every second what is due."""
        self._thread = threading.Thread(target=self._run, name="reader-shown", daemon=True)
        self._thread.start()

    def send_due(self) -> None:
        """Send the windows that are over."""
        self._send(self._take(self._clock() - WINDOW_SECONDS))

    def close(self) -> None:
        """Send what is left, and wait a little for its acknowledgement; what is noted from now on is dropped."""
        with self._lock:
            self._closing.set()
        if self._thread is not None:
            self._thread.join()
        self._send(self._take(float("inf")))
        with self._lock:
            unacknowledged = tuple(self._sent)
        wait(unacknowledged, timeout=CLOSING_SECONDS)

    def _run(self) -> None:
        while not self._closing.wait(1.0):
            try:
                self.send_due()
            except Exception:  # a mistake of ours must not end the telling
                log.exception("couldn't report what was shown")

    def _take(self, began: float) -> dict[Person, _ExposureWindow]:
        """The windows that began at this time or before."""
        with self._lock:
            due = {}
            for person, window in self._windows.items():
                if window.start > began:
                    break
                due[person] = window
            for person, window in due.items():
                del self._windows[person]
                self._held -= len(window.items)
        return due

    def _send(self, windows: dict[Person, _ExposureWindow]) -> None:
        refused, reason = 0, ""
        for person, window in windows.items():
            try:
                sent = self._producer.send(_record(person, window))
            except EddylineError as error:
                refused, reason = refused + len(window.items), str(error)
                continue
            except Exception as error:  # a mistake of ours: it must cost no more than this record
                log.exception("no record of what was shown could be sent")
                refused, reason = refused + len(window.items), str(error)
                continue
            with self._lock:
                self._sent.add(sent)
            sent.add_done_callback(partial(self._settled, len(window.items)))
        if refused:
            self._metrics.shown_dropped.labels(BROKER).inc(refused)
            log.warning("what was shown isn't reported to the profiles", items=refused, reason=reason)

    def _settled(self, items: int, sent: Future[RecordMetadata]) -> None:
        """In the producer's thread."""
        with self._lock:
            self._sent.discard(sent)
        if sent.exception() is None:
            self._metrics.shown.inc(items)
        else:
            self._metrics.shown_dropped.labels(BROKER).inc(items)


def _record(person: Person, window: _ExposureWindow) -> Outgoing:
    shown = Exposure(
        user_id=person.id if person.kind == "u" else None,
        anonymous_id=person.id if person.kind == "a" else window.anonymous_id,
        timestamp=window.start,
        items=list(window.items),
    )
    headers = cloud_event_headers(shown, str(uuid.uuid4()), "reader")
    return Outgoing(INTERACTIONS, person.key.encode(), shown.to_bytes(), headers)
