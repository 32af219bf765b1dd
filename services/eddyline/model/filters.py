"""Filters: the conditions that a vector store understands, and the one JSON grammar that makes them.

`{field: value | [any of] | {"all": […], "any": […], "not": value | […], "gt"|"gte"|"lt"|"lte": number}}`; all fields
given must hold.

`matcher` evaluates a filter on a payload, with the same answer as a store's.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any, Protocol, TypeAlias

from eddyline.errors import InvalidInput
from eddyline.model.decay import add_to_decayed_count
from eddyline.model.events import parse_timestamp
from eddyline.model.ids import item_point_id
from eddyline.model.language import normalized_language
from eddyline.model.plain_text import plain_line
from eddyline.model.trends import POPULARITY, trend_tau
from eddyline.settings import AttributeKind

MAX_VALUES = 500
MAX_IDS = 10_000
"""Most items that a request may scope to, or leave out."""
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
class IsEmpty:
    """The field is absent, null or an empty list."""

    field: str


Condition: TypeAlias = "Match | Range | HasId | IsEmpty"


@dataclass(frozen=True, slots=True)
class Filter:
    """All of `must` and none of `must_not`. An empty filter matches everything."""

    must: tuple[Condition, ...] = ()
    must_not: tuple[Condition, ...] = ()

    def __and__(self, other: Filter) -> Filter:
        """Require both."""
        return Filter(self.must + other.must, self.must_not + other.must_not)


class Matcher(Protocol):
    """A filter as a function of a payload. Without `point_id`, no point is one of a `HasId`."""

    def __call__(self, payload: Mapping[str, Any], point_id: str | None = None, /) -> bool:
        """Whether it passes."""


def matches(filter: Filter, payload: Mapping[str, Any], point_id: str | None = None) -> bool:
    """Return whether a point with this payload passes. For many points, make a `matcher` once."""
    return matcher(filter)(payload, point_id)


def matcher(filter: Filter) -> Matcher:
    """Compile the filter to a function, for many payloads."""
    tests = [*map(_test, filter.must), *(_negated(_test(condition)) for condition in filter.must_not)]
    return reduce(_both, tests) if tests else lambda _, __=None, /: True


def payload_paths(filter: Filter) -> tuple[str, ...]:
    """Return the payload paths that a matcher of this filter looks at, each once."""
    conditions = (*filter.must, *filter.must_not)
    return tuple(dict.fromkeys(condition.field for condition in conditions if not isinstance(condition, HasId)))


def _both(one: Matcher, other: Matcher) -> Matcher:
    return lambda payload, point_id=None, /: one(payload, point_id) and other(payload, point_id)


def _negated(test: Matcher) -> Matcher:
    return lambda payload, point_id=None, /: not test(payload, point_id)


def _test(condition: Condition) -> Matcher:
    match condition:
        case Match(field, values):
            return _is_one_of(_value_at(field), values)
        case Range(field):
            return _lies_within(_value_at(field), condition)
        case IsEmpty(field):
            value_at = _value_at(field)
            return lambda payload, _=None, /: (value := value_at(payload)) is None or value == []
        case HasId(ids):
            known = frozenset(ids)
            return lambda _, point_id=None, /: point_id in known


def _value_at(path: str) -> Callable[[Mapping[str, Any]], Any]:
    """Return a function that reads the dotted path; it gives None where a part is missing, or is no object."""
    *parents, last = path.split(".")

    def value_at(payload: Any) -> Any:
        for parent in parents:
            payload = payload.get(parent)
            if not isinstance(payload, dict):
                return None
        return payload.get(last)

    return value_at


def _is_one_of(value_at: Callable[[Mapping[str, Any]], Any], values: Sequence[str | int | bool]) -> Matcher:
    known = {(type(value), value) for value in values}  # True is 1 to Python, and isn't to a store

    def holds(payload: Mapping[str, Any], _: str | None = None, /) -> bool:
        value = value_at(payload)
        if isinstance(value, list):
            return any((type(one), one) in known for one in value if isinstance(one, str | int))
        return isinstance(value, str | int) and (type(value), value) in known

    return holds


def _lies_within(value_at: Callable[[Mapping[str, Any]], Any], bounds: Range) -> Matcher:
    gt, lt = -math.inf if bounds.gt is None else bounds.gt, math.inf if bounds.lt is None else bounds.lt
    gte, lte = -math.inf if bounds.gte is None else bounds.gte, math.inf if bounds.lte is None else bounds.lte

    def within(value: Any) -> bool:
        return type(value) in (int, float) and gt < value < lt and gte <= value <= lte

    def holds(payload: Mapping[str, Any], _: str | None = None, /) -> bool:
        value = value_at(payload)
        return any(map(within, value)) if isinstance(value, list) else within(value)

    return holds


KEYWORD, NUMBER, INTEGER, TIME, BOOL, PEOPLE = "keyword", "number", "integer", "time", "boolean", "count of people"
POPULARITY_PATH = f"trend.{POPULARITY}"
CLOCK_STEP = 3600.0
"""Seconds after which popularity's bounds move with the clock: equal requests make equal filters meanwhile, whose
lists can be shared. With its half-life of 90 days an hour is 0.03 % of a count."""

_LABELS = ("meta.category", "meta.tags")
"""What is stored as its text alone."""
BUILT_IN: Mapping[str, tuple[str, str]] = {
    "item_id": ("item_id", KEYWORD),
    "category": ("meta.category", KEYWORD),
    "tag": ("meta.tags", KEYWORD),
    "tags": ("meta.tags", KEYWORD),
    "language": ("language.code", KEYWORD),
    "language_detected": ("language.detected", BOOL),
    "published_at": ("meta.published_at", TIME),
    "expires_at": ("meta.expires_at", TIME),
    "price": ("offer.price", NUMBER),
    "rating": ("meta.rating.value", NUMBER),
    "available": ("offer.available", BOOL),
    "popularity": (POPULARITY_PATH, PEOPLE),
}
"""What can always be filtered on: name → (payload path, kind)."""

_ATTRIBUTE_KINDS = {
    AttributeKind.KEYWORD: KEYWORD,
    AttributeKind.INTEGER: INTEGER,
    AttributeKind.FLOAT: NUMBER,
    AttributeKind.BOOL: BOOL,
}
_BOUNDS = ("gt", "gte", "lt", "lte")


def parse_filter(given: Mapping[str, Any], attributes: Mapping[str, AttributeKind], now: float) -> Filter:
    """Parse the grammar; `now` in epoch seconds is when popularity is counted.

    Raises `InvalidInput` naming the field, and how to declare an attribute that isn't.
    """
    result = Filter()
    for name, operand in given.items():
        path, kind = _field(name, attributes)
        where = f"filter.{name}"
        if kind == PEOPLE:
            result &= _count_of_people(where, path, operand, now)
        elif isinstance(operand, dict):
            result &= _operators(where, path, kind, operand)
        else:
            result &= Filter(must=(_any_of(where, path, kind, operand),))
    return result


def only_items(item_ids: Collection[str]) -> Filter:
    """Match only these items, and none where there are none. Raises `InvalidInput` for more than `MAX_IDS`."""
    return Filter(must=(HasId(_points(item_ids, "candidates")),))


def excluding_items(item_ids: Collection[str]) -> Filter:
    """Match all but these items. Raises `InvalidInput` for more than `MAX_IDS`."""
    return Filter(must_not=(HasId(_points(item_ids, "exclude")),)) if item_ids else Filter()


def _points(item_ids: Collection[str], where: str) -> tuple[str, ...]:
    if len(item_ids) > MAX_IDS:
        raise InvalidInput(f"takes at most {MAX_IDS} items, these are {len(item_ids)}", where)
    return tuple(item_point_id(item_id) for item_id in sorted(set(item_ids)))


def servable_items(now: float) -> Filter:
    """Match items that may be shown at `now` (epoch seconds): embedded, available, published, not expired.

    All of it is in fields that are always there (`model.listing`), and indexed.
    """
    return Filter(
        must=(Match("servable", (True,)), Range("servable_from", lte=now), Range("servable_until", gt=now)),
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


def _operators(where: str, path: str, kind: str, operators: Mapping[str, Any]) -> Filter:
    if not operators:
        raise InvalidInput("is empty: give a value, a list, or all, any, not, gt, gte, lt, lte", where)
    must: list[Condition] = []
    must_not: list[Condition] = []
    bounds: dict[str, float] = {}
    for operator, value in operators.items():
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


def _count_of_people(where: str, path: str, bounds: Any, now: float) -> Filter:
    """Bound a forward-decayed count, which is stored as its logarithm, and not at all where it is 0."""
    if not isinstance(bounds, dict) or not bounds or not set(bounds) <= set(_BOUNDS):
        raise InvalidInput("fades with time, so it takes bounds: gt, gte, lt, lte", where)
    then, tau = now // CLOCK_STEP * CLOCK_STEP, trend_tau(POPULARITY)
    result = Filter()
    for operator, value in bounds.items():
        count = _number(f"{where}.{operator}", NUMBER, value)
        if operator in ("gt", "gte"):
            result &= _more_than(path, count, operator, then, tau)
        else:
            # Fewer is "not as many", so that it holds where there is no count.
            more = _more_than(path, count, "gt" if operator == "lte" else "gte", then, tau)
            result &= Filter(must=more.must_not, must_not=more.must) if more != Filter() else Filter(must=(HasId(()),))
    return result


def _more_than(path: str, count: float, operator: str, now: float, tau: float) -> Filter:
    """Match `gt` or `gte` a count, in at most one condition; everything where the count is below all that there are."""
    if count > 0:
        return Filter(must=(Range(path, **{operator: add_to_decayed_count(None, count, now, tau)}),))
    return Filter(must_not=(IsEmpty(path),)) if count == 0 and operator == "gt" else Filter()


def _any_of(where: str, path: str, kind: str, value: Any) -> Condition:
    values = _list(where, value)
    if kind in (NUMBER, TIME):
        if len(values) != 1:
            raise InvalidInput("takes one number, or bounds: gt, gte, lt, lte", where)
        number = _number(where, kind, values[0])
        return Range(path, gte=number, lte=number)
    return Match(path, tuple(_as_stored(path, _value(where, kind, one)) for one in values))


def _as_stored(path: str, value: str | int | bool) -> str | int | bool:
    """Return a value as the store has it: texts in normal form C, categories and tags without markup."""
    if not isinstance(value, str):
        return value
    if path == "language.code":
        return normalized_language(value)
    return plain_line(value) if path in _LABELS else unicodedata.normalize("NFC", value)


def _list(where: str, value: Any) -> list[Any]:
    values = value if isinstance(value, list) else [value]
    if not values or len(values) > MAX_VALUES:
        raise InvalidInput(f"takes 1 to {MAX_VALUES} values, these are {len(values)}", where)
    return values


def _value(where: str, kind: str, value: Any) -> str | int | bool:
    type_of_kind = {KEYWORD: str, INTEGER: int, BOOL: bool}[kind]
    if not isinstance(value, type_of_kind) or (type_of_kind is int and isinstance(value, bool)):
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
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise InvalidInput("must be a finite number", where)
    return number
