"""The difference between two variants at one look, against SciPy, a bootstrap and simulated people."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from tests.support.crowd import Array, moments

from eddyline.model.experiments.moments import Moments
from eddyline.model.experiments.statistics import METRICS, compare
from eddyline.model.experiments.statistics.difference import LEAST_PEOPLE, _p_value, bound, mean_of, precision


def crowd(seed: int, people: int = 2000, lift: float = 0.0) -> dict[str, Array]:
    """Per person: heterogeneous numbers of impressions, and rates of their own."""
    random = np.random.default_rng(seed)
    impressions = random.geometric(1 / 20, people)
    clicks = random.binomial(impressions, np.minimum(random.gamma(4, 0.05 / 4, people) * (1 + lift), 1))
    conversions = random.binomial(clicks, 0.2)
    dwells = random.binomial(clicks, 0.9)
    return {
        "impressions": impressions.astype(float),
        "clicks": clicks.astype(float),
        "conversions": conversions.astype(float),
        "revenue": conversions * np.exp(random.normal(2, 1, people)),
        "dwells": dwells.astype(float),
        "dwell_ms": dwells * random.gamma(2, 10_000 * (1 + lift), people),
    }


def of(columns: dict[str, Array]) -> Moments:
    return moments(len(columns["clicks"]), **columns)


@pytest.mark.parametrize("metric", ["clicks", "conversions", "revenue"])
def test_a_mean_has_scipys_standard_error(metric: str) -> None:
    a, b = crowd(1), crowd(2)
    welch = stats.ttest_ind(b[metric], a[metric], equal_var=False)
    one, other = mean_of(of(a), metric), mean_of(of(b), metric)
    z = (other.value - one.value) / math.sqrt(one.variance / one.people + other.variance / other.people)
    assert z == pytest.approx(welch.statistic, rel=1e-9)
    assert one.value == pytest.approx(a[metric].mean())


@pytest.mark.parametrize(
    ("metric", "above", "below"), [("ctr", "clicks", "impressions"), ("dwell", "dwell_ms", "dwells")]
)
def test_a_ratio_has_the_standard_error_of_a_bootstrap_over_people(metric: str, above: str, below: str) -> None:
    people = crowd(3)
    drawn = stats.bootstrap(
        (people[above], people[below]),
        lambda x, d, axis: x.sum(axis) / d.sum(axis),
        paired=True,
        vectorized=True,
        n_resamples=2000,
        method="percentile",
        random_state=np.random.default_rng(4),
    )
    mean = mean_of(of(people), metric)
    assert math.sqrt(mean.variance / mean.people) == pytest.approx(float(drawn.standard_error), rel=0.05)


def test_the_delta_method_gives_the_spread_of_simulated_rates() -> None:
    means = [mean_of(of(crowd(seed, 500)), "ctr") for seed in range(2000)]
    rates = np.array([mean.value for mean in means])
    said = np.mean([mean.variance / mean.people for mean in means])
    assert rates.std() == pytest.approx(math.sqrt(said), rel=0.05)
    naive = math.sqrt(0.05 * 0.95 / (20 * 500))
    assert rates.std() > 1.15 * naive  # impressions of one person aren't draws of their own


@pytest.mark.parametrize("metric", METRICS)
def test_the_bounds_exclude_no_difference_if_and_only_if_it_is_decided(metric: str) -> None:
    decided = 0
    for seed in range(60):
        effect = compare(of(crowd(seed)), of(crowd(seed + 1000, lift=seed / 12)), metric)
        decided += effect.is_decided
        above, below = effect.low is not None and effect.low > 0, effect.high is not None and effect.high < 0
        assert effect.is_decided == (above or below)
        assert effect.is_decided == (effect.absolute_low > 0 or effect.absolute_high < 0)
        assert effect.is_decided == (effect.p_value < 0.05)
    assert 5 < decided < 60


def test_the_sequential_bounds_are_wider_than_those_of_one_look() -> None:
    a, b = crowd(1), crowd(2, lift=0.3)
    effect = compare(of(a), of(b), "clicks")
    once = stats.ttest_ind(b["clicks"], a["clicks"], equal_var=False)
    interval = once.confidence_interval(0.95)
    assert effect.absolute_low < interval.low < interval.high < effect.absolute_high
    assert effect.p_value > once.pvalue


@given(st.floats(1, 1e5), st.floats(0.5, 6), st.sampled_from([0.05, 0.01, 0.001]))
def test_the_p_value_is_where_villes_boundary_is_met(information: float, z: float, alpha: float) -> None:
    rho = precision("ctr", alpha, None)
    p = _p_value(z * z, information, rho)
    if p < 1:
        assert bound(information, p, rho) == pytest.approx(z, rel=1e-9)


def test_few_people_decide_nothing() -> None:
    enough = of(crowd(1))
    few = of(crowd(2, LEAST_PEOPLE - 1, lift=5))
    for effect in (compare(enough, few, "ctr"), compare(few, enough, "ctr"), compare(Moments(), Moments(), "ctr")):
        assert not effect.is_decided
        assert (effect.low, effect.high, effect.p_value) == (None, None, 1.0)
        assert (effect.absolute_low, effect.absolute_high) == (-math.inf, math.inf)
