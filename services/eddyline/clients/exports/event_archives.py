"""Archives of events, a JSON object a line: GA4's BigQuery export, and what Segment or RudderStack keep."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson

from eddyline.clients.lines import RefusedLine, SourceLine
from eddyline.clients.text_files import read_lines
from eddyline.model.trackers import TrackedEvent, ga4_row, our_events, segment_message
from eddyline.settings import EventSettings

_SEGMENT_KINDS = frozenset({"track", "identify", "page", "screen", "group", "alias"})


def recognise_ga4(first: list[str]) -> bool:
    """Tell by the fields of the first line."""
    row = _object(first)
    return "event_name" in row and "event_timestamp" in row


def recognise_segment(first: list[str]) -> bool:
    """Tell by the fields of the first line."""
    row = _object(first)
    return str(row.get("type")) in _SEGMENT_KINDS and ("messageId" in row or "anonymousId" in row)


def read_ga4(file: Path, settings: EventSettings) -> Iterator[SourceLine | RefusedLine]:
    """Read events; what has no meaning for lists is passed over, and so are lists that were seen."""
    return _read(file, ga4_row, settings)


def read_segment(file: Path, settings: EventSettings) -> Iterator[SourceLine | RefusedLine]:
    """Read events; what has no meaning for lists is passed over, and so are lists that were seen."""
    return _read(file, segment_message, settings)


def _read(
    file: Path, read: Callable[[Mapping[str, Any]], TrackedEvent], settings: EventSettings
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
        for event in our_events(read(value), settings):
            if event["type"] != "impression":
                yield SourceLine(f"{file.name}:{number}", event)


def _object(first: list[str]) -> dict[str, Any]:
    try:
        value = orjson.loads(first[0].lstrip("\ufeff").encode("utf-8", "replace")) if first else None
    except orjson.JSONDecodeError:
        return {}
    return value if isinstance(value, dict) else {}
