"""The role `insights` of a process: the worker beside it, the rows in memory, and what they answer and judge.

The worker is a process of its own, which a thread starts again when it dies. Two threads follow its rows and the
verdicts, and one runs the periodic tasks; requests are answered in the HTTP server's thread pool.
"""

from __future__ import annotations

import importlib.util
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack

from fastapi import APIRouter

from eddyline.adapters.kafka import KafkaOptions, LogReader, Producer, TopicTail
from eddyline.adapters.telemetry import Metrics
from eddyline.errors import Misconfigured, Unavailable
from eddyline.model.experiments.definitions import Experiments
from eddyline.runtime.progress_watch import ProgressWatch
from eddyline.settings import Settings
from eddyline.topics import VERDICTS, changelog_topic

GUARD_SECONDS = 10.0
"""How often guardrails are checked."""
STALLED_SECONDS = 120.0
"""A worker that has records to measure and has measured none for so long isn't ready."""
LIBRARIES = ("faust", "cramjam", "datasketches", "rocksdict", "ville")


def is_installed() -> bool:
    """Tell whether the extra `insights` is installed."""
    return all(name in sys.modules or importlib.util.find_spec(name) is not None for name in LIBRARIES)


class InsightsRole:
    """Insights in this process. The caller must `close` it before it closes the producer."""

    def __init__(
        self,
        settings: Settings,
        options: KafkaOptions,
        producer: Producer,
        experiments: Callable[[], Experiments],
        catalogue: Callable[[], int | None],
        is_embedded: bool,
        metrics: Metrics,
    ) -> None:
        """`catalogue`: how many items there are; `is_embedded`: no other process runs a worker on this log.

        Raises `Misconfigured` without its libraries.
        """
        if not is_installed():
            raise Misconfigured("the insights role needs: pip install 'eddyline[insights]'")
        from eddyline.insights.api import router
        from eddyline.insights.changelog_view import ChangelogView
        from eddyline.insights.comparison import ExperimentComparison
        from eddyline.insights.gauges import Gauges
        from eddyline.insights.guardrails import GuardrailEnforcer, GuardrailEvaluator
        from eddyline.insights.measures import Measures
        from eddyline.insights.periodic_tasks import PeriodicTasks
        from eddyline.insights.supervisor import Supervisor
        from eddyline.insights.verdict_view import VerdictView
        from eddyline.insights.worker_config import WorkerConfig

        view, verdicts = ChangelogView(settings.insights, time.time), VerdictView()
        directory = settings.data_dir / "insights"
        self._view = view
        tails = (
            TopicTail(options, changelog_topic("windows"), view.apply),
            TopicTail(options, VERDICTS, verdicts.apply),
        )

        def caught_up() -> bool:
            return all(tail.caught_up for tail in tails)

        config = WorkerConfig(
            cluster=options,
            settings=settings.insights,
            directory=directory,
            is_embedded=is_embedded,
            log_level=settings.log_level,
            log_format=settings.log_format,
        )
        self._supervisor = Supervisor(config, metrics)
        evaluator = GuardrailEvaluator(view, verdicts, settings.insights)
        measures = Measures(view, settings.insights, caught_up, catalogue, time.time)
        comparison = ExperimentComparison(view, measures, evaluator, verdicts, experiments, time.time)
        enforcer = GuardrailEnforcer(evaluator, verdicts, experiments, producer, metrics, caught_up, time.time)
        gauges = Gauges(view, settings.insights, metrics, time.time)
        self._tails = tails
        self._log = LogReader(options, patience_seconds=2.0)  # for the thread of the periodic tasks alone
        self._progress = ProgressWatch(STALLED_SECONDS, time.monotonic)
        tasks = {
            "guardrails": enforcer.check_all,
            "gauges": gauges.set,
            "history": comparison.note_effects,
            "progress": self._note_progress,
        }
        self._periodic_tasks = PeriodicTasks(tasks, GUARD_SECONDS)
        self.router: APIRouter = router(measures, comparison)

    def start(self) -> None:
        """Run the worker, follow its rows, and judge by them."""
        for tail in self._tails:
            tail.start()
        self._supervisor.start()
        self._periodic_tasks.start()

    def check(self) -> None:
        """Raise `Unavailable` unless the worker runs and its rows are known."""
        self._supervisor.check()
        if not all(tail.caught_up for tail in self._tails):
            raise Unavailable("the rows that were kept are still being read")
        if self._progress.problem:
            raise Unavailable(f"the insights worker {self._progress.problem}")

    def _note_progress(self) -> None:
        """Note how far the worker has come, of what the log holds."""
        reached = {
            (topic, partition): offset
            for partition, progress in self._view.progress().items()
            for topic, offset in progress.offsets.items()
        }
        left = sum(max(0, end - 1 - reached.get(source, -1)) for source, end in self._ends().items())
        self._progress.note(frozenset(reached.items()), left)

    def _ends(self) -> dict[tuple[str, int], int]:
        """Find the ends of the partitions that it reads, of those that hold anything."""
        from eddyline.insights.handler import TOPICS

        try:
            return {
                (topic, partition): bounds.high
                for topic in TOPICS
                for partition, bounds in self._log.bounds(topic).items()
                if bounds.high > 0
            }
        except Unavailable:
            return {}

    def close(self) -> None:
        """Stop; what isn't measured yet is in the log."""
        self._periodic_tasks.close()
        self._supervisor.stop()
        with ExitStack() as stack:
            stack.callback(self._log.close)
            for tail in self._tails:
                stack.callback(tail.close)
