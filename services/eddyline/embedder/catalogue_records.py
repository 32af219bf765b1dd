"""Records of the compacted topics as the embedder reads them, decides between them, and writes them again."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from eddyline.adapters.kafka import Message, Outgoing, Producer, Record
from eddyline.errors import InvalidEvent
from eddyline.model.events import Availability, Content, Listing, User, cloud_event_headers
from eddyline.model.latest_state import (
    RESTATES,
    Known,
    LatestState,
    StateRecord,
    corrected_position,
    current_offer,
    latest_state,
)
from eddyline.model.offsets import LogPosition, stored_offset
from eddyline.topics import ACTIVITY, AVAILABILITY, CONTENT, USERS

KEYS = {CONTENT: "item_id", AVAILABILITY: "item_id", USERS: "user_id"}


@dataclass(frozen=True, slots=True)
class Tombstone:
    """The key of a record without a value: the item or the person is to be deleted."""

    key: str


CatalogueEvent: TypeAlias = Content | Availability | User | Tombstone


def key_of(record: Record) -> str:
    """Return a record's key as text. Raises `InvalidEvent`."""
    if not record.key:
        raise InvalidEvent(f"a record of {record.topic} needs its {KEYS[record.topic]} as the key")
    try:
        return record.key.decode()
    except UnicodeDecodeError:
        raise InvalidEvent("the record's key is not valid UTF-8") from None


def by_key(messages: Iterable[Message[CatalogueEvent]]) -> dict[str, list[Message[CatalogueEvent]]]:
    """Group messages by their keys, in their order."""
    grouped: dict[str, list[Message[CatalogueEvent]]] = {}
    for message in messages:
        grouped.setdefault(key_of(message.record), []).append(message)
    return grouped


def place_of_state(record: Record) -> LogPosition:
    """Return where a record counts: its own place, or that of the one that it corrects."""
    return corrected_position(record.headers, record.position) or record.position


def state_time(event: Content | Availability) -> float:
    """Return when a state was true, in epoch seconds, to the microsecond: as it is written again."""
    assert event.timestamp is not None, "set when it was read"
    return round(event.timestamp, 6)


def known_state(stored: Mapping[str, Any], record: Record, exists: bool) -> Known:
    """Return what is stored of the state that a record is another of; `exists`: there is one, not just its deletion."""
    return Known(stored.get("at", -math.inf) if exists else -math.inf, stored_offset(stored, place_of_state(record)))


def stock_of(payload: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what `availability` said of a stored item. Items of before that was kept apart have their offer alone."""
    stock: Mapping[str, Any] = payload.get("stock", payload.get("offer")) or {}
    return stock


def outstanding(stored: Mapping[str, Any], record: Record) -> dict[str, Any]:
    """Return, as it is stored, that a restatement is still to come, unless this record is it."""
    restated, corrected = stored.get("restated"), corrected_position(record.headers, record.position)
    if restated is None or (corrected is not None and corrected.offset >= restated):
        return {}
    return {"restated": restated}


def decide(known: Known, messages: Sequence[Message[Any]]) -> LatestState:
    """Decide which of an item's records holds, if any does."""
    return latest_state(
        known,
        [
            StateRecord(
                place_of_state(message.record).offset,
                state_time(message.value) if isinstance(message.value, Content | Availability) else None,
                corrected_position(message.record.headers, message.record.position) is not None,
            )
            for message in messages
        ],
    )


def restatement(item_id: str, state: Content | Availability | None, last: Record) -> Outgoing:
    """Return the record that says again what holds, of an item whose `last` record doesn't; None: it is deleted."""
    model: type[Content | Availability] = Content if last.topic == CONTENT else Availability
    headers = cloud_event_headers(model, f"restates:{last.place}", "embedder")
    value = None if state is None else state.to_bytes()
    return Outgoing(last.topic, item_id.encode(), value, (*headers, (RESTATES, str(last.position).encode())))


def send_listings(producer: Producer, listings: Sequence[tuple[Listing, Record]]) -> None:
    """Tell affinity, whose rows are filtered as the items are, and wait until it is acknowledged."""
    if listings:
        producer.send_all(
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


def offer_of(
    meta: Mapping[str, Any] | None, at: float, stock: Mapping[str, Any], known: Mapping[str, Any]
) -> dict[str, Any]:
    """Return price and stock, with a time that never goes back: rows ignore what is older than what they have."""
    offer = current_offer(meta, at, stock)
    return {**offer, "at": max(offer["at"], (known.get("offer") or {}).get("at", 0.0))}


def said_stock(message: Message[CatalogueEvent], known: Mapping[str, Any]) -> dict[str, Any]:
    """Return what `availability` says, as it is stored; of its deletion, no more than is still needed."""
    event, place = message.value, place_of_state(message.record)._asdict()
    awaited = outstanding(known, message.record)
    if not isinstance(event, Availability):
        return {**place, **awaited} if awaited else {}
    said = {"available": event.available} | ({} if event.price is None else {"price": event.price})
    return {**said, "at": state_time(event), **place, **awaited}
