"""Answers to how an experiment goes: each variant against the control, and whether that can be trusted."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from eddyline.errors import NotFound
from eddyline.insights.changelog_view import ChangelogView
from eddyline.insights.guardrails import (
    WITHOUT_REVISION,
    GuardrailEvaluator,
    VerdictView,
    current_moments,
    first_served_at,
)
from eddyline.insights.measures import Measures, format_optional_timestamp
from eddyline.insights.schemas import RunState
from eddyline.model.experiments.definitions import Experiment, Experiments, Guardrail, Variant
from eddyline.model.experiments.moments import TOTALS, Moments
from eddyline.model.experiments.statistics import (
    METRICS,
    Effect,
    SampleRatio,
    check_sample_ratio,
    compare_with_control,
    describe_effect,
)
from eddyline.model.experiments.statistics.difference import PARTS
from eddyline.model.experiments.verdicts import Verdict
from eddyline.model.insights.kpis import ratio

DAY = 86_400.0
USUAL_METRIC = "ctr"
"""What an experiment without a definition is decided by."""
NOBODY = "nobody has had a list of it yet"


@dataclass(frozen=True, slots=True)
class ExperimentResults:
    """What is known of an experiment. `definition` is None where the file doesn't have it; `moments`: by variant, of
    this revision, the control first; `others`: of other revisions, all variants together."""

    name: str
    revision: str
    definition: Experiment | None
    moments: Mapping[str, Moments]
    others: Mapping[str, Moments]

    @property
    def control(self) -> str:
        """The first variant."""
        return next(iter(self.moments))

    @property
    def people(self) -> int:
        """Count the people of all variants."""
        return sum(one.people for one in self.moments.values())

    @property
    def since(self) -> float | None:
        """The first list, in epoch seconds."""
        return first_served_at(self.moments.values())

    @property
    def metric(self) -> str:
        """What it is decided by."""
        return USUAL_METRIC if self.definition is None else self.definition.metric

    def defined(self, variant: str) -> Variant | None:
        """A variant's definition."""
        return None if self.definition is None else self.definition.variant(variant)


class ExperimentComparison:
    """Answers about experiments: those of the file, and those that are known from lists alone. Thread-safe."""

    def __init__(
        self,
        view: ChangelogView,
        measuring: Measures,
        judging: GuardrailEvaluator,
        verdicts: VerdictView,
        experiments: Callable[[], Experiments],
        clock: Callable[[], float],
    ) -> None:
        self._view, self._measuring, self._judging, self._verdicts = view, measuring, judging, verdicts
        self._experiments, self._clock = experiments, clock

    def experiments(self) -> dict[str, Any]:
        """All of them."""
        return {**self._freshness(), "experiments": [self._summary(one) for one in self._all()]}

    def experiment(self, name: str) -> dict[str, Any]:
        """What came of one. Raises `NotFound`, naming what there is."""
        known = list(self._all())
        found = next((one for one in known if one.name == name), None)
        if found is None:
            names = ", ".join(one.name for one in known)
            raise NotFound(
                f"there is no experiment {name!r:.80}: " + (f"there are {names}" if names else "there is none")
            )
        return {**self._freshness(), **self._summary(found), **self._report(found)}

    # -- what is known ------------------------------------------------------------------------------------------

    def _all(self) -> Iterator[ExperimentResults]:
        known: dict[str, dict[str, dict[str, Moments]]] = {}
        for key, moments in self._view.variants().items():
            known.setdefault(key.experiment, {}).setdefault(key.revision, {})[key.variant] = moments
        for experiment in self._experiments():
            yield _from_definition(experiment, known.pop(experiment.name, {}))
        for name in sorted(known):
            yield _from_served_lists(name, known[name])

    def _freshness(self) -> dict[str, Any]:
        return {"as_of": self._measuring.as_of, "complete": self._measuring.complete}

    def _verdict(self, found: ExperimentResults, variant: str) -> Verdict | None:
        return None if found.definition is None else self._verdicts.of(found.definition, variant)

    def _summary(self, found: ExperimentResults) -> dict[str, Any]:
        defined = found.definition
        return {
            "name": found.name,
            "revision": found.revision,
            "state": _state(defined, self._clock()),
            "surface": None if defined is None else defined.surface,
            "share": None if defined is None else defined.share,
            "starts": None
            if defined is None or defined.starts is None
            else format_optional_timestamp(defined.starts.timestamp()),
            "ends": None
            if defined is None or defined.ends is None
            else format_optional_timestamp(defined.ends.timestamp()),
            "metric": found.metric,
            "planned_people": None if defined is None else defined.planned_people,
            "variants": list(found.moments),
            "stopped": [name for name in found.moments if self._verdict(found, name) is not None],
            "people": found.people,
        }

    # -- a report -----------------------------------------------------------------------------------------------

    def _report(self, found: ExperimentResults) -> dict[str, Any]:
        left_out = [name for name in found.moments if self._is_incomparable(found, name)]
        split = _sample_ratio_of(found, left_out)
        days_left = _days_left(found, self._clock())
        return {
            "since": format_optional_timestamp(found.since),
            "until": format_optional_timestamp(
                max((one.until for one in found.moments.values() if one.until is not None), default=None)
            ),
            "days_left": None if days_left is None else round(days_left, 2),
            "sample_ratio": None if split is None else _sample_ratio_report(split, left_out),
            "reports": [self._variant(found, name, split, days_left) for name in found.moments],
            "earlier": [
                {
                    "revision": revision,
                    "people": moments.people,
                    "since": format_optional_timestamp(moments.since),
                    "until": format_optional_timestamp(moments.until),
                }
                for revision, moments in sorted(found.others.items(), key=lambda item: -(item[1].until or 0.0))
            ],
            "notes": list(self._notes(found, split)),
        }

    def _is_incomparable(self, found: ExperimentResults, variant: str) -> bool:
        defined = found.defined(variant)
        if defined is None or defined.external or self._verdict(found, variant) is not None:
            return True
        return self._went_on(found, variant) is not None

    def _went_on(self, found: ExperimentResults, variant: str) -> float | None:
        """When a variant of the present definition was let go on; None where it wasn't. Until then, it got nobody
        new."""
        lifted = self._verdicts.lifted(found.name, variant)
        return lifted if lifted > (found.since or 0.0) else None

    def _variant(
        self, found: ExperimentResults, name: str, split: SampleRatio | None, days_left: float | None
    ) -> dict[str, Any]:
        moments, defined, verdict = found.moments[name], found.defined(name), self._verdict(found, name)
        is_control = name == found.control
        effects = {} if is_control else {metric: _effect(found, name, metric) for metric in METRICS}
        is_mismatch = split is not None and split.is_mismatch and {name, found.control} <= set(split.seen)
        said = None
        if verdict is not None:
            said = f"stopped by a guardrail: {verdict.reason}"
        elif not found.people:
            said = None if is_control else NOBODY
        elif not is_control:
            said = describe_effect(
                effects[found.metric],
                control=found.control,
                variant=name,
                days_left=days_left,
                is_mismatch=is_mismatch,
            )
        return {
            "name": name,
            "is_control": is_control,
            "state": "running" if verdict is None else "stopped",
            "external": defined is not None and defined.external,
            "weight": None if defined is None else defined.weight,
            "people": moments.people,
            "totals": {total: round(moments.total(total), 6) for total in TOTALS},
            "values": {metric: metric_value(moments, metric) for metric in METRICS},
            "effects": None if is_control else {metric: _effect_report(one) for metric, one in effects.items()},
            "sentence": said,
            "guardrails": [] if is_control else list(self._guardrails(found, name, verdict)),
        }

    def _guardrails(self, found: ExperimentResults, name: str, verdict: Verdict | None) -> Iterator[dict[str, Any]]:
        experiment, variant = found.definition, found.defined(name)
        if experiment is None or variant is None:
            return
        for guardrail in experiment.guardrails:
            judgement = self._judging.judgement(experiment, variant, guardrail)
            seen = {
                "metric": guardrail.metric,
                "min": guardrail.min,
                "max": guardrail.max,
                "window": guardrail.window,
                "state": judgement.state,
                "value": judgement.value,
                "lists": judgement.lists,
                "least": guardrail.least,
                "end": format_optional_timestamp(judgement.end),
                "reason": None,
            }
            yield seen | (_stopped(verdict) if verdict is not None and _is_by(verdict, guardrail) else {})

    def _notes(self, found: ExperimentResults, split: SampleRatio | None) -> Iterator[str]:
        if not self._measuring.complete:
            yield "the rows are still being read: numbers are too low until that is done"
        if found.definition is None:
            yield (
                f"the experiments file doesn't have it: variants are compared with {found.control}, the first by the "
                "alphabet, and people can't be checked against weights"
            )
        for name in found.moments:
            defined, verdict = found.defined(name), self._verdict(found, name)
            if defined is not None and defined.external:
                yield (
                    f"{name} is another system's: its people are those whose lists it sent, so they aren't checked "
                    "against the weights"
                )
            if verdict is not None:
                since = format_optional_timestamp(verdict.at)
                yield f"{name} gets no traffic since {since}, and isn't checked against the weights"
            elif (went_on := self._went_on(found, name)) is not None:
                since = format_optional_timestamp(went_on)
                yield (
                    f"{name} was stopped, and goes on since {since}: in between it got nobody new, so it isn't "
                    "checked against the weights; a new definition would be"
                )
        if split is not None and split.is_mismatch:
            yield "people aren't split as the weights say: find out why before you trust anything else here"
        if found.others:
            yield "the definition was changed: people of earlier ones aren't in this (see earlier)"


def metric_value(moments: Moments, metric: str) -> float | None:
    """A metric of a variant's people; None without any."""
    above, below = PARTS[metric]
    return ratio(moments.total(above), moments.people if below is None else moments.total(below))


def _from_definition(experiment: Experiment, known: Mapping[str, Mapping[str, Moments]]) -> ExperimentResults:
    moments = {}
    for variant in experiment.variants:
        mine = {revision: variants[variant.name] for revision, variants in known.items() if variant.name in variants}
        moments[variant.name] = sum(current_moments(mine, experiment, variant), Moments())
    others = {
        revision: left
        for revision, variants in known.items()
        if revision != experiment.revision
        and (left := _sum_of_variants(variants, experiment if revision == WITHOUT_REVISION else None)).people
    }
    return ExperimentResults(experiment.name, experiment.revision, experiment, moments, others)


def _sum_of_variants(variants: Mapping[str, Moments], experiment: Experiment | None) -> Moments:
    """The people of all variants, but for those that count to the present definition though they don't name it."""
    taken = {one.name for one in experiment.variants if one.external} if experiment is not None else set()
    return sum((moments for name, moments in variants.items() if name not in taken), Moments())


def _from_served_lists(name: str, known: Mapping[str, Mapping[str, Moments]]) -> ExperimentResults:
    newest = max(known, key=lambda revision: max(one.until or 0.0 for one in known[revision].values()))
    others = {revision: _sum_of_variants(variants, None) for revision, variants in known.items() if revision != newest}
    return ExperimentResults(name, newest, None, dict(sorted(known[newest].items())), others)


def _state(experiment: Experiment | None, now: float) -> RunState:
    if experiment is None:
        return "not defined"
    if experiment.runs(now):
        return "running"
    return "planned" if experiment.starts is not None and now < experiment.starts.timestamp() else "ended"


def _sample_ratio_of(found: ExperimentResults, left_out: list[str]) -> SampleRatio | None:
    """Of those who were assigned, each once: somebody who signs in is two people, always of the same variant, and a
    test that took them for two draws would be too sure."""
    weights = {
        name: defined.weight
        for name in found.moments
        if name not in left_out and (defined := found.defined(name)) is not None
    }
    if len(weights) < 2:
        return None
    return check_sample_ratio({name: found.moments[name].units for name in weights}, weights)


def _days_left(found: ExperimentResults, now: float) -> float | None:
    """Until the planned number of people at the present rate, or until the end, whatever is first."""
    defined = found.definition
    if defined is None:
        return None
    left = []
    if defined.ends is not None:
        left.append((defined.ends.timestamp() - now) / DAY)
    if defined.planned_people is not None and found.people and found.since is not None and now > found.since:
        a_day = found.people / (now - found.since) * DAY
        left.append((defined.planned_people - found.people) / a_day)
    return max(0.0, min(left)) if left else None


def _effect(found: ExperimentResults, variant: str, metric: str) -> Effect:
    return compare_with_control(
        found.moments[found.control],
        found.moments[variant],
        metric,
        planned_people=_planned_people(found, variant),
        comparisons=max(1, len(found.moments) - 1),
    )


def _planned_people(found: ExperimentResults, variant: str) -> int | None:
    """How many of the planned people are the control's and this variant's."""
    defined, one = found.definition, found.defined(variant)
    if defined is None or one is None or defined.planned_people is None:
        return None
    whole = sum(each.weight for each in defined.variants)
    return max(1, round(defined.planned_people * (defined.control.weight + one.weight) / whole))


def _effect_report(effect: Effect) -> dict[str, Any]:
    return {
        "metric": effect.metric,
        "control": effect.control,
        "variant": effect.variant,
        "relative": effect.relative,
        "low": effect.low,
        "high": effect.high,
        "absolute": effect.absolute,
        "absolute_low": _finite(effect.absolute_low),
        "absolute_high": _finite(effect.absolute_high),
        "p_value": effect.p_value,
        "is_decided": effect.is_decided,
    }


def _sample_ratio_report(split: SampleRatio, left_out: list[str]) -> dict[str, Any]:
    return {
        "expected": {name: round(people, 1) for name, people in split.expected.items()},
        "seen": dict(split.seen),
        "p_value": split.p_value,
        "is_mismatch": split.is_mismatch,
        "left_out": left_out,
    }


def _is_by(verdict: Verdict, guardrail: Guardrail) -> bool:
    return (verdict.metric, verdict.bound) == (guardrail.metric, guardrail.bound)


def _stopped(verdict: Verdict) -> dict[str, Any]:
    return {
        "state": "stopped",
        "value": verdict.value,
        "end": format_optional_timestamp(verdict.at),
        "reason": verdict.reason,
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
