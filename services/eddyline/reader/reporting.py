"""What was served, on its way to Kafka in the background: to the profiles (`ExposureLog`), one record for each person
and minute, and to the measures (`ServedListLog`), one record for each response.

It is statistics: no response waits for it, and what doesn't fit or isn't taken is dropped and counted. Any thread may
`note`; each log sends in a thread of its own; acknowledgements come in the producer's. A crash loses what is held.
"""

from __future__ import annotations

import threading
import time
import uuid
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, wait
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar

import structlog
from prometheus_client import Counter
from pydantic import ValidationError

from eddyline.adapters.kafka import Outgoing, Producer, RecordMetadata
from eddyline.adapters.telemetry import Metrics
from eddyline.errors import EddylineError
from eddyline.model.events import Exposure, ServedList, cloud_event_headers
from eddyline.model.ids import Person
from eddyline.topics import IMPRESSIONS, INTERACTIONS

MAX_EXPOSURES = 200_000
"""Most exposed items held at once, of all people, until the broker has them."""
MAX_SERVED = 100_000
"""Most served items held at once, until the broker has them; a list counts as one more."""
WINDOW_SECONDS = 60.0
"""How long a person's exposures are gathered, from the first one on: records go out evenly, not all on the minute."""
ITEMS_PER_RECORD = 1000
CLOSING_SECONDS = 5.0
FULL, BROKER, INVALID = "full", "broker", "invalid"

log = structlog.get_logger("reader")


@dataclass(frozen=True, slots=True)
class PendingRecord:
    """A record that is to be sent. `size`: items held until the broker has it; `count`: what the metrics count."""

    build: Callable[[], Outgoing]
    size: int
    count: int


class BackgroundSender(ABC):
    """Sends in a thread of its own what a subclass gathers, and counts what becomes of it. The caller must `close`.

    A subclass gathers under `_lock`, and only what `_has_room` allows, adding its size to `_held`.
    """

    thread_name: ClassVar[str]
    interval: ClassVar[float]
    """Seconds between two rounds."""
    unbuildable: ClassVar[str]
    """The reason that is counted where no record can be made."""
    unit: ClassVar[str]
    """What is counted."""

    def __init__(self, producer: Producer, max_items: int, sent: Counter, dropped: Counter) -> None:
        self._producer, self._max_items = producer, max_items
        self._sent_counter, self._dropped_counter = sent, dropped
        self._lock = threading.Lock()
        self._held = 0
        self._unacknowledged: set[Future[RecordMetadata]] = set()
        self._failures: dict[str, int] = {}
        """What was dropped since it was last logged, by the error."""
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None

    @abstractmethod
    def _next_due(self) -> PendingRecord | None:
        """Take the next record that is due, under the lock; all are once the log is closing."""

    def start(self) -> None:
        """Send what is due at every interval."""
        self._thread = threading.Thread(target=self._run, name=self.thread_name, daemon=True)
        self._thread.start()

    def send_due(self) -> None:
        """Send what is due, in order."""
        while (pending := self._next_due()) is not None:
            self._send(pending)
            time.sleep(0)  # release the interpreter, so that a response waits for one record at most, not for all
        self._log_failures()

    def close(self) -> None:
        """Send what is left, and wait a little for its acknowledgement; what is noted from now on is dropped."""
        with self._lock:
            self._closing.set()
        if self._thread is not None:
            self._thread.join(CLOSING_SECONDS)
        if self._thread is None or not self._thread.is_alive():
            self.send_due()
        with self._lock:
            unacknowledged = tuple(self._unacknowledged)
        wait(unacknowledged, timeout=CLOSING_SECONDS)
        self._log_failures()

    def _has_room(self, size: int) -> bool:
        return self._held + size <= self._max_items and not self._closing.is_set()

    def _run(self) -> None:
        while not self._closing.wait(self.interval):
            try:
                self.send_due()
            except Exception:  # a bug here must not end the thread
                log.exception("couldn't report what was served")

    def _send(self, pending: PendingRecord) -> None:
        try:
            sent = self._producer.send(pending.build())
        except EddylineError as error:
            self._drop(pending, error, BROKER)
            return
        except Exception as error:  # a bug here must cost no more than this record
            if not isinstance(error, ValidationError):
                log.exception("a record of what was served couldn't be sent")
            self._drop(pending, error, self.unbuildable)
            return
        with self._lock:
            self._unacknowledged.add(sent)
        sent.add_done_callback(partial(self._settle, pending))

    def _settle(self, pending: PendingRecord, sent: Future[RecordMetadata]) -> None:
        """Count what became of a record. Runs in the producer's thread."""
        with self._lock:
            self._unacknowledged.discard(sent)
        error = sent.exception()
        if error is not None:
            self._drop(pending, error, BROKER)
            return
        with self._lock:
            self._held -= pending.size
        self._sent_counter.inc(pending.count)

    def _drop(self, pending: PendingRecord, error: BaseException, reason: str) -> None:
        message = str(error) or type(error).__name__
        with self._lock:
            self._held -= pending.size
            self._failures[message] = self._failures.get(message, 0) + pending.count
        self._dropped_counter.labels(reason).inc(pending.count)

    def _log_failures(self) -> None:
        """Log once for many, since a broker that is away takes none."""
        with self._lock:
            failures, self._failures = self._failures, {}
        for reason, count in failures.items():
            log.warning("what was served isn't reported", reason=reason, **{self.unit: count})


@dataclass(slots=True)
class _ExposureWindow:
    """What one person was shown since `start` (epoch seconds), in that order."""

    start: float
    anonymous_id: str | None = None
    """The one in the first of these requests, beside the user's: by it an experiment knew them."""
    items: dict[str, None] = field(default_factory=dict)


class ExposureLog(BackgroundSender):
    """Gathers what people were shown, and reports it to the profilers. Thread-safe. `clock`: epoch seconds."""

    thread_name, interval, unbuildable, unit = "reader-shown", 1.0, BROKER, "items"

    def __init__(
        self,
        producer: Producer,
        metrics: Metrics,
        clock: Callable[[], float] = time.time,
        max_items: int = MAX_EXPOSURES,
    ) -> None:
        super().__init__(producer, max_items, metrics.shown, metrics.shown_dropped)
        self._clock = clock
        self._windows: dict[Person, _ExposureWindow] = {}
        """In the order in which they began."""

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
                if not self._has_room(1) or len(window.items) >= ITEMS_PER_RECORD:
                    dropped += 1
                    continue
                window.items[item_id] = None
                self._held += 1
            if window.items:
                self._windows[person] = window
        if dropped:
            self._dropped_counter.labels(FULL).inc(dropped)

    def _next_due(self) -> PendingRecord | None:
        with self._lock:
            person, window = next(iter(self._windows.items()), (None, None))
            if person is None or window is None:
                return None
            if window.start > self._clock() - WINDOW_SECONDS and not self._closing.is_set():
                return None
            del self._windows[person]
        return PendingRecord(partial(_exposure_record, person, window), len(window.items), len(window.items))


class ServedListLog(BackgroundSender):
    """Queues the lists that were served, and reports them to the measures. Thread-safe."""

    thread_name, interval, unbuildable, unit = "reader-impressions", 0.25, INVALID, "lists"

    def __init__(self, producer: Producer, metrics: Metrics, max_items: int = MAX_SERVED) -> None:
        super().__init__(producer, max_items, metrics.impressions, metrics.impressions_dropped)
        self._queue: deque[Mapping[str, Any]] = deque()

    def note(self, served: Mapping[str, Any]) -> None:
        """Queue the fields of a `ServedList`; they are validated when they are sent. Returns at once and raises
        nothing."""
        size = 1 + len(served["items"])
        with self._lock:
            has_room = self._has_room(size)
            if has_room:
                self._held += size
                self._queue.append(served)
        if not has_room:
            self._dropped_counter.labels(FULL).inc()

    def _next_due(self) -> PendingRecord | None:
        with self._lock:
            if not self._queue:
                return None
            served = self._queue.popleft()
        return PendingRecord(partial(_served_record, served), 1 + len(served["items"]), 1)


def _exposure_record(person: Person, window: _ExposureWindow) -> Outgoing:
    exposure = Exposure(
        user_id=person.id if person.kind == "u" else None,
        anonymous_id=person.id if person.kind == "a" else window.anonymous_id,
        timestamp=window.start,
        items=list(window.items),
    )
    return _record(INTERACTIONS, person, exposure)


def _served_record(fields: Mapping[str, Any]) -> Outgoing:
    served = ServedList.model_validate(fields)
    return _record(IMPRESSIONS, served.person, served)


def _record(topic: str, person: Person, event: Exposure | ServedList) -> Outgoing:
    headers = cloud_event_headers(event, str(uuid.uuid4()), "reader")
    return Outgoing(topic, person.key.encode(), event.to_bytes(), headers)
