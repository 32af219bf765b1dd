"""Recommendations: one profile look-up, a batch of queries to items and one to rows side by side, then pure ranking.

What is ranked by may be seconds old; what is on the list in the end is looked at again (`catalogue_cache`).
"""

from __future__ import annotations

import time
import uuid
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from heapq import nlargest
from typing import Any

import structlog

from eddyline.adapters.telemetry import Metrics
from eddyline.adapters.vectors import VectorStore
from eddyline.errors import InvalidInput, Unavailable
from eddyline.model.decay import HOUR, MINUTE
from eddyline.model.experiments.assignment import Assignment
from eddyline.model.filters import excluding_items, servable_items
from eddyline.model.ids import Person, item_point_id
from eddyline.model.profile import TimeConstants
from eddyline.model.ranking import (
    RankedItem,
    RankOptions,
    merge_candidates,
    order_depth,
    plan_retrieval,
    rank,
    rank_options,
    search_depth,
)
from eddyline.model.rules import RuleSet, active_promotions, evaluate_rules, place_promotions
from eddyline.reader.browse import Browse
from eddyline.reader.catalogue_cache import passing
from eddyline.reader.experiments import ActiveExperiments, EffectiveStrategy
from eddyline.reader.explanations import PROMOTED, explain_items
from eddyline.reader.item_finder import ItemFinder
from eddyline.reader.learned_weights import LearnedWeights
from eddyline.reader.lists import END, NO_ITEMS, render_items
from eddyline.reader.profiles import ProfileReader, apply_inline_events, retry_on_generation_change
from eddyline.reader.reporting import ExposureLog, ServedListLog
from eddyline.reader.request_context import MAX_FILTERED, EffectiveRequest, RequestContext
from eddyline.reader.retrieval import RetrievedCandidates, Retriever
from eddyline.reader.schemas import AssignmentQuery, RecommendationRequest
from eddyline.settings import Settings

log = structlog.get_logger("reader")

DEGRADED = "degraded"
FILTERED = "no item passes the filter, exclude and candidates together"
HIDDEN = "everything that passes the filter was seen before (hide, strict), is excluded, or scores below min_score"
MOST_REPEATS = 100
"""Items to look up first, of those that may fill a short list: as many as a list can take, and mostly enough."""
NO_EXPERIMENT = {"experiment": None, "variant": None, "revision": None, "external": False}
"""The assignment of someone who is in no experiment."""


@dataclass(frozen=True, slots=True)
class RankedList:
    """A list, and how it was made. `reason`: where it is empty, why."""

    items: Sequence[RankedItem]
    strategy: str
    is_cold: bool
    reason: str | None = None
    is_erased: bool = False
    """Do not report it: it would re-identify an erased user."""
    assignment: Assignment | None = None
    """The experiment's variant that it is of."""
    is_degraded: bool = False
    """It comes from the cache."""

    @property
    def variant(self) -> str:
        """The experiment's variant; without one, the strategy, or `degraded`."""
        if self.is_degraded:
            return DEGRADED
        return self.strategy if self.assignment is None else self.assignment.variant


class Reader:
    """Recommendations and assignments, and with `browse` and `profiles` what else can be read.

    Every method may be called from any thread. `clock` in epoch seconds.
    """

    def __init__(
        self,
        store: VectorStore,
        settings: Settings,
        metrics: Metrics,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        exposures: ExposureLog | None = None,
        served_lists: ServedListLog | None = None,
        experiments: Callable[[], ActiveExperiments] = ActiveExperiments,
    ) -> None:
        """`exposures`, `served_lists`: where to report what was served to whom, for the profiles and for the measures;
        None: nowhere. `experiments`: returns those that run now. Raises `Misconfigured` for a wrong rule."""
        self._store, self._settings, self._metrics = store, settings, metrics
        self._clock, self._monotonic = clock, monotonic
        self._exposures, self._served_lists, self._experiments = exposures, served_lists, experiments
        self._strategies = LearnedWeights(store, settings.strategies, metrics, monotonic)
        self._taus = TimeConstants.from_settings(settings.profile)
        self._rules = RuleSet.from_settings(settings)
        self.finder = ItemFinder(store, settings.reader, metrics, monotonic)
        self._retriever = Retriever(store, self.finder, settings.ranking)
        self.profiles = ProfileReader(store, settings)
        self.browse = Browse(store, settings, self.finder, clock)

    def close(self) -> None:
        """Let go of its threads. It can't be used after."""
        self.finder.close()

    def strategies(self) -> dict[str, Any]:
        """Return the strategies with their weights of now. Raises `Unavailable`."""
        return {"usual": self._settings.ranking.strategy, "strategies": self._strategies.describe()}

    def assignment(self, query: AssignmentQuery) -> dict[str, Any]:
        """Return the variant that someone's usual lists are of. Raises `InvalidInput` and `Unavailable`."""
        person = Person.named(query.user_id, query.anonymous_id)
        if person is None:
            raise InvalidInput("is needed, or anonymous_id", "user_id")
        request, profile = RecommendationRequest(**query.model_dump()), self.profiles.load(person)
        assignment = self._experiments().assign(request, person, profile, self._clock())
        return NO_EXPERIMENT if assignment is None else {name: getattr(assignment, name) for name in NO_EXPERIMENT}

    def recommend(self, request: RecommendationRequest, variant: str | None = None) -> dict[str, Any]:
        """Return a person's next items; `variant`: one to force, as `<experiment>/<variant>`. Raises `InvalidInput`;
        `Unavailable` only when not even a cached list is there."""
        began = self._monotonic()
        context = RequestContext.parse(request, variant, self._settings, self._experiments(), self._clock())
        context.situation(self._rules, None)  # a wrong time zone is refused at once
        try:
            ranked = retry_on_generation_change(lambda: self._personal_list(context), self.finder.catalogue.clear)
        except Unavailable as error:
            log.warning("serving a cached list", reason=str(error))
            ranked = self._cached_list(context)
        self._metrics.recommendations.labels(str(ranked.is_cold).lower(), str(ranked.is_degraded).lower()).inc()
        response = {
            "request_id": str(uuid.uuid4()),
            "experiment": ranked.assignment and ranked.assignment.experiment,
            "variant": ranked.variant,
            "strategy": ranked.strategy,
            "cold_start": ranked.is_cold,
            "degraded": ranked.is_degraded,
            "items": render_items(ranked.items, context.cursor, request.explain),
            "next": context.cursor.after(ranked.items),
        }
        self._report(context, ranked, response, self._monotonic() - began)
        return response if ranked.items else response | {"reason": ranked.reason}

    def _report(self, context: RequestContext, ranked: RankedList, response: Mapping[str, Any], took: float) -> None:
        """Report what was served to the profiles and to the measures. `took`: seconds."""
        request, person = context.request, context.person
        is_external = ranked.assignment is not None and ranked.assignment.external
        if person is None or ranked.is_erased or is_external:  # of an external variant, the app reports what was shown
            return
        # Made ahead, it may never be seen; from the cache, it may be of someone who was erased; and it was the first
        # page that was looked at.
        if self._exposures is not None and not (request.batch or ranked.is_degraded or context.cursor.depth):
            self._exposures.note(person, [item.item_id for item in ranked.items], request.anonymous_id)
        if self._served_lists is not None:
            self._served_lists.note(_served_list(context, person, ranked, response, took))

    # -- a person's list ------------------------------------------------------------------------------------------

    def _personal_list(self, context: RequestContext) -> RankedList:
        request = self._effective_request(context)
        profile, plan = request.profile, request.plan
        items = self._ranked(request)
        if len(items) < context.request.limit and not context.request.strict:
            items += self._repeats(request, items)
        reason = None if items else self._why_empty(request)
        if context.request.explain:
            items = explain_items(self._store, self.finder.catalogue, items, plan)
        is_erased = profile is not None and profile.identity.erased_at is not None and profile.is_unknown
        return RankedList(items, request.strategy.name, plan.is_cold, reason, is_erased, request.assignment)

    def _effective_request(self, context: RequestContext) -> EffectiveRequest:
        """Look up the profile, and settle what decides the list."""
        request, settings, ranking, now = context.request, self._settings, self._settings.ranking, context.now
        profile = self.profiles.load(context.person)
        assignment = context.forced or context.experiments.assign(request, context.person, profile, now)
        if context.recent:
            profile = apply_inline_events(profile, context.recent, self.finder.catalogue, settings, now)
        situation = context.situation(self._rules, profile)
        adjustments = evaluate_rules(self._rules, situation)
        variant = context.experiments.variant(assignment)
        strategy = EffectiveStrategy.merge(ranking, self._strategies.named, request, variant, adjustments.strategy)
        factors = adjustments.weights if settings.images.enabled else {**adjustments.weights, "image": 0.0}
        plan = plan_retrieval(profile, now, self._taus, ranking, strategy.settings, factors)
        plan = self._retriever.add_recent_details(plan)
        hide = settings.reader.hide if request.hide is None else request.hide
        seen = {} if profile is None else profile.seen.hidden(hide)
        hidden = frozenset(seen).union(request.exclude)
        left_out = nlargest(MAX_FILTERED, seen, key=seen.__getitem__) if len(seen) > MAX_FILTERED else seen
        shared = servable_items(now) & context.filter
        served, unfiltered = context.cursor.depth, len(seen) - len(left_out)
        order = order_depth(ranking, request.limit) + served
        return EffectiveRequest(
            context=context,
            profile=profile,
            assignment=assignment,
            strategy=strategy,
            boosts=(*adjustments.boosts, *context.boosts),
            promotions=active_promotions(self._rules, situation),
            plan=plan,
            hidden=hidden,
            hidden_points=frozenset(map(item_point_id, hidden)),
            shared_filter=shared,
            personal_filter=shared & excluding_items(request.exclude) & excluding_items(left_out),
            passes=passing(context.filter, now),
            shared_depth=order,
            order_depth=order + unfiltered,
            depth=search_depth(ranking, request.limit) + served + unfiltered,
        )

    def _ranked(self, request: EffectiveRequest) -> list[RankedItem]:
        """Find and rank; and search deeper, once, where there is more and too little of what was found may be shown."""
        options, retrieved = self._rank_options(request), self._retriever.find(request)
        items = self._ranked_showable(request, retrieved, options)
        if len(items) >= options.limit or retrieved.is_complete or options.min_score is not None:
            return items
        deeper = request.deeper()
        return self._ranked_showable(deeper, self._retriever.find(deeper), options)

    def _ranked_showable(
        self, request: EffectiveRequest, retrieved: RetrievedCandidates, options: RankOptions
    ) -> list[RankedItem]:
        """Rank; and once more without those of the list that may not be shown any more, where there are."""
        while True:
            items = _rank(request, retrieved, options)
            current = self._retriever.showable((item.item_id for item in items), request)
            gone = {item.item_id for item in items} - current.keys()
            if not gone:
                return [replace(item, payload=current[item.item_id]) for item in items]
            options = replace(options, exclude=gone.union(options.exclude))

    def _rank_options(self, request: EffectiveRequest) -> RankOptions:
        context, profile, settings = request.context, request.profile, self._settings.ranking
        now, pause = context.now, settings.visit_pause_minutes * MINUTE
        # When the visit began: exposures count as of then, so that a list holds still within it.
        began = now if profile is None else profile.seen.shown.visit_start(now, pause, settings.rotation_hours * HOUR)
        is_reported = self._exposures is not None and profile is not None and not profile.is_unknown
        usual = rank_options(
            request.plan,
            request.strategy.settings,
            settings,
            now,
            context.request.limit,
            context.person,
            context.request.session_id,
            varies=not is_reported or profile is None or profile.was_left_alone(pause, began),
        )
        return replace(
            usual,
            exclude=request.hidden,
            excluded=context.cursor.has_served,
            boosts=request.boosts,
            fatigue={} if profile is None else profile.fatigue(began, began),
            explore=usual.explore if request.strategy.explore is None else request.strategy.explore,
            per_category=request.strategy.per_category,
            min_score=context.request.min_score,
        )

    def _repeats(self, request: EffectiveRequest, items: Sequence[RankedItem]) -> list[RankedItem]:
        """Return what fills a short list: the items seen longest ago, under the same filter, never what is disliked.
        They score nothing, so there are none where a score is asked for."""
        context, profile = request.context, request.profile
        min_score = context.request.min_score
        if profile is None or (min_score is not None and min_score > 0):
            return []
        never = set(profile.seen.hidden(("disliked",))).union(context.request.exclude, (item.item_id for item in items))
        entries = {**profile.seen.viewed.entries, **profile.seen.purchased.entries}
        hidden = request.hidden.difference(never)
        seen = [item for item in entries if item in hidden and not context.cursor.has_served(item)]
        if not seen:
            return []
        oldest = sorted(seen, key=lambda item: (entries[item], item))
        repeats: list[RankedItem] = []
        for some in (oldest[:MOST_REPEATS], oldest[MOST_REPEATS:]):
            if some and len(repeats) < context.request.limit - len(items):
                found = self._retriever.showable(some, request)
                more = [RankedItem(item, 0.0, found[item], is_repeat=True) for item in some if item in found]
                repeats += self._within_caps(more, [*items, *repeats], request.strategy.per_category)
        return repeats[: context.request.limit - len(items)]

    def _within_caps(
        self, more: Sequence[RankedItem], items: Sequence[RankedItem], per_category: int | None
    ) -> list[RankedItem]:
        """Leave out those of which there are enough of a kind, counted with the items that there are."""
        caps: list[tuple[Callable[[RankedItem], object], int]] = [
            (partial(_attribute, name), most) for name, most in self._settings.ranking.per_attribute.items()
        ]
        if per_category is not None:
            caps.append((_category, per_category))
        fitting = list(more)
        for value, most in caps:
            counts = Counter(map(value, items))
            within = []
            for item in fitting:
                counts[value(item)] += 1
                if value(item) is None or counts[value(item)] <= most:
                    within.append(item)
            fitting = within
        return fitting

    def _why_empty(self, request: EffectiveRequest) -> str:
        if request.context.cursor.depth:
            return END
        if self._retriever.any(request.shared_filter):
            return HIDDEN
        return FILTERED if self._retriever.any(servable_items(request.context.now)) else NO_ITEMS

    # -- when the store doesn't answer ----------------------------------------------------------------------------

    def _cached_list(self, context: RequestContext) -> RankedList:
        """Rank what was popular, from the cache, under the same filter. Raises `Unavailable` when there is none."""
        passes = passing(context.filter, context.now)
        hits = self.finder.find_stale("popularity", context.filter, passes=passes)
        if hits is None:
            raise Unavailable("the vector store doesn't answer, and no list is cached; try again")
        ranking = self._settings.ranking
        plan = plan_retrieval(None, context.now, self._taus, ranking, self._settings.strategies[ranking.strategy])
        options = RankOptions(
            now=context.now,
            settings=ranking,
            limit=context.request.limit,
            exclude=frozenset(context.request.exclude),
            excluded=context.cursor.has_served,
        )
        candidates = merge_candidates({"popularity": hits}, len(hits) + 1, unscored=("popularity",))
        items = rank(candidates, plan, options)
        return RankedList(items, ranking.strategy, is_cold=True, reason=END, is_degraded=True)


def _rank(request: EffectiveRequest, retrieved: RetrievedCandidates, options: RankOptions) -> list[RankedItem]:
    """Rank the candidates, with the promotions' among them."""
    plan = request.plan
    if not retrieved.promoted:
        return rank(retrieved.candidates, plan, options)
    deeper = replace(options, limit=options.limit + sum(len(hits) for _, hits in retrieved.promoted))
    ranked = {item.item_id: item for item in rank(retrieved.candidates, plan, deeper)}
    by_itself, promoted = list(ranked), []
    for promotion, hits in retrieved.promoted:
        candidates = merge_candidates({plan.closest or PROMOTED: hits}, options.limit)
        items = rank(candidates, plan, replace(deeper, min_score=None))
        ranked = {item.item_id: item for item in items} | ranked
        promoted.append((promotion, [item.item_id for item in items]))
    slots = place_promotions(by_itself, promoted, options.limit, request.context.cursor.depth + 1)
    return [replace(ranked[slot.item_id], promotion=slot.promotion) for slot in slots]


def _category(item: RankedItem) -> object:
    return item.category


def _attribute(name: str, item: RankedItem) -> object:
    value = item.payload.get("meta", {}).get("attributes", {}).get(name)
    return tuple(value) if isinstance(value, list) else value


def _served_list(
    context: RequestContext, person: Person, ranked: RankedList, response: Mapping[str, Any], took: float
) -> dict[str, Any]:
    """Collect the fields of a response's `ServedList`."""
    if ranked.is_degraded:  # nobody could be looked up: naming them could re-identify an erased user
        person = Person("a", response["request_id"])
    assignment = ranked.assignment
    return {
        "request_id": response["request_id"],
        "user_id" if person.kind == "u" else "anonymous_id": person.id,
        "session_id": None if ranked.is_degraded else context.request.session_id,
        "surface": context.request.surface or None,
        "strategy": ranked.strategy,
        "experiment": response["experiment"],
        "variant": ranked.variant,
        "revision": None if assignment is None else assignment.revision,
        "unit": None if assignment is None or assignment.unit == person.key else assignment.unit,
        "forced": context.forced is not None,
        "batch": context.request.batch,
        "degraded": ranked.is_degraded,
        "took_ms": round(took * 1000, 3),
        "items": [
            {name: rendered[name] for name in ("item_id", "rank", "score", "category")}
            | {"published_at": item.payload.get("listed_at")}
            for rendered, item in zip(response["items"], ranked.items, strict=True)
        ],
        "timestamp": context.now,
    }
