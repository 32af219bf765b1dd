"""What was served, on its way to the measures: one record a response, sent in the background.

It is statistics: an answer never waits for it, and what doesn't fit or isn't taken is dropped and counted.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, wait
from functools import partial
from typing import NamedTuple

import structlog
from pydantic import ValidationError

from eddyline.adapters.kafka import Outgoing, Producer, RecordMetadata
from eddyline.adapters.telemetry import Metrics
from eddyline.errors import EddylineError
from eddyline.model.events import ServedItem, ServedList, cloud_event_headers
from eddyline.model.ids import Person
from eddyline.topics import IMPRESSIONS

PAUSE_SECONDS = 0.25
MOST = 100_000
"""Most items held at once, until the broker has them; a list counts as one more."""
CLOSING_SECONDS = 5.0
FULL, BROKER, INVALID = "full", "broker", "invalid"

log = structlog.get_logger("reader")


class QueuedItem(NamedTuple):
    """One place. `listed_at`: epoch seconds of its publication, or of its first arrival."""

    item_id: str
    rank: int
    score: float
    category: str | None
    listed_at: float | None


class QueuedList(NamedTuple):
    """What a person was served. `at`: epoch seconds; `took`: seconds that it took to make."""

    request_id: str
    person: Person
    at: float
    took: float
    lines: Sequence[QueuedItem]
    strategy: str
    variant: str
    experiment: str | None = None
    revision: str | None = None
    unit: str | None = None
    """The typed key that they were assigned by, where it isn't their own."""
    session_id: str | None = None
    surface: str | None = None
    is_forced: bool = False
    is_batch: bool = False
    is_degraded: bool = False


class ServedListLog:
    """Takes what was served and tells it to Kafka. Thread-safe; the caller must `close`."""

    def __init__(self, producer: Producer, metrics: Metrics, most: int = MOST) -> None:
        self._producer, self._metrics, self._most = producer, metrics, most
        self._lock = threading.Lock()
        self._waiting: deque[QueuedList] = deque()
        self._held = 0
        self._sent: set[Future[RecordMetadata]] = set()
        self._untold: dict[str, int] = {}
        """How many lists weren't taken since it was last said so, by the reason."""
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None

    def note(self, response: QueuedList) -> None:
        """Queue a list that was just served. Returns at once and raises nothing."""
        size = _weight(response)
        with self._lock:
            is_taken = self._held + size <= self._most and not self._closing.is_set()
            if is_taken:
                self._held += size
                self._waiting.append(response)
        if not is_taken:
            self._metrics.impressions_dropped.labels(FULL).inc()

    def start(self) -> None:
        """Send what waits, several times a second."""
        self._thread = threading.Thread(target=self._run, name="reader-impressions", daemon=True)
        self._thread.start()

    def send_waiting(self) -> None:
        """Send what waits, in order."""
        while (response := self._next()) is not None:
            self._send(response)
            time.sleep(0)  # lets go of the interpreter, so that an answer waits for one record at most, not for all
        self._complain()

    def close(self) -> None:
        """Send what is left, and wait a little for its acknowledgement; what is noted from now on is dropped."""
        with self._lock:
            self._closing.set()
        if self._thread is not None:
            self._thread.join(CLOSING_SECONDS)
        if self._thread is None or not self._thread.is_alive():
            self.send_waiting()
        with self._lock:
            unacknowledged = tuple(self._sent)
        wait(unacknowledged, timeout=CLOSING_SECONDS)
        self._complain()

    def _run(self) -> None:
        while not self._closing.wait(PAUSE_SECONDS):
            try:
                self.send_waiting()
            except Exception:  # a mistake of ours must not end the telling
                log.exception("couldn't report served lists")

    def _next(self) -> QueuedList | None:
        with self._lock:
            return self._waiting.popleft() if self._waiting else None

    def _send(self, response: QueuedList) -> None:
        size = _weight(response)
        try:
            sent = self._producer.send(_record(response))
        except EddylineError as error:
            self._drop(size, error, BROKER)
            return
        except ValidationError as error:
            self._drop(size, error, INVALID)
            return
        except Exception as error:  # a mistake of ours: it must cost no more than this list
            log.exception("no record of served lists could be sent", request_id=response.request_id)
            self._drop(size, error, INVALID)
            return
        with self._lock:
            self._sent.add(sent)
        sent.add_done_callback(partial(self._settled, size))

    def _settled(self, size: int, sent: Future[RecordMetadata]) -> None:
        """In the producer's thread."""
        with self._lock:
            self._sent.discard(sent)
        error = sent.exception()
        if error is not None:
            self._drop(size, error, BROKER)
            return
        with self._lock:
            self._held -= size
        self._metrics.impressions.inc()

    def _drop(self, size: int, error: BaseException, reason: str) -> None:
        said = str(error) or type(error).__name__
        with self._lock:
            self._held -= size
            self._untold[said] = self._untold.get(said, 0) + 1
        self._metrics.impressions_dropped.labels(reason).inc()

    def _complain(self) -> None:
        """Once for many, since a broker that is away takes none."""
        with self._lock:
            untold, self._untold = self._untold, {}
        for reason, lists in untold.items():
            log.warning("served lists aren't measured", lists=lists, reason=reason)


def _weight(response: QueuedList) -> int:
    return 1 + len(response.lines)


def _record(response: QueuedList) -> Outgoing:
    person = response.person
    impression = ServedList(
        request_id=response.request_id,
        user_id=person.id if person.kind == "u" else None,
        anonymous_id=person.id if person.kind == "a" else None,
        session_id=response.session_id,
        surface=response.surface or None,
        strategy=response.strategy,
        experiment=response.experiment,
        variant=response.variant,
        revision=response.revision,
        unit=response.unit,
        forced=response.is_forced,
        batch=response.is_batch,
        degraded=response.is_degraded,
        took_ms=round(response.took * 1000, 3),
        items=[
            ServedItem(
                item_id=line.item_id,
                rank=line.rank,
                score=line.score,
                category=line.category,
                published_at=line.listed_at,
            )
            for line in response.lines
        ],
        timestamp=response.at,
    )
    headers = cloud_event_headers(impression, str(uuid.uuid4()), "reader")
    return Outgoing(IMPRESSIONS, person.key.encode(), impression.to_bytes(), headers)
