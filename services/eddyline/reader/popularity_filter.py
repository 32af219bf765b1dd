"""Filters on popularity, where it isn't stored: a search of items goes by the ids of those that rows say pass."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable

from eddyline.adapters.vectors import (
    ROWS,
    Condition,
    Filter,
    HasId,
    IsEmpty,
    OrderBy,
    Query,
    Range,
    VectorStore,
)
from eddyline.model.filters import MAX_IDS, POPULARITY_PATH
from eddyline.settings import ReaderSettings

CACHED_FILTERS = 16
"""Most filters whose ids are kept, of up to a megabyte each."""
_ITEMS_ALONE = ("space", "image.state", "image.space")
"""Fields that rows don't have."""


class PopularityFilter:
    """Converts filters of rows to filters of items. May be called from any thread. `monotonic` in seconds."""

    def __init__(self, store: VectorStore, settings: ReaderSettings, monotonic: Callable[[], float]) -> None:
        self._store, self._settings, self._monotonic = store, settings, monotonic
        self._ids: OrderedDict[tuple[Filter, ...], tuple[float, HasId]] = OrderedDict()
        """What passes each filter, and when it was looked up."""
        self._lock = threading.Lock()

    def for_items(self, filter: Filter) -> Filter:
        """Replace what the filter demands of popularity by ids: of at most `MAX_IDS` items, the most popular ones.

        Where more are so popular, whoever asks has to check what is found. Raises `Unavailable`.
        """
        if not any(map(_is_of_popularity, (*filter.must, *filter.must_not))):
            return filter
        rest = Filter(
            tuple(condition for condition in filter.must if not _is_of_popularity(condition)),
            tuple(condition for condition in filter.must_not if not _is_of_popularity(condition)),
        )
        demands = [condition for condition in filter.must if _is_popularity_range(condition)]
        demands += [condition for condition in filter.must_not if _is_no_popularity(condition)]
        if demands:
            return rest & Filter(must=(self._look_up((_known_to_rows(filter),)),))
        # Only "fewer than": it holds where there is no row, too, so what has more is left out.
        among = _known_to_rows(rest)
        more = [among & Filter(must=(condition,)) for condition in filter.must_not if _is_popularity_range(condition)]
        more += [among & Filter(must_not=(condition,)) for condition in filter.must if _is_no_popularity(condition)]
        return rest & Filter(must_not=(self._look_up(tuple(more)),))

    def _look_up(self, filters: tuple[Filter, ...]) -> HasId:
        """Return the ids of what passes any of the filters."""
        now = self._monotonic()
        with self._lock:
            at, ids = self._ids.get(filters, (None, HasId(())))
        if at is not None and now - at < self._settings.list_cache_seconds:
            return ids
        queries = [Query(OrderBy(POPULARITY_PATH), MAX_IDS, filter) for filter in filters]
        found = self._store.query(ROWS, queries)
        ids = HasId(tuple(dict.fromkeys(point.id for points in found for point in points)))
        with self._lock:
            self._ids[filters] = now, ids
            self._ids.move_to_end(filters)
            while len(self._ids) > CACHED_FILTERS:
                self._ids.popitem(last=False)
        return ids


def _known_to_rows(filter: Filter) -> Filter:
    """Leave out what rows can't tell, and the items left out for one person, so that others can share the ids."""
    return Filter(
        tuple(condition for condition in filter.must if isinstance(condition, HasId) or _is_in_rows(condition.field)),
        tuple(
            condition
            for condition in filter.must_not
            if not isinstance(condition, HasId) and _is_in_rows(condition.field)
        ),
    )


def _is_in_rows(field: str) -> bool:
    return field not in _ITEMS_ALONE


def _is_of_popularity(condition: Condition) -> bool:
    return _is_popularity_range(condition) or _is_no_popularity(condition)


def _is_popularity_range(condition: Condition) -> bool:
    return isinstance(condition, Range) and condition.field == POPULARITY_PATH


def _is_no_popularity(condition: Condition) -> bool:
    return isinstance(condition, IsEmpty) and condition.field == POPULARITY_PATH
