"""The store of an audit's profiler: profiles in memory, items from the real one."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from eddyline.adapters.vectors import Collections, Payload, Point, PointStore, Sparse
from eddyline.model.ids import Person, item_point_id, person_point_id
from eddyline.model.profile import Profile, decode_profile
from eddyline.settings import ProfileSettings


class Memory(PointStore):
    """Holds whole points of profiles, in a dict. Of the items it holds about as many as a profiler's cache does.

    `collections`: the items' and the rows' are read from `store`, the profiles' is never touched there.
    """

    def __init__(self, store: PointStore, collections: Collections, settings: ProfileSettings) -> None:
        self._store, self._collections, self._settings = store, collections, settings
        self._profiles: dict[str, Point] = {}
        self._items: OrderedDict[str, Point] = OrderedDict()
        self.longest = 1.0
        """The length of the longest item vector so far; at least 1."""

    # -- what a profiler asks of its store ------------------------------------------------------------------------

    def upsert(self, collection: str, points: Sequence[Point], **_: object) -> None:  # noqa: ARG002
        """Keep the profiles. They have one writer, so no condition can fail; nobody looks for similar ones."""
        for point in points:
            self._profiles[point.id] = replace(point, vectors={})

    def retrieve(self, collection: str, ids: Sequence[str], **_: object) -> dict[str, Point]:
        """Return the points that there are, whole."""
        if collection == self._collections.profiles:
            return {point_id: self._profiles[point_id] for point_id in ids if point_id in self._profiles}
        if collection == self._collections.rows:
            return self._store.retrieve(collection, ids, payload=("trend",))
        self._load(ids)
        return {point_id: self._items[point_id] for point_id in ids if point_id in self._items}

    def scroll(self, collection: str, **terms: Any) -> tuple[list[Point], str | None]:
        """Find items; nothing else: a profiler asks who waits for an item before it has handled anything."""
        return self._store.scroll(collection, **terms) if collection == self._collections.items else ([], None)

    def delete_matching(self, *_: object, **__: object) -> None:
        """Keep the tombstones that a profiler would sweep: whether one was swept in time isn't known."""

    # -- what the audit asks ----------------------------------------------------------------------------------------

    def profile(self, person: Person) -> Profile | None:
        """Return someone's profile."""
        point = self._profiles.get(person_point_id(person))
        return None if point is None else decode_profile(person, point.payload, point.vectors, self._settings)

    def tombstone_since(self, person: Person) -> float | None:
        """Return when someone's profile was last of use, if it is only a tombstone."""
        point = self._profiles.get(person_point_id(person))
        return None if point is None else point.payload.get("stub_since")

    def sources(self, item_ids: Iterable[str]) -> dict[str, Payload]:
        """Return the payloads' `source` of those items that are embedded."""
        points = {item_id: item_point_id(item_id) for item_id in set(item_ids)}
        self._load(list(points.values()))
        return {
            item_id: self._items[point_id].payload.get("source", {})
            for item_id, point_id in points.items()
            if point_id in self._items
        }

    def _load(self, ids: Sequence[str]) -> None:
        for point_id in self._items.keys() & ids:
            self._items.move_to_end(point_id)
        missing = [point_id for point_id in ids if point_id not in self._items]
        if missing:
            keys = ("space", "source")
            found = self._store.retrieve(self._collections.items, missing, payload=keys, vectors=("content",))
            for point_id, point in found.items():
                vector = point.vectors.get("content")
                if vector is not None and not isinstance(vector, Sparse) and "space" in point.payload:
                    self._items[point_id] = point
                    self.longest = max(self.longest, float(np.linalg.norm(vector)))
        while len(self._items) > max(self._settings.cached_items, len(ids)):
            self._items.popitem(last=False)
