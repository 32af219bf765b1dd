"""Price and stock, which `availability` says of items: its part of their points."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from eddyline.adapters.kafka import Message, Producer, Record
from eddyline.adapters.telemetry import Metrics
from eddyline.adapters.vectors import Point, VectorStore
from eddyline.embedder.catalogue_records import (
    CatalogueEvent,
    by_key,
    decide,
    known_state,
    offer_of,
    restatement,
    said_stock,
    send_listings,
    stock_of,
)
from eddyline.model.events import Availability, Listing
from eddyline.model.ids import item_point_id
from eddyline.model.latest_state import OFFER_FIELDS
from eddyline.model.listing import servable_fields
from eddyline.topics import AVAILABILITY

_META = (*OFFER_FIELDS, "title", "published_at", "expires_at")
OFFERED = ("stock", "offer", "source", *(f"meta.{name}" for name in _META))


class OfferUpdater:
    """Handles the topic `availability`. All calls come from the consume loop's one thread."""

    def __init__(self, store: VectorStore, producer: Producer, metrics: Metrics, items: str) -> None:
        self._store, self._producer, self._metrics, self._items = store, producer, metrics, items

    def handle(self, batch: Sequence[Message[CatalogueEvent]]) -> None:
        """Store price and stock as they were last; what comes before its item waits in a point with nothing else."""
        by_item = by_key(batch)
        points = {item_id: item_point_id(item_id) for item_id in by_item}
        if not points:
            return
        found = self._store.retrieve(self._items, list(points.values()), payload=OFFERED)
        stored = {item_id: found[point].payload for item_id, point in points.items() if point in found}
        payloads: dict[str, dict[str, Any]] = {}
        outdated: dict[str, Record] = {}
        for item_id, messages in by_item.items():
            known, last = stored.get(item_id, {}), messages[-1].record
            stock = stock_of(known)
            decision = decide(known_state(stock, last, "available" in stock), messages)
            if decision.index is not None:
                stock = said_stock(messages[decision.index], stock)
            if decision.is_to_be_restated:
                outdated[item_id] = last
                stock = {**stock, "restated": last.offset}
            if decision.index is not None or decision.is_to_be_restated:
                meta, at = known.get("meta"), (known.get("source") or {}).get("at", -math.inf)
                offer = offer_of(meta, at, stock, known)
                payloads[item_id] = {"stock": stock, "offer": offer, **servable_fields(meta, offer)}
        send_listings(
            self._producer,
            [
                (Listing(item_id=item_id, offer=dict(payload["offer"])), by_item[item_id][-1].record)
                for item_id, payload in payloads.items()
                if "meta" in stored.get(item_id, {})
            ],
        )
        early = [
            Point(points[item_id], {}, {"item_id": item_id, **payload})
            for item_id, payload in payloads.items()
            if item_id not in stored and payload["stock"]
        ]
        self._store.upsert(self._items, early, insert_only=True)
        existing = {points[item_id]: payload for item_id, payload in payloads.items() if item_id in stored}
        self._store.set_payload(self._items, existing)
        self._restate_offers(outdated, {item_id: payloads[item_id]["stock"] for item_id in outdated})

    def _restate_offers(self, outdated: Mapping[str, Record], stocks: Mapping[str, Mapping[str, Any]]) -> None:
        """Write again what is stored of items whose last records don't hold."""
        states: dict[str, Availability | None] = {
            item_id: Availability(
                item_id=item_id, available=stock["available"], price=stock.get("price"), timestamp=stock["at"]
            )
            if "available" in stock
            else None
            for item_id, stock in stocks.items()
        }
        self._metrics.outdated.labels(AVAILABILITY).inc(len(outdated))
        if outdated:
            self._producer.send_all([restatement(item_id, states[item_id], last) for item_id, last in outdated.items()])
