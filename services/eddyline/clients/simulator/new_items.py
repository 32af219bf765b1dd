"""What becomes of items that are published during a run: how long it takes until so many people have clicked them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is: seconds, and lists that were asked for."""

    seconds: float
    lists: int


@dataclass(slots=True)
class NewItem:
    """An item that was published during a run. `is_good`: it appeals to people as much as half of the others do.

    `reached`: what it took from its publication to the click that makes it as many as are waited for.
    """

    published: Progress
    is_good: bool
    showings: int = 0
    clicks: int = 0
    reached: Progress | None = None
    showings_until: int | None = None


@dataclass(slots=True)
class NewItems:
    """All of a run, by id. `milestone`: clicks that are waited for."""

    milestone: int = 100
    items: dict[str, NewItem] = field(default_factory=dict)

    def publish(self, item_id: str, is_good: bool, now: Progress) -> None:
        """Begin to count."""
        self.items[item_id] = NewItem(now, is_good)

    def count(self, seen: Iterable[str], clicked: Iterable[str], now: Progress) -> None:
        """Count what was on somebody's screen, and what they clicked of it."""
        for item_id in seen:
            if (item := self.items.get(item_id)) is not None:
                item.showings += 1
        for item_id in clicked:
            if (item := self.items.get(item_id)) is None:
                continue
            item.clicks += 1
            if item.clicks == self.milestone:
                since = item.published
                item.reached = Progress(now.seconds - since.seconds, now.lists - since.lists)
                item.showings_until = item.showings

    def as_json(self) -> dict[str, Any]:
        """Write counts of all, and of the good ones how many have reached the milestone, and the medians of what that
        took; null where half of them haven't, since what isn't reached yet takes longer than what is."""
        good = [item for item in self.items.values() if item.is_good]
        reached = [(item, item.reached) for item in good if item.reached is not None]
        return {
            "published": len(self.items),
            "impressions": sum(item.showings for item in self.items.values()),
            "clicks": sum(item.clicks for item in self.items.values()),
            "good": {
                "published": len(good),
                "milestone": self.milestone,
                "reached": len(reached),
                "median_seconds": _median((took.seconds for _, took in reached), len(good)),
                "median_lists": _median((float(took.lists) for _, took in reached), len(good)),
                "median_showings": _median((float(item.showings_until or 0) for item, _ in reached), len(good)),
            },
        }


def _median(reached: Iterable[float], count: int) -> float | None:
    """Return the lower median of `count` values, of which all but these are larger than them."""
    ascending = sorted(reached)
    middle = math.ceil(count / 2) - 1
    return round(ascending[middle], 3) if 0 <= middle < len(ascending) else None
