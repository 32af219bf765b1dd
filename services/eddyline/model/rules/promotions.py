"""Promotions: items that get positions of their own, at most a share of a list or pinned to exact positions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from eddyline.model.filters import Filter


@dataclass(frozen=True, slots=True)
class ActivePromotion:
    """A promotion that holds now: it has `share` of the positions at most, or the 1-based `positions`.

    `filter` finds its items in a store.
    """

    name: str
    filter: Filter = field(default_factory=Filter)
    share: float | None = None
    positions: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class SlotAssignment:
    """An item at a position; `promotion` is the name of what put it there, None where it ranks there by itself."""

    item_id: str
    promotion: str | None = None


def place_promotions(
    ranked: Sequence[str], promoted: Sequence[tuple[ActivePromotion, Sequence[str]]], limit: int, first: int = 1
) -> list[SlotAssignment]:
    """Fill the positions `first` to `first + limit - 1` of a list, with each promotion's candidates, best first.

    `ranked`: what would be there, best first, and what comes after it, to fill up with. Both must hold only items that
    may be shown. An item is never placed twice.

    - A pinned item goes to its exact position, wherever it ranks itself; where the list ends before, to its end.
    - Of a promotion with a share s there are at most floor(n s) among the first n positions, so they are evenly spaced,
      and on every page the same positions. An item that ranks better by itself stays there, and isn't counted.
    - Where two promotions claim one position, the one set first gets it, and the other the position after.
    """
    pins = _pins(promoted, range(first, first + limit))
    used = {slot.item_id for slot in pins.values()}
    own = iter(ranked)
    quotas = [
        _Quota(promotion.name, Fraction(str(promotion.share)), first, (item for item in items if item not in used))
        for promotion, items in promoted
        if promotion.share is not None
    ]
    slots: list[SlotAssignment] = []
    for position in range(first, first + limit):
        slot = pins.pop(position, None) or _from_quotas(quotas, position) or _next(own, used)
        if slot is None:
            break
        slots.append(slot)
        used.add(slot.item_id)
    left = [pins[position] for position in sorted(pins)]
    return (slots + left)[:limit]


@dataclass(slots=True)
class _Quota:
    """What a promotion with a share still may place on this page; `items` are those that aren't placed yet."""

    name: str
    share: Fraction
    first: int
    items: Iterator[str]
    placed: int = 0

    def is_due(self, position: int) -> bool:
        """Whether it may place one more at this position."""
        numerator, denominator = self.share.numerator, self.share.denominator
        return self.placed < position * numerator // denominator - (self.first - 1) * numerator // denominator


def _pins(promoted: Sequence[tuple[ActivePromotion, Sequence[str]]], page: range) -> dict[int, SlotAssignment]:
    pins: dict[int, SlotAssignment] = {}
    taken: set[str] = set()
    for promotion, items in promoted:
        free = (item for item in items if item not in taken)
        for position in sorted(promotion.positions):
            if position in page and position not in pins and (item := next(free, None)) is not None:
                pins[position] = SlotAssignment(item, promotion.name)
                taken.add(item)
    return pins


def _from_quotas(quotas: Sequence[_Quota], position: int) -> SlotAssignment | None:
    for quota in quotas:
        if quota.is_due(position) and (item := next(quota.items, None)) is not None:
            quota.placed += 1
            return SlotAssignment(item, quota.name)
    return None


def _next(own: Iterator[str], used: set[str]) -> SlotAssignment | None:
    free = next((item for item in own if item not in used), None)
    return None if free is None else SlotAssignment(free)
