"""Read a feed once: fetch it, parse it, and say which items it comes to. Nothing is written here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol
from urllib.parse import parse_qsl, urlencode, urlsplit

from eddyline.adapters.web import Fetched
from eddyline.errors import FetchRefused, FetchUnavailable, InvalidEvent
from eddyline.feeds.catalogues import SHOPIFY_PAGE
from eddyline.feeds.entry import FeedEntry, Kind, ParsedFeed, to_item
from eddyline.feeds.feed_state import FeedStatus
from eddyline.feeds.formats import parse_feed
from eddyline.feeds.schedule import retry_after
from eddyline.model.attributes import convert_attributes
from eddyline.model.events import Content, LeftOut
from eddyline.settings import AttributeKind, FeedSettings

ACCEPT = (
    "application/feed+json, application/rss+xml, application/atom+xml, application/xml;q=0.9, application/json;q=0.9, "
    "text/xml;q=0.9, */*;q=0.5"
)
MAX_DOCUMENTS = 60
"""Documents of one feed: pages, or the sitemaps of an index."""


class Fetch(Protocol):
    """Fetch as `GuardedFetcher.get` does."""

    def __call__(
        self, url: str, headers: Mapping[str, str], admit: Callable[[str, int, Mapping[str, str]], bool]
    ) -> Fetched:
        """Return the response. Raises `FetchRefused` and `FetchUnavailable`."""


class HostBusy(FetchUnavailable):
    """The host asks to be left alone for a while."""

    def __init__(self, message: str, seconds: float | None) -> None:
        self.seconds = seconds
        super().__init__("busy", message)


class FeedGone(FetchRefused):
    """The host says that the feed is gone for good."""


@dataclass(slots=True)
class FeedDocument:
    """What reading a feed came to. `items` by id; `is_new`: there is a document, and not just word that it is the
    same."""

    is_new: bool
    status: FeedStatus
    items: dict[str, Content] = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)
    """Why no item could be made of an entry."""
    left_out: list[LeftOut] = field(default_factory=list)
    is_whole: bool = True
    kind: Kind = "news"
    ttl: float | None = None
    entries: int = 0


class FeedReader:
    """Reads feeds.

    `max_bytes`: of a document, unpacked; `clock` in epoch seconds; `attributes`: those that the settings declare.
    """

    def __init__(
        self,
        fetch: Fetch,
        max_bytes: int,
        clock: Callable[[], float],
        attributes: Mapping[str, AttributeKind] = {},
    ) -> None:
        self._fetch, self._max_bytes, self._clock, self._attributes = fetch, max_bytes, clock, attributes

    def read(self, feed: FeedSettings, status: FeedStatus) -> FeedDocument:
        """Read a feed, unless it is as it was (`status`). Raises `FetchRefused` and `FetchUnavailable`."""
        url = status.url or feed.url
        first = self._get(url, _conditions(status))
        moved = {"url": first.moved_to or url, "defined_as": feed.url}
        if first.status == 304:
            return FeedDocument(False, status.model_copy(update=moved))
        parsed = self._parse(first, feed)
        known = {"etag": first.headers.get("etag"), "last_modified": first.headers.get("last-modified")}
        kind: Kind = parsed.kind if feed.kind == "auto" else feed.kind
        fresh = status.model_copy(update={**moved, **known, "format": parsed.format})
        document = FeedDocument(True, fresh, is_whole=parsed.is_whole, kind=kind, ttl=parsed.ttl)
        self._take(document, feed, parsed, first.url)
        for page, base in self._pages(first, parsed, feed, document):
            self._take(document, feed, page, base)
        return document

    def _pages(
        self, first: Fetched, parsed: ParsedFeed, feed: FeedSettings, document: FeedDocument
    ) -> list[tuple[ParsedFeed, str]]:
        """Read what a document goes on in. What can't be read makes the whole incomplete."""
        pages: list[tuple[ParsedFeed, str]] = []
        urls = list(parsed.more)
        if parsed.format == "shopify" and len(parsed.entries) == SHOPIFY_PAGE:
            urls = [_page(first.url, number) for number in range(2, MAX_DOCUMENTS)]
        total = len(parsed.entries)
        for url in urls:
            if total >= feed.max_entries:
                document.is_whole = False
                break
            try:
                fetched = self._get(url, {})
                page = self._parse(fetched, feed)
            except (FetchRefused, FetchUnavailable) as error:
                document.is_whole = False
                document.refused.append(f"{url[:200]}: {error}")
                continue
            pages.append((page, fetched.url))
            total += len(page.entries)
            document.is_whole &= page.is_whole
            if parsed.format == "shopify" and len(page.entries) < SHOPIFY_PAGE:
                break
        return pages

    def _take(self, document: FeedDocument, feed: FeedSettings, parsed: ParsedFeed, base: str) -> None:
        for entry in parsed.entries[: max(0, feed.max_entries - document.entries)]:
            document.entries += 1
            self._take_entry(document, feed, entry, parsed.language, base)

    def _take_entry(
        self, document: FeedDocument, feed: FeedSettings, entry: FeedEntry, language: str | None, base: str
    ) -> None:
        try:
            item = to_item(entry, feed, document.kind, base, self._clock(), document.left_out)
            attributes = convert_attributes(item.attributes, self._attributes)
        except InvalidEvent as error:
            document.refused.append(f"{(entry.id or entry.url or entry.title)[:100]}: {error}")
            return
        if item.language is None and language is not None and 2 <= len(language) <= 35:
            item = item.model_copy(update={"language": language})
        item = item.model_copy(update={"attributes": attributes})
        document.items.setdefault(item.item_id, item)  # of several under one id, the first: the newest, as a rule

    def _get(self, url: str, conditions: Mapping[str, str]) -> Fetched:
        return self._fetch(url, {"Accept": ACCEPT, "Accept-Encoding": "gzip", **conditions}, self._admit)

    def _admit(self, host: str, status: int, headers: Mapping[str, str]) -> bool:
        """Decide by what a host answers."""
        if status == 200:
            return True
        if status == 304:
            return False
        if status == 410:
            raise FeedGone("gone", f"{host} says that it is gone for good (410)")
        answer = f"{host} answers with status {status}"
        if status in (429, 503):
            raise HostBusy(answer, retry_after(headers, self._clock()))
        raise (FetchUnavailable if status >= 500 or status in (408, 425) else FetchRefused)("status", answer)

    def _parse(self, fetched: Fetched, feed: FeedSettings) -> ParsedFeed:
        return parse_feed(fetched.body, fetched.headers, fetched.url, feed.format, feed.max_entries, self._max_bytes)


def _conditions(status: FeedStatus) -> dict[str, str]:
    given = {"If-None-Match": status.etag, "If-Modified-Since": status.last_modified}
    return {name: value for name, value in given.items() if value and value.isascii() and value.isprintable()}


def _page(url: str, number: int) -> str:
    """Return the address of another page."""
    parts = urlsplit(url)
    query = {**dict(parse_qsl(parts.query)), "page": str(number)}
    return parts._replace(query=urlencode(query)).geturl()
