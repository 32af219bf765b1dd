"""Trends: how many people chose an item lately, as forward-decayed counts (see `model.decay`) of several half-lives."""

from __future__ import annotations

from collections.abc import Mapping

from eddyline.model.decay import time_constant
from eddyline.model.profile import DAY, HOUR

TREND_HALF_LIVES: Mapping[str, float] = {"hour": HOUR, "day": DAY, "week": 7 * DAY, "quarter": 90 * DAY}
"""Half-life of each trend window, in seconds. `quarter` is what counts as popularity."""
POPULARITY = "quarter"


def trend_tau(window: str) -> float:
    """Time constant of a trend window, in seconds."""
    return time_constant(TREND_HALF_LIVES[window])
