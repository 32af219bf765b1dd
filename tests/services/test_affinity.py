"""Affinity: every activity counts once, and idle items need no rewrite to be ranked."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support.fakes import NOW, FakeStore, feed, record

from eddyline.adapters.kafka import Record
from eddyline.adapters.vectors import ITEMS, OrderBy, Point, Query
from eddyline.affinity import AffinityLearner
from eddyline.errors import InvalidEvent
from eddyline.model.decay import decayed_count_at
from eddyline.model.ids import item_point_id
from eddyline.model.trends import TREND_HALF_LIVES, trend_tau

DAY = 86_400.0


@pytest.fixture
def store() -> FakeStore:
    store = FakeStore()
    store.upsert(ITEMS, [Point(item_point_id(name), {}, {"item_id": name, "meta": {"title": name}}) for name in "abc"])
    return store


@pytest.fixture
def affinity(store: FakeStore) -> AffinityLearner:
    return AffinityLearner(store)


def came(offset: int, item: str = "a", *, at: float = NOW, log: str = "log-1", source: str = "") -> Record:
    value = {
        "item_id": item,
        "weight": 1.0,
        "timestamp": at,
        "source": source or f"interactions:0:{offset}",
        "recents": ["b"],
    }
    return record("activity", item, value, offset, log=log)


def trend(store: FakeStore, item: str = "a") -> dict[str, Any]:
    return dict(store.retrieve(ITEMS, [item_point_id(item)])[item_point_id(item)].payload["trend"])


def row(store: FakeStore, item: str = "a") -> dict[str, Any]:
    return dict(store.retrieve(ITEMS, [item_point_id(item)])[item_point_id(item)].payload["row"])


def order(store: FakeStore, window: str) -> list[str]:
    found = store.query(ITEMS, [Query(OrderBy(f"trend.{window}"), 10, payload=("item_id",))])[0]
    return [str(point.payload["item_id"]) for point in found]


def test_a_replayed_batch_counts_once(store: FakeStore, affinity: AffinityLearner) -> None:
    batch = [came(0), came(1, "b"), came(2)]
    feed(affinity, *batch)
    before = store.dump()
    feed(affinity, *batch)
    assert store.dump() == before
    feed(affinity, *batch, came(3))
    assert trend(store)["count"] == 3


def test_what_a_crashed_profiler_tells_twice_counts_once(store: FakeStore, affinity: AffinityLearner) -> None:
    feed(affinity, came(0, source="interactions:0:7"))
    feed(affinity, came(1, source="interactions:0:7"), came(2, source="interactions:0:8"))
    assert trend(store)["count"] == 2


def test_what_was_told_two_hundred_records_ago_is_still_known(store: FakeStore, affinity: AffinityLearner) -> None:
    feed(affinity, *(came(n) for n in range(200)))
    feed(affinity, *(came(200 + n, source=f"interactions:0:{n}") for n in range(200)))
    assert trend(store)["count"] == 200


def test_what_is_remembered_of_an_item_is_bounded(store: FakeStore, affinity: AffinityLearner) -> None:
    feed(affinity, *(came(n) for n in range(500)))
    assert trend(store)["count"] == 500
    assert len(row(store)["sources"]) <= 256 * 8
    feed(affinity, *(came(n) for n in range(500)))
    assert trend(store)["count"] == 500, "the watermark remembers what the ring doesn't"


def test_a_recreated_log_starts_anew(store: FakeStore, affinity: AffinityLearner) -> None:
    feed(affinity, came(500, source="old:0:1"))
    feed(affinity, came(0, log="log-2", source="new:0:1"))
    assert trend(store)["count"] == 2


def test_each_window_ranks_by_its_own_memory(store: FakeStore, affinity: AffinityLearner) -> None:
    feed(
        affinity,
        *(came(n, "a", at=NOW - 30 * DAY) for n in range(40)),
        *(came(40 + n, "b", at=NOW - DAY) for n in range(8)),
        came(50, "c", at=NOW),
    )
    assert order(store, "hour") == ["c", "b", "a"]
    assert order(store, "day") == ["b", "c", "a"]
    assert order(store, "quarter") == ["a", "b", "c"]


@pytest.mark.parametrize("window", TREND_HALF_LIVES)
def test_a_count_halves_in_its_half_life_without_being_written(
    store: FakeStore, affinity: AffinityLearner, window: str
) -> None:
    feed(affinity, came(0), came(1), came(2), came(3))
    stored, half_life = trend(store)[window], TREND_HALF_LIVES[window]
    assert decayed_count_at(stored, NOW, trend_tau(window)) == pytest.approx(4.0)
    assert decayed_count_at(stored, NOW + half_life, trend_tau(window)) == pytest.approx(2.0)


def test_items_that_are_gone_are_passed_over(store: FakeStore, affinity: AffinityLearner) -> None:
    feed(affinity, came(0, "gone"), came(1, "a"))
    assert trend(store, "a")["count"] == 1
    assert not store.retrieve(ITEMS, [item_point_id("gone")])


def test_an_untouched_item_has_no_trend(store: FakeStore, affinity: AffinityLearner) -> None:
    feed(affinity, came(0, "a"))
    assert order(store, "quarter") == ["a"]


@pytest.mark.parametrize("wrong", [{"weight": 0}, {"position": -1}, {"position": 10**9}, {"recents": ["b", 3]}])
def test_what_cannot_be_read_is_refused(affinity: AffinityLearner, wrong: dict[str, Any]) -> None:
    value = {"item_id": "a", "weight": 1, "timestamp": NOW, "source": "x", **wrong}
    with pytest.raises(InvalidEvent) as refusal:
        affinity.parse(record("activity", "a", value))
    assert refusal.value.field is not None
    assert refusal.value.field.startswith(next(iter(wrong)))
