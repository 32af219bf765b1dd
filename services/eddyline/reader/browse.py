"""What can be looked at without being anyone: an item, items like it, its audience, what is trending, what is new."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from eddyline.adapters.vectors import (
    ITEMS,
    PROFILES,
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
    Scored,
    Sparse,
    Vector,
    VectorStore,
    cosine_or_zero,
)
from eddyline.errors import NotFound, Unavailable
from eddyline.model.decay import add_to_decayed_count, decayed_count_at
from eddyline.model.distance import distance_of
from eddyline.model.events import Content
from eddyline.model.filters import excluding_items, parse_filter, servable_items
from eddyline.model.fusion import fuse_scores
from eddyline.model.ids import Person, item_dimension, item_point_id
from eddyline.model.trends import trend_tau
from eddyline.reader.browse_requests import AudienceQuery, SimilarQuery, TrendingQuery
from eddyline.reader.cursor import parse_cursor, request_fingerprint
from eddyline.reader.generation_retry import retry_on_generation_change
from eddyline.reader.list_cache import ListCache
from eddyline.reader.lists import (
    DISPLAY,
    END,
    FILTERED,
    NO_ITEMS,
    ListContext,
    ListEntry,
    explained_entries,
    list_entries,
    unexpired,
)
from eddyline.reader.pictures import with_ready_image
from eddyline.reader.schemas import ListQuery
from eddyline.settings import Settings

FEWEST_TRENDING = 0.05
"""Decayed count under which an item isn't trending: one event some four half-lives ago."""
BLENDED = 100
"""Items of each source that are blended into one list, beyond what paging needs."""
EDITIONS = 20
"""Items beyond what a list needs that are looked at first, since some may be as good as the same."""
IMAGE_STATE = ("state", "reason", "message", "url", "attempts", "space", "at")
"""What is said of an item's image."""
CONTENT, AFFINITY, PICTURE = "content", "affinity", "picture"
BECAUSE = {CONTENT: "similar to {}", PICTURE: "looks like {}", AFFINITY: "people went on to it from {}"}

NO_NEIGHBOUR = "there is no other item to show yet"
NOBODY_WENT_ON = "nobody has gone on from this item to another yet"
NOTHING_TRENDS = "nobody has chosen anything lately; a longer window may have something"
NOBODY_HAS_IT = "nobody has this item in their recent history"
NOBODY_SUCH = "nobody who has it in their recent history is in such a segment, or was active within this time"


class Browse:
    """Lists that are not one person's. Every method may be called from any thread. `clock` in epoch seconds."""

    def __init__(self, store: VectorStore, settings: Settings, shared: ListCache, clock: Callable[[], float]) -> None:
        self._store, self._settings, self._shared, self._clock = store, settings, shared, clock

    def item(self, item_id: str) -> dict[str, Any]:
        """An item's full state, as PUT takes it. Raises `NotFound`."""
        payload = self._item_payload(item_id)
        offer = {name: value for name, value in payload["offer"].items() if name in ("available", "price")}
        content = Content(item_id=item_id, **{**payload["meta"], **offer})
        state = content.model_dump(mode="json", exclude_none=True, exclude={"v", "timestamp"})
        image = payload.get("image") or {}
        shown = {name: image[name] for name in IMAGE_STATE if name in image and image["state"] != "none"}
        return state | _detected_language(payload) | ({"image": shown} if shown else {})

    def _item_payload(self, item_id: str) -> Mapping[str, Any]:
        point_id = item_point_id(item_id)
        point = self._store.retrieve(ITEMS, [point_id], payload=("meta", "offer", "language", "image")).get(point_id)
        if point is None or "meta" not in point.payload:
            raise _no_such_item(item_id)
        return point.payload

    # -- what goes with an item ---------------------------------------------------------------------------------

    def similar(self, item_id: str, query: SimilarQuery) -> dict[str, Any]:
        """The items that go with one, by content, by what people went on to, or both. Raises `NotFound`."""
        return retry_on_generation_change(lambda: self._similar(item_id, query))

    def _similar(self, item_id: str, query: SimilarQuery) -> dict[str, Any]:
        point_id = item_point_id(item_id)
        picture_share = self._settings.reader.similar_image_share if self._settings.images.enabled else 0.0
        vectors = ("content", "image") if picture_share else ("content",)
        asked = self._store.retrieve(ITEMS, [point_id], payload=("meta.title", "image", "space"), vectors=vectors)
        point = asked.get(point_id)
        if point is None or "content" not in point.vectors:
            raise _no_such_item(item_id)
        listing = self._listing(("similar", item_id, query.relation), query, frozenset({item_id}))
        to_it = Nearest(point.vectors["content"], "content", distance_of(point.payload.get("space")))
        content = Query(to_it, listing.depth, listing.condition, DISPLAY)
        went_on = Query(Nearest(_item_dimension(item_id), "affinity"), listing.depth, listing.condition, DISPLAY)
        title = point.payload["meta"]["title"]
        because = {source: sentence.format(title) for source, sentence in BECAUSE.items()}
        own = excluding_items({item_id})
        if query.relation == "complement":
            found, editions = self._complements(went_on, point.vectors["content"])
            answer = listing.page(explained_entries(found, AFFINITY, because[AFFINITY]), query.explain)
            return answer | self._why_empty(answer, listing, went_on.by, own & editions, NOBODY_WENT_ON)
        picture = self._like_picture(point, content) if query.relation == "substitute" else None
        if picture is not None:
            shares = {CONTENT: 1.0 - picture_share, PICTURE: picture_share}
            near = self._blended({CONTENT: content, PICTURE: picture}, shares, because)
        elif query.relation == "substitute":
            near = explained_entries(self._store.query(ITEMS, [content])[0], CONTENT, because[CONTENT])
        else:
            share = self._settings.reader.complement_share
            both = {CONTENT: content, AFFINITY: went_on}
            near = self._blended(both, {CONTENT: 1.0 - share, AFFINITY: share}, because)
        answer = listing.page(near, query.explain)
        return answer | self._why_empty(answer, listing, content.by, own, NO_NEIGHBOUR)

    def _complements(self, went_on: Query, content: Vector) -> tuple[list[Scored], Filter]:
        """Without what is as good as the same in content, since another edition is no complement; and that as a
        filter."""
        least, more = self._settings.reader.duplicate_similarity, EDITIONS
        while True:
            deep = replace(went_on, limit=went_on.limit + more, vectors=("content",))
            found = self._store.query(ITEMS, [deep])[0]
            same = {one.id for one in found if cosine_or_zero(content, one.vectors.get("content")) >= least}
            left = [one for one in found if one.id not in same]
            if len(left) >= went_on.limit or len(found) < deep.limit:
                return left[: went_on.limit], Filter(must_not=(HasId(tuple(sorted(same))),)) if same else Filter()
            more *= 4

    @staticmethod
    def _like_picture(point: Point, content: Query) -> Query | None:
        """The same list by what the item's picture shows; None where it has none, or pictures don't count."""
        image = point.payload.get("image") or {}
        if "image" not in point.vectors or image.get("state") != "ready":
            return None
        nearest = Nearest(point.vectors["image"], "image")
        return replace(content, by=nearest, filter=content.filter & with_ready_image(image["space"]))

    def _blended(
        self, queries: Mapping[str, Query], shares: Mapping[str, float], because: Mapping[str, str]
    ) -> list[ListEntry]:
        """Blended min-max (see `model.blending`): counts of people and similarities of two models have no unit in
        common."""
        depth = max(query.limit for query in queries.values()) + BLENDED
        deep = [replace(one, limit=depth) for one in queries.values()]
        found = dict(zip(queries, self._store.query(ITEMS, deep), strict=True))
        payloads = {point.id: point.payload for points in found.values() for point in points}
        floors = {source: points[-1].score for source, points in found.items() if len(points) == depth}
        if AFFINITY in queries:
            floors[AFFINITY] = 0.0
        blended = fuse_scores(
            {source: {point.id: point.score for point in points} for source, points in found.items()},
            shares,
            floors,
        )
        return [
            ListEntry(str(payloads[b.name]["item_id"]), b.score, payloads[b.name], b.terms, because[b.strongest])
            for b in blended
        ]

    def audience(self, item_id: str, query: AudienceQuery) -> dict[str, Any]:
        """The people in whose recent history the item weighs most. Raises `NotFound`."""
        self._item_payload(item_id)
        nearest = Nearest(_item_dimension(item_id), "history")
        there = Filter(must=(IsEmpty("stub_since"),), must_not=(IsEmpty("person"),))
        found = self._store.query(
            PROFILES, [Query(nearest, query.limit, there & self._among(query), payload=("person",))]
        )[0]
        people = []
        for point in found:
            person = Person.from_key(str(point.payload["person"]))
            name = "user_id" if person.kind == "u" else "anonymous_id"
            people.append({name: person.id, "score": round(point.score, 6)})
        if people:
            return {"people": people}
        anyone = self._store.query(PROFILES, [Query(nearest, 1, there)])[0]
        return {"people": [], "reason": NOBODY_SUCH if anyone else NOBODY_HAS_IT}

    def _among(self, query: AudienceQuery) -> Filter:
        wanted: list[Condition] = []
        if query.segment:
            wanted.append(Match("segment", tuple(query.segment)))
        if query.active_seconds is not None:
            wanted.append(Range("last_seen", gte=self._clock() - query.active_seconds))
        return Filter(must=tuple(wanted))

    # -- lists for everyone -------------------------------------------------------------------------------------

    def trending(self, query: TrendingQuery) -> dict[str, Any]:
        """What most people choose, within a window."""
        tau, now, field = trend_tau(query.window), self._clock(), f"trend.{query.window}"
        current = Filter(must=(Range(field, gte=add_to_decayed_count(None, FEWEST_TRENDING, now, tau)),))
        listing = self._listing(("trending", query.window), query)
        return self._ordered(
            listing, OrderBy(field), NOTHING_TRENDS, current, lambda logarithm: decayed_count_at(logarithm, now, tau)
        )

    def latest(self, query: ListQuery) -> dict[str, Any]:
        """The newest items."""
        return self._ordered(self._listing(("latest",), query), OrderBy("listed_at"), NO_ITEMS)

    def _ordered(
        self,
        listing: ListContext,
        by: OrderBy,
        nothing: str,
        also: Filter = Filter(),
        score: Callable[[float], float] = float,
    ) -> dict[str, Any]:
        """A list that is the same for everyone: shared for a moment, and kept for when the store doesn't answer."""
        key = (*listing.key, listing.depth)
        wanted = Query(by, listing.depth, listing.condition & also, DISPLAY)
        try:
            answer = listing.page(list_entries(self._shared.find(key, wanted), score))
            return answer | self._why_empty(answer, listing, by, also, nothing)
        except Unavailable:
            kept = self._shared.kept(key)
            if kept is None:
                raise
            return listing.page(list_entries(unexpired(kept.found, self._clock()), score), degraded=True)

    def _listing(self, kind: tuple[str, ...], query: ListQuery, exclude: frozenset[str] = frozenset()) -> ListContext:
        now = self._clock()
        wanted = parse_filter(query.grammar(), self._settings.attributes, now)
        position = parse_cursor(query.next, request_fingerprint(kind, query.grammar(), query.exclude), query.limit)
        excluded = exclude.union(query.exclude)
        return ListContext(
            (*kind, wanted, excluded), servable_items(now) & wanted & excluding_items(excluded), position
        )

    def _why_empty(
        self, answer: Mapping[str, Any], listing: ListContext, by: Nearest | OrderBy, own: Filter, nothing: str
    ) -> dict[str, str]:
        """The `reason` of an answer without items: `nothing`, unless there are some without the request's filter.
        `own`: the list's conditions whatever is asked."""
        if answer["items"]:
            return {}
        if listing.position.depth:
            return {"reason": END}
        any_item = Query(by, 1, servable_items(self._clock()) & own)
        return {"reason": FILTERED if self._store.query(ITEMS, [any_item])[0] else nothing}


def _detected_language(payload: Mapping[str, Any]) -> dict[str, Any]:
    """Apart from what is said, so that a PUT of the whole takes it for no more than it is."""
    language = payload.get("language") or {}
    return {"detected_language": language["code"]} if language.get("detected") else {}


def _no_such_item(item_id: str) -> NotFound:
    return NotFound(f"there is no item {item_id!r} (a new one is there a moment after it was accepted)")


def _item_dimension(item_id: str) -> Sparse:
    """Asks for whatever has this item in it, by how much."""
    return Sparse(np.asarray([item_dimension(item_id)], dtype=np.uint32), np.ones(1, dtype=np.float32))
