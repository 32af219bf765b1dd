"""What someone's newest recent items cost, and what their pictures show: one look-up, where a term goes by it."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice

from eddyline.adapters.vectors import ITEMS, Point, Sparse, VectorStore
from eddyline.model.ids import item_point_id
from eddyline.model.ranking import DETAILED_RECENTS, PriceAndImage, RetrievalPlan, with_recent_items


class RecentItemDetails:
    """Adds them to plans. May be called from any thread."""

    def __init__(self, store: VectorStore) -> None:
        self._store = store

    def add(self, asked: RetrievalPlan) -> RetrievalPlan:
        """The plan, which knows them now. Raises `Unavailable`."""
        return with_recent_items(asked, self._of_recents(asked) if asked.asks_of_recents else {})

    def _of_recents(self, asked: RetrievalPlan) -> Mapping[str, PriceAndImage]:
        newest = {item_point_id(item_id): item_id for item_id in islice(asked.recents, DETAILED_RECENTS)}
        with_pictures = asked.weights["image"] > 0
        payload = ("offer.price", *(("image.state", "image.space") if with_pictures else ()))
        vectors = ("image",) if with_pictures else ()
        points = self._store.retrieve(ITEMS, list(newest), payload=payload, vectors=vectors)
        return {newest[point_id]: _detail(point) for point_id, point in points.items()}


def _detail(point: Point) -> PriceAndImage:
    """A vector that is left of a removed picture doesn't count."""
    price, image = (point.payload.get("offer") or {}).get("price"), point.payload.get("image") or {}
    vector = point.vectors.get("image")
    if vector is None or isinstance(vector, Sparse) or image.get("state") != "ready":
        return PriceAndImage(price)
    return PriceAndImage(price, vector, image["space"])
