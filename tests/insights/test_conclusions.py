"""What a report says in words."""

from __future__ import annotations

import math

import pytest

from eddyline.insights.statistics import METRICS, Effect, describe_effect


def effect(
    low: float | None, high: float | None, metric: str = "ctr", people: int = 20_000, *, known: bool = True
) -> Effect:
    is_decided = (low is not None and low > 0) or (high is not None and high < 0)
    middle = [bound for bound in (low, high) if bound is not None]
    relative = sum(middle) / len(middle) if middle else 0.0
    return Effect(
        metric=metric,
        control=0.05,
        variant=0.05 * (1 + relative),
        relative=relative,
        low=low,
        high=high,
        absolute=0.05 * relative,
        absolute_low=(0.05 * low if low is not None else -1.0) if known else -math.inf,
        absolute_high=(0.05 * high if high is not None else 1.0) if known else math.inf,
        p_value=0.01 if is_decided else 1.0,
        people=people,
        is_decided=is_decided,
    )


def said(found: Effect, days_left: float | None = None, is_mismatch: bool = False) -> str:
    return describe_effect(found, control="control", variant="diverse", days_left=days_left, is_mismatch=is_mismatch)


MORE = "diverse clicks 4–9 % more than control; "
NOT_YET = "no difference is to be seen yet: diverse may click from 3 % less to 5 % more than control; "
NOT_AT_ALL = "no difference was found: diverse may click from 3 % less to 5 % more than control; "
UNBOUNDED = "no difference is to be seen yet between diverse and control; "
TOO_EARLY = (
    "it is too early to compare diverse with control (120 people): each needs 100 people, and some clicks; "
)  # fmt: skip
ENOUGH = "that is sure enough to stop"


@pytest.mark.parametrize(
    ("found", "days_left", "words"),
    [
        (effect(0.043, 0.088), 1.2, MORE + "keep going for two more days to know it more closely, or stop"),
        (effect(0.043, 0.088), None, MORE + ENOUGH),
        (effect(0.043, 0.088), 0, MORE + "the planned end is reached: stop"),
        (effect(0.043, 0.088), math.inf, MORE + ENOUGH),
        (effect(-0.088, -0.043), None, "diverse clicks 4–9 % less than control; " + ENOUGH),
        (effect(0.0004, 0.004), None, "diverse clicks 0.04–0.4 % more than control; " + ENOUGH),
        (effect(0.041, 0.0438), None, "diverse clicks 4.1–4.4 % more than control; " + ENOUGH),
        (effect(0.2, None), None, "diverse clicks at least 20 % more than control; " + ENOUGH),
        (effect(-1.0, -0.4), None, "diverse clicks 40–100 % less than control; " + ENOUGH),
        (effect(-0.03, 0.051), 13.5, NOT_YET + "keep going for 14 more days"),
        (effect(-0.03, 0.051), 0.2, NOT_YET + "keep going for one more day"),
        (effect(-0.03, 0.051), None, NOT_YET + "keep going; no number of people is planned"),
        (effect(-0.03, 0.051), math.inf, NOT_YET + "at this pace it takes over a year: plan again"),
        (effect(-0.03, 0.051), -2.0, NOT_AT_ALL + "the planned end is reached: stop, or plan again"),
        (effect(-0.4, None), 3, UNBOUNDED + "keep going for three more days"),
        (effect(None, None, people=120, known=False), 12, TOO_EARLY + "keep going for twelve more days"),
    ],
)
def test_a_sentence_says_how_much_and_what_to_do(found: Effect, days_left: float | None, words: str) -> None:
    assert said(found, days_left) == words


@pytest.mark.parametrize(
    ("metric", "more", "less"),
    [
        ("ctr", "diverse clicks 4–9 % more", "diverse clicks 4–9 % less"),
        ("clicks", "diverse clicks 4–9 % more per person", "diverse clicks 4–9 % less per person"),
        ("conversions", "diverse converts 4–9 % more", "diverse converts 4–9 % less"),
        ("revenue", "diverse earns 4–9 % more", "diverse earns 4–9 % less"),
        ("dwell", "diverse holds people 4–9 % longer", "diverse holds people 4–9 % shorter"),
    ],
)
def test_each_metric_has_its_own_words(metric: str, more: str, less: str) -> None:
    assert said(effect(0.04, 0.09, metric)).startswith(more + " than control;")
    assert said(effect(-0.09, -0.04, metric)).startswith(less + " than control;")
    assert metric in METRICS


def test_a_mismatch_is_said_instead_of_any_effect() -> None:
    words = said(effect(0.04, 0.09), 2, is_mismatch=True)
    assert words.startswith("don't trust this:")
    assert "%" not in words


def test_a_decided_bound_is_never_written_as_zero() -> None:
    assert "0–" not in said(effect(0.0004, 0.2))
    assert "diverse clicks 0.04–20 % more" in said(effect(0.0004, 0.2))
