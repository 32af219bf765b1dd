"""V-SKNN: what was chosen in the visits that are most like the running one.

Ludewig and Jannach, "Evaluation of session-based recommendation algorithms", UMUAI 2018, section 3.2: the running
visit's items are weighted linearly by their position, the newest by 1; a past visit is as similar as the sum of the
weights of the items that both have; an item's score is the sum of the similarities of the nearest visits that have it.
The visits to compare with are the newest that share an item. Visits are cut by `VISIT_GAP`; at the first request of
one, the person's last visit stands for it. It learns from each event, as the strategies do.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

import numpy as np

from eddyline.evaluation.baselines.baseline import BaselineTask, PersonHistories
from eddyline.evaluation.interaction_log import IMPRESSION, VISIT_GAP, LoggedInteraction
from eddyline.evaluation.item_index import top
from eddyline.evaluation.prequential import MakeList, Recommend

NEIGHBOURS = 100
SAMPLED = 1000
"""Newest visits that share an item, among which the neighbours are looked for."""
LONGEST = 50
"""Newest items of a running visit that are compared by."""


class SessionNeighbours:
    """Nearest visits, test then learn."""

    def __init__(self, task: BaselineTask) -> None:
        self._items, self._histories = task.items, PersonHistories(task.repeats)
        self._visits: list[dict[int, None]] = []
        """Distinct items of each visit, in the order of their first events; visits in the order of their beginnings."""
        self._visits_with: defaultdict[int, list[int]] = defaultdict(list)
        self._current: dict[int, int] = {}
        self._last_time: dict[int, float] = {}

    def recommenders(self) -> Mapping[str, Recommend]:
        """Return the only one."""
        return {"vsknn": self._recommend}

    def learn(self, event: LoggedInteraction) -> None:
        """Add the event to its person's visit, a new one after a pause."""
        if event.type == IMPRESSION:
            return
        self._histories.add(event)
        if event.time - self._last_time.get(event.person, -np.inf) >= VISIT_GAP:
            self._current[event.person] = len(self._visits)
            self._visits.append({})
        self._last_time[event.person] = event.time
        number = self._current[event.person]
        visit = self._visits[number]
        if event.item not in visit:
            self._visits_with[event.item].append(number)
        visit.pop(event.item, None)
        visit[event.item] = None

    def _recommend(self, person: int, _: float, k: int) -> MakeList:
        listed: list[int] = top(self._scores(person), k, self._histories.hidden(person)).places.tolist()
        return lambda: listed

    def _scores(self, person: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        """Score every item; minus infinity where no neighbour has it."""
        number = self._current.get(person)
        nothing = np.full(self._items, -np.inf)
        if number is None:
            return nothing
        recent = list(self._visits[number])[-LONGEST:]
        sharing = [self._visits_with[item][-SAMPLED - 1 :] for item in recent]
        visits = np.concatenate(sharing).astype(np.int64)
        weights = np.repeat(np.arange(1, len(recent) + 1) / len(recent), [len(one) for one in sharing])
        others = visits != number
        sampled, place = np.unique(visits[others], return_inverse=True)
        similarity = np.bincount(place, weights[others], len(sampled))[-SAMPLED:]
        sampled = sampled[-SAMPLED:]
        if not len(sampled):
            return nothing
        nearest = np.lexsort((-sampled, -similarity))[:NEIGHBOURS]
        chosen = [list(self._visits[visit]) for visit in sampled[nearest].tolist()]
        votes = np.repeat(similarity[nearest], [len(one) for one in chosen])
        sums = np.bincount(np.concatenate(chosen), votes, self._items)
        return np.where(sums > 0, sums, -np.inf)
