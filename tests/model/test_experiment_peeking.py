"""What holds however often one looks: 1,000 experiments, of people who come back."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from tests.support.crowd import DAYS, HOURS, Array, Course, Crowd

from eddyline.model.experiments.statistics import Effect, compare, plan
from eddyline.model.experiments.statistics.difference import PARTS

EXPERIMENTS = 1000
NEAR = 2.9
"""Nothing is decided under so many standard errors, so it needn't be asked there (tested below)."""


def standardised(control: Course, variant: Course, metric: str) -> Array:
    """(experiments, looks): the difference over its standard error, by formulas of its own."""

    def mean(course: Course) -> tuple[Array, Array]:
        above, below = PARTS[metric]
        x, xx = course.sums[above], course.products[above, above]
        n = course.people
        if below is None:
            ratio = x / n
            return ratio, (xx / n - ratio**2) / n
        d, dd = course.sums[below], course.products[below, below]
        xd = course.products[(above, below) if (above, below) in course.products else (below, above)]
        ratio = x / d
        return ratio, (xx - 2 * ratio * xd + ratio**2 * dd) / d**2

    with np.errstate(divide="ignore", invalid="ignore"):
        (a, var_a), (b, var_b) = mean(control), mean(variant)
        z: Array = (b - a) / np.sqrt(var_a + var_b)
    return np.where(np.isfinite(z), z, 0.0)


def first_decisions(
    courses: Iterator[tuple[Course, Course]], metric: str, planned_people: int | None
) -> Iterator[Effect | None]:
    """Of each experiment, what was seen when it was stopped, by someone who looks each time; None: never."""
    for control, variant in courses:
        z = standardised(control, variant, metric)
        for experiment in range(len(z)):
            yield next(
                (
                    effect
                    for look in np.flatnonzero(np.abs(z[experiment]) > NEAR).tolist()
                    if (
                        effect := compare(
                            control.at(experiment, look),
                            variant.at(experiment, look),
                            metric,
                            planned_people=planned_people,
                        )
                    ).is_decided
                ),
                None,
            )


def share(found: Iterator[Effect | None]) -> float:
    return sum(effect is not None for effect in found) / EXPERIMENTS


CALM = Crowd(2000)
CROWDS = {
    "people who come through all days": (CALM, "ctr", 2000),
    "nothing is planned": (CALM, "ctr", None),
    "far more people were planned": (CALM, "ctr", 200_000),
    "all come on the first day, and come back": (Crowd(1000, visits=20, impressions=60, is_early=True), "ctr", 1000),
    "clicks per person": (CALM, "clicks", 2000),
    "conversions": (Crowd(4000, tail=1.0), "conversions", 4000),
    "heavy tails: log-normal revenue": (Crowd(4000, tail=1.5), "revenue", 4000),
}


@pytest.mark.parametrize(("crowd", "metric", "planned"), CROWDS.values(), ids=CROWDS.keys())
def test_without_a_difference_hourly_peeks_seldom_find_one(crowd: Crowd, metric: str, planned: int | None) -> None:
    alarms = share(first_decisions(crowd.courses(1, EXPERIMENTS, HOURS), metric, planned))
    print(f"A/A, {HOURS} looks, {metric}: {alarms:.1%}")
    assert alarms <= 0.065


def test_the_planned_people_suffice_to_find_a_lift() -> None:
    planned = plan(metric="ctr", baseline=0.05, lift=0.1, per_person=20)
    crowd = Crowd(planned.people)
    found = share(first_decisions(crowd.courses(2, EXPERIMENTS, DAYS, lift=0.1, batch=20), "ctr", planned.people))
    print(f"a lift of 10 % on 5 %, {planned.people} people: found {found:.1%}")
    assert found >= 0.8
