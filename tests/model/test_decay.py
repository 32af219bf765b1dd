"""The laws every accumulator obeys, for all of them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eddyline.model import decay
from eddyline.model.decay import LANDMARK, Accumulator

DAY = 86_400.0
TAU = 10 * DAY  # the articles' e^(-0.1 per day)
NOW = 1_790_000_000.0

Event = tuple[list[float], float, float]
vectors = st.lists(st.floats(-1, 1), min_size=3, max_size=3)
weights = st.floats(0.1, 5).flatmap(lambda w: st.sampled_from([w, -w]))
times = st.floats(NOW - 60 * DAY, NOW)
events = st.lists(st.tuples(vectors, weights, times), min_size=1, max_size=12)


def event(vector: list[float], weight: float, time: float) -> Accumulator:
    return Accumulator(weight * np.array(vector), abs(weight), time)


def folded(all_events: list[Event], tau: float = TAU) -> Accumulator:
    accumulator = Accumulator()
    for one in all_events:
        accumulator = decay.merge(accumulator, event(*one), tau)
    return accumulator


def same(one: Accumulator, other: Accumulator) -> None:
    assert one.sum is not None
    assert other.sum is not None
    np.testing.assert_allclose(one.sum, other.sum, rtol=1e-9, atol=1e-9 * max(one.weight, 1e-12))
    assert one.weight == pytest.approx(other.weight, rel=1e-9)
    assert one.time == other.time


@given(events, st.randoms(use_true_random=False))
def test_the_order_of_events_does_not_matter(all_events: list[Event], random: object) -> None:
    shuffled = list(all_events)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    same(folded(all_events), folded(shuffled))


@pytest.mark.slow(10)
@given(events, events, events)
def test_merging_is_associative_and_commutative(one: list[Event], two: list[Event], three: list[Event]) -> None:
    a, b, c = folded(one), folded(two), folded(three)
    same(decay.merge(decay.merge(a, b, TAU), c, TAU), decay.merge(a, decay.merge(b, c, TAU), TAU))
    same(decay.merge(a, b, TAU), decay.merge(b, a, TAU))


@pytest.mark.slow(10)
@given(events, events)
def test_merging_equals_folding_all_events_into_one(one: list[Event], two: list[Event]) -> None:
    same(decay.merge(folded(one), folded(two), TAU), folded(one + two))


@given(st.lists(st.tuples(vectors, st.floats(0.1, 5), times), min_size=1, max_size=12))
def test_it_equals_the_closed_formula_computed_in_one_go(all_events: list[Event]) -> None:
    """The articles' weighted mean: weights strength x e^(-0.1 x days of age)."""
    accumulator = folded(all_events)
    total, norm = np.zeros(3), 0.0
    for vector, weight, time in all_events:
        share = weight * math.exp(-0.1 * (NOW - time) / DAY)
        total += share * np.array(vector)
        norm += share
    assert accumulator.sum is not None
    np.testing.assert_allclose(accumulator.sum / accumulator.weight, total / norm, atol=1e-6)
    assert accumulator.weight_at(NOW, TAU) == pytest.approx(norm, rel=1e-6)


def test_a_like_and_an_equal_dislike_leave_no_direction() -> None:
    vector = np.array([0.6, 0.8])
    accumulator = folded([([0.6, 0.8], 3.0, NOW), ([0.6, 0.8], -3.0, NOW)])
    assert accumulator.direction() is None
    assert accumulator.weight == pytest.approx(6.0)
    direction = decay.merge(accumulator, event([0.6, 0.8], 1.0, NOW), TAU).direction()
    assert direction is not None
    np.testing.assert_allclose(direction, vector)


@given(st.lists(st.tuples(st.floats(0.1, 5), times), min_size=1, max_size=20), st.randoms(use_true_random=False))
def test_a_forward_decayed_count_equals_the_direct_sum_in_any_order(
    all_events: list[tuple[float, float]], random: object
) -> None:
    shuffled = list(all_events)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    logarithm: float | None = None
    for weight, time in shuffled:
        logarithm = decay.add_to_decayed_count(logarithm, weight, time, DAY)
    direct = sum(weight * math.exp(-(NOW - time) / DAY) for weight, time in all_events)
    assert decay.decayed_count_at(logarithm, NOW, DAY) == pytest.approx(direct, rel=1e-6, abs=1e-12)


def test_counts_are_ordered_by_their_logarithms_whenever_they_were_written() -> None:
    old = decay.add_to_decayed_count(None, 100.0, NOW - 30 * DAY, DAY)
    new = decay.add_to_decayed_count(None, 1.0, NOW, DAY)
    assert new > old
    assert decay.decayed_count_at(new, NOW, DAY) > decay.decayed_count_at(old, NOW, DAY)
    assert decay.decayed_count_at(None, NOW, DAY) == 0.0
    assert math.isfinite(decay.add_to_decayed_count(None, 1.0, LANDMARK + 50 * 365 * DAY, 3600.0))


def test_a_count_takes_no_weight_that_is_not_positive() -> None:
    with pytest.raises(ValueError, match="positive"):
        decay.add_to_decayed_count(None, 0.0, NOW, DAY)
