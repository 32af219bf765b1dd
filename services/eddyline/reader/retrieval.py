"""Looking for candidates: every source's list in one batched query."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
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
    Query,
    Scored,
    Sparse,
    VectorStore,
)
from eddyline.model.decay import Vector
from eddyline.model.filters import only_items
from eddyline.model.ids import person_point_id
from eddyline.model.profile import Profile, stored_recents
from eddyline.model.ranking import (
    ORDERED,
    SIMILAR_PEOPLE,
    Candidates,
    Hit,
    RetrievalPlan,
    merge_candidates,
    score_by_neighbours,
)
from eddyline.model.rules import ActivePromotion
from eddyline.reader.list_cache import ListCache
from eddyline.reader.lists import DISPLAY
from eddyline.reader.pictures import with_ready_image
from eddyline.settings import RankingSettings


@dataclass(frozen=True, slots=True)
class RetrievalRequest:
    """What to look for. `shared` is what everyone who asks alike (`asked`) may be shown, `own` what is left of it for
    this person.

    `depth`: how many of each source; `fields`: payload beside what is always read; `with_vectors`: contents as well.
    """

    plan: RetrievalPlan
    asked: Filter
    shared: Filter
    own: Filter
    depth: int
    hidden: frozenset[str] = frozenset()
    promotions: Sequence[ActivePromotion] = ()
    fields: tuple[str, ...] = ()
    with_vectors: bool = False
    is_pooled: bool = False
    """Whether the filter is this request's alone, so that its lists are worth no place among the shared ones."""
    profile: Profile | None = None

    @property
    def payload(self) -> tuple[str, ...]:
        """What is read of each candidate."""
        return tuple(dict.fromkeys((*DISPLAY, "space", *self.fields)))

    @property
    def vectors(self) -> tuple[str, ...]:
        """The vectors that are read of each candidate."""
        return ("content",) if self.with_vectors else ()


@dataclass(frozen=True, slots=True)
class RetrievedCandidates:
    """What was found: the candidates, and each promotion's items."""

    candidates: Candidates
    promoted: Sequence[tuple[ActivePromotion, list[Hit]]]


class Retriever:
    """Runs plans against the store. May be called from any thread. Its methods raise `Unavailable`."""

    def __init__(self, store: VectorStore, shared: ListCache, settings: RankingSettings) -> None:
        self._store, self._shared, self._settings = store, shared, settings

    def find(self, wanted: RetrievalRequest) -> RetrievedCandidates:
        """All sources' lists: one batched query, beside what was found for everyone a moment ago."""
        kept = {name: self._kept(name, wanted) for name in wanted.plan.ordered}
        queries = self._personal(wanted) | self._of_everyone(kept, wanted)
        queries |= {("promoted", one.name): self._promoted(one, wanted) for one in wanted.promotions}
        found = dict(zip(queries, self._store.query(ITEMS, list(queries.values())) if queries else [], strict=True))
        lists = {name: points for name, points in kept.items() if points is not None}
        for (kind, name), points in found.items():
            if kind == "shared":
                self._shared.put(self._key(name, wanted), points)
            if kind == "own" or (kind == "shared" and ("own", name) not in queries):
                lists[name] = points
        space = None if wanted.profile is None else wanted.profile.space
        for name in wanted.plan.dense:  # the items may have gone into another space since the profile was read
            lists[name] = [one for one in lists[name] if one.payload.get("space", space) == space]
        taken = {name: _to_hits(points) for name, points in lists.items()}
        if wanted.plan.weights.get("people", 0.0) > 0 and wanted.profile is not None:
            taken["people"] = self._of_people(wanted, wanted.profile)
        candidates = merge_candidates(taken, wanted.depth, unscored=ORDERED)
        return RetrievedCandidates(
            candidates, [(one, _to_hits(found["promoted", one.name])) for one in wanted.promotions]
        )

    def seen(self, item_ids: Sequence[str], wanted: RetrievalRequest, condition: Filter) -> list[Hit]:
        """Return those of these items that may be shown again."""
        query = Query(OrderBy("listed_at"), len(item_ids), condition & only_items(item_ids), wanted.payload)
        return _to_hits(self._store.query(ITEMS, [query])[0])

    def any(self, condition: Filter) -> bool:
        """Whether anything at all passes."""
        return bool(self._store.query(ITEMS, [Query(OrderBy("listed_at"), 1, condition)])[0])

    def _personal(self, wanted: RetrievalRequest) -> dict[tuple[str, str], Query]:
        """The sources that depend on the person."""
        by: dict[str, Nearest] = {
            name: _nearest(vector, wanted.plan.distance) for name, vector in wanted.plan.dense.items()
        }
        affinity = wanted.plan.affinity
        if affinity is not None:
            by["affinity"] = Nearest(Sparse(affinity.indices, affinity.values), "affinity")
        queries = {("own", name): self._query(each, wanted, wanted.own) for name, each in by.items()}
        picture = wanted.plan.picture
        if picture is not None:
            nearest = Nearest(np.asarray(picture.vector, dtype=np.float32), "image")
            queries["own", "image"] = self._query(nearest, wanted, wanted.own & with_ready_image(picture.space))
        return queries

    def _of_everyone(
        self, kept: Mapping[str, Sequence[Scored] | None], wanted: RetrievalRequest
    ) -> dict[tuple[str, str], Query]:
        """What is popular, trending, new: found for all who ask alike, and for this person alone where that would not
        do: where hidden items leave too few, or may do so."""
        queries = {}
        for name, points in kept.items():
            order = self._order(name)
            if points is None and not wanted.is_pooled:
                queries["shared", name] = self._query(order, wanted, wanted.shared)
            if wanted.is_pooled or (wanted.hidden and (points is None or _is_mostly_hidden(points, wanted))):
                queries["own", name] = self._query(order, wanted, wanted.own)
        return queries

    def _kept(self, name: str, wanted: RetrievalRequest) -> list[Scored] | None:
        return None if wanted.is_pooled else self._shared.fresh(self._key(name, wanted))

    def _query(self, by: Nearest | OrderBy, wanted: RetrievalRequest, condition: Filter) -> Query:
        return Query(by, wanted.depth, condition, wanted.payload, wanted.vectors)

    def _order(self, name: str) -> OrderBy:
        return OrderBy(ORDERED[name].format(window=self._settings.trending_window))

    def _key(self, name: str, wanted: RetrievalRequest) -> tuple[Any, ...]:
        return (name, wanted.asked, wanted.depth, wanted.payload, wanted.with_vectors)

    def _promoted(self, promotion: ActivePromotion, wanted: RetrievalRequest) -> Query:
        """The promotion's items, those first that are closest to the person, or else the newest."""
        condition = wanted.own & promotion.filter
        nearest = wanted.plan.closest
        if nearest is None:
            return self._query(OrderBy("listed_at"), wanted, condition)
        by = _nearest(wanted.plan.dense[nearest], wanted.plan.distance)
        return self._query(by, wanted, condition)

    def _of_people(self, wanted: RetrievalRequest, profile: Profile) -> list[Hit]:
        """What the people with the most similar history chose lately: the sum of their likenesses, by item.

        Those with the nearest sparse `history`. Two more queries.
        """
        history = Nearest(Sparse(*profile.history()), "history")
        others = Filter(must_not=(HasId((person_point_id(profile.person),)), IsEmpty("person")))
        near = self._store.query(PROFILES, [Query(history, SIMILAR_PEOPLE, others, ("state",))])[0]
        neighbours = ((stored_recents(point.payload), point.score) for point in near)
        best = dict(score_by_neighbours(neighbours, wanted.hidden.__contains__)[: 2 * wanted.depth])
        if not best:
            return []
        listed = replace(self._query(OrderBy("listed_at"), wanted, wanted.own & only_items(best)), limit=len(best))
        found = [one._replace(score=best[one.item_id]) for one in _to_hits(self._store.query(ITEMS, [listed])[0])]
        return sorted(found, key=lambda one: (-one.score, one.item_id))[: wanted.depth]


def _nearest(vector: Vector, distance: Distance) -> Nearest:
    return Nearest(np.asarray(vector, dtype=np.float32), "content", distance)


def _is_mostly_hidden(shared: Sequence[Scored], wanted: RetrievalRequest) -> bool:
    """Whether hidden items leave less than half of a list that everyone shares."""
    hidden = sum(point.payload["item_id"] in wanted.hidden for point in shared)
    return 2 * hidden >= max(1, len(shared))


def _to_hits(points: Sequence[Scored]) -> list[Hit]:
    return [
        Hit(str(point.payload["item_id"]), point.score, point.payload, _dense(point.vectors.get("content")))
        for point in points
    ]


def _dense(vector: Any) -> Any:
    return None if vector is None or isinstance(vector, Sparse) else vector
