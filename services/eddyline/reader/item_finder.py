"""Finding items: searches of items and rows side by side, for ids and scores alone, and the items that these are of.

Items have what is near in content or image, and what is new; rows have what people went on to, and what is popular.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import replace
from typing import TypeVar

from eddyline.adapters.telemetry import Metrics
from eddyline.adapters.vectors import ITEMS, ROWS, Filter, Nearest, OrderBy, Query, Scored, VectorStore
from eddyline.model.ranking import Hit
from eddyline.reader.catalogue_cache import SHOWN_AGE, CatalogueCache, CatalogueItem, Passes
from eddyline.reader.list_cache import ListCache
from eddyline.reader.popularity_filter import PopularityFilter
from eddyline.reader.side_by_side import SideBySide
from eddyline.settings import ReaderSettings

SPARE = 10
"""Items beyond what a list needs that are searched for: one may be gone or sold out since a moment ago."""
DEEPER = 4
"""By how much a search goes deeper where too little of what it found passes."""

Key = TypeVar("Key", bound=Hashable)


class ItemFinder:
    """Searches, and what they found: `lists` that are the same for everyone, and the `catalogue` of items.

    May be called from any thread. Its methods raise `Unavailable`.
    """

    def __init__(
        self, store: VectorStore, settings: ReaderSettings, metrics: Metrics, monotonic: Callable[[], float]
    ) -> None:
        self._store, self._stale_seconds = store, settings.stale_seconds
        self._side_by_side = SideBySide()
        self._popularity = PopularityFilter(store, settings, monotonic)
        self.lists = ListCache(settings, monotonic)
        self.catalogue = CatalogueCache(store, metrics, monotonic, self._side_by_side)

    def close(self) -> None:
        """Let go of its threads."""
        self._side_by_side.close()

    def search(self, items: Mapping[Key, Query], rows: Mapping[Key, Query]) -> dict[Key, list[Scored]]:
        """Run the queries of items as one batch and those of rows as another; return what they found by their keys.

        Raises `GenerationChanged` where a query's vector isn't as long as the stored ones.
        """
        of_items = {
            key: replace(query, filter=self._popularity.for_items(query.filter)) for key, query in items.items()
        }
        if not items or not rows:
            return self._search(ITEMS, of_items) | self._search(ROWS, rows)
        found, found_rows = self._side_by_side.run(
            lambda: self._search(ITEMS, of_items), lambda: self._search(ROWS, rows)
        )
        return found | found_rows

    def search_one(self, collection: str, query: Query) -> list[Scored]:
        """Run one query, of items or rows."""
        only = {"only": query}
        return (self.search(only, {}) if collection == ITEMS else self.search({}, only))["only"]

    def any(self, collection: str, by: Nearest | OrderBy, filter: Filter) -> bool:
        """Return whether there is anything that passes the filter."""
        return bool(self.search_one(collection, Query(by, 1, filter)))

    def fill(
        self, collection: str, query: Query, passes: Passes, shared_as: tuple[Hashable, ...] | None = None
    ) -> list[Hit]:
        """Search until as many items pass as the query's limit, or there are no more; best first.

        `shared_as`: its key in the cache of lists, where it is the same for everyone.
        """
        limit = query.limit + SPARE
        while True:
            found = self._shared(collection, replace(query, limit=limit), shared_as)
            hits = to_hits(found, self.catalogue.find((point.id for point in found), passes, SHOWN_AGE))
            if len(hits) >= query.limit or len(found) < limit:
                return hits[: query.limit]
            limit *= DEEPER

    def find_stale(self, *key_prefix: Hashable, passes: Passes) -> list[Hit] | None:
        """Return what is left of the longest cached list whose key begins like this; for when the store doesn't
        answer. None where there is no such list."""
        found = self.lists.get_stale(*key_prefix)
        if found is None:
            return None
        return to_hits(found, self.catalogue.find_cached((point.id for point in found), passes, self._stale_seconds))

    def _shared(self, collection: str, query: Query, key: tuple[Hashable, ...] | None) -> list[Scored]:
        if key is None:
            return self.search_one(collection, query)
        key = (*key, query.limit)
        found = self.lists.get_fresh(key)
        if found is None:
            found = self.search_one(collection, query)
            self.lists.put(key, found)
        return found

    def _search(self, collection: str, queries: Mapping[Key, Query]) -> dict[Key, list[Scored]]:
        if not queries:
            return {}
        return dict(zip(queries, self._store.query(collection, list(queries.values())), strict=True))


def to_hits(found: Iterable[Scored], items: Mapping[str, CatalogueItem]) -> list[Hit]:
    """Convert what a search found to hits, each with its content vector, where that was read; without what `items`
    lacks."""
    return [
        Hit(item.item_id, point.score, item.payload, item.vectors.get("content"))
        for point in found
        if (item := items.get(point.id)) is not None
    ]
