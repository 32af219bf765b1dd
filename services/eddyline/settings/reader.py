"""Caches, hidden items, and shares in search and similar items."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from eddyline.settings.section import NotNegative, Section


class ReaderSettings(Section):
    """How answers are served."""

    hide: tuple[Literal["viewed", "purchased", "disliked"], ...] = ("viewed", "purchased", "disliked")
    """Seen items left out unless a request says otherwise."""
    list_cache_seconds: NotNegative = 1.0
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
    report_exposures: bool = True
    """Report to the profiles what was shown, so that items left alone again and again make room for a while. Needs
    Kafka: a reader without `kafka.bootstrap_servers` reports nothing."""
