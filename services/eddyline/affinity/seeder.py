"""New items begin with what their content neighbours learnt, so that the affinity query finds them.

Those that have learnt nothing of their own are looked through page by page, and some seeded every tick. When that has
led to nothing (no item has learnt anything yet, or all are seeded) the next look waits, longer each time.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import islice

from eddyline.adapters.kafka import partition_of
from eddyline.adapters.telemetry import Metrics
from eddyline.adapters.vectors import (
    Collections,
    Filter,
    Match,
    Nearest,
    Point,
    Query,
    Range,
    VectorStore,
    cosine_or_zero,
)
from eddyline.affinity.row_state import VECTOR, RowState
from eddyline.affinity.row_store import RowStore
from eddyline.model import affinity
from eddyline.model.distance import distance_of
from eddyline.model.ids import item_point_id
from eddyline.settings import AffinitySettings

CONTENT = "content"
PAGE = 1000
"""Rows looked at in one tick."""
SEEDED = 16
"""Items seeded in one tick: each is a search."""
NEAREST = (64, 512)
"""Nearest items by content among which those that have learnt something are looked for; the latter where the former
aren't enough."""
MIN_PAUSE, MAX_PAUSE = 1.0, 60.0
"""Seconds between two looks through the rows: the former while there is something to do."""
_LEARNT = Filter(must=(Match("row.learnt", (True,)),))


@dataclass(frozen=True, slots=True)
class _Neighbours:
    """Of a new item: its content vector, and the nearest items that have learnt something, nearest first."""

    content: Point
    rows: Sequence[RowState]


class Seeder:
    """Seeds the items of the partitions that are owned. `monotonic` in seconds."""

    def __init__(
        self,
        store: VectorStore,
        rows: RowStore,
        collections: Collections,
        settings: AffinitySettings,
        partitions: int,
        metrics: Metrics,
        monotonic: Callable[[], float],
    ) -> None:
        self._store, self._rows, self._collections, self._settings = store, rows, collections, settings
        self._metrics, self._monotonic = metrics, monotonic
        self._partition_of = lru_cache(maxsize=100_000)(lambda item_id: partition_of(item_id.encode(), partitions))
        self._owned: set[int] = set()
        # A seed of fewer neighbours than there can be is replaced when more have learnt something.
        full = Range("row.seed", gte=settings.seed_neighbours)
        self._lacking = Filter(must_not=(*_LEARNT.must, full))
        self._found: deque[str] = deque()
        self._after: str | None = None
        self._at_end = False
        self._seeded = 0
        """Since the look at the rows began."""
        self._pause = MIN_PAUSE
        self._next_look = -math.inf

    def add_partitions(self, partitions: Iterable[int]) -> None:
        """Own the items of these partitions, too."""
        self._owned |= set(partitions)
        self._start_over()

    def remove_partitions(self, partitions: Iterable[int]) -> None:
        """Leave the items of these partitions to their new owner."""
        self._owned -= set(partitions)
        self._start_over()

    def tick(self) -> None:
        """Look at a page, or seed some of what was found there. Raises `Unavailable`."""
        if not self._owned or self._settings.seed_neighbours == 0 or self._monotonic() < self._next_look:
            return
        if not self._found and not self._at_end:
            self._look()
        some = list(islice(self._found, SEEDED))
        if not some or self._seed(some) or self._store.count(self._collections.rows, _LEARNT):
            for _ in some:
                self._found.popleft()
        else:  # nor is there anything for the rest to begin with
            self._found.clear()
            self._at_end = True
        if not self._found and self._at_end:
            self._rest()

    def _start_over(self) -> None:
        self._found.clear()
        self._after, self._at_end, self._seeded = None, False, 0
        self._pause, self._next_look = MIN_PAUSE, -math.inf

    def _look(self) -> None:
        page, self._after = self._store.scroll(
            self._collections.rows, filter=self._lacking, limit=PAGE, after=self._after, payload=("item_id",)
        )
        ids = (str(point.payload["item_id"]) for point in page)
        self._found.extend(item_id for item_id in ids if self._partition_of(item_id) in self._owned)
        self._at_end = self._after is None

    def _rest(self) -> None:
        self._pause = MIN_PAUSE if self._seeded else min(MAX_PAUSE, 2 * self._pause)
        self._next_look = self._monotonic() + self._pause
        self._after, self._at_end, self._seeded = None, False, 0

    def _seed(self, item_ids: Sequence[str]) -> int:
        """Seed these items; return how many of them there was something for."""
        partitions = {item_id: self._partition_of(item_id) for item_id in item_ids}
        lacking = {item_id: state for item_id, state in self._rows.load(partitions).items() if not state.learnt}
        neighbours = self._neighbours(lacking)
        seeded = {}
        for item_id, near in neighbours.items():
            seed = affinity.seed_row(self._similar_rows(near), self._settings)
            state = lacking[item_id]
            if len(seed.indices) and len(near.rows) > state.seed:
                row = replace(seed, count=state.row.count, time=state.row.time)
                seeded[item_id] = replace(state, row=row, seed=len(near.rows))
        if seeded:
            self._rows.write(seeded, partitions)
            self._seeded += len(seeded)
            self._metrics.seeded.inc(len(seeded))
        return sum(1 for near in neighbours.values() if near.rows)

    def _neighbours(self, item_ids: Iterable[str]) -> dict[str, _Neighbours]:
        """Find the nearest items that have learnt something, of those of these items that are embedded."""
        ids = {item_point_id(item_id): item_id for item_id in item_ids}
        if not ids:
            return {}
        points = self._store.retrieve(self._collections.items, sorted(ids), payload=("space",), vectors=(CONTENT,))
        items = {ids[id]: point for id, point in points.items() if CONTENT in point.vectors}
        chosen: dict[str, list[str]] = {}
        for depth in NEAREST:
            left = {item_id: point for item_id, point in items.items() if item_id not in chosen}
            if not left:
                break
            nearest = self._store.query(self._collections.items, [_nearest(point, depth) for point in left.values()])
            learnt = self._learnt({hit.id for hits in nearest for hit in hits})
            for item_id, hits in zip(left, nearest, strict=True):
                known = [hit.id for hit in hits if hit.id in learnt][: self._settings.seed_neighbours]
                if len(known) == self._settings.seed_neighbours or len(hits) < depth or depth == NEAREST[-1]:
                    chosen[item_id] = known
        rows = self._read_rows({id for ids in chosen.values() for id in ids})
        return {
            item_id: _Neighbours(items[item_id], [rows[id] for id in ids if id in rows])
            for item_id, ids in chosen.items()
        }

    def _learnt(self, point_ids: Iterable[str]) -> set[str]:
        """Return which of these have learnt something."""
        points = self._store.retrieve(self._collections.rows, sorted(point_ids), payload=("row.learnt",))
        return {id for id, point in points.items() if (point.payload.get("row") or {}).get("learnt")}

    def _read_rows(self, point_ids: Iterable[str]) -> dict[str, RowState]:
        """Read these rows, whoever owns them."""
        points = self._store.retrieve(self._collections.rows, sorted(point_ids), vectors=(VECTOR,))
        return {id: RowState.from_point(point, self._settings) for id, point in points.items()}

    def _similar_rows(self, near: _Neighbours) -> list[tuple[affinity.AffinityRow, float]]:
        """Return each neighbour's row, and how similar its content is."""
        ids = [item_point_id(state.item_id) for state in near.rows]
        points: Mapping[str, Point] = (
            self._store.retrieve(self._collections.items, ids, payload=(), vectors=(CONTENT,)) if ids else {}
        )
        content = near.content.vectors[CONTENT]
        return [
            (state.row, cosine_or_zero(points[id].vectors.get(CONTENT), content))
            for id, state in zip(ids, near.rows, strict=True)
            if id in points
        ]


def _nearest(point: Point, depth: int) -> Query:
    return Query(Nearest(point.vectors[CONTENT], CONTENT, distance_of(point.payload.get("space"))), depth)
