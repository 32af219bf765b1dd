"""How many people an experiment takes. (That they suffice: test_peeking.py.)"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy import stats
from tests.support.crowd import moments

from eddyline.errors import InvalidInput
from eddyline.insights.moments import Moments
from eddyline.insights.statistics import METRICS, plan_sample_size, plan_sample_size_from
from eddyline.insights.statistics.difference import mean_of

BASELINES = {"ctr": 0.05, "clicks": 1.5, "conversions": 0.03, "revenue": 2.0, "dwell": 30_000.0}


def test_a_test_for_one_look_would_take_the_number_of_the_textbooks() -> None:
    # One impression a person and everyone alike: two proportions, each of the variance of the baseline's people.
    found = plan_sample_size(metric="ctr", baseline=0.05, lift=0.1, per_person=1, rates_cv=0, activity_cv=0)
    per_arm = (stats.norm.ppf(0.975) + stats.norm.ppf(0.8)) ** 2 * 0.05 * 0.95 * (1 + 1.1**2) / (0.05 * 0.1) ** 2
    assert found.fixed == math.ceil(per_arm)
    assert found.fixed < found.each < 2.2 * found.fixed


@pytest.mark.parametrize("metric", METRICS)
def test_more_is_needed_for_smaller_lifts_more_variants_and_surer_answers(metric: str) -> None:
    usual: dict[str, Any] = {"metric": metric, "baseline": BASELINES[metric], "lift": 0.1}
    each = plan_sample_size(**usual).each
    assert plan_sample_size(**{**usual, "lift": 0.05}).each > 3 * each
    assert plan_sample_size(**usual, variants=3).each > each
    assert plan_sample_size(**usual, variants=3).people == 3 * plan_sample_size(**usual, variants=3).each
    assert plan_sample_size(**usual, power=0.9).each > each
    assert plan_sample_size(**usual, alpha=0.01).each > each
    assert plan_sample_size(**usual, rates_cv=1.0).each > each
    assert plan_sample_size(**{**usual, "lift": -0.1}).each < each  # a lower rate has less variance


def spread_of(metric: str, people: int = 400_000) -> tuple[Moments, dict[str, Any]]:
    """Simulated people, and the assumptions that they were made by."""
    random = np.random.default_rng(7)
    activity, rates = random.gamma(1, 1, people), random.gamma(4, 1 / 4, people)
    if metric == "ctr":
        impressions = random.poisson(20 * activity).astype(float)
        clicks = random.binomial(impressions.astype(int), np.minimum(0.05 * rates, 1)).astype(float)
        return moments(people, impressions=impressions, clicks=clicks), {
            "per_person": 20,
            "activity_cv": (1 + 1 / 20) ** 0.5,
        }
    if metric == "dwell":
        dwells = random.poisson(5 * activity)
        # A sum of exponential times is a gamma one.
        times = random.gamma(np.maximum(dwells, 1e-9), 30_000 * rates)
        return moments(people, dwells=dwells.astype(float), dwell_ms=times), {
            "per_person": 5,
            "activity_cv": (1 + 1 / 5) ** 0.5,
        }
    counts = random.poisson((0.1 if metric == "revenue" else BASELINES[metric]) * activity * rates).astype(float)
    if metric == "revenue":
        return moments(people, revenue=random.gamma(np.maximum(counts, 1e-9), 20.0)), {"per_person": 0.1}
    return moments(people, **{metric: counts}), {}


@pytest.mark.parametrize("metric", METRICS)
def test_the_assumed_spread_is_that_of_people_who_are_as_assumed(metric: str) -> None:
    log, options = spread_of(metric)
    assumed = plan_sample_size(metric=metric, baseline=BASELINES[metric], lift=0.1, **options)
    measured = plan_sample_size_from(log, metric, 0.1)
    assert measured.spread == pytest.approx(assumed.spread, rel=0.05)
    assert measured.baseline == pytest.approx(BASELINES[metric], rel=0.02)
    assert measured.spread == pytest.approx(mean_of(log, metric).spread)


def test_a_plan_says_what_it_assumes() -> None:
    said = plan_sample_size(baseline=0.05, lift=0.1, per_person=12).assumptions
    assert any("12 impressions" in line for line in said)
    log = Moments(1000, (0.0, 9.0, 5.0, 0, 0, 0, 0), spread_of("ctr", 1000)[0].products, 0.0, 172_800.0)
    assert any("1,000" in line for line in plan_sample_size_from(log, "ctr", 0.1).assumptions)
    assert any("2.0 days" in line for line in plan_sample_size_from(log, "ctr", 0.1).assumptions)


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"metric": "stay"}, "metric"),
        ({"baseline": 0}, "baseline"),
        ({"baseline": 1.5}, "baseline"),
        ({"baseline": math.nan}, "baseline"),
        ({"lift": 0}, "lift"),
        ({"lift": -1.5}, "lift"),
        ({"lift": math.nan}, "lift"),
        ({"per_person": 0}, "per_person"),
        ({"rates_cv": -1}, "rates_cv"),
        ({"activity_cv": math.inf}, "activity_cv"),
        ({"metric": "revenue", "values_cv": -0.1}, "values_cv"),
        ({"alpha": 0}, "alpha"),
        ({"power": 1}, "power"),
        ({"variants": 1}, "variants"),
    ],
)
def test_a_wrong_assumption_is_refused_by_name(wrong: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        plan_sample_size(**{"baseline": 0.05, "lift": 0.1, **wrong})
    assert refused.value.field == field


def test_nothing_measured_is_nothing_to_plan_from() -> None:
    for nothing in (Moments(), moments(500, impressions=np.ones(500))):
        with pytest.raises(InvalidInput, match="give a baseline"):
            plan_sample_size_from(nothing, "ctr", 0.1)
