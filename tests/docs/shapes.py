"""Answers as the documentation shows them: JSON in which `…` stands for what is left out."""

from __future__ import annotations

import re
from typing import Any

import orjson

CUT = "…"
REST = "…and so on"
"""Stands for a bare `…` once it is read."""
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|…')
_NUMBER = (int, float)


def read(shown: str) -> Any:
    """The shown JSON; a bare `…` becomes `REST`, as the last element of its list or a key of its object."""
    return orjson.loads(_TOKEN.sub(_quoted, shown))


def differences(shown: Any, real: Any, where: str = "answer") -> list[str]:
    """What is shown and isn't there. Numbers with a fraction and strings with `…` are compared by type alone."""
    if isinstance(shown, dict):
        return _object(shown, real, where)
    if isinstance(shown, list):
        return _list(shown, real, where)
    if isinstance(shown, str) and CUT in shown:
        return [] if isinstance(real, str) else [f"{where}: a string is shown, it is {real!r}"]
    if isinstance(shown, float):
        alike = isinstance(real, _NUMBER) and not isinstance(real, bool)
        return [] if alike else [f"{where}: a number is shown, it is {real!r}"]
    return [] if shown == real and type(shown) is type(real) else [f"{where}: {shown!r} is shown, it is {real!r}"]


def _object(shown: dict[str, Any], real: Any, where: str) -> list[str]:
    if not isinstance(real, dict):
        return [f"{where}: an object is shown, it is {real!r}"]
    keys = shown.keys() - {REST}
    found = [f"{where}.{key} is shown and isn't there" for key in sorted(keys - real.keys())]
    if REST not in shown:
        found += [f"{where}.{key} is there and isn't shown" for key in sorted(real.keys() - keys)]
    for key in shown:
        if key in keys and key in real:
            found += differences(shown[key], real[key], f"{where}.{key}")
    return found


def _list(shown: list[Any], real: Any, where: str) -> list[str]:
    if not isinstance(real, list):
        return [f"{where}: a list is shown, it is {real!r}"]
    abridged = bool(shown) and shown[-1] == REST
    given = shown[:-1] if abridged else shown
    if len(real) < len(given) or (len(real) > len(given) and not abridged):
        return [f"{where}: {len(given)} elements are shown, there are {len(real)}: {real!r}"]
    found = []
    for index, (one, other) in enumerate(zip(given, real, strict=False)):
        found += differences(one, other, f"{where}.{index}")
    return found


def _quoted(token: re.Match[str]) -> str:
    if token[0] != CUT:
        return token[0]
    ends_object = token.string[token.end() :].lstrip().startswith("}")
    return f'"{REST}": true' if ends_object else f'"{REST}"'
