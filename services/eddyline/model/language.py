"""Which language an item is in: as its sender says, or else as its text shows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from eddyline.model.plain_text import plain_text

Detect: TypeAlias = Callable[[str], str | None]
"""The language of a text, in ISO 639-1; None where none can be detected."""


def normalized_language(tag: str) -> str:
    """Return a language tag as BCP 47 writes it.

    >>> normalized_language("en_us"), normalized_language("zh-hant-TW")
    ('en-US', 'zh-Hant-TW')
    """
    first, *others = tag.strip().replace("_", "-").split("-")
    spelt = [_spelt(part) for part in others]
    return "-".join([first.lower(), *spelt])


def _spelt(part: str) -> str:
    if len(part) == 4 and part.isalpha():
        return part.title()
    return part.upper() if len(part) == 2 else part.lower()


def detect_no_language(_text: str) -> None:
    """Detect nothing."""


def item_language(meta: Mapping[str, Any], detect: Detect) -> dict[str, Any]:
    """Return an item's `language` in the store: its code, and whether it was detected; empty where nothing is known.

    It is kept apart from `meta`, which is given back as it was sent.

    >>> item_language({"title": "Die Verwandlung", "language": "de-AT"}, detect_no_language)
    {'code': 'de-AT', 'detected': False}
    """
    given = meta.get("language")
    if given:
        return {"code": given, "detected": False}
    title, description = (plain_text(meta.get(name) or "") for name in ("title", "description"))
    code = detect(f"{title}\n{description}".strip())
    return {} if code is None else {"code": code, "detected": True}
