"""What never stands in one list: the same thing twice, and a later part of a series before an earlier one.

Items of one category are the same thing where their titles differ in nothing but case, spaces and punctuation; without
a category, a title says too little. Parts of a series say so by two attributes, `series` (a name) and `series_number`:
of those that may be shown, only the lowest is, at the place of the best. So part two comes once part one was seen,
which hides it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

SERIES, NUMBER = "series", "series_number"
"""Attributes of an item: the name of its series, and which part of it it is."""
_NOTHING_SAID = re.compile(r"[\W_]+")


@dataclass(frozen=True, slots=True)
class Sameness:
    """Numbers that stand for what looks alike among n items, and for each one's series, -1 where there is none; and
    which part of it it is, nan where there is none. Shape (n) each."""

    looks: NDArray[np.intp]
    series: NDArray[np.intp]
    parts: NDArray[np.float64]

    @classmethod
    def from_payloads(cls, payloads: Sequence[Mapping[str, Any]]) -> Sameness:
        """Read them from what is stored of the items."""
        metas = [payload.get("meta", _NONE) for payload in payloads]
        said = [(meta.get("category"), _plain_title(meta.get("title") or "")) for meta in metas]
        looks: dict[object, int] = {}
        series: dict[object, int] = {}
        parts = [_part(meta["attributes"]) if meta.get("attributes") else None for meta in metas]
        return cls(
            np.array([looks.setdefault(one, len(looks)) if all(one) else -1 for one in said], np.intp),
            np.array([-1 if part is None else series.setdefault(part[0], len(series)) for part in parts], np.intp),
            np.array([math.nan if part is None else part[1] for part in parts], np.float64),
        )


def stand_ins_needed(sameness: Sameness, collapses: bool) -> bool:
    """Whether one of a list's items may stand for another."""
    looks = sameness.looks[sameness.looks >= 0].tolist()
    return (collapses and len(set(looks)) < len(looks)) or sameness.series.max(initial=-1) >= 0


def distinct(order: NDArray[np.intp], sameness: Sameness, collapses: bool) -> NDArray[np.intp]:
    """Return the rows of an order, best first, without those that another one stands for. `sameness`: of these rows;
    `collapses`: whether the best stands for all that look the same."""
    if sameness.series.max(initial=-1) >= 0:
        places = _in_turn(sameness)
        order, looks = order[places], sameness.looks[places]
    else:
        looks = sameness.looks
    return order[_is_first(looks)] if collapses else order


def _in_turn(sameness: Sameness) -> NDArray[np.intp]:
    """Return the places of what is left where the earliest part of each series stands at the place of its best."""
    places = np.arange(len(sameness.series))
    for number in np.unique(sameness.series[sameness.series >= 0]).tolist():
        of_series = np.flatnonzero(sameness.series == number)
        places[of_series[0]] = of_series[int(np.argmin(sameness.parts[of_series]))]
    return places[_is_first(sameness.series)]


def _is_first(numbers: NDArray[np.intp]) -> NDArray[np.bool_]:
    """Mask the first of each number, and all of -1."""
    _, first = np.unique(numbers, return_index=True)
    kept = numbers < 0
    kept[first] = True
    return kept


def _part(attributes: Mapping[str, Any]) -> tuple[str, float] | None:
    """Return the series and the number that the attributes give, where they give both."""
    name, number = attributes.get(SERIES), attributes.get(NUMBER)
    is_part = isinstance(name, str) and isinstance(number, int | float) and not isinstance(number, bool)
    return (str(name), float(number)) if is_part and number is not None else None


@lru_cache(maxsize=20_000)
def _plain_title(title: str) -> str:
    return _NOTHING_SAID.sub(" ", title.casefold()).strip()


_NONE: Mapping[str, Any] = {}
