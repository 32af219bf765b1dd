"""Lists that are the same for everyone who asks alike: found once, shared for a moment, and kept a while for when the
vector store doesn't answer."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from eddyline.adapters.vectors import ITEMS, Query, Scored, VectorStore
from eddyline.settings import ReaderSettings

CACHED_LISTS = 200
"""Most lists kept, of a few hundred items each."""


@dataclass(frozen=True, slots=True)
class CachedList:
    """A list found for everyone alike, and when (monotonic seconds)."""

    at: float
    found: list[Scored]


class ListCache:
    """The cache of such lists. May be called from any thread. `monotonic` in seconds."""

    def __init__(self, store: VectorStore, settings: ReaderSettings, monotonic: Callable[[], float]) -> None:
        self._store, self._settings, self._monotonic = store, settings, monotonic
        self._cache: dict[tuple[Any, ...], CachedList] = {}
        self._lock = threading.Lock()

    def find(self, key: tuple[Any, ...], query: Query) -> list[Scored]:
        """The list under this key, or what the query finds; reused for `reader.list_cache_seconds`.

        Raises `Unavailable`.
        """
        fresh = self.fresh(key)
        if fresh is not None:
            return fresh
        found = self._store.query(ITEMS, [query])[0]
        self.put(key, found)
        return found

    def fresh(self, key: tuple[Any, ...]) -> list[Scored] | None:
        """The list under this key, where it was found a moment ago."""
        cached = self.kept(key)
        if cached is None or self._monotonic() - cached.at >= self._settings.list_cache_seconds:
            return None
        return cached.found

    def put(self, key: tuple[Any, ...], found: list[Scored]) -> None:
        """Keep a list that was found just now."""
        at = self._monotonic()
        with self._lock:
            self._cache[key] = CachedList(at, found)
            self._drop_stale(at)

    def kept(self, key: tuple[Any, ...]) -> CachedList | None:
        """The list under this key, unless it is staler than may be served."""
        with self._lock:
            cached = self._cache.get(key)
        return cached if cached is not None and self._may_be_served(cached) else None

    def longest(self, *beginning: Any) -> list[Scored] | None:
        """The longest list whose key begins like this, of those that may still be served."""
        with self._lock:
            lists = [cached for key, cached in self._cache.items() if key[: len(beginning)] == beginning]
        found = [cached.found for cached in lists if self._may_be_served(cached)]
        return max(found, key=len, default=None)

    def _may_be_served(self, cached: CachedList) -> bool:
        return self._monotonic() - cached.at <= self._settings.stale_seconds

    def _drop_stale(self, at: float) -> None:
        stale = [k for k, c in self._cache.items() if at - c.at > self._settings.stale_seconds]
        for key in stale:
            del self._cache[key]
        while len(self._cache) > CACHED_LISTS:
            del self._cache[next(iter(self._cache))]
