"""Messages of Segment's and RudderStack's HTTP API, and lines of their archives."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from eddyline.errors import InvalidEvent, InvalidInput
from eddyline.model.events import format_timestamp, parse_timestamp
from eddyline.model.trackers.tracked_event import NOT_AN_OBJECT, TrackedEvent, text, tracked_messages

CALLS = frozenset({"track", "identify", "page", "screen", "group", "alias"})
_BATCHES = frozenset({"batch", "import"})


def segment_message(message: Mapping[str, Any]) -> TrackedEvent:
    """Read a message: a track call by its event's name, any other by its own."""
    kind = text(message.get("type"))
    given = message.get("properties")
    is_alias = kind == "alias"
    return TrackedEvent(
        name=(text(message.get("event")) if kind == "track" else kind) or "(none)",
        properties=given if isinstance(given, dict) else {},
        user_id=text(message.get("userId")),
        anonymous_id=text(message.get("previousId" if is_alias else "anonymousId")),
        timestamp=message.get("timestamp") or message.get("originalTimestamp") or message.get("sentAt"),
        message_id=text(message.get("messageId")),
    )


def segment_messages(body: Any, call: str | None, now: float) -> list[TrackedEvent]:
    """Read the messages of a body, with times by our clock. `call`: of the path, e.g. track or batch; `now` in epoch
    seconds.

    A device's clock may be wrong: what happened before its message was sent happened as long before it came (Segment's
    rule). Raises `InvalidInput`.
    """
    if call is not None and call not in CALLS | _BATCHES:
        raise InvalidInput(f"there is no call {call[:60]!r}: take batch or {', '.join(sorted(CALLS))}", "call")
    batch = body if isinstance(body, list) else body.get("batch") if isinstance(body, dict) else None
    if batch is None and not isinstance(body, dict):
        raise InvalidInput("must be a JSON object, or a list of such", "body")
    if batch is None and call in _BATCHES:
        raise InvalidInput("is needed", "batch")
    given = [body] if batch is None else tracked_messages(batch, "body" if batch is body else "batch")
    kind = None if call in _BATCHES else call
    sent_at = body.get("sentAt") if isinstance(body, dict) else None
    return [
        segment_message(_by_our_clock(one, kind, sent_at, now))
        if isinstance(one, dict)
        else TrackedEvent(NOT_AN_OBJECT, {})
        for one in given
    ]


def _by_our_clock(message: dict[str, Any], kind: str | None, batch_sent_at: Any, now: float) -> dict[str, Any]:
    named = message if kind is None else {"type": kind, **message}
    happened = message.get("originalTimestamp") or message.get("timestamp")
    sent = message.get("sentAt") or batch_sent_at
    if sent is None or happened is None or message.get("receivedAt") is not None:
        return named
    try:
        at = now - max(0.0, parse_timestamp(sent) - parse_timestamp(happened))
    except (ValueError, InvalidEvent):
        return named
    return {**named, "timestamp": format_timestamp(at)}
