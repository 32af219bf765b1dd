"""Messages of Segment's and RudderStack's HTTP API, out of the body that they came in."""

from __future__ import annotations

from typing import Any

from eddyline.errors import InvalidEvent, InvalidInput
from eddyline.model.events import format_timestamp, parse_timestamp

CALLS = frozenset({"track", "identify", "page", "screen", "group", "alias"})
_BATCHES = frozenset({"batch", "import"})
MAX_MESSAGES = 1000


def segment_messages(body: Any, call: str | None, now: float) -> list[dict[str, Any]]:
    """Return the messages of a body, with times by our clock. `call`: of the path, e.g. track or batch; `now` in epoch
    seconds.

    A device's clock may be wrong: what happened before its message was sent happened as long before it came (Segment's
    rule). Raises `InvalidInput`.
    """
    if not isinstance(body, dict):
        raise InvalidInput("must be a JSON object", "body")
    if call is not None and call not in CALLS | _BATCHES:
        raise InvalidInput(f"there is no call {call[:60]!r}: take batch or {', '.join(sorted(CALLS))}", "call")
    batch = body.get("batch")
    if batch is None and call in _BATCHES:
        raise InvalidInput("is needed", "batch")
    if batch is not None and (not isinstance(batch, list) or len(batch) > MAX_MESSAGES):
        raise InvalidInput(f"must be a list of {MAX_MESSAGES:,} messages at most", "batch")
    given = [body] if batch is None else batch
    kind = None if call in _BATCHES else call
    return [_by_our_clock(one, kind, body.get("sentAt"), now) for one in given if isinstance(one, dict)]


def _by_our_clock(message: dict[str, Any], kind: str | None, batch_sent_at: Any, now: float) -> dict[str, Any]:
    named = message if kind is None else {"type": kind, **message}
    happened, sent = (
        message.get("originalTimestamp") or message.get("timestamp"),
        message.get("sentAt") or batch_sent_at,
    )
    if sent is None or happened is None or message.get("receivedAt") is not None:
        return named
    try:
        at = now - max(0.0, parse_timestamp(sent) - parse_timestamp(happened))
    except (ValueError, InvalidEvent):
        return named
    return {**named, "timestamp": format_timestamp(at)}
