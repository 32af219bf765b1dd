"""Embedder: makes content searchable, and newcomers' answers a first taste.

The only writer of an item's existence, `content` vector, `meta`, `offer` and bookkeeping. It consumes `content`,
`availability` and `users`, co-partitioned, so that one embedder gets all records of an item. All calls come from the
consume loop's one thread; a crash means that the batch is handled again, which changes nothing.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from eddyline.adapters.encoders import TextEncoder, embed_items
from eddyline.adapters.kafka import Message, Outgoing, Producer, Record, TopicPartition
from eddyline.adapters.telemetry import Metrics
from eddyline.adapters.vectors import ITEMS, Dense, Filter, IsEmpty, Point, VectorStore, in_batches
from eddyline.errors import InvalidEvent, Misconfigured
from eddyline.model.attributes import convert_attributes
from eddyline.model.events import (
    Availability,
    Content,
    Erased,
    LeftOut,
    Listing,
    Onboarded,
    RecordOrigin,
    User,
    check_id,
    cloud_event_headers,
    parse_entity,
)
from eddyline.model.ids import item_point_id
from eddyline.model.image_urls import stored_image_url
from eddyline.model.language import Detect, detect_no_language, item_language
from eddyline.model.listing import listing_fields, servable_fields
from eddyline.model.offsets import stored_offset
from eddyline.model.text import DEFAULT, Parts, Template, onboarding_text, parts_hash
from eddyline.settings import AttributeKind
from eddyline.topics import ACTIVITY, AVAILABILITY, CONTENT, INTERACTIONS, USERS

WRITE_BATCH = 64
"""Items embedded before they are written: what is written isn't done again where the rest fails, or takes too long."""
BOOKKEEPING = ("item_id", "space", "source", "offer", "listed_at", "image", "meta.image_url")


@dataclass(frozen=True, slots=True)
class Tombstone:
    """The key of a record without a value: the item or the person is to be deleted."""

    key: str


CatalogueEvent: TypeAlias = Content | Availability | User | Tombstone


@dataclass(slots=True)
class _ItemUpdate:
    """The latest state of an item, and what is stored of it."""

    point_id: str
    content: Content
    record: Record
    known: Point | None
    meta: dict[str, Any]
    parts: Parts
    text_hash: str
    vector: Dense | None = None
    """None: the text is embedded already."""

    @property
    def source(self) -> Mapping[str, Any]:
        """What is stored of the record that the item came from, and of its vector."""
        return {} if self.known is None else self.known.payload.get("source") or {}


_MODELS: Mapping[str, type[Content | Availability | User]] = {CONTENT: Content, AVAILABILITY: Availability, USERS: User}
_KEYS = {CONTENT: "item_id", AVAILABILITY: "item_id", USERS: "user_id"}


class Embedder:
    """The handler of the topics `content`, `availability` and `users`."""

    topics = (CONTENT, AVAILABILITY, USERS)

    def __init__(
        self,
        store: VectorStore,
        encoder: TextEncoder,
        producer: Producer,
        metrics: Metrics,
        clock: Callable[[], float] = time.time,
        items: str = ITEMS,
        template: Template = DEFAULT,
        detect: Detect = detect_no_language,
        attributes: Mapping[str, AttributeKind] = {},
    ) -> None:
        """`items`: the concrete collection that is written; the alias does in a store of one generation.

        `attributes`: those of items that the settings declare.
        """
        self._store, self._encoder, self._producer = store, encoder, producer
        self._metrics, self._clock = metrics, clock
        self._items, self._template, self._detect = items, template, detect
        self._attributes = attributes

    def check_space(self) -> None:
        """Raise `Misconfigured` when the stored items are of another model or template."""
        embedded = Filter(must_not=(IsEmpty("space"),))
        page, _ = self._store.scroll(self._items, filter=embedded, limit=16, payload=("space",))
        for space in (point.payload["space"] for point in page):
            if space != self._encoder.space:
                raise Misconfigured(
                    f"the stored items are in space {space}, this encoder makes {self._encoder.space}: re-embed "
                    "everything (`eddyline reembed`), set the encoder back, or start with a new data directory"
                )

    # -- the loop's calls ---------------------------------------------------------------------------------------

    def parse(self, record: Record) -> CatalogueEvent:
        """Read a record. Raises `InvalidEvent`: not of the topic's model, or under another key than the id it names."""
        key, name = _key(record), _KEYS[record.topic]
        if record.value is None:
            return Tombstone(check_id(key, name))
        left_out: list[LeftOut] = []
        event: Content | Availability | User = parse_entity(
            _MODELS[record.topic], record.value, record.timestamp / 1000, left_out
        )
        if getattr(event, name) != key:
            raise InvalidEvent(f"is {getattr(event, name)[:60]!r}, but the record's key is {key[:60]!r}", name)
        self._metrics.count_left_out(one.field for one in left_out)
        if isinstance(event, Content):  # an uploaded picture is the image embedder's to look at: its name is kept
            attributes = convert_attributes(event.attributes, self._attributes)
            return event.model_copy(update={"image_url": stored_image_url(event.image_url), "attributes": attributes})
        return event

    def handle(self, batch: Sequence[Message[CatalogueEvent]]) -> None:
        """Embed what is new or changed, delete what is gone, forward what concerns people; durable on return."""
        by_topic = {topic: [m for m in batch if m.record.topic == topic] for topic in self.topics}
        self._handle_users(by_topic[USERS])
        latest = {_key(message.record): message for message in by_topic[CONTENT]}
        for some in in_batches(list(latest.values()), WRITE_BATCH):
            self._handle_items(some)
        self._handle_offers(by_topic[AVAILABILITY])

    def assigned(self, epochs: Mapping[TopicPartition, int]) -> None:
        """Nothing is kept between batches."""

    def revoked(self, partitions: Iterable[TopicPartition]) -> None:
        """Nothing is kept between batches."""

    def tick(self) -> None:
        """Nothing waits."""

    # -- items --------------------------------------------------------------------------------------------------

    def _handle_items(self, latest: Sequence[Message[CatalogueEvent]]) -> None:
        """`latest`: the last record of each item."""
        by_point = {item_point_id(_key(message.record)): message for message in latest}
        stored = self._store.retrieve(self._items, list(by_point), payload=BOOKKEEPING)
        fresh = {point: m for point, m in by_point.items() if not _is_older(m.record, stored.get(point))}
        self._store.delete(
            self._items, [point for point, m in fresh.items() if isinstance(m.value, Tombstone) and point in stored]
        )
        updates = [
            self._item_update(point, message.value, message.record, stored.get(point))
            for point, message in fresh.items()
            if isinstance(message.value, Content)
        ]
        self._embed(updates)
        payloads = {update.point_id: self._payload(update) for update in updates}
        gone = [message.record for message in fresh.values() if isinstance(message.value, Tombstone)]
        # Before the items: who opens one has a row to learn in. What a crash leaves is said again.
        self._send_listings(
            [
                *((_gone_listing(record), record) for record in gone),
                *((_listing(payloads[update.point_id], update.record), update.record) for update in updates),
            ]
        )
        vectors = {update.point_id: {"content": update.vector} for update in updates if update.vector is not None}
        new = [
            Point(update.point_id, vectors[update.point_id], payloads[update.point_id])
            for update in updates
            if update.known is None
        ]
        self._store.upsert(self._items, new, insert_only=True)
        # The vector first, then the payload with its hash: a crash between them means embedding once more.
        self._store.update_vectors(self._items, {point: vector for point, vector in vectors.items() if point in stored})
        self._store.set_payload(self._items, {point: payload for point, payload in payloads.items() if point in stored})

    def _item_update(self, point_id: str, content: Content, record: Record, known: Point | None) -> _ItemUpdate:
        meta = content.model_dump(mode="python", exclude_none=True, exclude={"v", "item_id", "timestamp"})
        parts = self._template.parts(meta)
        return _ItemUpdate(point_id, content, record, known, meta, parts, parts_hash(parts, self._encoder.space))

    def _embed(self, updates: Sequence[_ItemUpdate]) -> None:
        """Set the vectors of the items whose texts were not embedded before."""
        changed = [update for update in updates if update.source.get("hash") != update.text_hash]
        rows = embed_items(self._encoder, [update.parts for update in changed])
        for update, row in zip(changed, rows, strict=True):
            update.vector = row
        self._metrics.embedded.inc(len(changed))
        self._metrics.unchanged.inc(len(updates) - len(changed))

    def _payload(self, update: _ItemUpdate) -> dict[str, Any]:
        content, record = update.content, update.record
        known = {} if update.known is None else update.known.payload
        return {
            "item_id": content.item_id,
            "space": self._encoder.space,
            "meta": update.meta,
            "language": item_language(update.meta, self._detect),
            "listed_at": _listed_at(content, known),
            "offer": (offer := _offer(content, known.get("offer") or {})),
            **servable_fields(update.meta, offer),
            "source": {"hash": update.text_hash, **record.position._asdict(), **self._history(update)},
            **_stale_image(content, record, known),
        }

    def _history(self, update: _ItemUpdate) -> dict[str, Any]:
        """When the current vector was made, in epoch seconds, and its ordinal, both for the audit."""
        source = update.source
        if update.vector is not None:
            return {"embedded_at": self._clock(), "embeddings": source.get("embeddings", 1 if source else 0) + 1}
        return {name: source[name] for name in ("embedded_at", "embeddings") if name in source}

    # -- price and stock ----------------------------------------------------------------------------------------

    def _handle_offers(self, batch: Sequence[Message[CatalogueEvent]]) -> None:
        """Store price and stock as they were last said; what comes before its item waits in a point with nothing
        else."""
        updates = [(m.value, m.record) for m in batch if isinstance(m.value, Availability)]
        points = {availability.item_id: item_point_id(availability.item_id) for availability, _ in updates}
        if not points:
            return
        keys = ("offer", "meta.title", "meta.published_at", "meta.expires_at")
        stored = self._store.retrieve(self._items, list(points.values()), payload=keys)
        offers: dict[str, Mapping[str, Any]] = {
            item_id: stored[point].payload.get("offer") or {} for item_id, point in points.items() if point in stored
        }
        for availability, _ in updates:
            offers[availability.item_id] = _offer(availability, offers.get(availability.item_id, {}))
        payloads = {
            item_id: {
                "offer": offers[item_id],
                **servable_fields(stored[point].payload.get("meta") if point in stored else None, offers[item_id]),
            }
            for item_id, point in points.items()
        }
        records = {availability.item_id: record for availability, record in updates}
        self._send_listings(
            [
                (Listing(item_id=item_id, offer=dict(offers[item_id])), records[item_id])
                for item_id, point in points.items()
                if point in stored and "meta" in stored[point].payload
            ]
        )
        early = [
            Point(point, {}, {"item_id": item_id, **payloads[item_id]})
            for item_id, point in points.items()
            if point not in stored
        ]
        self._store.upsert(self._items, early, insert_only=True)
        existing = {point: payloads[item_id] for item_id, point in points.items() if point in stored}
        self._store.set_payload(self._items, existing)

    def _send_listings(self, listings: Sequence[tuple[Listing, Record]]) -> None:
        """Tell affinity, whose rows are filtered as the items are, and wait until it is acknowledged."""
        if listings:
            self._producer.send_all(
                [
                    Outgoing(
                        ACTIVITY,
                        listing.item_id.encode(),
                        listing.to_bytes(),
                        cloud_event_headers(listing, record.place, "embedder"),
                    )
                    for listing, record in listings
                ]
            )

    # -- people -------------------------------------------------------------------------------------------------

    def _handle_users(self, batch: Sequence[Message[CatalogueEvent]]) -> None:
        if not batch:
            return
        texts = [
            onboarding_text(m.value.interests, m.value.goals, m.value.experience) if isinstance(m.value, User) else ""
            for m in batch
        ]
        rows = iter(self._encoder.encode([text for text in texts if text]))
        vectors = [next(rows) if text else None for text in texts]
        self._producer.send_all(
            [self._person_record(message, vector) for message, vector in zip(batch, vectors, strict=True)]
        )

    def _person_record(self, message: Message[CatalogueEvent], vector: Dense | None) -> Outgoing:
        user, record = message.value, message.record
        origin = RecordOrigin(**record.position._asdict())
        event: Onboarded | Erased
        if isinstance(user, Tombstone):
            event = Erased(user_id=user.key, timestamp=record.timestamp / 1000, origin=origin)
        else:
            assert isinstance(user, User)
            event = Onboarded(
                user_id=user.user_id,
                vector=None if vector is None else [float(x) for x in vector],
                space=None if vector is None else self._encoder.space,
                segment=user.segment,
                attributes=user.attributes,
                origin=origin,
            )
        headers = cloud_event_headers(event, record.place, "embedder")
        return Outgoing(INTERACTIONS, event.person.key.encode(), event.to_bytes(), headers)


def _key(record: Record) -> str:
    if not record.key:
        raise InvalidEvent(f"a record of {record.topic} needs its {_KEYS[record.topic]} as the key")
    try:
        return record.key.decode()
    except UnicodeDecodeError:
        raise InvalidEvent("the record's key is not valid UTF-8") from None


def _listing(payload: Mapping[str, Any], record: Record) -> Listing:
    return Listing(
        item_id=payload["item_id"],
        fields=listing_fields(payload),
        offer=dict(payload["offer"]),
        origin=RecordOrigin(**record.position._asdict()),
    )


def _gone_listing(record: Record) -> Listing:
    return Listing(item_id=_key(record), origin=RecordOrigin(**record.position._asdict()), gone=True)


def _is_older(record: Record, known: Point | None) -> bool:
    """Return whether the stored state is from a later record of the same log."""
    offset = None if known is None else stored_offset(known.payload.get("source") or {}, record.position)
    return offset is not None and record.offset < offset


def _stale_image(content: Content, record: Record, known: Mapping[str, Any]) -> dict[str, Any]:
    """Empty `image` where the address has changed since what the image embedder noted: it was ahead of us then, and
    won't see this record again."""
    image = known.get("image") or {}
    if not image or (known.get("meta") or {}).get("image_url") == content.image_url:
        return {}
    offset = stored_offset(image, record.position)
    return {} if offset is not None and offset >= record.offset else {"image": {}}


def _listed_at(content: Content, known: Mapping[str, Any]) -> float:
    """When it became new: its publication, else its first arrival. Freshness and `latest` go by it."""
    if content.published_at is not None:
        return content.published_at
    return float(known.get("listed_at", _time(content)))


def _offer(event: Content | Availability, known: Mapping[str, Any]) -> Mapping[str, Any]:
    """Price and stock as the event has them, unless something later is known of them."""
    at = _time(event)
    if known.get("at", -math.inf) > at:
        return known
    offer: dict[str, Any] = {"available": event.available, "at": at}
    return offer if event.price is None else {**offer, "price": event.price}


def _time(event: Content | Availability) -> float:
    assert event.timestamp is not None, "set when it was read"
    return event.timestamp
