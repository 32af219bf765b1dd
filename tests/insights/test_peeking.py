"""What holds however often one looks: 1,000 experiments each, of people who differ and who come back.

`pytest tests/insights/test_peeking.py -s` prints the figures of docs/statistics.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache

import numpy as np
import pytest
from tests.support.crowd import DAYS, HOURS, Array, Course, Crowd

from eddyline.insights.statistics import (
    Effect,
    check_sample_ratio,
    compare_with_control,
    plan_sample_size,
    plan_sample_size_from,
)
from eddyline.insights.statistics.difference import PARTS, bound, mixture_rho

EXPERIMENTS = 1000
LIFT = 0.1
NEAR = 3.0
"""Nothing is decided under so many standard errors, so it needn't be asked there (tested below)."""
FAR = 3.9
"""The same of people's split."""

THROUGHOUT = Crowd(3000, tail=1.5)
"""People come through all days; log-normal values of sigma 1.5: a hundredth of the sales makes a fifth
of the revenue."""
HEAVIER = Crowd(1500, tail=2.5)
"""The same with sigma 2.5: a hundredth of the sales makes over half of the revenue."""
FIRST_DAY = Crowd(600, impressions=60, visits=12, is_early=True)
PLANNED = Crowd(1, impressions=20, visits=2)
"""How people are where a lift is looked for."""

Courses = list[tuple[Course, Course]]


@cache
def without_a_difference(crowd: Crowd) -> Courses:
    return crowd.courses(1, EXPERIMENTS, HOURS)


@cache
def with_a_lift() -> tuple[int, Courses]:
    """As many people as are planned, looked at daily."""
    people = plan_sample_size(
        metric="ctr", baseline=0.05, lift=LIFT, per_person=20, rates_cv=0.5, activity_cv=0.8
    ).people
    crowd = Crowd(people, impressions=PLANNED.impressions, visits=PLANNED.visits)
    return people, crowd.courses(2, EXPERIMENTS, DAYS, lift=LIFT)


def standardised(control: Course, variant: Course, metric: str) -> Array:
    """(experiments, looks): the difference over its standard error, by formulas of its own."""

    def mean(course: Course) -> tuple[Array, Array]:
        above, below = PARTS[metric]
        x, xx, n = course.sums[above], course.products[above, above], course.people
        if below is None:
            return x / n, (xx / n - (x / n) ** 2) / n
        d, dd, xd = course.sums[below], course.products[below, below], course.products[below, above]
        ratio = x / d
        return ratio, (xx - 2 * ratio * xd + ratio**2 * dd) / d**2

    with np.errstate(divide="ignore", invalid="ignore"):
        (a, var_a), (b, var_b) = mean(control), mean(variant)
        z: Array = (b - a) / np.sqrt(var_a + var_b)
    return np.where(np.isfinite(z), z, 0.0)


def decisions(courses: Courses, metric: str, planned_people: int | None) -> Iterator[Effect | None]:
    """Of each experiment, what was seen when it was stopped by someone who looks each time; None: it never was."""
    for control, variant in courses:
        z = standardised(control, variant, metric)
        for experiment in range(len(z)):
            looks = np.flatnonzero(np.abs(z[experiment]) > NEAR).tolist()
            seen = (
                compare_with_control(
                    control.at(experiment, look), variant.at(experiment, look), metric, planned_people=planned_people
                )
                for look in looks
            )
            yield next((effect for effect in seen if effect.is_decided), None)


def share(found: Iterable[object]) -> float:
    return sum(bool(one) for one in found) / EXPERIMENTS


@pytest.mark.parametrize("information", np.geomspace(1, 1e7, 30).tolist())
@pytest.mark.parametrize("planned", [None, 100, 10_000, 10_000_000])
def test_no_bound_lies_nearer_than_where_the_tests_below_look(information: float, planned: int | None) -> None:
    assert bound(information, 0.05, mixture_rho("ctr", 0.05, planned)) > NEAR


REST = pytest.mark.extended


@pytest.mark.slow(20)
@pytest.mark.parametrize(
    ("crowd", "metric", "planned"),
    [
        pytest.param(THROUGHOUT, "ctr", 3000, id="clicks an impression"),
        pytest.param(THROUGHOUT, "ctr", None, id="clicks an impression, nothing planned"),
        pytest.param(THROUGHOUT, "ctr", 300_000, id="clicks an impression, far more people planned", marks=REST),
        pytest.param(THROUGHOUT, "ctr", 300, id="clicks an impression, far fewer people planned", marks=REST),
        pytest.param(THROUGHOUT, "clicks", 3000, id="clicks a person", marks=REST),
        pytest.param(THROUGHOUT, "conversions", 3000, id="conversions", marks=REST),
        pytest.param(THROUGHOUT, "revenue", 3000, id="revenue with a heavy tail"),
        pytest.param(THROUGHOUT, "revenue", 100, id="revenue with a heavy tail, far fewer people planned", marks=REST),
        pytest.param(HEAVIER, "revenue", 1500, id="revenue with a heavier tail"),
        pytest.param(FIRST_DAY, "ctr", 600, id="clicks an impression, all come on the first day and come back"),
        pytest.param(
            FIRST_DAY, "clicks", 600, id="clicks a person, all come on the first day and come back", marks=REST
        ),
    ],
)
def test_without_a_difference_hourly_peeks_seldom_find_one(
    crowd: Crowd, metric: str, planned: int | None, request: pytest.FixtureRequest
) -> None:
    alarms = share(decisions(without_a_difference(crowd), metric, planned))
    print(f"\nA/A, {HOURS} looks: {alarms:.1%} ({request.node.callspec.id})")
    assert alarms <= 0.065


@pytest.mark.slow(10)
def test_a_test_for_one_look_would_find_one_often() -> None:
    alarms = share(
        (np.abs(standardised(control, variant, "ctr")[experiment, 24:]) > 1.96).any()
        for control, variant in without_a_difference(THROUGHOUT)
        for experiment in range(len(control.people))
    )
    print(f"\nA/A, {HOURS} looks, |z| > 1.96: {alarms:.1%}")
    assert alarms > 0.2


@pytest.mark.slow(20)
def test_the_planned_people_suffice_to_find_a_lift() -> None:
    people, courses = with_a_lift()
    found = list(decisions(courses, "ctr", people))
    print(f"\na lift of {LIFT:.0%} on a CTR of 5 %, {people} people: found {share(found):.1%}")
    assert 0.8 <= share(found) < 0.9
    assert all(effect.relative is not None and effect.relative > 0 for effect in found if effect is not None)


@pytest.mark.slow(10)
def test_without_a_plan_the_same_people_find_it_nearly_as_often() -> None:
    _, courses = with_a_lift()
    found = share(decisions(courses, "ctr", None))
    print(f"\nthe same, nothing planned: found {found:.1%}")
    assert found > 0.7


@pytest.mark.slow(20)
def test_the_bounds_hold_the_truth_at_all_looks_at_once() -> None:
    people, courses = with_a_lift()
    missed = share(
        any(
            not (effect.low is None or effect.low <= LIFT) or not (effect.high is None or effect.high >= LIFT)
            for effect in (
                compare_with_control(
                    control.at(experiment, look), variant.at(experiment, look), "ctr", planned_people=people
                )
                for look in range(DAYS)
            )
        )
        for control, variant in courses
        for experiment in range(len(control.people))
    )
    print(f"\nbounds that miss a true lift of {LIFT:.0%} at any of {DAYS} looks: {missed:.1%}")
    assert missed <= 0.065


def test_a_plan_from_a_log_is_that_of_the_right_assumptions() -> None:
    ((log, _),) = Crowd(40_000, impressions=PLANNED.impressions, visits=PLANNED.visits).courses(3, 1, 1)
    measured = plan_sample_size_from(log.at(0, 0), "ctr", LIFT)
    assumed = plan_sample_size(metric="ctr", baseline=0.05, lift=LIFT, per_person=20, rates_cv=0.5, activity_cv=0.8)
    assert measured.people == pytest.approx(assumed.people, rel=0.05)
    assert measured.baseline == pytest.approx(0.05, rel=0.05)


def splits(share_of_first: float, people: int, looks: int) -> Iterator[bool]:
    """Whether an alarm was raised at any look, while `people` come."""
    random = np.random.default_rng(5)
    arrivals = np.full(looks, people // looks)
    for _ in range(EXPERIMENTS):
        first, both = random.binomial(arrivals, share_of_first).cumsum(), arrivals.cumsum()
        far = np.flatnonzero(np.abs(first - both / 2) > FAR * np.sqrt(both) / 2).tolist()
        yield any(
            check_sample_ratio(
                {"a": int(first[look]), "b": int(both[look] - first[look])}, {"a": 1, "b": 1}
            ).is_mismatch
            for look in far
        )


@pytest.mark.parametrize("people", np.geomspace(100, 1e8, 25).tolist())
def test_no_split_raises_the_alarm_nearer_than_where_the_tests_below_look(people: float) -> None:
    first = int(people / 2 + FAR * people**0.5 / 2)
    assert not check_sample_ratio({"a": first, "b": int(people) - first}, {"a": 1, "b": 1}).is_mismatch


def test_a_right_split_seldom_raises_the_alarm() -> None:
    alarms = share(splits(0.5, 100_000, HOURS))
    print(f"\nsample ratio, 50/50, {HOURS} looks: {alarms:.1%}")
    assert alarms <= 0.004


def test_a_split_of_52_to_48_raises_it() -> None:
    alarms = share(splits(0.52, 20_000, DAYS))
    print(f"\nsample ratio, 52/48 instead of 50/50, 20,000 people: {alarms:.1%}")
    assert alarms > 0.9
