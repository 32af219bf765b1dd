r"""Whether people are split between the variants as they should be: else something loses some of them, and what is left
can't be compared.

Under the weights w, the number of people of each variant is multinomial. Against it stands a mixture of all other
splits, Dirichlet with parameters $c w$: the ratio of the two likelihoods is a martingale of mean 1 as long as people
come by the weights, one by one, so that it ever exceeds 1 / p has a probability of at most p (Ville). Exact, at any
number of people. (Lindon and Malek, "Anytime-valid inference for multinomial count data", NeurIPS 2022.)
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

from pydantic import BaseModel, ConfigDict
from scipy.stats import dirichlet_multinomial, multinomial

ALARM: Final = 0.001
"""Alarms at a p-value under this: over the life of an experiment, one in a thousand is false."""
CONCENTRATION: Final = 500.0
"""c: how near to the weights the alternatives lie. At two equal variants, their shares are off by 2.2 points (one
standard deviation)."""


class SampleRatio(BaseModel):
    """Whether people are split as the weights say. If they aren't, nothing else can be trusted."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    expected: dict[str, float]
    """By the weights, to one decimal."""
    seen: dict[str, int]
    """People who were assigned, each once; somebody who signs in is two of `people`."""
    p_value: float
    """Holds at all times at once."""
    is_mismatch: bool


def check_sample_ratio(people: Mapping[str, int], weights: Mapping[str, float]) -> SampleRatio:
    """Compare, by variant, the people that were seen with the traffic that each should get, in any unit. The weights
    must have been the same all the time. Someone in a variant that should get nobody is a mismatch."""
    names = list(weights) + [name for name in people if name not in weights]
    seen = {name: people.get(name, 0) for name in names}
    whole, total = sum(weights.values()), sum(seen.values())
    shares = {name: weights.get(name, 0.0) / whole if whole > 0 else 0.0 for name in names}
    expected = {name: round(total * share, 1) for name, share in shares.items()}
    p_value = _p_value([(seen[name], share) for name, share in shares.items()])
    return SampleRatio(expected=expected, seen=seen, p_value=p_value, is_mismatch=p_value < ALARM)


def _p_value(arms: list[tuple[int, float]]) -> float:
    if any(count and not share for count, share in arms):
        return 0.0
    counts = [count for count, share in arms if share]
    shares = [share for _, share in arms if share]
    total = sum(counts)
    if len(counts) < 2 or not total:
        return 1.0
    mixed = float(dirichlet_multinomial.logpmf(counts, [CONCENTRATION * share for share in shares], total))
    expected = float(multinomial.logpmf(counts, total, shares))
    return math.exp(min(0.0, expected - mixed))
