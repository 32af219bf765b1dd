"""The newest distinct items of a person: bounded, and the same in whatever order they arrive."""

from __future__ import annotations

from collections.abc import Mapping
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
        return NewestItems(self.size, {item: self.times[item] for item in self.newest_first()[:count]})

    def newest_first(self) -> list[str]:
        """Return the items, newest first."""
        return [item for _, item in sorted(zip(self.times.values(), self.times, strict=True), reverse=True)]

    @classmethod
    def from_times(cls, size: int, times: Mapping[str, float]) -> NewestItems:
        """Return these items; the newest `size` where there are more."""
        items = cls(size, times)
        return items if len(times) <= size else items.newest(size)
