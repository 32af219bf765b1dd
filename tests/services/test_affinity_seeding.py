"""New items begin with what similar ones have learnt, so that they are found; what they learn themselves drowns it."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, Literal

import numpy as np
import pytest
from tests.services.learning import Learning, came, row_point, set_to
from tests.support.fakes import NOW, FakeStore, text_vector

from eddyline.adapters.kafka import TopicPartition, partition_of
from eddyline.adapters.telemetry import Metrics
from eddyline.adapters.vectors import ITEMS, ROWS, VectorStore
from eddyline.affinity import AffinityLearner
from eddyline.affinity import seeder as seeding
from eddyline.model.ids import item_dimension, item_point_id
from eddyline.settings import AffinitySettings, EncoderSettings, Settings

SETTINGS = set_to(seed_neighbours=2)


def some_films(store: VectorStore | None = None, settings: AffinitySettings = SETTINGS, **more: int) -> Learning:
    """Two films of war came after "trench", two of love after "kiss"."""
    it = Learning(store, settings, **more)
    it.add_items("war 91", "war 92", "love 91", "love 92")
    it.feed(
        *(came(n, ("war 91", "war 92")[n % 2], ["trench"]) for n in range(6)),
        *(came(n, ("love 91", "love 92")[n % 2], ["kiss"]) for n in range(6, 12)),
    )
    return it


def ticks(it: Learning, count: int = 1) -> None:
    """So many seconds go by."""
    for _ in range(count):
        it.clock.forward(1.0)
        it.affinity.tick()


def seeded(it: Learning) -> set[str]:
    """The items that have a row of more than their own."""
    points = it.store.scroll(ROWS, limit=1000)[0]
    return {point.payload["item_id"] for point in points if point.payload.get("row", {}).get("seed")}


def test_a_new_item_is_found_by_what_similar_ones_are_found_by(vector_store: VectorStore) -> None:
    it = some_films(vector_store)
    it.add_items("war 93", "love 93")
    assert "war 93" not in it.next_after("trench")
    ticks(it)
    war, love = it.next_after("trench"), it.next_after("kiss")
    assert (set(war[:2]), war[2:]) == ({"war 91", "war 92"}, ["war 93"])
    assert (set(love[:2]), love[2:]) == ({"love 91", "love 92"}, ["love 93"])


def test_a_seed_is_of_the_likeness_of_directions_whatever_the_distance() -> None:
    planted = []
    for space, length in (("tiny-t1", 1.0), ("dot+tiny-t1", 40.0)):
        distance: Literal["cosine", "dot"] = "cosine" if length == 1 else "dot"
        store = FakeStore(Settings(encoder=EncoderSettings(distance=distance)))
        it = Learning(store, settings=set_to(seed_neighbours=1))
        it.add_items("war 91", "war 93")
        for name in ("war 91", "war 93"):
            content = (length * text_vector(name)).astype(np.float32)
            it.store.update_vectors(ITEMS, {item_point_id(name): {"content": content}})
            it.store.set_payload(ITEMS, {item_point_id(name): {"space": space}})
        it.feed(came(0, "war 91", ["trench"]))
        ticks(it)
        planted.append(it.weights("war 93")[item_dimension("trench")])
    assert planted[0] == pytest.approx(planted[1])


def test_a_seed_raises_no_count_and_makes_no_trend() -> None:
    it = some_films()
    it.add_items("war 93")
    ticks(it)
    assert it.row("war 93").count == 0
    assert it.trend("war 93") == {}


def test_real_events_drown_the_seed() -> None:
    it = some_films()
    it.add_items("war 93")
    ticks(it)
    planted = it.weights("war 93")[item_dimension("trench")]
    it.feed(*(came(20 + n, "war 93", ["rose"]) for n in range(30)))
    weights = it.weights("war 93")
    assert weights[item_dimension("trench")] == pytest.approx(planted)
    assert planted < weights[item_dimension("rose")] / 20
    assert it.row("war 93").count == 30
    ticks(it, 200)
    assert it.weights("war 93") == weights


def test_an_item_that_came_and_had_nothing_to_learn_is_seeded_too() -> None:
    it = some_films()
    it.add_items("war 93")
    it.feed(came(20, "war 93"), came(21, "war 93"))
    before = it.trend("war 93")
    ticks(it)
    assert "war 93" in it.next_after("trench")
    assert it.row("war 93").count == 2
    it.feed(came(20, "war 93"), came(21, "war 93"))
    assert it.trend("war 93") == before, "what it remembers of its log stays"


def test_what_an_item_has_learnt_itself_is_never_replaced_by_a_seed() -> None:
    it = some_films()
    it.add_items("war 93")
    it.feed(came(20, "war 93", ["rose"]))
    it.feed(came(21, "war 93"))
    known = it.weights("war 93")
    ticks(it, 10)
    assert it.weights("war 93") == known


def test_nothing_grows_from_seeds() -> None:
    it = some_films(settings=set_to(seed_neighbours=50))
    it.add_items(*(f"war {n}" for n in range(3, 8)))
    ticks(it, 5)
    first = {name: it.weights(name) for name in sorted(seeded(it))}
    assert len(first) == 5
    ticks(it, 500)
    assert {name: it.weights(name) for name in first} == first
    assert it.point("war 3").payload["row"]["seed"] == 4


def test_a_seed_of_few_neighbours_is_made_anew_when_more_have_learnt() -> None:
    it = Learning(settings=set_to(seed_neighbours=2))
    it.add_items("war 91", "war 92", "war 93")
    it.feed(came(0, "war 91", ["trench"]))
    ticks(it)
    assert it.point("war 93").payload["row"]["seed"] == 1
    it.feed(came(1, "war 92", ["tank"]))
    ticks(it, 5)
    assert it.point("war 93").payload["row"]["seed"] == 2
    assert it.weights("war 93").keys() == {item_dimension("trench"), item_dimension("tank")}
    it.feed(*(came(n, "war 92", ["tank"]) for n in range(2, 5)))
    known = it.weights("war 93")
    ticks(it, 200)
    assert it.weights("war 93") == known, "once there are as many as can be, it stays"


def test_every_process_seeds_the_items_of_its_own_partitions() -> None:
    it = some_films(partitions=2)
    names = [f"war {n}" for n in range(12)]
    it.add_items(*names)
    it.restart(owned=[0])
    ticks(it, 5)
    mine = {name for name in names if partition_of(name.encode(), 2) == 0}
    assert 0 < len(mine) < len(names)
    assert seeded(it) == mine
    it.affinity.revoked([TopicPartition("activity", 0)])
    it.add_items("war more", "war again", "war still")
    ticks(it, 200)
    assert seeded(it) == mine
    it.affinity.assigned({TopicPartition("activity", 1): 1})
    ticks(it, 5)
    assert seeded(it) >= set(names) - mine


def test_a_tick_does_a_bounded_part_of_the_work() -> None:
    it = some_films()
    it.add_items(*(f"war {n}" for n in range(40)))
    for expected in (seeding.SEEDED, 2 * seeding.SEEDED, 40):
        ticks(it)
        assert len(seeded(it)) == expected


def calls(it: Learning, name: str, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """When the store will be asked this."""
    asked: list[float] = []
    call = getattr(it.store, name)

    def noted(*named: Any, **rest: Any) -> Any:
        asked.append(it.clock())
        return call(*named, **rest)

    monkeypatch.setattr(it.store, name, noted)
    return asked


def test_where_nothing_is_to_be_done_the_store_is_asked_less_and_less(monkeypatch: pytest.MonkeyPatch) -> None:
    it = Learning(settings=SETTINGS)
    it.add_items(*(f"war {n}" for n in range(40)))  # and nobody has come
    asked = calls(it, "scroll", monkeypatch)
    ticks(it, 600)
    pauses = [later - earlier for earlier, later in pairwise(asked)]
    assert pauses[:5] == [2, 4, 8, 16, 32]
    assert set(pauses[5:]) == {seeding.MAX_PAUSE}
    it.feed(came(0, "war 0", ["trench"]))
    ticks(it, 65)
    assert len(seeded(it)) == 39, "and what comes then is found within a minute"


def test_what_is_seeded_is_not_searched_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    it = some_films()
    it.add_items("war 93", "love 93")
    ticks(it)
    searches = calls(it, "query", monkeypatch)
    ticks(it, 600)
    assert searches == []


def test_a_seed_that_cannot_grow_is_not_written_again(monkeypatch: pytest.MonkeyPatch) -> None:
    it = some_films(settings=set_to(seed_neighbours=50))
    it.add_items("war 93")
    ticks(it)
    assert it.point("war 93").payload["row"]["seed"] == 4
    writes, looks = calls(it, "upsert", monkeypatch), calls(it, "scroll", monkeypatch)
    ticks(it, 600)
    assert writes == []
    assert 10 < len(looks) < 20


def test_what_is_not_embedded_yet_is_left_alone() -> None:
    it = some_films()
    it.store.upsert(ROWS, [row_point("war early")])
    ticks(it, 5)
    assert "war early" not in seeded(it)
    it.add_items("war early")
    ticks(it, 65)
    assert "war early" in seeded(it)


@pytest.mark.parametrize("down", ["scroll", "retrieve", "query", "upsert"])
def test_a_store_that_is_down_is_asked_again(down: str) -> None:
    it = some_films()
    assert isinstance(it.store, FakeStore)
    it.add_items("war 93")
    for _ in range(3):
        with it.store.failing(down):
            ticks(it)
    ticks(it)
    assert "war 93" in it.next_after("trench")
    assert it.row("war 93").count == 0


def test_it_can_be_turned_off() -> None:
    it = some_films(settings=set_to(seed_neighbours=0))
    it.add_items("war 93")
    ticks(it, 100)
    assert seeded(it) == set()


def test_what_was_seeded_is_counted() -> None:
    it, metrics = some_films(), Metrics()
    it.add_items("war 93", "love 93")
    service = AffinityLearner(it.store, settings=SETTINGS, metrics=metrics, monotonic=it.clock)
    service.assigned({TopicPartition("activity", 0): 1})
    service.tick()
    assert metrics.registry.get_sample_value("eddyline_affinity_seeded_total") == 2
    assert it.row("war 91").time == NOW
