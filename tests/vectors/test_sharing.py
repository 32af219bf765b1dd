"""Stores that several threads use at once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from tests.vectors.worlds import SPEC, dense, ids, numbers, point

from eddyline.adapters.vectors import Filter, Nearest, OrderBy, Query, Range, VectorStore
from eddyline.model.ids import item_point_id

THREADS = 6
ROUNDS = 8


@pytest.fixture
def store(shared_vector_store: VectorStore) -> VectorStore:
    shared_vector_store.ensure(SPEC)
    return shared_vector_store


def test_threads_write_and_read_their_own_points(store: VectorStore) -> None:
    def work(thread: int) -> None:
        names = [f"t{thread}-{i}" for i in range(20)]
        for turn in range(ROUNDS):
            store.upsert(SPEC.name, [point(name, {"taste": dense(thread, turn, 0, 0)}) for name in names])
            store.set_payload(SPEC.name, {item_point_id(name): {"epoch": turn} for name in names})
            kept = store.retrieve(SPEC.name, ids(*names), vectors=("taste",))
            assert [each.payload["epoch"] for each in kept.values()] == [turn] * 20
            assert all(numbers(each.vectors["taste"])[:2] == [thread, turn] for each in kept.values())
            store.query(SPEC.name, [Query(Nearest(dense(1, 0, 0, 0), "taste"), 5), Query(OrderBy("epoch"), 5)])

    with ThreadPoolExecutor(THREADS) as pool:
        for done in [pool.submit(work, thread) for thread in range(THREADS)]:
            done.result()
    assert store.count(SPEC.name) == THREADS * 20
    assert store.count(SPEC.name, Filter(must=(Range("epoch", gte=ROUNDS - 1),))) == THREADS * 20


def test_updates_bear_points_that_vanish_meanwhile(store: VectorStore) -> None:
    names = [f"n{i}" for i in range(60)]
    store.upsert(SPEC.name, [point(name) for name in names])

    def vanish() -> None:
        for name in names[::2]:
            store.delete(SPEC.name, ids(name))

    def update() -> None:
        for turn in range(ROUNDS):
            store.set_payload(SPEC.name, {each: {"epoch": turn} for each in ids(*names)})
            store.update_vectors(SPEC.name, {each: {"taste": dense(turn, 0, 0, 0)} for each in ids(*names)})

    with ThreadPoolExecutor(3) as pool:
        for done in [pool.submit(update), pool.submit(vanish), pool.submit(update)]:
            done.result()
    kept = store.retrieve(SPEC.name, ids(*names), vectors=("taste",))
    assert kept.keys() == set(ids(*names[1::2]))
    assert all(each.payload["epoch"] == ROUNDS - 1 and "taste" in each.vectors for each in kept.values())


def test_several_may_ensure_at_once(shared_vector_store: VectorStore) -> None:
    with ThreadPoolExecutor(THREADS) as pool:
        for done in [pool.submit(shared_vector_store.ensure, SPEC) for _ in range(THREADS)]:
            done.result()
    assert shared_vector_store.count(SPEC.name) == 0
