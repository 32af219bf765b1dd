"""What an experiment has shown so far, and what to do next, in a sentence."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final, NamedTuple

from eddyline.insights.statistics.difference import MIN_PEOPLE, Effect


class MetricWords(NamedTuple):
    """`does`: what a variant does, `do`: what it may do, and what is missing where there is nothing of it."""

    does: str
    do: str
    more: str
    less: str
    missing: str


WORDS: Final[Mapping[str, MetricWords]] = {
    "ctr": MetricWords("clicks", "click", "more", "less", "clicks"),
    "clicks": MetricWords("clicks", "click", "more per person", "less per person", "clicks"),
    "conversions": MetricWords("converts", "convert", "more", "less", "conversions"),
    "revenue": MetricWords("earns", "earn", "more", "less", "revenue"),
    "dwell": MetricWords("holds people", "hold people", "longer", "shorter", "dwell times"),
}
NUMBERS: Final = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
MAX_DAYS: Final = 365


def describe_effect(effect: Effect, *, control: str, variant: str, days_left: float | None, is_mismatch: bool) -> str:
    """Say in a sentence what an effect shows.

    `control`, `variant`: their names; `days_left`: until the planned end or number of people, None where nothing is
    planned, infinite where nobody comes; `is_mismatch`: whether the split of people is wrong.
    """
    if is_mismatch:
        return (
            f"don't trust this: people aren't split between {control} and {variant} as the weights say, so whatever "
            "loses some of them has made the two differ; find it before reading on"
        )
    if math.isinf(effect.absolute_low):
        missing = WORDS[effect.metric].missing
        found = (
            f"it is too early to compare {variant} with {control} ({effect.people} people): each needs "
            f"{MIN_PEOPLE} people, and some {missing}"
        )
    elif effect.is_decided:
        found = _decided(effect, control, variant)
    else:
        found = _undecided(effect, control, variant, is_over=days_left is not None and days_left <= 0)
    return f"{found}; {_next(effect.is_decided, days_left)}"


def _decided(effect: Effect, control: str, variant: str) -> str:
    words = WORDS[effect.metric]
    direction = words.more if effect.absolute > 0 else words.less
    if effect.low is None and effect.high is None:
        amount = ""
    elif effect.high is None or effect.low is None:
        (amount,) = _percents([abs(bound) for bound in (effect.low, effect.high) if bound is not None])
        amount = f"at least {amount} % "
    else:
        near, far = _percents(sorted((abs(effect.low), abs(effect.high))))
        amount = f"{near}–{far} % " if near != far else f"{near} % "
    return f"{variant} {words.does} {amount}{direction} than {control}"


def _undecided(effect: Effect, control: str, variant: str, is_over: bool) -> str:
    found = "no difference was found" if is_over else "no difference is to be seen yet"
    if effect.low is None or effect.high is None:
        return f"{found} between {variant} and {control}"
    words = WORDS[effect.metric]
    less, more = _percents([abs(effect.low), abs(effect.high)])
    return f"{found}: {variant} may {words.do} from {less} % {words.less} to {more} % {words.more} than {control}"


def _percents(shares: list[float]) -> list[str]:
    """Each with as few decimals as tell it from zero, all with as many as tell them apart; three at most."""
    written: list[str] = []
    for min_decimals in range(4):
        written = [_percent(share, min_decimals) for share in shares]
        if len(set(written)) == len(set(shares)):
            break
    return written


def _percent(share: float, min_decimals: int) -> str:
    texts = [f"{100 * share:.{decimals}f}" for decimals in range(min_decimals, 4)]
    return next((text for text in texts if float(text)), texts[0])


def _next(is_decided: bool, days_left: float | None) -> str:
    if days_left is None:
        return "that is sure enough to stop" if is_decided else "keep going; no number of people is planned"
    if days_left <= 0:
        return "the planned end is reached: stop" if is_decided else "the planned end is reached: stop, or plan again"
    if days_left > MAX_DAYS:
        return "that is sure enough to stop" if is_decided else "at this pace it takes over a year: plan again"
    days = math.ceil(days_left)
    count = NUMBERS[days - 1] if days <= len(NUMBERS) else str(days)
    going = f"keep going for {count} more day{'s' if days > 1 else ''}"
    return f"{going} to know it more closely, or stop" if is_decided else going
