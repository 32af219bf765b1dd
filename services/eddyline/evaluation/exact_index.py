"""The item collection in memory: answers what the vector store would, exactly, over numpy arrays.

Items are places 0…n-1 in the log's list. They are all there from the start.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eddyline.evaluation.inverted_index import InvertedIndex
from eddyline.model.decay import add_to_decayed_count, decayed_count_at
from eddyline.model.distance import Distance, similarities
from eddyline.model.events import Content
from eddyline.model.ranking import PriceAndImage
from eddyline.model.trends import POPULARITY, TREND_HALF_LIVES, trend_tau

Floats = NDArray[np.float32]
Places = NDArray[np.int64]


class ExactItemIndex:
    """Content vectors (float32, compared by `distance`), affinity rows, trends and dates of all items."""

    def __init__(self, items: Sequence[Content], content: Floats, distance: Distance = Distance.COSINE) -> None:
        self.items, self.content, self.distance = items, content, distance
        self._columns = np.ascontiguousarray(content.T)  # a third faster to multiply with
        self.item_ids = [item.item_id for item in items]
        self.place_of = {item_id: place for place, item_id in enumerate(self.item_ids)}
        self.affinity = InvertedIndex(len(items))
        self.trends: Mapping[str, NDArray[np.float64]] = {
            window: np.full(len(items), -np.inf) for window in TREND_HALF_LIVES
        }
        """Logarithms of forward-decayed counts, minus infinity where there are none."""
        self.listed_at = np.asarray([_listed_at(item) for item in items], dtype=np.float64)
        """Epoch seconds; minus infinity where unknown."""
        self._payloads = [_payload(item) for item in items]

    def count(self, item: int, time: float) -> None:
        """Someone chose the item."""
        for window, logarithms in self.trends.items():
            known = float(logarithms[item])
            logarithms[item] = add_to_decayed_count(None if known == -np.inf else known, 1.0, time, trend_tau(window))
        chosen = self._payloads[item].get("trend", {}).get("count", 0) + 1
        windows = {window: float(each[item]) for window, each in self.trends.items()}
        self._payloads[item]["trend"] = {**windows, "count": chosen}

    def popularity(self, item: int, now: float) -> float:
        """The item's decayed count over about a quarter."""
        known = float(self.trends[POPULARITY][item])
        return decayed_count_at(None if known == -np.inf else known, now, trend_tau(POPULARITY))

    def payload(self, item: int, now: float) -> Mapping[str, Any]:
        """What the store has beside the vectors, as far as ranking reads it.

        Items are there from the start, whatever the date they are listed with; one that isn't over yet says nothing.
        """
        payload = self._payloads[item]
        if self.listed_at[item] <= now:
            return payload
        return {name: value for name, value in payload.items() if name != "listed_at"}

    def detail(self, item_id: str) -> PriceAndImage:
        """What ranking asks of a recent item. There are no pictures."""
        return PriceAndImage(self.items[self.place_of[item_id]].price)

    def similarities(self, vectors: Sequence[NDArray[np.floating]]) -> Floats:
        """Compare every query vector with every item: (vectors, items)."""
        if self.distance is Distance.EUCLID:
            return np.stack([similarities(vector, self.content, self.distance) for vector in vectors])
        return np.asarray(np.stack(vectors).astype(np.float32, copy=False) @ self._columns)

    def ordered(self, field: str, now: float) -> NDArray[np.float64]:
        """What the store would order by: a `trend.<window>`, or `listed_at`; minus infinity where there is none."""
        if field == "listed_at":
            return np.where(self.listed_at <= now, self.listed_at, -np.inf)
        return self.trends[field.removeprefix("trend.")]


def top(scores: NDArray[np.floating], depth: int, blocked: Places) -> Places:
    """Places of the best `depth` scores above minus infinity, best first, equals by place; none of `blocked`."""
    left = scores.copy()
    left[blocked] = -np.inf
    if depth < len(left):
        # All that are as good as the last one, so that equals are told apart by their place alone.
        least = np.partition(left, len(left) - depth)[len(left) - depth]
        found = np.flatnonzero(left >= least) if least > -np.inf else np.flatnonzero(left > -np.inf)
    else:
        found = np.flatnonzero(left > -np.inf)
    return found[np.argsort(-left[found], kind="stable")][:depth]


def _payload(item: Content) -> dict[str, Any]:
    listed_at = _listed_at(item)
    known = {} if listed_at == -np.inf else {"listed_at": listed_at}
    rated = {} if item.rating is None else {"rating": item.rating.model_dump()}
    priced = {} if item.price is None else {"offer": {"price": item.price}}
    return {"item_id": item.item_id, "meta": {"category": item.category, **rated}, **priced, **known}


def _listed_at(item: Content) -> float:
    known = item.published_at if item.published_at is not None else item.timestamp
    return -np.inf if known is None else known
