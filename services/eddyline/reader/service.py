"""The reader's answers: one profile look-up, one batched query, then pure ranking."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import structlog
from pydantic import ValidationError

from eddyline.adapters.telemetry import Metrics
from eddyline.adapters.vectors import (
    ITEMS,
    PROFILES,
    Filter,
    HasId,
    Nearest,
    OrderBy,
    Query,
    Range,
    Scored,
    Sparse,
    VectorStore,
)
from eddyline.errors import InvalidEvent, InvalidInput, NotFound, Unavailable
from eddyline.model.decay import count_at, count_in
from eddyline.model.events import Content, Interaction, explain, format_timestamp, strength, timely
from eddyline.model.filters import parse_filter, servable
from eddyline.model.ids import Person, dimension_of, item_point, person_point
from eddyline.model.profile import STORED_VECTORS, Deed, Profile, TimeConstants
from eddyline.model.ranking import (
    POPULARITY,
    Candidate,
    Ranked,
    RankOptions,
    Sources,
    rank,
    sources,
    trend_tau,
)
from eddyline.reader.listing import DISPLAY, Listing, line, unexpired
from eddyline.reader.paging import Page, mark, page
from eddyline.reader.requests import ListQuery, Recent, RecommendationRequest, TrendingQuery
from eddyline.settings import Settings

log = structlog.get_logger("reader")

VARIANT = "eddyline"
DEGRADED = "degraded"
POPULAR, NEW = "popular", "new"
CACHED_LISTS = 200
"""Most lists kept, of a few hundred items each."""
FEWEST_TRENDING = 0.05
"""Decayed count under which an item isn't trending: one event some four half-lives ago."""


@dataclass(frozen=True, slots=True)
class _Cached:
    """A list found for everyone alike, and when (monotonic seconds)."""

    at: float
    found: list[Scored]


class Reader:
    """The reading half. Every method may be called from any thread. `clock` in epoch seconds."""

    def __init__(
        self,
        store: VectorStore,
        settings: Settings,
        metrics: Metrics,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store, self._settings, self._metrics = store, settings, metrics
        self._clock, self._monotonic = clock, monotonic
        self._taus = TimeConstants.of(settings.profile)
        self._cache: dict[tuple[Any, ...], _Cached] = {}
        self._lock = threading.Lock()

    # -- recommendations ----------------------------------------------------------------------------------------

    def recommend(self, request: RecommendationRequest) -> dict[str, Any]:
        """A person's next items. Raises `InvalidInput`; `Unavailable` only when not even a cached list is there."""
        now = self._clock()
        wanted = parse_filter(request.filter, self._settings.attributes)
        person = _person(request)
        position = page(request.next, self._mark(request, person), request.limit)
        deeds = self._check_recent(request.recent, now)
        degraded = False
        try:
            ranked, cold = self._personal(request, person, wanted, position, deeds, now)
        except Unavailable as error:
            log.warning("answering from the cache", reason=str(error))
            ranked, cold, degraded = self._fallback(request, wanted, position, now), True, True
        self._metrics.recommendations.labels(str(cold).lower(), str(degraded).lower()).inc()
        return {
            "request_id": str(uuid.uuid4()),
            "variant": DEGRADED if degraded else VARIANT,
            "cold_start": cold,
            "degraded": degraded,
            "items": [
                _shown(place, position.depth + index, request.explain) for index, place in enumerate(ranked, start=1)
            ],
            "next": position.after(place.candidate.item_id for place in ranked),
        }

    def _mark(self, request: RecommendationRequest, person: Person | None) -> bytes:
        return mark(person and person.key, request.filter, request.exclude, request.hide)

    def _personal(
        self,
        request: RecommendationRequest,
        person: Person | None,
        wanted: Filter,
        position: Page,
        recent: Sequence[Interaction],
        now: float,
    ) -> tuple[list[Ranked], bool]:
        profile = self._profile(person)
        if recent:
            profile = self._with_recent(profile, recent, now)
        person_sources = sources(profile, now, self._taus, self._settings.ranking)
        hide = self._settings.reader.hide if request.hide is None else request.hide
        hidden = profile.hidden(hide) if profile else set()
        excluded = {*hidden, *request.exclude}
        condition = servable(now) & wanted & _without(excluded)
        depth = self._settings.ranking.candidates + position.depth
        candidates, floors = self._candidates(person_sources, condition, wanted, depth, now)
        options = RankOptions(
            now=now,
            settings=self._settings.ranking,
            limit=request.limit,
            floors=floors,
            exclude=excluded,
            excluded=position.has_served,
        )
        return rank(candidates, person_sources, options), person_sources.is_cold

    def _candidates(
        self, person: Sources, condition: Filter, wanted: Filter, depth: int, now: float
    ) -> tuple[list[Candidate], dict[str, float]]:
        """The union of all sources' lists, and each dense source's similarity at the end of its list."""
        queries = [
            Query(Nearest(np.asarray(vector, dtype=np.float32), "content"), depth, condition, DISPLAY)
            for vector in person.queries.values()
        ]
        lists = dict(zip(person.queries, self._store.query(ITEMS, queries) if queries else [], strict=True))
        similarity: dict[str, dict[str, float]] = {}
        payloads: dict[str, Mapping[str, Any]] = {}
        for name, found in lists.items():
            for point in found:
                payloads[point.id] = point.payload
                similarity.setdefault(point.id, {})[name] = point.score
        for point in self._for_everyone(condition, wanted, depth, now):
            payloads.setdefault(point.id, point.payload)
        floors = {name: found[-1].score for name, found in lists.items() if len(found) == depth}
        candidates = [
            Candidate(str(payload["item_id"]), similarity.get(point_id, {}), payload)
            for point_id, payload in payloads.items()
        ]
        return candidates, floors

    def _for_everyone(self, condition: Filter, wanted: Filter, depth: int, now: float) -> list[Scored]:
        """Popular and new items. They don't depend on the person, so they are found once for all who ask alike; where
        hidden items leave too few, they are looked for again without those."""
        orders = {POPULAR: OrderBy(f"trend.{POPULARITY}"), NEW: OrderBy("listed_at")}
        found: list[Scored] = []
        hidden = {point_id for one in condition.must_not if isinstance(one, HasId) for point_id in one.ids}
        for name, order in orders.items():
            shared = self._shared((name, wanted, depth), Query(order, depth, servable(now) & wanted, DISPLAY))
            left = [point for point in shared if point.id not in hidden]
            if len(left) < min(depth, len(shared)) // 2 + 1 and hidden:
                left = self._store.query(ITEMS, [Query(order, depth, condition, DISPLAY)])[0]
            found += left
        return found

    def _shared(self, key: tuple[Any, ...], query: Query) -> list[Scored]:
        """A list that is the same for everyone, reused for `reader.trending_cache_seconds`. Raises `Unavailable`."""
        at = self._monotonic()
        cached = self._kept(key)
        if cached is not None and at - cached.at < self._settings.reader.trending_cache_seconds:
            return cached.found
        found = self._store.query(ITEMS, [query])[0]
        with self._lock:
            self._cache[key] = _Cached(at, found)
            self._drop_stale(at)
        return found

    def _kept(self, key: tuple[Any, ...]) -> _Cached | None:
        """The list under this key, unless it is staler than may be served."""
        with self._lock:
            cached = self._cache.get(key)
        fresh = cached is not None and self._monotonic() - cached.at <= self._settings.reader.stale_seconds
        return cached if fresh else None

    def _drop_stale(self, at: float) -> None:
        stale = [k for k, c in self._cache.items() if at - c.at > self._settings.reader.stale_seconds]
        for key in stale:
            del self._cache[key]
        while len(self._cache) > CACHED_LISTS:
            del self._cache[next(iter(self._cache))]

    def _fallback(self, request: RecommendationRequest, wanted: Filter, position: Page, now: float) -> list[Ranked]:
        """What was popular, from the cache, under the same filter. Raises `Unavailable` when there is none."""
        with self._lock:
            lists = [(k, c) for k, c in self._cache.items() if k[:2] == (POPULAR, wanted)]
        fresh = [c for _, c in lists if self._monotonic() - c.at <= self._settings.reader.stale_seconds]
        if not fresh:
            raise Unavailable("the vector store doesn't answer, and no list is cached; try again")
        longest = max(fresh, key=lambda cached: len(cached.found))
        options = RankOptions(
            now=now,
            settings=self._settings.ranking,
            limit=request.limit,
            exclude=set(request.exclude),
            excluded=position.has_served,
        )
        everyone = Sources({}, sources(None, now, self._taus, self._settings.ranking).weights)
        left = unexpired(longest.found, now)
        candidates = [Candidate(str(point.payload["item_id"]), {}, point.payload) for point in left]
        return rank(candidates, everyone, options)

    # -- profiles -----------------------------------------------------------------------------------------------

    def _profile(self, person: Person | None) -> Profile | None:
        """Of an anonymous person who was identified: the user's."""
        if person is None:
            return None
        point_id = person_point(person)
        point = self._store.retrieve(PROFILES, [point_id], vectors=STORED_VECTORS).get(point_id)
        if point is None:
            return None
        profile = Profile.load(person, point.payload, point.vectors, self._settings.profile)
        return profile if profile.forward is None else self._profile(profile.forward)

    def _check_recent(self, recent: Sequence[Recent], now: float) -> list[Interaction]:
        """As interactions, their types and times checked. Raises `InvalidInput` naming the field."""
        events = []
        for index, one in enumerate(recent):
            try:
                event = Interaction(**one.model_dump(mode="python"), anonymous_id="inline", event_id=f"inline:{index}")
                strength(event, self._settings.events)
                events.append(event.model_copy(update={"timestamp": timely(event.timestamp, now)}))
            except InvalidEvent as error:
                raise InvalidInput(error.reason, f"recent.{index}.{error.field}") from None
            except ValidationError as error:
                reason, field = explain(error)
                raise InvalidInput(reason, f"recent.{index}.{field}") from None
        return events

    def _with_recent(self, profile: Profile | None, recent: Sequence[Interaction], now: float) -> Profile:
        """The profile as if these events had been folded already; unknown items are passed over."""
        folded = profile.copy() if profile else Profile(Person("a", "inline"), self._settings.profile)
        ids = {item_point(event.item_id): event.item_id for event in recent}
        points = self._store.retrieve(ITEMS, list(ids), payload=("space",), vectors=("content",))
        vectors = {ids[point_id]: point for point_id, point in points.items() if "space" in point.payload}
        for event in recent:
            point = vectors.get(event.item_id)
            if point is None or isinstance(vector := point.vectors.get("content"), Sparse | None):
                continue
            folded.accepts(str(point.payload["space"]))
            weight = strength(event, self._settings.events)
            at = now if event.timestamp is None else event.timestamp
            deed = Deed(
                event.item_id, event.type, np.asarray(vector, dtype=np.float64), weight, at, event.event_id or ""
            )
            folded.fold(deed, self._taus)
        return folded

    def person(self, user_id: str) -> dict[str, Any]:
        """What is known of a user. Raises `NotFound`."""
        profile = self._profile(Person("u", user_id))
        if profile is None or profile.is_blank:
            raise NotFound(f"nothing is known of user {user_id!r}")
        return {
            "user_id": user_id,
            "events": profile.events,
            "evidence": round(profile.evidence, 6),
            "last_seen": format_timestamp(profile.last_seen) if profile.last_seen else None,
            "recents": profile.recents.newest_first(),
            "onboarded": profile.onboarding is not None,
            "segment": profile.segment,
            "attributes": dict(profile.attributes),
            "waiting": len(profile.pending),
        }

    # -- items --------------------------------------------------------------------------------------------------

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
        wanted = parse_filter(query.grammar(), self._settings.attributes)
        position = page(query.next, mark(kind, query.grammar(), query.exclude), query.limit)
        excluded = exclude.union(query.exclude)
        condition = servable(self._clock()) & wanted & _without(excluded)
        return Listing((*kind, wanted, excluded), condition, position)

    def _ordered(
        self, listing: Listing, by: OrderBy, also: Filter = Filter(), score: Callable[[float], float] = float
    ) -> dict[str, Any]:
        """A list that is the same for everyone: shared for a moment, and kept for when the store doesn't answer."""
        key = (*listing.key, listing.depth)
        try:
            found = self._shared(key, Query(by, listing.depth, listing.condition & also, DISPLAY))
        except Unavailable:
            kept = self._kept(key)
            if kept is None:
                raise
            return listing.answer(unexpired(kept.found, self._clock()), score, degraded=True)
        return listing.answer(found, score)


def _person(request: RecommendationRequest) -> Person | None:
    if request.user_id is not None:
        return Person("u", request.user_id)
    return None if request.anonymous_id is None else Person("a", request.anonymous_id)


def _no_such_item(item_id: str) -> NotFound:
    return NotFound(f"there is no item {item_id!r} (a new one is there a moment after it was accepted)")


def _without(item_ids: Collection[str]) -> Filter:
    ids = tuple(item_point(item_id) for item_id in sorted(item_ids))
    return Filter(must_not=(HasId(ids),)) if ids else Filter()


def _shown(place: Ranked, position: int, explain: bool) -> dict[str, Any]:
    shown = line(place.candidate.item_id, position, place.score, place.candidate.payload)
    return shown | {"because": place.because, "scores": dict(place.terms)} if explain else shown
