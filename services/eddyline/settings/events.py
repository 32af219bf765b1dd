"""The event types, and what each says about a person's taste."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

from pydantic import field_validator, model_validator

from eddyline.settings.mappings import EVENT_MAPPINGS, EventMapping, merge_mappings, normalised_name
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

    mappings: Mapping[str, EventMapping] = EVENT_MAPPINGS
    """Events of other systems by their names there (docs/sources.md), merged over those that are known, e.g.
    {"Recipe Cooked" = {type = "like", item_id = "recipe.id"}}."""

    def mapping(self, name: str) -> EventMapping | None:
        """Return what an event of another system means, by its name there; our own types mean themselves. None where it
        has no meaning here."""
        known = normalised_name(name)
        if known in self.mappings:
            return self.mappings[known]
        return EventMapping(type=known, value=("value", "rating", "price")) if known in self.weights else None

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

    _merge_mappings = field_validator("mappings", mode="before")(merge_mappings)

    @model_validator(mode="after")
    def _maps_to_known_types(self) -> EventSettings:
        for name, mapping in self.mappings.items():
            if name in EVENT_MAPPINGS and mapping.type == EVENT_MAPPINGS[name].type:
                continue
            if mapping.type not in self.weights and mapping.type not in ("identify", "impression"):
                raise ValueError(
                    f"mappings: {name!r} becomes {mapping.type!r}, which is no type: take identify, impression, "
                    f"{', '.join(sorted(self.weights))}, or add it to events.weights"
                )
        return self
