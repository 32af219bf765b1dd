"""Feeds: what is read of others, how often, and what becomes of it."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from eddyline.settings.section import Count, Networks, Positive, Section

_DURATION = re.compile(r"([0-9]{1,6}(?:\.[0-9]{1,3})?)\s*([smhd])")
_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}


def _seconds(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    match = _DURATION.fullmatch(value.strip())
    if match is None:
        raise ValueError("must be seconds, or a duration: 90s, 15m, 24h, 30d")
    return float(match[1]) * _UNITS[match[2]]


Duration = Annotated[float, BeforeValidator(_seconds), Field(gt=0, le=3650 * 86_400.0, allow_inf_nan=False)]
FeedName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")]
FeedFormat = Literal["auto", "syndication", "json-feed", "merchant", "sitemap", "shopify", "ndjson", "csv"]


class FeedSettings(Section):
    """A feed."""

    name: FeedName
    """Letters, digits, `_` and `-`."""
    url: Annotated[str, Field(min_length=1, max_length=2048, pattern=r"^https?://")]
    format: FeedFormat = "auto"
    """`syndication`: RSS, Atom and RDF."""
    kind: Literal["auto", "news", "catalogue"] = "auto"
    """What vanishes from a catalogue is deleted; what scrolls off a news feed stays."""
    vanished: Literal["delete", "unavailable"] = "delete"
    """What becomes of what vanishes from a catalogue: `unavailable` items keep their history, and are back as soon as
    the feed has them."""
    every: Duration = 900.0
    """How often it is read, e.g. 15m; up to eight times as long while nothing changes."""
    category: Annotated[str, Field(min_length=1, max_length=256)] | None = None
    """Of all its items; else an entry's first one."""
    tags: Annotated[tuple[Annotated[str, Field(min_length=1, max_length=256)], ...], Field(max_length=20)] = ()
    """Added to each item."""
    language: Annotated[str, Field(min_length=2, max_length=35)] | None = None
    id_prefix: Annotated[str, Field(max_length=128)] | None = None
    """What an entry's id begins with as an item's; `<name>:` for news, nothing for a catalogue, whose ids are the
    shop's own."""
    expires_after: Duration | None = None
    """How long a news item is recommended after its publication, e.g. 30d."""
    max_entries: Annotated[int, Field(ge=1, le=100_000)] = 10_000
    """Entries of it that are read."""


class FeedFetchSettings(Section):
    """How feeds are fetched."""

    concurrency: Annotated[int, Field(ge=1, le=32)] = 4
    """Feeds read at once by each process."""
    max_bytes: Count = 20_971_520
    """Largest feed that is read, unpacked."""
    step_timeout_seconds: Positive = 10.0
    """Longest that a look-up, a connection or a read may take."""
    total_timeout_seconds: Positive = 60.0
    """Longest that one response may take, redirects included."""
    allowed_hosts: tuple[str, ...] = ()
    """Hosts that feeds are fetched from whatever their address, e.g. ["cms.internal"]. Others need a public address."""
    allowed_networks: Networks = ()
    """Internal networks that feeds are fetched from whatever the host's name, e.g. ["10.3.0.0/16"]."""
