"""Who gets which variant, and what it makes of their list."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from eddyline.errors import InvalidInput
from eddyline.model.experiments.assignment import NONE_STOPPED, Assignment, Stopped, assign, force_variant
from eddyline.model.experiments.definitions import NO_EXPERIMENTS, Experiments, Variant
from eddyline.model.ids import Person
from eddyline.model.profile import Profile
from eddyline.reader.people import ProfileReader
from eddyline.reader.schemas import AssignmentQuery, RecommendationRequest
from eddyline.settings import Settings, StrategySettings

PARAMETERS = ("diversity", "explore", "per_category")
"""What a request may ask for, and a variant may change."""
NOWHERE = {"experiment": None, "variant": None, "revision": None, "external": False}
"""The answer of someone who is in no experiment."""


@dataclass(frozen=True, slots=True)
class ActiveExperiments:
    """The experiments and the stopped variants as they are at one moment."""

    experiments: Experiments = NO_EXPERIMENTS
    stopped: Stopped = NONE_STOPPED

    def variant(self, assignment: Assignment | None) -> Variant | None:
        """The definition behind an assignment of this moment."""
        experiment = None if assignment is None else self.experiments.named(assignment.experiment)
        return None if experiment is None or assignment is None else experiment.variant(assignment.variant)

    def forced(self, wanted: str | None) -> Assignment | None:
        """What the header asks for. Raises `InvalidInput` naming what there is."""
        return None if wanted is None else force_variant(self.experiments, wanted)

    def assigned(
        self, request: RecommendationRequest, person: Person | None, profile: Profile | None, now: float
    ) -> Assignment | None:
        """The variant whose list a request gets. Nobody's lists are in no experiment; nor is one that asks for a
        strategy, or for what the experiment's variants differ in: it isn't the variant's list."""
        if person is None or request.strategy is not None:
            return None
        unit = assignment_key_of(person, request.anonymous_id, profile)
        found = assign(self.experiments, unit, request.surface, now, self.stopped)
        experiment = None if found is None else self.experiments.named(found.experiment)
        if experiment is None or not experiment.overrides().isdisjoint(_requested_parameters(request)):
            return None
        return found


def no_active_experiments() -> ActiveExperiments:
    """No experiments."""
    return ActiveExperiments()


def assignment_key_of(person: Person, anonymous_id: str | None, profile: Profile | None) -> str:
    """The key that someone is assigned by: the first that their profile knows of. Of whom nothing is known yet, it is
    the anonymous id where the request gives it too, since that is who they were a moment ago."""
    if profile is not None and profile.unit is not None:
        return profile.unit[1]
    if anonymous_id is not None:
        person = Person("a", anonymous_id)
    elif profile is not None:
        person = profile.person
    return person.key


def _requested_parameters(request: RecommendationRequest) -> set[str]:
    return {name for name in PARAMETERS if getattr(request, name) is not None}


@dataclass(frozen=True, slots=True)
class EffectiveStrategy:
    """What a list is ranked by: the strategy of that name, as the variant has it."""

    name: str
    strategy: StrategySettings
    assignment: Assignment | None
    per_category: int | None

    @classmethod
    def of(
        cls,
        settings: Settings,
        running: ActiveExperiments,
        assignment: Assignment | None,
        asked_for: str | None,
        by_rule: str | None,
    ) -> EffectiveStrategy:
        """The strategy that the request asks for comes first, then the variant's, then that of the rules."""
        variant, ranking = running.variant(assignment), settings.ranking
        name = asked_for or (variant and variant.strategy) or by_rule or ranking.strategy
        if variant is None:
            return cls(name, settings.strategies[name], assignment, ranking.per_category)
        strategy = variant.applied(settings.strategies[name])
        return cls(name, strategy, assignment, variant.per_category or ranking.per_category)


class AssignmentLookup:
    """Tells who gets what. May be called from any thread; `clock` in epoch seconds."""

    def __init__(
        self, people: ProfileReader, running: Callable[[], ActiveExperiments], clock: Callable[[], float]
    ) -> None:
        self._people, self._running, self._clock = people, running, clock

    def of(self, query: AssignmentQuery) -> dict[str, Any]:
        """The variant that someone's usual lists are of. Raises `InvalidInput` and `Unavailable`."""
        person = Person.named(query.user_id, query.anonymous_id)
        if person is None:
            raise InvalidInput("is needed, or anonymous_id", "user_id")
        request = RecommendationRequest(**query.model_dump())
        found = self._running().assigned(request, person, self._people.profile(person), self._clock())
        return NOWHERE if found is None else {name: getattr(found, name) for name in NOWHERE}
