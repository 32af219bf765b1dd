"""What must have become of a person's deeds: folded, waiting for their item, or, where that can't be known, why not."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from eddyline.adapters.vectors import Payload, Sparse, VectorStore
from eddyline.model.ids import fingerprint, item_point
from eddyline.model.profile import Pending, Profile
from eddyline.offline.audit.batches import in_batches
from eddyline.offline.audit.reference import Deed, Life
from eddyline.settings import Profile as ProfileSettings

ITEMS_AT_ONCE = 500
PENDING_BYTES = 262_144
"""Most that the waiting events of one person may hold together."""


@dataclass(frozen=True, slots=True)
class Outcomes:
    """A person's deeds by what must have become of them, and why that can't be known of all."""

    folded: list[Deed]
    late: list[Deed]
    """Folded, or given up before their item came."""
    waiting: list[Deed]
    why: list[str]

    @classmethod
    def of(cls, life: Life, profile: Profile, items: Items, settings: ProfileSettings) -> Outcomes:
        """By what waits in the stored profile, and by when the items came: they are loaded."""
        waiting = _waiting(life, profile)
        waits = {id(deed) for deed in waiting}
        outcomes = cls([], [], waiting, [])
        gone = []
        for deed in life.deeds:
            if id(deed) in waits:
                continue
            if not items.has(deed):
                gone.append(deed)
            elif items.came_late(deed, settings.pending_seconds) and not _came_again_in_time(life, deed, items):
                outcomes.late.append(deed)
            else:
                outcomes.folded.append(deed)
        outcomes.why.extend(_doubts(life, outcomes, gone, items, settings))
        return outcomes


def _waiting(life: Life, profile: Profile) -> list[Deed]:
    """The deeds that the stored profile holds as waiting for their item: by place or, of one sent again, by id."""
    by_place = {deed.place: deed for deed in life.deeds}
    by_mark = {deed.did.mark: deed for deed in life.deeds}
    found = {}
    for entry in profile.pending:
        deed = by_place.get((entry.partition, entry.offset)) or by_mark.get(_mark(entry))
        if deed is not None:
            found[id(deed)] = deed
    return list(found.values())


def _mark(entry: Pending) -> int:
    place = f"{entry.log}:{entry.partition}:{entry.offset}"
    return fingerprint(orjson.loads(entry.value).get("event_id") or place)


def _came_again_in_time(life: Life, deed: Deed, items: Items) -> bool:
    """Whether the event came once more when its item was there: given up at first or not, it counts."""
    last = life.again.get(deed.did.mark)
    return last is not None and not items.came_after(deed, last)


def _doubts(
    life: Life, outcomes: Outcomes, gone: Sequence[Deed], items: Items, settings: ProfileSettings
) -> Iterator[str]:
    sure = outcomes.folded + outcomes.late
    again = [deed for deed in life.repeated if not items.has(deed) or items.came_late(deed, settings.pending_seconds)]
    yield from _touched("which isn't there (any more)", gone)
    yield from _touched("embedded so late that the event may have been given up", outcomes.late)
    yield from _touched(
        "embedded anew since", [deed for deed in sure if items.has_changed(deed, settings.item_cache_seconds)]
    )
    yield from _touched("twice under one event id, and the first may have been given up", again)
    waited = [*gone, *(deed for deed in life.deeds if items.came_late(deed, 0.0))]
    if len(waited) > settings.pending or sum(deed.did.size for deed in waited) > PENDING_BYTES:
        yield "more of their events may have waited for their items than may wait"


def _touched(what: str, deeds: Sequence[Deed]) -> list[str]:
    items = sorted({deed.did.item_id for deed in deeds})
    if not items:
        return []
    more = f" and {len(items) - 1} more" if len(items) > 1 else ""
    return [f"touched {items[0]!r}{more}, {what}"]


class Items:
    """Content vectors and when they were made, of the items asked for last; at most about `most`."""

    def __init__(self, store: VectorStore, collection: str, most: int) -> None:
        self._store, self._collection, self._most = store, collection, most
        self.vectors: OrderedDict[str, NDArray[np.floating]] = OrderedDict()
        self._sources: dict[str, Payload] = {}

    def load(self, item_ids: set[str]) -> None:
        """Have these, as far as they are there."""
        for item_id in item_ids & self.vectors.keys():
            self.vectors.move_to_end(item_id)
        while len(self.vectors) > max(self._most, len(item_ids)):
            self._sources.pop(self.vectors.popitem(last=False)[0], None)
        missing = {item_point(item_id): item_id for item_id in item_ids - self.vectors.keys()}
        for batch in in_batches(missing, ITEMS_AT_ONCE):
            points = self._store.retrieve(self._collection, batch, payload=("space", "source"), vectors=("content",))
            for point_id, point in points.items():
                vector = point.vectors.get("content")
                if vector is not None and not isinstance(vector, Sparse) and "space" in point.payload:
                    self.vectors[missing[point_id]] = vector
                    self._sources[missing[point_id]] = point.payload.get("source", {})

    def clear(self) -> None:
        """Forget them: they may have changed."""
        self.vectors.clear()
        self._sources.clear()

    def came_late(self, deed: Deed, seconds: float) -> bool:
        """Whether the vector was made more than `seconds` after the event arrived."""
        return self.came_after(deed, deed.arrived + seconds)

    def came_after(self, deed: Deed, time: float) -> bool:
        """Whether the vector was made after that time; an older embedder doesn't tell."""
        made = self._sources.get(deed.did.item_id, {}).get("embedded_at")
        return made is not None and made > time

    def has(self, deed: Deed) -> bool:
        """Whether the item is there."""
        return deed.did.item_id in self.vectors

    def has_changed(self, deed: Deed, cache_seconds: float) -> bool:
        """Whether the event may have been folded with an earlier vector; one that weighs nothing has no use for it."""
        source: Mapping[str, Any] = self._sources.get(deed.did.item_id, {})
        if deed.did.weight == 0 or source.get("embeddings", 1) <= 1:
            return False
        return bool(deed.arrived < source["embedded_at"] + cache_seconds)
