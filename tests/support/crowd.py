"""Simulated people, many experiments at once: they come, come back, see a number of items of their own, and click at a
rate of their own. Nothing here is a draw of its own per impression."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eddyline.insights.moments import PAIRS, TOTALS, Moments

Array = NDArray[np.floating[Any]]
DAYS = 14
HOURS = DAYS * 24


def moments(people: int, **columns: Array) -> Moments:
    """Of people whose totals are given by name; the others are 0."""
    table = np.stack([np.asarray(columns.get(name, np.zeros(people)), dtype=float) for name in TOTALS])
    products = table @ table.T
    return Moments(people, tuple(table.sum(1).tolist()), tuple(float(products[i, j]) for i, j in PAIRS))


@dataclass(frozen=True, slots=True)
class Course:
    """One arm of many experiments, seen at many times: `people`, `sums[name]` and `products[name, name]` are each of
    shape (experiments, looks)."""

    people: Array
    sums: Mapping[str, Array]
    products: Mapping[tuple[str, str], Array]

    def at(self, experiment: int, look: int) -> Moments:
        """What insights would have had then."""
        sums = tuple(float(self.sums[name][experiment, look]) if name in self.sums else 0.0 for name in TOTALS)
        pairs = [(TOTALS[i], TOTALS[j]) for i, j in PAIRS]
        return Moments(
            int(self.people[experiment, look]),
            sums,
            tuple(float(self.products[pair][experiment, look]) if pair in self.products else 0.0 for pair in pairs),
        )


@dataclass(frozen=True, slots=True)
class Crowd:
    """How people are. `impressions` and `visits` of a person on average (visits: geometric, most come seldom and some
    all the time); `rates_cv`: of their own click-through rates (gamma, mean `ctr`); `is_early`: all come within the
    first day and come back, else they come through all days; `tail`: sigma of the log-normal values of what they buy,
    None: nobody buys; a click becomes a purchase with probability `bought`."""

    people: int
    ctr: float = 0.05
    impressions: int = 20
    visits: int = 4
    rates_cv: float = 0.5
    is_early: bool = False
    tail: float | None = None
    bought: float = 0.2

    def courses(
        self, seed: int, experiments: int, looks: int, lift: float = 0.0, batch: int = 25
    ) -> list[tuple[Course, Course]]:
        """Control and variant of `experiments` experiments, in batches; `lift` of the variant's rates."""
        random = np.random.default_rng(seed)
        half = self.people // 2
        sizes = [min(batch, experiments - start) for start in range(0, experiments, batch)]
        return [
            (self._arm(random, size, half, looks, 0.0), self._arm(random, size, half, looks, lift)) for size in sizes
        ]

    def _arm(self, random: np.random.Generator, experiments: int, people: int, looks: int, lift: float) -> Course:
        persons = experiments * people
        visits = random.geometric(1 / self.visits, persons)
        person = np.repeat(np.arange(persons), visits)
        shape = 1 / self.rates_cv**2
        rates = np.minimum(random.gamma(shape, self.ctr / shape, persons) * (1 + lift), 0.9)
        arrival = random.random(persons) / (DAYS if self.is_early else 1.0)
        time = arrival[person] + (1 - arrival[person]) * random.random(len(person))
        # Sorted by person and time: a person keeps their number of rows.
        time = np.sort(person + time) - person
        seen = random.integers(1, 2 * self.impressions // self.visits, len(person))
        clicks = random.binomial(seen, rates[person])
        drawn = {"impressions": seen.astype(float), "clicks": clicks.astype(float)}
        if self.tail is not None:
            purchases = random.binomial(clicks, self.bought)
            value = np.exp(random.normal(-(self.tail**2) / 2, self.tail, len(person)))
            drawn |= {"conversions": purchases.astype(float), "revenue": purchases * value}
        first = np.r_[True, person[1:] != person[:-1]]
        cell = (person // people) * looks + np.minimum((time * looks).astype(int), looks - 1)
        return _summed(drawn, first, cell, experiments, looks)


def _summed(
    drawn: dict[str, Array], first: NDArray[np.bool_], cell: NDArray[Any], experiments: int, looks: int
) -> Course:
    def course(weights: Array) -> Array:
        return np.bincount(cell, weights, experiments * looks).reshape(experiments, looks).cumsum(1)

    starts = np.flatnonzero(first)
    lengths = np.diff(np.r_[starts, len(first)])
    after = {}
    for name, values in drawn.items():
        total = np.cumsum(values)
        after[name] = total - np.repeat(total[starts] - values[starts], lengths)
    names = [name for name in TOTALS if name in drawn]
    products = {}
    for i, one in enumerate(names):
        for other in names[i:]:
            before = (after[one] - drawn[one]) * (after[other] - drawn[other])
            products[one, other] = course(after[one] * after[other] - before)
    return Course(course(first.astype(float)), {name: course(drawn[name]) for name in names}, products)
