"""Embedder: turns content into searchable items, and newcomers' answers into a first taste.

The only writer of an item's existence, `content` vector, `meta`, `offer` and bookkeeping. It consumes `content`,
`availability` and `users`, co-partitioned, so that one embedder holds all that is said of an item.
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
from eddyline.adapters.vectors import ITEMS, Dense, Filter, IsEmpty, Point, VectorStore
from eddyline.errors import InvalidEvent, Misconfigured
from eddyline.model.events import (
    Availability,
    Content,
    Erased,
    Onboarded,
    RecordOrigin,
    User,
    WireModel,
    check_id,
    cloud_event_headers,
    parse_event,
)
from eddyline.model.ids import item_point_id
from eddyline.model.image_urls import stored_image_url
from eddyline.model.language import Detect, detect_no_language, item_language
from eddyline.model.text import DEFAULT, Parts, Template, onboarding_text, parts_hash
from eddyline.topics import AVAILABILITY, CONTENT, INTERACTIONS, USERS

WRITE_BATCH = 64
"""Items embedded before they are written: what is written isn't done again where the rest fails, or takes too long."""
BOOKKEEPING = ("item_id", "space", "source", "offer", "listed_at", "image", "meta.image_url")


@dataclass(frozen=True, slots=True)
class Tombstone:
    """The key of a record without a value: the item or the person is to go."""

    key: str


CatalogueEvent: TypeAlias = Content | Availability | User | Tombstone

_MODELS: Mapping[str, type[WireModel]] = {CONTENT: Content, AVAILABILITY: Availability, USERS: User}
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
    ) -> None:
        """`items`: the concrete collection that is written; the alias does in a store of one generation."""
        self._store, self._encoder, self._producer = store, encoder, producer
        self._metrics, self._clock = metrics, clock
        self._items, self._template, self._detect = items, template, detect

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
        """Raises `InvalidEvent`: not of the topic's model, or under another key than the id it names."""
        key = _key(record)
        name = _KEYS[record.topic]
        if record.value is None:
            return Tombstone(check_id(key, name))
        said = parse_event(_MODELS[record.topic], record.value)
        if getattr(said, name) != key:
            raise InvalidEvent(f"is {getattr(said, name)[:60]!r}, but the record's key is {key[:60]!r}", name)
        assert isinstance(said, Content | Availability | User)
        return _without_upload(said) if isinstance(said, Content) else said

    def handle(self, batch: Sequence[Message[CatalogueEvent]]) -> None:
        """Embed what is new or changed, delete what is gone, pass on what is said of people; durable on return."""
        said = {topic: [m for m in batch if m.record.topic == topic] for topic in self.topics}
        self._handle_users(said[USERS])
        latest = list({_key(message.record): message for message in said[CONTENT]}.items())
        for start in range(0, len(latest), WRITE_BATCH):
            self._handle_items(dict(latest[start : start + WRITE_BATCH]))
        self._handle_offers(said[AVAILABILITY])

    def assigned(self, epochs: Mapping[TopicPartition, int]) -> None:
        """Nothing is kept between batches."""

    def revoked(self, partitions: Iterable[TopicPartition]) -> None:
        """Nothing is kept between batches."""

    def tick(self) -> None:
        """Nothing waits."""

    # -- items --------------------------------------------------------------------------------------------------

    def _handle_items(self, latest: Mapping[str, Message[CatalogueEvent]]) -> None:
        """`latest`: the last record of each item in the batch."""
        if not latest:
            return
        points = {item_id: item_point_id(item_id) for item_id in latest}
        stored = self._store.retrieve(self._items, list(points.values()), payload=BOOKKEEPING)
        news = {key: m for key, m in latest.items() if not _is_older(m.record, stored.get(points[key]))}
        gone = [points[item_id] for item_id, message in news.items() if isinstance(message.value, Tombstone)]
        self._store.delete(self._items, [point for point in gone if point in stored])
        current = {item_id: message for item_id, message in news.items() if isinstance(message.value, Content)}
        parts = {item_id: self._template.parts(_meta(message.value)) for item_id, message in current.items()}
        hashes = {item_id: parts_hash(said, self._encoder.space) for item_id, said in parts.items()}
        vectors = self._embed(parts, hashes, points, stored)
        self._create(current, hashes, points, stored, vectors)
        self._update(current, hashes, points, stored, vectors)

    def _embed(
        self,
        parts: Mapping[str, Parts],
        hashes: Mapping[str, str],
        points: Mapping[str, str],
        stored: Mapping[str, Point],
    ) -> dict[str, Dense]:
        """Vectors of the items whose texts were not embedded before."""
        new: dict[str, Parts] = {}
        for item_id, said in parts.items():
            known = stored.get(points[item_id])
            if known is None or known.payload.get("source", {}).get("hash") != hashes[item_id]:
                new[item_id] = said
        rows = embed_items(self._encoder, list(new.values()))
        self._metrics.embedded.inc(len(new))
        self._metrics.unchanged.inc(len(parts) - len(new))
        return dict(zip(new, rows, strict=True))

    def _create(
        self,
        current: Mapping[str, Message[CatalogueEvent]],
        hashes: Mapping[str, str],
        points: Mapping[str, str],
        stored: Mapping[str, Point],
        vectors: Mapping[str, Dense],
    ) -> None:
        new = [
            Point(points[item_id], {"content": vectors[item_id]}, self._payload(message, hashes[item_id], None, True))
            for item_id, message in current.items()
            if points[item_id] not in stored
        ]
        self._store.upsert(self._items, new, insert_only=True)

    def _update(
        self,
        current: Mapping[str, Message[CatalogueEvent]],
        hashes: Mapping[str, str],
        points: Mapping[str, str],
        stored: Mapping[str, Point],
        vectors: Mapping[str, Dense],
    ) -> None:
        """The vector first, then the payload with its hash: a crash between them means embedding once more."""
        old = [item_id for item_id in current if points[item_id] in stored]
        self._store.update_vectors(
            self._items, {points[item_id]: {"content": vectors[item_id]} for item_id in old if item_id in vectors}
        )
        self._store.set_payload(
            self._items,
            {
                points[item_id]: self._payload(
                    current[item_id], hashes[item_id], stored[points[item_id]], item_id in vectors
                )
                for item_id in old
            },
        )

    def _payload(
        self, message: Message[CatalogueEvent], text_hash: str, known: Point | None, embedded: bool
    ) -> dict[str, Any]:
        content, record = message.value, message.record
        assert isinstance(content, Content)
        at = content.timestamp if content.timestamp is not None else record.timestamp / 1000
        meta = _meta(content)
        source = {
            "hash": text_hash,
            "log": record.log,
            "partition": record.partition,
            "offset": record.offset,
            **self._history({} if known is None else known.payload.get("source", {}), embedded),
        }
        return {
            "item_id": content.item_id,
            "space": self._encoder.space,
            "meta": meta,
            "language": item_language(meta, self._detect),
            "listed_at": _listed_at(content, at, known),
            "offer": _offer(content, at, None if known is None else known.payload.get("offer")),
            "source": source,
            **_stale_image(content, record, known),
        }

    def _history(self, source: Mapping[str, Any], embedded: bool) -> dict[str, Any]:
        """When the current vector was made, in epoch seconds, and its ordinal, both for the audit."""
        if embedded:
            return {"embedded_at": self._clock(), "embeddings": source.get("embeddings", 1 if source else 0) + 1}
        return {name: source[name] for name in ("embedded_at", "embeddings") if name in source}

    # -- price and stock ----------------------------------------------------------------------------------------

    def _handle_offers(self, batch: Sequence[Message[CatalogueEvent]]) -> None:
        """Price and stock by the last word on them; what comes before its item waits in a point with nothing else."""
        points = {m.value.item_id: item_point_id(m.value.item_id) for m in batch if isinstance(m.value, Availability)}
        if not points:
            return
        stored = self._store.retrieve(self._items, list(points.values()), payload=("offer",))
        offers: dict[str, Mapping[str, Any]] = {
            item_id: stored[point].payload.get("offer") or {} for item_id, point in points.items() if point in stored
        }
        for message in batch:
            if isinstance(message.value, Availability):
                item_id = message.value.item_id
                offers[item_id] = _latest_offer(message.value, message.record, offers.get(item_id, {}))
        early = [
            Point(point, {}, {"item_id": item_id, "offer": offers[item_id]})
            for item_id, point in points.items()
            if point not in stored
        ]
        self._store.upsert(self._items, early, insert_only=True)
        existing = {point: {"offer": offers[item_id]} for item_id, point in points.items() if point in stored}
        self._store.set_payload(self._items, existing)

    # -- people -------------------------------------------------------------------------------------------------

    def _handle_users(self, batch: Sequence[Message[CatalogueEvent]]) -> None:
        if not batch:
            return
        texts = [
            onboarding_text(m.value.interests, m.value.goals, m.value.experience) if isinstance(m.value, User) else ""
            for m in batch
        ]
        answered = [text for text in texts if text]
        rows = iter(self._encoder.encode(answered))
        vectors = [next(rows) if text else None for text in texts]
        self._producer.send_all(
            [self._person_record(message, vector) for message, vector in zip(batch, vectors, strict=True)]
        )

    def _person_record(self, message: Message[CatalogueEvent], vector: Dense | None) -> Outgoing:
        said, record = message.value, message.record
        origin = RecordOrigin(log=record.log, partition=record.partition, offset=record.offset)
        if isinstance(said, Tombstone):
            erased = Erased(user_id=said.key, timestamp=record.timestamp / 1000, origin=origin)
            return _person_outgoing(erased, record)
        assert isinstance(said, User)
        onboarded = Onboarded(
            user_id=said.user_id,
            vector=None if vector is None else [float(x) for x in vector],
            space=None if vector is None else self._encoder.space,
            segment=said.segment,
            attributes=said.attributes,
            origin=origin,
        )
        return _person_outgoing(onboarded, record)


def _person_outgoing(said: Onboarded | Erased, record: Record) -> Outgoing:
    return Outgoing(
        INTERACTIONS, said.person.key.encode(), said.to_bytes(), cloud_event_headers(said, record.place, "embedder")
    )


def _key(record: Record) -> str:
    if not record.key:
        raise InvalidEvent(f"a record of {record.topic} needs its {_KEYS[record.topic]} as the key")
    try:
        return record.key.decode()
    except UnicodeDecodeError:
        raise InvalidEvent("the record's key is not valid UTF-8") from None


def _without_upload(content: Content) -> Content:
    """With the name of an uploaded picture in place of the picture, which is the imager's to look at."""
    return content.model_copy(update={"image_url": stored_image_url(content.image_url)})


def _meta(content: CatalogueEvent) -> dict[str, Any]:
    assert isinstance(content, Content)
    return content.model_dump(mode="python", exclude_none=True, exclude={"v", "item_id", "timestamp"})


def _is_older(record: Record, known: Point | None) -> bool:
    """Whether the stored state is from a later record of the same log."""
    source = known.payload.get("source") if known else None
    if source is None:
        return False
    same = source["log"] == record.log and source["partition"] == record.partition
    return bool(same and record.offset < source["offset"])


def _stale_image(content: Content, record: Record, known: Point | None) -> dict[str, Any]:
    """Emptied where the address has changed since what the imager noted: it was ahead of us then, and won't see this
    record again."""
    image = {} if known is None else known.payload.get("image") or {}
    if known is None or not image or (known.payload.get("meta") or {}).get("image_url") == content.image_url:
        return {}
    same_log = image["log"] == record.log and image["partition"] == record.partition
    return {} if same_log and image["offset"] >= record.offset else {"image": {}}


def _listed_at(content: Content, at: float, known: Point | None) -> float:
    """When it became new: its publication, else its first arrival. Freshness and `latest` go by it."""
    if content.published_at is not None:
        return content.published_at
    return at if known is None else float(known.payload.get("listed_at", at))


def _offer(content: Content, at: float, known: Mapping[str, Any] | None) -> dict[str, Any]:
    """Price and stock as the item's own state says, unless something later was said of them alone."""
    if known is not None and known.get("at", -math.inf) > at:
        return dict(known)
    return _offer_from(content, at)


def _latest_offer(said: Availability, record: Record, known: Mapping[str, Any]) -> Mapping[str, Any]:
    at = said.timestamp if said.timestamp is not None else record.timestamp / 1000
    return known if known.get("at", -math.inf) > at else _offer_from(said, at)


def _offer_from(said: Content | Availability, at: float) -> dict[str, Any]:
    offer: dict[str, Any] = {"available": said.available, "at": at}
    return offer if said.price is None else {**offer, "price": said.price}
