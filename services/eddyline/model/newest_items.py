"""The newest distinct items of a person: bounded, and the same in whatever order they arrive."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class NewestItems:
    """The newest `size` distinct items by (time, item id): a bounded set whose `add` is commutative and idempotent."""

    size: int
    times: Mapping[str, float] = field(default_factory=dict)

    def add(self, item_id: str, time: float) -> NewestItems:
        """Return them with the item at the later of its times; the oldest goes when there are more than `size`."""
        known = self.times.get(item_id)
        if known is not None and known >= time:
            return self
        times = {**self.times, item_id: time}
        if len(times) > self.size:
            oldest = min(times.values())
            del times[min(item for item, at in times.items() if at == oldest)]
        return NewestItems(self.size, times)

    def union(self, other: NewestItems) -> NewestItems:
        """Return the newest of both, within this one's bound."""
        union = self
        for item_id, time in other.times.items():
            union = union.add(item_id, time)
        return union

    def newest(self, count: int) -> NewestItems:
        """Return the newest `count` of them; the bound stays."""
        return NewestItems(self.size, dict(self.to_list()[:count]))

    def newest_first(self) -> list[str]:
        """Return the items, newest first."""
        return sorted(self.times, key=lambda item: (self.times[item], item), reverse=True)

    def to_list(self) -> list[tuple[str, float]]:
        """Return the plain form, newest first: (item id, epoch seconds)."""
        return [(item, self.times[item]) for item in self.newest_first()]

    @classmethod
    def from_list(cls, size: int, rows: Iterable[tuple[str, float]]) -> NewestItems:
        """Invert `to_list`; the newest `size` where there are more."""
        newest = sorted(((item, time) for item, time in rows), key=lambda row: (row[1], row[0]), reverse=True)
        return cls(size, dict(newest[:size]))
