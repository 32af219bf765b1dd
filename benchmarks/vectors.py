"""What our stores add to the engine beneath: `python benchmarks/vectors.py [points]`.

Profiles (a 384-d vector, a 30-entry sparse one, three more vectors and 2.2 KB of state in the payload) are written in
batches of 100, and five sources of 50 are read in two batches, of items and of rows, by `EdgeStore` and by raw
qdrant_edge calls in turn, in the same run. The columnar REST body of the same batch is encoded alone, beside
qdrant-client's models encoding the same points.
"""

from __future__ import annotations

import sys
import time
from base64 import b64encode
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import orjson
import qdrant_edge as edge
from qdrant_client import models

from eddyline.adapters.vectors import (
    Distance,
    Filter,
    Match,
    Nearest,
    OrderBy,
    Point,
    Query,
    Range,
    Sparse,
    Vector,
    item_collection,
    profile_collection,
    row_collection,
)
from eddyline.adapters.vectors.edge_conversion import to_config
from eddyline.adapters.vectors.edge_store import EdgeStore
from eddyline.adapters.vectors.server_conversion import to_batch
from eddyline.model.ids import item_point_id

PACKED = ("taste", "session", "lifetime", "onboarding")
SIZE = 384
BATCH = 100
ROUNDS = 5


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 2_000
    random = np.random.default_rng(1)
    profiles = [_profile(random, i) for i in range(count)]
    batches = [profiles[start : start + BATCH] for start in range(0, count, BATCH)]
    with TemporaryDirectory() as directory:
        _compare_upserts(Path(directory), batches)
        _compare_queries(Path(directory), random, items=10 * count)
    _compare_encoding(batches)


def _sparse(random: np.random.Generator, size: int) -> Sparse:
    indices = random.choice(50_000, size, replace=False).astype(np.uint32)
    return Sparse(indices, random.random(size, dtype=np.float32))


def _profile(random: np.random.Generator, i: int) -> Point:
    vectors: dict[str, Vector] = {"history": _sparse(random, 30)}
    sums = random.standard_normal((len(PACKED), SIZE)).astype(np.float32)
    packed = {name: b64encode(each.tobytes()).decode() for name, each in zip(PACKED, sums, strict=True)}
    payload = {"person": f"u:{i}", "epoch": 1, "events": i, "last_seen": 1.7e9 + i, "state": "s" * 2200}
    payload |= {"vectors": packed}
    return Point(item_point_id(f"u:{i}"), vectors, payload)


def _seconds(do: Callable[[], object]) -> float:
    start = time.perf_counter()
    do()
    return time.perf_counter() - start


def _in_turn(*contenders: Callable[[], object], rounds: int = ROUNDS) -> list[float]:
    """The median seconds of each; they alternate, so that a slow moment of the machine hits all alike."""
    timings = [[_seconds(do) for do in contenders] for _ in range(rounds)]
    return [median(times) for times in zip(*timings, strict=True)]


def _compare_upserts(directory: Path, batches: Sequence[Sequence[Point]]) -> None:
    spec = profile_collection()
    store = EdgeStore(directory / "ours")
    store.ensure(spec)
    (directory / "raw").mkdir()
    shard = edge.EdgeShard.create(str(directory / "raw"), to_config(spec))
    for path, kind in (("person", edge.PayloadSchemaType.Keyword), ("epoch", edge.PayloadSchemaType.Integer)):
        shard.update(edge.UpdateOperation.create_field_index(path, kind))
    for path in set(spec.indexes) - {"person", "epoch"}:
        kind = getattr(edge.PayloadSchemaType, spec.indexes[path].capitalize())
        shard.update(edge.UpdateOperation.create_field_index(path, kind))
    newest = Filter(must_not=(Range("epoch", gt=1),))
    raw_newest = edge.Filter(must_not=[edge.FieldCondition("epoch", range=edge.RangeFloat(gt=1))])

    def ours() -> None:
        for batch in batches:
            store.upsert(spec.name, batch, condition=newest)

    def raw() -> None:
        for batch in batches:
            points = [edge.Point(point.id, _raw_vectors(point), dict(point.payload)) for point in batch]
            shard.update(edge.UpdateOperation.upsert_points(points, condition=raw_newest))

    ours_seconds, raw_seconds = _in_turn(ours, raw)
    points = sum(map(len, batches))
    _say("EdgeStore.upsert", points / ours_seconds, "raw", points / raw_seconds, "points/s")
    store.close()
    shard.close()


def _raw_vectors(point: Point) -> dict[str, Any]:
    return {
        name: edge.SparseVector(vector.indices.tolist(), vector.values.tolist())
        if isinstance(vector, Sparse)
        else vector.tolist()
        for name, vector in point.vectors.items()
    }


def _compare_queries(directory: Path, random: np.random.Generator, items: int) -> None:
    spec, row_spec = item_collection(SIZE, Distance.COSINE, {}), row_collection({})
    store = EdgeStore(directory / "items")
    for each in (spec, row_spec):
        store.ensure(each)
    for start in range(0, items, 500):
        numbers = range(start, min(items, start + 500))
        store.upsert(spec.name, [_item(random, i) for i in numbers])
        store.upsert(row_spec.name, [_row(random, i) for i in numbers])
    tastes = random.standard_normal((100, 2, SIZE)).astype(np.float32)
    recents = [_sparse(random, 50) for _ in range(100)]
    shard, rows = store._open(spec.name).shard, store._open(row_spec.name).shard

    def ours() -> None:
        for (taste, session), recent in zip(tastes, recents, strict=True):
            filter = Filter(must=(Match("servable", (True,)),))
            by_content = (Nearest(taste, "content"), Nearest(session, "content"), OrderBy("listed_at"))
            store.query(spec.name, [Query(each, 50, filter) for each in by_content])
            by_people = (Nearest(recent, "affinity"), OrderBy("trend.day"))
            store.query(row_spec.name, [Query(each, 50, filter) for each in by_people])

    def raw() -> None:
        for (taste, session), recent in zip(tastes, recents, strict=True):
            servable = edge.FieldCondition("servable", match=edge.MatchValue(np.True_))  # type: ignore[arg-type]
            filter = edge.Filter(must=[servable])
            row = edge.SparseVector(recent.indices.tolist(), recent.values.tolist())
            by_content: list[Any] = [
                edge.Query.Nearest(taste.tolist(), using="content"),
                edge.Query.Nearest(session.tolist(), using="content"),
                edge.OrderBy("listed_at", edge.Direction.Desc),
            ]
            by_people: list[Any] = [
                edge.Query.Nearest(row, using="affinity"),
                edge.OrderBy("trend.day", edge.Direction.Desc),
            ]
            for searched, by in ((shard, by_content), (rows, by_people)):
                requests = [edge.QueryRequest(limit=50, query=each, filter=filter) for each in by]
                for answer in searched.query_batch(edge.QueryBatchRequest(requests)):
                    for point in answer:
                        _ = point.id, point.score

    ours_seconds, raw_seconds = _in_turn(ours, raw, rounds=3)
    _say(f"EdgeStore.query, 5 × 50 of {items:,}", 100 / ours_seconds, "raw", 100 / raw_seconds, "batches/s")
    store.close()


def _item(random: np.random.Generator, i: int) -> Point:
    return Point(item_point_id(f"i{i}"), {"content": random.standard_normal(SIZE).astype(np.float32)}, _listing(i))


def _row(random: np.random.Generator, i: int) -> Point:
    payload = {**_listing(i), "trend": {"day": float(random.random())}}
    return Point(item_point_id(f"i{i}"), {"affinity": _sparse(random, 100)}, payload)


def _listing(i: int) -> dict[str, Any]:
    meta = {"category": f"c{i % 20}", "published_at": 1.7e9 + i}
    return {"item_id": f"i{i}", "meta": meta, "listed_at": 1.7e9 + i, "servable": i % 10 > 0}


def _compare_encoding(batches: Sequence[Sequence[Point]]) -> None:
    def ours() -> None:
        for batch in batches:
            orjson.dumps({"batch": to_batch(batch)}, option=orjson.OPT_SERIALIZE_NUMPY)

    def with_models() -> None:
        for batch in batches[:5]:
            rows = [
                models.PointStruct(id=point.id, vector=_model_vectors(point), payload=dict(point.payload))
                for point in batch
            ]
            models.PointsList(points=rows).model_dump_json(exclude_none=True)

    ours_seconds, models_seconds = _in_turn(ours, with_models)
    points = sum(map(len, batches))
    slow = sum(map(len, batches[:5]))
    _say(
        "REST body, columns",
        points / ours_seconds,
        "qdrant-client's models",
        slow / models_seconds,
        "points/s",
    )


def _model_vectors(point: Point) -> dict[str, Any]:
    return {
        name: models.SparseVector(indices=vector.indices.tolist(), values=vector.values.tolist())
        if isinstance(vector, Sparse)
        else vector.tolist()
        for name, vector in point.vectors.items()
    }


def _say(what: str, ours: float, floor: str, theirs: float, unit: str) -> None:
    print(f"{what}: {ours:,.0f} {unit}; {floor}: {theirs:,.0f}; ratio {ours / theirs:.2f}")


if __name__ == "__main__":
    main()
