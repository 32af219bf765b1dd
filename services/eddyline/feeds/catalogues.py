"""Catalogues that aren't XML: JSON Feed, Shopify's products.json, lines of JSON, and CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from eddyline.feeds.entry import FeedEntry, ParsedFeed
from eddyline.feeds.syndication import first_picture
from eddyline.model.events import Content

SHOPIFY_PAGE = 250
_OUR_FIELDS = frozenset(Content.model_fields) - {"v", "timestamp", "image", "detected_language"}
_NUMBERS, _BOOLEANS = {"price"}, {"available"}


def parse_json_feed(document: Mapping[str, Any], max_entries: int) -> ParsedFeed:
    """Parse a JSON Feed."""
    items = [one for one in _list(document.get("items")) if isinstance(one, dict)]
    entries = [_json_entry(one) for one in items[:max_entries]]
    language = document.get("language")
    return ParsedFeed(
        "json-feed", "news", entries, len(items) <= max_entries, None, language if isinstance(language, str) else None
    )


def _json_entry(item: Mapping[str, Any]) -> FeedEntry:
    description = _text(item.get("content_html")) or _text(item.get("content_text")) or _text(item.get("summary")) or ""
    authors = _list(item.get("authors")) or [item.get("author")]
    names = [_text(one.get("name")) for one in authors if isinstance(one, dict)]
    given = item.get("id")
    return FeedEntry(
        id=str(given) if isinstance(given, str | int | float) else None,
        title=_text(item.get("title")) or "",
        description=description,
        url=_text(item.get("url")) or _text(item.get("external_url")),
        image_url=_text(item.get("image")) or _text(item.get("banner_image")) or first_picture(description),
        published=item.get("date_published") or item.get("date_modified"),
        categories=[tag for tag in _list(item.get("tags")) if isinstance(tag, str)],
        language=_text(item.get("language")),
        attributes={"author": ", ".join(name for name in names if name)},
    )


def parse_shopify(document: Mapping[str, Any], url: str, max_entries: int) -> ParsedFeed:
    """Parse Shopify's products.json: a product an item, its variants' lowest price, available if one of them is."""
    products = [one for one in _list(document.get("products")) if isinstance(one, dict)]
    entries = [shopify_entry(one) for one in products[:max_entries]]
    is_last = len(products) < SHOPIFY_PAGE and "limit=" not in url
    return ParsedFeed("shopify", "catalogue", entries, is_last or len(products) <= max_entries)


def shopify_entry(product: Mapping[str, Any]) -> FeedEntry:
    """Return the entry of a product, as Shopify's storefront and its webhooks write it."""
    variants = [one for one in _list(product.get("variants")) if isinstance(one, dict)]
    images = [one for one in _list(product.get("images")) if isinstance(one, dict)]
    prices = [price for one in variants if (price := _decimal(one.get("price"))) is not None]
    stock = [one["available"] for one in variants if isinstance(one.get("available"), bool)]
    tags = product.get("tags")
    kind = _text(product.get("product_type"))
    return FeedEntry(
        id=str(product.get("id") or product.get("handle") or "") or None,
        title=_text(product.get("title")) or "",
        description=_text(product.get("body_html")) or "",
        url=f"/products/{product['handle']}" if _text(product.get("handle")) else None,
        image_url=_text(images[0].get("src")) if images else None,
        published=product.get("published_at") or product.get("created_at"),
        categories=[
            *([kind] if kind else []),
            *([tag.strip() for tag in tags.split(",")] if isinstance(tags, str) else map(str, _list(tags))),
        ],
        price=min(prices, default=None),
        availability=any(stock) if stock else None,
        attributes={"brand": _text(product.get("vendor"))},
    )


def parse_lines(body: bytes, max_entries: int) -> ParsedFeed:
    """Parse lines of JSON: items by our own names of fields; any other is an attribute."""
    entries: list[FeedEntry] = []
    is_whole = True
    for line in body.splitlines():
        if not line.strip():
            continue
        try:
            value = orjson.loads(line)
        except orjson.JSONDecodeError:
            is_whole = False
            continue
        if isinstance(value, dict):
            entries.append(_own_entry(value))
    return ParsedFeed("ndjson", "catalogue", entries[:max_entries], is_whole and len(entries) <= max_entries)


def parse_csv(body: bytes, max_entries: int) -> ParsedFeed:
    """Parse rows under names of our own fields; any other column is an attribute."""
    text = body.decode("utf-8-sig", "replace")
    first = text[: text.find("\n")] if "\n" in text else text
    separator = max(",;\t|", key=first.count)
    entries = [_own_entry(dict(_cells(row))) for row in csv.DictReader(io.StringIO(text), delimiter=separator)]
    return ParsedFeed("csv", "catalogue", entries[:max_entries], len(entries) <= max_entries)


def _cells(row: Mapping[Any, Any]) -> Iterator[tuple[str, Any]]:
    for name, cell in row.items():
        if not isinstance(name, str) or not isinstance(cell, str) or not cell.strip():
            continue
        if name == "tags":
            yield name, [tag.strip() for tag in cell.split(",") if tag.strip()]
        elif name in _BOOLEANS:
            yield name, cell.strip().lower() in ("true", "1", "yes")
        else:
            yield name, cell.strip()


def _own_entry(value: Mapping[str, Any]) -> FeedEntry:
    named = {name: one for name, one in value.items() if name in _OUR_FIELDS}
    others = {name: one for name, one in value.items() if name not in _OUR_FIELDS and name != "id"}
    given = named.pop("item_id", None) or value.get("id")
    price = named.pop("price", None)
    attributes = named.pop("attributes", None)
    return FeedEntry(
        id=str(given) if isinstance(given, str | int | float) else None,
        title=_text(named.pop("title", None)) or "",
        url=_text(named.pop("url", None)) or _text(others.pop("link", None)),
        published=named.pop("published_at", None),
        description=_text(named.pop("description", None)) or "",
        price=price,
        attributes={**(attributes if isinstance(attributes, dict) else {}), **others},
        fields=named,
    )


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _text(value: Any) -> str | None:
    return value.strip() or None if isinstance(value, str) else None


def _decimal(value: Any) -> float | None:
    try:
        return float(value)
    except (TypeError, ValueError):
        return None
