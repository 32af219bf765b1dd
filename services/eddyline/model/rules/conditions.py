"""Conditions on a situation: the `when` of a rule or a promotion, and what makes a segment.

`{field: value | [any of] | {"any": […], "all": […], "not": value | […], "gt"|"gte"|"lt"|"lte": number}}`; all fields
given must hold. A field may have no value, one, or several (a list attribute, several segments): it is as good as any
of them. Where there is none, only `not` holds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from eddyline.errors import InvalidInput

WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
NAMED = ("surface", "device", "locale", "location", "hour", "weekday", "segment")
PREFIXES = ("user", "context")
"""Fields with any name behind the dot: `user.<attribute>`, `context.<name>`."""
_BOUNDS = ("gt", "gte", "lt", "lte")

Check: TypeAlias = Callable[[Sequence[Any]], bool]
"""Whether the values of a field fit."""
_Key: TypeAlias = tuple[bool, Any]


@dataclass(frozen=True, slots=True)
class Conditions:
    """Checks by field. Without any, they always hold."""

    checks: tuple[tuple[str, Check], ...] = ()

    def hold(self, values: Callable[[str], Sequence[Any]]) -> bool:
        """Whether all hold, `values` giving what is known of a field."""
        return all(check(values(field)) for field, check in self.checks)

    def __and__(self, other: Conditions) -> Conditions:
        """Combine the checks of both."""
        return Conditions(self.checks + other.checks)


def parse_when(given: Mapping[str, Any]) -> Conditions:
    """Parse conditions on any field of a situation. Raises `InvalidInput` naming the field."""
    return Conditions(tuple((field, _check(f"when.{field}", field, operand)) for field, operand in _flat(given)))


def parse_attributes(given: Mapping[str, Any]) -> Conditions:
    """Parse conditions on a person's attributes, by their bare names. Raises `InvalidInput` naming the attribute."""
    return Conditions(tuple((f"user.{name}", _check(name, f"user.{name}", operand)) for name, operand in given.items()))


def _flat(given: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield each field with its operand: TOML makes a table `user` of the key `user.plan`, unless it is quoted."""
    for name, operand in given.items():
        prefix, dot, rest = name.partition(".")
        if name in PREFIXES and isinstance(operand, Mapping):
            yield from ((f"{name}.{inner}", one) for inner, one in operand.items())
        elif name in NAMED or (prefix in PREFIXES and dot and rest):
            yield name, operand
        else:
            known = ", ".join((*NAMED, *(f"{one}.<name>" for one in PREFIXES)))
            raise InvalidInput(f"there is no such condition; known are {known}", f"when.{name}")


def _check(where: str, field: str, operand: Any) -> Check:
    if not isinstance(operand, Mapping):
        return _any_of(where, field, operand)
    if not operand:
        raise InvalidInput("is empty: give a value, a list, or any, all, not, gt, gte, lt, lte", where)
    checks: list[Check] = []
    bounds: dict[str, float] = {}
    for operator, value in operand.items():
        at = f"{where}.{operator}"
        if operator in _BOUNDS:
            bounds[operator] = _bound(at, field, value)
        elif operator == "any":
            checks.append(_any_of(at, field, value))
        elif operator == "all":
            checks += [_any_of(at, field, one) for one in _list(at, value)]
        elif operator == "not":
            checks.append(_none_of(_any_of(at, field, value)))
        else:
            raise InvalidInput("there is no such operator; known are any, all, not, gt, gte, lt, lte", at)
    if bounds:
        checks.append(_within(where, field, bounds))
    return lambda values: all(check(values) for check in checks)


def _any_of(where: str, field: str, value: Any) -> Check:
    keys = frozenset(_value_key(where, field, one) for one in _list(where, value))
    if field == "locale":
        return lambda values: any(key in keys for value in values for key in _language_ranges(value))
    return lambda values: any(_key(value) in keys for value in values)


def _none_of(check: Check) -> Check:
    return lambda values: not check(values)


def _list(where: str, value: Any) -> Sequence[Any]:
    values = value if isinstance(value, list | tuple) else [value]
    if not values:
        raise InvalidInput("takes at least one value", where)
    return values


def _value_key(where: str, field: str, value: Any) -> _Key:
    if not isinstance(value, str | int | float):
        raise InvalidInput(f"must be text, a number or a boolean, it is {value!r:.60}", where)
    if field == "weekday" and value not in WEEKDAYS:
        raise InvalidInput(f"must be one of {', '.join(WEEKDAYS)}; it is {value!r:.60}", where)
    if field == "hour" and (isinstance(value, bool) or value not in range(24)):
        raise InvalidInput(f"must be a whole number of 0 to 23, it is {value!r:.60}", where)
    if field == "locale":
        if not isinstance(value, str):
            raise InvalidInput(f"must be a language tag such as de or de-AT, it is {value!r:.60}", where)
        return _key(_tag(value))
    return _key(value)


def _key(value: Any) -> _Key:
    """Tell True from 1, which are equal to Python."""
    return isinstance(value, bool), value


def _tag(value: str) -> str:
    return value.lower().replace("_", "-")


def _language_ranges(value: Any) -> list[_Key]:
    """Return all ranges that match a tag: `de-AT` and `de` for `de-AT` (basic filtering of RFC 4647)."""
    parts = _tag(value).split("-") if isinstance(value, str) else []
    return [_key("-".join(parts[:length])) for length in range(1, len(parts) + 1)]


def _bound(where: str, field: str, value: Any) -> float:
    if field in ("weekday", "locale", "segment", "surface", "device"):
        raise InvalidInput("only numbers have bounds", where)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise InvalidInput(f"must be a number, it is {value!r:.60}", where)
    if field == "hour" and value not in range(25):
        raise InvalidInput(f"must be a whole number of 0 to 24, it is {value!r:.60}", where)
    return float(value)


def _within(where: str, field: str, bounds: Mapping[str, float]) -> Check:
    """Check for values within the bounds; hours whose upper bound is the smaller one reach over midnight."""
    lowest = max(bounds.get("gt", -math.inf), bounds.get("gte", -math.inf))
    highest = min(bounds.get("lt", math.inf), bounds.get("lte", math.inf))
    is_closed = bounds.get("gt") != lowest and bounds.get("lt") != highest
    over_midnight = field == "hour" and lowest > highest
    if not over_midnight and (lowest > highest or (lowest == highest and not is_closed)):
        raise InvalidInput("there is nothing within these bounds", where)
    combined = any if over_midnight else all

    def within(value: Any) -> bool:
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        above = value > bounds.get("gt", -math.inf) and value >= bounds.get("gte", -math.inf)
        below = value < bounds.get("lt", math.inf) and value <= bounds.get("lte", math.inf)
        return combined((above, below))

    return lambda values: any(map(within, values))
