"""Imager: turns items' pictures into vectors, apart from their text, so that a slow image host delays no item.

The only writer of an item's `image` vector and of its payload object `image` (the embedder empties that where the
address changes); it never creates an item. What is still to be fetched is kept on the item itself (`state` "pending"),
so a batch is done when that is written, however long the hosts take; and it is found there again after a restart.
Fetching is done by threads, every write by the loop's.

A picture that came with its item is in the item's record alone; everywhere else its name stands for it. It is done
with its batch where the item is there, kept in memory for the moment until the embedder is past its record, and
otherwise read from the log again.
"""

from __future__ import annotations

import time
from base64 import b64decode
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future
from contextlib import suppress
from typing import Any, TypeAlias

import structlog

from eddyline.adapters.encoders import ImageEncoder
from eddyline.adapters.kafka import Message, Record, TopicPartition
from eddyline.adapters.telemetry import Metrics
from eddyline.adapters.vectors import ITEMS, Dense, Filter, HasId, IsEmpty, Match, Point, Range, VectorStore
from eddyline.errors import ImageError, ImageRefused, ImageUnavailable, InvalidEvent, Unavailable
from eddyline.imaging.pending_uploads import ImageReference, LoggedImageReference, PendingUploads
from eddyline.model.events import Content, check_id, parse_event
from eddyline.model.image_urls import is_uploaded_image_name, parse_data_url
from eddyline.settings import ImageSettings
from eddyline.topics import CONTENT

IMAGE = "image"
"""The vector's and the payload object's name."""
PENDING, READY, REFUSED, FAILED, NONE = "pending", "ready", "refused", "failed", "none"
"""`none`: the item has no image any more; kept so that an older record doesn't bring it back."""
NOTED = (IMAGE, "meta.image_url", "source")
PAGE = 256
LOOK_SECONDS, LONGEST_LOOK_SECONDS = 10.0, 300.0
"""Between two looks for items that have an `image_url` of which nothing was noted: it came before they were created,
or before images were enabled, or another model was set. Twice as long after each that finds nothing."""
FIRST_PAUSE, LONGEST_PAUSE = 15.0, 3600.0
"""Seconds before the second attempt at an image; they double with each, up to the longest."""
IN_FLIGHT_PER_THREAD = 4
"""Images in hand for each thread that fetches."""
PROBE_IMAGE = b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAACAAAAAgCAIAAAD8GO2jAAAAKElEQVR42u3NQQEAAAQEMCS/6Erw2wqsk9SnqWcCgUAgEAgEAoHgygK+PQHAs0oJIwAAAABJRU5ErkJggg=="
)
"""A picture that every model takes: 32 pixels a side, of one colour."""
LOG_FIELDS = ("log", "partition")
POSITION_FIELDS = (*LOG_FIELDS, "offset")

FindRecord: TypeAlias = Callable[[str, int, int, str], Record | None]
"""Topic, partition, offset, the log's identity → the record; None where it is gone. Raises `Unavailable`."""

log = structlog.get_logger("imager")


class ImageEmbedder:
    """The handler of the topic `content` in a group of its own."""

    topics = (CONTENT,)

    def __init__(
        self,
        store: VectorStore,
        encoder: ImageEncoder,
        fetch: Callable[[str], bytes],
        decode: Callable[[bytes], Any],
        find: FindRecord,
        pool: Executor,
        settings: ImageSettings,
        metrics: Metrics,
        clock: Callable[[], float] = time.time,
        items: str = ITEMS,
        uploads: PendingUploads | None = None,
    ) -> None:
        """`fetch` gets a URL's bytes, `decode` makes a picture of them; both raise `ImageRefused`, the first
        `ImageUnavailable` too. They and `find` are also called in `pool`. `clock` in epoch seconds.

        `items`: the concrete collection that is written; the alias does in a store of one generation. `uploads`: where
        pictures wait that came before their items were made.
        """
        self._store, self._encoder, self._pool = store, encoder, pool
        self._fetch, self._decode, self._find = fetch, decode, find
        self._settings, self._metrics, self._clock, self._items = settings, metrics, clock, items
        self._owned: set[int] = set()
        self._in_hand: dict[str, tuple[Mapping[str, Any], Future[Any]]] = {}
        """By point: its `image` when the attempt began, and what comes of it."""
        self._uploads = PendingUploads() if uploads is None else uploads
        self._after: str | None = None
        self._next_look, self._look_pause, self._has_found = 0.0, LOOK_SECONDS, False

    # -- the loop's calls ---------------------------------------------------------------------------------------

    def parse(self, record: Record) -> ImageReference | None:
        """A tombstone wants no image. None for what can't be read: the embedder sets the record aside."""
        if record.key is None:
            return None
        try:
            if record.value is None:
                return ImageReference(check_id(record.key.decode(), "item_id"), None)
            said = parse_event(Content, record.value)
        except (InvalidEvent, UnicodeDecodeError):
            return None
        if said.item_id.encode() != record.key:
            return None
        try:
            upload = parse_data_url(said.image_url)
        except ValueError:  # refused on the item, as other addresses are that can't be used
            upload = None
        if upload is None:
            return ImageReference(said.item_id, said.image_url)
        return ImageReference(said.item_id, upload.name, upload.body)

    def handle(self, batch: Sequence[Message[ImageReference | None]]) -> None:
        """Note on each item what is to be fetched, and do what was uploaded. Items that aren't created yet are found
        later, by `tick`."""
        latest = self._uploads.hear(batch)
        elsewhere = [point_id for point_id in latest if point_id not in self._uploads]
        stored = self._store.retrieve(self._items, elsewhere, payload=NOTED)
        noted = {}
        for point_id, point in stored.items():
            state = self._noted(latest[point_id], point)
            if state is not None:
                noted[point_id] = {IMAGE: state}
        self._store.set_payload(self._items, noted)
        self._take_uploads([point_id for point_id in latest if point_id in self._uploads])
        if len(stored) < len(elsewhere) or len(self._uploads):
            self._look_pause = LOOK_SECONDS
            self._next_look = min(self._next_look, self._clock() + LOOK_SECONDS)
        self._uploads.drop_oldest()
        self._work()

    def assigned(self, epochs: Mapping[TopicPartition, int]) -> None:
        """What is pending in these partitions is ours to fetch."""
        self._owned |= {source.partition for source in epochs}
        self._after, self._next_look, self._look_pause = None, 0.0, LOOK_SECONDS

    def revoked(self, partitions: Iterable[TopicPartition]) -> None:
        """What is in hand of theirs is forgotten: whoever has them now finds it pending, or reads it from the log."""
        gone = {source.partition for source in partitions}
        self._owned -= gone
        for point_id in [one for one, (state, _) in self._in_hand.items() if state["partition"] in gone]:
            self._in_hand.pop(point_id)[1].cancel()
        self._uploads.forget_partitions(gone)

    def tick(self) -> None:
        """Do what was uploaded with items that are there by now, look for images of which nothing is noted, write what
        was fetched, and fetch what is due."""
        self._take_uploads(self._uploads.points())
        self._look()
        self._work()

    # -- what is to be done -------------------------------------------------------------------------------------

    def _noted(self, said: LoggedImageReference, point: Point) -> Mapping[str, Any] | None:
        """The item's `image` from now on; None where it stays as it is."""
        url, place = said.wanted.url, said.place
        known = point.payload.get(IMAGE) or {}
        same_log = all(known.get(name) == place[name] for name in LOG_FIELDS)
        if same_log and place["offset"] < known["offset"]:
            return None
        if known.get("url") == url and known.get("space") == self._encoder.space:
            nothing_new = is_uploaded_image_name(url or "") and said.wanted.body is None
            redelivered = same_log and known["offset"] == place["offset"]
            if nothing_new or redelivered or known["state"] in (READY, PENDING):
                return {**known, **place, **_upload_position(said, known)}
        now = self._clock()
        state = {**place, "space": self._encoder.space, "attempts": 0, "at": now}
        if url is not None:
            return {**state, **_upload_position(said, known), "url": url, "state": PENDING, "next_at": now}
        had_one = known or (point.payload.get("meta") or {}).get("image_url")
        return {**state, "state": NONE} if had_one else None

    def _look(self) -> None:
        if not self._owned or self._clock() < self._next_look:
            return
        unknown = Filter(
            must_not=(IsEmpty("meta.image_url"), IsEmpty("source"), Match("image.space", (self._encoder.space,)))
        )
        wanted = ("item_id", "meta.image_url", "source", IMAGE)
        page, self._after = self._store.scroll(
            self._items, filter=unknown, limit=PAGE, after=self._after, payload=wanted
        )
        noted = {}
        for point in page:
            source = point.payload["source"]
            if source["partition"] in self._owned and point.id not in self._uploads:
                place = {name: source[name] for name in POSITION_FIELDS}
                url = point.payload["meta"]["image_url"]
                state = self._noted(LoggedImageReference(ImageReference(point.payload["item_id"], url), place), point)
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
        room = self._settings.concurrency * IN_FLIGHT_PER_THREAD - len(self._in_hand)
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
            self._in_hand[point.id] = (state, self._pool.submit(self._picture, state))

    def _picture(self, state: Mapping[str, Any]) -> Any:
        """What an item's pending `image` shows. Raises `ImageRefused` and `ImageUnavailable`."""
        url = state["url"]
        if is_uploaded_image_name(url):
            return self._opened(self._recalled(state))
        try:
            parse_data_url(url)
        except ValueError as error:
            raise ImageRefused("url", f"the address {error}") from None
        return self._decode(self._fetch(url))

    # -- what was uploaded --------------------------------------------------------------------------------------

    def _take_uploads(self, points: Sequence[str]) -> None:
        """Those of items that are there; the others stay, until the embedder has made their items."""
        for page in _chunks(points, PAGE):
            stored = self._store.retrieve(self._items, page, payload=NOTED)
            for some in _chunks(list(stored), self._settings.batch_size):
                self._take({point_id: stored[point_id] for point_id in some})

    def _take(self, stored: Mapping[str, Point]) -> None:
        noted = {point_id: self._noted(self._uploads[point_id], point) for point_id, point in stored.items()}
        states = {point_id: state for point_id, state in noted.items() if state is not None}
        pending = {point_id: state for point_id, state in states.items() if state["state"] == PENDING}
        errors: dict[str, BaseException] = {}
        images: dict[str, Any] = {}
        for point_id in pending:
            try:
                images[point_id] = self._opened(self._uploads[point_id].wanted.body or b"")
            except Exception as error:  # whatever a library makes of something hostile
                errors[point_id] = error
        self._settle(pending, self._encoded(images, errors), errors)
        others = {point_id: state for point_id, state in states.items() if point_id not in pending}
        self._store.set_payload(
            self._items,
            {
                point_id: {IMAGE: state}
                for point_id, state in others.items()
                if state != stored[point_id].payload.get(IMAGE)
            },
        )
        # An embedder that isn't past their records may still empty what was noted, or create their items anew.
        self._uploads.forget(
            [point_id for point_id, point in stored.items() if _is_embedded(self._uploads[point_id].place, point)]
        )

    def _opened(self, body: bytes) -> Any:
        most = self._settings.max_upload_bytes
        if len(body) > most:
            raise ImageRefused(
                "too_large",
                f"it has {len(body):,} bytes; at most {most:,} are taken with an item (images.max_upload_bytes): send "
                "a smaller image",
            )
        return self._decode(body)

    def _recalled(self, state: Mapping[str, Any]) -> bytes:
        """An uploaded picture, out of the record that it came with."""
        place = state.get("picture", state)
        try:
            record = self._find(CONTENT, place["partition"], place["offset"], place["log"])
        except Unavailable as error:
            raise ImageUnavailable("log", f"the picture is in a log that can't be read now: {error}") from None
        except Exception as error:  # a topic that isn't there for a moment, or whatever a library makes of it
            log.warning("the log can't be read", url=state["url"], exc_info=error)
            raise ImageUnavailable("log", "the picture is in a log that can't be read now") from None
        wanted = None if record is None else self.parse(record)
        if wanted is None or wanted.body is None or wanted.url != state["url"]:
            raise ImageRefused(
                "missing",
                "the picture came with an earlier state of the item, and isn't kept: send the item with the picture "
                "itself (data:image/jpeg;base64,…)",
            )
        return wanted.body

    # -- what came of it ----------------------------------------------------------------------------------------

    def _write(self) -> int:
        """How many were over."""
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
        waiting = {
            point_id: point.payload[IMAGE] for point_id, point in stored.items() if self._is_current(point_id, point)
        }
        self._settle(waiting, rows, errors)
        for point_id in over:
            del self._in_hand[point_id]
        return len(over)

    def _settle(
        self,
        waiting: Mapping[str, Mapping[str, Any]],
        rows: Mapping[str, Dense],
        errors: Mapping[str, BaseException],
    ) -> None:
        """Write what came of those that are `waiting` (by point, their `image`): a vector, or an error. The vector
        first, then the payload that says so: a crash between them means doing it once more."""
        states = {
            point_id: self._settled(known, READY) if point_id in rows else self._after_error(known, errors[point_id])
            for point_id, known in waiting.items()
        }
        self._store.update_vectors(
            self._items, {point_id: {IMAGE: row} for point_id, row in rows.items() if point_id in states}
        )
        self._store.set_payload(self._items, {point_id: {IMAGE: state} for point_id, state in states.items()})
        for state in states.values():
            self._metrics.images.labels(state["state"]).inc()

    def _encoded(self, images: Mapping[str, Any], errors: dict[str, BaseException]) -> dict[str, Dense]:
        """Their vectors. What the model can't take is noted in `errors`, alone; raises where it takes nothing at all,
        not even a plain picture."""
        if not images:
            return {}
        with suppress(Exception):  # whatever a model makes of one of them
            return dict(zip(images, self._encoder.encode_images(list(images.values())), strict=True))
        rows: dict[str, Dense] = {}
        for point_id, image in images.items():
            try:
                [rows[point_id]] = self._encoder.encode_images([image])
            except Exception as error:
                errors[point_id] = error
        if not rows:
            self._encoder.encode_images([self._decode(PROBE_IMAGE)])
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
        pause = min(FIRST_PAUSE * 2 ** (tried - 1), LONGEST_PAUSE)
        return {**self._settled(known, PENDING, error), "next_at": self._clock() + pause}

    def _settled(self, known: Mapping[str, Any], state: str, error: ImageError | None = None) -> dict[str, Any]:
        kept = {name: known[name] for name in (*POSITION_FIELDS, "url", "space", "picture") if name in known}
        said = {"reason": error.reason, "message": str(error)} if error else {}
        return {**kept, "state": state, "attempts": known["attempts"] + 1, "at": self._clock(), **said}


def _upload_position(said: LoggedImageReference, known: Mapping[str, Any]) -> dict[str, Any]:
    """Where an uploaded picture is, as a part of the item's `image`: a name alone moves what is said, not the bytes."""
    if said.picture is not None:
        return {"picture": said.picture}
    if not is_uploaded_image_name(said.wanted.url or ""):
        return {}
    last = known if known.get("url") == said.wanted.url else said.place
    return {"picture": last.get("picture", {name: last[name] for name in POSITION_FIELDS})}


def _is_embedded(place: Mapping[str, Any], point: Point) -> bool:
    """Whether the embedder has handled the record at `place`."""
    source = point.payload.get("source") or {}
    same_log = all(source.get(name) == place[name] for name in LOG_FIELDS)
    return bool(same_log and source["offset"] >= place["offset"])


def _chunks(ids: Sequence[str], length: int) -> Iterator[list[str]]:
    for start in range(0, len(ids), length):
        yield list(ids[start : start + length])
