"""Ids of events that came without one."""

from __future__ import annotations

import uuid
from collections import Counter
from typing import Any

import orjson


class EventIdGenerator:
    """Ids for the events of one request that have none: random, or derived from its Idempotency-Key, the event's
    content and its ordinal among equal ones, so that sending all of it again, or the rest, makes the same ids."""

    def __init__(self, idempotency_key: str | None) -> None:
        self._key = idempotency_key
        self._alike: Counter[bytes] = Counter()

    def make(self, given: Any) -> str:
        """Return the id of an event as it was given."""
        if self._key is None:
            return str(uuid.uuid4())
        content = orjson.dumps(given, option=orjson.OPT_SORT_KEYS)
        self._alike[content] += 1
        return str(uuid.uuid5(uuid.NAMESPACE_OID, f"{self._key}\0{self._alike[content]}\0{content.decode()}"))
