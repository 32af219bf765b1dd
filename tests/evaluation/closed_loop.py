"""A month in which people choose only from what they are shown, and everything is learnt from that.

What people like is hidden: factors of people and items that nothing else sees. The content vectors tell of an item's
factors through a random matrix, with as much noise as signal. People look at the upper places more often than at the
lower ones, and click by what they like of what they look at. Items arrive every day.

The memory, the plan, the ranking and the options are the product's own, as a reader and its profiler use them: what was
shown is told to the profiles, seen items are hidden.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from eddyline.evaluation.interaction_log import InteractionLog, LoggedInteraction
from eddyline.evaluation.learned_state import InMemoryState
from eddyline.evaluation.strategy_recommender import DenseSearches, RequestSearches
from eddyline.model.decay import DAY, HOUR, MINUTE
from eddyline.model.events import Content
from eddyline.model.ids import Person
from eddyline.model.ranking import plan_retrieval, rank_options, rank_rows
from eddyline.settings import Settings

START = 1_790_000_000.0
PEOPLE, ITEMS, ARRIVING, CLUSTERS, FACTORS, DIMENSION = 100, 400, 3, 12, 8, 32
DAYS, LIMIT, BEFORE = 30, 10, 12
"""`ARRIVING`: items a day; `BEFORE`: what each person did, on the average, before the first day."""


class _Memory(InMemoryState):
    """In which items that haven't arrived yet aren't found."""

    arrived = ITEMS

    def seen(self, person: int) -> NDArray[np.int64]:
        """Nor are they, to anyone."""
        return np.union1d(super().seen(person), np.arange(self.arrived, len(self.content)))


@dataclass(frozen=True, slots=True)
class Day:
    """What was shown on a day: how often each item that was there then, in all people's lists; and the clicks."""

    shown: NDArray[np.int64]
    clicks: int

    @property
    def coverage(self) -> float:
        """The share of the items that somebody was shown."""
        return float((self.shown > 0).mean())

    @property
    def concentration(self) -> float:
        r"""The Gini coefficient of the showings: $\frac{\sum_i (2i - n - 1) x_i}{n \sum_i x_i}$, x ascending."""
        ascending = np.sort(self.shown)
        places = 2.0 * np.arange(1, len(ascending) + 1) - len(ascending) - 1
        return float(places @ ascending / (len(ascending) * ascending.sum()))


class World:
    """People and items, what they like of each other, and what is known of them."""

    def __init__(self, settings: Settings, seed: int) -> None:
        self._random = random = np.random.default_rng(seed)
        count = ITEMS + ARRIVING * DAYS
        clusters = random.normal(size=(CLUSTERS, FACTORS))
        items = clusters[random.integers(CLUSTERS, size=count)] + 0.5 * random.normal(size=(count, FACTORS))
        tastes = clusters[random.integers(CLUSTERS, size=(PEOPLE, 2))].mean(axis=1)
        tastes += 0.5 * random.normal(size=(PEOPLE, FACTORS))
        liking = _scaled(tastes @ items.T) + 0.5 * random.normal(size=count)
        """Quality beside taste: some items please more people than others."""
        self.relevance = 1.0 / (1.0 + np.exp(-2.0 * (liking - 1.5)))
        told = _scaled(items @ random.normal(size=(FACTORS, DIMENSION)))
        content = told + random.normal(size=told.shape)
        content /= np.linalg.norm(content, axis=1, keepdims=True)
        self.settings = settings
        log = InteractionLog(
            "closed loop",
            str(seed),
            tuple(Content(item_id=f"i{n}", title=f"T{n}", timestamp=_arrival(n, random)) for n in range(count)),
            tuple(Person("u", f"p{n}") for n in range(PEOPLE)),
            (),
        )
        self.memory = _Memory(log, content.astype(np.float32), settings)
        self._events = 0
        self._look_around()

    def days(self) -> Iterator[Day]:
        """One after another."""
        for number in range(DAYS):
            self.memory.arrived = ITEMS + ARRIVING * (number + 1)
            yield self._day(START + number * DAY)

    def _look_around(self) -> None:
        """What people found by themselves in the weeks before: by taste, and by what the shop windows showed."""
        window = self._random.pareto(1.5, size=ITEMS) + 0.2
        for person in range(PEOPLE):
            chances = window * self.relevance[person, :ITEMS] ** 2
            found = self._random.choice(ITEMS, BEFORE, replace=False, p=chances / chances.sum())
            visits = np.sort(self._random.uniform(-30 * DAY, -HOUR, size=3))
            for place, item in enumerate(found.tolist()):
                self._click(person, item, START + visits[place * 3 // BEFORE] + place * MINUTE)

    def _day(self, begin: float) -> Day:
        shown = np.zeros(self.memory.arrived, np.int64)
        clicks = 0
        times = np.sort(self._random.uniform(7 * HOUR, 23 * HOUR, size=PEOPLE))
        for person, time in zip(self._random.permutation(PEOPLE).tolist(), times.tolist(), strict=True):
            if self._random.random() < 0.5:
                continue
            now = begin + time
            for _ in range(2):  # whoever clicks comes back for another list
                listed = self.recommend(person, now)
                shown[listed] += 1
                chosen = self._chosen(person, listed)
                for item in chosen:
                    now += 2 * MINUTE
                    self._click(person, item, now)
                clicks += len(chosen)
                if not chosen:
                    break
        return Day(shown, clicks)

    def recommend(self, person: int, now: float) -> list[int]:
        """As a reader does, which tells the profile afterwards."""
        memory, ranking = self.memory, self.settings.ranking
        profile, strategy = memory.profile(person, now), self.settings.strategies[ranking.strategy]
        asked = plan_retrieval(None if profile.is_unknown else profile, now, memory.taus, ranking, strategy)
        searches = RequestSearches(memory, person, now, DenseSearches(memory.catalogue))
        found = searches.run(asked, ranking, LIMIT)
        pause = ranking.visit_pause_minutes * MINUTE
        began = profile.seen.shown.visit_start(now, pause, ranking.rotation_hours * HOUR)
        varies = profile.was_left_alone(pause, began)
        usual = rank_options(asked, strategy, ranking, now, LIMIT, profile.person, varies=varies)
        options = replace(usual, fatigue=profile.fatigue(began, began))
        candidates = found()
        rows = [row for row, _ in rank_rows(candidates, asked, options).rows]
        profile.show([candidates.item_ids[row] for row in rows], now)
        return [int(candidates.places[row]) for row in rows]

    def _chosen(self, person: int, listed: Sequence[int]) -> list[int]:
        looked_at = self._random.random(len(listed)) < 1.0 / np.log2(np.arange(2, len(listed) + 2))
        liked = self._random.random(len(listed)) < self.relevance[person, listed]
        return [item for item, clicked in zip(listed, looked_at & liked, strict=True) if clicked]

    def _click(self, person: int, item: int, time: float) -> None:
        self._events += 1
        self.memory.learn(LoggedInteraction(person, item, "click", 1.0, time, f"e{self._events}"))


def _arrival(number: int, random: np.random.Generator) -> float:
    """Epoch seconds."""
    if number < ITEMS:
        return START - float(random.uniform(0, 365 * DAY))
    return START + (number - ITEMS) // ARRIVING * DAY


def _scaled(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray((matrix - matrix.mean()) / matrix.std())
