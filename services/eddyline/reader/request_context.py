"""A request for recommendations, parsed and checked, and then with all that decides its list."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from eddyline.adapters.vectors import Filter
from eddyline.errors import InvalidInput
from eddyline.model.events import Interaction
from eddyline.model.experiments.assignment import Assignment
from eddyline.model.filters import matcher, only_items, parse_filter, payload_paths
from eddyline.model.ids import Person
from eddyline.model.profile import Profile
from eddyline.model.ranking import RetrievalPlan, ScoreBoost
from eddyline.model.rules import ActivePromotion, RuleSet, Situation, read_situation
from eddyline.reader.catalogue_cache import Passes
from eddyline.reader.cursor import Cursor, cursor_key, parse_cursor, request_fingerprint
from eddyline.reader.experiments import ActiveExperiments, EffectiveStrategy
from eddyline.reader.item_finder import DEEPER
from eddyline.reader.profiles import parse_inline_events
from eddyline.reader.schemas import RecommendationRequest, RequestBoost
from eddyline.settings import Settings

MAX_FILTERED = 500
"""Most hidden items that a search leaves out, the newest ones; what is beyond is dropped after it."""
CURSOR_FIELDS = (
    "filter",
    "candidates",
    "exclude",
    "hide",
    "strict",
    "strategy",
    "boost",
    "diversity",
    "calibration",
    "explore",
    "per_category",
    "min_score",
)
"""What makes it another list. What someone does meanwhile, and where they are, doesn't: a list goes on with it."""


@dataclass(frozen=True, slots=True)
class RequestContext:
    """A request, parsed: what it is for and under which conditions. `now` in epoch seconds."""

    request: RecommendationRequest
    now: float
    person: Person | None
    cursor: Cursor
    filter: Filter
    """The request's own filter, with its `candidates`."""
    boosts: tuple[ScoreBoost, ...]
    recent: Sequence[Interaction]
    experiments: ActiveExperiments
    """As they were when it came."""
    forced: Assignment | None
    """The variant that its header names."""

    @classmethod
    def parse(
        cls,
        request: RecommendationRequest,
        variant: str | None,
        settings: Settings,
        experiments: ActiveExperiments,
        now: float,
    ) -> RequestContext:
        """Parse what the request's model can't check by itself. `variant`: one to force, as `<experiment>/<variant>`.

        Raises `InvalidInput` naming the field.
        """
        if request.strategy is not None and request.strategy not in settings.strategies:
            known = ", ".join(settings.strategies)
            raise InvalidInput(f"there is no strategy {request.strategy!r}; known are {known}", "strategy")
        filter = parse_filter(request.filter, settings.attributes, now)
        if request.candidates is not None:
            filter &= only_items(request.candidates)
        boosts = tuple(_parse_boost(index, boost, settings, now) for index, boost in enumerate(request.boost))
        person = Person.named(request.user_id, request.anonymous_id)
        if person is not None and settings.events.is_placeholder(person.id):
            person = None  # strangers aren't one person, and the app still gets a list
        dumped = request.model_dump(mode="json", include=set(CURSOR_FIELDS))
        fingerprint = request_fingerprint(person and person.key, {name: dumped[name] for name in CURSOR_FIELDS})
        cursor = parse_cursor(request.next, fingerprint, request.limit, cursor_key(settings.identity.secret))
        recent = parse_inline_events(request.recent, settings, now)
        return cls(request, now, person, cursor, filter, boosts, recent, experiments, experiments.force(variant))

    def situation(self, rules: RuleSet, profile: Profile | None) -> Situation:
        """Return what the rules go by. Raises `InvalidInput` for a wrong time zone."""
        surface = {} if self.request.surface is None else {"surface": self.request.surface}
        context: dict[str, Any] = {**self.request.context, **surface}
        segment, attributes = (None, {}) if profile is None else (profile.identity.segment, profile.identity.attributes)
        return read_situation(rules, context, segment, attributes, self.now)


def _parse_boost(index: int, boost: RequestBoost, settings: Settings, now: float) -> ScoreBoost:
    try:
        filter = parse_filter(boost.filter, settings.attributes, now)
    except InvalidInput as error:
        raise InvalidInput(error.reason, f"boost.{index}.{error.field}") from None
    return ScoreBoost(matcher(filter), boost.factor, payload_paths(filter))


@dataclass(frozen=True, slots=True)
class EffectiveRequest:
    """A request with all that decides its list: the person's profile, the strategy, what the rules change, the plan."""

    context: RequestContext
    profile: Profile | None
    assignment: Assignment | None
    strategy: EffectiveStrategy
    boosts: tuple[ScoreBoost, ...]
    promotions: Sequence[ActivePromotion]
    plan: RetrievalPlan
    hidden: frozenset[str]
    """Item ids that this person isn't shown."""
    hidden_points: frozenset[str]
    """Their points' ids."""
    shared_filter: Filter
    """What everyone with an equal request may be shown."""
    personal_filter: Filter
    """What is left of it for this person, but for hidden items beyond the newest `MAX_FILTERED`."""
    passes: Passes
    """Whether an item that was found passes `shared_filter`."""
    shared_depth: int
    """How many items of each order that everyone shares are searched for."""
    order_depth: int
    """How many of the person's own: more where the filter doesn't leave out all hidden items."""
    depth: int
    """How many of the other sources, likewise."""

    def deeper(self) -> EffectiveRequest:
        """Return it with searches that go deeper, where too little of what they found may be shown."""
        return replace(
            self,
            depth=DEEPER * self.depth,
            shared_depth=DEEPER * self.shared_depth,
            order_depth=DEEPER * self.order_depth,
        )

    @property
    def is_pooled(self) -> bool:
        """Whether the filter is this request's alone, so that its lists aren't worth caching."""
        return self.context.request.candidates is not None

    @property
    def vectors(self) -> tuple[str, ...]:
        """The vectors that are needed of each candidate."""
        return ("content",) if self.strategy.settings.diversity > 0 else ()
