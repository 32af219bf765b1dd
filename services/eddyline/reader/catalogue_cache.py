"""The reader's cache of the catalogue: what lists need of items, since searches answer with ids and scores alone.

Searches decide what is found; this decides in the end what may be shown, since rows follow items by some milliseconds,
and a list that is shared was found a moment ago. An entry is read again once it is older than whoever asks bears, or
says otherwise than the search that found its item. What isn't stored isn't remembered either, so that new items are
there at once. All calls may come from any thread; two that miss the same items at the same time both read them.
"""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import orjson

from eddyline.adapters.telemetry import Metrics
from eddyline.adapters.vectors import ITEMS, ROWS, Dense, Filter, Point, Sparse, VectorStore
from eddyline.model.filters import matcher
from eddyline.model.listing import ALWAYS, NEVER
from eddyline.reader.side_by_side import SideBySide

SHOWN_AGE = 2.0
"""Seconds that an entry may be old for its item to be shown."""
RANKED_AGE = 30.0
"""Seconds that an entry may be old for its item to be ranked by: counts, ratings and the like change slowly."""
MAX_BYTES = 64 * 2**20
"""Most memory of all entries, estimated."""
FIELDS = (
    "item_id",
    "space",
    "servable",
    "servable_from",
    "servable_until",
    "meta.title",
    "meta.category",
    "meta.tags",
    "meta.url",
    "meta.published_at",
    "meta.expires_at",
    "meta.rating",
    "meta.attributes",
    "language",
    "listed_at",
    "offer",
    "image.state",
    "image.space",
    "image.url",
    "image.at",
    "source.hash",
)
"""What is read of an item: all that a list, filter, boost, rule, explanation or term may look at."""
TREND = "trend"
"""What is read of its row."""
_STAMPS = {"content": "source", "image": "image"}
"""What of an item's payload changes with each vector."""
_OBJECTS_PER_JSON = 6
"""Bytes of Python's objects for each byte of JSON that they are read from."""
_ENTRY_BYTES = 700
"""Of an entry without its payload."""

Vectors: TypeAlias = Mapping[str, Dense | None]
"""By name; None where an item has no such."""


@dataclass(frozen=True, slots=True)
class CatalogueItem:
    """An item as it was read, with the vectors that were asked for. `read_at`: monotonic seconds; `size`: estimated
    bytes."""

    point_id: str
    item_id: str
    payload: Mapping[str, Any]
    vectors: Vectors
    servable_from: float
    servable_until: float
    read_at: float
    size: int

    def is_servable(self, now: float) -> bool:
        """Whether it may be shown at `now` (epoch seconds)."""
        return self.servable_from <= now < self.servable_until

    def has(self, vectors: Iterable[str]) -> bool:
        """Whether these vectors were read."""
        return all(name in self.vectors for name in vectors)


Passes: TypeAlias = Callable[[CatalogueItem], bool]
"""Whether an item may be on a list."""


def passing(filter: Filter, now: float) -> Passes:
    """Return a test of what may be shown at `now` (epoch seconds) and passes the filter."""
    if filter == Filter():
        return lambda item: item.is_servable(now)
    matches = matcher(filter)
    return lambda item: item.is_servable(now) and matches(item.payload, item.point_id)


def any_item(_: CatalogueItem) -> bool:
    """Pass everything that is stored."""
    return True


class CatalogueCache:
    """The items that lists were made of lately. `monotonic` in seconds."""

    def __init__(
        self, store: VectorStore, metrics: Metrics, monotonic: Callable[[], float], side_by_side: SideBySide
    ) -> None:
        self._store, self._monotonic, self._side_by_side = store, monotonic, side_by_side
        self._hits = metrics.catalogue_items.labels("cache")
        self._misses = metrics.catalogue_items.labels("store")
        self._items: OrderedDict[str, CatalogueItem] = OrderedDict()
        """By point id, the least recently used first."""
        self._bytes = 0
        self._lock = threading.Lock()

    def find(
        self,
        point_ids: Iterable[str],
        passes: Passes,
        max_age: float = SHOWN_AGE,
        vectors: tuple[str, ...] = (),
    ) -> dict[str, CatalogueItem]:
        """Return those that are stored and pass, by point id, with these vectors. What isn't cached, is older than
        `max_age` seconds or doesn't pass is read, all in one look-up. Raises `Unavailable`."""
        ids = list(dict.fromkeys(point_ids))
        oldest = self._monotonic() - max_age
        known = self._known(ids)
        found = {
            point_id: item
            for point_id, item in known.items()
            if item.read_at > oldest and passes(item) and item.has(vectors)
        }
        self._hits.inc(len(found))
        missing = [point_id for point_id in ids if point_id not in found]
        if missing:
            self._misses.inc(len(missing))
            read = self._read(missing, known, vectors)
            found |= {point_id: item for point_id, item in read.items() if passes(item)}
        return found

    def find_cached(self, point_ids: Iterable[str], passes: Passes, max_age: float) -> dict[str, CatalogueItem]:
        """Return those that are cached and pass, for when the store doesn't answer."""
        oldest = self._monotonic() - max_age
        known = self._known(list(point_ids))
        return {point_id: item for point_id, item in known.items() if item.read_at >= oldest and passes(item)}

    def clear(self) -> None:
        """Forget everything, since another generation has gone live."""
        with self._lock:
            self._items.clear()
            self._bytes = 0

    def _known(self, point_ids: Collection[str]) -> dict[str, CatalogueItem]:
        known = {}
        with self._lock:
            for point_id in point_ids:
                item = self._items.get(point_id)
                if item is not None:
                    known[point_id] = item
                    self._items.move_to_end(point_id)
        return known

    def _read(
        self, point_ids: Collection[str], known: Mapping[str, CatalogueItem], vectors: tuple[str, ...]
    ) -> dict[str, CatalogueItem]:
        now = self._monotonic()
        read, rows = self._side_by_side.run(
            lambda: self._read_items(point_ids, known, vectors),
            lambda: self._store.retrieve(ROWS, list(point_ids), payload=(TREND,)),
        )
        items = {}
        for point_id, (point, its_vectors) in read.items():
            row = rows.get(point_id)
            trend = {} if row is None or TREND not in row.payload else {TREND: row.payload[TREND]}
            items[point_id] = _catalogue_item(point_id, {**point.payload, **trend}, its_vectors, now)
        self._keep(point_ids, items)
        return items

    def _read_items(
        self, point_ids: Collection[str], known: Mapping[str, CatalogueItem], vectors: tuple[str, ...]
    ) -> dict[str, tuple[Point, Vectors]]:
        """Read payloads; and vectors where they weren't read before, or are of what has changed since."""
        without = [id for id in point_ids if not vectors or (id in known and known[id].has(vectors))]
        points = self._store.retrieve(ITEMS, without, payload=FIELDS) if without else {}
        found = {id: (point, _kept_vectors(point, known.get(id))) for id, point in points.items()}
        changed = [id for id, (_, kept) in found.items() if not kept.keys() >= set(vectors)]
        lacking = [*changed, *(set(point_ids).difference(without) if vectors else ())]
        if lacking:
            points = self._store.retrieve(ITEMS, lacking, payload=FIELDS, vectors=vectors)
            found |= {id: (point, {name: _dense(point, name) for name in vectors}) for id, point in points.items()}
        return found

    def _keep(self, point_ids: Iterable[str], items: Mapping[str, CatalogueItem]) -> None:
        with self._lock:
            for point_id in point_ids:
                before = self._items.pop(point_id, None)
                self._bytes -= 0 if before is None else before.size
                if point_id in items:
                    self._items[point_id] = items[point_id]
                    self._bytes += items[point_id].size
            while self._bytes > MAX_BYTES:
                self._bytes -= self._items.popitem(last=False)[1].size


def _catalogue_item(point_id: str, payload: Mapping[str, Any], vectors: Vectors, read_at: float) -> CatalogueItem:
    is_servable = payload.get("servable") is True
    size = _ENTRY_BYTES + _OBJECTS_PER_JSON * len(orjson.dumps(payload))
    return CatalogueItem(
        point_id,
        payload["item_id"],
        payload,
        vectors,
        payload.get("servable_from", ALWAYS) if is_servable else math.inf,
        payload.get("servable_until", NEVER),
        read_at,
        size + sum(vector.nbytes for vector in vectors.values() if vector is not None),
    )


def _kept_vectors(point: Point, known: CatalogueItem | None) -> Vectors:
    """Return the vectors that were read before and are still the point's."""
    if known is None:
        return {}
    return {
        name: vector
        for name, vector in known.vectors.items()
        if known.payload.get(_STAMPS[name]) == point.payload.get(_STAMPS[name])
    }


def _dense(point: Point, name: str) -> Dense | None:
    vector = point.vectors.get(name)
    return None if isinstance(vector, Sparse) else vector
