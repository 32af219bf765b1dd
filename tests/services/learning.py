"""An affinity service with a store around it, for tests that hand it activity and look at rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from tests.support.fakes import LOG, NOW, Clock, FakeStore, TinyEncoder, feed, record, text_vector

from eddyline.adapters.kafka import Record, TopicPartition
from eddyline.adapters.vectors import ITEMS, ROWS, Distance, Nearest, Point, Query, Sparse, VectorStore
from eddyline.affinity import AffinityLearner
from eddyline.model import affinity as algebra
from eddyline.model.affinity import NO_ROW, AffinityRow
from eddyline.model.events import Activity, pack_dimensions, parse_event
from eddyline.model.ids import item_dimension, item_point_id
from eddyline.model.listing import row_listing, servable_fields
from eddyline.runtime.collection_setup import create_collections
from eddyline.settings import AffinitySettings, Settings

SETTINGS = AffinitySettings(smoothing=5, popularity_damping=0.5, half_life_days=90, seed_neighbours=0)
"""Numbers that tests can say, whatever the defaults are; and nothing is seeded, unless a test is about that."""


def set_to(**changed: Any) -> AffinitySettings:
    """Those, but for these."""
    return AffinitySettings.model_validate(SETTINGS.model_dump() | changed)


class Learning:
    """One partition, unless told otherwise, all of it owned."""

    def __init__(
        self, store: VectorStore | None = None, settings: AffinitySettings = SETTINGS, partitions: int = 1
    ) -> None:
        self.store = FakeStore() if store is None else store
        if store is None or not store.collections():
            create_collections(self.store, Settings(), TinyEncoder.dimension, Distance.COSINE)
        self.settings, self.partitions = settings, partitions
        self.clock = Clock()
        self.restart()

    def restart(
        self, settings: AffinitySettings | None = None, owned: Iterable[int] | None = None, epoch: int = 1
    ) -> None:
        """Another instance on the same store."""
        self.settings = settings or self.settings
        self.affinity = AffinityLearner(
            self.store, settings=self.settings, partitions=self.partitions, monotonic=self.clock
        )
        mine = range(self.partitions) if owned is None else owned
        self.affinity.assigned({TopicPartition("activity", n): epoch for n in mine})

    def add_items(self, *names: str) -> None:
        self.store.upsert(ITEMS, [item_point(name) for name in names])
        self.store.upsert(ROWS, [row_point(name) for name in names])

    def feed(self, *records: Record) -> None:
        feed(self.affinity, *records)

    def point(self, item: str = "a") -> Point:
        return self.store.retrieve(ROWS, [item_point_id(item)], vectors=("affinity",))[item_point_id(item)]

    def row(self, item: str = "a") -> AffinityRow:
        """Recovered from what is stored."""
        return restored(self.point(item))

    def weights(self, item: str = "a") -> dict[int, float]:
        """Of the row, by dimension, but for those of what came right before."""
        found = entries(self.row(item))
        right_before = set(algebra.next_dimensions(np.array(list(found), np.uint32)).tolist())
        return {dimension: weight for dimension, weight in found.items() if dimension not in right_before}

    def trend(self, item: str = "a") -> dict[str, Any]:
        return dict(self.point(item).payload.get("trend") or {})

    def next_after(self, *recents: str) -> list[str]:
        """What the affinity query finds for someone with these recents, newest first."""
        weights = algebra.positional_weights(len(recents))
        dimensions = np.array([item_dimension(name) for name in recents], dtype=np.uint32)
        nearest = Nearest(Sparse(dimensions, weights.astype(np.float32)), "affinity")
        found = self.store.query(ROWS, [Query(nearest, 10, payload=("item_id",))])[0]
        return [str(one.payload["item_id"]) for one in found if one.score > 0]


def item_point(name: str) -> Point:
    """An item as the embedder stores it: its title is its id."""
    payload = {"item_id": name, "space": "tiny-t1", "meta": {"title": name}, **servable_fields({}, {})}
    return Point(item_point_id(name), {"content": text_vector(name).astype(np.float32)}, payload)


def row_point(name: str) -> Point:
    """Its row, while nothing is learnt."""
    return Point(item_point_id(name), {}, row_listing({"item_id": name, "meta": {}}, {}))


def restored(point: Point) -> AffinityRow:
    """The row in a stored point."""
    known, vector = point.payload.get("row"), point.vectors.get("affinity")
    if known is None:
        return NO_ROW
    if vector is None:
        return AffinityRow.from_weights({}, known["count"], known["time"])
    assert isinstance(vector, Sparse)
    return algebra.restore_row(
        vector.indices, vector.values, known["divisor"], known["count"], known["time"], known.get("unit")
    )


def came(
    offset: int,
    item: str = "a",
    recents: Sequence[str] = (),
    *,
    at: float = NOW,
    log: str = LOG,
    source: str = "",
    position: int | None = None,
) -> Record:
    value: Mapping[str, Any] = {
        "item_id": item,
        "weight": 1.0,
        "timestamp": at,
        "source": source or f"interactions:0:{offset}",
        "recents": pack_dimensions(recents),
        **({} if position is None else {"position": position}),
    }
    return record("activity", item, value, offset, log=log)


def learnt(records: Iterable[Record], item: str, settings: AffinitySettings = SETTINGS) -> AffinityRow:
    """What the item has learnt when each of these has been folded once."""
    row = NO_ROW
    for one in records:
        said = parse_event(Activity, one.value)
        if said.item_id == item:
            row = algebra.fold(row, [algebra.forward_update(said.dimensions, said.timestamp)], settings)
    return row


def entries(row: AffinityRow) -> dict[int, float]:
    return dict(zip(row.indices.tolist(), row.weights.tolist(), strict=True))


def same(one: AffinityRow, other: AffinityRow, relative: float = 1e-5) -> None:
    """Fail unless the rows are as good as equal: float32 rounds each write by some 1e-7."""
    assert entries(one) == pytest.approx(entries(other), rel=relative)
    assert one.count == pytest.approx(other.count)
    assert one.time == other.time
