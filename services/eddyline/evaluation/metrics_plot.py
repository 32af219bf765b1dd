"""The picture of an evaluation: HR@k and nDCG@k of every strategy on every slice, with their intervals."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from textwrap import fill
from typing import Any

from eddyline.errors import Misconfigured
from eddyline.evaluation.metrics import SliceMetrics

SHOWN = ("hr", "ndcg")
INCHES = (9.0, 5.6)
DOTS_PER_INCH = 110
SLICE_WIDTH = 12
"""Characters on a line of a slice's name: as many as fit below its part of the axis."""


def check() -> None:
    """Raise `Misconfigured` where the plot can't be drawn: before a long run, not after it."""
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise Misconfigured(
            "the plot needs matplotlib: pip install 'eddyline[evaluate]', or leave it out with --no-plot"
        ) from None


@contextmanager
def figure(file: Path, inches: tuple[float, float], rows: int, sharex: bool = False) -> Iterator[tuple[Any, Any]]:
    """Give a figure and its panels, one below the other, and write it as a PNG at the end.

    Raises `Misconfigured` without matplotlib.
    """
    check()
    # Not pyplot: no window system, and no state that outlives the call.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    drawn = Figure(figsize=inches, dpi=DOTS_PER_INCH, layout="constrained")
    FigureCanvasAgg(drawn)
    yield drawn, drawn.subplots(rows, 1, sharex=sharex)
    file.parent.mkdir(parents=True, exist_ok=True)
    drawn.savefig(file)


def draw(file: Path, found: Sequence[SliceMetrics], k: int) -> None:
    """Write a PNG. Raises `Misconfigured` without matplotlib."""
    with figure(file, INCHES, len(SHOWN), sharex=True) as (drawn, panels):
        for panel, metric in zip(panels, SHOWN, strict=True):
            _panel(panel, found, metric)
            panel.set_ylabel(f"{'HR' if metric == 'hr' else 'nDCG'}@{k}")
        handles, strategies = panels[0].get_legend_handles_labels()
        drawn.legend(handles, strategies, loc="outside upper center", fontsize="small", ncols=5)


def _panel(panel: Any, found: Sequence[SliceMetrics], metric: str) -> None:
    slices = list(dict.fromkeys(one.slice for one in found if one.requests))
    strategies = list(dict.fromkeys(one.strategy for one in found))
    for index, strategy in enumerate(strategies):
        ours = {one.slice: one for one in found if one.strategy == strategy}
        offset = 0.7 * ((index + 0.5) / len(strategies) - 0.5)
        estimates = [ours[name].metrics[metric] for name in slices]
        panel.errorbar(
            [place + offset for place in range(len(slices))],
            [estimate.value for estimate in estimates],
            yerr=[
                [max(0.0, estimate.value - estimate.low) for estimate in estimates],
                [max(0.0, estimate.high - estimate.value) for estimate in estimates],
            ],
            fmt="o",
            markersize=4,
            capsize=2,
            label=strategy,
        )
    panel.set_xticks(range(len(slices)), [fill(name, SLICE_WIDTH) for name in slices])
    panel.set_ylim(bottom=0)
    panel.grid(axis="y", alpha=0.3)
