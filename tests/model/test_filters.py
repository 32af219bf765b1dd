"""The filter grammar."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from eddyline.errors import InvalidInput
from eddyline.model.decay import DAY, add_to_decayed_count
from eddyline.model.filters import (
    Filter,
    Match,
    Range,
    excluding_items,
    matches,
    only_items,
    parse_filter,
    payload_paths,
)
from eddyline.model.ids import item_point_id
from eddyline.model.trends import trend_tau
from eddyline.settings import AttributeKind

NOW = 1_790_000_000.0
ATTRIBUTES = {"brand": AttributeKind.KEYWORD, "pages": AttributeKind.INTEGER, "hd": AttributeKind.BOOL}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, Filter()),
        ({"category": "news"}, Filter(must=(Match("meta.category", ("news",)),))),
        ({"tag": ["a", "b"]}, Filter(must=(Match("meta.tags", ("a", "b")),))),
        ({"tags": {"all": ["a", "b"]}}, Filter(must=(Match("meta.tags", ("a",)), Match("meta.tags", ("b",))))),
        ({"tags": {"not": "a"}}, Filter(must_not=(Match("meta.tags", ("a",)),))),
        ({"price": {"gte": 1, "lt": 9.5}}, Filter(must=(Range("offer.price", gte=1.0, lt=9.5),))),
        ({"rating": {"gte": 4}}, Filter(must=(Range("meta.rating.value", gte=4.0),))),
        ({"price": 3}, Filter(must=(Range("offer.price", gte=3.0, lte=3.0),))),
        (
            {"published_at": {"gt": "2026-03-01T12:00:00Z"}},
            Filter(must=(Range("meta.published_at", gt=1772366400.0),)),
        ),
        ({"brand": "acme"}, Filter(must=(Match("meta.attributes.brand", ("acme",)),))),
        ({"item_id": ["a", "b"]}, Filter(must=(Match("item_id", ("a", "b")),))),
        (
            {"available": True, "language": "en"},
            Filter((Match("offer.available", (True,)), Match("language.code", ("en",)))),
        ),
        (
            {"hd": True, "pages": [1, 2]},
            Filter(must=(Match("meta.attributes.hd", (True,)), Match("meta.attributes.pages", (1, 2)))),
        ),
    ],
)
def test_the_grammar(given: dict[str, Any], expected: Filter) -> None:
    assert parse_filter(given, ATTRIBUTES, NOW) == expected


@pytest.mark.parametrize(
    ("given", "field", "reason"),
    [
        ({"colour": "red"}, "filter.colour", '[attributes] colour = "keyword"'),
        ({"category": 3}, "filter.category", "must be a keyword"),
        ({"pages": True}, "filter.pages", "must be a integer"),
        ({"category": []}, "filter.category", "takes 1 to 500 values"),
        ({"category": {}}, "filter.category", "is empty"),
        ({"category": {"gte": "a"}}, "filter.category.gte", "only numbers and times"),
        ({"price": {"about": 3}}, "filter.price.about", "no such operator"),
        ({"price": {"gte": "cheap"}}, "filter.price.gte", "must be a number"),
        ({"price": [1, 2]}, "filter.price", "takes one number"),
        ({"price": {"lt": float("inf")}}, "filter.price.lt", "finite"),
        ({"price": {"lt": 10**400}}, "filter.price.lt", "finite"),
        ({"popularity": 5}, "filter.popularity", "takes bounds"),
        ({"popularity": {"not": 5}}, "filter.popularity", "takes bounds"),
        ({"popularity": {"gte": "many"}}, "filter.popularity.gte", "must be a number"),
        ({"published_at": {"gte": "soon"}}, "filter.published_at.gte", "not RFC 3339"),
    ],
)
def test_a_wrong_filter_says_where_and_why(given: dict[str, Any], field: str, reason: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        parse_filter(given, ATTRIBUTES, NOW)
    assert refused.value.field == field
    assert reason in refused.value.reason


def test_equal_requests_within_an_hour_make_equal_filters() -> None:
    hour = NOW // 3600 * 3600
    asked = {"popularity": {"gte": 5}}
    assert parse_filter(asked, {}, hour) == parse_filter(asked, {}, hour + 3599)
    assert parse_filter(asked, {}, hour) != parse_filter(asked, {}, hour + 3600)


def test_popularity_fades() -> None:
    popular = {"trend": {"quarter": add_to_decayed_count(None, 8.0, NOW, trend_tau("quarter"))}}
    asked = {"popularity": {"gte": 3}}
    assert matches(parse_filter(asked, {}, NOW + 90 * DAY), popular)
    assert not matches(parse_filter(asked, {}, NOW + 180 * DAY), popular)


@pytest.mark.parametrize("scope", [only_items, excluding_items])
def test_more_than_ten_thousand_items_are_refused(scope: Callable[[list[str]], Filter]) -> None:
    with pytest.raises(InvalidInput, match="at most 10000 items, these are 10001"):
        scope([str(n) for n in range(10_001)])


def test_an_item_matches_by_its_id_only_where_the_id_is_given() -> None:
    only = only_items(["a"])
    assert matches(only, {}, item_point_id("a"))
    assert not matches(only, {}, item_point_id("b"))
    assert not matches(only, {"item_id": "a"})


def test_a_filter_names_each_field_once() -> None:
    wanted = parse_filter({"tags": {"all": ["a", "b"], "not": "c"}, "price": {"lt": 3}}, {}, NOW)
    assert payload_paths(wanted & only_items(["a"])) == ("meta.tags", "offer.price")
