"""Image embedder: turns items' pictures into vectors, apart from their text, so that a slow image host delays no item.

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
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor, Future
from contextlib import suppress
from typing import Any, TypeAlias

import structlog

from eddyline.adapters.encoders import ImageEncoder
from eddyline.adapters.kafka import Message, Record, TopicPartition
from eddyline.adapters.telemetry import Metrics
from eddyline.adapters.vectors import ITEMS, Dense, Filter, HasId, IsEmpty, Match, Point, Range, VectorStore, in_batches
from eddyline.errors import ImageError, ImageRefused, ImageUnavailable, InvalidEvent, Unavailable
from eddyline.imaging.pending_uploads import ImageReference, PendingUploads
from eddyline.model.events import Content, check_id, check_plain_key, parse_entity
from eddyline.model.image_urls import is_uploaded_image_name, parse_data_url
from eddyline.model.offsets import LogPosition, stored_offset
from eddyline.settings import ImageSettings
from eddyline.topics import CONTENT

IMAGE = "image"
"""The vector's and the payload object's name."""
PENDING, READY, REFUSED, FAILED, NONE = "pending", "ready", "refused", "failed", "none"
"""`none`: the item has no image any more; kept so that an older record doesn't bring it back."""
NOTED = (IMAGE, "meta.image_url", "source")
PAGE = 256
LOOK_SECONDS, MAX_LOOK_SECONDS = 10.0, 300.0
"""Between two looks for items that have an `image_url` of which nothing was noted: it came before they were created,
or before images were enabled, or another model was set. Twice as long after each that finds nothing."""
FIRST_PAUSE_SECONDS, MAX_PAUSE_SECONDS = 15.0, 3600.0
"""Before the second attempt at an image; they double with each, up to the longest."""
IN_FLIGHT_PER_THREAD = 4
"""Images in hand for each thread that fetches."""
PROBE_IMAGE = b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAACAAAAAgCAIAAAD8GO2jAAAAKElEQVR42u3NQQEAAAQEMCS/6Erw2wqsk9SnqWcCgUAgEAgEAoHgygK+PQHAs0oJIwAAAABJRU5ErkJggg=="
)
"""A picture that every model can encode: 32 pixels a side, of one colour."""

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
        """Read what a record says of the image; a tombstone wants none. None for what can't be read: the embedder makes
        it a dead letter."""
        if record.key is None:
            return None
        try:
            if record.value is None:
                check_plain_key(key := record.key.decode())
                return ImageReference(check_id(key, "item_id"), None, record.position)
            content = parse_entity(Content, record.value, record.timestamp / 1000)
        except (InvalidEvent, UnicodeDecodeError):
            return None
        if content.item_id.encode() != record.key:
            return None
        try:
            upload = parse_data_url(content.image_url)
        except ValueError:  # refused on the item, as other addresses are that can't be used
            upload = None
        if upload is None:
            return ImageReference(content.item_id, content.image_url, record.position)
        return ImageReference(content.item_id, upload.name, record.position, upload.body, record.position)

    def handle(self, batch: Sequence[Message[ImageReference | None]]) -> None:
        """Note on each item what is to be fetched, and do what was uploaded. Items that aren't created yet are found
        later, by `tick`."""
        latest = self._uploads.add(message.value for message in batch if message.value is not None)
        elsewhere = [point_id for point_id in latest if point_id not in self._uploads]
        stored = self._store.retrieve(self._items, elsewhere, payload=NOTED)
        noted = {}
        for point_id, point in stored.items():
            state = self._state(latest[point_id], point)
            if state is not None:
                noted[point_id] = {IMAGE: state}
        self._store.set_payload(self._items, noted)
        self._handle_uploads([point_id for point_id in latest if point_id in self._uploads])
        if len(stored) < len(elsewhere) or len(self._uploads):
            self._look_pause = LOOK_SECONDS
            self._next_look = min(self._next_look, self._clock() + LOOK_SECONDS)
        self._uploads.drop_oldest()
        self._fetch_pending()

    def assigned(self, epochs: Mapping[TopicPartition, int]) -> None:
        """Own what is pending in these partitions."""
        self._owned |= {source.partition for source in epochs}
        self._after, self._next_look, self._look_pause = None, 0.0, LOOK_SECONDS

    def revoked(self, partitions: Iterable[TopicPartition]) -> None:
        """Forget what is in hand of theirs: whoever has them now finds it pending, or reads it from the log."""
        gone = {source.partition for source in partitions}
        self._owned -= gone
        for point_id in [one for one, (state, _) in self._in_hand.items() if state["partition"] in gone]:
            self._in_hand.pop(point_id)[1].cancel()
        self._uploads.forget_partitions(gone)

    def tick(self) -> None:
        """Do what was uploaded with items that are there by now, look for images of which nothing is noted, write what
        was fetched, and fetch what is due."""
        self._handle_uploads(self._uploads.points())
        self._find_unnoted()
        self._fetch_pending()

    # -- what is to be done -------------------------------------------------------------------------------------

    def _state(self, reference: ImageReference, point: Point) -> Mapping[str, Any] | None:
        """Return the item's `image` from now on; None where it stays as it is."""
        url, position = reference.url, reference.position
        known = point.payload.get(IMAGE) or {}
        offset = stored_offset(known, position)
        if offset is not None and position.offset < offset:
            return None
        if known.get("url") == url and known.get("space") == self._encoder.space:
            nothing_new = is_uploaded_image_name(url or "") and reference.body is None
            if nothing_new or offset == position.offset or known["state"] in (READY, PENDING):
                return {**known, **position._asdict(), **_body_position(reference, known)}
        now = self._clock()
        state = {**position._asdict(), "space": self._encoder.space, "attempts": 0, "at": now}
        if url is not None:
            return {**state, **_body_position(reference, known), "url": url, "state": PENDING, "next_at": now}
        had_one = known or (point.payload.get("meta") or {}).get("image_url")
        return {**state, "state": NONE} if had_one else None

    def _find_unnoted(self) -> None:
        if not self._owned or self._clock() < self._next_look:
            return
        unknown = Filter(
            must_not=(IsEmpty("meta.image_url"), IsEmpty("source"), Match("image.space", (self._encoder.space,)))
        )
        fields = ("item_id", "meta.image_url", "source", IMAGE)
        page, self._after = self._store.scroll(
            self._items, filter=unknown, limit=PAGE, after=self._after, payload=fields
        )
        noted = {}
        for point in page:
            source = point.payload["source"]
            if source["partition"] in self._owned and point.id not in self._uploads:
                position = LogPosition(source["log"], source["partition"], source["offset"])
                url = point.payload["meta"]["image_url"]
                state = self._state(ImageReference(point.payload["item_id"], url, position), point)
                if state is not None:
                    noted[point.id] = {IMAGE: state}
        self._store.set_payload(self._items, noted)
        self._has_found = self._has_found or bool(noted)
        if self._after is None:
            self._look_pause = LOOK_SECONDS if self._has_found else min(2 * self._look_pause, MAX_LOOK_SECONDS)
            self._next_look, self._has_found = self._clock() + self._look_pause, False

    def _fetch_pending(self) -> None:
        while self._write_fetched() == self._settings.batch_size:
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
            self._in_hand[point.id] = (state, self._pool.submit(self._load_image, state))

    def _load_image(self, state: Mapping[str, Any]) -> Any:
        """What an item's pending `image` shows. Raises `ImageRefused` and `ImageUnavailable`."""
        url = state["url"]
        if is_uploaded_image_name(url):
            return self._decode_upload(self._read_upload(state))
        try:
            parse_data_url(url)
        except ValueError as error:
            raise ImageRefused("url", f"the address {error}") from None
        return self._decode(self._fetch(url))

    # -- what was uploaded --------------------------------------------------------------------------------------

    def _handle_uploads(self, points: Sequence[str]) -> None:
        """Those of items that are there; the others stay, until the embedder has made their items."""
        for page in in_batches(points, PAGE):
            stored = self._store.retrieve(self._items, page, payload=NOTED)
            for some in in_batches(list(stored), self._settings.batch_size):
                self._handle_embedded({point_id: stored[point_id] for point_id in some})

    def _handle_embedded(self, stored: Mapping[str, Point]) -> None:
        noted = {point_id: self._state(self._uploads[point_id], point) for point_id, point in stored.items()}
        states = {point_id: state for point_id, state in noted.items() if state is not None}
        pending = {point_id: state for point_id, state in states.items() if state["state"] == PENDING}
        errors: dict[str, BaseException] = {}
        images: dict[str, Any] = {}
        for point_id in pending:
            try:
                images[point_id] = self._decode_upload(self._uploads[point_id].body or b"")
            except Exception as error:  # whatever a library makes of something hostile
                errors[point_id] = error
        self._write_outcomes(pending, self._encode(images, errors), errors)
        others = {point_id: state for point_id, state in states.items() if point_id not in pending}
        self._store.set_payload(
            self._items,
            {
                point_id: {IMAGE: state}
                for point_id, state in others.items()
                if state != stored[point_id].payload.get(IMAGE)
            },
        )
        # An embedder that isn't past their records may still empty what was noted, or recreate their items.
        self._uploads.forget(
            [point_id for point_id, point in stored.items() if _is_embedded(self._uploads[point_id].position, point)]
        )

    def _decode_upload(self, body: bytes) -> Any:
        limit = self._settings.max_upload_bytes
        if len(body) > limit:
            raise ImageRefused(
                "too_large",
                f"it has {len(body):,} bytes; at most {limit:,} are taken with an item (images.max_upload_bytes): send "
                "a smaller image",
            )
        return self._decode(body)

    def _read_upload(self, state: Mapping[str, Any]) -> bytes:
        """An uploaded picture, out of the record that it came with."""
        position = state.get("picture", state)
        try:
            record = self._find(CONTENT, position["partition"], position["offset"], position["log"])
        except Unavailable as error:
            raise ImageUnavailable("log", f"the picture is in a log that can't be read now: {error}") from None
        except Exception as error:  # a topic that isn't there for a moment, or whatever a library makes of it
            log.warning("the log can't be read", url=state["url"], exc_info=error)
            raise ImageUnavailable("log", "the picture is in a log that can't be read now") from None
        reference = None if record is None else self.parse(record)
        if reference is None or reference.body is None or reference.url != state["url"]:
            raise ImageRefused(
                "missing",
                "the picture came with an earlier state of the item, and isn't kept: send the item with the picture "
                "itself (data:image/jpeg;base64,…)",
            )
        return reference.body

    # -- what came of it ----------------------------------------------------------------------------------------

    def _write_fetched(self) -> int:
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
        rows = self._encode(images, errors)
        stored = self._store.retrieve(self._items, over, payload=(IMAGE,)) if over else {}
        waiting = {
            point_id: point.payload[IMAGE] for point_id, point in stored.items() if self._is_current(point_id, point)
        }
        self._write_outcomes(waiting, rows, errors)
        for point_id in over:
            del self._in_hand[point_id]
        return len(over)

    def _write_outcomes(
        self,
        waiting: Mapping[str, Mapping[str, Any]],
        rows: Mapping[str, Dense],
        errors: Mapping[str, BaseException],
    ) -> None:
        """Write what came of those that are `waiting` (by point, their `image`): a vector, or an error. The vector
        first, then the payload that says so: a crash between them means doing it once more."""
        states = {
            point_id: self._outcome(known, READY) if point_id in rows else self._after_error(known, errors[point_id])
            for point_id, known in waiting.items()
        }
        self._store.update_vectors(
            self._items, {point_id: {IMAGE: row} for point_id, row in rows.items() if point_id in states}
        )
        self._store.set_payload(self._items, {point_id: {IMAGE: state} for point_id, state in states.items()})
        for state in states.values():
            self._metrics.images.labels(state["state"]).inc()

    def _encode(self, images: Mapping[str, Any], errors: dict[str, BaseException]) -> dict[str, Dense]:
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
            return self._outcome(known, REFUSED, error)
        if not isinstance(error, ImageUnavailable):  # of a library, over something hostile: it must not come again
            log.error("image failed", url=known["url"], exc_info=error)
            return self._outcome(known, FAILED, ImageError("error", f"it can't be read: {type(error).__name__}"))
        tried = known["attempts"] + 1
        if tried >= self._settings.attempts:
            return self._outcome(known, FAILED, error)
        pause = min(FIRST_PAUSE_SECONDS * 2 ** (tried - 1), MAX_PAUSE_SECONDS)
        return {**self._outcome(known, PENDING, error), "next_at": self._clock() + pause}

    def _outcome(self, known: Mapping[str, Any], state: str, error: ImageError | None = None) -> dict[str, Any]:
        kept = {name: known[name] for name in (*LogPosition._fields, "url", "space", "picture") if name in known}
        reason = {"reason": error.reason, "message": str(error)} if error else {}
        return {**kept, "state": state, "attempts": known["attempts"] + 1, "at": self._clock(), **reason}


def _body_position(reference: ImageReference, known: Mapping[str, Any]) -> dict[str, Any]:
    """Where an uploaded picture's bytes are, as a part of the item's `image`: a name alone moves the reference, not the
    bytes."""
    if reference.body_position is not None:
        return {"picture": reference.body_position._asdict()}
    if not is_uploaded_image_name(reference.url or ""):
        return {}
    last = known if known.get("url") == reference.url else reference.position._asdict()
    return {"picture": last.get("picture", {name: last[name] for name in LogPosition._fields})}


def _is_embedded(position: LogPosition, point: Point) -> bool:
    """Return whether the embedder has handled the record at the position."""
    offset = stored_offset(point.payload.get("source") or {}, position)
    return offset is not None and offset >= position.offset
