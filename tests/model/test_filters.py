"""The filter grammar."""

from __future__ import annotations

from typing import Any

import pytest

from eddyline.errors import InvalidInput
from eddyline.model.filters import Filter, Match, Range, parse_filter
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
        ({"price": 3}, Filter(must=(Range("offer.price", gte=3.0, lte=3.0),))),
        (
            {"published_at": {"gt": "2026-03-01T12:00:00Z"}},
            Filter(must=(Range("meta.published_at", gt=1772366400.0),)),
        ),
        ({"brand": "acme"}, Filter(must=(Match("meta.attributes.brand", ("acme",)),))),
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
        ({"published_at": {"gte": "soon"}}, "filter.published_at.gte", "not RFC 3339"),
    ],
)
def test_a_wrong_filter_says_where_and_why(given: dict[str, Any], field: str, reason: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        parse_filter(given, ATTRIBUTES, NOW)
    assert refused.value.field == field
    assert reason in refused.value.reason
