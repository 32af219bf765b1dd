"""The reader under rules and promotions: what an operator says of a situation is what people get."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from typing import Any

import pytest
from tests.services.reading import DAY, Shop, ids, share, stocked
from tests.support.fakes import NOW

from eddyline.model.events import format_timestamp
from eddyline.settings import Settings

STEERED = f"""
[attributes]
brand = "keyword"
year = "integer"

[segments]
cooks = {{ cooks = {{ gte = 3 }} }}

[[rules]]
name = "kitchens on the tablet"
when.device = "tablet"
boost = {{ filter = {{ category = "kitchen" }}, factor = 1000 }}

[[rules]]
name = "no kitchens for cooks"
when.segment = ["cooks", "chefs"]
boost = {{ filter = {{ category = "kitchen" }}, factor = 0 }}

[[rules]]
name = "the newsletter"
when.surface = "newsletter"
strategy = "content"

[[promotions]]
name = "old hits"
filter = {{ year = {{ lte = 1983 }} }}
share = 0.2
starts = {format_timestamp(NOW - DAY)}
ends = {format_timestamp(NOW + DAY)}
when.device = "tv"

[[promotions]]
name = "our pick"
filter = {{ item_id = "kitchen7" }}
positions = [3]
surface = "home"
"""


@pytest.fixture
def shop() -> Iterator[Shop]:
    shop = stocked(Settings(**tomllib.loads(STEERED)))
    for n in range(10, 13):
        shop.did("ada", f"space{n}", "like", ago=60.0 - n)
    with shop.open():
        yield shop


def promoted(answer: dict[str, Any]) -> dict[int, tuple[str, str]]:
    """By rank: the item, and the promotion that put it there."""
    return {item["rank"]: (item["item_id"], item["promotion"]) for item in answer["items"] if item.get("promotion")}


def test_without_a_situation_nothing_is_steered(shop: Shop) -> None:
    answer = shop.recommend("ada")
    assert share(answer, "space") >= 0.9
    assert (promoted(answer), answer["strategy"]) == ({}, "learned")


def test_a_rule_boosts_items_on_a_device(shop: Shop) -> None:
    assert share(shop.recommend("ada", device="tablet"), "kitchen") >= 0.9
    assert share(shop.asked(user_id="ada", context={"device": "tablet"}), "kitchen") >= 0.9
    assert share(shop.recommend("ada", device="phone"), "space") >= 0.9


def test_a_boost_never_goes_past_the_filter(shop: Shop) -> None:
    assert share(shop.recommend("ada", device="tablet", category="space"), "space") == 1.0


def test_a_rule_holds_for_a_segment_that_attributes_make(shop: Shop) -> None:
    for name, answers in (
        ("cook", {"interests": ["bread"], "attributes": {"cooks": 3}}),
        ("chef", {"interests": ["bread"], "segment": "chefs"}),
        ("newcomer", {"interests": ["bread"], "attributes": {"cooks": 2}}),
    ):
        shop.user(name, answers)
    assert share(shop.recommend("newcomer"), "kitchen") > 0.5
    assert share(shop.recommend("cook"), "kitchen") < 0.5
    assert share(shop.recommend("chef"), "kitchen") < 0.5


def test_a_rule_chooses_the_strategy_unless_the_request_does(shop: Shop) -> None:
    assert shop.recommend("ada", surface="newsletter")["strategy"] == "content"
    assert shop.recommend("ada", surface="newsletter", strategy="trending")["strategy"] == "trending"


def test_promoted_items_have_every_fifth_place_on_every_page(shop: Shop) -> None:
    one = shop.recommend("ada", device="tv", limit=7)
    two = shop.recommend("ada", device="tv", limit=7, next=one["next"])
    assert {**promoted(one), **promoted(two)}.keys() == {5, 10}
    items = [item for item, _ in (*promoted(one).values(), *promoted(two).values())]
    assert set(items) <= {f"space{n}" for n in range(4)}
    assert len({*ids(one), *ids(two)}) == 14


def test_a_stranger_gets_promoted_items_too(shop: Shop) -> None:
    assert promoted(shop.asked(context={"device": "tv"})).keys() == {5, 10}


def test_a_promotion_ends(shop: Shop) -> None:
    shop.clock.now = NOW + DAY
    assert promoted(shop.recommend("ada", device="tv")) == {}


def test_a_pinned_item_is_at_its_place_where_it_is_pinned(shop: Shop) -> None:
    assert promoted(shop.recommend("ada", surface="home")) == {3: ("kitchen7", "our pick")}
    assert promoted(shop.recommend("ada", surface="cart")) == {}


@pytest.mark.parametrize(
    "said", [{"exclude": ["kitchen7"]}, {"filter": {"category": "space"}}, {"candidates": ["space1"]}]
)
def test_a_promotion_never_goes_past_the_request(shop: Shop, said: dict[str, Any]) -> None:
    answer = shop.asked(user_id="ada", surface="home", **said)
    assert "kitchen7" not in ids(answer)
    assert promoted(answer) == {}


def test_a_promotion_never_shows_what_someone_disliked_or_may_not_see(shop: Shop) -> None:
    shop.did("ada", "kitchen7", "hide")
    assert "kitchen7" not in ids(shop.recommend("ada", surface="home"))
    assert promoted(shop.recommend("eve", surface="home")) == {3: ("kitchen7", "our pick")}
    shop.offer("kitchen7", available=False)
    assert promoted(shop.recommend("eve", surface="home")) == {}
