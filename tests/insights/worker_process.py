"""The Faust worker as a process, and the rows that it writes."""

from __future__ import annotations

import math
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from tests.support.kafka import KafkaForTest
from tests.support.rows import SIZES

from eddyline.adapters.kafka import TopicTail
from eddyline.adapters.telemetry import Metrics
from eddyline.insights.changelog_view import CellQuery, ChangelogView
from eddyline.insights.rows import Cell, CellKey
from eddyline.insights.supervisor import Supervisor
from eddyline.insights.worker_config import WorkerConfig
from eddyline.settings import InsightsSettings
from eddyline.topics import changelog_topic

SETTINGS = InsightsSettings(flush_seconds=0.2)


class Windows(ChangelogView):
    """The windows, as their changelog has them."""

    def all_cells(self) -> dict[CellKey, Cell]:
        found: dict[CellKey, Cell] = {}
        for size in SIZES:
            for key, cell in self.cells(CellQuery(size, 0, math.inf, {})):
                found.setdefault(key, Cell()).merge(cell)
        return found

    def total(self) -> Counter[str]:
        found: Counter[str] = Counter()
        for _, cell in self.cells(CellQuery("hour", 0, math.inf, {})):
            found.update(cell.counts)
        return +found

    def count(self, name: str) -> int:
        """How many records came to this end."""
        return sum(one.counts.get(name, 0) for one in self.progress().values())

    def handled(self) -> Counter[str]:
        """Records, by topic."""
        found: Counter[str] = Counter()
        for progress in self.progress().values():
            found.update({topic: offset + 1 for topic, offset in progress.offsets.items()})
        return found


RUN = """
import sys
from eddyline.cli import main
from eddyline.insights.faust import application

application.SESSION_SECONDS, application.HEARTBEAT_SECONDS = {session}, 0.3
sys.argv = ["eddyline", "insights-worker"]
main()
"""
"""A worker of a group that soon sees who is dead."""


@contextmanager
def measuring(
    kafka: KafkaForTest, directory: Path, patches: str = "", log_level: Literal["warning", "error"] = "warning"
) -> Iterator[tuple[Supervisor, Windows]]:
    """A supervised worker, and its table."""
    session = 2.0 if kafka.kind == "jars" else 6.0  # as short as the cluster allows
    command = (sys.executable, "-c", patches + RUN.format(session=session))
    config = WorkerConfig(
        cluster=kafka.options,
        settings=SETTINGS,
        directory=directory / "tables",
        is_embedded=kafka.kind == "in-process",
        log_level=log_level,
        log_format="json",
    )
    table, supervisor = Windows(SETTINGS, time.time), Supervisor(config, Metrics(), command)
    tail = TopicTail(kafka.options, changelog_topic("windows"), table.apply)
    tail.start()
    supervisor.start()
    try:
        yield supervisor, table
    finally:
        supervisor.stop()
        tail.close()
