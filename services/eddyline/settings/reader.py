"""What readers answer, and what is measured of it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from eddyline.settings.section import Name, NotNegative, Positive, Section


class ReaderSettings(Section):
    """How answers are served."""

    hide: tuple[Literal["viewed", "purchased", "disliked"], ...] = ("viewed", "purchased", "disliked")
    """Seen items left out unless a request says otherwise."""
    trending_cache_seconds: NotNegative = 1.0
    """How long a list that is the same for everyone (popular, trending, latest) is reused."""
    stale_seconds: NotNegative = 300.0
    """How old a cached list may be when the vector store doesn't answer."""
    search: bool | None = None
    """Whether `/v1/search` answers. It needs the text encoder; where this isn't set, it answers in a process that runs
    the embedder too, as `eddyline up` does, and shares its encoder."""
    search_taste_share: Annotated[float, Field(ge=0, lt=1)] = 0.2
    """Share of a person's taste and session in the order of search results; the rest is relevance."""
    search_image_share: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """Share of pictures in a search `by=both`; the rest is text."""
    similar_image_share: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of pictures among the substitutes of an item that has one; the rest is text. Only where images are
    enabled."""
    complement_share: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """Share of what people went on to, among similar items of any relation; the rest is content."""
    duplicate_similarity: Annotated[float, Field(gt=0, le=1)] = 0.95
    """Cosine of two items' content from which they count as the same, so that neither complements the other."""
    shown: bool = True
    """Report to the profiles what was shown, so that items left alone again and again make room for a while. Needs
    Kafka: a reader without `kafka.bootstrap_servers` reports nothing."""


class InsightsSettings(Section):
    """How what is served is measured."""

    impressions: bool = True
    """Whether readers report what they serve. Needs Kafka: a reader without `kafka.bootstrap_servers` reports
    nothing."""
    run: bool = True
    """Whether `eddyline up` runs the insights service too; it needs `eddyline[insights]`."""
    clicks: Annotated[tuple[Name, ...], Field(min_length=1)] = ("view", "click")
    """Event types that count as a click on an item of a list."""
    conversions: Annotated[tuple[Name, ...], Field(min_length=1)] = ("purchase",)
    """Event types that count as a conversion; their `value` is the revenue."""
    attribution_hours: Positive = 24.0
    """How long after a list was served people's events can count for it."""
    lateness_minutes: Positive = 60.0
    """A record that reaches the log later than this after it happened isn't measured."""
    new_item_days: Positive = 7.0
    """An item published (or first come) less than this before it was served is new."""
    positions: Annotated[int, Field(ge=1, le=100)] = 20
    """Positions that are measured one by one."""
    minutes_kept_hours: Positive = 6.0
    """How long windows of a minute are kept."""
    hours_kept_days: Positive = 14.0
    """How long windows of an hour are kept."""
    days_kept: Annotated[float, Field(ge=9)] = 400.0
    """How long windows of a day are kept; at least nine days, so that people who come back on the seventh day still
    count."""
    flush_seconds: Positive = 1.0
    """How often measures are written."""
    settle_minutes: Positive = 10.0
    """How long to wait for a window's clicks after it has ended, before a guardrail judges its click-through rate or
    a gauge shows it."""
    guard_seconds: Positive = 10.0
    """How often guardrails are checked."""
