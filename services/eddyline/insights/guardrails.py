"""Guardrails at work: variants are judged by what the view holds, and one that is beyond a bound is stopped, once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import structlog

from eddyline.adapters.kafka import Outgoing, Producer, Record
from eddyline.adapters.telemetry import Metrics
from eddyline.errors import InvalidEvent, Overloaded, Unavailable
from eddyline.insights.changelog_view import CellQuery, ChangelogView
from eddyline.model.experiments.definitions import Experiment, Experiments, Guardrail, Variant
from eddyline.model.experiments.moments import Moments
from eddyline.model.experiments.verdicts import TOPIC, Verdict, parse_verdict
from eddyline.model.insights.judgement import (
    MOST_WINDOWS,
    Judgement,
    describe_breach,
    fully_read_until,
    judge_guardrail,
    judgeable_until,
)
from eddyline.model.insights.kpis import window_start
from eddyline.model.insights.rows import SECONDS
from eddyline.settings import InsightsSettings

log = structlog.get_logger("insights")

WITHOUT_REVISION = ""
"""Of lists of another system whose app didn't say it: they count to the present one."""


class VerdictView:
    """Which variants are stopped, as the topic `verdicts` tells it. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._log: str | None = None
        self._known: dict[str, Verdict] = {}
        self._lifted: dict[str, float] = {}

    def apply(self, record: Record) -> None:
        """Take one record of the topic; a tombstone lets a variant go on."""
        key = (record.key or b"").decode(errors="replace")
        try:
            verdict = None if record.value is None else parse_verdict(record.value)
        except InvalidEvent as error:
            log.warning("skipped an invalid verdict", key=key, offset=record.offset, reason=str(error))
            return
        with self._lock:
            if record.log != self._log:
                self._log, self._known, self._lifted = record.log, {}, {}
            if verdict is None:
                self._known.pop(key, None)
                self._lifted[key] = record.timestamp / 1000
            else:
                self._known[verdict.key] = verdict

    def note(self, verdict: Verdict) -> None:
        """Know of a verdict that was just written."""
        with self._lock:
            self._known[verdict.key] = verdict

    def of(self, experiment: Experiment, variant: str) -> Verdict | None:
        """The verdict that stops a variant of the present definition."""
        with self._lock:
            found = self._known.get(f"{experiment.name}/{variant}")
        return found if found is not None and found.revision == experiment.revision else None

    def lifted(self, experiment: str, variant: str) -> float:
        """When a variant was let go on, in epoch seconds; 0 where it wasn't."""
        with self._lock:
            return self._lifted.get(f"{experiment}/{variant}", 0.0)

    def all(self) -> list[Verdict]:
        """Every verdict, of present and of earlier definitions."""
        with self._lock:
            return [self._known[key] for key in sorted(self._known)]


class GuardrailEvaluator:
    """Judges variants by what the view holds."""

    def __init__(self, view: ChangelogView, verdicts: VerdictView, settings: InsightsSettings) -> None:
        self._view, self._verdicts = view, verdicts
        self._delay = settings.settle_minutes * 60

    def judgement(self, experiment: Experiment, variant: Variant, guardrail: Guardrail) -> Judgement:
        """How a variant stands. Nothing from before its present definition counts, nor from before it was let go on."""
        read = fully_read_until(self._view.progress().values())
        since = self._since(experiment, variant, guardrail)
        if read is None or since is None:
            return Judgement("not enough yet")
        until = judgeable_until(guardrail.metric, read, self._delay)
        where = {"experiment": frozenset([experiment.name]), "variant": frozenset([variant.name])}
        end = window_start(until, guardrail.window)
        start = max(since, end - MOST_WINDOWS * SECONDS[guardrail.window])
        cells = self._view.cells(CellQuery(guardrail.window, start, end, where))
        return judge_guardrail(guardrail, cells, since, until)

    def _since(self, experiment: Experiment, variant: Variant, guardrail: Guardrail) -> float | None:
        """From when on windows hold lists of the present definition alone; None where there are none yet."""
        known = self._view.variants()
        mine = {
            key.revision: moments
            for key, moments in known.items()
            if (key.experiment, key.variant) == (experiment.name, variant.name)
        }
        began = first_served_at(current_moments(mine, experiment, variant))
        if began is None:
            return None
        is_first = len(mine) == 1
        lifted = self._verdicts.lifted(experiment.name, variant.name)
        return max(window_start(began, guardrail.window) if is_first else began, lifted)


class GuardrailEnforcer:
    """Stops variants that are beyond a bound of their experiment, never the control. A verdict is written once for each
    definition of an experiment and variant; what was decided before a restart is known from the topic.

    `ready`: whether the view and the verdicts have read what there was; nothing is judged before.
    """

    def __init__(
        self,
        judging: GuardrailEvaluator,
        verdicts: VerdictView,
        experiments: Callable[[], Experiments],
        producer: Producer,
        metrics: Metrics,
        ready: Callable[[], bool],
        clock: Callable[[], float],
    ) -> None:
        self._judging, self._verdicts, self._experiments = judging, verdicts, experiments
        self._producer, self._metrics, self._ready, self._clock = producer, metrics, ready, clock

    def look(self) -> None:
        """Judge every variant that runs. What can't be judged or written now is tried again at the next look."""
        if not self._ready():
            return
        now = self._clock()
        experiments = self._experiments()
        for experiment in experiments:
            if experiment.runs(now):
                for variant in experiment.variants[1:]:
                    if self._verdicts.of(experiment, variant.name) is None:
                        self._try(experiment, variant, now)
        self._tell(experiments)

    def _try(self, experiment: Experiment, variant: Variant, now: float) -> None:
        try:
            self._look_at(experiment, variant, now)
        except Exception:  # whatever is wrong with this one: the others are still to be stopped
            log.exception("a variant couldn't be judged", experiment=experiment.name, variant=variant.name)

    def _look_at(self, experiment: Experiment, variant: Variant, now: float) -> None:
        for guardrail in experiment.guardrails:
            judgement = self._judging.judgement(experiment, variant, guardrail)
            if judgement.state == "broken" and judgement.value is not None:
                self._stop(_verdict_from(experiment, variant, guardrail, judgement, now))
                return

    def _stop(self, verdict: Verdict) -> None:
        try:
            self._producer.send_all([Outgoing(TOPIC, verdict.key.encode(), verdict.to_bytes())])
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

    def _tell(self, experiments: Experiments) -> None:
        self._metrics.insights_stopped.clear()
        for experiment in experiments:
            for variant in experiment.variants[1:]:
                stopped = self._verdicts.of(experiment, variant.name) is not None
                self._metrics.insights_stopped.labels(experiment.name, variant.name).set(stopped)


@dataclass(frozen=True, slots=True)
class PeriodicTask:
    """Something that is done again and again. `name` is for the log."""

    name: str
    run: Callable[[], None]


class PeriodicRunner:
    """Runs tasks every so many seconds, in a thread of its own. What one raises is logged, and the rest goes on."""

    def __init__(self, tasks: Iterable[PeriodicTask], seconds: float) -> None:
        self._tasks, self._seconds = tuple(tasks), seconds
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="insights-watch", daemon=True)

    def start(self) -> None:
        """Begin. Returns at once."""
        self._thread.start()

    def close(self) -> None:
        """Stop, once the task in hand has ended."""
        self._over.set()
        if self._thread.is_alive():
            self._thread.join()

    def look(self) -> None:
        """Run every task once."""
        for task in self._tasks:
            try:
                task.run()
            except Exception:
                log.exception("failed; will try again at the next check", task=task.name)

    def _run(self) -> None:
        while not self._over.wait(self._seconds):
            self.look()


def current_moments(mine: dict[str, Moments], experiment: Experiment, variant: Variant) -> list[Moments]:
    """Return, of a variant's moments by revision, those of the present definition."""
    revisions = [experiment.revision, *([WITHOUT_REVISION] if variant.external else [])]
    return [mine[revision] for revision in revisions if revision in mine]


def first_served_at(found: Iterable[Moments]) -> float | None:
    """The time of the first list."""
    return min((one.since for one in found if one.since is not None), default=None)


def _verdict_from(
    experiment: Experiment, variant: Variant, guardrail: Guardrail, judgement: Judgement, now: float
) -> Verdict:
    assert judgement.value is not None
    return Verdict(
        experiment=experiment.name,
        revision=experiment.revision,
        variant=variant.name,
        metric=guardrail.metric,
        value=judgement.value,
        bound=guardrail.bound,
        at=now,
        reason=describe_breach(guardrail, variant.name, judgement),
    )
