"""Recognise a feed's format, and parse it: whatever comes, this raises nothing but `FetchRefused`."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Mapping
from urllib.parse import urlsplit

import orjson

from eddyline.errors import FetchRefused
from eddyline.feeds.catalogues import parse_csv, parse_json_feed, parse_lines, parse_shopify
from eddyline.feeds.entry import ParsedFeed
from eddyline.feeds.sitemaps import parse_sitemap
from eddyline.feeds.syndication import parse_syndication
from eddyline.settings import FeedFormat

_GZIP = b"\x1f\x8b"


def parse_feed(
    body: bytes, headers: Mapping[str, str], url: str, form: FeedFormat, max_entries: int, max_bytes: int
) -> ParsedFeed:
    """Parse a document that came with these headers (lower case) from this URL.

    Raises `FetchRefused` where it is no feed.
    """
    body = _unpacked(body, max_bytes)
    form = recognised(body, headers, url) if form == "auto" else form
    try:
        if form in ("json-feed", "shopify"):
            document = orjson.loads(body.removeprefix(b"\xef\xbb\xbf"))
            if not isinstance(document, dict):
                raise FetchRefused("format", f"{url[:100]} is JSON, but no object of a feed")
            if form == "shopify":
                return parse_shopify(document, url, max_entries)
            return parse_json_feed(document, max_entries)
        if form == "sitemap":
            return parse_sitemap(body, max_entries)
        if form == "ndjson":
            return parse_lines(body, max_entries)
        if form == "csv":
            return parse_csv(body, max_entries)
        parsed = parse_syndication(body, headers, max_entries)
    except FetchRefused:
        raise
    except Exception as error:  # of a library, over something hostile
        raise FetchRefused(
            "format", f"{url[:100]} can't be read as {form}: {type(error).__name__} {error}"[:300]
        ) from None
    if not parsed.entries and not any(
        mark in body[:4096].lower() for mark in (b"<rss", b"<feed", b"<rdf", b"<channel")
    ):
        raise FetchRefused("format", f"{url[:100]} is no feed that is known: RSS, Atom, JSON Feed, a sitemap, …")
    return parsed


def recognised(body: bytes, headers: Mapping[str, str], url: str) -> FeedFormat:
    """Tell a document's format by how it begins, else by its type and its name."""
    start = body[:4096].lstrip(b"\xef\xbb\xbf \t\r\n\0").lower()
    if start[:1] == b"{":
        first = body.lstrip(b"\xef\xbb\xbf \t\r\n").split(b"\n", 1)[0].strip()
        if first.endswith(b"}") and body.strip().count(b"\n") and _is_json(first):
            return "ndjson"
        if b'"products"' in body[:4096]:
            return "shopify"
        return "json-feed" if b"jsonfeed.org" in start or b'"items"' in body else "ndjson"
    if b"<urlset" in start or b"<sitemapindex" in start:
        return "sitemap"
    if start[:1] == b"<":
        return "syndication"
    kind, path = headers.get("content-type", "").partition(";")[0].strip().lower(), urlsplit(url).path.lower()
    if kind in ("text/csv", "text/tab-separated-values") or path.endswith((".csv", ".tsv")):
        return "csv"
    return "syndication"


def _is_json(line: bytes) -> bool:
    try:
        orjson.loads(line)
    except orjson.JSONDecodeError:
        return False
    return True


def _unpacked(body: bytes, max_bytes: int) -> bytes:
    """Unpack what is gzip itself, such as sitemap.xml.gz, to so many bytes at most; of a cut one, what there is."""
    if body[:2] != _GZIP:
        return body
    try:
        unpacked = zlib.decompressobj(wbits=31).decompress(body, max_bytes + 1)
    except (zlib.error, gzip.BadGzipFile):
        raise FetchRefused("format", "it begins as gzip, and isn't") from None
    if len(unpacked) > max_bytes:
        raise FetchRefused("too_large", f"it takes more than {max_bytes:,} bytes unpacked (feeds.max_bytes)")
    return unpacked
