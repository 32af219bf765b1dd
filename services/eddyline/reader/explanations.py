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
    in_sequence = [item for item in items if reasons[item.item_id] in SEQUENTIAL]
    opened = _opened_titles(store, catalogue, in_sequence, plan)
    return [replace(item, because=_sentence(item, reasons[item.item_id], opened.get(item.item_id))) for item in items]


def _opened_titles(
    store: VectorStore, catalogue: CatalogueCache, items: Sequence[RankedItem], plan: RetrievalPlan
) -> dict[str, str]:
    """Return, for each item, the title of the recent one that adds most to it."""
    if not items:
        return {}
    points = {item_point_id(item.item_id): item for item in items}
    rows = store.retrieve(ROWS, list(points), payload=(), vectors=("affinity",))
    recents = {
        points[point_id].item_id: recent
        for point_id, point in rows.items()
        if (recent := _strongest_recent(points[point_id], point, plan))
    }
    found = catalogue.find(map(item_point_id, recents.values()), any_item, RANKED_AGE)
    titles = {item.item_id: item.payload["meta"]["title"] for item in found.values() if "meta" in item.payload}
    return {item_id: titles[recent] for item_id, recent in recents.items() if recent in titles}


def _strongest_recent(item: RankedItem, point: Point, plan: RetrievalPlan) -> str | None:
    """Return the recent item that the largest part of the item's terms comes from: of each term, as much as its part in
    what the row was found by."""
    row = point.vectors.get("affinity")
    if not isinstance(row, Sparse):
        return None
    weights = dict(zip(row.indices.tolist(), row.values.tolist(), strict=True))
    parts = dict.fromkeys(map(item_dimension, plan.recents), 0.0)
    for source in ("affinity", "recent"):
        if (query := plan.rows.get(source)) is not None and (value := item.terms.get(source, 0.0)) > 0:
            asked = zip(query.indices.tolist(), query.values.tolist(), strict=True)
            found = {dimension: weight * weights.get(dimension, 0.0) for dimension, weight in asked}
            total = sum(found.values()) or 1.0
            for dimension, part in found.items():
                parts[dimension] = parts.get(dimension, 0.0) + value * part / total
    if plan.recents and (value := item.terms.get("next", 0.0)) > 0:
        parts[item_dimension(next(iter(plan.recents)))] += value
    best = max(plan.recents, key=lambda recent: parts[item_dimension(recent)], default=None)
    return best if best is not None and parts[item_dimension(best)] > 0 else None


def _largest_reason(item: RankedItem, plan: RetrievalPlan) -> str | None:
    """Return the largest term that is a reason: not the rating that an unrated item is taken to have, nor another
    price. Those of what people chose in sequence count as one."""
    if item.explored or item.is_repeat or item.promotion is not None:
        return None
    reasons = [term for term in item.reasons if _is_reason(term, item, plan)]
    sequential = [term for term in reasons if term in SEQUENTIAL]
    other = next((term for term in reasons if term not in SEQUENTIAL), None)
    if other is None or sum(item.terms[term] for term in sequential) >= item.terms[other]:
        return next(iter(sequential), None)
    return other


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
