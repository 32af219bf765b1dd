"""Explanations: the sentence that tells why an item is on a list."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from eddyline.adapters.vectors import ROWS, Point, Sparse, VectorStore
from eddyline.model.ids import item_dimension, item_point_id
from eddyline.model.ranking import SEQUENTIAL, RankedItem, RetrievalPlan
from eddyline.reader.catalogue_cache import RANKED_AGE, CatalogueCache, any_item

SENTENCES: Mapping[str, str] = {
    "affinity": "chosen after what you opened lately",
    "next": "chosen right after what you opened last",
    "recent": "chosen after what you opened lately",
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


def explain_items(
    store: VectorStore, catalogue: CatalogueCache, items: Sequence[RankedItem], plan: RetrievalPlan
) -> list[RankedItem]:
    """Add the sentence of each item, where anything speaks for it.

    For "because you opened X", read the rows of the items in question, and the title of X. Raises `Unavailable`.
    """
    reasons = {item.item_id: _largest_reason(item, plan) for item in items}
    by_affinity = [item_id for item_id, reason in reasons.items() if reason in SEQUENTIAL]
    opened = _opened_titles(store, catalogue, by_affinity, plan)
    return [replace(item, because=_sentence(item, reasons[item.item_id], opened.get(item.item_id))) for item in items]


def _opened_titles(
    store: VectorStore, catalogue: CatalogueCache, item_ids: Sequence[str], plan: RetrievalPlan
) -> dict[str, str]:
    """Return, for each item, the title of the recent one that adds most to its affinity."""
    if not item_ids:
        return {}
    points = {item_point_id(item_id): item_id for item_id in item_ids}
    rows = store.retrieve(ROWS, list(points), payload=(), vectors=("affinity",))
    recents = {
        points[point_id]: recent for point_id, point in rows.items() if (recent := _strongest_recent(point, plan))
    }
    found = catalogue.find(map(item_point_id, recents.values()), any_item, RANKED_AGE)
    titles = {item.item_id: item.payload["meta"]["title"] for item in found.values() if "meta" in item.payload}
    return {item_id: titles[recent] for item_id, recent in recents.items() if recent in titles}


def _strongest_recent(point: Point, plan: RetrievalPlan) -> str | None:
    row = point.vectors.get("affinity")
    if not isinstance(row, Sparse):
        return None
    weights = dict(zip(row.indices.tolist(), row.values.tolist(), strict=True))
    parts = {recent: weight * weights.get(item_dimension(recent), 0.0) for recent, weight in plan.recents.items()}
    best = max(parts, key=lambda recent: parts[recent], default=None)
    return best if best is not None and parts[best] > 0 else None


def _largest_reason(item: RankedItem, plan: RetrievalPlan) -> str | None:
    """Return the largest term that is a reason: not the rating that an unrated item is taken to have, nor another
    price."""
    if item.explored or item.is_repeat or item.promotion is not None:
        return None
    return next((term for term in item.reasons if _is_reason(term, item, plan)), None)


def _is_reason(term: str, item: RankedItem, plan: RetrievalPlan) -> bool:
    if term == "rating":
        return bool(_rating(item).get("count"))
    if term == "price" and plan.prices is not None:
        return plan.prices.is_about(item.payload.get("offer", {}).get("price"))
    return True


def _rating(item: RankedItem) -> Mapping[str, Any]:
    return item.payload.get("meta", {}).get("rating") or {}


def _sentence(item: RankedItem, reason: str | None, opened: str | None) -> str | None:
    if item.promotion is not None:
        return PROMOTED
    if item.is_repeat:
        return REPEAT
    if item.explored:
        return EXPLORED
    if opened is not None:
        return f"because you opened {opened}"
    if reason == "freshness":
        return f"new in {item.category}" if item.category else "new"
    if reason == "rating":
        rating = _rating(item)
        people = "one person" if rating["count"] == 1 else f"{rating['count']:,} people"
        return f"rated {round(rating['value'], 2):g} of {rating['scale']:g} by {people}"
    return SENTENCES.get(reason or "")
