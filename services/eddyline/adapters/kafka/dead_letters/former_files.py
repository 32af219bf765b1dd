"""Dead letters as versions without a log kept them: a file for each topic, a JSON object a line, bytes in base64."""

from __future__ import annotations

from base64 import b64decode
from pathlib import Path
from typing import Any

import orjson

from eddyline.adapters.kafka.dead_letters.dead_letter import DeadLetter, from_fields

_BYTES = {"key", "value", "headers"}


def read_dead_letter_file(path: Path) -> tuple[list[DeadLetter], int]:
    """Return the dead letters of a file, and how many of its lines are none."""
    letters, unreadable = [], 0
    for line in path.read_bytes().splitlines():
        try:
            fields = orjson.loads(line)
            headers = tuple((str(name), _bytes(value) or b"") for name, value in fields.get("headers", ()))
            texts = {name: text for name, text in fields.items() if name not in _BYTES}
            letters.append(from_fields(texts, path.stem, _bytes(fields["key"]), _bytes(fields["value"]), headers))
        except (AttributeError, KeyError, TypeError, ValueError):
            unreadable += 1
    return letters, unreadable


def _bytes(text: Any) -> bytes | None:
    return None if text is None else b64decode(text, validate=True)
