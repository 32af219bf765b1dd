"""Sentences: why an item is on a list."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from eddyline.adapters.vectors import ITEMS, Point, Sparse, VectorStore
from eddyline.model.ids import item_dimension, item_point_id
from eddyline.model.ranking import RankedItem, RetrievalPlan

SENTENCES: Mapping[str, str] = {
    "affinity": "chosen after what you opened lately",
    "people": "people with a history like yours chose it",
    "session": "close to what you are looking at now",
    "taste": "close to what you liked lately",
    "lifetime": "close to what you have always liked",
    "onboarding": "matches the interests you named",
    "popularity": "popular now",
    "trending": "trending now",
    "price": "costs about what you chose lately",
    "image": "looks like what you chose lately",
    "boost": "preferred here",
}
EXPLORED = "something different to try"
REPEAT = "seen before"
PROMOTED = "promoted"


class Explainer:
    """Finds the words. For "because you opened X" it reads the rows of the items in question and X's title."""

    def __init__(self, store: VectorStore) -> None:
        self._store = store

    def sentences(self, places: Sequence[RankedItem], plan: RetrievalPlan) -> dict[str, str | None]:
        """By item; None where nothing speaks for it. Raises `Unavailable`."""
        reasons = {place.item_id: _reason_of(place, plan) for place in places}
        by_affinity = [item_id for item_id, reason in reasons.items() if reason == "affinity"]
        opened = self._opened(by_affinity, plan)
        return {place.item_id: _sentence(place, reasons[place.item_id], opened.get(place.item_id)) for place in places}

    def _opened(self, item_ids: Sequence[str], plan: RetrievalPlan) -> dict[str, str]:
        """For each item, the title of the recent one that adds most to its affinity."""
        if not item_ids:
            return {}
        points = {item_point_id(item_id): item_id for item_id in item_ids}
        rows = self._store.retrieve(ITEMS, list(points), payload=(), vectors=("affinity",))
        reasons = {points[point]: recent for point, found in rows.items() if (recent := _recent_behind(found, plan))}
        named = {item_point_id(reason): reason for reason in reasons.values()}
        found = self._store.retrieve(ITEMS, list(named), payload=("meta.title",)) if named else {}
        titles = {named[point]: one.payload["meta"]["title"] for point, one in found.items() if "meta" in one.payload}
        return {item_id: titles[reason] for item_id, reason in reasons.items() if reason in titles}


def _recent_behind(point: Point, plan: RetrievalPlan) -> str | None:
    row = point.vectors.get("affinity")
    if not isinstance(row, Sparse):
        return None
    weights = dict(zip(row.indices.tolist(), row.values.tolist(), strict=True))
    parts = {recent: weight * weights.get(item_dimension(recent), 0.0) for recent, weight in plan.recents.items()}
    best = max(parts, key=lambda recent: parts[recent], default=None)
    return best if best is not None and parts[best] > 0 else None


def _reason_of(place: RankedItem, plan: RetrievalPlan) -> str | None:
    """The largest term that is a reason: not the rating that an unrated item is taken to have, nor another price."""
    if place.explored:
        return None
    return next((term for term in place.reasons if _says_something(term, place, plan)), None)


def _says_something(term: str, place: RankedItem, plan: RetrievalPlan) -> bool:
    if term == "rating":
        return bool(_rating(place).get("count"))
    if term == "price" and plan.prices is not None:
        return plan.prices.is_about(place.payload.get("offer", {}).get("price"))
    return True


def _rating(place: RankedItem) -> Mapping[str, Any]:
    return place.payload.get("meta", {}).get("rating") or {}


def _sentence(place: RankedItem, reason: str | None, opened: str | None) -> str | None:
    if place.explored:
        return EXPLORED
    if opened is not None:
        return f"because you opened {opened}"
    if reason == "freshness":
        category = place.payload.get("meta", {}).get("category")
        return f"new in {category}" if category else "new"
    if reason == "rating":
        rating = _rating(place)
        people = "one person" if rating["count"] == 1 else f"{rating['count']:,} people"
        return f"rated {round(rating['value'], 2):g} of {rating['scale']:g} by {people}"
    return SENTENCES.get(reason or "")
