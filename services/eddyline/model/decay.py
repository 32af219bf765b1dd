r"""Exponentially decayed accumulators: the algebra under every profile vector and every trend.

A *decayed accumulator* is a triple (S, W, t): a weighted sum of vectors, the sum of the weights' magnitudes, and the
time both are valid for. Folding in a vector x of weight w at time $t_e$, with time constant $\tau$:

$$t' = \max(t, t_e)$$
$$S' = S e^{-(t'-t)/\tau} + w x e^{-(t'-t_e)/\tau}$$
$$W' = W e^{-(t'-t)/\tau} + |w| e^{-(t'-t_e)/\tau}$$

Merging two accumulators is the same formula. Both are commutative and associative, so late events and the merging
of two profiles are exact. S / W is the weighted mean with weights $|w| e^{-age/\tau}$, whatever the reference time.

A *forward-decayed count* (Cormode et al., "Forward decay: a practical time decay model for streaming systems", ICDE
2009) keeps $\log \sum_i w_i e^{(t_i - L)/\tau}$ for a fixed landmark L: it never needs a rewrite to decay, and ordering
by it is ordering by the decayed count.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Vector: TypeAlias = NDArray[np.floating]

DAY, HOUR, MINUTE = 86_400.0, 3_600.0, 60.0
"""Seconds."""
LANDMARK = 1_704_067_200.0
"""Fixed origin of forward-decayed counts: 2024-01-01T00:00:00Z, in epoch seconds. Never changes."""


def time_constant(half_life: float) -> float:
    """Return tau for a half-life, in the same unit."""
    return half_life / math.log(2)


@dataclass(frozen=True, slots=True)
class Accumulator:
    """(S, W, t). `sum` is None while nothing was folded, else of the encoder's dimension; `time` in epoch seconds.

    One event of vector x and weight w is (w x, |w|, its time): folding it in is merging that.
    """

    sum: Vector | None = None
    weight: float = 0.0
    time: float = 0.0

    def weight_at(self, now: float, tau: float) -> float:
        """Return W decayed to `now`; a time before the accumulator's own doesn't inflate it."""
        return self.weight * math.exp(-max(0.0, now - self.time) / tau)

    def direction(self) -> Vector | None:
        """Return S at unit length, or None where S is (nearly) zero, as after a like and an equal dislike."""
        if self.sum is None:
            return None
        length = float(np.linalg.norm(self.sum))
        if length <= 1e-6 * max(self.weight, 1e-30):
            return None
        return np.asarray(self.sum / length)


NOTHING = Accumulator()


def merge(one: Accumulator, other: Accumulator, tau: float) -> Accumulator:
    """Return the accumulator of both event sets together."""
    if one.sum is None:
        return other
    if other.sum is None:
        return one
    time = max(one.time, other.time)
    mine, theirs = math.exp((one.time - time) / tau), math.exp((other.time - time) / tau)
    # Of the later of the two, as a rule the event that is folded in, nothing fades.
    faded, fresh = (one.sum * mine, other.sum) if theirs == 1.0 else (other.sum * theirs, one.sum)
    return Accumulator(
        sum=faded + fresh,
        weight=one.weight * mine + other.weight * theirs,
        time=time,
    )


def add_to_decayed_count(logarithm: float | None, weight: float, time: float, tau: float) -> float:
    """Add `weight` at `time` to a forward-decayed count, given and returned as its logarithm (None: nothing yet).

    Raises ValueError unless the weight is positive.
    """
    if weight <= 0:
        raise ValueError("a forward-decayed count takes positive weights")
    term = (time - LANDMARK) / tau + math.log(weight)
    if logarithm is None:
        return term
    high, low = max(logarithm, term), min(logarithm, term)
    return high + math.log1p(math.exp(low - high))


def decayed_count_at(logarithm: float | None, now: float, tau: float) -> float:
    """Return the decayed count at `now`, from its logarithm."""
    if logarithm is None:
        return 0.0
    return math.exp(min(700.0, logarithm - (now - LANDMARK) / tau))
