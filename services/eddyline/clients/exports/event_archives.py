"""Archives of events, a JSON object a line: GA4's BigQuery export, and what Segment or RudderStack keep."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson

from eddyline.clients.lines import RefusedLine, SourceLine
from eddyline.clients.text_files import read_lines
from eddyline.model.tracker_events import ga4_events, segment_events

_SEGMENT_KINDS = frozenset({"track", "identify", "page", "screen", "group", "alias"})


def recognise_ga4(first: list[str]) -> bool:
    """Tell by the fields of the first line."""
    row = _object(first)
    return "event_name" in row and "event_timestamp" in row


def recognise_segment(first: list[str]) -> bool:
    """Tell by the fields of the first line."""
    row = _object(first)
    return str(row.get("type")) in _SEGMENT_KINDS and ("messageId" in row or "anonymousId" in row)


def read_ga4(file: Path) -> Iterator[SourceLine | RefusedLine]:
    """Read events; what has no meaning for lists is passed over."""
    return _read(file, ga4_events)


def read_segment(file: Path) -> Iterator[SourceLine | RefusedLine]:
    """Read events; what has no meaning for lists is passed over."""
    return _read(file, segment_events)


def _read(
    file: Path, events: Callable[[Mapping[str, Any]], Iterator[dict[str, Any]]]
) -> Iterator[SourceLine | RefusedLine]:
    for number, text in enumerate(read_lines(file), start=1):
        line = text.strip().removeprefix("\ufeff")
        if not line:
            continue
        try:
            value = orjson.loads(line.encode("utf-8", "replace"))
        except orjson.JSONDecodeError as error:
            yield RefusedLine(file.name, number, None, f"is not valid JSON: {error}")
            continue
        if not isinstance(value, dict):
            yield RefusedLine(file.name, number, None, "is not a JSON object")
            continue
        for event in events(value):
            yield SourceLine(f"{file.name}:{number}", event)


def _object(first: list[str]) -> dict[str, Any]:
    try:
        value = orjson.loads(first[0].lstrip("\ufeff").encode("utf-8", "replace")) if first else None
    except orjson.JSONDecodeError:
        return {}
    return value if isinstance(value, dict) else {}
