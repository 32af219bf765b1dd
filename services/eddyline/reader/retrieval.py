"""Retrieval: the candidates of every source in one batched query, and what few lists need beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import numpy as np

from eddyline.adapters.vectors import (
    ITEMS,
    PROFILES,
    Distance,
    Filter,
    HasId,
    IsEmpty,
    Nearest,
    OrderBy,
    Point,
    Query,
    Scored,
    Sparse,
    VectorStore,
)
from eddyline.model.decay import Vector
from eddyline.model.filters import only_items
from eddyline.model.ids import item_point_id, person_point_id
from eddyline.model.profile import Profile, stored_recents
from eddyline.model.ranking import (
    DETAILED_RECENTS,
    ORDERED,
    SIMILAR_PEOPLE,
    Candidates,
    Hit,
    PriceAndImage,
    RetrievalPlan,
    merge_candidates,
    score_by_neighbours,
    with_recent_items,
)
from eddyline.model.rules import ActivePromotion
from eddyline.reader.lists import ListCache, to_hits, with_ready_image
from eddyline.reader.request_context import EffectiveRequest
from eddyline.settings import RankingSettings


@dataclass(frozen=True, slots=True)
class RetrievedCandidates:
    """What was found: the candidates, and each promotion's items."""

    candidates: Candidates
    promoted: Sequence[tuple[ActivePromotion, list[Hit]]]


class Retriever:
    """Searches the store as a plan has it. May be called from any thread. Its methods raise `Unavailable`."""

    def __init__(self, store: VectorStore, cache: ListCache, settings: RankingSettings) -> None:
        self._store, self._cache, self._settings = store, cache, settings

    def add_recent_details(self, plan: RetrievalPlan) -> RetrievalPlan:
        """Look up what the newest recent items cost and what their images show, where a term goes by it."""
        return with_recent_items(plan, self._recent_details(plan) if plan.needs_recent_details else {})

    def _recent_details(self, plan: RetrievalPlan) -> Mapping[str, PriceAndImage]:
        newest = {item_point_id(item_id): item_id for item_id in islice(plan.recents, DETAILED_RECENTS)}
        has_images = plan.weights["image"] > 0
        payload = ("offer.price", *(("image.state", "image.space") if has_images else ()))
        points = self._store.retrieve(ITEMS, list(newest), payload=payload, vectors=("image",) if has_images else ())
        return {newest[point_id]: _price_and_image(point) for point_id, point in points.items()}

    def find(self, request: EffectiveRequest) -> RetrievedCandidates:
        """Search all sources: one batched query, beside the lists that were found for everyone a moment ago."""
        cached = {name: self._cached(name, request) for name in request.plan.ordered}
        shared = {
            name: self._query(self._order(name), request, request.shared_filter)
            for name, points in cached.items()
            if points is None and not request.is_pooled
        }
        personal = self._personal_queries(request) | {
            name: self._query(self._order(name), request, request.personal_filter)
            for name, points in cached.items()
            if _needs_own_list(points, request)
        }
        promoted = [self._promotion_query(promotion, request) for promotion in request.promotions]
        queries = [*shared.values(), *personal.values(), *promoted]
        found = iter(self._store.query(ITEMS, queries) if queries else ())
        lists = {name: points for name, points in cached.items() if points is not None}
        for name in shared:
            lists[name] = next(found)
            self._cache.put(self._cache_key(name, request), lists[name])
        lists |= {name: next(found) for name in personal}
        space = None if request.profile is None else request.profile.taste.space
        for name in request.plan.dense:  # the items may have gone into another space since the profile was read
            lists[name] = [point for point in lists[name] if point.payload.get("space", space) == space]
        hits = {name: to_hits(points) for name, points in lists.items()}
        if request.plan.weights.get("people", 0.0) > 0 and request.profile is not None:
            hits["people"] = self._chosen_by_neighbours(request, request.profile)
        return RetrievedCandidates(
            merge_candidates(hits, request.depth, unscored=ORDERED),
            [(promotion, to_hits(next(found))) for promotion in request.promotions],
        )

    def find_repeats(self, item_ids: Sequence[str], request: EffectiveRequest) -> list[Hit]:
        """Return those of these items that may be shown again."""
        filter = request.shared_filter & only_items(item_ids)
        return to_hits(
            self._store.query(ITEMS, [Query(OrderBy("listed_at"), len(item_ids), filter, request.payload)])[0]
        )

    def any(self, filter: Filter) -> bool:
        """Whether any item at all passes."""
        return bool(self._store.query(ITEMS, [Query(OrderBy("listed_at"), 1, filter)])[0])

    def _personal_queries(self, request: EffectiveRequest) -> dict[str, Query]:
        """Build the queries of the sources that depend on the person."""
        plan = request.plan
        by = {name: _nearest(vector, plan.distance) for name, vector in plan.dense.items()}
        if plan.affinity is not None:
            by["affinity"] = Nearest(Sparse(plan.affinity.indices, plan.affinity.values), "affinity")
        queries = {name: self._query(nearest, request, request.personal_filter) for name, nearest in by.items()}
        if plan.image is not None:
            nearest = Nearest(np.asarray(plan.image.vector, dtype=np.float32), "image")
            with_image = request.personal_filter & with_ready_image(plan.image.space)
            queries["image"] = self._query(nearest, request, with_image)
        return queries

    def _promotion_query(self, promotion: ActivePromotion, request: EffectiveRequest) -> Query:
        """Build the query of a promotion's items: those first that are closest to the person, or else the newest."""
        closest, plan = request.plan.closest, request.plan
        by = OrderBy("listed_at") if closest is None else _nearest(plan.dense[closest], plan.distance)
        return self._query(by, request, request.personal_filter & promotion.filter)

    def _query(self, by: Nearest | OrderBy, request: EffectiveRequest, filter: Filter) -> Query:
        return Query(by, request.depth, filter, request.payload, request.vectors)

    def _order(self, name: str) -> OrderBy:
        return OrderBy(ORDERED[name].format(window=self._settings.trending_window))

    def _cached(self, name: str, request: EffectiveRequest) -> list[Scored] | None:
        return None if request.is_pooled else self._cache.get_fresh(self._cache_key(name, request))

    @staticmethod
    def _cache_key(name: str, request: EffectiveRequest) -> tuple[Any, ...]:
        return (name, request.context.filter, request.depth, request.payload, request.vectors)

    def _chosen_by_neighbours(self, request: EffectiveRequest, profile: Profile) -> list[Hit]:
        """Return what the people with the most similar `history` chose lately, by the sum of their similarities.

        Costs two more queries.
        """
        history = Nearest(Sparse(*profile.seen.history()), "history")
        others = Filter(must_not=(HasId((person_point_id(profile.person),)), IsEmpty("person")))
        near = self._store.query(PROFILES, [Query(history, SIMILAR_PEOPLE, others, ("state",))])[0]
        neighbours = ((stored_recents(point.payload), point.score) for point in near)
        scores = dict(score_by_neighbours(neighbours, request.hidden.__contains__)[: 2 * request.depth])
        if not scores:
            return []
        query = self._query(OrderBy("listed_at"), request, request.personal_filter & only_items(scores))
        points = self._store.query(ITEMS, [replace(query, limit=len(scores))])[0]
        hits = [hit._replace(score=scores[hit.item_id]) for hit in to_hits(points)]
        return sorted(hits, key=lambda hit: (-hit.score, hit.item_id))[: request.depth]


def _nearest(vector: Vector, distance: Distance) -> Nearest:
    return Nearest(np.asarray(vector, dtype=np.float32), "content", distance)


def _needs_own_list(shared: Sequence[Scored] | None, request: EffectiveRequest) -> bool:
    """Whether the list that everyone shares won't do: hidden items leave less than half of it, or may do so."""
    if shared is None or request.is_pooled:
        return request.is_pooled or bool(request.hidden)
    hidden = sum(point.payload["item_id"] in request.hidden for point in shared)
    return bool(request.hidden) and 2 * hidden >= max(1, len(shared))


def _price_and_image(point: Point) -> PriceAndImage:
    """Read a recent item's details; a vector that is left of a removed image doesn't count."""
    price, image = (point.payload.get("offer") or {}).get("price"), point.payload.get("image") or {}
    vector = point.vectors.get("image")
    if vector is None or isinstance(vector, Sparse) or image.get("state") != "ready":
        return PriceAndImage(price)
    return PriceAndImage(price, vector, image["space"])
