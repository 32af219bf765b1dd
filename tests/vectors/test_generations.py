"""Generations: who is live, who must stop, and that no crash leaves anything in between."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from tests.vectors.worlds import dense, point

from eddyline.adapters.vectors import (
    ITEMS,
    PROFILES,
    ROWS,
    Collections,
    CollectionSpec,
    Distance,
    VectorStore,
    generations,
    item_collection,
    profile_collection,
    row_collection,
)
from eddyline.adapters.vectors.generations import Generations
from eddyline.errors import EddylineError, Misconfigured

SPECS = (item_collection(4, Distance.COSINE, {}), profile_collection(), row_collection({}))
FIRST, SECOND = Collections("items-1", "profiles-1", "rows-1"), Collections("items-2", "profiles-2", "rows-1")


class _KilledError(Exception):
    """Where the process ends."""


class Mortal:
    """A store whose process is killed before its nth change."""

    def __init__(self, store: VectorStore, changes: int) -> None:
        self._store, self.left = store, changes

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._store, name)
        return self._dying(call) if name in {"ensure", "set_aliases", "drop"} else call

    def _dying(self, call: Callable[..., None]) -> Callable[..., None]:
        def change(*arguments: Any) -> None:
            if self.left == 0:
                raise _KilledError
            self.left -= 1
            call(*arguments)

        return change


@pytest.fixture
def store(vector_store: VectorStore) -> VectorStore:
    generations.establish(vector_store, SPECS)
    return vector_store


@pytest.fixture
def next_store(store: VectorStore) -> VectorStore:
    for spec, name in zip(SPECS[:2], (SECOND.items, SECOND.profiles), strict=True):
        store.ensure(CollectionSpec(name, spec.dense, spec.sparse, spec.indexes))
    return store


def test_a_fresh_store_gets_a_first_generation_that_is_live(store: VectorStore) -> None:
    assert store.collections() == ["items-1", "profiles-1", "rows-1"]
    assert generations.current(store) == Generations(FIRST)
    store.upsert("items-1", [point("a", {"content": dense(1, 0, 0, 0)})])
    assert store.count(ITEMS) == 1


def test_establishing_again_keeps_what_is_live_and_adds_what_it_lacks(next_store: VectorStore) -> None:
    generations.go_live(next_store, SECOND)
    grown = item_collection(4, Distance.COSINE, {"brand": SPECS[0].indexes["meta.category"]})
    generations.establish(next_store, (grown, *SPECS[1:]))
    assert generations.live(next_store) == SECOND
    with pytest.raises(Misconfigured, match=r"items-2.*4 dimensions.*8 dimensions"):
        generations.establish(next_store, (item_collection(8, Distance.COSINE, {}), *SPECS[1:]))


@pytest.mark.parametrize("changes", range(6))
def test_an_establishment_that_was_killed_is_completed(vector_store: VectorStore, changes: int) -> None:
    with pytest.raises(_KilledError):
        generations.establish(Mortal(vector_store, changes), SPECS)
    with pytest.raises(Misconfigured, match="eddyline init"):
        generations.live(vector_store)
    generations.establish(vector_store, SPECS)
    assert vector_store.collections() == ["items-1", "profiles-1", "rows-1"]
    assert generations.live(vector_store) == FIRST


def test_nothing_is_live_before_init(vector_store: VectorStore) -> None:
    with pytest.raises(Misconfigured, match="eddyline init"):
        generations.current(vector_store)


def test_where_none_of_several_is_live_an_operator_must_say_which(next_store: VectorStore) -> None:
    next_store.set_aliases({PROFILES: None})
    with pytest.raises(Misconfigured, match=r"profiles-1, profiles-2.*point the alias `profiles`"):
        generations.establish(next_store, SPECS)


def test_a_seal_is_on_what_is_live_and_can_be_lifted(store: VectorStore) -> None:
    generations.seal(store, [PROFILES])
    assert generations.current(store) == Generations(FIRST, {"profiles-1": 2})
    generations.seal(store, [PROFILES, ITEMS])
    store.ensure(CollectionSpec("items-7", SPECS[0].dense))
    assert generations.current(store).sealed == {"items-1": 7, "profiles-1": 2}
    generations.unseal(store, [PROFILES, ITEMS])
    generations.unseal(store, [PROFILES])
    assert generations.current(store) == Generations(FIRST)


def test_going_live_is_one_change_that_lifts_the_seals(next_store: VectorStore) -> None:
    generations.seal(next_store, [PROFILES, ITEMS])
    with pytest.raises(_KilledError):
        generations.go_live(Mortal(next_store, 0), SECOND)
    assert generations.current(next_store) == Generations(FIRST, {"items-1": 2, "profiles-1": 2})
    generations.go_live(Mortal(next_store, 1), SECOND)
    assert generations.current(next_store) == Generations(SECOND)
    assert next_store.aliases() == {ITEMS: "items-2", PROFILES: "profiles-2", ROWS: "rows-1"}
    next_store.upsert("profiles-2", [point("p")])
    assert (next_store.count(PROFILES), next_store.count("profiles-1")) == (1, 0)


def test_one_kind_may_go_live_alone(next_store: VectorStore) -> None:
    generations.go_live(next_store, Collections("items-1", "profiles-2", "rows-1"))
    assert generations.live(next_store) == Collections("items-1", "profiles-2", "rows-1")


def test_what_does_not_exist_cannot_go_live(store: VectorStore) -> None:
    generations.seal(store, [PROFILES])
    with pytest.raises(Misconfigured, match="items-2"):
        generations.go_live(store, SECOND)
    assert generations.current(store) == Generations(FIRST, {"profiles-1": 2})


def test_the_next_free_one_comes_after_the_newest(store: VectorStore) -> None:
    assert generations.next_free(store, PROFILES) == "profiles-2"
    for name in ("profiles-9", "profiles-10", "profiles-old", "profiles-011", "items-40"):
        store.ensure(profile_collection(name))
    assert generations.existing(store, PROFILES) == ["profiles-1", "profiles-9", "profiles-10"]
    assert generations.next_free(store, PROFILES) == "profiles-11"
    store.drop("profiles-10")
    assert generations.next_free(store, PROFILES) == "profiles-10"


def test_a_name_says_its_generation_and_its_group() -> None:
    assert generations.generation_of(generations.concrete(PROFILES, 12)) == 12
    assert [generations.group_of("profiler", name) for name in ("profiles-1", "profiles-2")] == [
        "profiler",
        "profiler-2",
    ]
    with pytest.raises(EddylineError, match="`profiles`"):
        generations.generation_of(PROFILES)


def test_collections_by_their_logical_names() -> None:
    assert (SECOND.named(ITEMS), SECOND.named(PROFILES)) == ("items-2", "profiles-2")
    assert Collections() == Collections(ITEMS, PROFILES, ROWS)
