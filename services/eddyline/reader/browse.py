"""What isn't one person's: an item, items like it, its audience, what is trending, what is new."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from eddyline.adapters.vectors import (
    ITEMS,
    PROFILES,
    ROWS,
    Condition,
    Filter,
    HasId,
    IsEmpty,
    Match,
    Nearest,
    OrderBy,
    Point,
    Query,
    Range,
    Sparse,
    Vector,
    VectorStore,
    cosine_or_zero,
)
from eddyline.errors import NotFound, Unavailable
from eddyline.model.decay import add_to_decayed_count, decayed_count_at
from eddyline.model.distance import distance_of
from eddyline.model.events import Content, parse_duration
from eddyline.model.filters import excluding_items
from eddyline.model.fusion import fuse_lists
from eddyline.model.ids import Person, item_dimension, item_point_id
from eddyline.model.ranking import Hit, RankedItem
from eddyline.model.trends import trend_tau
from eddyline.reader.item_finder import ItemFinder, to_hits
from eddyline.reader.lists import (
    FUSED,
    NO_ITEMS,
    ListContext,
    explain_by_source,
    single_source_items,
    with_ready_image,
)
from eddyline.reader.profiles import retry_on_generation_change
from eddyline.reader.schemas import AudienceQuery, ListQuery, SimilarQuery, TrendingQuery
from eddyline.settings import Settings

MIN_TRENDING = 0.05
"""Decayed count under which an item isn't trending: one event some four half-lives ago."""
EXTRA_COMPLEMENTS = 20
"""Items beyond what a list needs that are read first, since some may be as good as the same."""
IMAGE_FIELDS = ("state", "reason", "message", "url", "attempts", "space", "at")
"""What is shown of an item's image."""
CONTENT, AFFINITY, IMAGE = "content", "affinity", "picture"
"""The sources of similar items, as explanations call them."""
BECAUSE = {CONTENT: "similar to {}", IMAGE: "looks like {}", AFFINITY: "people went on to it from {}"}

NO_NEIGHBOUR = "there is no other item to show yet"
NOBODY_WENT_ON = "nobody has gone on from this item to another yet"
NOTHING_TRENDS = "nobody has chosen anything lately; a longer window may have something"
NOBODY_HAS_IT = "nobody has this item in their recent history"
NOBODY_SUCH = "nobody who has it in their recent history is in such a segment, or was active within this time"


class Browse:
    """Lists that are not one person's. Every method may be called from any thread. `clock` in epoch seconds."""

    def __init__(self, store: VectorStore, settings: Settings, finder: ItemFinder, clock: Callable[[], float]) -> None:
        self._store, self._settings, self._finder, self._clock = store, settings, finder, clock

    def item(self, item_id: str) -> dict[str, Any]:
        """Return an item's full state, as PUT takes it. Raises `NotFound`."""
        payload = self._item_payload(item_id)
        offer = {name: value for name, value in payload["offer"].items() if name in ("available", "price")}
        content = Content(item_id=item_id, **{**payload["meta"], **offer})
        state = content.model_dump(mode="json", exclude_none=True, exclude={"v", "timestamp"})
        image = payload.get("image") or {}
        shown = {name: image[name] for name in IMAGE_FIELDS if name in image and image["state"] != "none"}
        return state | _detected_language(payload) | ({"image": shown} if shown else {})

    def _item_payload(self, item_id: str) -> Mapping[str, Any]:
        point_id = item_point_id(item_id)
        point = self._store.retrieve(ITEMS, [point_id], payload=("meta", "offer", "language", "image")).get(point_id)
        if point is None or "meta" not in point.payload:
            raise _no_such_item(item_id)
        return point.payload

    # -- what goes with an item ---------------------------------------------------------------------------------

    def similar(self, item_id: str, query: SimilarQuery) -> dict[str, Any]:
        """Return the items that go with one, by content, by what people went on to, or both. Raises `NotFound`."""
        return retry_on_generation_change(lambda: self._similar(item_id, query), self._finder.catalogue.clear)

    def _similar(self, item_id: str, query: SimilarQuery) -> dict[str, Any]:
        point_id, settings = item_point_id(item_id), self._settings.reader
        image_share = settings.similar_image_share if self._settings.images.enabled else 0.0
        vectors = ("content", "image") if image_share else ("content",)
        read = self._store.retrieve(ITEMS, [point_id], payload=("meta.title", "image", "space"), vectors=vectors)
        point = read.get(point_id)
        if point is None or "content" not in point.vectors:
            raise _no_such_item(item_id)
        kind = ("similar", item_id, query.relation)
        context = ListContext.from_query(kind, query, self._settings, self._clock(), frozenset({item_id}))
        to_item = Nearest(point.vectors["content"], "content", distance_of(point.payload.get("space")))
        content = Query(to_item, context.depth, context.filter)
        went_on = Query(Nearest(_item_dimension(item_id), "affinity"), context.depth, context.filter)
        because = {source: sentence.format(point.payload["meta"]["title"]) for source, sentence in BECAUSE.items()}
        own = excluding_items({item_id})
        if query.relation == "complement":
            hits, no_duplicates = self._complements(context, went_on, point.vectors["content"])
            items = explain_by_source(single_source_items(hits, AFFINITY), because)
            response = context.page(items, query.explain)
            own &= no_duplicates
            return context.with_reason(response, self._finder, ROWS, went_on.by, own, NOBODY_WENT_ON)
        if query.relation == "any":
            items = self._fuse(context, content, AFFINITY, went_on, settings.complement_share)
        else:
            items = self._fuse(context, content, IMAGE, self._image_query(point, content), image_share)
        response = context.page(explain_by_source(items, because), query.explain)
        return context.with_reason(response, self._finder, ITEMS, content.by, own, NO_NEIGHBOUR)

    def _complements(self, context: ListContext, went_on: Query, content: Vector) -> tuple[list[Hit], Filter]:
        """Search without what is as good as the same in content, since another edition is no complement; return that
        as a filter too."""
        max_similarity, extra = self._settings.reader.duplicate_similarity, EXTRA_COMPLEMENTS
        while True:
            limit = went_on.limit + extra
            found = self._finder.search_one(ROWS, replace(went_on, limit=limit))
            known = self._finder.catalogue.find((one.id for one in found), context.passes, vectors=("content",))
            same = {
                item.point_id
                for item in known.values()
                if cosine_or_zero(content, item.vectors["content"]) >= max_similarity
            }
            left = to_hits((one for one in found if one.id not in same), known)
            if len(left) >= went_on.limit or len(found) < limit:
                return left[: went_on.limit], Filter(must_not=(HasId(tuple(sorted(same))),)) if same else Filter()
            extra *= 4

    @staticmethod
    def _image_query(point: Point, content: Query) -> Query | None:
        """Search for the same list by what the item's image shows; None where it has none, or images don't count."""
        image = point.payload.get("image") or {}
        if "image" not in point.vectors or image.get("state") != "ready":
            return None
        nearest = Nearest(point.vectors["image"], "image")
        return replace(content, by=nearest, filter=content.filter & with_ready_image(image["space"]))

    def _fuse(
        self, context: ListContext, content: Query, source: str, query: Query | None, share: float
    ) -> list[RankedItem]:
        """Fuse what is close in content with another source, where there is one: counts of people and similarities of
        two models have no unit in common."""
        if query is None:
            return single_source_items(self._finder.fill(ITEMS, content, context.passes), CONTENT)
        depth = content.limit + FUSED
        deep, other = {CONTENT: replace(content, limit=depth)}, {source: replace(query, limit=depth)}
        found = self._finder.search(deep, other) if source == AFFINITY else self._finder.search(deep | other, {})
        known = self._finder.catalogue.find((point.id for each in found.values() for point in each), context.passes)
        lists = {name: to_hits(each, known) for name, each in found.items()}
        floors = {AFFINITY: 0.0} if source == AFFINITY else {}
        return fuse_lists(lists, {CONTENT: 1.0 - share, source: share}, depth, floors)

    def audience(self, item_id: str, query: AudienceQuery) -> dict[str, Any]:
        """Return the people in whose recent history the item weighs most. Raises `NotFound`."""
        self._item_payload(item_id)
        nearest = Nearest(_item_dimension(item_id), "history")
        people_only = Filter(must=(IsEmpty("stub_since"),), must_not=(IsEmpty("person"),))
        given = people_only & self._audience_filter(query)
        found = self._store.query(PROFILES, [Query(nearest, query.limit, given, payload=("person",))])[0]
        people = []
        for point in found:
            person = Person.from_key(str(point.payload["person"]))
            name = "user_id" if person.kind == "u" else "anonymous_id"
            people.append({name: person.id, "score": round(point.score, 6)})
        if people:
            return {"people": people}
        anyone = self._store.query(PROFILES, [Query(nearest, 1, people_only)])[0]
        return {"people": [], "reason": NOBODY_SUCH if anyone else NOBODY_HAS_IT}

    def _audience_filter(self, query: AudienceQuery) -> Filter:
        conditions: list[Condition] = []
        if query.segment:
            conditions.append(Match("segment", tuple(query.segment)))
        if query.active_within is not None:
            conditions.append(Range("last_seen", gte=self._clock() - parse_duration(query.active_within)))
        return Filter(must=tuple(conditions))

    # -- lists for everyone -------------------------------------------------------------------------------------

    def trending(self, query: TrendingQuery) -> dict[str, Any]:
        """Return what most people choose, within a window."""
        tau, field = trend_tau(query.window), f"trend.{query.window}"
        context = ListContext.from_query(("trending", query.window), query, self._settings, self._clock())
        current = Filter(must=(Range(field, gte=add_to_decayed_count(None, MIN_TRENDING, context.now, tau)),))
        count = partial(decayed_count_at, now=context.now, tau=tau)
        return self._for_everyone(context, ROWS, OrderBy(field), NOTHING_TRENDS, current, count)

    def latest(self, query: ListQuery) -> dict[str, Any]:
        """Return the newest items."""
        context = ListContext.from_query(("latest",), query, self._settings, self._clock())
        return self._for_everyone(context, ITEMS, OrderBy("listed_at"), NO_ITEMS)

    def _for_everyone(
        self,
        context: ListContext,
        collection: str,
        by: OrderBy,
        otherwise: str,
        also: Filter = Filter(),
        score: Callable[[float], float] = float,
    ) -> dict[str, Any]:
        """Return a list that is the same for everyone: shared for a moment, and kept for when the store doesn't
        answer."""
        finder, query = self._finder, Query(by, context.depth, context.filter & also)
        try:
            hits = finder.fill(collection, query, context.passes, shared_as=context.key)
            response = context.page(single_source_items(hits, by.field, score))
            return context.with_reason(response, finder, collection, by, also, otherwise)
        except Unavailable:
            stale = finder.find_stale(*context.key, passes=context.passes)
            if stale is None:
                raise
            return context.page(single_source_items(stale, by.field, score), degraded=True)


def _detected_language(payload: Mapping[str, Any]) -> dict[str, Any]:
    """Keep a detected language apart, so that a PUT of the whole doesn't take it for given."""
    language = payload.get("language") or {}
    return {"detected_language": language["code"]} if language.get("detected") else {}


def _no_such_item(item_id: str) -> NotFound:
    return NotFound(f"there is no item {item_id!r} (a new one is there a moment after it was accepted)")


def _item_dimension(item_id: str) -> Sparse:
    """Build the query for whatever has this item in it, by how much."""
    return Sparse(np.asarray([item_dimension(item_id)], dtype=np.uint32), np.ones(1, dtype=np.float32))
