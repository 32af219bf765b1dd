"""What can be looked at without being anyone: an item, items like it, its audience, what is trending, what is new."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from eddyline.adapters.vectors import (
    ITEMS,
    PROFILES,
    Filter,
    Nearest,
    OrderBy,
    Query,
    Range,
    Sparse,
    VectorStore,
)
from eddyline.errors import NotFound, Unavailable
from eddyline.model.decay import count_at, count_in
from eddyline.model.events import Content
from eddyline.model.filters import parse_filter, servable
from eddyline.model.ids import Person, dimension_of, item_point
from eddyline.model.ranking import trend_tau
from eddyline.reader.listing import DISPLAY, Listing, unexpired, without
from eddyline.reader.paging import mark, page
from eddyline.reader.requests import ListQuery, TrendingQuery
from eddyline.reader.shared import SharedLists
from eddyline.settings import Settings

FEWEST_TRENDING = 0.05
"""Decayed count under which an item isn't trending: one event some four half-lives ago."""


class Browse:
    """Lists that are not one person's. Every method may be called from any thread. `clock` in epoch seconds."""

    def __init__(self, store: VectorStore, settings: Settings, shared: SharedLists, clock: Callable[[], float]) -> None:
        self._store, self._settings, self._shared, self._clock = store, settings, shared, clock

    def item(self, item_id: str) -> dict[str, Any]:
        """An item's full state, as PUT takes it. Raises `NotFound`."""
        payload = self._item_payload(item_id)
        offer = {name: value for name, value in payload["offer"].items() if name in ("available", "price")}
        content = Content(item_id=item_id, **{**payload["meta"], **offer})
        return content.model_dump(mode="json", exclude_none=True, exclude={"v", "timestamp"})

    def _item_payload(self, item_id: str) -> Mapping[str, Any]:
        point_id = item_point(item_id)
        point = self._store.retrieve(ITEMS, [point_id], payload=("meta", "offer")).get(point_id)
        if point is None or "meta" not in point.payload:
            raise _no_such_item(item_id)
        return point.payload

    def similar(self, item_id: str, query: ListQuery) -> dict[str, Any]:
        """The nearest items by content. Raises `NotFound`."""
        point_id = item_point(item_id)
        point = self._store.retrieve(ITEMS, [point_id], payload=("item_id",), vectors=("content",)).get(point_id)
        if point is None or "content" not in point.vectors:
            raise _no_such_item(item_id)
        listing = self._listing(("similar", item_id), query, frozenset({item_id}))
        nearest = Query(Nearest(point.vectors["content"], "content"), listing.depth, listing.condition, DISPLAY)
        return listing.answer(self._store.query(ITEMS, [nearest])[0])

    def audience(self, item_id: str, limit: int) -> dict[str, Any]:
        """The people in whose recent history the item weighs most. Raises `NotFound`."""
        self._item_payload(item_id)
        vector = Sparse(np.asarray([dimension_of(item_id)], dtype=np.uint32), np.ones(1, dtype=np.float32))
        found = self._store.query(PROFILES, [Query(Nearest(vector, "history"), limit, payload=("person",))])[0]
        people = []
        for point in found:
            person = Person.from_key(str(point.payload["person"]))
            name = "user_id" if person.kind == "u" else "anonymous_id"
            people.append({name: person.id, "score": round(point.score, 6)})
        return {"people": people}

    def trending(self, query: TrendingQuery) -> dict[str, Any]:
        """What most people choose, within a window."""
        tau, now, field = trend_tau(query.window), self._clock(), f"trend.{query.window}"
        current = Filter(must=(Range(field, gte=count_in(None, FEWEST_TRENDING, now, tau)),))
        listing = self._listing(("trending", query.window), query)
        return self._ordered(listing, OrderBy(field), current, lambda logarithm: count_at(logarithm, now, tau))

    def latest(self, query: ListQuery) -> dict[str, Any]:
        """The newest items."""
        return self._ordered(self._listing(("latest",), query), OrderBy("listed_at"))

    def _listing(self, kind: tuple[str, ...], query: ListQuery, exclude: frozenset[str] = frozenset()) -> Listing:
        wanted = parse_filter(query.grammar(), self._settings.attributes, self._clock())
        position = page(query.next, mark(kind, query.grammar(), query.exclude), query.limit)
        excluded = exclude.union(query.exclude)
        condition = servable(self._clock()) & wanted & without(excluded)
        return Listing((*kind, wanted, excluded), condition, position)

    def _ordered(
        self, listing: Listing, by: OrderBy, also: Filter = Filter(), score: Callable[[float], float] = float
    ) -> dict[str, Any]:
        """A list that is the same for everyone: shared for a moment, and kept for when the store doesn't answer."""
        key = (*listing.key, listing.depth)
        try:
            found = self._shared.find(key, Query(by, listing.depth, listing.condition & also, DISPLAY))
        except Unavailable:
            kept = self._shared.kept(key)
            if kept is None:
                raise
            return listing.answer(unexpired(kept.found, self._clock()), score, degraded=True)
        return listing.answer(found, score)


def _no_such_item(item_id: str) -> NotFound:
    return NotFound(f"there is no item {item_id!r} (a new one is there a moment after it was accepted)")
