"""Guardrails: a variant that is beyond a bound of its experiment is stopped, once.

`judge_guardrail` is the stop rule itself, pure; `GuardrailEvaluator` applies it to what the changelog view holds, for
reports too (in request threads); `GuardrailEnforcer` writes verdicts, in the one thread of the periodic tasks. A crash
between a verdict's write and its note changes nothing: it is read back from its topic before anything is judged again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Final, Literal, TypeAlias

import structlog

from eddyline.adapters.kafka import Outgoing, Producer
from eddyline.adapters.telemetry import Metrics
from eddyline.errors import Overloaded, Unavailable
from eddyline.insights.changelog_view import CellQuery, ChangelogView
from eddyline.insights.kpis import percentile, ratio
from eddyline.insights.moments import Moments
from eddyline.insights.rows import SECONDS, Cell, CellKey, PartitionProgress, window_start
from eddyline.insights.verdict_view import VerdictView
from eddyline.model.experiments.definitions import Experiment, Experiments, Guardrail, Variant
from eddyline.model.experiments.verdicts import Verdict
from eddyline.settings import InsightsSettings
from eddyline.topics import VERDICTS

State: TypeAlias = Literal["ok", "broken", "not enough yet"]
MAX_WINDOWS: Final = 24
"""How many windows back a guardrail looks for enough lists."""
LATENCY_SHARE = 0.95
"""`latency_ms` is this quantile of the response times."""
WORDS: Final[Mapping[str, str]] = {
    "ctr": "click-through rate",
    "latency_ms": "95th percentile of the milliseconds to answer",
    "empty": "share of empty lists",
}
WITHOUT_REVISION = ""
"""The revision of another system's lists whose app gave none: they count to the present definition."""

log = structlog.get_logger("insights")


# -- the rule -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Judgement:
    """What became of a guardrail. `value` is None while there is too little; `lists` is how many were judged, of the
    windows in [start, end) (epoch seconds)."""

    state: State
    value: float | None = None
    lists: int = 0
    start: int | None = None
    end: int | None = None


def judge_guardrail(
    guardrail: Guardrail, cells: Iterable[tuple[CellKey, Cell]], since: float, until: float
) -> Judgement:
    """Judge a variant by its cells of the guardrail's window size, which come by window, the newest first. They are
    taken only as far back as is needed.

    Judged is the last window that is over by `until`; where it has fewer lists than needed, together with as many
    before it as it takes, at most `MAX_WINDOWS` back, and none that begins before `since` (both epoch seconds).
    """
    seconds = SECONDS[guardrail.window]
    newest = window_start(until, guardrail.window) - seconds
    oldest = max(since, newest - (MAX_WINDOWS - 1) * seconds)
    judged = (
        (key.start, cell) for key, cell in cells if key.size == guardrail.window and oldest <= key.start <= newest
    )
    total, lists = Cell(), 0
    for start, window in groupby(judged, key=lambda item: item[0]):
        for _, cell in window:
            total.merge(cell)
        lists = total.took.total() if guardrail.metric == "latency_ms" else total.counts["requests"]
        if lists >= guardrail.least:
            value = _value(guardrail, total)
            if value is None:
                return Judgement("not enough yet", None, lists, start, newest + seconds)
            state: State = "broken" if guardrail.is_broken_by(value) else "ok"
            return Judgement(state, value, lists, start, newest + seconds)
    return Judgement("not enough yet", None, lists)


def judgeable_until(metric: str, read: float, delay: float) -> float:
    """Up to when windows can be judged by a metric, in epoch seconds. `read`: until when everything is read that was
    sent; `delay`: for so many seconds, clicks on what was shown still come in."""
    return read - delay if metric == "ctr" else read


def fully_read_until(progress: Iterable[PartitionProgress]) -> float | None:
    """Until when every partition is read, in epoch seconds, as far as is known; None where nothing is."""
    return min((partition.read for partition in progress if partition.read is not None), default=None)


def describe_breach(guardrail: Guardrail, variant: str, judgement: Judgement) -> str:
    """Say in a sentence how a guardrail is broken."""
    side, bound = ("over", guardrail.max) if guardrail.min is None else ("under", guardrail.min)
    return (
        f"{variant}: its {WORDS[guardrail.metric]} was {judgement.value:.4g}, {side} {bound:g}, "
        f"in {judgement.lists:,} lists"
    )


def _value(guardrail: Guardrail, cell: Cell) -> float | None:
    counts = cell.counts
    match guardrail.metric:
        case "ctr":
            return ratio(counts["clicks"], counts["impressions"])
        case "empty":
            return ratio(counts["empty"], counts["requests"])
        case "latency_ms":
            return percentile(cell.took, LATENCY_SHARE)


# -- what it is applied to ----------------------------------------------------------------------------------------


class GuardrailEvaluator:
    """Judges variants by what the view holds."""

    def __init__(self, view: ChangelogView, verdicts: VerdictView, settings: InsightsSettings) -> None:
        self._view, self._verdicts = view, verdicts
        self._delay = settings.settle_minutes * 60

    def judge(self, experiment: Experiment, variant: Variant, guardrail: Guardrail) -> Judgement:
        """Judge how a variant stands. Nothing from before its present definition counts, nor from before it was let go
        on."""
        read = fully_read_until(self._view.progress().values())
        since = self._since(experiment, variant, guardrail)
        if read is None or since is None:
            return Judgement("not enough yet")
        until = judgeable_until(guardrail.metric, read, self._delay)
        where = {"experiment": frozenset([experiment.name]), "variant": frozenset([variant.name])}
        end = window_start(until, guardrail.window)
        start = max(since, end - MAX_WINDOWS * SECONDS[guardrail.window])
        cells = self._view.cells(CellQuery(guardrail.window, start, end, where))
        return judge_guardrail(guardrail, cells, since, until)

    def _since(self, experiment: Experiment, variant: Variant, guardrail: Guardrail) -> float | None:
        """From when on windows hold lists of the present definition alone; None where there are none yet."""
        by_revision = {
            key.revision: moments
            for key, moments in self._view.variants().items()
            if (key.experiment, key.variant) == (experiment.name, variant.name)
        }
        began = current_moments(by_revision, experiment, variant).since
        if began is None:
            return None
        is_first = len(by_revision) == 1
        lifted = self._verdicts.lifted_at(experiment.name, variant.name)
        return max(window_start(began, guardrail.window) if is_first else began, lifted)


class GuardrailEnforcer:
    """Stops variants that are beyond a bound of their experiment, never the control. A verdict is written once for each
    definition of an experiment and variant; what was decided before a restart is known from the topic.

    `ready`: whether the view and the verdicts have read what there was; nothing is judged before.
    """

    def __init__(
        self,
        evaluator: GuardrailEvaluator,
        verdicts: VerdictView,
        experiments: Callable[[], Experiments],
        producer: Producer,
        metrics: Metrics,
        ready: Callable[[], bool],
        clock: Callable[[], float],
    ) -> None:
        self._evaluator, self._verdicts, self._experiments = evaluator, verdicts, experiments
        self._producer, self._metrics, self._ready, self._clock = producer, metrics, ready, clock

    def check_all(self) -> None:
        """Judge every variant that runs. What can't be judged or written now is tried again at the next check."""
        if not self._ready():
            return
        now = self._clock()
        experiments = self._experiments()
        for experiment in experiments:
            if experiment.runs(now):
                for variant in experiment.variants[1:]:
                    if self._verdicts.find(experiment, variant.name) is None:
                        self._check(experiment, variant, now)
        self._set_gauges(experiments)

    def _check(self, experiment: Experiment, variant: Variant, now: float) -> None:
        try:
            for guardrail in experiment.guardrails:
                judgement = self._evaluator.judge(experiment, variant, guardrail)
                if judgement.state == "broken" and judgement.value is not None:
                    self._stop(
                        Verdict(
                            experiment=experiment.name,
                            revision=experiment.revision,
                            variant=variant.name,
                            metric=guardrail.metric,
                            value=judgement.value,
                            bound=guardrail.bound,
                            at=now,
                            reason=describe_breach(guardrail, variant.name, judgement),
                        )
                    )
                    return
        except Exception:  # whatever is wrong with this one: the others are still to be stopped
            log.exception("a variant couldn't be judged", experiment=experiment.name, variant=variant.name)

    def _stop(self, verdict: Verdict) -> None:
        try:
            self._producer.send_all([Outgoing(VERDICTS, verdict.key.encode(), verdict.to_bytes())])
        except (Unavailable, Overloaded) as error:
            log.warning("a variant must be stopped, but the verdict can't be written now", reason=str(error))
            return
        self._verdicts.note(verdict)
        log.warning(
            "a guardrail stopped a variant",
            experiment=verdict.experiment,
            variant=verdict.variant,
            metric=verdict.metric,
            value=verdict.value,
            bound=verdict.bound,
        )

    def _set_gauges(self, experiments: Experiments) -> None:
        self._metrics.insights_stopped.clear()
        for experiment in experiments:
            for variant in experiment.variants[1:]:
                stopped = self._verdicts.find(experiment, variant.name) is not None
                self._metrics.insights_stopped.labels(experiment.name, variant.name).set(stopped)


def current_moments(by_revision: Mapping[str, Moments], experiment: Experiment, variant: Variant) -> Moments:
    """Sum a variant's moments of the present definition."""
    revisions = [experiment.revision, *([WITHOUT_REVISION] if variant.external else [])]
    return sum((by_revision[revision] for revision in revisions if revision in by_revision), Moments())
