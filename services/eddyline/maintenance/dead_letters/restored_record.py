"""A dead letter's record, restored to be sent again."""

from __future__ import annotations

from dataclasses import replace

import orjson

from eddyline.adapters.kafka import Record
from eddyline.model.events import format_timestamp
from eddyline.model.forwarding import without_forwarding_headers
from eddyline.settings import RESERVED_EVENT_TYPES
from eddyline.topics import AVAILABILITY, CONTENT, IMPRESSIONS, INTERACTIONS

INTERNAL = RESERVED_EVENT_TYPES - {"identify"}
"""Types that only our own services write."""
_TIMED = {INTERACTIONS, IMPRESSIONS, CONTENT, AVAILABILITY}


def restore_record(record: Record) -> Record:
    """Add to a record what followed from its place in the log, since it gets another place.

    A JSON object without a `timestamp` gets the time when it first arrived; an interaction without an `event_id` gets
    its first place (`log:partition:offset`, as the profiler would have named it), so that it counts once however often
    it is sent, and loses the headers by which one profiler passed it on to another, which would call it a repeat. All
    else stays as it was, byte for byte.
    """
    fields = json_object(record.value)
    if fields is None or record.topic not in _TIMED or is_internal(record.topic, fields):
        return record
    missing: dict[str, str] = {}
    if fields.get("timestamp") is None:
        missing["timestamp"] = format_timestamp(record.timestamp / 1000)
    if record.topic == INTERACTIONS:
        record = replace(record, headers=without_forwarding_headers(record.headers))
        if fields.get("event_id") is None and record.log:
            missing["event_id"] = record.place
    return replace(record, value=orjson.dumps(fields | missing)) if missing else record


def is_internal(topic: str, fields: dict[str, object]) -> bool:
    """Whether only our own services write such a record, among what people did and saw."""
    if topic == IMPRESSIONS:
        return fields.get("type") != "impression"
    return topic == INTERACTIONS and fields.get("type") in INTERNAL


def json_object(value: bytes | None) -> dict[str, object] | None:
    """Parse a value; None where it isn't a JSON object."""
    try:
        fields = None if value is None else orjson.loads(value)
    except orjson.JSONDecodeError:
        return None
    return fields if isinstance(fields, dict) else None
