"""What an experiment has shown so far, in a sentence."""

from __future__ import annotations

import math
from typing import Final

from eddyline.model.experiments.statistics.difference import LEAST_PEOPLE, Effect

DOES: Final = {
    "ctr": ("clicks", "", "per impression"),
    "clicks": ("clicks", "", "per person"),
    "conversions": ("converts", "", ""),
    "revenue": ("earns", "", "per person"),
    "dwell": ("dwells", "", ""),
}
NUMBERS: Final = (
    "no",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
)


def sentence(effect: Effect, *, control: str, variant: str, days_left: float | None, is_mismatch: bool) -> str:
    """`control`, `variant`: their names; `days_left`: until the planned end or number of people, None where nothing is
    planned; `is_mismatch`: of `sample_ratio`."""
    if is_mismatch:
        return (
            f"don't trust this: the people aren't split between {control} and {variant} as the weights say, so some of"
            " them are lost; find out where before anything else"
        )
    return "; ".join(part for part in (_found(effect, control, variant), _what_next(effect, days_left)) if part)


def _found(effect: Effect, control: str, variant: str) -> str:
    verb, _, per = DOES[effect.metric]
    if effect.is_decided:
        return " ".join(part for part in (variant, verb, _amount(effect), per, f"than {control}") if part)
    if math.isinf(effect.absolute_low):
        return f"nothing can be said yet: it takes at least {LEAST_PEOPLE} people in each variant, who do something"
    text = f"no difference is to be seen yet between {variant} and {control}"
    if effect.low is None or effect.high is None:
        return text
    return f"{text}: {variant} {verb} between {_signed(effect.low)} and {_signed(effect.high)}"


def _amount(effect: Effect) -> str:
    word = "more" if effect.absolute > 0 else "less"
    low, high = effect.low, effect.high
    if low is None:
        return word
    if high is None:
        return f"at least {_percent(low, low)} % {word}"
    near, far = sorted((abs(low), abs(high)))
    return f"{_percent(near, far - near)}–{_percent(far, far - near)} % {word}"


def _percent(share: float, width: float) -> str:
    places = max(0, math.ceil(-math.log10(max(100 * width, 1e-6))))
    return f"{100 * share:.{places}f}"


def _signed(share: float) -> str:
    return f"{abs(100 * share):.1f} % {'less' if share < 0 else 'more'}"


def _what_next(effect: Effect, days_left: float | None) -> str:
    if days_left is None:
        return "" if effect.is_decided else "keep going"
    if days_left <= 0:
        return "that is the planned end"
    days = math.ceil(days_left)
    count = NUMBERS[days] if days < len(NUMBERS) else str(days)
    return f"keep going for {count} more day{'s' * (days > 1)}"
