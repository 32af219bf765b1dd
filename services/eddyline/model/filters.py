"""Filters: the conditions that a vector store understands, and the one JSON grammar that makes them.

`{field: value | [any of] | {"all": […], "any": […], "not": value | […], "gt"|"gte"|"lt"|"lte": number}}`; all fields
given must hold.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from eddyline.errors import InvalidInput
from eddyline.model.events import parse_timestamp
from eddyline.settings import AttributeKind

MAX_VALUES = 500
MAX_INTEGER = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Match:
    """The field (or, for a list, any of its values) is one of `values`."""

    field: str
    values: tuple[str | int | bool, ...]


@dataclass(frozen=True, slots=True)
class Range:
    """The number lies within the bounds given. A point without the field doesn't match."""

    field: str
    gt: float | None = None
    gte: float | None = None
    lt: float | None = None
    lte: float | None = None


@dataclass(frozen=True, slots=True)
class HasId:
    """The point is one of these."""

    ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Missing:
    """The field is absent, null or an empty list."""

    field: str


Condition: TypeAlias = "Match | Range | HasId | Missing"


@dataclass(frozen=True, slots=True)
class Filter:
    """All of `must` and none of `must_not`. An empty filter matches everything."""

    must: tuple[Condition, ...] = ()
    must_not: tuple[Condition, ...] = ()

    def __and__(self, other: Filter) -> Filter:
        """Both."""
        return Filter(self.must + other.must, self.must_not + other.must_not)


KEYWORD, NUMBER, INTEGER, TIME, BOOL = "keyword", "number", "integer", "time", "boolean"

BUILT_IN: Mapping[str, tuple[str, str]] = {
    "category": ("meta.category", KEYWORD),
    "tag": ("meta.tags", KEYWORD),
    "tags": ("meta.tags", KEYWORD),
    "language": ("meta.language", KEYWORD),
    "published_at": ("meta.published_at", TIME),
    "expires_at": ("meta.expires_at", TIME),
    "price": ("offer.price", NUMBER),
}
"""What can always be filtered on: name → (payload path, kind)."""

_ATTRIBUTE_KINDS = {
    AttributeKind.KEYWORD: KEYWORD,
    AttributeKind.INTEGER: INTEGER,
    AttributeKind.FLOAT: NUMBER,
    AttributeKind.BOOL: BOOL,
}
_BOUNDS = ("gt", "gte", "lt", "lte")


def parse_filter(given: Mapping[str, Any], attributes: Mapping[str, AttributeKind]) -> Filter:
    """Read the grammar. Raises `InvalidInput` naming the field, and how to declare an attribute that isn't."""
    result = Filter()
    for name, wanted in given.items():
        path, kind = _field(name, attributes)
        result &= _conditions(f"filter.{name}", path, kind, wanted)
    return result


def servable(now: float) -> Filter:
    """Items that may be shown at `now` (epoch seconds): embedded, available, published, not expired."""
    return Filter(
        must_not=(
            Missing("item_id"),
            Missing("meta.title"),
            Match("offer.available", (False,)),
            Range("meta.published_at", gt=now),
            Range("meta.expires_at", lte=now),
        )
    )


def _field(name: str, attributes: Mapping[str, AttributeKind]) -> tuple[str, str]:
    if name in BUILT_IN:
        return BUILT_IN[name]
    if name in attributes:
        return f"meta.attributes.{name}", _ATTRIBUTE_KINDS[attributes[name]]
    known = ", ".join(sorted({*BUILT_IN, *attributes}))
    raise InvalidInput(
        f"can't be filtered on; known are {known}; declare an own attribute in the settings: "
        f'[attributes] {name[:64]} = "keyword"',
        f"filter.{name[:64]}",
    )


def _conditions(where: str, path: str, kind: str, wanted: Any) -> Filter:
    if isinstance(wanted, dict):
        return _operators(where, path, kind, wanted)
    return Filter(must=(_any_of(where, path, kind, wanted),))


def _operators(where: str, path: str, kind: str, wanted: Mapping[str, Any]) -> Filter:
    if not wanted:
        raise InvalidInput("is empty: give a value, a list, or all, any, not, gt, gte, lt, lte", where)
    must: list[Condition] = []
    must_not: list[Condition] = []
    bounds: dict[str, float] = {}
    for operator, value in wanted.items():
        at = f"{where}.{operator}"
        if operator in _BOUNDS:
            if kind not in (NUMBER, INTEGER, TIME):
                raise InvalidInput("only numbers and times have bounds", at)
            bounds[operator] = _number(at, kind, value)
        elif operator == "any":
            must.append(_any_of(where, path, kind, value))
        elif operator == "all":
            must.extend(_any_of(at, path, kind, [one]) for one in _list(at, value))
        elif operator == "not":
            must_not.append(_any_of(at, path, kind, value))
        else:
            raise InvalidInput("there is no such operator; known are all, any, not, gt, gte, lt, lte", at)
    if bounds:
        must.append(Range(path, **bounds))
    return Filter(tuple(must), tuple(must_not))


def _any_of(where: str, path: str, kind: str, value: Any) -> Condition:
    values = _list(where, value)
    if kind in (NUMBER, TIME):
        if len(values) != 1:
            raise InvalidInput("takes one number, or bounds: gt, gte, lt, lte", where)
        number = _number(where, kind, values[0])
        return Range(path, gte=number, lte=number)
    return Match(path, tuple(_value(where, kind, one) for one in values))


def _list(where: str, value: Any) -> list[Any]:
    values = value if isinstance(value, list) else [value]
    if not values or len(values) > MAX_VALUES:
        raise InvalidInput(f"takes 1 to {MAX_VALUES} values, these are {len(values)}", where)
    return values


def _value(where: str, kind: str, value: Any) -> str | int | bool:
    wanted = {KEYWORD: str, INTEGER: int, BOOL: bool}[kind]
    if not isinstance(value, wanted) or (wanted is int and isinstance(value, bool)):
        raise InvalidInput(f"must be a {kind}, it is {str(value)[:60]!r}", where)
    assert isinstance(value, str | int | bool)
    if isinstance(value, int) and abs(value) > MAX_INTEGER:
        raise InvalidInput("is beyond a 64-bit integer", where)
    return value


def _number(where: str, kind: str, value: Any) -> float:
    if kind == TIME:
        try:
            return parse_timestamp(value)
        except ValueError as error:
            raise InvalidInput(str(error), where) from None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidInput(f"must be a number, it is {str(value)[:60]!r}", where)
    return float(value)
