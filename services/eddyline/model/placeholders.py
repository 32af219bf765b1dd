"""Ids that name nobody: what an app sends that has lost one."""

from __future__ import annotations

from typing import Any

from eddyline.errors import InvalidEvent
from eddyline.settings import EventSettings

PERSON_FIELDS = ("user_id", "anonymous_id")


def refuse_placeholders(event: Any, settings: EventSettings) -> None:
    """Raise `InvalidEvent` where an event, or a user's state, names someone by a placeholder: it would make strangers
    one person."""
    for field in PERSON_FIELDS:
        given = getattr(event, field, None)
        if given is not None and settings.is_placeholder(given):
            raise InvalidEvent(
                f"{given!r} names nobody, and would make strangers one person: the app has lost the id "
                "(events.placeholder_ids)",
                field,
            )
