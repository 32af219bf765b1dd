"""Experiments: the file as it is now, which variants are stopped, who gets which, and what it makes of their list."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import structlog

from eddyline.adapters.experiments_file import load_experiments
from eddyline.adapters.file_watcher import FileWatcher
from eddyline.adapters.kafka import Record
from eddyline.adapters.telemetry import Metrics
from eddyline.errors import InvalidEvent, Misconfigured
from eddyline.model.experiments.assignment import NONE_STOPPED, Assignment, Stopped, assign, force_variant
from eddyline.model.experiments.definitions import NO_EXPERIMENTS, Experiments, Variant
from eddyline.model.experiments.verdicts import Verdict, parse_verdict
from eddyline.model.ids import Person
from eddyline.model.profile import Profile
from eddyline.reader.schemas import RecommendationRequest
from eddyline.settings import RankingSettings, Settings, StrategySettings

REQUEST_OPTIONS = ("diversity", "calibration", "explore", "per_category")
"""What a request may set, and a variant may change."""

log = structlog.get_logger("reader")


@dataclass(frozen=True, slots=True)
class ActiveExperiments:
    """The experiments and the stopped variants as they are at one moment."""

    experiments: Experiments = NO_EXPERIMENTS
    stopped: Stopped = NONE_STOPPED

    def variant(self, assignment: Assignment | None) -> Variant | None:
        """Return the definition behind an assignment of this moment."""
        experiment = None if assignment is None else self.experiments.named(assignment.experiment)
        return None if experiment is None or assignment is None else experiment.variant(assignment.variant)

    def force(self, variant: str | None) -> Assignment | None:
        """Assign what a header names, if there is one. Raises `InvalidInput` naming what there is."""
        return None if variant is None else force_variant(self.experiments, variant)

    def assign(
        self, request: RecommendationRequest, person: Person | None, profile: Profile | None, now: float
    ) -> Assignment | None:
        """Return the variant whose list a request gets. A request of nobody is in no experiment; nor is one that sets a
        strategy, or what the experiment's variants differ in: it isn't the variant's list."""
        if person is None or request.strategy is not None:
            return None
        key = assignment_key(person, request.anonymous_id, profile)
        assignment = assign(self.experiments, key, request.surface, now, self.stopped)
        experiment = None if assignment is None else self.experiments.named(assignment.experiment)
        requested = {name for name in REQUEST_OPTIONS if getattr(request, name) is not None}
        if experiment is None or not experiment.overrides().isdisjoint(requested):
            return None
        return assignment


def assignment_key(person: Person, anonymous_id: str | None, profile: Profile | None) -> str:
    """Return the key that someone is assigned by: the first that their profile knows of. While nothing is known of
    them, it is the anonymous id where the request gives it too, since that is who they were a moment ago."""
    if profile is not None and profile.identity.first_seen is not None:
        return profile.identity.first_seen.key
    if anonymous_id is not None:
        person = Person("a", anonymous_id)
    elif profile is not None:
        person = profile.person
    return person.key


@dataclass(frozen=True, slots=True)
class EffectiveStrategy:
    """What a list is ranked by: the strategy of that name, with what the variant and the request change.

    `explore` is the request's, whatever the strategy makes of a visit.
    """

    name: str
    settings: StrategySettings
    per_category: int | None
    explore: float | None

    @classmethod
    def merge(
        cls,
        ranking: RankingSettings,
        named: Callable[[str], StrategySettings],
        request: RecommendationRequest,
        variant: Variant | None,
        by_rules: str | None,
    ) -> EffectiveStrategy:
        """Merge what may set an option: the request comes first, then the variant, the rules, and the settings. Of two
        caps per category, the smaller one holds for a request. `named` returns a strategy."""
        name = request.strategy or (variant and variant.strategy) or by_rules or ranking.strategy
        strategy = named(name)
        if variant is not None:
            strategy = variant.applied(strategy)
        requested = {name: getattr(request, name) for name in ("diversity", "calibration")}
        if changed := {name: value for name, value in requested.items() if value is not None}:
            strategy = strategy.model_copy(update=changed)
        caps = (request.per_category, (variant and variant.per_category) or ranking.per_category)
        per_category = min((cap for cap in caps if cap is not None), default=None)
        return cls(name, strategy, per_category, request.explore)


class StoppedVariants:
    """Which variants are stopped, by the topic `verdicts`: the latest record of each. One thread writes."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._verdicts: dict[tuple[str, str], tuple[bytes | None, Verdict]] = {}
        """By experiment and variant, each with its record's key."""
        self._log: str | None = None
        self._stopped: Stopped = NONE_STOPPED

    def stopped(self) -> Stopped:
        """Return (experiment, revision, variant) of each."""
        return self._stopped

    def apply(self, record: Record) -> None:
        """Apply a record of the topic; a tombstone takes back what is under its key, and what can't be read is
        counted."""
        if record.log != self._log:  # the topic was recreated
            self._log, self._verdicts = record.log, {}
        if record.value is None:
            self._verdicts = {of: verdict for of, verdict in self._verdicts.items() if verdict[0] != record.key}
        else:
            try:
                verdict = parse_verdict(record.value)
            except InvalidEvent:
                self._metrics.verdicts_ignored.inc()
            else:
                self._verdicts[verdict.experiment, verdict.variant] = (record.key, verdict)
        stopped = frozenset((one.experiment, one.revision, one.variant) for _, one in self._verdicts.values())
        for experiment, revision, variant in stopped - self._stopped:
            log.warning("variant stopped", experiment=experiment, revision=revision, variant=variant)
        self._stopped = stopped


class ExperimentsWatcher(FileWatcher):
    """The experiments of the settings' file, read again when it changes. A changed file that is wrong is refused as a
    whole: what was in force stays so.

    `stopped` returns the variants that get no traffic. The caller must `close` it.
    """

    def __init__(
        self, settings: Settings, metrics: Metrics, stopped: Callable[[], Stopped] = lambda: NONE_STOPPED
    ) -> None:
        """Read the file. Raises `Misconfigured` for a wrong one."""
        super().__init__(settings.experiments_file, "reader-experiments")
        self._settings, self._metrics, self._stopped = settings, metrics, stopped
        self._experiments = load_experiments(self._path, settings)

    def current(self) -> ActiveExperiments:
        """Return what is in force."""
        return ActiveExperiments(self._experiments, self._stopped())

    def _reload(self) -> None:
        try:
            self._experiments = load_experiments(self._path, self._settings)
        except Misconfigured as error:
            self._metrics.experiments_refused.set(1)
            log.error("the changed experiments are refused; those before stay in force", reason=str(error))
        else:
            self._metrics.experiments_refused.set(0)
            log.info("experiments reloaded", file=str(self._path), experiments=len(self._experiments))
