"""Batches of which one member can't be read: it is refused by itself."""

from __future__ import annotations

import json
import math
from typing import Any

from eddyline.errors import InvalidEvent
from eddyline.model.events.wire import load_json
from eddyline.model.unicode_text import is_unicode

_MAX_INTEGER = 2**63


def load_batch(data: bytes, name: str) -> Any:
    """Decode JSON as `load_json` does, but where `name` is a list of an object and some of its members hold what JSON
    has no place for (half an emoji, NaN), they are the `InvalidEvent`s that say so.

    Raises `InvalidEvent` where the whole can't be read.
    """
    try:
        return load_json(data)
    except InvalidEvent as error:
        unreadable = error
    try:
        value = json.loads(data.decode("utf-8", "surrogateescape"), parse_int=_parse_integer)
        if not isinstance(value, dict) or not isinstance(value.get(name), list):
            raise unreadable
        members = [_fault(member) or member for member in value.pop(name)]
        if _fault(value) is not None:
            raise unreadable
    except (ValueError, RecursionError):
        raise unreadable from None
    return {**value, name: members}


def load_members(data: bytes) -> Any:
    """Decode JSON as `load_batch`, where the whole is a list."""
    try:
        return load_json(data)
    except InvalidEvent as error:
        unreadable = error
    try:
        value = json.loads(data.decode("utf-8", "surrogateescape"), parse_int=_parse_integer)
    except (ValueError, RecursionError):
        raise unreadable from None
    if not isinstance(value, list):
        raise unreadable
    return [_fault(member) or member for member in value]


def _parse_integer(digits: str) -> int | float:
    """Parse an integer, one that takes more than 64 bits as a float."""
    value = float(digits)
    return int(digits) if abs(value) < _MAX_INTEGER else value


def _fault(value: Any, field: str = "") -> InvalidEvent | None:
    """Find the first text that isn't Unicode, or number that isn't finite."""
    if isinstance(value, str):
        return (
            None
            if is_unicode(value)
            else InvalidEvent("is not valid Unicode: half a character is missing", field or None)
        )
    if isinstance(value, float):
        return None if math.isfinite(value) else InvalidEvent("must be a finite number", field or None)
    if isinstance(value, list):
        named = [(field, one) for one in value]
    elif isinstance(value, dict):
        named = [(f"{field}.{name}" if field else name, one) for name, one in value.items()]
    else:
        return None
    for name, one in named:
        if not is_unicode(name):
            return InvalidEvent("has a name that is not valid Unicode", field or None)
        if (fault := _fault(one, name)) is not None:
            return fault
    return None
