"""The measures of the last settled minute, as gauges."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from eddyline.adapters.telemetry import Metrics
from eddyline.insights.changelog_view import CellQuery, ChangelogView
from eddyline.model.insights.judgement import fully_read_until
from eddyline.model.insights.kpis import (
    CellTotals,
    Group,
    Kpis,
    KpiScope,
    Label,
    compute_kpis,
    group_cells,
    window_start,
)
from eddyline.model.insights.rows import SECONDS
from eddyline.settings import InsightsSettings

BY: tuple[Group, ...] = ("surface", "strategy", "experiment", "variant")
MOST = 100
"""Most combinations that have gauges of their own. Names come from outside, and each is a time series for ever."""
REST = ("other",) * len(BY)
SHOWN = (
    "requests",
    "impressions",
    "clicks",
    "ctr",
    "conversions",
    "revenue",
    "people",
    "dwell_ms",
    "empty_share",
    "degraded_share",
    "latency_p95",
)
"""The measures that have a gauge."""


class Gauges:
    """Sets the gauges to what the last minute was whose clicks have had time to come. `clock`: epoch seconds."""

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
            label: compute_kpis(tally, KpiScope(organic=False), None)
            for label, tally in _busiest(group_cells(cells, BY, 0.0)).items()
        }
        self._metrics.insights_window.set(start)
        now = {(name, label) for label, measured in found.items() for name in _measured_names(measured)}
        for name, label in now:
            self._metrics.insights[name].labels(*label).set(getattr(found[label], name))
        for name, label in self._set - now:
            self._metrics.insights[name].remove(*label)
        self._set = now


def _measured_names(measured: Kpis) -> list[str]:
    return [name for name in SHOWN if getattr(measured, name) is not None]


def _busiest(found: Mapping[Label, CellTotals]) -> dict[tuple[str, ...], CellTotals]:
    """The busiest by their own names, and all others together."""
    busiest = sorted(found, key=lambda label: (-found[label].cell.counts["requests"], label))
    shown = {tuple(map(str, label)): found[label] for label in busiest[:MOST]}
    for label in busiest[MOST:]:
        shown.setdefault(REST, CellTotals()).cell.merge(found[label].cell)
    return shown
