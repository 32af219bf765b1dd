"""Rows: what people chose before an item finds it, each event counts once, and nothing else is touched."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from tests.services.learning import Learning, came, learnt, same, set_to
from tests.services.profiling import Profiling, click
from tests.support.fakes import NOW, FakeProducer, FakeStore, TinyEncoder, feed, record, redelivered

from eddyline.adapters.kafka import Record, TopicPartition
from eddyline.adapters.telemetry import Metrics
from eddyline.adapters.vectors import ITEMS, ROWS, VectorStore
from eddyline.adapters.vectors.schema import LISTING_INDEXES
from eddyline.embedder.handler import Embedder
from eddyline.errors import Fenced
from eddyline.model import affinity as algebra
from eddyline.model.events import Listing, pack_dimensions
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
    it.restart()
    batch = [came(1, "a", ["b", "c"]), came(2, "b", ["c"])]
    for down in ("retrieve", "upsert", "upsert", "upsert"):
        with it.store.failing(down):
            it.feed(*batch)
    it.feed(*batch)
    same(it.row("a"), learnt([came(0, "a", ["b"]), *batch], "a"))
    same(it.row("b"), learnt(batch, "b"))
    assert it.trend("a")["count"] == 2


@pytest.mark.parametrize("lost", ["the process", "the partition's ownership"])
@pytest.mark.parametrize("written", [True, False])
def test_a_crash_around_a_write_repeats_nothing(it: Learning, written: bool, lost: str) -> None:
    """A row, its trends and its watermark are one point: it is there whole, or not at all."""
    assert isinstance(it.store, FakeStore)
    earlier = [came(n, "a", ["b", "c"], at=NOW - DAY) for n in range(3)]
    batch = [came(3, "a", ["c"]), came(4, "a", ["c", "b"]), came(5, "b", ["c"])]
    it.feed(*earlier)
    if written:
        it.feed(*batch)
    else:
        with it.store.failing("upsert"):
            it.feed(*batch)
    if lost == "the process":
        it.restart()
    else:
        it.affinity.revoked([TopicPartition("activity", 0)])
        it.affinity.assigned({TopicPartition("activity", 0): 2})
    it.feed(*batch)
    same(it.row("a"), learnt([*earlier, *batch], "a"))
    same(it.row("b"), learnt(batch, "b"))
    assert it.trend("a")["count"] == 5


def test_a_zombies_late_write_changes_nothing(it: Learning) -> None:
    """One that stalled wakes when its successor has gone on: its epoch is lower, so its rows stay unwritten."""
    zombie = it.affinity
    feed(zombie, came(0, "a", ["b"]))
    it.restart(epoch=2)
    it.feed(came(1, "a", ["c"]), came(2, "a", ["x"]))
    feed(zombie, came(1, "a", ["c"]))
    same(it.row("a"), learnt([came(0, "a", ["b"]), came(1, "a", ["c"]), came(2, "a", ["x"])], "a"))


def test_who_finds_rows_of_a_higher_epoch_is_fenced(it: Learning) -> None:
    it.restart(epoch=5)
    it.feed(came(0, "a", ["b"]))
    it.restart(epoch=4)
    with pytest.raises(Fenced, match="row of item 'a'") as fenced:
        it.feed(came(1, "a", ["c"]))
    assert fenced.value.epoch == 5


def test_a_batch_is_one_look_up_and_one_upsert_and_what_is_cached_needs_no_look_up(
    it: Learning, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    for name in ("retrieve", "query", "scroll", "upsert", "set_payload", "update_vectors"):
        call = getattr(it.store, name)

        def noted(*given: Any, name: str = name, call: Any = call, **rest: Any) -> Any:
            calls.append(name)
            return call(*given, **rest)

        monkeypatch.setattr(it.store, name, noted)
    it.feed(came(0, "a", ["b"]), came(1, "b", ["a"]), came(2, "c", ["a"]))
    assert calls == ["retrieve", "upsert"]
    it.feed(came(3, "a", ["c"]), came(4, "b", ["c"]))
    assert calls == ["retrieve", "upsert", "upsert"]


def test_a_recreated_log_starts_anew(it: Learning) -> None:
    it.feed(came(500, "a", ["b"], source="old:0:1"))
    it.feed(came(0, "a", ["b"], log="log-2", source="new:0:1"))
    assert it.row("a").count == it.trend("a")["count"] == 2


# -- what is stored ----------------------------------------------------------------------------------------------------


def test_a_row_is_cut_when_it_has_grown() -> None:
    it = Learning(settings=set_to(pruned_row_entries=4, max_row_entries=5))
    it.add_items("a")
    it.feed(*(came(n, "a", ["often"]) for n in range(4)), came(4, "a", ["one", "two", "three"]))
    assert len(it.row().indices) == 4
    it.feed(came(5, "a", [f"new {n}" for n in range(6)]))
    assert len(it.row().indices) == 4
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


# -- what lists filter by ----------------------------------------------------------------------------------------------


class Shop:
    """An embedder, and an affinity service that reads what it says."""

    def __init__(self) -> None:
        self.store = FakeStore()
        self.producer = FakeProducer()
        self.embedder = Embedder(self.store, TinyEncoder(), self.producer, Metrics())
        self.it = Learning(self.store)
        self.offset = 0
        self._told = 0

    def put(self, topic: str, key: str, value: object) -> None:
        feed(self.embedder, record(topic, key, value, self.offset))
        self.offset += 1
        self.tell()

    def tell(self) -> None:
        sent = self.producer.to("activity")[self._told :]
        self._told += len(sent)
        self.it.feed(*(redelivered(one, self.offset * 10 + n) for n, one in enumerate(sent)))
        self.offset += 1

    def learn(self, *recents: str) -> None:
        self.it.feed(came(self.offset * 10, "a", recents))
        self.offset += 1

    def payload(self) -> dict[str, Any]:
        return dict(self.it.point("a").payload)


def test_a_row_says_what_its_item_is_filtered_by_and_keeps_what_it_learnt() -> None:
    shop = Shop()
    item = {"item_id": "a", "title": "A", "category": "war", "tags": ["x"], "price": 3.5, "expires_at": NOW + 50}
    shop.put("content", "a", item)
    shop.learn("b")
    shop.put("content", "a", {**item, "category": "love", "language": "en", "attributes": {"brand": "z"}})
    stored = shop.store.retrieve(ITEMS, [item_point_id("a")])[item_point_id("a")].payload
    for path in LISTING_INDEXES:
        assert at_path(shop.payload(), path) == at_path(stored, path), path
    assert shop.payload()["meta"]["attributes"] == {"brand": "z"}
    assert "title" not in shop.payload()["meta"]
    assert shop.it.row("a").count == 1


def test_stock_and_price_reach_the_row_and_the_newest_word_counts() -> None:
    shop = Shop()
    shop.put("content", "a", {"item_id": "a", "title": "A", "price": 3, "timestamp": NOW - 3})
    assert shop.payload()["servable"] is True
    shop.put("availability", "a", {"item_id": "a", "available": False, "price": 2, "timestamp": NOW - 1})
    assert (shop.payload()["servable"], shop.payload()["offer"]["price"]) == (False, 2)
    late = Listing(item_id="a", offer={"available": True, "price": 9, "at": NOW - 2})
    shop.it.feed(record("activity", "a", late.to_bytes(), 1000))
    assert (shop.payload()["servable"], shop.payload()["offer"]["price"]) == (False, 2)


def test_an_older_state_of_a_late_embedder_is_passed_over() -> None:
    shop = Shop()
    for category in ("war", "love"):
        shop.put("content", "a", {"item_id": "a", "title": "A", "category": category})
    first = shop.producer.to("activity")[0]
    shop.it.feed(redelivered(first, 1000))
    assert shop.payload()["meta"]["category"] == "love"


def test_a_deleted_items_row_goes_with_it_and_one_made_again_starts_anew() -> None:
    shop = Shop()
    shop.put("content", "a", {"item_id": "a", "title": "A"})
    shop.learn("b")
    shop.put("content", "a", None)
    assert not shop.store.retrieve(ROWS, [item_point_id("a")])
    shop.learn("c")
    assert not shop.store.retrieve(ROWS, [item_point_id("a")]), "a late click makes no row"
    shop.put("content", "a", {"item_id": "a", "title": "A"})
    shop.learn("x")
    assert shop.it.weights("a").keys() == {item_dimension("x")}


def test_price_and_stock_that_come_before_their_item_make_no_row() -> None:
    shop = Shop()
    shop.put("availability", "a", {"item_id": "a", "available": False, "price": 2})
    assert not shop.producer.to("activity")
    shop.put("content", "a", {"item_id": "a", "title": "A", "timestamp": NOW - 100})
    assert shop.payload()["servable"] is False


def test_listings_and_clicks_of_one_batch_are_applied_in_their_order() -> None:
    it = Learning()
    listing = Listing(item_id="a", fields={"meta": {"category": "war"}})
    gone = Listing(item_id="a", gone=True)
    it.feed(
        came(0, "a", ["lost"]),
        record("activity", "a", listing.to_bytes(), 1),
        came(2, "a", ["forgotten"]),
        record("activity", "a", gone.to_bytes(), 3),
        record("activity", "a", listing.to_bytes(), 4),
        came(5, "a", ["kept"]),
    )
    assert it.weights("a").keys() == {item_dimension("kept")}


def at_path(payload: Any, path: str) -> Any:
    for part in path.split("."):
        payload = (payload or {}).get(part)
    return payload


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
    expected = [("a", "b", 0), ("b", "c", 0), ("a", "c", 1), ("c", "d", 0), ("b", "d", 1)]
    assert reverse == [(item, pack_dimensions(follower), position) for item, follower, position in expected]
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
    it.add_items("a", "b", "c", "d")
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
