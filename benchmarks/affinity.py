"""What items learn a second, beside its floor, in one run: the same writes by themselves.

    .venv/bin/python benchmarks/affinity.py
    QDRANT_URL=http://127.0.0.1:6333 .venv/bin/python benchmarks/affinity.py --items 20000

People choose from a long-tailed catalogue, each after the fifty they chose before. The service reads rows, folds, and
writes them durably, to Qdrant Edge or to the server at `QDRANT_URL`. The floor is handed what it wrote. Then: the fold
alone, and what seeding costs a tick. Before that: what an activity costs the processor (`--processor`: that
alone). Absolute figures depend on the machine; the ratios are what to watch.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from qdrant_process import answering_store

from eddyline.adapters.kafka import Message, Record, TopicPartition
from eddyline.adapters.vectors import (
    ITEMS,
    ROWS,
    Distance,
    EdgeStore,
    Filter,
    Point,
    ServerStore,
    Sparse,
    VectorStore,
)
from eddyline.affinity import AffinityLearner
from eddyline.model import affinity as algebra
from eddyline.model.affinity import NO_ROW
from eddyline.model.events import Activity, pack_dimensions
from eddyline.model.ids import item_point_id
from eddyline.model.listing import row_listing
from eddyline.runtime.collection_setup import create_collections
from eddyline.settings import Settings

SIZE, RECENTS, PEOPLE, BATCH = 384, 50, 200, 500
TRICKLE, ROUND = 10, 1_000
NOW = 1_790_000_000.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=5_000)
    parser.add_argument("--events", type=int, default=10_000)
    parser.add_argument("--processor", action="store_true", help="the processor's time for an activity alone")
    options = parser.parse_args()
    records = activity(options.items, options.events)
    processor(records)
    if options.processor:
        return
    with stores() as (ours, raw, name):
        for store in (ours, raw):
            fill(store, options.items)
        learn(ours, raw, records, name)
        seed(ours, options.items)
    fold(records)


@contextmanager
def stores() -> Iterator[tuple[VectorStore, VectorStore, str]]:
    """Two of a kind, empty, and what they are."""
    url = os.environ.get("QDRANT_URL")
    with tempfile.TemporaryDirectory() as directory:
        both: list[VectorStore] = [
            ServerStore(url, os.environ.get("QDRANT_API_KEY"), 60.0, f"bench-{uuid.uuid4().hex[:8]}-")
            if url
            else EdgeStore(Path(directory) / name)
            for name in ("ours", "raw")
        ]
        try:
            yield both[0], both[1], "Qdrant server" if url else "Qdrant Edge"
        finally:
            for store in both:
                for collection in store.collections():
                    store.drop(collection)
                store.close()


def activity(items: int, events: int) -> list[Record]:
    """What a profiler would tell, as records."""
    random = np.random.default_rng(1)
    chosen = (random.zipf(1.3, size=events) - 1) % items
    recents = [deque[str](maxlen=RECENTS) for _ in range(PEOPLE)]
    records = []
    for offset, number in enumerate(chosen.tolist()):
        person, item = recents[random.integers(PEOPLE)], f"item-{number}"
        before = [recent for recent in person if recent != item]
        said = Activity(
            item_id=item,
            recents=pack_dimensions(before),
            weight=1.0,
            timestamp=NOW + offset,
            source=f"interactions:0:{offset}",
        )
        arrived = int((NOW + offset) * 1000)
        records.append(Record("activity", 0, offset, item.encode(), said.to_bytes(), arrived, "log"))
        if item in person:
            person.remove(item)
        person.appendleft(item)
    return records


def fill(store: VectorStore, items: int) -> None:
    """The items, with content vectors of their own."""
    create_collections(store, Settings(), SIZE, Distance.COSINE)
    rows = np.random.default_rng(2).normal(size=(items, SIZE)).astype(np.float32)
    names = [f"item-{n}" for n in range(items)]
    for start in range(0, items, BATCH):
        points = [
            Point(item_point_id(name), {"content": row}, {"item_id": name, "space": "s", "meta": {"title": name}})
            for name, row in zip(names[start : start + BATCH], rows[start : start + BATCH], strict=True)
        ]
        store.upsert(ITEMS, points)
        listed = (row_listing({"item_id": name, "meta": {}}, {}) for name in names[start : start + BATCH])
        store.upsert(ROWS, [Point(item_point_id(row["item_id"]), {}, row) for row in listed])


def learn(ours: VectorStore, raw: VectorStore, records: Sequence[Record], name: str) -> None:
    """Activities learnt and durable a second, beside the same writes by themselves."""
    batches: list[tuple[Sequence[Point], Filter | None]] = []
    upsert = ours.upsert

    def noting(collection: str, points: Sequence[Point], *, condition: Filter | None = None) -> None:
        batches.append((points, condition))
        upsert(collection, points, condition=condition)

    service = AffinityLearner(ours)
    service.assigned({TopicPartition("activity", 0): 1})
    with patch.object(ours, "upsert", noting):
        took = timed(
            lambda start: service.handle([Message(one, service.parse(one)) for one in records[start : start + BATCH]]),
            range(0, len(records), BATCH),
        )
    floor = timed(lambda batch: raw.upsert(ROWS, batch[0], condition=batch[1]), batches)
    written = [point for points, _ in batches for point in points]
    entries = statistics.mean(len(row.indices) for row in rows_of(written))
    print(f"{name}: {len(records):,} activities, {len(written):,} rows written, of {entries:.0f} entries in the mean")
    print(f"learnt        {len(written) / took:>8,.0f} rows/s   {len(records) / took:>8,.0f} activities/s")
    print(f"upserts alone {len(written) / floor:>8,.0f} rows/s   ratio {floor / took:.2f}")


def processor(records: Sequence[Record]) -> None:
    """The processor's time for an activity in batches of ten, with the store in another process, and no Kafka."""
    rounds = []
    with answering_store() as store:
        service = AffinityLearner(store)
        service.assigned({TopicPartition("activity", 0): 1})
        for start in range(0, len(records), ROUND):
            some, began = records[start : start + ROUND], time.process_time()
            for at in range(0, len(some), TRICKLE):
                service.handle([Message(one, service.parse(one)) for one in some[at : at + TRICKLE]])
            rounds.append((time.process_time() - began) / len(some) * 1e6)
    median = statistics.median(rounds)
    print(f"{TRICKLE} activities at once: {median:.0f} µs of the processor's time each")


def timed(act: Callable[[Any], None], batches: Iterable[Any]) -> float:
    """Seconds that it takes for all."""
    began = time.perf_counter()
    for batch in batches:
        act(batch)
    return time.perf_counter() - began


def rows_of(points: Sequence[Point]) -> Iterator[Sparse]:
    """The rows of those points that have one."""
    for point in points:
        row = point.vectors.get("affinity")
        if isinstance(row, Sparse):
            yield row


def seed(store: VectorStore, items: int) -> None:
    """What a tick costs while there is something to seed, and one that finds nothing."""
    clock = iter(range(10_000_000))
    service = AffinityLearner(store, monotonic=lambda: float(next(clock)))
    service.assigned({TopicPartition("activity", 0): 1})
    ticks = []
    for _ in range(20):
        began = time.perf_counter()
        service.tick()
        ticks.append((time.perf_counter() - began) * 1000)
    print(f"a tick that seeds, of {items:,} items: median {statistics.median(ticks):.0f} ms, most {max(ticks):.0f} ms")


def fold(records: Sequence[Record]) -> None:
    """The algebra alone."""
    settings = Settings().affinity
    said = [Activity.model_validate_json(record.value or b"", strict=False) for record in records]
    rows = {activity.item_id: NO_ROW for activity in said}
    began = time.perf_counter()
    for one in said:
        lesson = algebra.forward_update(one.dimensions, one.timestamp)
        rows[one.item_id] = algebra.fold(rows[one.item_id], [lesson], settings)
    print(f"the fold alone: {(time.perf_counter() - began) / len(said) * 1e6:.0f} µs an activity")


if __name__ == "__main__":
    main()
