"""What comes in, for who watches just now: nothing of it is kept otherwise, and nothing is done while nobody does.

All of it is for the event loop's thread.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from eddyline.errors import InvalidInput, Overloaded, clip

MAX_WATCHERS: Final = 8
MAX_WAITING: Final = 200
"""Events that wait for one watcher; the oldest go first."""
PEOPLE: Final = ("user_id", "anonymous_id", "session_id")
SHOWN: Final = ("type", *PEOPLE, "item_id", "request_id", "event_id", "positions", "value", "dwell_ms")
MAX_CHARACTERS: Final = 200


@dataclass(frozen=True, slots=True)
class TappedEvent:
    """An event as it came: `event` has the fields that are shown; `fault` is None where it was accepted.

    `at` in epoch seconds; `key`: the name of the key it came with, empty without one.
    """

    at: float
    key: str
    event: Mapping[str, Any]
    fault: InvalidInput | None


Waiting: TypeAlias = deque[TappedEvent]


class EventTap:
    """Hands what comes in to who watches. `clock` in epoch seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._watchers: list[Waiting] = []

    @property
    def is_watched(self) -> bool:
        """Whether anybody looks."""
        return bool(self._watchers)

    def note(self, given: Any, key: str, fault: InvalidInput | None = None) -> None:
        """Hand on an event, as it was given; `key`: the name of its sender's key."""
        fields = given if isinstance(given, dict) else {}
        event = {name: _shown(fields[name]) for name in SHOWN if name in fields}
        for waiting in self._watchers:
            waiting.append(TappedEvent(self._clock(), key, event, fault))

    @contextmanager
    def watch(self) -> Iterator[Waiting]:
        """Return where what comes from now on waits. Raises `Overloaded` where too many watch."""
        if len(self._watchers) >= MAX_WATCHERS:
            raise Overloaded(f"{MAX_WATCHERS} watch already")
        waiting: Waiting = deque(maxlen=MAX_WAITING)
        self._watchers.append(waiting)
        try:
            yield waiting
        finally:
            self._watchers = [one for one in self._watchers if one is not waiting]


def _shown(value: Any) -> Any:
    if isinstance(value, str):
        return clip(value, MAX_CHARACTERS)
    if isinstance(value, list):
        return [_shown(one) for one in value[:20] if isinstance(one, str | int | float)]
    return value if value is None or isinstance(value, int | float) else clip(str(type(value).__name__), MAX_CHARACTERS)
