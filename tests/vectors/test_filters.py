"""Filters mean the same in every store: they are compared with their definition in plain Python."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.vectors.worlds import SPEC, matching, point

from eddyline.adapters.vectors import (
    Condition,
    Filter,
    HasId,
    Match,
    Missing,
    Point,
    Range,
    VectorStore,
)
from eddyline.model.ids import item_point

WORDS: list[Any] = ["news", "sport", ["news", "žluť"], [], None]
NUMBERS: list[Any] = [0, 1, 2.5, -3, [1, 7.25], [], None]
FLAGS: list[Any] = [True, False, None]
NAMES = [f"p{i}" for i in range(40)]


def _payload(i: int) -> dict[str, Any]:
    payload: dict[str, Any] = {}
    if i % 4:
        payload["meta"] = {"category": WORDS[i % len(WORDS)]}
    if i % 5:
        payload["offer"] = {"price": NUMBERS[i % len(NUMBERS)], "available": FLAGS[i % len(FLAGS)]}
    if i % 3:
        payload["level"] = i % 6
    return payload


POPULATION = [point(name, **_payload(i)) for i, name in enumerate(NAMES)]


def _values(payload: Any, path: str) -> list[Any]:
    for step in path.split("."):
        payload = payload.get(step) if isinstance(payload, dict) else None
    found = payload if isinstance(payload, list) else [payload]
    return [value for value in found if value is not None]


def _holds(condition: Condition, point: Point) -> bool:
    match condition:
        case Match(field, values):
            return any(
                type(value) is type(wanted) and value == wanted
                for value in _values(point.payload, field)
                for wanted in values
            )
        case Range(field):
            return any(
                (condition.gt is None or value > condition.gt)
                and (condition.gte is None or value >= condition.gte)
                and (condition.lt is None or value < condition.lt)
                and (condition.lte is None or value <= condition.lte)
                for value in _values(point.payload, field)
            )
        case HasId(ids):
            return point.id in ids
        case Missing(field):
            return not _values(point.payload, field)


def expected(filter: Filter) -> set[str]:
    return {
        name
        for name, each in zip(NAMES, POPULATION, strict=True)
        if all(_holds(condition, each) for condition in filter.must)
        and not any(_holds(condition, each) for condition in filter.must_not)
    }


def _matches(field: str, values: list[Any]) -> st.SearchStrategy[Condition]:
    return st.builds(Match, st.just(field), st.lists(st.sampled_from(values), max_size=3).map(tuple))


_bound = st.none() | st.sampled_from([-3.0, 0.0, 1.0, 2.5, 7.25])
_range: st.SearchStrategy[Condition] = st.builds(
    Range, st.sampled_from(["offer.price", "level"]), _bound, _bound, _bound, _bound
)
_condition: st.SearchStrategy[Condition] = st.one_of(
    _matches("meta.category", ["news", "sport", "žluť", "none"]),
    _matches("offer.available", [True, False]),
    _matches("level", [0, 1, 5, "news", True]),
    _range,
    st.builds(HasId, st.lists(st.sampled_from([each.id for each in POPULATION]), max_size=20).map(tuple)),
    st.builds(Missing, st.sampled_from(["meta", "meta.category", "offer.price", "offer.available", "level"])),
)
_conditions = st.lists(_condition, max_size=3).map(tuple)


@pytest.fixture
def store(vector_store: VectorStore) -> VectorStore:
    vector_store.ensure(SPEC)
    vector_store.upsert(SPEC.name, POPULATION)
    return vector_store


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(filter=st.builds(Filter, _conditions, _conditions))
def test_a_filter_finds_what_its_definition_says(store: VectorStore, filter: Filter) -> None:
    assert matching(store, filter, NAMES) == expected(filter)


def test_the_definition_itself_is_not_empty() -> None:
    assert expected(Filter(must=(Match("meta.category", ("žluť",)),)))
    assert expected(Filter(must=(Range("offer.price", gt=7),)))
    assert item_point("p0") == POPULATION[0].id
