"""What lists filter items by, under the same payload paths in `items`, where the embedder writes it, and in `rows`,
where affinity keeps a copy.

Whether an item may be shown is one flag and two numbers that are always there, so that the filter of every list is
answered by indexes alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

ALWAYS, NEVER = 0.0, 1e12
"""Epoch seconds before all, and after all, that an item can be published and expire at."""
LISTED_META = ("category", "tags", "published_at", "expires_at", "rating", "attributes")
"""What is copied of `meta`: not the texts."""


def servable_fields(meta: Mapping[str, Any] | None, offer: Mapping[str, Any]) -> dict[str, Any]:
    """Return when an item may be shown, and whether at all. `meta` None: only its price or stock is known yet."""
    known = meta or {}
    return {
        "servable": meta is not None and offer.get("available") is not False,
        "servable_from": known.get("published_at", ALWAYS),
        "servable_until": known.get("expires_at", NEVER),
    }


def listing_fields(payload: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part of an item's payload that lists filter by, but for the offer and what follows from it."""
    meta = payload["meta"]
    fields = {name: payload[name] for name in ("language", "listed_at") if name in payload}
    return {**fields, "meta": {name: meta[name] for name in LISTED_META if meta.get(name) not in (None, {}, [])}}


def row_listing(fields: Mapping[str, Any], offer: Mapping[str, Any]) -> dict[str, Any]:
    """Return the payload of a row that lists filter by, of `listing_fields` and the offer."""
    return {**fields, "offer": dict(offer), **servable_fields(fields["meta"], offer)}
