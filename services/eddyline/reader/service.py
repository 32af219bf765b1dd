"""The reader's answers: one profile look-up, one batched query, then pure ranking."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import structlog
from pydantic import ValidationError

from eddyline.adapters.telemetry import Metrics
from eddyline.adapters.vectors import (
    ITEMS,
    Filter,
    HasId,
    Nearest,
    OrderBy,
    Query,
    Scored,
    Sparse,
    VectorStore,
)
from eddyline.errors import InvalidEvent, InvalidInput, Unavailable
from eddyline.model.events import Interaction, explain, strength, timely
from eddyline.model.filters import parse_filter, servable
from eddyline.model.ids import Person, item_point
from eddyline.model.profile import Deed, Profile, TimeConstants
from eddyline.model.ranking import (
    POPULARITY,
    Candidate,
    Ranked,
    RankOptions,
    Sources,
    rank,
    sources,
)
from eddyline.reader.browse import Browse
from eddyline.reader.listing import DISPLAY, line, unexpired, without
from eddyline.reader.paging import Page, mark, page
from eddyline.reader.people import People
from eddyline.reader.requests import Recent, RecommendationRequest
from eddyline.reader.shared import SharedLists
from eddyline.reader.shown import ShownLog
from eddyline.settings import Settings

log = structlog.get_logger("reader")

VARIANT = "eddyline"
DEGRADED = "degraded"
POPULAR, NEW = "popular", "new"


class Reader:
    """The reading half: recommendations, and with `browse` and `people` what else can be asked.

    Every method may be called from any thread. `clock` in epoch seconds.
    """

    def __init__(
        self,
        store: VectorStore,
        settings: Settings,
        metrics: Metrics,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        shown: ShownLog | None = None,
    ) -> None:
        """`shown`: is told what was served to whom; None: nobody is."""
        self._store, self._settings, self._metrics = store, settings, metrics
        self._clock, self._shown = clock, shown
        self._taus = TimeConstants.of(settings.profile)
        self._shared = SharedLists(store, settings.reader, monotonic)
        self.people = People(store, settings)
        self.browse = Browse(store, settings, self._shared, clock)

    def recommend(self, request: RecommendationRequest) -> dict[str, Any]:
        """A person's next items. Raises `InvalidInput`; `Unavailable` only when not even a cached list is there."""
        now = self._clock()
        wanted = parse_filter(request.filter, self._settings.attributes, now)
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
        profile = self.people.profile(person)
        if recent:
            profile = self._with_recent(profile, recent, now)
        person_sources = sources(profile, now, self._taus, self._settings.ranking)
        hide = self._settings.reader.hide if request.hide is None else request.hide
        hidden = profile.hidden(hide) if profile else set()
        excluded = {*hidden, *request.exclude}
        condition = servable(now) & wanted & without(excluded)
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
            shared = self._shared.find((name, wanted, depth), Query(order, depth, servable(now) & wanted, DISPLAY))
            left = [point for point in shared if point.id not in hidden]
            if len(left) < min(depth, len(shared)) // 2 + 1 and hidden:
                left = self._store.query(ITEMS, [Query(order, depth, condition, DISPLAY)])[0]
            found += left
        return found

    def _fallback(self, request: RecommendationRequest, wanted: Filter, position: Page, now: float) -> list[Ranked]:
        """What was popular, from the cache, under the same filter. Raises `Unavailable` when there is none."""
        kept = self._shared.longest(POPULAR, wanted)
        if kept is None:
            raise Unavailable("the vector store doesn't answer, and no list is cached; try again")
        options = RankOptions(
            now=now,
            settings=self._settings.ranking,
            limit=request.limit,
            exclude=set(request.exclude),
            excluded=position.has_served,
        )
        everyone = Sources({}, sources(None, now, self._taus, self._settings.ranking).weights)
        left = unexpired(kept, now)
        candidates = [Candidate(str(point.payload["item_id"]), {}, point.payload) for point in left]
        return rank(candidates, everyone, options)

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


def _person(request: RecommendationRequest) -> Person | None:
    if request.user_id is not None:
        return Person("u", request.user_id)
    return None if request.anonymous_id is None else Person("a", request.anonymous_id)


def _shown(place: Ranked, position: int, explain: bool) -> dict[str, Any]:
    shown = line(place.candidate.item_id, position, place.score, place.candidate.payload)
    return shown | {"because": place.because, "scores": dict(place.terms)} if explain else shown
