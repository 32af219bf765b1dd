"""The newest distinct items of a person: bounded, and the same in whatever order they arrive."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from eddyline.model.placed_time import UNPLACED, PlacedTime


@dataclass(frozen=True, slots=True)
class NewestItems:
    """The newest `size` distinct items by (time, place, item id): a bounded set whose `add` is commutative and
    idempotent.

    `entries` are oldest first, so that most additions are an item at the end; `from_entries` puts others in order.
    """

    size: int
    entries: Mapping[str, PlacedTime] = field(default_factory=dict)

    def add(self, item_id: str, time: float, place: int = UNPLACED) -> NewestItems:
        """Return them with the item at the later of its times (epoch seconds), and with the place of the event; the
        oldest goes when there are more than `size`."""
        entry, known = (time, place), self.entries.get(item_id)
        if known is not None and known >= entry:
            return self
        entries = {**self.entries}
        if known is not None:
            del entries[item_id]
        newest = next(reversed(entries), None)
        entries[item_id] = entry
        if newest is not None and (entry, item_id) < (entries[newest], newest):  # late
            return NewestItems.from_entries(self.size, entries)
        if len(entries) > self.size:
            del entries[next(iter(entries))]
        return NewestItems(self.size, entries)

    def union(self, other: NewestItems) -> NewestItems:
        """Return the newest of both, within this one's bound."""
        if not other.entries:
            return self
        entries = {**self.entries}
        for item_id, entry in other.entries.items():
            entries[item_id] = max(entry, entries.get(item_id, entry))
        return NewestItems.from_entries(self.size, entries)

    def newest(self, count: int) -> NewestItems:
        """Return the newest `count` of them; the bound stays."""
        return NewestItems(self.size, {item: self.entries[item] for item in [*self.entries][-count:]} if count else {})

    def newest_first(self) -> list[str]:
        """Return the items, newest first."""
        return [*self.entries][::-1]

    @property
    def times(self) -> dict[str, float]:
        """The items' times (epoch seconds), oldest first."""
        return {item_id: time for item_id, (time, _) in self.entries.items()}

    @classmethod
    def from_entries(cls, size: int, entries: Mapping[str, PlacedTime]) -> NewestItems:
        """Return these items, in whatever order they are given; the newest `size` where there are more."""
        given = list(zip(entries.values(), entries, strict=True))
        in_order = sorted(given)
        if in_order == given and len(given) <= size:
            return cls(size, entries)
        return cls(size, {item_id: entry for entry, item_id in in_order[max(0, len(in_order) - size) :]})
