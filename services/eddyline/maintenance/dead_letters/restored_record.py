"""A dead letter's record as it is sent again."""

from __future__ import annotations

from dataclasses import replace

import orjson

from eddyline.adapters.kafka import Record
from eddyline.model.events import format_timestamp
from eddyline.model.forwarding import without_forwarding_headers
from eddyline.settings import RESERVED_EVENT_TYPES

INTERACTIONS, IMPRESSIONS = "interactions", "impressions"
INTERNAL = RESERVED_EVENT_TYPES - {"identify"}
"""Types that only our own services write."""
_TIMED = {INTERACTIONS, IMPRESSIONS, "content", "availability"}


def restore_record(record: Record) -> Record:
    """The record with what its place said about it, since it gets another one.

    A JSON object without a `timestamp` gets the time when it first arrived; an interaction without an `event_id` gets
    its first place (`log:partition:offset`, as the profiler would have named it), so that it counts once however often
    it is sent, and loses the headers by which one profiler passed it on to another, which would call it a repeat. All
    else stays as it was, byte for byte.
    """
    said = json_object(record.value)
    if said is None or record.topic not in _TIMED or is_internal(record.topic, said):
        return record
    missing: dict[str, str] = {}
    if said.get("timestamp") is None:
        missing["timestamp"] = format_timestamp(record.timestamp / 1000)
    if record.topic == INTERACTIONS:
        record = replace(record, headers=without_forwarding_headers(record.headers))
        if said.get("event_id") is None and record.log:
            missing["event_id"] = record.place
    return replace(record, value=orjson.dumps(said | missing)) if missing else record


def is_internal(topic: str, said: dict[str, object]) -> bool:
    """Whether it is one of the records that our own services put among what people did and saw."""
    if topic == IMPRESSIONS:
        return said.get("type") != "impression"
    return topic == INTERACTIONS and said.get("type") in INTERNAL


def json_object(value: bytes | None) -> dict[str, object] | None:
    """The value, where it is a JSON object."""
    try:
        said = None if value is None else orjson.loads(value)
    except orjson.JSONDecodeError:
        return None
    return said if isinstance(said, dict) else None
