"""What profiles remember, and for how long."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from eddyline.settings.section import Count, Positive, Section


class ProfileSettings(Section):
    """How a profile remembers."""

    taste_half_life_days: Positive = 6.931471805599453
    """Half-life of `taste`: 10 days times ln 2, i.e. e^(-0.1 per day)."""
    session_half_life_minutes: Positive = 30.0
    """Half-life of `session`."""
    lifetime_half_life_days: Positive = 180.0
    """Half-life of `lifetime`, which still knows a person who comes back after months."""
    recents: Annotated[int, Field(ge=1, le=1000)] = 100
    """Newest distinct items of positive events kept."""
    seen: Count = 500
    """Newest distinct items kept of those seen, bought, and judged, each."""
    exposures: Count = 300
    """Newest exposures kept: that an item was in one of their lists, once a minute at most."""
    exposure_half_life_days: Positive = 7.0
    """Half-life of the penalty on an item that was shown and left alone."""
    event_ids: Count = 200
    """Newest event ids kept to recognise a producer's own retries."""
    pending: Count = 100
    """Most interactions of one person that wait for an item that isn't embedded yet."""
    pending_seconds: Positive = 900.0
    """How long an interaction waits for its item before it becomes a dead letter."""
    tombstone_days: Positive = 90.0
    """How long the tombstone profile of an erased or identified person is kept after its last use, so that late
    events still find whom they belong to. Not less than the retention of `interactions`."""
    anonymous_days: Positive = 180.0
    """How long the profile of someone anonymous is kept after their last record."""
    cached_profiles: Count = 20_000
    """Profiles kept in a profiler's memory (about 8 KB each)."""
    cached_items: Count = 50_000
    """Item vectors kept in a profiler's memory (about 3 KB each)."""
