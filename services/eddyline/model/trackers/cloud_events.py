"""CloudEvents 1.0: an event of our own in an envelope, or one of another system's by its type."""

from __future__ import annotations

from typing import Any

from eddyline.errors import InvalidEvent
from eddyline.model.events import open_envelope
from eddyline.model.trackers.tracked_event import TrackedEvent, text

ATTRIBUTES = ("specversion", "id", "source", "type")
"""What every CloudEvent has."""


def read_cloud_event(envelope: Any, now: float) -> dict[str, Any] | TrackedEvent:
    """Return the event of our own in an envelope, with the envelope's id and time where it has none; else what its type
    and its data say. `now` in epoch seconds. Raises `InvalidEvent`."""
    if not isinstance(envelope, dict):
        raise InvalidEvent("must be a CloudEvent: a JSON object")
    for name in ATTRIBUTES:
        if text(envelope.get(name)) is None:
            raise InvalidEvent("is needed: each CloudEvent has one", name)
    if envelope["specversion"] != "1.0":
        raise InvalidEvent(f"must be '1.0', not {str(envelope['specversion'])[:20]!r}", "specversion")
    data, happened = open_envelope(envelope), envelope.get("time")
    if not isinstance(data, dict):
        raise InvalidEvent("must be a JSON object", "data")
    if isinstance(data.get("type"), str):
        return data if happened is None or data.get("timestamp") is not None else {**data, "timestamp": happened}
    return TrackedEvent(
        str(envelope["type"]),
        data,
        timestamp=happened if happened is not None or data.get("timestamp") is not None else now,
        message_id=f"{envelope['source']}#{envelope['id']}",
    )
