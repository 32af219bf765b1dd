"""Rows of insights, as its worker would have written them."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterable, Mapping

from tests.support.fakes import LOG, NOW, Clock, FakeProducer, record

from eddyline.adapters.kafka import Record
from eddyline.adapters.telemetry import Metrics
from eddyline.insights.changelog_view import ChangelogView
from eddyline.insights.comparison import ExperimentComparison
from eddyline.insights.guardrails import GuardrailEnforcer, GuardrailEvaluator
from eddyline.insights.measures import Measures
from eddyline.insights.moments import TOTALS, Moments
from eddyline.insights.rows import (
    PROGRESS_KEY,
    SECONDS,
    Cell,
    CellKey,
    Dimensions,
    PartitionProgress,
    Size,
    VariantKey,
)
from eddyline.insights.verdict_view import VerdictView
from eddyline.model.experiments.definitions import Experiments, parse_experiments
from eddyline.settings import InsightsSettings, Settings

ROWS = "insights-windows-changelog"
SIZES: tuple[Size, ...] = ("minute", "hour", "day")


def cell_row(size: Size, start: float, cell: Cell, partition: int = 0, log: str = LOG, **whose: str) -> Record:
    """One row; `start` may be any time in the window."""
    first = int(start // SECONDS[size]) * SECONDS[size]
    key = CellKey(size, first, Dimensions(**whose))
    return record(ROWS, key.to_bytes(), cell.to_bytes(), partition=partition, log=log)


def cell_rows(start: float, cell: Cell, partition: int = 0, **whose: str) -> list[Record]:
    """The same cell in windows of all sizes; of visitors, only in that of a day."""
    return [cell_row(size, start, cell, partition, **whose) for size in SIZES]


def cell(
    people: Iterable[str] = (), items: Iterable[str] = (), took: Mapping[int, int] | None = None, **n: int
) -> Cell:
    """A cell with these counts."""
    found = Cell(Counter(n), Counter(took or {}))
    found.people.add(people)
    found.items.add(items)
    return found


def moments(people: Iterable[Mapping[str, float]], since: float = NOW, until: float | None = None) -> Moments:
    """Of people with these totals; what isn't named is 0, but for one request."""
    found = Moments()
    for index, person in enumerate(people):
        totals = tuple(float({"requests": 1.0, **person}.get(name, 0.0)) for name in TOTALS)
        found = found.moved(None, totals, since if index == 0 or until is None else until)
    return found


def clickers(people: int, rate: float, seed: int) -> list[dict[str, float]]:
    """The totals of people who see twenty items each, of which they click at this rate."""
    drawn = random.Random(seed)
    return [
        {"impressions": 20.0, "clicks": float(sum(drawn.random() < rate for _ in range(20)))} for _ in range(people)
    ]


def variant_row(experiment: str, revision: str, variant: str, found: Moments, partition: int = 0) -> Record:
    """What is known of a variant's people."""
    key = VariantKey(experiment, revision, variant)
    return record(ROWS, key.to_bytes(), found.to_bytes(), partition=partition)


def progress_row(at: float, read_until: float | None = None, partition: int = 0, **counts: int) -> Record:
    """How far a partition is; everything is read where nothing else is said."""
    read_until = at if read_until is None else read_until
    return record(
        ROWS, PROGRESS_KEY, PartitionProgress(at, at, counts, read=read_until).to_bytes(), partition=partition
    )


def defined(text: str, settings: Settings | None = None) -> Experiments:
    """Experiments, as their file says them."""
    return parse_experiments(text, settings or Settings(), "experiments.toml")


class MemoryTables:
    """The tables of one partition, in memory."""

    def __init__(self) -> None:
        self.rows: dict[str, dict[bytes, bytes]] = {}

    def get(self, table: str, key: bytes) -> bytes | None:
        """A row's value."""
        return self.rows.get(table, {}).get(key)

    def put(self, table: str, key: bytes, value: bytes | None) -> None:
        """Write a row, or drop it."""
        rows = self.rows.setdefault(table, {})
        if value is None:
            rows.pop(key, None)
        else:
            rows[key] = value

    def keys(self, table: str) -> list[bytes]:
        """The keys of all rows."""
        return list(self.rows.get(table, {}))


class Desk:
    """Everything of insights that answers, in memory."""

    def __init__(self, experiments: str = "", settings: InsightsSettings | None = None) -> None:
        self.clock, self.producer, self.metrics = Clock(), FakeProducer(), Metrics()
        self.settings = settings or InsightsSettings()
        self.experiments = defined(experiments)
        self.items: Callable[[], int | None] = lambda: None
        self.caught_up = True
        self.view, self.verdicts = ChangelogView(self.settings, self.clock), VerdictView()
        evaluator = GuardrailEvaluator(self.view, self.verdicts, self.settings)
        self.measures = Measures(self.view, self.settings, lambda: self.caught_up, lambda: self.items(), self.clock)
        self.comparison = ExperimentComparison(
            self.view, self.measures, evaluator, self.verdicts, lambda: self.experiments, self.clock
        )
        self.guard = GuardrailEnforcer(
            evaluator,
            self.verdicts,
            lambda: self.experiments,
            self.producer,
            self.metrics,
            lambda: self.caught_up,
            self.clock,
        )

    def feed(self, *rows: Record) -> None:
        """Take these rows."""
        for row in rows:
            self.view.apply(row)

    def define(self, text: str) -> None:
        """Change the experiments file."""
        self.experiments = defined(text)

    def revision(self, name: str) -> str:
        """Of the present definition."""
        experiment = self.experiments.named(name)
        assert experiment is not None
        return experiment.revision
