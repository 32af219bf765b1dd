"""Retrieval: the candidates of every source, in one batch of queries to items and one to rows side by side."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, Literal, TypeAlias

import numpy as np

from eddyline.adapters.vectors import (
    ITEMS,
    PROFILES,
    Distance,
    Filter,
    HasId,
    IsEmpty,
    Match,
    Nearest,
    OrderBy,
    Query,
    Scored,
    Sparse,
    VectorStore,
)
from eddyline.model.decay import Vector
from eddyline.model.ids import item_point_id, person_point_id
from eddyline.model.profile import Profile, stored_recents
from eddyline.model.ranking import (
    DETAILED_RECENTS,
    ORDERED,
    SEQUENTIAL,
    SIMILAR_PEOPLE,
    Candidates,
    Hit,
    RecentItemDetails,
    RetrievalPlan,
    merge_candidates,
    score_by_neighbours,
    with_recent_items,
)
from eddyline.model.rules import ActivePromotion
from eddyline.reader.catalogue_cache import RANKED_AGE, CatalogueItem, any_item, passing
from eddyline.reader.item_finder import ItemFinder, to_hits
from eddyline.reader.lists import with_ready_image
from eddyline.reader.request_context import EffectiveRequest
from eddyline.settings import RankingSettings

ROW_ORDERS = ("popularity", "trending")
"""Sources that are an order of rows by a trend."""
ROW_SOURCES = (*SEQUENTIAL, *ROW_ORDERS)
"""Sources that are found in rows; the others are in items."""
QueryKey: TypeAlias = tuple[Literal["shared", "own", "promotion"], str]
"""A source's list for everyone, or for the person alone; or a promotion's."""


@dataclass(frozen=True, slots=True)
class RetrievedCandidates:
    """What was found: the candidates, and each promotion's items.

    `is_complete`: nothing else passes the filter, however deep a search goes.
    """

    candidates: Candidates
    promoted: Sequence[tuple[ActivePromotion, list[Hit]]]
    is_complete: bool


class Retriever:
    """Searches the store as a plan has it. May be called from any thread. Its methods raise `Unavailable`."""

    def __init__(self, store: VectorStore, finder: ItemFinder, settings: RankingSettings) -> None:
        self._store, self._finder, self._settings = store, finder, settings

    def add_recent_details(self, plan: RetrievalPlan) -> RetrievalPlan:
        """Look up what the newest recent items cost, show and are about, where the list goes by it."""
        return with_recent_items(plan, self._recent_details(plan) if plan.needs_recent_details else {})

    def _recent_details(self, plan: RetrievalPlan) -> Mapping[str, RecentItemDetails]:
        newest = [item_point_id(item_id) for item_id in islice(plan.recents, DETAILED_RECENTS)]
        vectors = ("image",) if plan.weights["image"] > 0 else ()
        known = self._finder.catalogue.find(newest, any_item, RANKED_AGE, vectors)
        return {item.item_id: _details(item) for item in known.values()}

    def find(self, request: EffectiveRequest) -> RetrievedCandidates:
        """Search all sources, beside the lists that were found for everyone a moment ago, and look up their items."""
        lists, promoted = self._search(request)
        found_ids = dict.fromkeys(point.id for found in (*lists.values(), *promoted) for point in found)
        points = [point_id for point_id in found_ids if point_id not in request.hidden_points]
        known = self._finder.catalogue.find(points, request.passes, RANKED_AGE, request.vectors)
        for name in lists.keys() & set(ROW_ORDERS):
            known |= _with_current_trend(known, lists[name], self._order(name).field)
        depths = {name: request.order_depth if name in ORDERED else request.depth for name in lists}
        hits = {name: to_hits(found, known)[: depths[name]] for name, found in lists.items()}
        candidates = merge_candidates(hits, request.depth, unscored=ORDERED)
        # Also of a list that has lost some since.
        floors = {name: lists[name][-1].score for name in candidates.scores if len(lists[name]) >= request.depth}
        return RetrievedCandidates(
            replace(candidates, floors=floors),
            [
                (promotion, to_hits(found, _passing(known, promotion, request.context.now)))
                for promotion, found in zip(request.promotions, promoted, strict=True)
            ],
            all(len(found) < min(depths[name], request.shared_depth) for name, found in lists.items()),
        )

    def _search(self, request: EffectiveRequest) -> tuple[dict[str, list[Scored]], list[list[Scored]]]:
        """Return the list of each source, and each promotion's."""
        cached = {name: self._cached(name, request) for name in request.plan.ordered}
        queries: dict[QueryKey, Query] = {
            ("own", name): query for name, query in self._personal_queries(request).items()
        }
        for name, points in cached.items():
            if points is None and not request.is_pooled:
                queries["shared", name] = Query(self._order(name), request.shared_depth, request.shared_filter)
            if _needs_own_list(points, request):
                queries["own", name] = Query(self._order(name), request.order_depth, request.personal_filter)
        for index, promotion in enumerate(request.promotions):
            queries["promotion", str(index)] = self._promotion_query(promotion, request)
        found = self._finder.search(
            {key: query for key, query in queries.items() if key[1] not in ROW_SOURCES},
            {key: query for key, query in queries.items() if key[1] in ROW_SOURCES},
        )
        lists = {name: points for name, points in cached.items() if points is not None}
        for kind in ("shared", "own"):  # the person's own, where there is one
            lists |= {key[1]: points for key, points in found.items() if key[0] == kind}
        for (kind, name), points in found.items():
            if kind == "shared":
                self._finder.lists.put(self._cache_key(name, request), points)
        if request.plan.weights.get("people", 0.0) > 0 and request.profile is not None:
            lists["people"] = self._chosen_by_neighbours(request, request.profile)
        return lists, [found["promotion", str(index)] for index in range(len(request.promotions))]

    def showable(self, item_ids: Iterable[str], request: EffectiveRequest) -> dict[str, Mapping[str, Any]]:
        """Return those of these items that may be shown, with what they are like now."""
        known = self._finder.catalogue.find(map(item_point_id, item_ids), request.passes)
        return {item.item_id: item.payload for item in known.values()}

    def any(self, filter: Filter) -> bool:
        """Whether any item at all passes."""
        return self._finder.any(ITEMS, OrderBy("listed_at"), filter)

    def _personal_queries(self, request: EffectiveRequest) -> dict[str, Query]:
        """Build the queries of the sources that depend on the person."""
        plan = request.plan
        queries = {
            name: self._content_query(vector, request, request.personal_filter) for name, vector in plan.dense.items()
        }
        for name, query in plan.rows.items():
            nearest = Nearest(Sparse(query.indices, query.values), "affinity")
            queries[name] = Query(nearest, request.depth, request.personal_filter)
        if plan.image is not None:
            nearest = Nearest(np.asarray(plan.image.vector, dtype=np.float32), "image")
            with_image = request.personal_filter & with_ready_image(plan.image.space)
            queries["image"] = Query(nearest, request.depth, with_image)
        return queries

    @staticmethod
    def _content_query(vector: Vector, request: EffectiveRequest, filter: Filter) -> Query:
        """Search by content, in the person's space alone: the items may have gone into another since the profile was
        read."""
        space = None if request.profile is None else request.profile.taste.space
        in_space = Filter() if space is None else Filter(must=(Match("space", (space,)),))
        return Query(_nearest(vector, request.plan.distance), request.depth, filter & in_space)

    def _promotion_query(self, promotion: ActivePromotion, request: EffectiveRequest) -> Query:
        """Build the query of a promotion's items: those first that are closest to the person, or else the newest."""
        closest, filter = request.plan.closest, request.personal_filter & promotion.filter
        if closest is None:
            return Query(OrderBy("listed_at"), request.depth, filter)
        return self._content_query(request.plan.dense[closest], request, filter)

    def _order(self, name: str) -> OrderBy:
        return OrderBy(ORDERED[name].format(window=self._settings.trending_window))

    def _cached(self, name: str, request: EffectiveRequest) -> list[Scored] | None:
        return None if request.is_pooled else self._finder.lists.get_fresh(self._cache_key(name, request))

    @staticmethod
    def _cache_key(name: str, request: EffectiveRequest) -> tuple[Any, ...]:
        return (name, request.context.filter, request.shared_depth)

    def _chosen_by_neighbours(self, request: EffectiveRequest, profile: Profile) -> list[Scored]:
        """Return what the people with the most similar `history` chose lately, by the sum of their similarities.

        Costs one more query.
        """
        history = Nearest(Sparse(*profile.seen.history()), "history")
        others = Filter(must_not=(HasId((person_point_id(profile.person),)), IsEmpty("person")))
        near = self._store.query(PROFILES, [Query(history, SIMILAR_PEOPLE, others, ("state",))])[0]
        neighbours = ((stored_recents(point.payload), point.score) for point in near)
        scored = score_by_neighbours(neighbours, request.hidden.__contains__)[: 2 * request.depth]
        return [Scored(item_point_id(item_id), score) for item_id, score in scored]


def _nearest(vector: Vector, distance: Distance) -> Nearest:
    return Nearest(np.asarray(vector, dtype=np.float32), "content", distance)


def _needs_own_list(shared: Sequence[Scored] | None, request: EffectiveRequest) -> bool:
    """Whether the list that everyone shares won't do: hidden items leave less than half of it, or may do so."""
    if shared is None or request.is_pooled:
        return request.is_pooled or bool(request.hidden)
    hidden = request.hidden_points
    return bool(hidden) and 2 * sum(point.id in hidden for point in shared) >= max(1, len(shared))


def _with_current_trend(
    known: Mapping[str, CatalogueItem], found: Iterable[Scored], field: str
) -> dict[str, CatalogueItem]:
    """Return those whose trend has changed since they were read, with what they were found by: so what is popular now
    is ranked as such at once."""
    window = field.removeprefix("trend.")
    changed = {}
    for point in found:
        item = known.get(point.id)
        if item is not None and (trend := item.payload.get("trend") or {}).get(window) != point.score:
            changed[point.id] = replace(item, payload={**item.payload, "trend": {**trend, window: point.score}})
    return changed


def _passing(known: Mapping[str, CatalogueItem], promotion: ActivePromotion, now: float) -> dict[str, CatalogueItem]:
    """Return those that the promotion is for."""
    passes = passing(promotion.filter, now)
    return {point_id: item for point_id, item in known.items() if passes(item)}


def _details(item: CatalogueItem) -> RecentItemDetails:
    """Read a recent item's details; a vector that is left of a removed image doesn't count."""
    price, image = (item.payload.get("offer") or {}).get("price"), item.payload.get("image") or {}
    category = (item.payload.get("meta") or {}).get("category")
    vector = item.vectors.get("image")
    if vector is None or image.get("state") != "ready":
        return RecentItemDetails(price, category=category)
    return RecentItemDetails(price, vector, image["space"], category)
