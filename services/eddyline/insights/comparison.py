"""Reports how an experiment goes: each variant against the control, and whether that can be trusted."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from eddyline.errors import NotFound
from eddyline.insights.changelog_view import ChangelogView
from eddyline.insights.effect_history import EffectHistory
from eddyline.insights.guardrails import WITHOUT_REVISION, GuardrailEvaluator, current_moments
from eddyline.insights.kpis import ratio
from eddyline.insights.measures import Measures, format_optional_timestamp
from eddyline.insights.moments import TOTALS, Moments
from eddyline.insights.schemas import (
    EarlierRevision,
    EffectReading,
    ExperimentList,
    ExperimentReport,
    ExperimentSummary,
    GuardrailReport,
    RunState,
    SampleRatioReport,
    VariantReport,
)
from eddyline.insights.statistics import METRICS, Effect, check_sample_ratio, compare_with_control, describe_effect
from eddyline.insights.statistics.difference import PARTS
from eddyline.insights.verdict_view import VerdictView
from eddyline.model.events import format_timestamp
from eddyline.model.experiments.definitions import Experiment, Experiments, Variant
from eddyline.model.experiments.verdicts import Verdict

DAY = 86_400.0
USUAL_METRIC = "ctr"
"""What an experiment without a definition is decided by."""
NOBODY = "nobody has had a list of it yet"

MomentsByVariant = Mapping[str, Moments]


@dataclass(frozen=True, slots=True)
class ExperimentResults:
    """What is known of an experiment. `definition` is None where the file doesn't have it; `moments`: by variant, of
    this revision, the control first; `others`: of other revisions, all variants together. `verdicts`: of the variants
    that are stopped; `resumed`: when others, which had been, were let go on, in epoch seconds."""

    name: str
    revision: str
    definition: Experiment | None
    moments: MomentsByVariant
    others: Mapping[str, Moments]
    verdicts: Mapping[str, Verdict] = field(default_factory=dict)
    resumed: Mapping[str, float] = field(default_factory=dict)

    @property
    def control(self) -> str:
        """The first variant."""
        return next(iter(self.moments))

    @property
    def together(self) -> Moments:
        """The moments of the people of all variants."""
        return sum(self.moments.values(), Moments())

    @property
    def metric(self) -> str:
        """What the experiment is decided by."""
        return USUAL_METRIC if self.definition is None else self.definition.metric

    def defined(self, variant: str) -> Variant | None:
        """Return a variant's definition."""
        return None if self.definition is None else self.definition.variant(variant)

    @property
    def incomparable(self) -> list[str]:
        """The variants whose people can't be held against the weights."""
        return [
            name
            for name in self.moments
            if (defined := self.defined(name)) is None
            or defined.external
            or name in self.verdicts
            or name in self.resumed
        ]


class ExperimentComparison:
    """Reports on experiments: those of the file, and those that are known from lists alone. Thread-safe."""

    def __init__(
        self,
        view: ChangelogView,
        measures: Measures,
        evaluator: GuardrailEvaluator,
        verdicts: VerdictView,
        experiments: Callable[[], Experiments],
        clock: Callable[[], float],
    ) -> None:
        self._view, self._measures, self._evaluator, self._verdicts = view, measures, evaluator, verdicts
        self._experiments, self._clock = experiments, clock
        self._history = EffectHistory()

    def note_effects(self) -> None:
        """Keep how each experiment goes, where it is time to: what reports tell as its history."""
        if not self._measures.complete:
            return
        now, known = self._clock(), list(self._all())
        self._history.keep_only({results.name for results in known})
        for results in known:
            if self._history.is_due(results.name, results.revision, now):
                effects = {
                    name: _effect(results, name, results.metric) for name in results.moments if name != results.control
                }
                self._history.note(results.name, results.revision, now, effects)

    def experiments(self) -> ExperimentList:
        """Report on all of them."""
        summaries = [_summary(results, self._clock()) for results in self._all()]
        return ExperimentList(as_of=self._measures.as_of, complete=self._measures.complete, experiments=summaries)

    def experiment(self, name: str) -> ExperimentReport:
        """Report on one. Raises `NotFound`, naming what there is."""
        known = list(self._all())
        results = next((one for one in known if one.name == name), None)
        if results is None:
            names = ", ".join(one.name for one in known)
            raise NotFound(
                f"there is no experiment {name!r:.80}: " + (f"there are {names}" if names else "there is none")
            )
        return self._report(results)

    def _all(self) -> Iterator[ExperimentResults]:
        known: dict[str, dict[str, dict[str, Moments]]] = {}
        for key, moments in self._view.variants().items():
            known.setdefault(key.experiment, {}).setdefault(key.revision, {})[key.variant] = moments
        for experiment in self._experiments():
            yield self._from_definition(experiment, known.pop(experiment.name, {}))
        for name in sorted(known):
            yield _from_served_lists(name, known[name])

    def _from_definition(self, experiment: Experiment, known: Mapping[str, MomentsByVariant]) -> ExperimentResults:
        moments, verdicts, resumed = {}, {}, {}
        for variant in experiment.variants:
            name = variant.name
            by_revision = {revision: found[name] for revision, found in known.items() if name in found}
            moments[name] = current_moments(by_revision, experiment, variant)
        began = sum(moments.values(), Moments()).since or 0.0
        for name in moments:
            verdict, lifted = self._verdicts.find(experiment, name), self._verdicts.lifted_at(experiment.name, name)
            if verdict is not None:
                verdicts[name] = verdict
            elif lifted > began:  # until then, it got nobody new
                resumed[name] = lifted
        external = {variant.name for variant in experiment.variants if variant.external}
        others = {
            revision: left
            for revision, found in known.items()
            if revision != experiment.revision
            # Lists of another system that name no definition count to the present one.
            and (left := _sum(found, external if revision == WITHOUT_REVISION else set())).people
        }
        return ExperimentResults(experiment.name, experiment.revision, experiment, moments, others, verdicts, resumed)

    def _report(self, results: ExperimentResults) -> ExperimentReport:
        now, together, complete = self._clock(), results.together, self._measures.complete
        split = _sample_ratio(results)
        days_left = _days_left(results, now)
        return ExperimentReport(
            **dict(_summary(results, now)),
            as_of=self._measures.as_of,
            complete=complete,
            since=format_optional_timestamp(together.since),
            until=format_optional_timestamp(together.until),
            days_left=None if days_left is None else round(days_left, 2),
            sample_ratio=split,
            reports=[self._variant_report(results, name, split, days_left) for name in results.moments],
            earlier=[
                EarlierRevision(
                    revision=revision,
                    people=moments.people,
                    since=format_optional_timestamp(moments.since),
                    until=format_optional_timestamp(moments.until),
                )
                for revision, moments in sorted(results.others.items(), key=lambda item: -(item[1].until or 0.0))
            ],
            notes=list(_notes(results, split, complete)),
            history=[
                EffectReading(at=format_timestamp(at), effects=dict(effects))
                for at, effects in self._history.readings(results.name, results.revision)
            ],
        )

    def _variant_report(
        self, results: ExperimentResults, name: str, split: SampleRatioReport | None, days_left: float | None
    ) -> VariantReport:
        moments, defined = results.moments[name], results.defined(name)
        is_control = name == results.control
        effects = None if is_control else {metric: _effect(results, name, metric) for metric in METRICS}
        return VariantReport(
            name=name,
            is_control=is_control,
            state="stopped" if name in results.verdicts else "running",
            external=defined is not None and defined.external,
            weight=None if defined is None else defined.weight,
            people=moments.people,
            totals={total: round(moments.total(total), 6) for total in TOTALS},
            values={metric: _metric_value(moments, metric) for metric in METRICS},
            effects=effects,
            sentence=_sentence(results, name, None if effects is None else effects[results.metric], split, days_left),
            guardrails=[] if is_control else list(self._guardrails(results, name)),
        )

    def _guardrails(self, results: ExperimentResults, name: str) -> Iterator[GuardrailReport]:
        experiment, variant, verdict = results.definition, results.defined(name), results.verdicts.get(name)
        if experiment is None or variant is None:
            return
        for guardrail in experiment.guardrails:
            judgement = self._evaluator.judge(experiment, variant, guardrail)
            report = GuardrailReport(
                **guardrail.model_dump(),
                state=judgement.state,
                value=judgement.value,
                lists=judgement.lists,
                end=format_optional_timestamp(judgement.end),
                reason=None,
            )
            if verdict is not None and (verdict.metric, verdict.bound) == (guardrail.metric, guardrail.bound):
                end = format_optional_timestamp(verdict.at)
                stopped = {"state": "stopped", "value": verdict.value, "end": end, "reason": verdict.reason}
                report = report.model_copy(update=stopped)
            yield report


def _metric_value(moments: Moments, metric: str) -> float | None:
    """A metric of a variant's people; None without any."""
    above, below = PARTS[metric]
    return ratio(moments.total(above), moments.people if below is None else moments.total(below))


def _from_served_lists(name: str, known: Mapping[str, MomentsByVariant]) -> ExperimentResults:
    newest = max(known, key=lambda revision: _sum(known[revision]).until or 0.0)
    others = {revision: _sum(found) for revision, found in known.items() if revision != newest}
    return ExperimentResults(name, newest, None, dict(sorted(known[newest].items())), others)


def _sum(moments: MomentsByVariant, left_out: set[str] | frozenset[str] = frozenset()) -> Moments:
    return sum((found for name, found in moments.items() if name not in left_out), Moments())


def _summary(results: ExperimentResults, now: float) -> ExperimentSummary:
    defined = results.definition
    starts, ends = (None, None) if defined is None else (defined.starts, defined.ends)
    return ExperimentSummary(
        name=results.name,
        revision=results.revision,
        state=_state(defined, now),
        surface=None if defined is None else defined.surface,
        share=None if defined is None else defined.share,
        starts=None if starts is None else format_optional_timestamp(starts.timestamp()),
        ends=None if ends is None else format_optional_timestamp(ends.timestamp()),
        metric=results.metric,
        planned_people=None if defined is None else defined.planned_people,
        variants=list(results.moments),
        stopped=list(results.verdicts),
        people=results.together.people,
    )


def _state(experiment: Experiment | None, now: float) -> RunState:
    if experiment is None:
        return "not defined"
    if experiment.runs(now):
        return "running"
    return "planned" if experiment.starts is not None and now < experiment.starts.timestamp() else "ended"


def _sample_ratio(results: ExperimentResults) -> SampleRatioReport | None:
    """Compare those who were assigned, each once: somebody who signs in is two people, always of the same variant, and
    a test that took them for two draws would be too sure."""
    left_out = results.incomparable
    weights = {
        name: defined.weight
        for name in results.moments
        if name not in left_out and (defined := results.defined(name)) is not None
    }
    if len(weights) < 2:
        return None
    split = check_sample_ratio({name: results.moments[name].units for name in weights}, weights)
    return SampleRatioReport(**dict(split), left_out=left_out)


def _days_left(results: ExperimentResults, now: float) -> float | None:
    """Until the planned number of people at the present rate, or until the end, whatever is first."""
    defined, together = results.definition, results.together
    if defined is None:
        return None
    left = []
    if defined.ends is not None:
        left.append((defined.ends.timestamp() - now) / DAY)
    if defined.planned_people is not None and together.people and together.since is not None and now > together.since:
        a_day = together.people / (now - together.since) * DAY
        left.append((defined.planned_people - together.people) / a_day)
    return max(0.0, min(left)) if left else None


def _effect(results: ExperimentResults, variant: str, metric: str) -> Effect:
    return compare_with_control(
        results.moments[results.control],
        results.moments[variant],
        metric,
        planned_people=_planned_people(results, variant),
        comparisons=max(1, len(results.moments) - 1),
    )


def _planned_people(results: ExperimentResults, variant: str) -> int | None:
    """How many of the planned people are the control's and this variant's."""
    defined, one = results.definition, results.defined(variant)
    if defined is None or one is None or defined.planned_people is None:
        return None
    whole = sum(each.weight for each in defined.variants)
    return max(1, round(defined.planned_people * (defined.control.weight + one.weight) / whole))


def _sentence(
    results: ExperimentResults,
    name: str,
    effect: Effect | None,
    split: SampleRatioReport | None,
    days_left: float | None,
) -> str | None:
    if name in results.verdicts:
        return f"stopped by a guardrail: {results.verdicts[name].reason}"
    if effect is None:
        return None
    if not results.together.people:
        return NOBODY
    return describe_effect(
        effect,
        control=results.control,
        variant=name,
        days_left=days_left,
        is_mismatch=split is not None and split.is_mismatch and {name, results.control} <= set(split.seen),
    )


def _notes(results: ExperimentResults, split: SampleRatioReport | None, complete: bool) -> Iterator[str]:
    if not complete:
        yield "the rows are still being read: numbers are too low until that is done"
    if results.definition is None:
        yield (
            f"the experiments file doesn't have it: variants are compared with {results.control}, the first by the "
            "alphabet, and people can't be checked against weights"
        )
    for name in results.moments:
        defined = results.defined(name)
        if defined is not None and defined.external:
            yield (
                f"{name} is another system's: its people are those whose lists it sent, so they aren't checked "
                "against the weights"
            )
        if name in results.verdicts:
            since = format_optional_timestamp(results.verdicts[name].at)
            yield f"{name} gets no traffic since {since}, and isn't checked against the weights"
        elif name in results.resumed:
            since = format_optional_timestamp(results.resumed[name])
            yield (
                f"{name} was stopped, and goes on since {since}: in between it got nobody new, so it isn't "
                "checked against the weights; a new definition would be"
            )
    if split is not None and split.is_mismatch:
        yield "people aren't split as the weights say: find out why before you trust anything else here"
    if results.others:
        yield "the definition was changed: people of earlier ones aren't in this (see earlier)"
