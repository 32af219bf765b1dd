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
from pathlib import Path
from typing import TYPE_CHECKING

import orjson
from fastapi import APIRouter

from eddyline.adapters.kafka import KafkaOptions, LogReader, Outgoing, Producer, Record, TopicTail
from eddyline.adapters.private_files import make_private
from eddyline.adapters.telemetry import Metrics
from eddyline.errors import InvalidEvent, Misconfigured, Unavailable
from eddyline.model.experiments.definitions import Experiments
from eddyline.model.experiments.verdicts import parse_verdict
from eddyline.runtime.progress_watch import ProgressWatch
from eddyline.settings import Settings
from eddyline.topics import VERDICTS, changelog_topic

if TYPE_CHECKING:
    from eddyline.insights.verdict_view import VerdictView

GUARD_SECONDS = 10.0
"""How often guardrails are checked."""
DRAIN_SECONDS = 10.0
STALLED_SECONDS = 120.0
"""A worker that has records to measure and has measured none for so long isn't ready."""
LIBRARIES = ("faust", "cramjam", "datasketches", "rocksdict", "ville")


def is_installed() -> bool:
    """Tell whether the extra `insights` is installed."""
    return all(name in sys.modules or importlib.util.find_spec(name) is not None for name in LIBRARIES)


class VerdictFile:
    """Verdicts in a file too, since those of the in-process broker end with it."""

    def __init__(self, directory: Path, producer: Producer, verdicts: VerdictView) -> None:
        self._path, self._producer, self._verdicts = directory / "verdicts.json", producer, verdicts

    def apply(self, record: Record) -> None:
        """Take one record of the topic, and keep what is in force then."""
        self._verdicts.apply(record)
        make_private(self._path.parent)
        fresh = self._path.with_suffix(".new")
        fresh.write_bytes(orjson.dumps([one.to_bytes().decode() for one in self._verdicts.all()]))
        fresh.replace(self._path)

    def write_again(self) -> None:
        """Write to the topic what was in force when the file was written.

        Raises `Misconfigured` for a file that can't be read, and `Unavailable`.
        """
        if not self._path.exists():
            return
        try:
            kept = [parse_verdict(one.encode()) for one in orjson.loads(self._path.read_bytes())]
        except (ValueError, AttributeError, InvalidEvent) as error:
            raise Misconfigured(
                f"{self._path} doesn't hold verdicts ({error}): fix it, or delete it to let all variants go on"
            ) from None
        self._producer.send_all([Outgoing(VERDICTS, one.key.encode(), one.to_bytes()) for one in kept])


class InsightsRole:
    """Insights in this process. The caller must `close` it before it closes the producer."""

    def __init__(
        self,
        settings: Settings,
        options: KafkaOptions,
        producer: Producer,
        experiments: Callable[[], Experiments],
        catalogue: Callable[[], int | None],
        dead_letters: Path | None,
        metrics: Metrics,
    ) -> None:
        """`catalogue`: how many items there are; `dead_letters`: a folder for them, None: their topics.

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

        self._options = options
        view, verdicts = ChangelogView(settings.insights, time.time), VerdictView()
        directory = settings.data_dir / "insights"
        self._verdict_file = None if dead_letters is None else VerdictFile(directory, producer, verdicts)
        self._view = view
        apply_verdict = verdicts.apply if self._verdict_file is None else self._verdict_file.apply
        tails = (
            TopicTail(options, changelog_topic("windows"), view.apply),
            TopicTail(options, VERDICTS, apply_verdict),
        )

        def caught_up() -> bool:
            return all(tail.caught_up for tail in tails)

        config = WorkerConfig(
            cluster=options,
            settings=settings.insights,
            directory=directory,
            dead_letters=dead_letters,
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
        self._progress = ProgressWatch(STALLED_SECONDS, time.monotonic)
        tasks = {"guardrails": enforcer.check_all, "gauges": gauges.set, "progress": self._note_progress}
        self._periodic_tasks = PeriodicTasks(tasks, GUARD_SECONDS)
        self.router: APIRouter = router(measures, comparison)

    def start(self) -> None:
        """Run the worker, follow its rows, and judge by them."""
        if self._verdict_file is not None:
            self._verdict_file.write_again()
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

    def close(self, drain: bool) -> None:
        """Stop; with `drain` only once the worker has measured what the log holds, unless that takes too long."""
        self._periodic_tasks.close()
        ends = self._ends() if drain else {}

        def is_done() -> bool:
            progress = self._view.progress()
            return all(
                partition in progress and progress[partition].offsets.get(topic, -1) + 1 >= end
                for (topic, partition), end in ends.items()
            )

        self._supervisor.stop(is_done, DRAIN_SECONDS if drain else 0.0)
        with ExitStack() as stack:
            for tail in self._tails:
                stack.callback(tail.close)

    def _ends(self) -> dict[tuple[str, int], int]:
        """Find the ends of the partitions that it reads, of those that hold anything."""
        from eddyline.insights.handler import TOPICS

        reader = LogReader(self._options, patience_seconds=2.0)
        try:
            return {
                (topic, partition): bounds.high
                for topic in TOPICS
                for partition, bounds in reader.bounds(topic).items()
                if bounds.high > 0
            }
        except Unavailable:
            return {}
        finally:
            reader.close()
