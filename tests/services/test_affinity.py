"""Affinity: how many people chose an item, over windows that fade without being rewritten."""

from __future__ import annotations

from typing import Any

import pytest
from tests.services.learning import Learning, came
from tests.support.fakes import NOW, record

from eddyline.adapters.vectors import ROWS, OrderBy, Query
from eddyline.errors import InvalidEvent
from eddyline.model.decay import DAY, decayed_count_at
from eddyline.model.ids import item_point_id
from eddyline.model.trends import TREND_HALF_LIVES, trend_tau


@pytest.fixture
def it() -> Learning:
    learning = Learning()
    learning.add_items("a", "b", "c")
    return learning


def order(it: Learning, window: str) -> list[str]:
    found = it.store.query(ROWS, [Query(OrderBy(f"trend.{window}"), 10, payload=("item_id",))])[0]
    return [str(point.payload["item_id"]) for point in found]


def test_what_was_told_two_hundred_records_ago_is_still_known(it: Learning) -> None:
    it.feed(*(came(n, recents=["b"]) for n in range(200)))
    it.feed(*(came(200 + n, recents=["b"], source=f"interactions:0:{n}") for n in range(200)))
    assert it.trend()["count"] == 200


def test_what_is_remembered_of_an_item_is_bounded(it: Learning) -> None:
    it.feed(*(came(n, recents=["b"]) for n in range(500)))
    assert it.trend()["count"] == 500
    assert len(it.point().payload["row"]["sources"]) <= 256 * 8
    it.feed(*(came(n, recents=["b"]) for n in range(500)))
    assert it.trend()["count"] == 500, "the watermark remembers what the ring doesn't"


def test_each_window_ranks_by_its_own_memory(it: Learning) -> None:
    it.feed(
        *(came(n, "a", at=NOW - 30 * DAY) for n in range(40)),
        *(came(40 + n, "b", at=NOW - DAY) for n in range(8)),
        came(50, "c", at=NOW),
    )
    assert order(it, "hour") == ["c", "b", "a"]
    assert order(it, "day") == ["b", "c", "a"]
    assert order(it, "quarter") == ["a", "b", "c"]


@pytest.mark.parametrize("window", TREND_HALF_LIVES)
def test_a_count_halves_in_its_half_life_without_being_written(it: Learning, window: str) -> None:
    it.feed(came(0), came(1), came(2), came(3))
    stored, half_life = it.trend()[window], TREND_HALF_LIVES[window]
    assert decayed_count_at(stored, NOW, trend_tau(window)) == pytest.approx(4.0)
    assert decayed_count_at(stored, NOW + half_life, trend_tau(window)) == pytest.approx(2.0)


def test_items_that_are_gone_are_passed_over(it: Learning) -> None:
    it.feed(came(0, "gone"), came(1, "a"))
    assert it.trend("a")["count"] == 1
    assert not it.store.retrieve(ROWS, [item_point_id("gone")])


def test_an_untouched_item_has_no_trend(it: Learning) -> None:
    it.feed(came(0, "a"))
    assert order(it, "quarter") == ["a"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"weight": 0},
        {"position": -1},
        {"position": 10**9},
        {"recents": ["b", 3]},
        {"recents": "AAA="},
        {"recents": "é"},
    ],
)
def test_what_cannot_be_read_is_refused(it: Learning, wrong: dict[str, Any]) -> None:
    value = {"item_id": "a", "weight": 1, "timestamp": NOW, "source": "x", **wrong}
    with pytest.raises(InvalidEvent) as refusal:
        it.affinity.parse(record("activity", "a", value))
    assert refusal.value.field is not None
    assert refusal.value.field.startswith(next(iter(wrong)))
