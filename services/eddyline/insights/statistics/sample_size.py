r"""How many people an experiment takes.

A lift of L (relative) is L / (relative standard error) standard errors, and it is found once that is over the bound of
`compare_with_control`. With n people in each arm and a spread $c^2$ between people (their squared coefficient of
variation), $s^2 = m^2 c^2 (1 + (1 + L)^2) / n$. At the planned number of people the bound is b, whatever that number
(rho grows along with it), so

$$n = \left(\frac{b + z_{power}}{L}\right)^2 c^2 (1 + (1 + L)^2)$$

people in each arm suffice to find it at the last look, and a little more often at any look until then. The spread of a
ratio or of a count comes from a mixed Poisson or binomial model of people, or from the moments of an earlier log.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from scipy.stats import norm

from eddyline.errors import InvalidInput
from eddyline.insights.moments import Moments
from eddyline.insights.statistics.difference import METRICS, bound, mean_of, mixture_rho

PER_PERSON: Final[Mapping[str, tuple[str, float]]] = {
    "ctr": ("impressions", 20.0),
    "dwell": ("dwells", 5.0),
    "revenue": ("conversions", 0.1),
}
"""What a person does over an experiment, and how much of it where nothing else is said. The baselines of the other
metrics are such numbers themselves."""


@dataclass(frozen=True, slots=True)
class SampleSizePlan:
    """How many people an experiment takes. `people`: of all variants together, `each`: in each of them, of equal
    weights (`planned_people` of `compare_with_control` is twice that). `fixed`: what a test takes in each that may be
    looked at only once. `spread`: the squared coefficient of variation between people. `assumptions`: sentences."""

    metric: str
    baseline: float
    lift: float
    people: int
    each: int
    fixed: int
    variants: int
    alpha: float
    power: float
    spread: float
    assumptions: tuple[str, ...]


def plan_sample_size(
    *,
    metric: str = "ctr",
    baseline: float,
    lift: float,
    per_person: float | None = None,
    rates_cv: float = 0.5,
    activity_cv: float = 1.0,
    values_cv: float = 1.0,
    alpha: float = 0.05,
    power: float = 0.8,
    variants: int = 2,
) -> SampleSizePlan:
    """Plan from assumptions.

    `baseline`: control's metric; `lift`: relative, 0.1 for 10 % more; `per_person`: impressions (ctr), dwells (dwell)
    or conversions (revenue) of a person over the experiment, on average. Coefficients of variation: `rates_cv` of
    people's own rates, `activity_cv` of how much they do, `values_cv` of one person's single dwells, or of single
    conversions' values. Raises InvalidInput naming the field.
    """
    _check(metric, lift, alpha, power, variants)
    unit, usual = PER_PERSON.get(metric, ("", 1.0))
    many = usual if per_person is None else per_person
    for name, value in (("baseline", baseline), ("per_person", many)):
        if not 0 < value < math.inf:
            raise InvalidInput(f"must be over 0, it is {value:g}", name)
    for name, value in (("rates_cv", rates_cv), ("activity_cv", activity_cv), ("values_cv", values_cv)):
        if not 0 <= value < math.inf:
            raise InvalidInput(f"must be 0 or more, it is {value:g}", name)
    if metric == "ctr" and baseline >= 1:
        raise InvalidInput(f"a click-through rate is a share under 1, it is {baseline:g}", "baseline")
    spread = _spread(metric, baseline, many, rates_cv**2, activity_cv**2, values_cv**2)
    assumptions = [f"a person has {many:g} {unit} over the experiment, on average"] if unit else []
    assumptions.append(
        f"people's own rates differ by {rates_cv:.0%} (coefficient of variation), their activity by {activity_cv:.0%}"
    )
    if metric in ("revenue", "dwell"):
        assumptions.append(f"single values differ by {values_cv:.0%}")
    return _planned(metric, baseline, lift, spread, alpha, power, variants, assumptions)


def plan_sample_size_from(
    moments: Moments, metric: str, lift: float, *, alpha: float = 0.05, power: float = 0.8, variants: int = 2
) -> SampleSizePlan:
    """Plan from what was measured of control's people, or of anyone's, over as long as the experiment will take."""
    _check(metric, lift, alpha, power, variants)
    mean = mean_of(moments, metric)
    if not (mean.value > 0 and 0 < mean.spread < math.inf):
        raise InvalidInput(
            f"nothing to plan from: {moments.people} people, and a {metric} of {mean.value:g}; give a baseline instead",
            "moments",
        )
    alike = f"people are as active, and as different, as the {mean.people:,} that were measured"
    if moments.since is not None and moments.until is not None:
        alike += f" over {(moments.until - moments.since) / 86_400:.1f} days"
    return _planned(metric, mean.value, lift, mean.spread, alpha, power, variants, [alike])


def _spread(metric: str, baseline: float, many: float, rates: float, activity: float, values: float) -> float:
    """What chance adds, and what people differ by; all of them squared coefficients of variation."""
    intensity = (1 + rates) * (1 + activity) - 1
    if metric == "ctr":
        return max(0.0, 1 - baseline * (1 + rates)) / (baseline * many) + rates * (1 + activity)
    if metric == "dwell":
        return values * (1 + rates) / many + rates * (1 + activity)
    if metric == "revenue":
        return (1 + values) / many + intensity
    return 1 / baseline + intensity


def _check(metric: str, lift: float, alpha: float, power: float, variants: int) -> None:
    if metric not in METRICS:
        raise InvalidInput(f"must be one of {', '.join(METRICS)}, it is {metric!r}", "metric")
    if not (-1 <= lift < math.inf and lift):
        raise InvalidInput(f"must be a relative difference, as 0.1 for 10 % more, it is {lift:g}", "lift")
    for name, value in (("alpha", alpha), ("power", power)):
        if not 0 < value < 1:
            raise InvalidInput(f"must lie between 0 and 1, it is {value:g}", name)
    if variants < 2:
        raise InvalidInput(f"must be at least 2, control among them, it is {variants}", "variants")


def _planned(
    metric: str,
    baseline: float,
    lift: float,
    spread: float,
    alpha: float,
    power: float,
    variants: int,
    assumptions: list[str],
) -> SampleSizePlan:
    share = alpha / (variants - 1)
    odds = spread * (1 + (1 + lift) ** 2)
    # Any number of people will do here: information and rho are both in proportion to it.
    usual = 1_000_000
    information = (1 + lift / 2) ** 2 * usual / 2 / odds
    limit = bound(information, share, mixture_rho(metric, share, usual))
    reach = float(norm.ppf(power))
    each = max(1, math.ceil(((limit + reach) / lift) ** 2 * odds))
    fixed = max(1, math.ceil(((float(norm.ppf(1 - share / 2)) + reach) / lift) ** 2 * odds))
    assumptions.append("the weights are equal, and all of a person's lists come from one variant")
    return SampleSizePlan(
        metric, baseline, lift, variants * each, each, fixed, variants, alpha, power, spread, tuple(assumptions)
    )
