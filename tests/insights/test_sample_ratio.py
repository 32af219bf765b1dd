"""Whether people are split as they should be, at one look. (At all looks: test_peeking.py.)"""

from __future__ import annotations

from itertools import product

import pytest
from scipy import stats

from eddyline.insights.statistics import check_sample_ratio

EVEN = {"control": 1.0, "diverse": 1.0}


@pytest.mark.parametrize("level", [0.5, 0.2, 0.05, 0.001])
def test_the_p_value_is_one_among_all_splits_that_there_are(level: float) -> None:
    weights, total = {"a": 1.0, "b": 2.0, "c": 3.0}, 60
    shares = [weight / 6 for weight in weights.values()]
    splits = [(a, b, total - a - b) for a, b in product(range(total + 1), repeat=2) if a + b <= total]
    rejected = sum(
        float(stats.multinomial.pmf(split, total, shares))
        for split in splits
        if check_sample_ratio(dict(zip("abc", split, strict=True)), weights).p_value <= level
    )
    assert rejected <= level


def test_what_was_expected_and_seen_is_told() -> None:
    found = check_sample_ratio({"control": 310, "diverse": 590}, {"control": 1, "diverse": 2})
    assert found.expected == {"control": pytest.approx(300), "diverse": pytest.approx(600)}
    assert found.seen == {"control": 310, "diverse": 590}
    assert not found.is_mismatch
    assert found.p_value == 1.0


def test_only_the_ratios_of_the_weights_matter() -> None:
    people = {"control": 5300, "diverse": 4700}
    assert check_sample_ratio(people, EVEN).p_value == pytest.approx(
        check_sample_ratio(people, {"control": 0.2, "diverse": 0.2}).p_value
    )


@pytest.mark.parametrize(
    ("people", "weights"),
    [
        ({"control": 10_600, "diverse": 9_400}, EVEN),
        ({"control": 9_400, "diverse": 10_600}, EVEN),
        ({"control": 180, "diverse": 20}, EVEN),
        ({"control": 400}, EVEN),
        ({"a": 5000, "b": 5000, "c": 4500}, {"a": 1.0, "b": 1.0, "c": 1.0}),
        ({"control": 500, "diverse": 500, "gone": 1}, EVEN),
        ({"control": 500, "diverse": 1}, {"control": 1.0, "diverse": 0.0}),
    ],
)
def test_people_that_are_missing_or_should_not_be_there_are_a_mismatch(
    people: dict[str, int], weights: dict[str, float]
) -> None:
    assert check_sample_ratio(people, weights).is_mismatch


@pytest.mark.parametrize(
    ("people", "weights"),
    [
        ({}, EVEN),
        ({}, {}),
        ({"control": 3}, EVEN),
        ({"control": 0, "diverse": 0}, EVEN),
        ({"control": 1000}, {"control": 1.0}),
        ({"control": 1000}, {"control": 1.0, "diverse": 0.0}),
        ({"control": 10_050, "diverse": 9_950}, EVEN),
    ],
)
def test_nothing_is_alarming_about_few_people_or_a_single_variant(
    people: dict[str, int], weights: dict[str, float]
) -> None:
    found = check_sample_ratio(people, weights)
    assert not found.is_mismatch
    assert 0.001 <= found.p_value <= 1
