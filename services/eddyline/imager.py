"""Imager: turns items' pictures into vectors, apart from their text, so that a slow image host delays no item.

The only writer of an item's `image` vector and of its payload object `image` (the embedder empties that where the
address changes); it never creates an item. What is still
to be fetched is kept on the item itself (`state` "pending"), so a batch is done when that is written, however long the
hosts take; and it is found there again after a restart. Fetching is done by threads, every write by the loop's.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from typing import Any

import structlog

from eddyline.adapters.encoders import ImageEncoder
from eddyline.adapters.kafka import Message, Record, TopicPartition
from eddyline.adapters.telemetry import Metrics
from eddyline.adapters.vectors import ITEMS, Dense, Filter, HasId, Match, Missing, Point, Range, VectorStore
from eddyline.errors import ImageError, ImageRefused, ImageUnavailable, InvalidEvent
from eddyline.model.events import Content, parse
from eddyline.model.ids import item_point
from eddyline.settings import Images as ImagesSettings

IMAGE = "image"
"""The vector's and the payload object's name."""
PENDING, READY, REFUSED, FAILED, NONE = "pending", "ready", "refused", "failed", "none"
"""`none`: the item has no image any more; kept so that an older record doesn't bring it back."""
PAGE = 256
LOOK_SECONDS, LONGEST_LOOK_SECONDS = 10.0, 300.0
"""Between two looks for items that have an `image_url` of which nothing was noted: it came before they were created,
or before images were enabled, or another model was set. Twice as long after each that finds nothing."""
LONGEST_PAUSE = 3600.0
"""Most seconds between two attempts."""
AHEAD = 4
"""Images in hand for each thread that fetches."""

log = structlog.get_logger("imager")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a record says of an item's image."""

    item_id: str
    url: str | None


class Imager:
    """The handler of the topic `content` in a group of its own."""

    topics = ("content",)

    def __init__(
        self,
        store: VectorStore,
        encoder: ImageEncoder,
        fetch: Callable[[str], Any],
        pool: Executor,
        settings: ImagesSettings,
        metrics: Metrics,
        clock: Callable[[], float] = time.time,
        items: str = ITEMS,
    ) -> None:
        """`fetch`: URL → image, run in `pool`; raises `ImageRefused` and `ImageUnavailable`. `clock` in epoch seconds.

        `items`: the concrete collection that is written; the alias does in a store of one generation.
        """
        self._store, self._encoder, self._fetch, self._pool = store, encoder, fetch, pool
        self._settings, self._metrics, self._clock, self._items = settings, metrics, clock, items
        self._owned: set[int] = set()
        self._in_hand: dict[str, tuple[Mapping[str, Any], Future[Any]]] = {}
        """By point: its `image` when the attempt began, and what comes of it."""
        self._after: str | None = None
        self._next_look, self._look_pause, self._has_found = 0.0, LOOK_SECONDS, False

    # -- the loop's calls ---------------------------------------------------------------------------------------

    def parse(self, record: Record) -> Wanted | None:
        """None for a tombstone, and for what can't be read: the embedder deletes the item, or sets the record aside."""
        if record.value is None or record.key is None:
            return None
        try:
            said = parse(Content, record.value)
        except InvalidEvent:
            return None
        return Wanted(said.item_id, said.image_url) if said.item_id.encode() == record.key else None

    def handle(self, batch: Sequence[Message[Wanted | None]]) -> None:
        """Note on each item what is to be fetched. Items that aren't created yet are found later, by `tick`."""
        latest = {item_point(m.value.item_id): (m.value, m.record) for m in batch if m.value is not None}
        stored = self._store.retrieve(self._items, list(latest), payload=(IMAGE, "meta.image_url"))
        noted = {}
        for point_id, point in stored.items():
            wanted, record = latest[point_id]
            place = {"log": record.log, "partition": record.partition, "offset": record.offset}
            state = self._noted(wanted.url, place, point)
            if state is not None:
                noted[point_id] = {IMAGE: state}
        self._store.set_payload(self._items, noted)
        if len(stored) < len(latest):
            self._look_pause = LOOK_SECONDS
            self._next_look = min(self._next_look, self._clock() + LOOK_SECONDS)
        self._work()

    def assigned(self, epochs: Mapping[TopicPartition, int]) -> None:
        """What is pending in these partitions is ours to fetch."""
        self._owned |= {source.partition for source in epochs}
        self._after, self._next_look, self._look_pause = None, 0.0, LOOK_SECONDS

    def revoked(self, partitions: Iterable[TopicPartition]) -> None:
        """What is in hand of theirs is forgotten: whoever has them now finds it pending."""
        gone = {source.partition for source in partitions}
        self._owned -= gone
        for point_id in [one for one, (state, _) in self._in_hand.items() if state["partition"] in gone]:
            self._in_hand.pop(point_id)[1].cancel()

    def tick(self) -> None:
        """Look for images of which nothing is noted, write what was fetched, and fetch what is due."""
        self._look()
        self._work()

    # -- what is to be done -------------------------------------------------------------------------------------

    def _noted(self, url: str | None, place: Mapping[str, Any], point: Point) -> Mapping[str, Any] | None:
        """The item's `image` from now on; None where it stays as it is."""
        known = point.payload.get(IMAGE) or {}
        same_log = all(known.get(name) == place[name] for name in ("log", "partition"))
        if same_log and place["offset"] < known["offset"]:
            return None
        settled = known.get("url") == url and known.get("space") == self._encoder.space
        if settled and ((same_log and known["offset"] == place["offset"]) or known["state"] in (READY, PENDING)):
            return {**known, **place}
        now = self._clock()
        state = {**place, "space": self._encoder.space, "attempts": 0, "at": now}
        if url is not None:
            return {**state, "url": url, "state": PENDING, "next_at": now}
        had_one = known or (point.payload.get("meta") or {}).get("image_url")
        return {**state, "state": NONE} if had_one else None

    def _look(self) -> None:
        if not self._owned or self._clock() < self._next_look:
            return
        unknown = Filter(
            must_not=(Missing("meta.image_url"), Missing("source"), Match("image.space", (self._encoder.space,)))
        )
        wanted = ("meta.image_url", "source", IMAGE)
        page, self._after = self._store.scroll(
            self._items, filter=unknown, limit=PAGE, after=self._after, payload=wanted
        )
        noted = {}
        for point in page:
            source = point.payload["source"]
            if source["partition"] in self._owned:
                place = {name: source[name] for name in ("log", "partition", "offset")}
                state = self._noted(point.payload["meta"]["image_url"], place, point)
                if state is not None:
                    noted[point.id] = {IMAGE: state}
        self._store.set_payload(self._items, noted)
        self._has_found = self._has_found or bool(noted)
        if self._after is None:
            self._look_pause = LOOK_SECONDS if self._has_found else min(2 * self._look_pause, LONGEST_LOOK_SECONDS)
            self._next_look, self._has_found = self._clock() + self._look_pause, False

    def _work(self) -> None:
        while self._write() == self._settings.batch_size:
            continue
        room = self._settings.concurrency * AHEAD - len(self._in_hand)
        if room <= 0 or not self._owned:
            return
        due = Filter(
            must=(
                Match("image.state", (PENDING,)),
                Match("image.space", (self._encoder.space,)),
                Match("image.partition", tuple(sorted(self._owned))),
                Range("image.next_at", lte=self._clock()),
            ),
            must_not=(HasId(tuple(self._in_hand)),) if self._in_hand else (),
        )
        page, _ = self._store.scroll(self._items, filter=due, limit=room, payload=(IMAGE,))
        for point in page:
            state = point.payload[IMAGE]
            self._in_hand[point.id] = (state, self._pool.submit(self._fetch, state["url"]))

    # -- what came of it ----------------------------------------------------------------------------------------

    def _write(self) -> int:
        """How many were over. The vector first, then the payload that says so: a crash between them means fetching
        once more."""
        over = [one for one, (_, future) in self._in_hand.items() if future.done()][: self._settings.batch_size]
        errors: dict[str, BaseException] = {}
        images: dict[str, Any] = {}
        for point_id in over:
            future = self._in_hand[point_id][1]
            error = future.exception()
            if error is None:
                images[point_id] = future.result()
            else:
                errors[point_id] = error
        rows = self._encoded(images, errors)
        stored = self._store.retrieve(self._items, over, payload=(IMAGE,)) if over else {}
        states: dict[str, Mapping[str, Any]] = {}
        for point_id in over:
            if point_id in stored and self._is_current(point_id, stored[point_id]):
                known = stored[point_id].payload[IMAGE]
                given = errors.get(point_id)
                states[point_id] = self._settled(known, READY) if given is None else self._after_error(known, given)
        self._store.update_vectors(
            self._items, {point_id: {IMAGE: row} for point_id, row in rows.items() if point_id in states}
        )
        self._store.set_payload(self._items, {point_id: {IMAGE: state} for point_id, state in states.items()})
        for point_id in over:
            del self._in_hand[point_id]
        for state in states.values():
            self._metrics.images.labels(state["state"]).inc()
        return len(over)

    def _encoded(self, images: Mapping[str, Any], errors: dict[str, BaseException]) -> dict[str, Dense]:
        """Their vectors. What the model can't take is noted in `errors`, alone; raises where it takes nothing at
        all."""
        if not images:
            return {}
        try:
            return dict(zip(images, self._encoder.encode_images(list(images.values())), strict=True))
        except Exception as error:  # whatever a model makes of one of them
            if len(images) == 1:
                errors |= dict.fromkeys(images, error)
                return {}
        failed: dict[str, BaseException] = {}
        rows = {one: row for one in images for row in self._encoded({one: images[one]}, failed).values()}
        if not rows:
            raise next(iter(failed.values()))
        errors |= failed
        return rows

    def _is_current(self, point_id: str, point: Point) -> bool:
        """Whether the item still waits for the image that was fetched."""
        begun, now = self._in_hand[point_id][0], point.payload.get(IMAGE) or {}
        return bool(now.get("state") == PENDING and now.get("url") == begun["url"])

    def _after_error(self, known: Mapping[str, Any], error: BaseException) -> Mapping[str, Any]:
        if isinstance(error, ImageRefused):
            return self._settled(known, REFUSED, error)
        if not isinstance(error, ImageUnavailable):  # of a library, over something hostile: it must not come again
            log.error("image failed", url=known["url"], exc_info=error)
            return self._settled(known, FAILED, ImageError("error", f"it can't be read: {type(error).__name__}"))
        tried = known["attempts"] + 1
        if tried >= self._settings.attempts:
            return self._settled(known, FAILED, error)
        pause = min(self._settings.backoff_seconds * 2 ** (tried - 1), LONGEST_PAUSE)
        return {**self._settled(known, PENDING, error), "next_at": self._clock() + pause}

    def _settled(self, known: Mapping[str, Any], state: str, error: ImageError | None = None) -> dict[str, Any]:
        kept = {name: known[name] for name in ("log", "partition", "offset", "url", "space")}
        said = {"reason": error.reason, "message": str(error)} if error else {}
        return {**kept, "state": state, "attempts": known["attempts"] + 1, "at": self._clock(), **said}
