"""Rows made complete: an installation from before there were any, and what a crash has left out of date."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from tests.services.learning import Learning, came, restored, same
from tests.support.fakes import LOG, NOW, FakeStore, TinyEncoder, text_vector

from eddyline.adapters.vectors import (
    ITEMS,
    PROFILES,
    ROWS,
    CollectionSpec,
    Distance,
    Point,
    Sparse,
    VectorStore,
    generations,
    item_collection,
    profile_collection,
)
from eddyline.maintenance.generations.row_completion import RowCounts, complete_rows, rescale_rows
from eddyline.model.filters import matches, servable_items
from eddyline.model.ids import item_point_id
from eddyline.runtime.collection_setup import create_collections
from eddyline.settings import Settings

META = {"title": "A", "category": "war", "tags": ["x"]}
SOURCE = {"log": LOG, "partition": 0, "offset": 3, "hash": "h"}


def put(store: VectorStore, name: str, **payload: Any) -> None:
    stored = {"item_id": name, "space": "tiny-t1", "meta": META, "source": SOURCE, "listed_at": NOW, **payload}
    store.upsert(ITEMS, [Point(item_point_id(name), {"content": text_vector(name).astype(np.float32)}, stored)])


@pytest.fixture
def old_store(vector_store: VectorStore) -> VectorStore:
    """An installation of before: rows and trends in the items, none apart."""
    items = item_collection(TinyEncoder.dimension, Distance.COSINE, {})
    sparse = CollectionSpec(items.name, items.dense, ("affinity",), items.indexes)
    generations.establish(vector_store, (sparse, profile_collection()))
    put(vector_store, "a", offer={"available": True, "price": 3.0, "at": NOW})
    put(vector_store, "b", offer={"available": False, "at": NOW})
    vector_store.upsert(ITEMS, [Point(item_point_id("early"), {}, {"item_id": "early", "offer": {"available": True}})])
    # Learnt by the service of today in a store of its own, and laid out as it was.
    learning = Learning(FakeStore())
    learning.add_items("a")
    learning.feed(came(0, "a", ["b", "c"]), came(1, "a", ["c"]))
    point = learning.point()
    row, trend = dict(point.payload["row"]), dict(point.payload["trend"])
    row.pop("first")
    vector_store.update_vectors(ITEMS, {point.id: linear(point).vectors})
    row.pop("unit")
    vector_store.set_payload(ITEMS, {point.id: {"row": row, "trend": trend}})
    return vector_store


def linear(point: Point) -> Point:
    """A row as it was stored while its entries were no logarithms."""
    learnt, row = restored(point), dict(point.payload["row"])
    row.pop("unit")
    values = (learnt.weights / row["divisor"]).astype(np.float32)
    return replace(point, vectors={"affinity": Sparse(learnt.indices, values)}, payload={**point.payload, "row": row})


def rows(store: VectorStore) -> dict[str, Point]:
    return {point.payload["item_id"]: point for point in store.scroll(ROWS, vectors=("affinity",))[0]}


def test_an_installation_of_before_is_carried_over(old_store: VectorStore) -> None:
    with pytest.raises(Exception, match="no live rows: run `eddyline init`"):
        generations.current(old_store)
    create_collections(old_store, Settings(), TinyEncoder.dimension, Distance.COSINE)
    found = rows(old_store)
    assert found.keys() == {"a", "b"}, "of what isn't there yet, there is no row"
    assert isinstance(found["a"].vectors["affinity"], Sparse)
    assert found["a"].payload["trend"]["count"] == 2
    assert {name: point.payload["servable"] for name, point in found.items()} == {"a": True, "b": False}
    items = {point.payload["item_id"]: point.payload for point in old_store.scroll(ITEMS)[0]}
    shown = servable_items(NOW)
    assert {name: matches(shown, payload) for name, payload in items.items()} == {"a": True, "b": False, "early": False}
    assert not any("row" in payload or "trend" in payload for payload in items.values())


def test_what_was_learnt_before_grows_on_and_counts_once(old_store: VectorStore) -> None:
    create_collections(old_store, Settings(), TinyEncoder.dimension, Distance.COSINE)
    it = Learning(old_store)
    before = restored(it.point())
    it.feed(came(0, "a", ["b", "c"]), came(1, "a", ["c"]))
    same(it.row(), before)
    it.feed(came(2, "a", ["b"]))
    assert it.trend()["count"] == 3
    assert (it.point().payload["row"]["first"], it.point().payload["row"]["first_count"]) == (2, 2)


def test_a_completion_that_was_cut_short_is_completed(old_store: VectorStore, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(old_store, "delete_payload", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            create_collections(old_store, Settings(), TinyEncoder.dimension, Distance.COSINE)
    create_collections(old_store, Settings(), TinyEncoder.dimension, Distance.COSINE)
    assert rows(old_store)["a"].payload["trend"]["count"] == 2


def test_what_a_crash_left_out_of_date_is_put_right_and_what_was_learnt_stays() -> None:
    it = Learning(FakeStore())
    for name in ("a", "b"):
        put(it.store, name, servable=True, servable_from=0.0, servable_until=1e12, offer={"available": True})
    it.add_items("gone")
    it.store.delete(ITEMS, [item_point_id("gone")])
    assert complete_rows(it.store, ITEMS, ROWS) == RowCounts(made=2)
    it.feed(came(0, "a", ["b"]))
    put(it.store, "a", meta={**META, "category": "love"}, offer={"available": False}, servable=False)
    assert complete_rows(it.store, ITEMS, ROWS, is_alone=True) == RowCounts(corrected=1, removed=1)
    assert complete_rows(it.store, ITEMS, ROWS, is_alone=True) == RowCounts()
    payload = it.point().payload
    assert (payload["meta"]["category"], payload["servable"], payload["trend"]["count"]) == ("love", False, 1)


def test_rows_of_before_are_rescaled_once(vector_store: VectorStore) -> None:
    it = Learning(vector_store)
    it.add_items("a", "b", "c")
    it.feed(came(0, "a", ["b", "c"]), came(1, "b", ["c"]), came(2, "a", ["c"]))
    expected = rows(vector_store)
    vector_store.upsert(ROWS, [linear(expected["a"]), expected["b"]])
    assert rescale_rows(vector_store, ROWS) == 1
    found = rows(vector_store)
    for name in ("a", "b"):
        one, other = found[name].vectors["affinity"], expected[name].vectors["affinity"]
        assert isinstance(one, Sparse)
        assert isinstance(other, Sparse)
        np.testing.assert_allclose(one.values, other.values)
        assert found[name].payload == expected[name].payload
    assert rescale_rows(vector_store, ROWS) == 0


def test_a_row_that_affinity_writes_meanwhile_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    it = Learning(FakeStore())
    it.add_items("a")
    it.feed(came(0, "a", ["b"]))
    it.store.upsert(ROWS, [linear(it.point())])
    it.restart()
    retrieve = it.store.retrieve

    def retrieved(*of: Any, **how: Any) -> dict[str, Point]:
        found = retrieve(*of, **how)
        monkeypatch.undo()
        it.feed(came(1, "a", ["b"]))
        return found

    monkeypatch.setattr(it.store, "retrieve", retrieved)
    rescale_rows(it.store, ROWS)
    assert it.row().count == pytest.approx(2)


def test_a_first_installation_has_nothing_to_complete() -> None:
    store = FakeStore()
    assert store.aliases() == {ITEMS: "items-1", PROFILES: "profiles-1", ROWS: "rows-1"}
    assert complete_rows(store, ITEMS, ROWS, is_alone=True) == RowCounts()
