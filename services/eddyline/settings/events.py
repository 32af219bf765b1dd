"""The event types, and what each says about a person's taste."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

from pydantic import field_validator

from eddyline.settings.section import Finite, Positive, Section

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

    placeholder_ids: tuple[str, ...] = (
        "undefined",
        "null",
        "(null)",
        "none",
        "nil",
        "nan",
        "false",
        "[object object]",
        "n/a",
        "unknown",
        "anonymous",
        "guest",
        "-1",
        "00000000-0000-0000-0000-000000000000",
    )
    """What an app sends that has lost an id: refused as a `user_id` or `anonymous_id`, in any case, since it would make
    strangers one person."""

    def is_placeholder(self, person_id: str) -> bool:
        """Whether an id names nobody."""
        return person_id.strip().casefold() in self._placeholders

    @cached_property
    def _placeholders(self) -> frozenset[str]:
        return frozenset(one.casefold() for one in self.placeholder_ids)

    @field_validator("weights", mode="before")
    @classmethod
    def _merge(cls, value: Any) -> Any:
        if not isinstance(value, Mapping):
            return value
        for name in value:
            if name in RESERVED_EVENT_TYPES:
                raise ValueError(f"{name!r} is reserved and can't be given a weight")
        return {**cls.model_fields["weights"].default, **value}
