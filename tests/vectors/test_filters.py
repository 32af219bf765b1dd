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
    IsEmpty,
    Match,
    Point,
    Range,
    VectorStore,
)
from eddyline.model.decay import add_to_decayed_count
from eddyline.model.filters import excluding_items, matcher, matches, only_items, parse_filter, payload_paths
from eddyline.model.ids import item_point_id
from eddyline.model.trends import trend_tau

NOW = 1_790_000_000.0
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
    if i % 7:
        payload["trend"] = {"quarter": add_to_decayed_count(None, float(i), NOW, trend_tau("quarter"))}
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
        case IsEmpty(field):
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
    st.builds(IsEmpty, st.sampled_from(["meta", "meta.category", "offer.price", "offer.available", "level"])),
)
_conditions = st.lists(_condition, max_size=3).map(tuple)


@pytest.fixture
def store(vector_store: VectorStore) -> VectorStore:
    vector_store.ensure(SPEC)
    vector_store.upsert(SPEC.name, POPULATION)
    return vector_store


@pytest.mark.slow(10)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(filter=st.builds(Filter, _conditions, _conditions))
def test_a_filter_finds_what_its_definition_says(store: VectorStore, filter: Filter) -> None:
    assert matching(store, filter, NAMES) == expected(filter)


@pytest.mark.slow(10)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(filter=st.builds(Filter, _conditions, _conditions))
def test_a_payload_passes_where_its_point_is_found(store: VectorStore, filter: Filter) -> None:
    passes = matcher(filter)
    found = {name for name, each in zip(NAMES, POPULATION, strict=True) if passes(each.payload, each.id)}
    assert found == matching(store, filter, NAMES)


ODD: dict[str, dict[str, Any]] = {
    "a list of null": {"meta": {"category": [None]}},
    "an object": {"meta": {"category": {}}},
    "a list in a list": {"meta": {"category": [["news"]]}},
    "a list of objects": {"meta": [{"category": "news"}]},
    "text for a number": {"offer": {"price": "3", "available": "true"}},
    "a flag for a number": {"offer": {"price": True, "available": 1}},
    "a whole float": {"level": 1.0},
}


@pytest.mark.parametrize(
    "condition",
    [
        IsEmpty("meta"),
        IsEmpty("meta.category"),
        Match("meta.category", ("news",)),
        Match("offer.price", ("3",)),
        Match("offer.price", (True,)),
        Match("offer.available", (True,)),
        Match("level", (1,)),
        Range("offer.price", gte=0),
        Range("level", gte=1, lt=2),
    ],
    ids=str,
)
def test_a_payload_of_odd_types_passes_where_its_point_is_found(
    vector_store: VectorStore, condition: Condition
) -> None:
    vector_store.ensure(SPEC)
    vector_store.upsert(SPEC.name, [point(name, **payload) for name, payload in ODD.items()])
    filter = Filter(must=(condition,))
    assert {name for name, payload in ODD.items() if matches(filter, payload)} == matching(
        vector_store, filter, list(ODD)
    )


@given(filter=st.builds(Filter, _conditions, _conditions))
def test_the_fields_that_a_filter_looks_at_are_all_it_needs(filter: Filter) -> None:
    for each in POPULATION:
        needed = {path.split(".")[0]: each.payload.get(path.split(".")[0]) for path in payload_paths(filter)}
        assert matches(filter, needed, each.id) == matches(filter, each.payload, each.id)


_bounds = st.dictionaries(
    st.sampled_from(["gt", "gte", "lt", "lte"]), st.sampled_from([-1.0, 0.0, 0.5, 2.5, 6.5, 20.5, 100.0]), min_size=1
)


@pytest.mark.slow(10)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(bounds=_bounds)
def test_popularity_is_a_count_of_people_and_none_is_zero(store: VectorStore, bounds: dict[str, float]) -> None:
    holds = {
        "gt": lambda count, bound: count > bound,
        "gte": lambda count, bound: count >= bound,
        "lt": lambda count, bound: count < bound,
        "lte": lambda count, bound: count <= bound,
    }
    counts = {name: i if i % 7 else 0 for i, name in enumerate(NAMES)}
    wanted = {
        name
        for name, count in counts.items()
        if all(holds[operator](count, bound) for operator, bound in bounds.items())
    }
    assert matching(store, parse_filter({"popularity": bounds}, {}, NOW), NAMES) == wanted


def test_a_pool_keeps_only_its_own_and_an_exclusion_all_others(store: VectorStore) -> None:
    known = {*NAMES[:5], "nobody's"}
    assert matching(store, only_items(known), NAMES) == set(NAMES[:5])
    assert matching(store, only_items([]), NAMES) == set()
    assert matching(store, excluding_items(known), NAMES) == set(NAMES[5:])
    assert matching(store, excluding_items([]), NAMES) == set(NAMES)


@pytest.mark.slow(10)
def test_ten_thousand_are_not_too_many(store: VectorStore) -> None:
    strangers = [f"stranger{n}" for n in range(9_999)]
    assert matching(store, only_items([*strangers, NAMES[0]]), NAMES) == {NAMES[0]}
    assert matching(store, excluding_items([*strangers, NAMES[0]]), NAMES) == set(NAMES[1:])


def test_the_definition_itself_is_not_empty() -> None:
    assert expected(Filter(must=(Match("meta.category", ("žluť",)),)))
    assert expected(Filter(must=(Range("offer.price", gt=7),)))
    assert item_point_id("p0") == POPULATION[0].id
