"""RSS, Atom and RDF, by feedparser, which reads what isn't quite any of them; and Google Merchant's, one of them."""

from __future__ import annotations

import calendar
import html
import io
import re
from collections.abc import Iterable, Mapping
from typing import Any

import feedparser
from lxml import etree

from eddyline.feeds.entry import FeedEntry, ParsedFeed

_PERIODS = {"hourly": 3600.0, "daily": 86_400.0, "weekly": 604_800.0, "monthly": 2_592_000.0, "yearly": 31_536_000.0}
_MERCHANT_PREFIX = re.compile(
    rb"""xmlns:([A-Za-z_][\w.-]{0,30})\s{0,9}=\s{0,9}["']https?://base\.google\.com/ns/1\.0"""
)
_MERCHANT_GROUPS = re.compile(
    rb"<g:(shipping|tax|installment|loyalty_points|subscription_cost|product_detail)\s*>.{0,4000}?</g:\1\s*>", re.DOTALL
)
"""Elements with parts of their own, among them prices."""
MERCHANT_ATTRIBUTES = {"brand", "condition", "color", "size", "gender", "age_group", "material", "gtin", "mpn"}


def parse_syndication(body: bytes, headers: Mapping[str, str], max_entries: int) -> ParsedFeed:
    """Parse a feed that came with these headers (lower case)."""
    # Without the URL, against which it would resolve ids, too.
    given = {"content-type": headers["content-type"]} if "content-type" in headers else {}
    read = feedparser.parse(io.BytesIO(_plain_merchant(body)), response_headers=given, sanitize_html=False)
    entries = read.entries[:max_entries]
    is_merchant = any("g_id" in entry for entry in entries)
    return ParsedFeed(
        "merchant" if is_merchant else "syndication",
        "catalogue" if is_merchant else "news",
        [_product(entry) if is_merchant else _entry(entry) for entry in entries],
        not _is_cut(body) and len(read.entries) <= max_entries,
        _ttl(read.feed),
        read.feed.get("language") or None,
    )


def _plain_merchant(body: bytes) -> bytes:
    """Return Google Merchant's document as feedparser can read it, which looks names up by their prefix, and takes the
    price of what is sent for the price of what is sold."""
    declared = _MERCHANT_PREFIX.search(body[:8192])
    if declared is None:
        return body
    prefix = declared[1]
    if prefix != b"g":
        body = re.sub(rb"(</?)" + prefix + rb":", rb"\1g:", body)
    return _MERCHANT_GROUPS.sub(b"", body)


def _is_cut(body: bytes) -> bool:
    """Tell whether a document's root isn't closed."""
    end = body.rstrip(b" \t\r\n\0")[-40:].lower()
    return not any(closing in end for closing in (b"</rss", b"</feed", b"</rdf", b"</channel"))


def _entry(entry: Any) -> FeedEntry:
    texts = [one.get("value", "") for one in entry.get("content", [])]
    description = max([*texts, entry.get("summary", "")], key=len)
    authors = [one.get("name", "") for one in entry.get("authors", [])] or [entry.get("author", "")]
    return FeedEntry(
        id=_text(entry.get("id")),
        title=entry.get("title", ""),
        description=description,
        url=_text(entry.get("link")),
        image_url=_picture(entry, description),
        published=_time(entry),
        categories=[tag["term"] for tag in entry.get("tags", []) if tag.get("term")],
        language=_text((entry.get("title_detail") or {}).get("language")),
        attributes={"author": ", ".join(name for name in authors if name)[:1000]},
    )


def _product(entry: Any) -> FeedEntry:
    plain = _entry(entry)
    paths = html.unescape(entry.get("g_product_type") or entry.get("g_google_product_category") or "").split(">")
    attributes = {name: _text(entry.get(f"g_{name}")) for name in sorted(MERCHANT_ATTRIBUTES)}
    return FeedEntry(
        id=_text(entry.get("g_id")) or plain.id,
        title=entry.get("g_title") or plain.title,
        description=entry.get("g_description") or plain.description,
        url=_text(entry.get("g_link")) or plain.url,
        image_url=_text(entry.get("g_image_link")) or plain.image_url,
        published=plain.published,
        categories=[path.strip() for path in paths if path.strip()],
        price=_text(entry.get("g_sale_price")) or _text(entry.get("g_price")),
        availability=_text(entry.get("g_availability")),
        attributes=attributes,
    )


def _text(value: Any) -> str | None:
    return value.strip() or None if isinstance(value, str) else None


def _time(entry: Any) -> object:
    for name in ("published", "updated", "created"):
        parsed = entry.get(f"{name}_parsed")
        if parsed is not None:
            try:
                return float(calendar.timegm(parsed))
            except (ValueError, OverflowError, TypeError):
                continue
        if isinstance(entry.get(name), str):
            return entry[name]
    return None


def _picture(entry: Any, description: str) -> str | None:
    """Return the address of an entry's picture: what it encloses, else the first one in its text."""
    enclosed: list[Any] = [*entry.get("media_content", []), *entry.get("enclosures", []), *entry.get("links", [])]
    pictures: Iterable[str | None] = (
        one.get("url") or one.get("href")
        for one in enclosed
        if str(one.get("type", "")).startswith("image/") or one.get("medium") == "image"
    )
    thumbnails = (one.get("url") for one in entry.get("media_thumbnail", []))
    image = entry.get("image")
    own = image.get("href") if isinstance(image, Mapping) else None
    found = next((one for one in (*pictures, own, *thumbnails) if one), None)
    return found or first_picture(description)


def first_picture(text: str) -> str | None:
    """Return the address of the first picture in HTML."""
    if "<img" not in text.lower():
        return None
    try:
        root = etree.fromstring(f"<body>{text}</body>", etree.HTMLParser(huge_tree=True))
    except (etree.LxmlError, ValueError):
        return None
    for image in () if root is None else root.iter("img"):
        source = image.get("src") or image.get("data-src")
        if source and not source.startswith("data:"):
            return str(source)
    return None


def _ttl(feed: Any) -> float | None:
    try:
        if "ttl" in feed:
            return max(0.0, float(feed["ttl"])) * 60
        if "sy_updateperiod" in feed:
            times = max(1.0, float(feed.get("sy_updatefrequency", 1)))
            return _PERIODS.get(str(feed["sy_updateperiod"]).strip(), 0.0) / times
    except (ValueError, TypeError):
        pass
    return None
