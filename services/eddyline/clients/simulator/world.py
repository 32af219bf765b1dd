r"""The hidden truth: what people like, and what they do with what they see. Pure.

Nothing of this is told to Eddyline; it sees texts and events.

The click model is that of positions (Richardson et al., *Predicting Clicks*, WWW 2007): what is on the screen is
clicked when it is looked at and attracts, $P(click | r, i) = r^{-\eta} \sigma(b + s \cdot liking(i) + quality(i))$.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Final, TypeAlias

from eddyline.clients.simulator.catalogue import GeneratedItem, SimulatedItem, generate_item

Taste: TypeAlias = dict[str, float]
"""Liking of each topic: -1, can't stand it, to 1, loves it."""

LOVED, LIKED = 3, 2
"""Topics of a circle of people that are loved, and liked."""
ZIPF: Final = 0.4
"""Exponent of Zipf's law for the sizes of the circles."""
OWN: Final = 0.25
"""The part of a taste that is a person's own: the standard deviation of each liking from their circle's."""


@dataclass(frozen=True, slots=True)
class Habits:
    """Parameters of behaviour; chances are 0 to 1."""

    examination: float = 0.7
    """eta: how fast attention falls with the position."""
    bias: float = -2.6
    """Log-odds of a click on what is looked at and leaves one cold."""
    slope: float = 4.0
    """Log-odds of a click from 0 to 1 of liking."""
    again: float = 0.15
    """Attraction of what one has clicked before, as a share."""
    dwell_seconds: float = 12.0
    """Median time on what leaves one cold; e^(2 x liking) times as long on the rest."""
    conversion: float = 0.12
    """Chance that someone buys what they have clicked and love; it falls with the square of the liking."""
    dislike: float = 0.3
    """Chance that someone says so of what they have clicked and can't stand."""
    scroll: float = 0.4
    """Chance of another screenful."""
    go_on: float = 0.5
    """Log-odds of asking for another list after one that was neither good nor bad."""
    leave: float = 0.04
    """Chance that someone never comes back after a visit that was neither good nor bad."""
    identify: float = 0.15
    """Chance at each visit that someone anonymous signs in."""
    anonymous: float = 0.4
    """Share of people who come without an account."""
    taste_change: float = 0.03
    """Chance at each visit that a taste has become another; and the step by which each liking wanders meanwhile."""
    unattributed: float = 0.05
    """Share of clicks that don't say of which list they are."""
    late: float = 0.02
    """Share of events that are sent late."""
    late_seconds: float = 20.0
    """Mean delay of these."""

    def looks(self, rank: int) -> float:
        """Compute the chance that what is on the screen at this rank (from 1) is looked at."""
        return float(rank**-self.examination)

    def attracts(self, liking: float, quality: float = 0.0) -> float:
        """Compute the chance that what is looked at is clicked."""
        return _logistic(self.bias + self.slope * liking + quality)

    def clicks(self, rank: int, liking: float, quality: float = 0.0) -> float:
        """Compute the chance that what is on the screen at this rank is clicked."""
        return self.looks(rank) * self.attracts(liking, quality)

    def dwell(self, liking: float, random: Random) -> float:
        """Draw the seconds on a clicked item."""
        return min(1800.0, self.dwell_seconds * math.exp(2.0 * liking + random.gauss(0.0, 0.5)))

    def buys(self, liking: float) -> float:
        """Compute the chance that what was clicked is bought."""
        return self.conversion * max(0.0, liking) ** 2

    def goes_on(self, pleasure: float) -> float:
        """Compute the chance of asking for another list. `pleasure`: of the last one, about -1 to 2."""
        return _logistic(self.go_on + 1.2 * pleasure)

    def leaves(self, pleasure: float) -> float:
        """Compute the chance of never coming back. `pleasure`: of the visit."""
        return min(0.9, self.leave * math.exp(-pleasure))

    def pause(self, usual: float, pleasure: float, random: Random) -> float:
        """Draw the hours until the next visit; `usual` is the person's mean. Who was pleased is back sooner."""
        return random.expovariate(1.0) * usual * math.exp(-0.4 * pleasure)


@dataclass(frozen=True, slots=True)
class Circle:
    """People with much the same taste; `size`: relative."""

    taste: Mapping[str, float]
    size: float


class SimulatedWorld:
    """Topics, circles of taste, and items. Items that are met later are added.

    The circles follow from the topics, so that another seed is other people of the same kind.
    """

    def __init__(self, topics: Sequence[str], seed: int, habits: Habits = Habits()) -> None:
        self.habits, self.topics = habits, tuple(topics)
        self.items: dict[str, SimulatedItem] = {}
        random = Random("circles")
        self.circles = [self._circle(number, random) for number in range(max(3, len(topics) // 2))] if topics else []
        self._new_items = Random(f"{seed}/news")

    def add(self, items: Iterable[SimulatedItem]) -> None:
        """Add items."""
        self.items.update((item.item_id, item) for item in items)

    def liking(self, taste: Mapping[str, float], item_id: str) -> float:
        """Weigh an item by a taste: -1 to 1, and 0 for an item that isn't known."""
        item = self.items.get(item_id)
        return 0.0 if item is None else sum(share * taste.get(name, 0.0) for name, share in item.topics.items())

    def quality(self, item_id: str) -> float:
        """Look an item's quality up, in logits."""
        item = self.items.get(item_id)
        return 0.0 if item is None else item.quality

    def appeal(self, item_id: str) -> float:
        """Compute the chance that somebody who looks at an item clicks it: the mean over all circles."""
        if not self.circles:
            return 0.0
        sizes = sum(circle.size for circle in self.circles)
        quality = self.quality(item_id)
        chances = (one.size * self.habits.attracts(self.liking(one.taste, item_id), quality) for one in self.circles)
        return sum(chances) / sizes

    def taste(self, random: Random) -> Taste:
        """Draw a taste: a circle's, and something of the person's own."""
        if not self.circles:
            return {}
        (circle,) = random.choices(self.circles, weights=[one.size for one in self.circles])
        return {name: _within(random.gauss(liking, OWN)) for name, liking in circle.taste.items()}

    def changed(self, taste: Taste, random: Random) -> tuple[Taste, bool]:
        """Drift a taste until the next visit; and say whether it has become another altogether."""
        change = self.habits.taste_change
        if random.random() < change:
            return self.taste(random), True
        return {name: _within(random.gauss(liking, change)) for name, liking in taste.items()}, False

    def new_item(self, item_id: str) -> GeneratedItem:
        """Make a new item about the topics of this world, and add it."""
        written = generate_item(item_id, self._new_items, self.topics)
        self.add([written.item])
        return written

    def _circle(self, number: int, random: Random) -> Circle:
        """Make a circle: the first one is the largest (Zipf's law)."""
        order = random.sample(self.topics, len(self.topics))
        taste = {name: random.uniform(-0.8, -0.1) for name in order}
        taste |= {name: random.uniform(0.7, 1.0) for name in order[:LOVED]}
        taste |= {name: random.uniform(0.1, 0.4) for name in order[LOVED : LOVED + LIKED]}
        return Circle(taste, 1.0 / (number + 1) ** ZIPF)


def _logistic(x: float) -> float:
    return 1.0 / (1.0 + math.exp(-x))


def _within(liking: float) -> float:
    return max(-1.0, min(1.0, liking))
