"""The state that every interaction is folded into.

The fold is commutative and associative in everything that ranking uses (the sums, and the bounded sets of newest
items), so late events and merges are exact. Folding never changes a profile in place where a copy may be shared: take
`copy()` first; a copy is cheap, since vectors and entries are never mutated.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from eddyline.errors import OtherSpace
from eddyline.model.decay import DAY, Vector, time_constant
from eddyline.model.ids import Person
from eddyline.model.offsets import LogPosition
from eddyline.model.profile.delivery import Delivery
from eddyline.model.profile.identity import Identity
from eddyline.model.profile.seen_items import SeenItems, WeightedInteraction
from eddyline.model.profile.taste import Taste, TimeConstants
from eddyline.settings import ProfileSettings

Part = TypeVar("Part")


@dataclass(slots=True)
class Profile:
    """Everything known of a person."""

    person: Person
    settings: ProfileSettings
    events: int = 0
    """How many were folded."""
    last_seen: float = 0.0
    """Time of the latest event (epoch seconds)."""
    active_at: float = 0.0
    """When the newest record of theirs arrived (epoch seconds); 0 where it isn't known."""
    taste: Taste = field(init=False)
    seen: SeenItems = field(init=False)
    identity: Identity = field(init=False)
    delivery: Delivery = field(init=False)

    def __post_init__(self) -> None:
        """Start with nothing known."""
        self.taste, self.seen = Taste(), SeenItems.from_settings(self.settings)
        self.identity, self.delivery = Identity(), Delivery(self.settings.event_ids)

    def copy(self) -> Profile:
        """Return a profile that can be folded into without changing this one."""
        copy = _copied(self)
        copy.taste, copy.seen = _copied(self.taste), _copied(self.seen)
        copy.identity, copy.delivery = _copied(self.identity), _copied(self.delivery)
        return copy

    # -- what is folded in --------------------------------------------------------------------------------------

    def fold(self, interaction: WeightedInteraction, taus: TimeConstants) -> None:
        """Fold one interaction in. The caller has checked the space with `require_space`.

        One at or before an erasure is dropped. A weight of zero changes only the counts and sets.
        """
        if self.identity.is_erased_at(interaction.time):
            return
        self.taste.fold(interaction.vector, interaction.weight, interaction.time, taus)
        self.seen.add(interaction)
        self.events += 1
        self.last_seen = max(self.last_seen, interaction.time)

    def show(self, item_ids: Iterable[str], time: float) -> None:
        """Note items of lists that were served within the minute of `time`: the taste is not changed.

        What was shown at or before an erasure is dropped.
        """
        if not self.identity.is_erased_at(time):
            self.seen.shown = self.seen.shown.add(item_ids, time)

    def require_space(self, space: str) -> None:
        """Take on the space of the first vector. Raises `OtherSpace` when this profile lives in another one."""
        if self.taste.space is None:
            self.taste.space = space
        elif self.taste.space != space:
            raise OtherSpace(
                f"profile {self.person.key} is in space {self.taste.space}, the items are in {space}: vectors of "
                "different models are never mixed; re-embed everything (`eddyline reembed`), or start with a new data "
                "directory"
            )

    def onboard(
        self, vector: Vector | None, origin: LogPosition, segment: str | None, attributes: Mapping[str, Any]
    ) -> None:
        """Take the answers of a `users` record; an older record of the same log changes nothing."""
        if self.delivery.has_applied_users_record(origin):
            return
        self.taste.onboarding, self.delivery.users_position = vector, origin
        self.identity.segment, self.identity.attributes = segment, dict(attributes)

    def forget_events(self) -> None:
        """Know nothing of what was folded, shown and answered; who it is, and how far it was read, stays."""
        self.events, self.last_seen = 0, 0.0
        self.taste, self.seen = Taste(), SeenItems.from_settings(self.settings)

    def end_where_idle(self, since: float) -> None:
        """Know nothing more of someone anonymous of whom nothing has come since then (epoch seconds)."""
        if self.person.kind == "a" and 0 < self.active_at < since and not self.is_tombstone:
            self.forget_events()
            self.identity = Identity(erased_at=self.identity.erased_at)
            self.delivery = replace(self.delivery, pending=(), first={})

    # -- what is left ---------------------------------------------------------------------------------------------

    @property
    def is_unknown(self) -> bool:
        """Whether nothing of theirs is known (since they were erased): at most, lists were shown to them."""
        identity = self.identity
        has_answered = self.taste.onboarding is not None or identity.segment is not None or identity.attributes
        if self.events or self.delivery.pending or has_answered or identity.linked_anonymous_ids:
            return False
        return identity.erased_at is not None or self.delivery.users_position is None

    @property
    def is_blank(self) -> bool:
        """Whether nothing is left, or yet known, of an erased person."""
        return self.identity.erased_at is not None and self.is_unknown and not len(self.seen.shown)

    @property
    def is_tombstone(self) -> bool:
        """Whether it is only kept to forward, to stay forgotten, or for what was shown; such are swept in the end."""
        return self.identity.merged_into is not None or self.is_unknown

    # -- what ranking asks --------------------------------------------------------------------------------------

    def fatigue(self, now: float, until: float = math.inf) -> dict[str, float]:
        """Return the decayed number of times each item was shown since they last did anything with it, where it was.

        `now`, `until` in epoch seconds: with `until`, only what was shown in the minutes before then counts. Given when
        the visit began, it stays the same for the visit.
        """
        tau = time_constant(self.settings.exposure_half_life_days * DAY)
        return self.seen.shown.fatigue(now, tau, self.seen.viewed.times, until)

    def was_left_alone(self, pause: float, began: float) -> bool:
        """Return whether in an earlier visit than that which began then, they were shown something and did nothing.

        `pause`: seconds without anything that end a visit; `began` in epoch seconds.
        """
        return self.seen.shown.is_any(self.last_seen + pause, began)


def _copied(part: Part) -> Part:
    """Return a copy that shares what the fields hold. Once for each event and part: `dataclasses.replace` takes three
    times as long."""
    kind: Any = type(part)
    copy: Part = object.__new__(kind)
    for name in kind.__slots__:
        setattr(copy, name, getattr(part, name))
    return copy
