r"""A variant's difference from its control, with bounds that hold at all times at once.

Both arms' means (or ratios of means) $m_a, m_b$ have standard errors $s_a, s_b$ over *people*, by the delta method. The
standardised difference $z = (m_b - m_a) / s$, $s^2 = s_a^2 + s_b^2$, is seen again and again while data comes in. Its
clock is the *information* $I = m^2 / s^2$ (m: of both arms together), one over the squared relative standard error:
in it $z \sqrt I$ moves like a Brownian motion, or more smoothly where people come back. So Robbins' normal mixture

$$P(\exists t: |z_t| \sqrt{I_t} \ge \sqrt{(I_t + \rho) \log((I_t + \rho) / (\rho \alpha^2))}) \le \alpha$$

bounds it at all times, for any $\rho$ fixed beforehand: an asymptotic confidence sequence (Waudby-Smith, Arbour, Sinha,
Kennedy and Ramdas, "Time-uniform central limit theory and asymptotic confidence sequences", Annals of Statistics 2024;
the boundary: Howard, Ramdas, McAuliffe and Sekhon, "Time-uniform, nonparametric, nonasymptotic confidence sequences",
Annals of Statistics 2021). $\rho$ depends on the plan alone, never on what was seen.

The relative difference has Fieller's bounds (E. C. Fieller, "Some problems in interval estimation", JRSS B 1954): all r
with $|m_b - r m_a| \le b \sqrt{s_b^2 + r^2 s_a^2}$. They exclude 0 % if and only if $|z| > b$.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Final, TypeAlias

import ville
from pydantic import BaseModel, ConfigDict, Field, PlainSerializer

from eddyline.insights.moments import Moments

PARTS: Final[Mapping[str, tuple[str, str | None]]] = {
    "ctr": ("clicks", "impressions"),
    "clicks": ("clicks", None),
    "conversions": ("conversions", None),
    "revenue": ("revenue", None),
    "dwell": ("dwell_ms", "dwells"),
}
"""Metric → what is summed above and below the line; None below: people."""
METRICS: Final = tuple(PARTS)
"""`ctr` and `dwell` (ms) are ratios of sums, the others means per person."""
USUAL_SPREAD: Final[Mapping[str, float]] = {
    "ctr": 6.0,
    "clicks": 6.0,
    "conversions": 60.0,
    "revenue": 120.0,
    "dwell": 3.0,
}
"""How much people differ (`Mean.spread`), at the upper end of what is usual: it turns a planned number of people into
information before anything was seen. A wrong one costs width, never validity: at a sixteenth of it 9 %, at four times
7 %. Erring upwards is the cheaper side."""
USUAL_ERROR: Final = 0.0125
"""Where nothing is planned, the bounds are tightest at this relative standard error: that of lifts of about 5 %."""
MIN_PEOPLE: Final = 100
"""In each arm; with fewer, a normal approximation has no business."""
NO_VARIANCE: Final = 1e-9
"""Residual squares under this share of the squares are rounding."""


def _finite_or_none(value: float) -> float | None:
    return value if math.isfinite(value) else None


OpenBound: TypeAlias = Annotated[float, PlainSerializer(_finite_or_none, return_type=float | None)]
"""May be infinite; null in JSON then."""


class Effect(BaseModel):
    """A variant against the control. Bounds hold at all times at once, however often they are looked at."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    metric: str
    control: float
    variant: float
    relative: float | None
    """variant / control - 1; null where control has nothing"""
    low: float | None
    high: float | None
    """Bounds of the relative difference; null: none yet."""
    absolute: float
    """variant - control, in the metric's own unit"""
    absolute_low: OpenBound
    absolute_high: OpenBound
    p_value: float
    """May be looked at any time."""
    people: Annotated[int, Field(exclude=True)]
    """The people of both together."""
    is_decided: bool
    """The bounds exclude that there is no difference."""


@dataclass(frozen=True, slots=True)
class Mean:
    """A mean per person, or a ratio of two. `variance`: of a single person's part in it, in the mean's unit squared,
    so that variance / people is the mean's own; infinite where there is nothing below the line."""

    value: float
    variance: float
    people: int

    @property
    def spread(self) -> float:
        """The squared coefficient of variation: variance / value²."""
        return self.variance / self.value / self.value if self.value else math.inf


def mean_of(moments: Moments, metric: str) -> Mean:
    """Compute a metric's mean by the delta method: a person's part in R = X / D is (x - R d) / (D / people)."""
    above, below = PARTS[metric]
    people, x = moments.people, moments.total(above)
    d = moments.total(below) if below else float(people)
    if people < 2 or not d > 0:
        return Mean(0.0, math.inf, people)
    xx = moments.product(above, above)
    xd = moments.product(above, below) if below else x
    dd = moments.product(below, below) if below else d
    ratio = x / d
    squares = xx - 2 * ratio * xd + ratio * ratio * dd
    if not squares > NO_VARIANCE * xx:
        squares = 0.0
    per_person = d / people
    return Mean(ratio, squares / (people - 1) / per_person / per_person, people)


@lru_cache(maxsize=1024)
def mixture_rho(metric: str, alpha: float, planned_people: int | None) -> float:
    """Compute the mixture's rho. `planned_people`: of both arms; None: tuned for `USUAL_ERROR`."""
    planned = planned_people / (4 * USUAL_SPREAD[metric]) if planned_people else USUAL_ERROR**-2
    return float(ville.best_rho(planned, alpha))


def bound(information: float, alpha: float, rho: float) -> float:
    """Compute how many standard errors the difference may be off, at all times at once."""
    return float(ville.normal_mixture(information, alpha, rho)) / math.sqrt(information)


def compare_with_control(
    control: Moments,
    variant: Moments,
    metric: str,
    *,
    alpha: float = 0.05,
    planned_people: int | None = None,
    comparisons: int = 1,
) -> Effect:
    """Compute the difference of `variant` from `control`.

    All bounds hold at all times with probability 1 - `alpha`, for `comparisons` variants together (Bonferroni).
    `planned_people` (of both arms together): where the bounds are tightest. Too few people, or no variance: nothing is
    decided and there are no bounds.
    """
    a, b = mean_of(control, metric), mean_of(variant, metric)
    a, b = _lent(a, b), _lent(b, a)
    people = a.people + b.people
    difference = b.value - a.value
    relative = difference / a.value if a.value > 0 else None
    unbounded = Effect(
        metric=metric,
        control=a.value,
        variant=b.value,
        relative=relative,
        low=None,
        high=None,
        absolute=difference,
        absolute_low=-math.inf,
        absolute_high=math.inf,
        p_value=1.0,
        people=people,
        is_decided=False,
    )
    if min(a.people, b.people) < MIN_PEOPLE:
        return unbounded
    error_a, error_b = a.variance / a.people, b.variance / b.people
    error = error_a + error_b
    together = mean_of(control + variant, metric).value
    information = together * together / error if error > 0 else 0.0
    if not (0 < information < math.inf and math.isfinite(error)):
        return unbounded
    share = alpha / comparisons
    rho = mixture_rho(metric, share, planned_people)
    limit = bound(information, share, rho)
    radius = limit * math.sqrt(error)
    low, high = _fieller(a.value, b.value, error_a, error_b, limit) if relative is not None else (None, None)
    bounds = {
        "low": low,
        "high": high,
        "absolute_low": difference - radius,
        "absolute_high": difference + radius,
        "p_value": min(1.0, comparisons * _p_value(difference * difference / error, information, rho)),
        "is_decided": abs(difference) > radius,
    }
    return unbounded.model_copy(update=bounds)


def _lent(mean: Mean, other: Mean) -> Mean:
    """With the other arm's variance where it has none of its own: nobody of it clicked yet."""
    return mean if mean.variance > 0 else Mean(mean.value, other.variance, mean.people)


def _p_value(z_squared: float, information: float, rho: float) -> float:
    """The smallest alpha at which the boundary of `rho` is crossed: one over the mixture's likelihood ratio."""
    log_ratio = 0.5 * math.log(rho / (information + rho)) + z_squared * information / (2 * (information + rho))
    return math.exp(-log_ratio) if log_ratio > 0 else 1.0


def _fieller(a: float, b: float, error_a: float, error_b: float, limit: float) -> tuple[float | None, float | None]:
    """Bounds of b / a - 1 for a > 0. Where a itself may be 0, nothing bounds it from above."""
    ratio, squared = b / a, limit * limit / a / a
    leading, constant = 1 - squared * error_a, ratio * ratio - squared * error_b
    discriminant = ratio * ratio - leading * constant
    if ratio < 0 or not 0 <= discriminant < math.inf:
        return None, None
    root = ratio + math.sqrt(discriminant)
    if leading > 0:
        return max(-1.0, constant / root - 1), root / leading - 1
    return (constant / root - 1 if constant > 0 else None), None
