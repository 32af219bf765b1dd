"""Rows: what people chose before an item finds it, each event counts once, and nothing else is touched."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from tests.services.learning import SETTINGS, Learning, came, entries, learnt, same, set_to
from tests.services.profiling import Profiling, click
from tests.support.fakes import NOW, FakeStore, TinyEncoder, feed, record, redelivered

from eddyline.adapters.kafka import Record, TopicPartition
from eddyline.adapters.telemetry import Metrics
from eddyline.adapters.vectors import ITEMS, VectorStore
from eddyline.embedder.handler import Embedder
from eddyline.model import affinity as algebra
from eddyline.model.ids import item_dimension, item_point_id
from eddyline.profiler import Profiler

DAY = 86_400.0
NAMES = [f"film {n}" for n in range(8)]


@pytest.fixture
def it() -> Learning:
    learning = Learning()
    learning.add_items("a", "b", "c", *NAMES)
    return learning


def history(seed: int, length: int) -> list[Record]:
    """Anything that may come: several items, late events, people without a past."""
    rng = random.Random(seed)
    records = []
    for offset in range(length):
        recents = rng.sample(NAMES, rng.randrange(6))
        item = rng.choice([name for name in NAMES[:4] if name not in recents] or ["a"])
        records.append(came(offset, item, recents, at=NOW - rng.choice([0, 60, 3600, 100 * DAY])))
    return records


def batches(records: Sequence[Record], seed: int) -> list[Sequence[Record]]:
    rng, cut = random.Random(seed), [0]
    while cut[-1] < len(records):
        cut.append(min(len(records), cut[-1] + rng.randrange(1, 12)))
    return [records[start:end] for start, end in pairwise(cut)]


# -- on every store ----------------------------------------------------------------------------------------------------


def test_what_came_before_an_item_finds_it(vector_store: VectorStore) -> None:
    it = Learning(vector_store)
    it.add_items("a", "b", "c", "x", "y")
    it.feed(came(0, "a", ["x", "y"]), came(1, "b", ["y", "x"]), came(2, "a", ["x"]))
    assert it.next_after("x") == ["a", "b"]
    assert it.next_after("y") == ["b", "a"]
    assert it.next_after("c") == []


def test_rows_are_the_fold_of_their_events(vector_store: VectorStore) -> None:
    it = Learning(vector_store)
    it.add_items(*NAMES, "a")
    records = history(1, 60)
    for batch in batches(records, 1):
        it.feed(*batch)
    for name in NAMES[:4]:
        same(it.row(name), learnt(records, name))
        assert it.trend(name)["count"] == sum(1 for one in records if one.key == name.encode())


# -- once --------------------------------------------------------------------------------------------------------------


def test_a_replayed_batch_is_learnt_once(it: Learning) -> None:
    assert isinstance(it.store, FakeStore)
    batch = [came(0, "a", ["b", "c"]), came(1, "b", ["a"]), came(2, "a", ["c"])]
    it.feed(*batch)
    before = it.store.dump()
    it.feed(*batch)
    assert it.store.dump() == before
    it.feed(*batch, came(3, "a", ["b"]))
    same(it.row("a"), learnt([*batch, came(3, "a", ["b"])], "a"))
    assert it.trend("a")["count"] == 3


def test_what_a_crashed_profiler_tells_twice_is_learnt_once(it: Learning) -> None:
    it.feed(came(0, "a", ["b"], source="interactions:0:7"))
    it.feed(came(1, "a", ["b"], source="interactions:0:7"), came(2, "a", ["c"], source="interactions:0:8"))
    same(it.row("a"), learnt([came(0, "a", ["b"]), came(2, "a", ["c"])], "a"))
    assert it.trend("a")["count"] == 2


@pytest.mark.parametrize("seed", range(5))
def test_restarts_that_go_back_in_the_log_change_nothing(it: Learning, seed: int) -> None:
    """After each, the log is read from the last commit on, in batches that begin and end elsewhere."""
    records, rng, committed = history(seed, 120), random.Random(seed), 0
    while committed < len(records):
        handled = committed
        for batch in batches(records[committed:], rng.randrange(100))[: rng.randrange(1, 4)]:
            it.feed(*batch)
            handled += len(batch)
        committed = rng.randrange(committed, handled + 1) if handled < len(records) else handled
        it.restart()
    for name in NAMES[:4]:
        same(it.row(name), learnt(records, name))
        assert it.trend(name)["count"] == sum(1 for one in records if one.key == name.encode())


def test_a_batch_that_is_tried_again_while_the_store_is_down_is_learnt_once(it: Learning) -> None:
    assert isinstance(it.store, FakeStore)
    it.feed(came(0, "a", ["b"]))
    batch = [came(1, "a", ["b", "c"]), came(2, "b", ["c"])]
    for down in ("retrieve", "update_vectors", "set_payload", "set_payload", "set_payload"):
        with it.store.failing(down):
            it.feed(*batch)
    it.feed(*batch)
    same(it.row("a"), learnt([came(0, "a", ["b"]), *batch], "a"))
    same(it.row("b"), learnt(batch, "b"))
    assert it.trend("a")["count"] == 2


@pytest.mark.parametrize("killed", ["the process", "the partition's ownership"])
@pytest.mark.parametrize("before", ["update_vectors", "set_payload"])
def test_a_crash_in_the_middle_of_a_write_repeats_at_most_one_batch(it: Learning, before: str, killed: str) -> None:
    assert isinstance(it.store, FakeStore)
    earlier = [came(n, "a", ["b", "c"], at=NOW - DAY) for n in range(3)]
    batch = [came(3, "a", ["c"]), came(4, "a", ["c", "b"]), came(5, "b", ["c"])]
    it.feed(*earlier)
    with it.store.failing(before):
        it.feed(*batch)
    if killed == "the process":
        it.restart()
    else:
        it.affinity.revoked([])
    it.feed(*batch)
    exact, lessons = learnt([*earlier, *batch], "a"), learnt(batch, "a")
    # What was there is taken for less by as much as the divisor had grown: never for more.
    shrunk = algebra.divisor(3, SETTINGS) / algebra.divisor(5, SETTINGS)
    for dimension, weight in it.weights("a").items():
        right = entries(exact)[dimension]
        assert shrunk * right * 0.99 <= weight <= (right + entries(lessons)[dimension]) * 1.000001
        assert (weight == pytest.approx(right)) == (before == "update_vectors"), "half of the batch was written or none"
    assert it.row("a").count == pytest.approx(exact.count)
    assert it.trend("a")["count"] == 5
    assert it.trend("b")["count"] == 1
    # And no more than that: what comes later is learnt as ever.
    known = it.weights("a")
    it.feed(*batch)
    assert it.weights("a") == known


def test_a_recreated_log_starts_anew(it: Learning) -> None:
    it.feed(came(500, "a", ["b"], source="old:0:1"))
    it.feed(came(0, "a", ["b"], log="log-2", source="new:0:1"))
    assert it.row("a").count == it.trend("a")["count"] == 2


# -- what is stored ----------------------------------------------------------------------------------------------------


def test_a_row_is_cut_when_it_has_grown() -> None:
    it = Learning(settings=set_to(pruned_row_entries=4, max_row_entries=8))
    it.add_items("a")
    it.feed(*(came(n, "a", ["often"]) for n in range(4)), came(4, "a", ["one", "two", "three"]))
    assert len(it.weights()) == 4
    it.feed(came(5, "a", [f"new {n}" for n in range(6)]))
    assert len(it.weights()) == 4
    assert item_dimension("often") in it.weights()


def test_a_change_of_the_settings_leaves_what_was_learnt_as_it_was(it: Learning) -> None:
    it.feed(came(0, "a", ["b"]))
    it.restart(set_to(smoothing=50, popularity_damping=1))
    it.feed(came(1, "a", ["c"]))
    same(it.row("a"), learnt([came(0, "a", ["b"]), came(1, "a", ["c"])], "a"))


def test_someone_without_a_past_teaches_only_that_the_item_came(it: Learning) -> None:
    it.feed(came(0, "a"))
    assert it.row("a").count == 1
    assert "affinity" not in it.point("a").vectors


def test_an_idle_row_keeps_its_shape_and_fades_when_it_is_written(it: Learning) -> None:
    it.feed(came(0, "a", ["b"], at=NOW - 90 * DAY), came(1, "b", ["a"]))
    first = float(algebra.positional_weights(1)[0])
    assert it.weights("a") == pytest.approx({item_dimension("b"): first})
    it.feed(came(2, "a", ["c"]))
    assert it.weights("a") == pytest.approx({item_dimension("b"): first / 2, item_dimension("c"): first})


# -- one point, two writers --------------------------------------------------------------------------------------------


def test_an_item_that_is_put_again_keeps_its_row(it: Learning) -> None:
    embedder = Embedder(it.store, TinyEncoder(), Profiling().producer, Metrics())
    it.feed(came(0, "a", ["b"]))
    for offset, title in enumerate(("a", "another title", "another title")):
        feed(embedder, record("content", "a", {"item_id": "a", "title": title}, offset))
    it.feed(came(1, "a", ["c"]))
    same(it.row("a"), learnt([came(0, "a", ["b"]), came(1, "a", ["c"])], "a"))
    assert it.point("a").payload["meta"]["title"] == "another title"
    assert set(it.point("b").payload) == {"item_id", "space", "meta"}, "nobody else's are touched"


def test_items_that_go_while_they_learn_are_dropped_and_the_rest_learn(
    it: Learning, monkeypatch: pytest.MonkeyPatch
) -> None:
    items = it.store.count(ITEMS)
    for call in ("update_vectors", "set_payload"):
        write = getattr(it.store, call)

        def gone_meanwhile(collection: str, values: Any, gone: str = call, write: Any = write) -> None:
            it.store.delete(ITEMS, [item_point_id("b" if gone == "update_vectors" else "c")])
            write(collection, values)

        monkeypatch.setattr(it.store, call, gone_meanwhile)
    batch = [came(0, "gone", ["a"]), came(1, "b", ["a"]), came(2, "c", ["a"]), came(3, "a", ["b"])]
    it.feed(*batch)
    same(it.row("a"), learnt(batch, "a"))
    assert it.store.count(ITEMS) == items - 2, "none is brought back"
    it.feed(came(4, "a", ["c"]), came(5, "b", ["a"]))
    assert it.row("a").count == 2


def test_an_item_that_is_made_again_starts_anew(it: Learning) -> None:
    it.feed(came(0, "a", ["b"]))
    it.store.delete(ITEMS, [item_point_id("a")])
    it.add_items("a")
    it.feed(came(1, "a", ["c"]))
    same(it.row("a"), learnt([came(1, "a", ["c"])], "a"))


def test_an_item_that_is_made_again_between_two_attempts_starts_anew(it: Learning) -> None:
    assert isinstance(it.store, FakeStore)
    it.feed(came(0, "a", ["b"]))
    with it.store.failing("set_payload"):
        it.feed(came(1, "a", ["c"]))
    it.store.delete(ITEMS, [item_point_id("a")])
    it.add_items("a")
    it.feed(came(1, "a", ["c"]))
    same(it.row("a"), learnt([came(1, "a", ["c"])], "a"))


# -- the other way round -----------------------------------------------------------------------------------------------


def both_ways() -> Profiling:
    """A profiler that has seen a, b, c and d, with the two newest recents learning what follows them."""
    people = Profiling()
    people.add_items("a", "b", "c", "d")
    people.profiler = Profiler(
        people.store,
        people.producer,
        people.dead_letters,
        people.events,
        people.settings,
        1,
        Metrics(),
        clock=people.clock,
        monotonic=people.clock,
        backward_window=2,
    )
    people.profiler.assigned({TopicPartition("interactions", 0): 1})
    people.feed(*(click(n, item, at=NOW + n) for n, item in enumerate("abcd")))
    return people


def test_a_profiler_tells_the_newest_recents_what_followed_them() -> None:
    people = both_ways()
    sent, told = people.producer.to("activity"), people.producer.values("activity")
    reverse = [(one["item_id"], one["recents"], one["position"]) for one in told if "position" in one]
    assert reverse == [("a", ["b"], 0), ("b", ["c"], 0), ("a", ["c"], 1), ("c", ["d"], 0), ("b", ["d"], 1)]
    assert [one.key for one in sent] == [value["item_id"].encode() for value in told]
    assert len({value["source"] for value in told}) == len(told) == 9


def test_no_profiler_tells_anything_the_other_way_round_unless_it_is_asked_to() -> None:
    people = Profiling()
    people.add_items("a", "b")
    people.feed(click(0, "a"), click(1, "b"))
    assert all("position" not in told for told in people.producer.values("activity"))


def test_what_followed_an_item_is_learnt_once_and_makes_no_trend() -> None:
    people = both_ways()
    it = Learning(people.store)
    records = [redelivered(one, offset) for offset, one in enumerate(people.producer.to("activity"))]
    it.feed(*records)
    it.feed(*records)
    it.feed(*(replace(one, offset=one.offset + 100) for one in records))  # a profiler that crashed tells it again
    weights = 0.8 * algebra.positional_weights(2)
    assert it.weights("a") == pytest.approx({item_dimension("b"): weights[0], item_dimension("c"): weights[1]})
    assert it.row("a").count == pytest.approx(1)
    assert it.trend("a")["count"] == 1
    assert it.row("c").count == pytest.approx(1)
    assert it.weights("c")[item_dimension("d")] == pytest.approx(weights[0])


def test_an_item_that_only_others_followed_has_a_row_and_no_trend(it: Learning) -> None:
    it.feed(came(0, "a", ["b"], position=0))
    assert it.trend("a") == {}
    assert it.row("a").count == 0
    assert it.next_after("b") == ["a"]
