"""The reader's answers: one profile look-up, one batched query, then pure ranking."""

from __future__ import annotations

import time
import uuid
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import structlog

from eddyline.adapters.telemetry import Metrics
from eddyline.adapters.vectors import Filter, VectorStore
from eddyline.errors import InvalidInput, Unavailable
from eddyline.model.events import Interaction
from eddyline.model.experiments.assignment import Assignment
from eddyline.model.filters import excluding_items, matcher, only_items, parse_filter, payload_paths, servable_items
from eddyline.model.ids import Person
from eddyline.model.profile import HOUR, MINUTE, Profile, TimeConstants
from eddyline.model.ranking import (
    Hit,
    RankedItem,
    RankOptions,
    RetrievalPlan,
    ScoreBoost,
    merge_candidates,
    plan_retrieval,
    rank,
    rank_options,
)
from eddyline.model.rules import (
    Adjustments,
    RuleSet,
    Situation,
    active_promotions,
    evaluate_rules,
    place_promotions,
    read_situation,
)
from eddyline.reader import inline_events as inline
from eddyline.reader.assignment import ActiveExperiments, AssignmentLookup, EffectiveStrategy, no_active_experiments
from eddyline.reader.browse import Browse
from eddyline.reader.cursor import Cursor, parse_cursor, request_fingerprint
from eddyline.reader.explanations import PROMOTED, REPEAT, Explainer
from eddyline.reader.exposure_log import ExposureLog
from eddyline.reader.generation_retry import retry_on_generation_change
from eddyline.reader.list_cache import ListCache
from eddyline.reader.lists import END, NO_ITEMS, render_item, unexpired
from eddyline.reader.people import ProfileReader
from eddyline.reader.recent_item_details import RecentItemDetails
from eddyline.reader.reporting import QueuedItem, QueuedList, ServedListLog
from eddyline.reader.retrieval import RetrievalRequest, RetrievedCandidates, Retriever
from eddyline.reader.schemas import RecommendationRequest
from eddyline.settings import Settings, StrategySettings

log = structlog.get_logger("reader")

DEGRADED = "degraded"
FILTERED = "no item passes the filter, exclude and candidates together"
HIDDEN = "everything that passes the filter was seen before (hide, strict), is excluded, or scores below min_score"


@dataclass(frozen=True, slots=True)
class RequestContext:
    """A request, read: what it is for and under which conditions. `now` in epoch seconds."""

    request: RecommendationRequest
    now: float
    person: Person | None
    position: Cursor
    wanted: Filter
    """The request's own filter."""
    boosts: tuple[tuple[ScoreBoost, tuple[str, ...]], ...]
    """Its boosts, each with the payload fields that it looks at."""
    recent: Sequence[Interaction]
    running: ActiveExperiments
    """The experiments, as they were when it came."""
    forced: Assignment | None
    """The variant that its header names."""


@dataclass(frozen=True, slots=True)
class Recommendation:
    """A place of the answer."""

    ranked: RankedItem
    promotion: str | None = None
    is_repeat: bool = False


@dataclass(frozen=True, slots=True)
class RankedList:
    """A list, and what it came from."""

    places: Sequence[Recommendation]
    strategy: str
    plan: RetrievalPlan
    is_cold: bool
    reason: str | None = None
    is_erased: bool = False
    """Do not report it: it would re-identify an erased user."""
    assignment: Assignment | None = None
    """The experiment's variant that it is of."""

    @property
    def variant(self) -> str:
        """The experiment's; without one, the strategy."""
        return self.strategy if self.assignment is None else self.assignment.variant


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
        shown: ExposureLog | None = None,
        impressions: ServedListLog | None = None,
        experiments: Callable[[], ActiveExperiments] = no_active_experiments,
    ) -> None:
        """`shown`, `impressions`: are told what was served to whom, for the profiles and for the measures; None: nobody
        is. `experiments`: tells which run now. Raises `Misconfigured` for a wrong rule."""
        self._store, self._settings, self._metrics = store, settings, metrics
        self._clock, self._monotonic = clock, monotonic
        self._shown, self._impressions, self._experiments = shown, impressions, experiments
        self._taus = TimeConstants.of(settings.profile)
        self._shared = ListCache(store, settings.reader, monotonic)
        self._details = RecentItemDetails(store)
        self._finder = Retriever(store, self._shared, settings.ranking)
        self._explainer = Explainer(store)
        self._rules = RuleSet.of(settings)
        self.people = ProfileReader(store, settings)
        self.assignments = AssignmentLookup(self.people, experiments, clock)
        self.browse = Browse(store, settings, self._shared, clock)

    def recommend(self, request: RecommendationRequest, variant: str | None = None) -> dict[str, Any]:
        """A person's next items; `variant`: one to force, as `<experiment>/<variant>`. Raises `InvalidInput`;
        `Unavailable` only when not even a cached list is there."""
        began = self._monotonic()
        asked = self._read(request, variant)
        degraded = False
        try:
            answer = retry_on_generation_change(lambda: self._personal(asked))
            because = self._because(answer) if request.explain else {}
        except Unavailable as error:
            log.warning("answering from the cache", reason=str(error))
            answer, because, degraded = self._fallback(asked), {}, True
        item_ids = [place.ranked.item_id for place in answer.places]
        self._metrics.recommendations.labels(str(answer.is_cold).lower(), str(degraded).lower()).inc()
        told = {
            "request_id": str(uuid.uuid4()),
            "experiment": answer.assignment and answer.assignment.experiment,
            "variant": DEGRADED if degraded else answer.variant,
            "strategy": answer.strategy,
            "cold_start": answer.is_cold,
            "degraded": degraded,
            "items": [
                _render(place, rank, because.get(place.ranked.item_id), request.explain)
                for rank, place in enumerate(answer.places, start=asked.position.depth + 1)
            ],
            "next": asked.position.after(item_ids),
        }
        is_external = answer.assignment is not None and answer.assignment.external  # then the app says what was shown
        if asked.person is not None and not answer.is_erased and not is_external:
            self._note(asked, asked.person, answer, told, self._monotonic() - began)
        return told if item_ids else told | {"reason": answer.reason}

    def _note(
        self, asked: RequestContext, person: Person, answer: RankedList, told: Mapping[str, Any], took: float
    ) -> None:
        """Tell the profiles and the measures what was served. `took`: seconds."""
        request, items, assignment = asked.request, told["items"], answer.assignment
        # Made ahead, it may never be seen; from the cache, it may be of someone who was erased; and it was the first
        # page that was looked at.
        if self._shown is not None and not (request.batch or told["degraded"] or asked.position.depth):
            self._shown.note(person, [one["item_id"] for one in items], request.anonymous_id)
        if self._impressions is None:
            return
        if told["degraded"]:  # nobody could be looked up: naming them could re-identify an erased user
            person = Person("a", told["request_id"])
        lines = [
            QueuedItem(
                one["item_id"], one["rank"], one["score"], one["category"], place.ranked.payload.get("listed_at")
            )
            for one, place in zip(items, answer.places, strict=True)
        ]
        self._impressions.note(
            QueuedList(
                told["request_id"],
                person,
                asked.now,
                took,
                lines,
                told["strategy"],
                told["variant"],
                told["experiment"],
                None if assignment is None else assignment.revision,
                None if assignment is None or assignment.unit == person.key else assignment.unit,
                session_id=None if told["degraded"] else request.session_id,
                surface=request.surface,
                is_forced=asked.forced is not None,
                is_batch=request.batch,
                is_degraded=told["degraded"],
            )
        )

    # -- reading the request ------------------------------------------------------------------------------------

    def _read(self, request: RecommendationRequest, variant: str | None) -> RequestContext:
        now, attributes = self._clock(), self._settings.attributes
        if request.strategy is not None and request.strategy not in self._settings.strategies:
            known = ", ".join(self._settings.strategies)
            raise InvalidInput(f"there is no strategy {request.strategy!r}; known are {known}", "strategy")
        wanted = parse_filter(request.filter, attributes, now)
        if request.candidates is not None:
            wanted &= only_items(request.candidates)
        boosts = []
        for index, one in enumerate(request.boost):
            try:
                chosen = parse_filter(one.filter, attributes, now)
            except InvalidInput as error:
                raise InvalidInput(error.reason, f"boost.{index}.{error.field}") from None
            boosts.append((ScoreBoost(matcher(chosen), one.factor), payload_paths(chosen)))
        person = Person.named(request.user_id, request.anonymous_id)
        position = parse_cursor(request.next, _request_fingerprint(request, person), request.limit)
        recent = inline.parse_recent(request.recent, self._settings, now)
        read_situation(self._rules, self._context(request), None, {}, now)  # a wrong time zone is refused at once
        running = self._experiments()
        return RequestContext(
            request, now, person, position, wanted, tuple(boosts), recent, running, running.forced(variant)
        )

    def _context(self, request: RecommendationRequest) -> dict[str, Any]:
        return dict(request.context) | ({} if request.surface is None else {"surface": request.surface})

    def _situation(self, asked: RequestContext, profile: Profile | None) -> Situation:
        segment, attributes = (None, {}) if profile is None else (profile.segment, profile.attributes)
        return read_situation(self._rules, self._context(asked.request), segment, attributes, asked.now)

    # -- answering it -------------------------------------------------------------------------------------------

    def _personal(self, asked: RequestContext) -> RankedList:
        profile = self.people.profile(asked.person)
        assignment = asked.forced or asked.running.assigned(asked.request, asked.person, profile, asked.now)
        if asked.recent:
            profile = inline.apply_recent(profile, asked.recent, self._store, self._settings, asked.now)
        where = self._situation(asked, profile)
        adjustments = evaluate_rules(self._rules, where)
        named = asked.request.strategy
        chosen = EffectiveStrategy.of(self._settings, asked.running, assignment, named, adjustments.strategy)
        planned = self._plan(asked, profile, chosen.strategy, adjustments)
        hidden = self._hidden(asked, profile)
        wanted = self._wanted(asked, planned, chosen.strategy, adjustments, profile, hidden)
        wanted = replace(wanted, promotions=active_promotions(self._rules, where))
        haul = self._finder.find(wanted)
        options = self._options(asked, planned, chosen, adjustments, profile, hidden)
        places = self._placed(asked, haul, planned, options)
        if len(places) < asked.request.limit and not asked.request.strict and profile is not None:
            places += self._repeats(asked, wanted, profile, places, options.per_category)
        reason = None if places else self._why_empty(asked, wanted)
        is_erased = profile is not None and profile.erased_at is not None and profile.is_unknown
        return RankedList(places, chosen.name, planned, planned.is_cold, reason, is_erased, assignment)

    def _plan(
        self, asked: RequestContext, profile: Profile | None, strategy: StrategySettings, adjustments: Adjustments
    ) -> RetrievalPlan:
        factors = adjustments.weights if self._settings.images.enabled else {**adjustments.weights, "image": 0.0}
        planned = plan_retrieval(profile, asked.now, self._taus, self._settings.ranking, strategy, factors)
        return self._details.add(planned)

    def _hidden(self, asked: RequestContext, profile: Profile | None) -> frozenset[str]:
        hide = self._settings.reader.hide if asked.request.hide is None else asked.request.hide
        return frozenset(profile.hidden(hide) if profile else ()) | frozenset(asked.request.exclude)

    def _wanted(
        self,
        asked: RequestContext,
        planned: RetrievalPlan,
        strategy: StrategySettings,
        adjustments: Adjustments,
        profile: Profile | None,
        hidden: frozenset[str],
    ) -> RetrievalRequest:
        request = asked.request
        shared = servable_items(asked.now) & asked.wanted
        seen = hidden.difference(request.exclude)
        diversity = strategy.diversity if request.diversity is None else request.diversity
        looked_at = [field for _, names in asked.boosts for field in names]
        return RetrievalRequest(
            planned,
            asked.wanted,
            shared,
            shared & excluding_items(request.exclude) & excluding_items(seen),
            self._settings.ranking.candidates + asked.position.depth,
            hidden,
            fields=(
                *adjustments.fields,
                *looked_at,
                *planned.fields,
                f"trend.{self._settings.ranking.trending_window}",
            ),
            with_vectors=diversity > 0,
            is_pooled=request.candidates is not None,
            profile=profile,
        )

    def _options(
        self,
        asked: RequestContext,
        planned: RetrievalPlan,
        chosen: EffectiveStrategy,
        adjustments: Adjustments,
        profile: Profile | None,
        hidden: frozenset[str],
    ) -> RankOptions:
        request, settings = asked.request, self._settings.ranking
        began = asked.now if profile is None else self._began(profile, asked.now)
        pause = settings.visit_pause_minutes * MINUTE
        varies = self._shown is None or profile is None or profile.is_unknown or profile.was_left_alone(pause, began)
        usual = rank_options(
            planned, chosen.strategy, settings, asked.now, request.limit, asked.person, request.session_id, varies
        )
        caps = [cap for cap in (request.per_category, chosen.per_category) if cap is not None]
        return replace(
            usual,
            exclude=hidden,
            excluded=asked.position.has_served,
            boosts=(
                *(ScoreBoost(one.matches, one.factor) for one in adjustments.boosts),
                *(boost for boost, _ in asked.boosts),
            ),
            fatigue={} if profile is None else profile.fatigue(began, began),
            diversity=usual.diversity if request.diversity is None else request.diversity,
            explore=usual.explore if request.explore is None else request.explore,
            per_category=min(caps, default=None),
            min_score=request.min_score,
        )

    def _began(self, profile: Profile, now: float) -> float:
        """When the visit began: what was shown counts as of then, so that a list holds still within it."""
        settings = self._settings.ranking
        pause, longest = settings.visit_pause_minutes * MINUTE, settings.rotation_hours * HOUR
        return profile.shown.visit_began(now, pause, longest)

    def _placed(
        self, asked: RequestContext, haul: RetrievedCandidates, planned: RetrievalPlan, options: RankOptions
    ) -> list[Recommendation]:
        """The ranked items, with the promotions' among them."""
        if not haul.promoted:
            return [Recommendation(one) for one in rank(haul.candidates, planned, options)]
        deeper = replace(options, limit=options.limit + sum(len(found) for _, found in haul.promoted))
        ranked = {one.item_id: one for one in rank(haul.candidates, planned, deeper)}
        by_itself, promoted = list(ranked), []
        for promotion, found in haul.promoted:
            table = merge_candidates({planned.closest or PROMOTED: found}, options.limit)
            listed = rank(table, planned, replace(deeper, min_score=None))
            for one in listed:
                ranked.setdefault(one.item_id, one)
            promoted.append((promotion, [one.item_id for one in listed]))
        order = place_promotions(by_itself, promoted, options.limit, asked.position.depth + 1)
        return [Recommendation(ranked[one.item_id], one.promotion) for one in order]

    def _repeats(
        self,
        asked: RequestContext,
        wanted: RetrievalRequest,
        profile: Profile,
        places: Sequence[Recommendation],
        per_category: int | None,
    ) -> list[Recommendation]:
        """What fills a short list: the items seen longest ago, under the same filter, never what is disliked. They
        score nothing, so there are none where a score is asked for."""
        if asked.request.min_score is not None and asked.request.min_score > 0:
            return []
        listed = {place.ranked.item_id for place in places}
        never = profile.hidden(("disliked",)) | set(asked.request.exclude) | listed
        times = {**profile.viewed.times, **profile.purchased.times}
        seen = [item for item in times if item not in never and not asked.position.has_served(item)]
        if not seen or wanted.hidden.isdisjoint(seen):
            return []
        found = self._finder.seen([item for item in seen if item in wanted.hidden], wanted, wanted.shared)
        oldest = sorted(found, key=lambda one: (times[one.item_id], one.item_id))
        repeats = [Recommendation(RankedItem(one.item_id, 0.0, one.payload), is_repeat=True) for one in oldest]
        return _within_category_cap(repeats, places, per_category)[: asked.request.limit - len(places)]

    def _why_empty(self, asked: RequestContext, wanted: RetrievalRequest) -> str:
        if asked.position.depth:
            return END
        if self._finder.any(wanted.shared):
            return HIDDEN
        return FILTERED if self._finder.any(servable_items(asked.now)) else NO_ITEMS

    def _because(self, answer: RankedList) -> dict[str, str | None]:
        sentences = self._explainer.sentences([place.ranked for place in answer.places], answer.plan)
        special: dict[str, str | None] = {place.ranked.item_id: REPEAT for place in answer.places if place.is_repeat}
        special |= {place.ranked.item_id: PROMOTED for place in answer.places if place.promotion is not None}
        return sentences | special

    # -- when the store doesn't answer --------------------------------------------------------------------------

    def _fallback(self, asked: RequestContext) -> RankedList:
        """What was popular, from the cache, under the same filter. Raises `Unavailable` when there is none."""
        kept = self._shared.longest("popularity", asked.wanted)
        if kept is None:
            raise Unavailable("the vector store doesn't answer, and no list is cached; try again")
        ranking = self._settings.ranking
        everyone = plan_retrieval(None, asked.now, self._taus, ranking, self._settings.strategies[ranking.strategy])
        left = [Hit(str(one.payload["item_id"]), one.score, one.payload) for one in unexpired(kept, asked.now)]
        options = RankOptions(
            now=asked.now,
            settings=ranking,
            limit=asked.request.limit,
            exclude=frozenset(asked.request.exclude),
            excluded=asked.position.has_served,
        )
        ranked = rank(
            merge_candidates({"popularity": left}, len(left) + 1, unscored=("popularity",)), everyone, options
        )
        return RankedList([Recommendation(one) for one in ranked], ranking.strategy, everyone, True, END)


_LIST = {
    "filter",
    "candidates",
    "exclude",
    "hide",
    "strict",
    "strategy",
    "boost",
    "diversity",
    "explore",
    "per_category",
    "min_score",
}
"""What makes it another list. What someone does meanwhile, and where they are, doesn't: a list goes on with it."""


def _request_fingerprint(request: RecommendationRequest, person: Person | None) -> bytes:
    return request_fingerprint(person and person.key, request.model_dump(mode="json", include=_LIST))


def _within_category_cap(
    more: Sequence[Recommendation], places: Sequence[Recommendation], per_category: int | None
) -> list[Recommendation]:
    """Without those whose category is full, counted with the places that there are."""
    if per_category is None:
        return list(more)
    taken = Counter(_category(place) for place in places)
    fitting = []
    for place in more:
        category = _category(place)
        taken[category] += 1
        if category is None or taken[category] <= per_category:
            fitting.append(place)
    return fitting


def _category(place: Recommendation) -> str | None:
    category: str | None = place.ranked.payload.get("meta", {}).get("category")
    return category


def _render(place: Recommendation, rank: int, because: str | None, explain: bool) -> dict[str, Any]:
    shown = render_item(place.ranked.item_id, rank, place.ranked.score, place.ranked.payload)
    if explain:
        shown |= {"because": because, "scores": dict(place.ranked.terms)}
    if place.is_repeat:
        shown["repeat"] = True
    if place.promotion is not None:
        shown["promotion"] = place.promotion
    return shown
