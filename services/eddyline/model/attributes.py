"""Attributes that the settings declare: each value has the declared type, or becomes it without loss."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Mapping
from typing import Any

import orjson

from eddyline.errors import InvalidEvent
from eddyline.settings import AttributeKind

_INTEGER = re.compile(r"[+-]?\d{1,19}(\.0+)?")
_NUMBER = re.compile(r"[+-]?(\d{1,17}(\.\d{1,17})?|\.\d{1,17})(e[+-]?\d{1,3})?", re.IGNORECASE)
_BOOLEANS = {"true": True, "false": False}
_INTEGERS = range(-(2**63), 2**63)
_EXPECTED = {
    AttributeKind.KEYWORD: "a text",
    AttributeKind.INTEGER: "a whole number",
    AttributeKind.FLOAT: "a number",
    AttributeKind.BOOL: "true or false",
}


def convert_attributes(attributes: Mapping[str, Any], declared: Mapping[str, AttributeKind]) -> dict[str, Any]:
    """Return the attributes with those that are declared as their types say: "42" and 42.0 are the integer 42.

    Each of a list is converted; null stays. Raises `InvalidEvent` naming the attribute whose value can't be.
    """
    return {name: _convert_all(name, given, declared.get(name)) for name, given in attributes.items()}


def _convert_all(name: str, given: Any, kind: AttributeKind | None) -> Any:
    if kind is None or given is None:
        return given
    return [_convert(name, one, kind) for one in given] if isinstance(given, list) else _convert(name, given, kind)


def _convert(name: str, given: Any, kind: AttributeKind) -> Any:
    convert = {
        AttributeKind.KEYWORD: _keyword,
        AttributeKind.INTEGER: _integer,
        AttributeKind.FLOAT: _number,
        AttributeKind.BOOL: _boolean,
    }[kind]
    value = convert(given)
    if value is None:
        shown = repr(given) if len(repr(given)) <= 60 else repr(given)[:57] + "…'"
        raise InvalidEvent(
            f"must be {_EXPECTED[kind]}, as the settings declare it (it is {shown})", f"attributes.{name}"
        )
    return value


def _keyword(given: str | float | bool) -> str | None:
    return unicodedata.normalize("NFC", given) if isinstance(given, str) else orjson.dumps(given).decode()


def _integer(given: str | float | bool) -> int | None:
    if isinstance(given, bool):
        return None
    if isinstance(given, str):
        text = given.strip()
        given = int(text.partition(".")[0]) if _INTEGER.fullmatch(text) else 0.5
    return int(given) if int(given) == given and int(given) in _INTEGERS else None


def _number(given: str | float | bool) -> float | None:
    if isinstance(given, bool):
        return None
    if isinstance(given, str):
        value = float(given) if _NUMBER.fullmatch(given.strip()) else math.inf
        return value if math.isfinite(value) else None
    return given


def _boolean(given: str | float | bool) -> bool | None:
    if isinstance(given, str):
        return _BOOLEANS.get(given.strip().lower())
    return bool(given) if given in (0, 1) else None
