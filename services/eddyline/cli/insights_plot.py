"""A plot of what came of lists: the click-through rate over time and by position, with intervals."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from eddyline.evaluation.metrics_plot import check, figure

__all__ = ["CtrPlotData", "check", "draw", "wilson"]

INCHES = (9.0, 6.4)
Z = 1.959963984540054
"""Standard errors of a 95 % interval."""
MAX_LINES = 8


@dataclass(frozen=True, slots=True)
class CtrPlotData:
    """Rows of the measures to plot: by `by` and time, and by `by` alone."""

    name: str
    by: str
    over_time: Sequence[Mapping[str, Any]]
    whole: Sequence[Mapping[str, Any]]

    def lines(self) -> list[str]:
        """List the values of `by` that are drawn: those with the most impressions."""
        busiest = sorted(self.whole, key=lambda row: (-row["impressions"], row[self.by]))
        return sorted(row[self.by] for row in busiest[:MAX_LINES] if row["impressions"])


def wilson(clicks: int, impressions: int) -> tuple[float, float]:
    """Compute the bounds of a rate: 95 %, as if each impression were a draw of its own. (E. B. Wilson, JASA 1927.)"""
    if impressions == 0:
        return 0.0, 1.0
    rate, squared = clicks / impressions, Z * Z
    middle = (rate + squared / (2 * impressions)) / (1 + squared / impressions)
    half = Z / (1 + squared / impressions) * math.sqrt(rate * (1 - rate) / impressions + squared / (4 * impressions**2))
    return max(0.0, middle - half), min(1.0, middle + half)


def draw(file: Path, data: CtrPlotData) -> None:
    """Write a PNG. Raises `Misconfigured` without matplotlib."""
    with figure(file, INCHES, 2) as (drawn, panels):
        from matplotlib.ticker import MaxNLocator

        drawn.suptitle(f"{data.name}: click-through rate by {data.by}")
        for name in data.lines():
            _over_time(panels[0], name, [row for row in data.over_time if row[data.by] == name])
            _by_position(panels[1], name, [row for row in data.whole if row[data.by] == name])
        panels[0].set_xlabel("window (UTC); bands: 95 % of each window alone, impressions taken as independent")
        panels[1].set_xlabel("position")
        panels[1].xaxis.set_major_locator(MaxNLocator(integer=True))
        for panel in panels:
            panel.set_ylabel("CTR")
            panel.set_ylim(bottom=0)
            panel.grid(axis="y", alpha=0.3)
        if data.lines():
            panels[0].legend(loc="upper left", fontsize="small", ncols=3)
            panels[0].tick_params(axis="x", labelrotation=20, labelsize="small")


def _over_time(panel: Any, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
    seen = [row for row in rows if row["impressions"]]
    times = [datetime.fromisoformat(row["time"]) for row in seen]
    bounds = [wilson(row["clicks"], row["impressions"]) for row in seen]
    (line,) = panel.plot(times, [row["ctr"] for row in seen], marker="o", markersize=3, label=name or "(none)")
    panel.fill_between(
        times, [low for low, _ in bounds], [high for _, high in bounds], color=line.get_color(), alpha=0.15, linewidth=0
    )


def _by_position(panel: Any, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
    places = [place for row in rows for place in row["positions"] if place["impressions"]]
    bounds = [wilson(place["clicks"], place["impressions"]) for place in places]
    panel.errorbar(
        [place["rank"] for place in places],
        [place["ctr"] for place in places],
        yerr=[
            [max(0.0, place["ctr"] - low) for place, (low, _) in zip(places, bounds, strict=True)],
            [max(0.0, high - place["ctr"]) for place, (_, high) in zip(places, bounds, strict=True)],
        ],
        fmt="o-",
        markersize=3,
        capsize=2,
        label=name or "(none)",
    )
