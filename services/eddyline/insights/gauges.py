"""The measures of the last settled minute, as gauges."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from eddyline.adapters.telemetry import Metrics
from eddyline.insights.changelog_view import CellQuery, ChangelogView
from eddyline.insights.guardrails import fully_read_until
from eddyline.insights.kpis import (
    CellTotals,
    Group,
    Label,
    compute_kpis,
    group_cells,
)
from eddyline.insights.rows import SECONDS, window_start
from eddyline.settings import InsightsSettings

BY: tuple[Group, ...] = ("surface", "strategy", "experiment", "variant")
MAX_COMBINATIONS = 100
"""Combinations that have gauges of their own, at most: names come from outside, and each is a time series for ever."""
REST = ("other",) * len(BY)


class Gauges:
    """Sets the gauges to the last minute whose clicks have had time to come. `clock`: epoch seconds."""

    def __init__(
        self, view: ChangelogView, settings: InsightsSettings, metrics: Metrics, clock: Callable[[], float]
    ) -> None:
        self._view, self._metrics, self._clock = view, metrics, clock
        self._delay = settings.settle_minutes * 60
        self._set: set[tuple[str, tuple[str, ...]]] = set()

    def set(self) -> None:
        """Set them; what isn't there any more vanishes."""
        read = fully_read_until(self._view.progress().values())
        if read is None:
            return
        self._metrics.insights_behind.set(max(0.0, self._clock() - read))
        start = window_start(read - self._delay, "minute") - SECONDS["minute"]
        cells = self._view.cells(CellQuery("minute", start, start + SECONDS["minute"], {}))
        found = {
            label: compute_kpis(totals, BY, None) for label, totals in _busiest(group_cells(cells, BY, 0.0)).items()
        }
        self._metrics.insights_window.set(start)
        values = {
            (name, label): value
            for label, kpis in found.items()
            for name in self._metrics.insights
            if (value := getattr(kpis, name)) is not None
        }
        for (name, label), value in values.items():
            self._metrics.insights[name].labels(*label).set(value)
        for name, label in self._set - values.keys():
            self._metrics.insights[name].remove(*label)
        self._set = set(values)


def _busiest(found: Mapping[Label, CellTotals]) -> dict[tuple[str, ...], CellTotals]:
    """The busiest by their own names, and all others together."""
    busiest = sorted(found, key=lambda label: (-found[label].cell.counts["requests"], label))
    shown = {tuple(map(str, label)): found[label] for label in busiest[:MAX_COMBINATIONS]}
    for label in busiest[MAX_COMBINATIONS:]:
        shown.setdefault(REST, CellTotals()).cell.merge(found[label].cell)
    return shown
