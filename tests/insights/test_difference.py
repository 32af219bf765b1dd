"""The difference between two variants at one look, against SciPy, a bootstrap and simulated people."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from tests.support.crowd import Array, moments

from eddyline.insights.moments import PAIRS, Moments
from eddyline.insights.statistics import METRICS, compare_with_control
from eddyline.insights.statistics.difference import (
    MIN_PEOPLE,
    USUAL_SPREAD,
    _p_value,
    bound,
    mean_of,
    mixture_rho,
)


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
        effect = compare_with_control(of(crowd(seed)), of(crowd(seed + 1000, lift=seed / 12)), metric)
        decided += effect.is_decided
        above, below = effect.low is not None and effect.low > 0, effect.high is not None and effect.high < 0
        assert effect.is_decided == (above or below)
        assert effect.is_decided == (effect.absolute_low > 0 or effect.absolute_high < 0)
        assert effect.is_decided == (effect.p_value < 0.05)
    assert 5 < decided < 60


def test_the_sequential_bounds_are_wider_than_those_of_one_look() -> None:
    a, b = crowd(1), crowd(2, lift=0.3)
    effect = compare_with_control(of(a), of(b), "clicks")
    once = stats.ttest_ind(b["clicks"], a["clicks"], equal_var=False)
    interval = once.confidence_interval(0.95)
    assert effect.absolute_low < interval.low < interval.high < effect.absolute_high
    assert effect.p_value > once.pvalue


@given(st.floats(1, 1e5), st.floats(0.5, 6), st.sampled_from([0.05, 0.01, 0.001]))
def test_the_p_value_is_where_villes_boundary_is_met(information: float, z: float, alpha: float) -> None:
    rho = mixture_rho("ctr", alpha, None)
    p = _p_value(z * z, information, rho)
    if p < 1:
        assert bound(information, p, rho) == pytest.approx(z, rel=1e-9)


def test_few_people_decide_nothing() -> None:
    enough = of(crowd(1))
    few = of(crowd(2, MIN_PEOPLE - 1, lift=5))
    for effect in (
        compare_with_control(enough, few, "ctr"),
        compare_with_control(few, enough, "ctr"),
        compare_with_control(Moments(), Moments(), "ctr"),
    ):
        assert not effect.is_decided
        assert (effect.low, effect.high, effect.p_value) == (None, None, 1.0)
        assert (effect.absolute_low, effect.absolute_high) == (-math.inf, math.inf)


def test_nothing_to_compare_decides_nothing() -> None:
    idle = moments(500, impressions=np.full(500, 10.0))
    alike = moments(500, impressions=np.full(500, 10.0), clicks=np.full(500, 1.0))
    broken = Moments(500, (0.0, 0.0, 0.0, 0.0, 5e202, 0.0, 0.0), (math.inf,) * len(PAIRS))
    for control, variant, metric in [
        (idle, idle, "ctr"),  # nobody clicked
        (alike, moments(500, impressions=np.full(500, 10.0), clicks=np.full(500, 2.0)), "ctr"),  # no variance
        (idle, idle, "dwell"),  # nothing below the line
        (of(crowd(1)), idle, "dwell"),  # the same, in one arm alone
        (broken, broken, "revenue"),  # squares that overflow
    ]:
        effect = compare_with_control(control, variant, metric)
        assert not effect.is_decided
        assert (effect.low, effect.high, effect.p_value) == (None, None, 1.0)


def test_rounding_is_not_taken_for_variance() -> None:
    control = Moments()
    for _ in range(300):
        control = control.moved(None, (1.0, 10.0, 0.0, 1.0, 0.1, 0.0, 0.0), 0.0)
    variant = Moments()
    for _ in range(300):
        variant = variant.moved(None, (1.0, 10.0, 0.0, 1.0, 0.3, 0.0, 0.0), 0.0)
    assert mean_of(control, "revenue").variance == 0
    assert not compare_with_control(control, variant, "revenue").is_decided


def test_a_variant_that_nobody_clicks_loses() -> None:
    control = of(crowd(1, 20_000))
    dead = {**crowd(2, 20_000), "clicks": np.zeros(20_000)}
    effect = compare_with_control(control, of(dead), "ctr")
    assert effect.is_decided
    assert effect.relative == -1.0
    assert effect.low == -1.0
    assert effect.high is not None
    assert -1 < effect.high < -0.5


def test_against_a_control_that_nobody_clicks_there_is_no_relative_difference() -> None:
    dead = {**crowd(2, 20_000), "clicks": np.zeros(20_000)}
    effect = compare_with_control(of(dead), of(crowd(1, 20_000)), "ctr")
    assert effect.is_decided
    assert (effect.relative, effect.low, effect.high) == (None, None, None)
    assert effect.absolute_low > 0


def test_where_control_may_have_nothing_the_difference_has_no_upper_bound() -> None:
    seldom = moments(1000, conversions=np.r_[1.0, np.zeros(999)])
    often = moments(1000, conversions=np.r_[np.ones(200), np.zeros(800)])
    effect = compare_with_control(seldom, often, "conversions", planned_people=1000)
    assert effect.is_decided
    assert effect.high is None
    assert effect.low is not None
    assert effect.low > 0


def test_refunds_beyond_the_sales_leave_only_the_absolute_difference() -> None:
    random = np.random.default_rng(1)
    sales, refunds = random.normal(10, 5, 1000), random.normal(-10, 5, 1000)
    effect = compare_with_control(
        moments(1000, revenue=sales), moments(1000, revenue=refunds), "revenue", planned_people=1000
    )
    assert (effect.low, effect.high) == (None, None)
    assert effect.absolute_high == math.inf or effect.absolute_high > effect.absolute_low


@settings(max_examples=30)
@given(st.floats(1e-6, 1e6))
def test_the_unit_of_money_does_not_matter(unit: float) -> None:
    a, b = crowd(1), crowd(2, lift=0.5)
    one = compare_with_control(of(a), of(b), "revenue")
    other = compare_with_control(
        of({**a, "revenue": a["revenue"] * unit}), of({**b, "revenue": b["revenue"] * unit}), "revenue"
    )
    assert other.p_value == pytest.approx(one.p_value, rel=1e-6)
    assert other.low == pytest.approx(one.low, rel=1e-6)
    assert other.high == pytest.approx(one.high, rel=1e-6)
    assert other.absolute_low == pytest.approx(one.absolute_low * unit, rel=1e-6)


@pytest.mark.parametrize("metric", METRICS)
def test_swapping_control_and_variant_turns_the_difference_round(metric: str) -> None:
    a, b = of(crowd(1)), of(crowd(2, lift=1.0))
    one, other = compare_with_control(a, b, metric), compare_with_control(b, a, metric)
    assert other.absolute == -one.absolute
    assert (other.absolute_low, other.absolute_high) == (-one.absolute_high, -one.absolute_low)
    assert (other.p_value, other.is_decided) == (one.p_value, one.is_decided)
    if one.low is not None and other.high is not None:
        assert 1 + other.high == pytest.approx(1 / (1 + one.low))


def test_several_variants_share_the_error_by_bonferroni() -> None:
    a, b = of(crowd(1)), of(crowd(2, lift=0.3))
    three, third = compare_with_control(a, b, "ctr", comparisons=3), compare_with_control(a, b, "ctr", alpha=0.05 / 3)
    assert (three.low, three.high) == (third.low, third.high)
    assert three.is_decided == third.is_decided
    assert three.p_value == pytest.approx(min(1.0, 3 * third.p_value))
    alone = compare_with_control(a, b, "ctr")
    assert three.absolute_low < alone.absolute_low


def test_alpha_and_the_p_value_decide_alike_under_bonferroni() -> None:
    decided = 0
    for seed in range(60):
        effect = compare_with_control(of(crowd(seed)), of(crowd(seed + 1000, lift=seed / 60)), "ctr", comparisons=4)
        assert effect.is_decided == (effect.p_value < 0.05)
        decided += effect.is_decided
    assert 5 < decided < 60


@pytest.mark.parametrize("metric", METRICS)
def test_the_bounds_are_tightest_at_the_planned_number_of_people(metric: str) -> None:
    for planned in (1000, 50_000):
        usual = planned / (4 * USUAL_SPREAD[metric])
        widths = [bound(usual, 0.05, mixture_rho(metric, 0.05, round(planned * k))) for k in (0.1, 0.5, 1, 2, 10)]
        assert min(widths) == widths[2]
        # People who differ four times as much as is assumed, or a sixteenth, cost little.
        assert max(bound(usual * k, 0.05, mixture_rho(metric, 0.05, planned)) for k in (0.25, 16)) < 1.095 * widths[2]


def test_what_was_seen_does_not_tune_the_bounds() -> None:
    """Else they wouldn't hold: rho is the same whatever the people have done."""
    a, b = of(crowd(1)), of(crowd(2))
    rhos = []
    for control, variant in [(a, b), (a + a, b + b), (b, of(crowd(3, 5000, lift=1.0)))]:
        effect = compare_with_control(control, variant, "ctr", planned_people=4000)
        one, other = mean_of(control, "ctr"), mean_of(variant, "ctr")
        error = one.variance / one.people + other.variance / other.people
        limit = (effect.absolute_high - effect.absolute) / math.sqrt(error)
        information = mean_of(control + variant, "ctr").value ** 2 / error
        rhos.append((limit, bound(information, 0.05, mixture_rho("ctr", 0.05, 4000))))
    for limit, said in rhos:
        assert limit == pytest.approx(said)
    assert len({round(limit, 3) for limit, _ in rhos}) == 3
