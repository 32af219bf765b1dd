"""New items begin with what their content neighbours learnt, so that the affinity query finds them.

Those that have learnt nothing of their own are looked through page by page, and some seeded every tick. When that has
led to nothing (no item has learnt anything yet, or all are seeded) the next look waits, longer each time.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import islice
from typing import Any

from eddyline.adapters.kafka import partition_of
from eddyline.adapters.telemetry import Metrics
from eddyline.adapters.vectors import (
    Filter,
    IsEmpty,
    Match,
    Nearest,
    Point,
    Query,
    Range,
    Scored,
    VectorStore,
    cosine_or_zero,
)
from eddyline.affinity.learner import ROW, VECTOR, restored_row, row_payload, row_vectors
from eddyline.model import affinity
from eddyline.model.distance import distance_of
from eddyline.settings import AffinitySettings

CONTENT = "content"
PAGE = 1000
"""Items looked at in one tick."""
SEEDED = 16
"""Items seeded in one tick: each is a search."""
MIN_PAUSE, MAX_PAUSE = 1.0, 60.0
"""Seconds between two looks through the items: the former while there is something to do."""
_LEARNT = Match(f"{ROW}.learnt", (True,))


class Seeder:
    """Seeds the items of the partitions that are owned. `monotonic` in seconds."""

    def __init__(
        self,
        store: VectorStore,
        items: str,
        settings: AffinitySettings,
        partitions: int,
        metrics: Metrics,
        monotonic: Callable[[], float],
    ) -> None:
        self._store, self._items, self._settings = store, items, settings
        self._metrics, self._monotonic = metrics, monotonic
        self._partition_of = lru_cache(maxsize=100_000)(lambda item_id: partition_of(item_id.encode(), partitions))
        self._owned: set[int] = set()
        # A seed of fewer neighbours than there can be is replaced when more have learnt something.
        full = Range(f"{ROW}.seed", gte=settings.seed_neighbours)
        self._lacking = Filter(must_not=(IsEmpty("space"), _LEARNT, full))
        self._found: deque[str] = deque()
        self._after: str | None = None
        self._at_end = False
        self._seeded = 0
        """Since the look at the items began."""
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
        if not some or self._seed(some):
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
            self._items, filter=self._lacking, limit=PAGE, after=self._after, payload=("item_id",)
        )
        self._found.extend(point.id for point in page if self._partition_of(point.payload["item_id"]) in self._owned)
        self._at_end = self._after is None

    def _rest(self) -> None:
        self._pause = MIN_PAUSE if self._seeded else min(MAX_PAUSE, 2 * self._pause)
        self._next_look = self._monotonic() + self._pause
        self._after, self._at_end, self._seeded = None, False, 0

    def _seed(self, point_ids: Sequence[str]) -> bool:
        """Seed these items; return False where no item has learnt anything yet."""
        points = self._store.retrieve(self._items, point_ids, payload=(ROW, "space"), vectors=(CONTENT,))
        lacking = [point for point in points.values() if CONTENT in point.vectors and not _row(point).get("learnt")]
        answers = self._store.query(self._items, [self._neighbours(point) for point in lacking])
        vectors, payloads = {}, {}
        for point, found in zip(lacking, answers, strict=True):
            known = _row(point)
            content = point.vectors[CONTENT]
            neighbours = [
                (_learnt(near, self._settings), cosine_or_zero(near.vectors.get(CONTENT), content)) for near in found
            ]
            seed = affinity.seed_row(neighbours, self._settings)
            if len(seed.indices) and len(found) > known.get("seed", 0):
                row = replace(seed, count=known.get("count", 0.0), time=known.get("time", 0.0))
                vectors[point.id] = row_vectors(row, self._settings)
                payloads[point.id] = {ROW: {**known, **row_payload(row, self._settings), "seed": len(found)}}
        if payloads:
            self._store.update_vectors(self._items, vectors)
            self._store.set_payload(self._items, payloads)
            self._seeded += len(payloads)
            self._metrics.seeded.inc(len(payloads))
        return not lacking or any(answers)

    def _neighbours(self, point: Point) -> Query:
        known = (f"{ROW}.count", f"{ROW}.time", f"{ROW}.divisor")
        nearest = Nearest(point.vectors[CONTENT], CONTENT, distance_of(point.payload.get("space")))
        learnt = Filter(must=(_LEARNT,))
        return Query(nearest, self._settings.seed_neighbours, learnt, payload=known, vectors=(VECTOR, CONTENT))


def _row(point: Point | Scored) -> Mapping[str, Any]:
    return point.payload.get(ROW) or {}


def _learnt(near: Scored, settings: AffinitySettings) -> affinity.AffinityRow:
    return restored_row(_row(near), near.vectors.get(VECTOR), settings)
