"""Reads feeds when they are due, and writes what is new in them to `content`.

The handler of the topic `feeds`: the owner of a feed's partition alone reads it. The consume loop's thread decides what
is due and hands it to threads of its own, which fetch, write the items, wait until they are acknowledged, and only then
write down what was read: a crash means that a feed is read once more, which changes nothing.
"""

from __future__ import annotations

import random
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor, Future
from functools import partial

import structlog

from eddyline.adapters.kafka import Message, Outgoing, Producer, Record, TopicPartition
from eddyline.adapters.telemetry import Metrics
from eddyline.errors import FetchError, Overloaded
from eddyline.feeds.entry import fingerprint_of
from eddyline.feeds.feed_reader import FeedDocument, FeedGone, FeedReader, HostBusy
from eddyline.feeds.feed_state import FeedStatus, FeedView
from eddyline.feeds.schedule import MAX_BACKOFF_SECONDS, backoff, jittered, next_interval
from eddyline.model.events import Availability, Content, cloud_event_headers
from eddyline.settings import FeedSettings
from eddyline.topics import AVAILABILITY, CONTENT, FEEDS

BATCH = 200
"""Items that are sent before their acknowledgements are awaited."""
KEPT = 5_000
"""Entries that scrolled off a news feed, or were made unavailable, and are still known, should they come again."""
GONE = "gone"
"""The mark of an entry that vanished and was made unavailable."""

log = structlog.get_logger("feeds")


class FeedService:
    """The handler of the topic `feeds`. `caught_up`: whether the view holds what the topic held at the start.

    `clock` in epoch seconds; `chance` gives numbers in [0, 1).
    """

    topics = (FEEDS,)

    def __init__(
        self,
        view: FeedView,
        reader: FeedReader,
        producer: Producer,
        threads: Executor,
        metrics: Metrics,
        caught_up: Callable[[], bool],
        clock: Callable[[], float] = time.time,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._view, self._reader, self._producer, self._threads = view, reader, producer, threads
        self._metrics, self._caught_up = metrics, caught_up
        self._clock, self._chance = clock, chance
        self._owned: set[int] = set()
        self._lock = threading.Lock()
        self._running: set[str] = set()

    # -- the loop's calls ---------------------------------------------------------------------------------------

    def parse(self, record: Record) -> Record:
        """Take any record: the view reads them."""
        return record

    def handle(self, batch: Sequence[Message[Record]]) -> None:
        """Do nothing: the view follows the topic by itself."""

    def assigned(self, epochs: Mapping[TopicPartition, int]) -> None:
        """Own these partitions' feeds."""
        self._owned |= {source.partition for source in epochs}

    def revoked(self, partitions: Iterable[TopicPartition]) -> None:
        """Begin no feed of these partitions any more."""
        self._owned -= {source.partition for source in partitions}

    def tick(self) -> None:
        """Begin to read what is due."""
        if not self._caught_up():
            return
        now = self._clock()
        for name, feed in self._view.feeds().items():
            if self._view.partition(name) not in self._owned:
                continue
            status = self._view.status(name)
            with self._lock:
                if name in self._running or status.ended or status.next_at > now:
                    continue
                self._running.add(name)
            self._threads.submit(self.poll, feed).add_done_callback(partial(self._finished, name))

    def _finished(self, name: str, result: Future[None]) -> None:
        with self._lock:
            self._running.discard(name)
        if not result.cancelled() and (error := result.exception()) is not None:
            log.error("reading a feed failed; will try again", feed=name, exc_info=error)

    # -- in a thread --------------------------------------------------------------------------------------------

    def poll(self, feed: FeedSettings) -> None:
        """Read a feed once, write its items, note what was read. Raises `Unavailable` where it can't be written."""
        before, known = self._view.status(feed.name), self._view.entries(feed.name)
        before = before.model_copy(update={"defined_as": feed.url})
        entries: Mapping[str, str] = known
        try:
            document = self._reader.read(feed, before)
            status, entries = self._write(feed, document, known)
            outcome = "changed" if entries != known else "unchanged"
        except FeedGone as error:
            status, outcome = before.model_copy(update={"ended": True, "error": str(error)}), "gone"
        except (FetchError, Overloaded) as error:
            status, outcome = self._after_failure(feed, before, error), "failed"
            log.warning("a feed can't be read", feed=feed.name, reason=str(error), failures=status.failures)
        self._metrics.feeds_read.labels(outcome).inc()
        self._producer.send_all(self._view.progress_records(feed.name, status, entries))
        self._view.note(feed.name, status, entries)

    def _after_failure(self, feed: FeedSettings, before: FeedStatus, error: FetchError | Overloaded) -> FeedStatus:
        failures = before.failures + 1
        seconds = backoff(feed.every, failures, error.seconds if isinstance(error, HostBusy) else None)
        next_at = self._clock() + min(
            MAX_BACKOFF_SECONDS, jittered(seconds, self._chance()) if failures > 1 else seconds
        )
        return before.model_copy(update={"failures": failures, "error": str(error)[:500], "next_at": next_at})

    def _write(
        self, feed: FeedSettings, document: FeedDocument, known: Mapping[str, str]
    ) -> tuple[FeedStatus, Mapping[str, str]]:
        """Write what is new or changed, delete what a catalogue lacks; return the status, and what is known then."""
        now, status = self._clock(), document.status
        marks = {item_id: fingerprint_of(item, feed) for item_id, item in document.items.items()}
        last = next(reversed(marks), "")
        if not document.is_whole and last in known:  # where a document was cut off, it may be half of itself
            marks[last] = known[last]
        changed = [item for item_id, item in document.items.items() if known.get(item_id) != marks[item_id]]
        self._send([self._record(feed, _back_on_sale(item, known), now) for item in changed])
        unavailable = [item_id for item_id, mark in known.items() if mark == GONE and item_id not in marks]
        missing = [item_id for item_id, mark in known.items() if item_id not in marks and mark != GONE]
        shrunk, gone = False, list[str]()
        if document.kind == "catalogue" and document.is_whole and document.is_new:
            shrunk = len(missing) > (len(known) - len(unavailable)) / 2
            gone = missing if not shrunk or status.shrunk else []
        self._send([self._removal(feed, item_id, now) for item_id in gone])
        removed = set(gone)
        kept = [item_id for item_id in missing if item_id not in removed]
        if document.kind == "news":
            kept = kept[-KEPT:]
        if feed.vanished == "unavailable":
            unavailable = [*unavailable, *gone][-KEPT:]
        earlier = {item_id: known[item_id] for item_id in kept} | dict.fromkeys(unavailable, GONE)
        entries = {**earlier, **marks} if document.is_new else known
        has_changed = bool(changed or gone)
        interval = next_interval(feed.every, status.interval or feed.every, has_changed, document.ttl)
        update = {
            "last_success": now,
            "next_at": now + jittered(interval, self._chance()),
            "interval": interval,
            "items": status.items + len(changed),
            "failures": 0,
            "error": document.refused[0][:500] if document.refused else None,
            "shrunk": shrunk and not gone,
        }
        if document.is_new:
            update |= {"entries": document.entries, "refused": len(document.refused)}
        self._metrics.feed_items.labels("written").inc(len(changed))
        self._metrics.feed_items.labels("deleted").inc(len(gone))
        self._metrics.feed_items.labels("refused").inc(len(document.refused))
        self._metrics.count_left_out(one.field for one in document.left_out)
        return status.model_copy(update=update), entries

    def _record(self, feed: FeedSettings, item: Content, now: float) -> Outgoing:
        stated = item.model_copy(update={"timestamp": now})
        headers = cloud_event_headers(stated, str(uuid.uuid4()), f"feeds/{feed.name}")
        return Outgoing(CONTENT, item.item_id.encode(), stated.to_bytes(), headers)

    def _removal(self, feed: FeedSettings, item_id: str, now: float) -> Outgoing:
        """Return what takes an item that vanished out of lists."""
        if feed.vanished == "delete":
            return Outgoing(CONTENT, item_id.encode(), None)
        sold_out = Availability(item_id=item_id, available=False, price=None, timestamp=now)
        headers = cloud_event_headers(sold_out, str(uuid.uuid4()), f"feeds/{feed.name}")
        return Outgoing(AVAILABILITY, item_id.encode(), sold_out.to_bytes(), headers)

    def _send(self, records: Sequence[Outgoing]) -> None:
        """Send, and wait until all is acknowledged. Raises `Unavailable` and `Overloaded`."""
        for start in range(0, len(records), BATCH):
            self._producer.send_all(records[start : start + BATCH])


def _back_on_sale(item: Content, known: Mapping[str, str]) -> Content:
    """Return an item that had vanished as available, unless its feed says something else."""
    if known.get(item.item_id) != GONE or item.available is not None:
        return item
    return item.model_copy(update={"available": True})
