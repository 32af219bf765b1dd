"""Lists that are one source's own order, and how a place on any list is shown."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

from eddyline.adapters.vectors import Filter, Scored
from eddyline.model.trends import POPULARITY
from eddyline.reader.cursor import Cursor

DISPLAY = (
    "item_id",
    "meta.title",
    "meta.category",
    "meta.url",
    "meta.expires_at",
    "listed_at",
    f"trend.{POPULARITY}",
    "trend.count",
)
"""What is read of a candidate: what ranking needs, and what is shown."""

END = "the list ends here"
NO_ITEMS = "there is no item to show yet"
FILTERED = "nothing there matches: the filter and `exclude` leave none"


@dataclass(frozen=True, slots=True)
class ListEntry:
    """An item on a list. `terms` and `because` are told to those who ask for an explanation."""

    item_id: str
    score: float
    payload: Mapping[str, Any]
    terms: Mapping[str, float] = field(default_factory=dict)
    because: str | None = None


@dataclass(frozen=True, slots=True)
class ListContext:
    """One source's own order, filtered and paged. `key`: what makes it another list for the cache."""

    key: tuple[Any, ...]
    condition: Filter
    position: Cursor

    @property
    def depth(self) -> int:
        """How many to look for, so that this page is full."""
        return self.position.limit + self.position.depth

    def page(self, places: Iterable[ListEntry], explain: bool = False, **more: Any) -> dict[str, Any]:
        """Render this page of the places, best first; `more` are further members of the answer."""
        left = list(islice((p for p in places if not self.position.has_served(p.item_id)), self.position.limit))
        items = []
        for rank, place in enumerate(left, start=self.position.depth + 1):
            shown = render_item(place.item_id, rank, place.score, place.payload)
            items.append(shown | {"because": place.because, "scores": dict(place.terms)} if explain else shown)
        return {"items": items, "next": self.position.after(p.item_id for p in left), "degraded": False} | more


def list_entries(found: Iterable[Scored], score: Callable[[float], float] = float) -> list[ListEntry]:
    """What a store found, in its order; `score` makes the shown one of the store's."""
    return [ListEntry(str(point.payload["item_id"]), score(point.score), point.payload) for point in found]


def explained_entries(found: Iterable[Scored], source: str, because: str) -> list[ListEntry]:
    """The same, where one source's score is all there is to explain."""
    return [replace(place, terms={source: round(place.score, 6)}, because=because) for place in list_entries(found)]


def unexpired(found: Sequence[Scored], now: float) -> list[Scored]:
    """Without what has expired since it was found."""
    return [point for point in found if point.payload.get("meta", {}).get("expires_at", math.inf) > now]


def render_item(item_id: str, position: int, score: float, payload: Mapping[str, Any]) -> dict[str, Any]:
    """A place on a list, as it is answered."""
    meta = payload.get("meta", {})
    shown: dict[str, Any] = {"item_id": item_id, "rank": position, "score": round(score, 6)}
    return shown | {name: meta.get(name) for name in ("title", "category", "url")}
