"""What a feed says of one item, in whatever format, and the item that becomes of it."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Literal
from urllib.parse import unquote, urljoin, urlsplit

import orjson

from eddyline.model.events import Content, LeftOut, validate_event
from eddyline.model.events.wire import MAX_ID_BYTES
from eddyline.model.plain_text import plain_line, says_something
from eddyline.settings import FeedSettings

Kind = Literal["news", "catalogue"]
DAY = 86_400.0
EARLIEST = 631_152_000.0
"""1990: what is dated before that has a wrong date."""
MAX_TITLE, MAX_DESCRIPTION, MAX_TAGS = 1000, 100_000, 100
_NUMBER = re.compile(r"\d[\d.,' ]*")
_IN_STOCK = frozenset({"in stock", "in_stock", "instock", "preorder", "backorder", "limitedavailability", "onlineonly"})
_NO_STOCK = frozenset({"out of stock", "out_of_stock", "outofstock", "soldout", "discontinued"})


@dataclass(frozen=True, slots=True)
class FeedEntry:
    """An entry, as it was written: relative links, dates of any kind."""

    id: str | None = None
    title: str = ""
    description: str = ""
    url: str | None = None
    image_url: str | None = None
    published: object = None
    categories: Sequence[str] = ()
    language: str | None = None
    price: str | float | None = None
    availability: str | bool | None = None
    attributes: Mapping[str, Any] = field(default_factory=dict)
    fields: Mapping[str, Any] = field(default_factory=dict)
    """Fields of an item that it says by our own names; they go first."""


@dataclass(frozen=True, slots=True)
class ParsedFeed:
    """A document. `ttl`: how long it asks to be left alone, in seconds; `more`: documents that it goes on in."""

    format: str
    kind: Kind
    entries: Sequence[FeedEntry]
    is_whole: bool = True
    """False: it was cut off, or part of it can't be read, so that nothing is known of what it lacks."""
    ttl: float | None = None
    language: str | None = None
    more: Sequence[str] = ()


def to_item(
    entry: FeedEntry, feed: FeedSettings, kind: Kind, base: str, now: float, left_out: list[LeftOut] | None = None
) -> Content:
    """Return the item of an entry. `base`: the URL that its links are relative to; `now` in epoch seconds.

    Raises `InvalidEvent` where it has nothing to be shown by.
    """
    url = _absolute(base, entry.url)
    title = entry_title(entry, url)
    published = parse_date(entry.published, now)
    categories = [line for text in entry.categories if (line := plain_line(text)[:256])]
    category = feed.category or next(iter(categories), None)
    tags = dict.fromkeys([*feed.tags, *(one for one in categories if one != category)])
    item: dict[str, Any] = {
        "title": title,
        "description": entry.description[:MAX_DESCRIPTION] or None,
        "category": category,
        "tags": list(tags)[:MAX_TAGS],
        "url": url,
        "image_url": _absolute(base, entry.image_url),
        "language": feed.language or entry.language,
        "published_at": published,
        "price": parse_price(entry.price),
        "available": parse_availability(entry.availability),
        "attributes": {key: value for key, value in entry.attributes.items() if value not in (None, "", [])},
        **entry.fields,
    }
    name = item.get("item_id") or entry.id or url or _digest(f"{title}\0{entry.description}")
    item["item_id"] = item_id(str(name), feed, kind)
    if kind == "news" and feed.expires_after is not None and "expires_at" not in entry.fields:
        item["expires_at"] = (published if published is not None else now) + feed.expires_after
    given = {key: value for key, value in item.items() if value not in (None, "", [], {})}
    return validate_event(Content, given, left_out)


def entry_title(entry: FeedEntry, url: str | None = None) -> str:
    """Return an entry's title; of one without, the beginning of its text, else what its address says."""
    title = plain_line(entry.title[: 10 * MAX_TITLE])
    if not says_something(title):
        title = _beginning(plain_line(entry.description[:10_000]), 100) or title_of_url(url or "")
    return _beginning(title, MAX_TITLE)


def item_id(name: str, feed: FeedSettings, kind: Kind) -> str:
    """Return an item's id: the entry's own after the feed's prefix, hashed where that is too long."""
    prefix = feed.id_prefix if feed.id_prefix is not None else f"{feed.name}:" if kind == "news" else ""
    whole = prefix + name.strip().replace("\0", "")
    if len(orjson.dumps(whole)) - 2 <= MAX_ID_BYTES:
        return whole
    return prefix + _digest(name)


def title_of_url(url: str) -> str:
    """Return what an address says of its page, e.g. of `/2024/slow-rye-bread.html`: slow rye bread."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return ""
    name = re.sub(r"\.[a-z]{2,5}$", "", unquote(parts.path).rstrip("/").rpartition("/")[2])
    return re.sub(r"[-_+]+", " ", name).strip() or parts.netloc


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode(errors="replace"), digest_size=16).hexdigest()


def fingerprint_of(item: Content, feed: FeedSettings) -> str:
    """Return what changes when an item does, but for the end that the feed's settings give it."""
    if feed.expires_after is not None:
        item = item.model_copy(update={"expires_at": None})
    return hashlib.blake2b(item.to_bytes(), digest_size=9).hexdigest()


def parse_date(given: object, now: float) -> float | None:
    """Return epoch seconds of a date of any kind; None for none, and for one that can't be right."""
    if isinstance(given, int | float) and not isinstance(given, bool):
        seconds = float(given) / 1000 if abs(given) >= 1e11 else float(given)
    elif isinstance(given, str) and given.strip():
        parsed = _parse_date_text(given.strip())
        if parsed is None:
            return None
        seconds = parsed
    else:
        return None
    return seconds if math.isfinite(seconds) and EARLIEST <= seconds <= now + DAY else None


def _parse_date_text(text: str) -> float | None:
    for parse in (datetime.fromisoformat, parsedate_to_datetime):
        try:
            parsed = parse(text)
            return (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp()
        except (ValueError, TypeError, IndexError, OverflowError):
            continue
    return None


def parse_price(given: str | float | None) -> float | None:
    """Return the number of a price, e.g. of `19.99 USD` and `EUR 1.234,50`; None where there is none."""
    if given is None or isinstance(given, bool):
        return None
    if isinstance(given, int | float):
        return float(given) if math.isfinite(given) and given >= 0 else None
    found = _NUMBER.search(given)
    if found is None or "-" in given[: found.start()]:
        return None
    digits = re.sub(r"[' ]", "", found[0]).rstrip(".,")
    last = max(digits.rfind("."), digits.rfind(","))
    decimals = digits[last + 1 :] if last >= 0 else ""
    if last >= 0 and (len(decimals) != 3 or (digits.count(digits[last]) == 1 and digits[last] == "." and last == 1)):
        whole = re.sub(r"[.,]", "", digits[:last])
        return float(f"{whole or 0}.{decimals or 0}")
    return float(re.sub(r"[.,]", "", digits))


def parse_availability(given: str | bool | None) -> bool | None:
    """Return whether something can be had; None where that isn't said, or in words that nobody knows."""
    if given is None or isinstance(given, bool):
        return given
    word = given.strip().lower().rpartition("/")[2]
    return True if word in _IN_STOCK else False if word in _NO_STOCK else None


def _absolute(base: str, link: str | None) -> str | None:
    if not link or not link.strip():
        return None
    try:
        absolute = urljoin(base, link.strip())
    except ValueError:
        return None
    return absolute if absolute.startswith(("http://", "https://")) else None


def _beginning(text: str, length: int) -> str:
    if len(text) <= length:
        return text
    return (text[: length - 1].rsplit(" ", 1)[0] or text[: length - 1]) + "…"
