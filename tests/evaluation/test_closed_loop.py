"""A month of choosing only from what is shown: lists stay as broad as on the first day, and what is new is found."""

from __future__ import annotations

import numpy as np
import pytest
from tests.evaluation.closed_loop import ARRIVING, ITEMS, World

from eddyline.settings import Settings

SETTINGS = Settings()


@pytest.mark.extended  # a month of lists is a minute of computing
@pytest.mark.slow(240)
def test_a_month_of_its_own_choices_narrows_nothing() -> None:
    days = list(World(SETTINGS, 1).days())
    first, last = days[0], days[-1]
    assert last.coverage >= first.coverage / 1.2
    assert last.concentration <= first.concentration * 1.2
    shown = np.sum([np.pad(day.shown, (0, len(last.shown) - len(day.shown))) for day in days], axis=0)
    arrived = shown[ITEMS : ITEMS + 25 * ARRIVING]
    assert (arrived > 0).mean() >= 0.8
