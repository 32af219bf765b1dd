"""What is measured is what the formulas say, and the intervals are over people, paired."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from eddyline.evaluation.metrics import SliceMetrics, StrategyLists, divergence, diversity, measure, novelty


def lists(items: list[list[int]], rank: list[int]) -> StrategyLists:
    nothing = np.full(len(rank), np.nan)
    return StrategyLists(np.asarray(items, dtype=np.int32), np.asarray(rank, dtype=np.int32), nothing, nothing, nothing)


def hits(values: NDArray[np.bool_]) -> StrategyLists:
    nothing = np.full(len(values), np.nan)
    return StrategyLists(np.zeros((len(values), 1), dtype=np.int32), values.astype(np.int32), nothing, nothing, nothing)


def people(*ids: int) -> NDArray[np.int64]:
    return np.asarray(ids, dtype=np.int64)


def values(measured: SliceMetrics) -> dict[str, float]:
    return {name: estimate.value for name, estimate in measured.metrics.items()}


def test_the_metrics_of_known_ranks() -> None:
    answers = lists([[0, 1], [1, 2], [2, -1], [0, 1]], [1, 0, 2, 0])
    (only,) = measure("all", people(1, 1, 2, 3), {"one": answers}, items=10, seed=0)
    found = values(only)
    assert found["hr"] == 0.5
    assert found["ndcg"] == pytest.approx((1 + 1 / math.log2(3)) / 4)
    assert found["mrr"] == pytest.approx((1 + 1 / 2) / 4)
    assert found["coverage"] == 0.3
    assert math.isnan(found["diversity"])
    assert (only.requests, only.people, only.differences) == (4, 3, None)


def test_diversity_is_one_minus_the_mean_cosine_of_all_pairs() -> None:
    content = np.asarray([[1, 0], [0, 2], [0.6, 0.8]], dtype=np.float32)
    found = diversity(content, np.asarray([[0, 1, 2], [2, 1, -1], [0, -1, -1], [-1, -1, -1]], dtype=np.int32))
    assert found[:2] == pytest.approx([1 - (0 + 0.6 + 0.8) / 3, 1 - 0.8])
    assert np.isnan(found[2:]).all()


def test_divergence_is_that_of_the_lists_categories_from_the_chosen_ones() -> None:
    categories = np.array([0, 0, 1, 2, -1])
    lists = np.array([[0, 1, 2, -1], [3, 4, -1, -1], [0, 2, -1, -1]], np.int32)
    half_and_half = np.array([3.0, 3.0, 0.0])
    found = divergence(lists, categories, [half_and_half, half_and_half, np.zeros(3)])
    alike = 0.5 * np.log(0.5 / (0.99 * 2 / 3 + 0.005)) + 0.5 * np.log(0.5 / (0.99 / 3 + 0.005))
    assert found[:2] == pytest.approx([alike, np.log(100.0)])
    assert np.isnan(found[2])


def test_novelty_is_the_mean_information_of_the_items() -> None:
    lists = np.asarray([[0, 1], [0, -1], [-1, -1]], dtype=np.int32)
    counts, totals = np.asarray([[3, 0], [3, 9], [9, 9]]), np.asarray([4, 4, 4])
    found = novelty(lists, counts, totals, items=4)
    assert found[:2] == pytest.approx([(1 + 3) / 2, 1])
    assert math.isnan(found[2])


def test_an_interval_is_as_wide_as_theory_says() -> None:
    """400 people of one request, half of them hits: the standard error of the mean is 0.5 / 20."""
    found = hits(np.arange(400) % 2 == 0)
    (only,) = measure("all", np.arange(400), {"one": found}, items=1, seed=1)
    interval = only.metrics["hr"]
    assert interval.value == 0.5
    assert interval.low == pytest.approx(0.5 - 1.96 * 0.025, abs=0.006)
    assert interval.high == pytest.approx(0.5 + 1.96 * 0.025, abs=0.006)


def test_people_are_drawn_not_requests() -> None:
    """Ten people who hit always or never, with 100 requests each: as unsure as ten requests, not as a thousand."""
    person = np.repeat(np.arange(10), 100)
    (only,) = measure("all", person, {"one": hits(person % 2 == 0)}, items=1, seed=1)
    interval = only.metrics["hr"]
    assert interval.high - interval.low > 0.5


def test_differences_are_paired() -> None:
    """Two strategies that differ on every third person's request alone, whoever is easy or hard."""
    person, easy = np.arange(300), np.arange(300) % 2 == 0
    better = easy | (np.arange(300) % 6 == 1)
    base, other = measure("all", person, {"base": hits(easy), "better": hits(better)}, items=1, seed=1)
    assert other.differences is not None
    difference = other.differences["hr"]
    assert difference.value == pytest.approx(1 / 6)
    assert difference.low > 0.12
    assert difference.high < 0.21
    assert difference.high - difference.low < base.metrics["hr"].high - base.metrics["hr"].low
    assert other.differences["hr"].value == pytest.approx(other.metrics["hr"].value - base.metrics["hr"].value)


def test_the_same_lists_differ_by_nothing() -> None:
    same = hits(np.arange(50) % 3 == 0)
    _, other = measure("all", np.arange(50), {"base": same, "other": same}, items=1, seed=1)
    assert other.differences is not None
    assert {(e.low, e.value, e.high) for name, e in other.differences.items() if name in ("hr", "coverage")} == {
        (0, 0, 0)
    }


def test_the_interval_of_coverage_holds_its_value() -> None:
    items = np.arange(200).reshape(100, 2)
    (only,) = measure("all", np.arange(100), {"one": lists(items.tolist(), [0] * 100)}, items=400, seed=1)
    interval = only.metrics["coverage"]
    assert interval.value == 0.5
    assert interval.low < 0.5 < interval.high


def test_the_seed_decides_the_intervals() -> None:
    person = np.arange(1_000) // 7
    found = hits(np.arange(1_000) % 11 < person % 5)
    same = [measure("all", person, {"one": found}, items=1, seed=5) for _ in range(2)]
    assert repr(same[0]) == repr(same[1])
    assert repr(same[0]) != repr(measure("all", person, {"one": found}, items=1, seed=6))


def test_a_slice_without_requests_has_no_values() -> None:
    (only,) = measure("new items", people(), {"one": hits(np.zeros(0, dtype=np.bool_))}, items=9, seed=1)
    assert only.requests == 0
    assert all(math.isnan(value) for value in values(only).values())
