"""What the tests of the vector stores share: a collection, and short ways to make its points."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from eddyline.adapters.vectors import (
    CollectionSpec,
    Dense,
    DenseSpec,
    Distance,
    Filter,
    Point,
    Sparse,
    Vector,
    VectorStore,
)
from eddyline.model.ids import item_point_id
from eddyline.settings import AttributeKind

SPEC = CollectionSpec(
    name="things",
    dense={"content": DenseSpec(4, Distance.COSINE), "taste": DenseSpec(4, Distance.DOT)},
    sparse=("affinity",),
    indexes={
        "meta.category": AttributeKind.KEYWORD,
        "offer.available": AttributeKind.BOOL,
        "offer.price": AttributeKind.FLOAT,
        "trend.day": AttributeKind.FLOAT,
        "epoch": AttributeKind.INTEGER,
    },
)


def dense(*numbers: float) -> Dense:
    return np.array(numbers, dtype=np.float32)


def sparse(entries: dict[int, float]) -> Sparse:
    return Sparse(np.array(list(entries), dtype=np.uint32), np.array(list(entries.values()), dtype=np.float32))


def entries(vector: Vector) -> dict[int, float]:
    assert isinstance(vector, Sparse)
    assert vector.indices.dtype == np.uint32
    assert vector.values.dtype == np.float32
    return dict(zip(vector.indices.tolist(), vector.values.tolist(), strict=True))


def numbers(vector: Vector) -> list[float]:
    assert not isinstance(vector, Sparse)
    assert vector.dtype == np.float32
    values: list[float] = vector.tolist()
    return values


def point(name: str, vectors: dict[str, Vector] | None = None, **payload: Any) -> Point:
    return Point(item_point_id(name), vectors or {}, payload)


def ids(*names: str) -> list[str]:
    return [item_point_id(name) for name in names]


def payload_of(store: VectorStore, name: str) -> dict[str, Any]:
    return dict(store.retrieve(SPEC.name, ids(name))[item_point_id(name)].payload)


def matching(store: VectorStore, filter: Filter, among: Sequence[str]) -> set[str]:
    """The names of those `among` that match; the count must agree."""
    found: list[Point] = []
    after: str | None = None
    while True:
        page, after = store.scroll(SPEC.name, filter=filter, limit=100, after=after, payload=())
        found += page
        if after is None:
            break
    assert store.count(SPEC.name, filter) == len(found)
    name_of = {item_point_id(name): name for name in among}
    return {name_of[each.id] for each in found}
