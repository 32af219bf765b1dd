"""Events of other trackers in our words: Segment's and RudderStack's, and Google Analytics 4's as BigQuery has them.

One table of names for each. Every product of an event becomes an event of its own, whose id is made of the message's
and the product's, so that a resend counts once. What maps to nothing comes to nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

SEGMENT_TYPES: Mapping[str, str] = {
    "product viewed": "view",
    "product clicked": "click",
    "product added": "cart",
    "product added to wishlist": "save",
    "product shared": "share",
    "product reviewed": "rating",
    "order completed": "purchase",
    "content viewed": "view",
    "article viewed": "view",
    "video content started": "view",
}
"""Segment's spec of e-commerce and content, by lower-case name."""
GA4_TYPES: Mapping[str, str] = {
    "view_item": "view",
    "select_item": "click",
    "add_to_cart": "cart",
    "add_to_wishlist": "save",
    "share": "share",
    "purchase": "purchase",
    "select_content": "click",
}
"""Google's recommended events."""
_SEGMENT_IDS = ("product_id", "productId", "item_id", "content_id", "asset_id", "article_id", "sku")


def segment_events(message: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield what a message of Segment's or RudderStack's comes to: track, identify and alias."""
    kind, message_id = message.get("type"), message.get("messageId")
    user, anonymous = _text(message.get("userId")), _text(message.get("anonymousId"))
    at = message.get("timestamp") or message.get("originalTimestamp") or message.get("sentAt")
    shared = _filled({"user_id": user, "anonymous_id": anonymous, "timestamp": at})
    if kind in ("identify", "alias"):
        anonymous = anonymous if kind == "identify" else _text(message.get("previousId"))
        if user and anonymous and user != anonymous:
            named = {"type": "identify", "user_id": user, "anonymous_id": anonymous, "timestamp": at}
            yield _filled({**named, "event_id": _text(message_id)})
        return
    given = message.get("properties")
    properties: Mapping[str, Any] = given if isinstance(given, dict) else {}
    name = str(message.get("event") or "").strip().lower().replace("_", " ")
    event_type = SEGMENT_TYPES.get(name) if kind == "track" else None
    if event_type is None:
        return
    listed = properties.get("products")
    products = [one for one in listed if isinstance(one, dict)] if isinstance(listed, list) else [properties]
    for ordinal, product in enumerate(products):
        item_id = next((text for key in _SEGMENT_IDS if (text := _text(product.get(key)))), None)
        if item_id is None:
            continue
        value = product.get("rating") if event_type == "rating" else product.get("price")
        order = _text(properties.get("order_id")) if event_type == "purchase" else None
        yield _filled(
            {
                **shared,
                "type": event_type,
                "item_id": item_id,
                "value": number(value),
                "event_id": _event_id(order or _text(message_id), item_id, ordinal),
            }
        )


def unmapped_name(message: Mapping[str, Any]) -> str | None:
    """Return the name of a message of Segment's that comes to nothing; None of one that comes to something."""
    if next(segment_events(message), None) is not None:
        return None
    return str(message.get("event") or message.get("type") or "(none)")[:64]


def ga4_events(row: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield what a row of GA4's BigQuery export comes to."""
    event_type = GA4_TYPES.get(str(row.get("event_name")))
    if event_type is None:
        return
    parameters = ga4_parameters(row)
    micros = number(row.get("event_timestamp"))
    listed = row.get("items")
    products = [one for one in listed if isinstance(one, dict)] if isinstance(listed, list) else []
    if not products and (content := parameters.get("content_id") or parameters.get("item_id")):
        products = [{"item_id": content}]
    ecommerce = row.get("ecommerce")
    order = _text(ecommerce.get("transaction_id")) if isinstance(ecommerce, dict) else None
    order = None if order in (None, "(not set)") else order
    person, session = _text(row.get("user_pseudo_id")), parameters.get("ga_session_id")
    shared = {
        "type": event_type,
        "user_id": _text(row.get("user_id")),
        "anonymous_id": person,
        "session_id": None if session is None else f"{person}.{session}",
        "timestamp": None if micros is None else micros / 1e6,
    }
    made = f"ga4:{person}:{row.get('event_timestamp')}:{row.get('event_name')}"
    for ordinal, product in enumerate(products):
        item_id = _text(product.get("item_id"))
        if item_id is None or item_id == "(not set)":
            continue
        event_id = _event_id(order if event_type == "purchase" and order else made, item_id, ordinal)
        yield _filled({**shared, "item_id": item_id, "value": number(product.get("price")), "event_id": event_id})


def ga4_parameters(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters of a row by name."""
    listed, found = row.get("event_params"), dict[str, Any]()
    for one in listed if isinstance(listed, list) else []:
        value = one.get("value") if isinstance(one, dict) else None
        if isinstance(value, dict):
            found[str(one.get("key"))] = next((part for part in value.values() if part is not None), None)
    return found


def number(value: Any) -> float | None:
    """Return a number, also of a text; None where it is none."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    try:
        return float(value)
    except ValueError:
        return None


def _event_id(message: str | None, item_id: str, ordinal: int) -> str | None:
    if message is None:
        return None
    whole = f"{message}:{item_id}" + (f":{ordinal}" if ordinal else "")
    return whole[:512]


def _text(value: Any) -> str | None:
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return value.strip() or None if isinstance(value, str) else None


def _filled(given: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in given.items() if value is not None}
