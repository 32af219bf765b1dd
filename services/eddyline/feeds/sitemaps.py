"""Sitemaps, with their news and image extensions, and indexes of sitemaps."""

from __future__ import annotations

from typing import Any

from lxml import etree

from eddyline.feeds.entry import FeedEntry, ParsedFeed, title_of_url

MAX_CHILDREN = 50
"""Sitemaps of an index that are read."""


def parse_sitemap(body: bytes, max_entries: int) -> ParsedFeed:
    """Parse a sitemap, as far as it can be read."""
    parser = etree.XMLParser(recover=True, resolve_entities=False, no_network=True, huge_tree=True)
    root = etree.fromstring(body, parser)
    if root is None:
        return ParsedFeed("sitemap", "news", [], is_whole=False)
    children = [_value(one, "loc") for one in root if _name(one) == "sitemap"]
    entries, has_news = [], False
    for one in root:
        if _name(one) == "url":
            entry, is_news = _entry(one)
            has_news |= is_news
            if entry is not None:
                entries.append(entry)
    is_whole = not parser.error_log and len(entries) <= max_entries and len(children) <= MAX_CHILDREN
    kind: Any = "news" if has_news or children else "catalogue"
    more = [url for url in children[:MAX_CHILDREN] if url]
    return ParsedFeed("sitemap", kind, entries[:max_entries], is_whole, more=more)


def _entry(element: Any) -> tuple[FeedEntry | None, bool]:
    url = _value(element, "loc")
    if url is None:
        return None, False
    news, image = _child(element, "news"), _child(element, "image")
    publication = None if news is None else _child(news, "publication")
    keywords = "" if news is None else _value(news, "keywords") or ""
    title = (_value(news, "title") if news is not None else None) or (
        (_value(image, "title") or _value(image, "caption")) if image is not None else None
    )
    return (
        FeedEntry(
            id=url,
            title=title or title_of_url(url),
            url=url,
            image_url=None if image is None else _value(image, "loc"),
            published=(_value(news, "publication_date") if news is not None else None) or _value(element, "lastmod"),
            categories=[word.strip() for word in keywords.split(",") if word.strip()],
            language=None if publication is None else _value(publication, "language"),
        ),
        news is not None,
    )


def _name(element: Any) -> str:
    return element.tag.rpartition("}")[2] if isinstance(element.tag, str) else ""


def _child(element: Any, name: str) -> Any:
    return next((one for one in element if _name(one) == name), None)


def _value(element: Any, name: str) -> str | None:
    child = _child(element, name)
    return None if child is None or not child.text or not child.text.strip() else child.text.strip()
