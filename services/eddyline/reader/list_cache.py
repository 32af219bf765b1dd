"""Lists that are the same for everyone with an equal request."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from typing import Any

from eddyline.adapters.vectors import Scored
from eddyline.settings import ReaderSettings

MAX_CACHED_LISTS = 200
"""Most lists cached, of a few hundred ids each."""
MAX_BYTES = 32 * 2**20
"""Most memory of all of them, estimated: a request's filter, which its key holds, may name ten thousand items."""
_HIT_BYTES = 250
"""Of one id with its score."""


class ListCache:
    """Ids and scores: found once, shared for a moment, and kept a while for when the vector store doesn't answer.

    May be called from any thread. `monotonic` in seconds.
    """

    def __init__(self, settings: ReaderSettings, monotonic: Callable[[], float]) -> None:
        self._settings, self._monotonic = settings, monotonic
        self._lists: dict[tuple[Any, ...], tuple[float, list[Scored]]] = {}
        """Each with the time when it was found."""
        self._sizes: dict[tuple[Any, ...], int] = {}
        self._lock = threading.Lock()

    def put(self, key: tuple[Any, ...], found: list[Scored]) -> None:
        """Keep a list that was found just now; drop what is too stale, or too much."""
        now, size = self._monotonic(), _HIT_BYTES * len(found) + 2 * len(repr(key))
        with self._lock:
            self._lists[key], self._sizes[key] = (now, found), size
            for stale in [k for k, (at, _) in self._lists.items() if now - at > self._settings.stale_seconds]:
                self._drop(stale)
            while len(self._lists) > MAX_CACHED_LISTS or sum(self._sizes.values()) > MAX_BYTES:
                self._drop(next(iter(self._lists)))

    def get_fresh(self, key: tuple[Any, ...]) -> list[Scored] | None:
        """Return the list under this key, where it was found within `reader.list_cache_seconds`."""
        with self._lock:
            at, found = self._lists.get(key, (-math.inf, []))
        return found if self._monotonic() - at < self._settings.list_cache_seconds else None

    def get_stale(self, *key_prefix: Any) -> list[Scored] | None:
        """Return the longest list whose key begins like this, of those that may still be served."""
        oldest = self._monotonic() - self._settings.stale_seconds
        with self._lock:
            lists = [
                found
                for key, (at, found) in self._lists.items()
                if at >= oldest and key[: len(key_prefix)] == key_prefix
            ]
        return max(lists, key=len, default=None)

    def _drop(self, key: tuple[Any, ...]) -> None:
        del self._lists[key], self._sizes[key]
