"""The simulator's own counts, taken where the people are, to be compared with those of insights."""

from __future__ import annotations

import math
from array import array
from collections import Counter, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from eddyline.clients.simulator.new_items import NewItems

RECENT: Final = 500
"""Lists that the live line's latency is of."""
MAX_REASONS: Final = 5


class Group(NamedTuple):
    """Which lists are counted together. `experiment` is None for lists outside of any."""

    strategy: str
    experiment: str | None
    variant: str


@dataclass(slots=True)
class GroupTotals:
    """Sums over lists. `liking_*`: what people truly think of the items, -1 to 1, summed over places."""

    lists: int = 0
    empty: int = 0
    degraded: int = 0
    served: int = 0
    seen: int = 0
    clicks: int = 0
    dwell_seconds: float = 0.0
    conversions: int = 0
    revenue: float = 0.0
    liking_served: float = 0.0
    liking_seen: float = 0.0
    people: set[int] = field(default_factory=set)

    def add(self, other: GroupTotals) -> None:
        """Add another's sums."""
        for name in self.__slots__:
            if name == "people":
                self.people |= other.people
            else:
                setattr(self, name, getattr(self, name) + getattr(other, name))

    @property
    def ctr(self) -> float | None:
        """Compute clicks over items seen."""
        return _ratio(self.clicks, self.seen)

    def as_json(self) -> dict[str, Any]:
        """Write counts and means; null where there is nothing to divide by."""
        return {
            "lists": self.lists,
            "people": len(self.people),
            "empty": self.empty,
            "degraded": self.degraded,
            "served": self.served,
            "impressions": self.seen,
            "clicks": self.clicks,
            "ctr": _rounded(self.ctr),
            "clicks_per_list": _rounded(_ratio(self.clicks, self.lists)),
            "mean_dwell_seconds": _rounded(_ratio(self.dwell_seconds, self.clicks)),
            "conversions": self.conversions,
            "revenue": round(self.revenue, 2),
            "liking_served": _rounded(_ratio(self.liking_served, self.served)),
            "liking_seen": _rounded(_ratio(self.liking_seen, self.seen)),
        }


@dataclass(slots=True)
class SimulationReport:
    """Counters of a run; a driver writes them."""

    groups: dict[Group, GroupTotals] = field(default_factory=dict)
    lists: int = 0
    seen: int = 0
    clicks: int = 0
    took: array[float] = field(default_factory=lambda: array("d"))
    """Seconds to answer, of every list."""
    recent: deque[float] = field(default_factory=lambda: deque(maxlen=RECENT))
    shown_at: Counter[int] = field(default_factory=Counter)
    clicked_at: Counter[int] = field(default_factory=Counter)
    """By rank."""
    events: Counter[str] = field(default_factory=Counter)
    """Accepted, by type."""
    refused: Counter[str] = field(default_factory=Counter)
    """By reason."""
    late: int = 0
    busy: int = 0
    """Answers that said to come again."""
    unreachable: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    """By reason: requests that were given up."""
    items_sent: int = 0
    new_items: NewItems = field(default_factory=NewItems)
    identified: int = 0
    taste_changes: int = 0
    visits: int = 0
    people_came: int = 0
    people_left: int = 0
    simulated_hours: float = 0.0
    seconds: float = 0.0
    """From the first list on."""
    is_interrupted: bool = False

    @property
    def errors(self) -> int:
        """Count all that went wrong."""
        return self.busy + self.unreachable + sum(self.failed.values()) + sum(self.refused.values())

    @property
    def total(self) -> GroupTotals:
        """Sum over all lists."""
        total = GroupTotals()
        for totals in self.groups.values():
            total.add(totals)
        return total

    def count_list(
        self, group: Group, totals: GroupTotals, seconds: float, seen: Iterable[int], clicked: Iterable[int]
    ) -> None:
        """Count a list that came after so many seconds; `seen` and `clicked` are ranks."""
        self.groups.setdefault(group, GroupTotals()).add(totals)
        self.lists, self.seen, self.clicks = self.lists + 1, self.seen + totals.seen, self.clicks + totals.clicks
        self.took.append(seconds)
        self.recent.append(seconds)
        self.shown_at.update(seen)
        self.clicked_at.update(clicked)

    def count_event(self, kind: str, refusal: str | None) -> None:
        """Count an event that was taken, or refused with a reason."""
        if refusal is None:
            self.events[kind] += 1
        else:
            self.refused[f"{kind}: {refusal}"] += 1

    def count_failure(self, reason: str) -> None:
        """Count a request that was given up."""
        self.failed[reason] += 1

    def as_json(self) -> dict[str, Any]:
        """Write everything as JSON."""
        return {
            "seconds": round(self.seconds, 3),
            "interrupted": self.is_interrupted,
            "lists_per_second": _rounded(_ratio(self.lists, self.seconds)),
            "latency_ms": {f"p{part}": _milliseconds(self.took, part) for part in (50, 95, 99)},
            "all": self.total.as_json(),
            "groups": [group._asdict() | self.groups[group].as_json() for group in self.sorted_groups()],
            "positions": [
                {
                    "rank": rank,
                    "impressions": self.shown_at[rank],
                    "clicks": self.clicked_at[rank],
                    "ctr": _rounded(_ratio(self.clicked_at[rank], self.shown_at[rank])),
                }
                for rank in sorted(self.shown_at)
            ],
            "people": {
                "came": self.people_came,
                "left": self.people_left,
                "visits": self.visits,
                "identified": self.identified,
                "taste_changes": self.taste_changes,
                "simulated_hours": round(self.simulated_hours, 1),
            },
            "items": {"sent": self.items_sent, "arrived": len(self.new_items.items)},
            "new_items": self.new_items.as_json(),
            "events": dict(sorted(self.events.items())),
            "late_events": self.late,
            "errors": {
                "busy": self.busy,
                "unreachable": self.unreachable,
                "failed": dict(self.failed.most_common(MAX_REASONS)),
                "refused": dict(self.refused.most_common(MAX_REASONS)),
            },
        }

    def sorted_groups(self) -> list[Group]:
        """Sort the groups, lists outside of experiments first."""
        return sorted(self.groups, key=lambda group: (group.experiment or "", group.variant, group.strategy))


def percentile(values: Sequence[float], percent: float) -> float | None:
    """Find the smallest value that so many percent of all don't exceed; None of none."""
    if not values:
        return None
    ascending = sorted(values)
    return ascending[max(0, math.ceil(percent / 100 * len(ascending)) - 1)]


def _milliseconds(seconds: Sequence[float], percent: float) -> float | None:
    value = percentile(seconds, percent)
    return None if value is None else round(1000 * value, 2)


def _ratio(part: float, whole: float) -> float | None:
    return part / whole if whole else None


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 5)
