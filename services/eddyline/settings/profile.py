"""What events weigh, and what profiles and affinity rows keep of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field, field_validator, model_validator

from eddyline.settings.section import Count, Finite, NotNegative, Positive, Section

RESERVED_EVENT_TYPES = frozenset({"onboarded", "erased", "transfer", "identify", "shown"})
"""Types that only our own services write, or that have a meaning of their own."""


class EventSettings(Section):
    """What an event says about a person's taste."""

    weights: Mapping[str, Finite] = {
        "view": 1.0,
        "click": 1.0,
        "like": 3.0,
        "save": 3.0,
        "share": 4.0,
        "cart": 4.0,
        "purchase": 5.0,
        "rating": 1.0,
        "skip": -0.25,
        "dislike": -3.0,
        "hide": -3.0,
        "impression": 0.0,
    }
    """Strength of each event type; a type that isn't here is refused. Merged over the defaults."""
    rating_neutral: Finite = 2.75
    """The neutral rating: one above attracts, one below pushes away."""
    rating_scale: Positive = 1.5
    """Strength of one point of rating above or below the neutral one."""
    dwell_seconds: Positive = 10.0
    """A view of this length counts once; a longer one up to twice, a shorter one down to a quarter."""

    @field_validator("weights", mode="before")
    @classmethod
    def _merge(cls, value: Any) -> Any:
        if not isinstance(value, Mapping):
            return value
        for name in value:
            if name in RESERVED_EVENT_TYPES:
                raise ValueError(f"{name!r} is reserved and can't be given a weight")
        return {**cls.model_fields["weights"].default, **value}


class ProfileSettings(Section):
    """How a profile remembers."""

    taste_half_life_days: Positive = 6.931471805599453
    """Half-life of `taste`: 10 days times ln 2, i.e. e^(-0.1 per day)."""
    session_half_life_minutes: Positive = 30.0
    """Half-life of `session`."""
    lifetime_half_life_days: Positive = 180.0
    """Half-life of `lifetime`, which still knows a person who comes back after months."""
    recents: Count = 100
    """Newest distinct items of positive events kept."""
    recents_half_life: Positive = 3.0
    """Positions after which a recent item's weight in `history` halves."""
    seen: Count = 500
    """Newest distinct items kept of those seen, bought, and judged, each."""
    shown: Count = 300
    """Newest exposures kept: that an item was in one of their lists, once a minute at most."""
    shown_half_life_days: Positive = 7.0
    """Half-life of the penalty on an item that was shown and left alone."""
    event_ids: Count = 200
    """Newest event ids kept to recognise a producer's own retries."""
    pending: Count = 100
    """Most interactions of one person that wait for an item that isn't embedded yet."""
    pending_seconds: Positive = 900.0
    """How long an interaction waits for its item before it becomes a dead letter."""
    stub_days: Positive = 90.0
    """How long the tombstone profile of an erased or identified person is kept after its last use, so that late
    events don't go astray. Not less than the retention of `interactions`."""
    cached_profiles: Count = 20_000
    """Profiles kept in a profiler's memory (about 8 KB each)."""
    cached_items: Count = 50_000
    """Item vectors kept in a profiler's memory (about 3 KB each)."""
    item_cache_seconds: Positive = 60.0
    """How long a cached item vector may be used before it is read again."""


class AffinitySettings(Section):
    """What an item learns from what people chose before it: its row of the item-to-item matrix."""

    recents_half_life: Positive = 3.0
    """Positions after which the weight of a recent item halves, when an item learns from it."""
    slow_half_life: Positive = 20.0
    """Positions after which a second, slower weight halves, which is added to it."""
    slow_weight: NotNegative = 0.7
    """The slower weight of the newest recent item; 0 for none."""
    prior: Positive = 5.0
    """Added to an item's count before its row is divided by it, so that a rare item doesn't look certain."""
    power: Annotated[float, Field(ge=0, le=1)] = 0.7
    """A row is divided by (count + prior) to this power: 0 favours popular items, 1 rare ones."""
    half_life_days: Positive = 3650.0
    """Half-life of a row's weights and count. They fade only when the row is written: an item that is seldom chosen
    has little else to go by than what it learnt years ago."""
    entries: Count = 256
    """Entries that a row is pruned to, those with the largest weights."""
    grown: Count = 512
    """Entries at which a row is pruned, so that newcomers get a chance to grow."""
    reverse: NotNegative = 0.8
    """Weight with which recent items learn the one that came after them."""
    reverse_recents: Annotated[int, Field(ge=0, le=50)] = 3
    """How many of the newest recent items learn in that way; each costs a record of `activity`. 0 turns it off."""
    seed_neighbours: Annotated[int, Field(ge=0, le=100)] = 10
    """Nearest items by content, whose rows' mean a new item's row starts with; 0: it starts empty."""
    seed_weight: Positive = 1.0
    """How many events of its own that start counts as."""

    @model_validator(mode="after")
    def _grows_before_it_is_cut(self) -> AffinitySettings:
        if self.grown < self.entries:
            raise ValueError("grown must be at least entries: a row grows to the former and is cut to the latter")
        return self
