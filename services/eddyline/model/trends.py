"""Trends: how many people have chosen an item recently, as forward-decayed counts (`model.decay`)."""

from __future__ import annotations

from collections.abc import Mapping

from eddyline.model.decay import DAY, HOUR, time_constant

TREND_HALF_LIVES: Mapping[str, float] = {"hour": HOUR, "day": DAY, "week": 7 * DAY, "quarter": 90 * DAY}
"""Half-life of each trend window, in seconds. `quarter` is what counts as popularity."""
POPULARITY = "quarter"


def trend_tau(window: str) -> float:
    """Return the time constant of a trend window, in seconds."""
    return time_constant(TREND_HALF_LIVES[window])
