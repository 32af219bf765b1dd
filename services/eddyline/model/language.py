"""Which language an item is in: as was said of it, or else as its text shows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

Detect: TypeAlias = Callable[[str], str | None]
"""The language of a text, in ISO 639-1; None where it can't be told."""


def detect_no_language(_text: str) -> None:
    """Detects nothing."""


def item_language(meta: Mapping[str, Any], detect: Detect) -> dict[str, Any]:
    """What an item's `language` is in the store: its code, and whether it was detected; empty where nothing is known.

    It is kept apart from `meta`, which holds what was said and is given back as such.

    >>> language_of({"title": "Die Verwandlung", "language": "de-AT"}, undetected)
    {'code': 'de-AT', 'detected': False}
    """
    said = meta.get("language")
    if said:
        return {"code": said, "detected": False}
    code = detect(f"{meta.get('title') or ''}\n{meta.get('description') or ''}".strip())
    return {} if code is None else {"code": code, "detected": True}
