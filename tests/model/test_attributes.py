"""Declared attributes are a contract: converted where nothing is lost, otherwise refused by name."""

from __future__ import annotations

from typing import Any

import pytest

from eddyline.errors import InvalidEvent
from eddyline.model.attributes import convert_attributes
from eddyline.settings import AttributeKind


@pytest.mark.parametrize(
    ("kind", "given", "value"),
    [
        ("integer", 42, 42),
        ("integer", "42", 42),
        ("integer", " -42.0 ", -42),
        ("integer", 42.0, 42),
        ("integer", 2**63 - 1, 2**63 - 1),
        ("float", 42, 42),
        ("float", "1.5", 1.5),
        ("float", "1e3", 1000.0),
        ("bool", "true", True),
        ("bool", "False", False),
        ("bool", 1, True),
        ("bool", 0.0, False),
        ("keyword", "42", "42"),
        ("keyword", 42, "42"),
        ("keyword", True, "true"),
        ("keyword", 1.5, "1.5"),
        ("integer", ["1", 2.0], [1, 2]),
        ("integer", None, None),
        ("integer", [], []),
    ],
)
def test_a_value_of_another_type_is_converted_where_nothing_is_lost(kind: str, given: Any, value: Any) -> None:
    converted = convert_attributes({"a": given, "other": "42"}, {"a": AttributeKind(kind)})
    assert converted == {"a": value, "other": "42"}
    assert type(converted["a"]) is type(value)


@pytest.mark.parametrize(
    ("kind", "given", "expected"),
    [
        ("integer", "many", "a whole number"),
        ("integer", 4.5, "a whole number"),
        ("integer", "4.5", "a whole number"),
        ("integer", "", "a whole number"),
        ("integer", True, "a whole number"),
        ("integer", 1e300, "a whole number"),
        ("integer", "9999999999999999999", "a whole number"),
        ("integer", [1, "x" * 300], "a whole number"),
        ("float", "1,5", "a number"),
        ("float", "1e999", "a number"),
        ("float", False, "a number"),
        ("bool", "yes", "true or false"),
        ("bool", 2, "true or false"),
    ],
)
def test_what_would_lose_something_is_refused_by_name(kind: str, given: Any, expected: str) -> None:
    with pytest.raises(InvalidEvent, match=f"must be {expected}, as the settings declare it") as refused:
        convert_attributes({"a": given}, {"a": AttributeKind(kind)})
    assert refused.value.field == "attributes.a"
    assert len(refused.value.reason) < 200
