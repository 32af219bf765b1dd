"""An event of another system, and the events of ours that it comes to.

Every product becomes an event of its own, whose id is made of the message's and the product's, so that a resend counts
once; the products of a list that was seen become one impression. What maps to nothing comes to nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from eddyline.errors import InvalidInput
from eddyline.settings import EventMapping, EventSettings

MAX_MESSAGES = 1000
"""Messages of another system in one request."""
MAX_ID = 512
NOT_AN_OBJECT = "(not an object)"
_NOT_SET = "(not set)"
"""What Google Analytics writes for nothing."""


@dataclass(frozen=True, slots=True)
class TrackedEvent:
    """An event as another system names it. What the system doesn't say outside of `properties` is looked up in them."""

    name: str
    properties: Mapping[str, Any]
    user_id: str | None = None
    anonymous_id: str | None = None
    session_id: str | None = None
    timestamp: Any = None
    """As the HTTP API takes it."""
    message_id: str | None = None
    """The same in a resend."""


def our_events(tracked: TrackedEvent, settings: EventSettings) -> list[dict[str, Any]]:
    """Return what an event comes to, as `POST /v1/events` takes it; nothing, where it has no meaning here."""
    mapping = settings.mapping(tracked.name)
    if mapping is None:
        return []
    shared = filled(_shared(tracked, mapping))
    if mapping.type == "identify":
        return _identify(shared, tracked.message_id)
    lists = (found for path in mapping.products if isinstance(found := at(tracked.properties, path), list) and found)
    listed = [one for one in next(lists, ()) if isinstance(one, dict)]
    if mapping.type == "impression":
        return _impression(tracked, mapping, shared, listed)
    message = first_text(tracked.properties, mapping.event_id) or tracked.message_id
    events: list[dict[str, Any]] = []
    for ordinal, product in enumerate(listed or [tracked.properties]):
        item_id = first_text(product, mapping.item_id)
        if item_id is None:
            continue
        event = {
            **shared,
            "type": mapping.type,
            "item_id": item_id,
            "value": next((value for path in mapping.value if (value := number(at(product, path))) is not None), None),
            "event_id": _event_id(message, item_id, ordinal),
            "request_id": text(tracked.properties.get("request_id")),
        }
        events.append(filled(event))
    return events


def _shared(tracked: TrackedEvent, mapping: EventMapping) -> dict[str, Any]:
    """Return whose it is, and when it happened."""
    user_id, anonymous_id = tracked.user_id, tracked.anonymous_id
    if user_id is None and anonymous_id is None:
        user_id = first_text(tracked.properties, mapping.user_id)
        anonymous_id = first_text(tracked.properties, mapping.anonymous_id)
    at_path = (found for path in mapping.timestamp if (found := at(tracked.properties, path)) is not None)
    return {
        "user_id": user_id,
        "anonymous_id": anonymous_id,
        "session_id": tracked.session_id,
        "timestamp": tracked.timestamp if tracked.timestamp is not None else next(at_path, None),
    }


def _identify(shared: Mapping[str, Any], message_id: str | None) -> list[dict[str, Any]]:
    user_id, anonymous_id = shared.get("user_id"), shared.get("anonymous_id")
    if user_id is None or anonymous_id is None or user_id == anonymous_id:
        return []
    return [filled({"type": "identify", **shared, "event_id": message_id})]


def _impression(
    tracked: TrackedEvent, mapping: EventMapping, shared: Mapping[str, Any], products: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Report a list that was seen: by its `request_id`, where it is one of ours, else as another system's."""
    items = {name: one for one in products if (name := first_text(one, mapping.item_id)) is not None}
    ranks = _ranks(list(items.values()), mapping)
    event = {"type": "impression", **shared, "event_id": tracked.message_id}
    if (request_id := text(tracked.properties.get("request_id"))) is not None:
        return [filled({**event, "request_id": request_id, "positions": sorted(ranks) or None})]
    if not items:
        return []
    event["items"] = [{"item_id": name, "rank": rank} for name, rank in zip(items, ranks, strict=True)]
    event["surface"] = (first_text(tracked.properties, mapping.list_name) or tracked.name)[:256]
    event["request_id"] = tracked.message_id or _digest([tracked.name, event])
    return [filled(event)]


def _ranks(products: Sequence[Mapping[str, Any]], mapping: EventMapping) -> list[int]:
    """Return their positions, counted from 1; their order, where they don't say different ones."""
    given = [number(next((found for path in mapping.position if (found := at(one, path)) is not None), None))
             for one in products]  # fmt: skip
    whole = [int(one) for one in given if one is not None and one.is_integer() and one >= 0]
    if len(set(whole)) < len(products):
        return list(range(1, len(products) + 1))
    return [one + 1 for one in whole] if 0 in whole else whole


def tracked_messages(given: Any, field: str) -> list[Any]:
    """Check that messages are a list, and not too many. Raises `InvalidInput`."""
    if not isinstance(given, list) or len(given) > MAX_MESSAGES:
        raise InvalidInput(f"must be a list of {MAX_MESSAGES:,} at most", field)
    return given


def at(value: Any, path: str) -> Any:
    """Return what is at a path, e.g. `customer.id`; None where there is nothing."""
    for name in path.split("."):
        if not isinstance(value, Mapping):
            return None
        value = value.get(name)
    return value


def first_text(value: Any, paths: Sequence[str]) -> str | None:
    """Return the text at the first of several paths that has one."""
    return next((found for path in paths if (found := text(at(value, path))) is not None), None)


def text(value: Any) -> str | None:
    """Return an id, which may be a whole number; None where it is none."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    stripped = value.strip() if isinstance(value, str) else ""
    return stripped if stripped not in ("", _NOT_SET) else None


def number(value: Any) -> float | None:
    """Return a number, also of a text; None where it is none."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    try:
        return float(value)
    except (ValueError, OverflowError):
        return None


def filled(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return what isn't None."""
    return {name: value for name, value in given.items() if value is not None}


def _event_id(message: str | None, item_id: str, ordinal: int) -> str | None:
    if message is None:
        return None
    whole = f"{message}:{item_id}" + (f":{ordinal}" if ordinal else "")
    return whole if len(whole.encode()) <= MAX_ID else _digest(whole)


def _digest(value: Any) -> str:
    return hashlib.blake2b(orjson.dumps(value, option=orjson.OPT_SORT_KEYS), digest_size=16).hexdigest()
