"""What webhooks send: events whose name is in the address, their fields wherever the settings say."""

from __future__ import annotations

from typing import Any

from eddyline.errors import InvalidInput
from eddyline.model.trackers.tracked_event import NOT_AN_OBJECT, TrackedEvent, tracked_messages


def webhook_messages(body: Any, name: str) -> list[TrackedEvent]:
    """Read the events of a body: one object, or a list of such. Raises `InvalidInput`."""
    if not isinstance(body, list | dict):
        raise InvalidInput("must be a JSON object, or a list of such", "body")
    given = tracked_messages(body, "body") if isinstance(body, list) else [body]
    return [TrackedEvent(name, one) if isinstance(one, dict) else TrackedEvent(NOT_AN_OBJECT, {}) for one in given]
