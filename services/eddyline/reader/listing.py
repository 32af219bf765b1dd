"""Lists that are one source's own order, and how a place on any list is shown."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from eddyline.adapters.vectors import Filter, HasId, Scored
from eddyline.model.ids import item_point
from eddyline.model.ranking import POPULARITY
from eddyline.reader.paging import Page

DISPLAY = ("item_id", "meta.title", "meta.category", "meta.url", "meta.expires_at", "listed_at", f"trend.{POPULARITY}")
"""What is read of a candidate: what ranking needs, and what is shown."""


@dataclass(frozen=True, slots=True)
class Listing:
    """One source's own order, filtered and paged. `key`: what makes it another list for the cache."""

    key: tuple[Any, ...]
    condition: Filter
    position: Page

    @property
    def depth(self) -> int:
        """How many to look for, so that this page is full."""
        return self.position.limit + self.position.depth

    def answer(
        self, found: Sequence[Scored], score: Callable[[float], float] = float, degraded: bool = False
    ) -> dict[str, Any]:
        """This page of what was found."""
        named = [(str(point.payload["item_id"]), point) for point in found]
        left = [(name, point) for name, point in named if not self.position.has_served(name)]
        left = left[: self.position.limit]
        items = [
            line(name, self.position.depth + index, score(point.score), point.payload)
            for index, (name, point) in enumerate(left, start=1)
        ]
        return {"items": items, "next": self.position.after(name for name, _ in left), "degraded": degraded}


def unexpired(found: Sequence[Scored], now: float) -> list[Scored]:
    """Without what has expired since it was found."""
    return [point for point in found if point.payload.get("meta", {}).get("expires_at", math.inf) > now]


def without(item_ids: Collection[str]) -> Filter:
    """Anything but these items."""
    ids = tuple(item_point(item_id) for item_id in sorted(item_ids))
    return Filter(must_not=(HasId(ids),)) if ids else Filter()


def line(item_id: str, position: int, score: float, payload: Mapping[str, Any]) -> dict[str, Any]:
    """A place on a list, as it is answered."""
    meta = payload.get("meta", {})
    shown: dict[str, Any] = {"item_id": item_id, "rank": position, "score": round(score, 6)}
    return shown | {name: meta.get(name) for name in ("title", "category", "url")}
