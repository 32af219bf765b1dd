"""Promotions: items that get places of their own, at most a share of a list or pinned to exact places."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from eddyline.model.filters import Filter, Matcher
from eddyline.model.rules.conditions import Conditions
from eddyline.settings import PromotionSettings


@dataclass(frozen=True, slots=True)
class ScheduledPromotion:
    """A promotion as it is set. Times in epoch seconds, infinite where there is no bound."""

    given: PromotionSettings
    when: Conditions
    starts: float = -math.inf
    ends: float = math.inf


@dataclass(frozen=True, slots=True)
class ActivePromotion:
    """A promotion that holds now: it has `share` of the places at most, or the 1-based `positions`.

    `filter` finds its items in a store; `matches` says whether a payload is of one, and looks at `fields`.
    """

    name: str
    filter: Filter = field(default_factory=Filter)
    share: float | None = None
    positions: tuple[int, ...] = ()
    fields: tuple[str, ...] = ()
    matches: Matcher = field(default=lambda _, __=None, /: False, compare=False)


@dataclass(frozen=True, slots=True)
class SlotAssignment:
    """A place of a list; `promotion` is the name of what put the item there, None where it ranks there by itself."""

    item_id: str
    promotion: str | None = None


def place_promotions(
    ranked: Sequence[str], promoted: Sequence[tuple[ActivePromotion, Sequence[str]]], limit: int, first: int = 1
) -> list[SlotAssignment]:
    """The places `first` to `first + limit - 1` of a list, with each promotion's candidates, best first, put in.

    `ranked`: what would be there, best first, and what comes after it, to fill up with. Both must hold only items that
    may be shown. An item is never placed twice.

    - A pinned item goes to its exact place, wherever it ranks itself; where the list ends before, to its end.
    - Of a promotion with a share s there are at most floor(n s) among the first n places, so they are evenly spaced,
      and on every page the same places. An item that ranks better by itself stays there, and isn't counted.
    - Where two promotions want one place, the one set first gets it, and the other the place after.
    """
    pins = _pins(promoted, range(first, first + limit))
    used = {place.item_id for place in pins.values()}
    own = iter(ranked)
    quotas = [
        _Quota(promotion.name, Fraction(str(promotion.share)), first, (one for one in items if one not in used))
        for promotion, items in promoted
        if promotion.share is not None
    ]
    places: list[SlotAssignment] = []
    for position in range(first, first + limit):
        place = pins.pop(position, None) or _from_quotas(quotas, position) or _next(own, used)
        if place is None:
            break
        places.append(place)
        used.add(place.item_id)
    left = [pins[position] for position in sorted(pins)]
    return (places + left)[:limit]


@dataclass(slots=True)
class _Quota:
    """What a promotion with a share still may place on this page; `items` are those that aren't placed yet."""

    name: str
    share: Fraction
    first: int
    items: Iterator[str]
    placed: int = 0

    def is_due(self, position: int) -> bool:
        of, places = self.share.numerator, self.share.denominator
        return self.placed < position * of // places - (self.first - 1) * of // places


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
    item = next((one for one in own if one not in used), None)
    return None if item is None else SlotAssignment(item)
