"""The half of insights that answers: it follows the rows and the verdicts, and serves, guards and shows them."""

from __future__ import annotations

from collections.abc import Callable

from fastapi import APIRouter

from eddyline.adapters.kafka import KafkaOptions, Producer, TopicTail
from eddyline.adapters.telemetry import Metrics
from eddyline.errors import Unavailable
from eddyline.insights.api import router
from eddyline.insights.comparing import Comparing
from eddyline.insights.gauges import Gauges
from eddyline.insights.guarding import Guard, Judging, Task, Verdicts, Watch
from eddyline.insights.measuring import Measuring
from eddyline.insights.view import View
from eddyline.model.experiments.definitions import Experiments
from eddyline.model.experiments.verdicts import TOPIC as VERDICTS
from eddyline.settings import Insights

ROWS = "insights-windows-changelog"
"""The changelog of the table of windows: all that is read of what the worker keeps."""


class Answers:
    """Everything that reads what the worker of insights writes. It needs no worker to be there: without one, nothing
    new comes. The caller must `close` it.

    `experiments`: those in force now; `catalogue`: how many items there are, None where nobody knows; it may raise
    `Unavailable`. `clock`: epoch seconds.
    """

    def __init__(
        self,
        options: KafkaOptions,
        producer: Producer,
        settings: Insights,
        experiments: Callable[[], Experiments],
        catalogue: Callable[[], int | None],
        metrics: Metrics,
        clock: Callable[[], float],
    ) -> None:
        view, verdicts = View(settings, clock), Verdicts()
        self._rows = TopicTail(options, ROWS, view.apply)
        self._verdicts = TopicTail(options, VERDICTS, verdicts.apply)
        judging = Judging(view, verdicts, settings)
        self._measuring = Measuring(view, settings, lambda: self._rows.caught_up, catalogue, clock)
        self._comparing = Comparing(view, self._measuring, judging, verdicts, experiments, clock)
        guard = Guard(judging, verdicts, experiments, producer, metrics, self._is_ready, clock)
        gauges = Gauges(view, settings, metrics, clock)
        tasks = (Task("guardrails", guard.look), Task("gauges", gauges.set))
        self._watch = Watch(tasks, settings.guard_seconds)

    def router(self) -> APIRouter:
        """Its routes."""
        return router(self._measuring, self._comparing)

    def start(self) -> None:
        """Begin to follow, guard and show. Returns at once."""
        self._rows.start()
        self._verdicts.start()
        self._watch.start()

    def close(self) -> None:
        """Stop."""
        self._watch.close()
        self._rows.close()
        self._verdicts.close()

    def check(self) -> None:
        """Raise `Unavailable` until it has read what there was when it started."""
        if not self._is_ready():
            raise Unavailable("insights is still reading its rows")

    def _is_ready(self) -> bool:
        return self._rows.caught_up and self._verdicts.caught_up
