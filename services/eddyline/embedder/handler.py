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
from typing import Any

from eddyline.adapters.encoders import TextEncoder, embed_items
from eddyline.adapters.kafka import Message, Producer, Record, TopicPartition
from eddyline.adapters.telemetry import Metrics
from eddyline.adapters.vectors import ITEMS, Dense, Filter, IsEmpty, Point, VectorStore, in_batches
from eddyline.embedder.catalogue_records import (
    KEYS,
    CatalogueEvent,
    Tombstone,
    by_key,
    decide,
    key_of,
    known_state,
    offer_of,
    outstanding,
    place_of_state,
    restatement,
    send_listings,
    state_time,
    stock_of,
)
from eddyline.embedder.offers import OfferUpdater
from eddyline.embedder.onboarding_forwarder import OnboardingForwarder
from eddyline.errors import InvalidEvent, Misconfigured
from eddyline.model.attributes import convert_attributes
from eddyline.model.events import (
    Availability,
    Content,
    LeftOut,
    Listing,
    RecordOrigin,
    User,
    check_id,
    check_plain_key,
    parse_entity,
)
from eddyline.model.ids import item_point_id
from eddyline.model.image_urls import stored_image_url
from eddyline.model.language import Detect, detect_no_language, item_language
from eddyline.model.latest_state import current_offer
from eddyline.model.listing import listing_fields, servable_fields
from eddyline.model.offsets import stored_offset
from eddyline.model.text import DEFAULT, Parts, Template, parts_hash
from eddyline.settings import AttributeKind
from eddyline.topics import AVAILABILITY, CONTENT, USERS

WRITE_BATCH = 64
"""Items embedded before they are written: what is written isn't done again where the rest fails, or takes too long."""
BOOKKEEPING = ("item_id", "space", "source", "stock", "offer", "listed_at", "image", "meta.image_url")


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
        return {} if self.known is None else _source(self.known)


_MODELS: Mapping[str, type[Content | Availability | User]] = {CONTENT: Content, AVAILABILITY: Availability, USERS: User}


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
        self._offers = OfferUpdater(store, producer, metrics, items)
        self._onboarding = OnboardingForwarder(encoder, producer)

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
        key, name = key_of(record), KEYS[record.topic]
        place_of_state(record)
        if record.value is None:
            check_plain_key(key)
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
        self._onboarding.handle(by_topic[USERS])
        for some in in_batches(list(by_key(by_topic[CONTENT]).items()), WRITE_BATCH):
            self._handle_items(dict(some))
        self._offers.handle(by_topic[AVAILABILITY])

    def assigned(self, epochs: Mapping[TopicPartition, int]) -> None:
        """Nothing is kept between batches."""

    def revoked(self, partitions: Iterable[TopicPartition]) -> None:
        """Nothing is kept between batches."""

    def tick(self) -> None:
        """Nothing waits."""

    # -- items --------------------------------------------------------------------------------------------------

    def _handle_items(self, by_item: Mapping[str, Sequence[Message[CatalogueEvent]]]) -> None:
        """Make of each item what its newest state says; write again what holds where the log ends with another."""
        points = {item_id: item_point_id(item_id) for item_id in by_item}
        stored = self._store.retrieve(self._items, list(points.values()), payload=BOOKKEEPING)
        holds: dict[str, Message[CatalogueEvent]] = {}
        outdated: list[str] = []
        for item_id, messages in by_item.items():
            known = stored.get(points[item_id])
            source = {} if known is None else _source(known)
            exists = known is not None and "space" in known.payload
            decision = decide(known_state(source, messages[-1].record, exists), messages)
            if decision.index is not None:
                holds[points[item_id]] = messages[decision.index]
            if decision.is_to_be_restated:
                outdated.append(item_id)
        last = {points[item_id]: by_item[item_id][-1].record for item_id in outdated}
        self._write_items(holds, stored, {point: record.offset for point, record in last.items()})
        self._restate_items(last)

    def _write_items(
        self,
        holds: Mapping[str, Message[CatalogueEvent]],
        stored: Mapping[str, Point],
        restated: Mapping[str, int],
    ) -> None:
        """Write the states that hold, by point; `restated`: offsets of records that will be written again."""
        updates = [
            self._item_update(point, message.value, message.record, stored.get(point))
            for point, message in holds.items()
            if isinstance(message.value, Content)
        ]
        self._embed(updates)
        payloads = {update.point_id: self._payload(update) for update in updates}
        gone = {point: m.record for point, m in holds.items() if isinstance(m.value, Tombstone)}
        # Before the items: who opens one has a row to learn in. What a crash leaves is said again.
        send_listings(
            self._producer,
            [
                *((_gone_listing(record), record) for record in gone.values()),
                *((_listing(payloads[update.point_id], update.record), update.record) for update in updates),
            ],
        )
        self._delete({point: record for point, record in gone.items() if point in stored}, stored)
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
        # Noted before it is done: a deletion that comes in between must be remembered until then.
        sources = {
            point: payloads[point]["source"] if point in payloads else _source(stored[point])
            for point in restated
            if point in payloads or (point in stored and point not in gone)
        }
        awaited = {point: {"source": {**source, "restated": restated[point]}} for point, source in sources.items()}
        self._store.set_payload(self._items, awaited)

    def _delete(self, gone: Mapping[str, Record], stored: Mapping[str, Point]) -> None:
        """Delete items. What `availability` said of them stays; and that they were deleted, while an earlier state is
        still to come once more."""
        kept = {}
        for point, record in gone.items():
            stock, awaited = stock_of(stored[point].payload), outstanding(_source(stored[point]), record)
            if stock or awaited:
                offer = current_offer(None, -math.inf, stock)
                source = {"source": {**place_of_state(record)._asdict(), **awaited}} if awaited else {}
                payload = {"item_id": key_of(record), "stock": stock, "offer": offer, **servable_fields(None, offer)}
                kept[point] = Point(point, {}, {**payload, **source})
        self._store.delete(self._items, [point for point in gone if point not in kept])
        self._store.upsert(self._items, list(kept.values()))

    def _restate_items(self, last: Mapping[str, Record]) -> None:
        """Write again what is stored of items whose `last` records, by point, don't hold."""
        if not last:
            return
        stored = self._store.retrieve(self._items, list(last), payload=("meta", "source"))
        self._metrics.outdated.labels(CONTENT).inc(len(last))
        states: dict[str, Content | None] = {}
        for point in last:
            payload = stored[point].payload if point in stored else {}
            if meta := payload.get("meta"):
                said = {**meta, "item_id": key_of(last[point]), "timestamp": payload["source"]["at"]}
                states[point] = Content.model_validate(said)
            else:
                states[point] = None
        self._producer.send_all([restatement(key_of(record), states[point], record) for point, record in last.items()])

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
            "stock": (stock := stock_of(known)),
            "offer": (offer := offer_of(update.meta, state_time(content), stock, known)),
            **servable_fields(update.meta, offer),
            "source": {
                "hash": update.text_hash,
                "at": state_time(content),
                **place_of_state(record)._asdict(),
                **outstanding(update.source, record),
                **self._history(update),
            },
            **_stale_image(content, record, known),
        }

    def _history(self, update: _ItemUpdate) -> dict[str, Any]:
        """When the current vector was made, in epoch seconds, and its ordinal, both for the audit."""
        source = update.source
        if update.vector is not None:
            return {
                "embedded_at": self._clock(),
                "embeddings": source.get("embeddings", 1 if source.get("hash") else 0) + 1,
            }
        return {name: source[name] for name in ("embedded_at", "embeddings") if name in source}


def _listing(payload: Mapping[str, Any], record: Record) -> Listing:
    return Listing(
        item_id=payload["item_id"],
        fields=listing_fields(payload),
        offer=dict(payload["offer"]),
        origin=RecordOrigin(**record.position._asdict()),
    )


def _gone_listing(record: Record) -> Listing:
    return Listing(item_id=key_of(record), origin=RecordOrigin(**record.position._asdict()), gone=True)


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


def _source(point: Point) -> Mapping[str, Any]:
    return point.payload.get("source") or {}


def _time(event: Content) -> float:
    assert event.timestamp is not None, "set when it was read"
    return event.timestamp
