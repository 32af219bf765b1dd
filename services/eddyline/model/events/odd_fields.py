"""The rule for null, empty and odd values of what comes from outside: none of them costs the item or the event.

1. Null means left out, in objects and lists, too. (The null of an availability's price has a meaning.)
2. An empty text where a text is optional means that there is none.
3. An optional field with a value that can't be right is left out, and named: of tags, attributes and a context that
   member alone, of too long a list what is too much. Each model says which fields are optional in this sense, in
   `may_be_left_out`.

What decides identity or meaning (ids, types, times, titles, whether something is sold) is refused as it ever was, and
so is a field that doesn't exist.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, TypeAlias

MEMBERWISE = frozenset({"tags", "interests", "goals", "context", "attributes"})
"""Fields of several values, of which an odd one is left out alone."""
Path: TypeAlias = tuple[str | int, ...]


class LeftOut(NamedTuple):
    """A value that was left out, by its dotted field, and why."""

    field: str
    reason: str


def without_empty_texts(value: Mapping[str, Any], required: frozenset[str]) -> Mapping[str, Any]:
    """Return an event without the optional fields that are empty texts."""
    if "" not in value.values():
        return value
    return {name: one for name, one in value.items() if one != "" or name in required}


def odd_path(value: Any, location: Iterable[str | int], given: Any, may_be_left_out: frozenset[str]) -> Path | None:
    """Return the path of what is to be left out because of a complaint about it; None where that may not be.

    `location` and `given` are pydantic's: between the names of fields it has those of the types that it tried.
    """
    path: list[str | int] = []
    for part in location:
        is_there = part in value if isinstance(value, dict) else isinstance(value, list) and _is_index(part, value)
        if is_there:
            value = value[part]
            path.append(part)
    if not path:
        return None
    if path[0] in MEMBERWISE and path[0] in may_be_left_out and (len(path) > 1 or path[0] != "attributes"):
        return tuple(path)
    if given is None and len(path) == 1:
        return tuple(path)
    return (path[0],) if path[0] in may_be_left_out and path[0] not in MEMBERWISE else None


def without(value: Any, paths: Iterable[Path]) -> Any:
    """Return a JSON value without what is at these paths."""
    inner: dict[str | int, list[Path]] = {}
    for path in paths:
        inner.setdefault(path[0], []).append(path[1:])
    gone = {name for name, rest in inner.items() if () in rest}
    if isinstance(value, dict):
        return {name: without(one, inner.get(name, ())) for name, one in value.items() if name not in gone}
    if isinstance(value, list):
        return [without(one, inner.get(index, ())) for index, one in enumerate(value) if index not in gone]
    return value


def _is_index(part: str | int, value: list[Any]) -> bool:
    return isinstance(part, int) and 0 <= part < len(value)
