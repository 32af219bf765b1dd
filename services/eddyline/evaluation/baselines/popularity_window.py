"""Most popular of the last day, week and month: exact counts of a sliding window."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from functools import partial

import numpy as np

from eddyline.evaluation.baselines.baseline import BaselineTask, PersonHistories
from eddyline.evaluation.interaction_log import IMPRESSION, LoggedInteraction
from eddyline.evaluation.item_index import top
from eddyline.evaluation.prequential import MakeList, Recommend
from eddyline.model.decay import DAY

WINDOWS = {"day": DAY, "week": 7 * DAY, "month": 30 * DAY}
"""Seconds."""


class PopularityWindows:
    """The items that were chosen most often lately; of equals, the ones listed first in the log."""

    def __init__(self, task: BaselineTask) -> None:
        self._histories = PersonHistories(task.repeats)
        self._windows = {name: _Window(seconds, task.items) for name, seconds in WINDOWS.items()}

    def recommenders(self) -> Mapping[str, Recommend]:
        """Return one for each window."""
        return {f"popularity of a {name}": partial(self._recommend, one) for name, one in self._windows.items()}

    def learn(self, event: LoggedInteraction) -> None:
        """Count the event."""
        self._histories.add(event)
        if event.type != IMPRESSION:
            for window in self._windows.values():
                window.add(event.item, event.time)

    def _recommend(self, window: _Window, person: int, now: float, k: int) -> MakeList:
        listed: list[int] = top(window.counts(now), k, self._histories.hidden(person)).places.tolist()
        return lambda: listed


class _Window:
    def __init__(self, seconds: float, items: int) -> None:
        self._seconds, self._counts = seconds, np.zeros(items)
        self._events: deque[tuple[float, int]] = deque()

    def add(self, item: int, time: float) -> None:
        self._events.append((time, item))
        self._counts[item] += 1

    def counts(self, now: float) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        """Count each item's events within the window before `now`; minus infinity where there are none."""
        while self._events and self._events[0][0] < now - self._seconds:
            self._counts[self._events.popleft()[1]] -= 1
        return np.where(self._counts > 0, self._counts, -np.inf)
