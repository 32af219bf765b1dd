"""Who a person is: under which ids they are known, how they describe themselves, and whether they were erased."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from eddyline.model.ids import Person

MAX_LINKED_IDS = 1000
"""Anonymous ids remembered as a user's."""


class FirstSeen(NamedTuple):
    """When anything was known of someone first (epoch seconds), and under which typed person key."""

    time: float
    key: str


@dataclass(slots=True)
class Identity:
    """The ids of a person, their own words on themselves, and what became of them."""

    merged_into: Person | None = None
    """Of an anonymous id that was identified: the user whom everything goes to."""
    linked_anonymous_ids: tuple[str, ...] = ()
    """Of a user: the anonymous ids that were identified as theirs, the newest last."""
    first_seen: FirstSeen | None = None
    """The first of all ids that are theirs: its key is what experiments assign by, so that someone keeps their variants
    when they sign in."""
    segment: str | None = None
    attributes: Mapping[str, Any] = field(default_factory=dict)
    erased_at: float | None = None
    """Time of the last erasure (epoch seconds): what happened until then is dropped, however late it comes."""
    tombstone_since: float | None = None
    """When a profile that is only kept to forward, or to stay forgotten, was last of use (epoch seconds)."""

    def is_erased_at(self, time: float) -> bool:
        """Return whether something of that time happened before the person was erased."""
        return self.erased_at is not None and time <= self.erased_at

    def note_first_seen(self, time: float, key: str) -> None:
        """Note that something was known of them at that time, under this key; not if they were erased since."""
        if not self.is_erased_at(time):
            seen = FirstSeen(time, key)
            self.first_seen = seen if self.first_seen is None else min(self.first_seen, seen)

    def link(self, anonymous_id: str) -> None:
        """Note that an anonymous id is this user's."""
        others = (known for known in self.linked_anonymous_ids if known != anonymous_id)
        self.linked_anonymous_ids = (*others, anonymous_id)[-MAX_LINKED_IDS:]
