"""The reader's cache of the catalogue: how old it may be, what never appears, and how large it grows."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import numpy as np
import pytest
from tests.services.reading import DAY, SETTINGS, Shop, ids, stocked
from tests.support.fakes import NOW, Clock

from eddyline.adapters.telemetry import Metrics
from eddyline.adapters.vectors import ITEMS, ROWS, Filter, Match, Point
from eddyline.errors import Unavailable
from eddyline.model.filters import only_items, servable_items
from eddyline.model.ids import item_point_id
from eddyline.reader import catalogue_cache
from eddyline.reader.catalogue_cache import RANKED_AGE, SHOWN_AGE, CatalogueCache, any_item, passing
from eddyline.reader.schemas import RecommendationRequest
from eddyline.reader.side_by_side import SideBySide
from eddyline.settings import RankingSettings, ReaderSettings

SIMILAR = "/v1/items/space0/similar"
LISTS: list[tuple[str, dict[str, str]]] = [
    ("/v1/users/ada/recommendations", {}),
    ("/v1/users/nobody/recommendations", {}),
    *((SIMILAR, {"relation": relation}) for relation in ("substitute", "complement", "any")),
    ("/v1/latest", {}),
    ("/v1/trending", {}),
]


@pytest.fixture
def shop() -> Iterator[Shop]:
    """Many went from space0 to space1, kitchen1 and space9."""
    with stocked(SETTINGS.model_copy(update={"reader": ReaderSettings(duplicate_similarity=0.9999)})).open() as shop:
        for n in range(3):
            for position, item in enumerate(["space0", "space1", "kitchen1", "space9"]):
                shop.did(f"u{n}", item, ago=100.0 - position)
        shop.did("ada", "space0")
        yield shop


def shown(shop: Shop) -> dict[str, set[str]]:
    """The items of every list."""
    answers = {f"{path} {kind}": shop.get(path, limit=40, **kind).json() for path, kind in LISTS}
    assert not any(answer["degraded"] for answer in answers.values())
    return {name: set(ids(answer)) for name, answer in answers.items()}


# -- what never appears ------------------------------------------------------------------------------------------------


def sold_out(shop: Shop) -> None:
    shop.offer("space1", available=False)


def deleted(shop: Shop) -> None:
    shop.delete("space1")


def deleted_while_rows_lag(shop: Shop) -> None:
    """As while affinity is down."""
    shop.store.delete(ITEMS, [item_point_id("space1")])


def sold_out_while_rows_lag(shop: Shop) -> None:
    shop.store.set_payload(ITEMS, {item_point_id("space1"): {"servable": False}})


def expired(shop: Shop) -> None:
    shop.clock.forward(60.0)


@pytest.mark.parametrize("leave", [sold_out, deleted, deleted_while_rows_lag, sold_out_while_rows_lag, expired])
def test_what_cannot_be_had_any_more_is_gone_within_two_seconds(shop: Shop, leave: Callable[[Shop], None]) -> None:
    if leave is expired:
        shop.put({"item_id": "space1", "title": "alien starship galaxy orbit 1", "expires_at": NOW + 60.0})
        shop.monotonic.forward(RANKED_AGE)
    for path, items in shown(shop).items():
        assert "space1" in items, path
    leave(shop)
    shop.monotonic.forward(SHOWN_AGE)
    for path, items in shown(shop).items():
        assert "space1" not in items, path
        assert len(items) >= 1


def test_what_has_expired_is_gone_at_once(shop: Shop) -> None:
    shop.put({"item_id": "space1", "title": "alien starship galaxy orbit 1", "expires_at": NOW + 60.0})
    shop.monotonic.forward(RANKED_AGE)
    shown(shop)
    shop.clock.forward(60.0)
    for path, items in shown(shop).items():
        assert "space1" not in items, path


def test_a_list_is_full_though_some_of_what_was_found_is_gone(shop: Shop) -> None:
    before = ids(shop.get("/v1/users/ada/recommendations", strategy="content").json())
    shop.store.set_payload(ITEMS, {item_point_id(item): {"servable": False} for item in before[:5]})
    shop.monotonic.forward(SHOWN_AGE)
    after = ids(shop.get("/v1/users/ada/recommendations", strategy="content").json())
    assert len(after) == 10
    assert not set(before[:5]) & set(after)


def test_a_list_goes_deeper_where_much_of_it_is_gone(shop: Shop) -> None:
    for item in [f"space{n}" for n in range(2, 19)]:
        for user in ("u5", "u6"):
            shop.did(user, item)
        shop.store.delete(ITEMS, [item_point_id(item)])
    shop.did("u5", "kitchen15")
    assert ids(shop.get("/v1/trending", limit=5).json())[-1] == "kitchen15"


def test_what_is_new_or_back_is_there_at_once(shop: Shop) -> None:
    shown(shop)
    shop.offer("kitchen7", available=False)
    assert "kitchen7" not in ids(shop.get("/v1/items/kitchen1/similar", limit=40).json())
    shop.offer("kitchen7", available=True)
    shop.put({"item_id": "newest", "title": "bread butter oven recipe", "category": "kitchen"})
    shop.monotonic.forward(SETTINGS.reader.list_cache_seconds)
    for path in ("/v1/items/kitchen1/similar", "/v1/latest", "/v1/users/nobody/recommendations"):
        assert {"kitchen7", "newest"} <= set(ids(shop.get(path, limit=100).json())), path


def test_a_change_of_what_is_filtered_by_counts_at_once(shop: Shop) -> None:
    shown(shop)
    shop.put({"item_id": "space5", "title": "alien starship galaxy orbit 5", "category": "moved"})
    for path in ("/v1/items/space0/similar", "/v1/latest", "/v1/users/ada/recommendations"):
        assert ids(shop.get(path, category="moved").json()) == ["space5"], path
        assert "space5" not in ids(shop.get(path, category="space", limit=40).json()), path


def test_a_title_is_a_second_old_at_most(shop: Shop) -> None:
    shop.recommend("ada", limit=40)
    shop.put({"item_id": "space5", "title": "alien starship renamed", "category": "space"})
    shop.monotonic.forward(SHOWN_AGE)
    titles = {item["item_id"]: item["title"] for item in shop.recommend("ada", limit=40)["items"]}
    assert titles["space5"] == "alien starship renamed"


def test_what_is_popular_now_is_ranked_as_such_at_once(shop: Shop) -> None:
    """Though what is known of the item is older."""

    def popularity() -> dict[str, float]:
        items = shop.recommend("nobody", explain=True, limit=40)["items"]
        return {item["item_id"]: item["scores"]["popularity"] for item in items}

    assert popularity()["kitchen15"] == 0.0
    for n in range(20):
        shop.did(f"v{n}", "kitchen15")
    shop.monotonic.forward(SETTINGS.reader.list_cache_seconds)
    assert popularity()["kitchen15"] == max(popularity().values()) > 0.0


# -- filters -----------------------------------------------------------------------------------------------------------


def test_a_filter_that_ten_of_many_pass_holds() -> None:
    shop = Shop()
    shop.put(
        *(
            {
                "item_id": f"i{n}",
                "title": f"word{n % 7} word{n}",
                "category": "rare" if n % 40 == 0 else "usual",
                "published_at": NOW - n * DAY,
            }
            for n in range(400)
        )
    )
    rare = {f"i{n}" for n in range(0, 400, 40)}
    for n in range(300):
        shop.did(f"u{n % 40}", f"i{n}", ago=400.0 - n)
    for n in (1, 2, 3):
        shop.did("ada", f"i{n}", "like", ago=10.0 * n)
    with shop.open():
        for person in ({"user_id": "ada"}, {}):
            for strategy in ("eddyline", "content", "affinity", "trending"):
                answer = shop.asked(**person, strategy=strategy, filter={"category": "rare"}, limit=20)
                assert set(ids(answer)) == rare
        for path in ("/v1/items/i5/similar", "/v1/latest"):
            assert set(ids(shop.get(path, category="rare", limit=20).json())) == rare


@pytest.mark.parametrize("strategy", ["eddyline", "content", "affinity", "trending"])
def test_a_filter_on_popularity_holds_in_searches_of_items_too(shop: Shop, strategy: str) -> None:
    def listed(**bounds: float) -> set[str]:
        asked = {"strategy": strategy, "limit": 40, "hide": [], "filter": {"popularity": bounds}}
        answers = [set(ids(shop.asked(user_id=user, **asked))) for user in ("ada", "nobody")]
        assert answers[0] == answers[1]
        return answers[0]

    chosen = {"space0", "space1", "space9", "kitchen1"}
    assert listed(gte=2.5) == chosen
    assert listed(gt=0) == chosen
    assert listed(gte=3.5) == {"space0"}, "ada's is the fourth"
    assert listed(gte=2.5, lt=3.5) == chosen - {"space0"}
    assert len(listed(lt=2.5)) == 36
    assert not listed(lt=2.5) & chosen
    assert len(listed(lte=0)) == 36
    assert listed(lt=0) == set()
    shop.did("eve", "space1")
    shop.monotonic.forward(RANKED_AGE)
    assert listed(gte=3.5) == {"space0", "space1"}


def test_a_filter_on_popularity_holds_though_more_items_pass_than_are_named(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("eddyline.reader.popularity_filter.MAX_IDS", 2)
    chosen = {"space0", "space1", "space9", "kitchen1"}
    for strategy in ("eddyline", "content"):
        for user in ("ada", "nobody"):
            asked: dict[str, Any] = {"user_id": user, "strategy": strategy, "limit": 40, "hide": []}
            assert {"space0"} < set(ids(shop.asked(**asked, filter={"popularity": {"gte": 2.5}}))) <= chosen
            assert not chosen & set(ids(shop.asked(**asked, filter={"popularity": {"lt": 2.5}})))


def test_a_filter_on_popularity_holds_for_every_promotion_candidate_and_boost(shop: Shop) -> None:
    pool = ["space1", "space5", "kitchen1", "kitchen5"]
    assert set(ids(shop.asked(candidates=pool, filter={"popularity": {"gte": 2}}))) == {"space1", "kitchen1"}
    assert set(ids(shop.asked(candidates=pool, filter={"popularity": {"lt": 2}}))) == {"space5", "kitchen5"}
    boost = [{"filter": {"popularity": {"lt": 2}}, "factor": 0.0}]
    assert ids(shop.asked(candidates=pool, boost=boost, explore=0))[:2] in (
        ["space1", "kitchen1"],
        ["kitchen1", "space1"],
    )


def test_what_is_hidden_beyond_what_is_filtered_out_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    """And searched for as much deeper."""
    lists = []
    for most in (500, 3):
        monkeypatch.setattr("eddyline.reader.recommend.MAX_FILTERED", most)
        with stocked(SETTINGS.model_copy(update={"ranking": RankingSettings(candidates=10)})).open() as shop:
            for n in range(15):
                shop.did("ada", f"space{n}", ago=100.0 - n)
            lists.append(ids(shop.recommend("ada", limit=10, strict=True, strategy="content")))
    assert {f"space{n}" for n in range(15, 20)} < set(lists[0])
    assert set(lists[0]) == set(lists[1])


FEW = SETTINGS.model_copy(update={"ranking": RankingSettings(candidates=10)})


def test_a_list_longer_than_the_candidates_is_filled() -> None:
    with stocked(FEW).open() as shop:
        assert len(shop.asked(limit=35)["items"]) == 35


def test_a_list_that_a_category_may_not_fill_is_searched_for_deeper(monkeypatch: pytest.MonkeyPatch) -> None:
    shop = stocked(FEW)
    shop.put(*({"item_id": f"new{n}", "title": f"orbit {n}", "category": "space"} for n in range(12)))
    shop.did("ada", "new0")
    with shop.open():
        listed = shop.recommend("ada", limit=4, per_category=2, explore=0)["items"]
        assert sorted(item["category"] for item in listed) == ["kitchen", "kitchen", "space", "space"]
        searched = Searches(shop, monkeypatch)
        shop.recommend("ada", limit=40, strict=True, category="kitchen")
        assert searched.count == 2, "of what passes, all was found: no deeper search"


class Searches:
    """Counts the batches of queries that the shop's store is sent."""

    def __init__(self, shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count, query = 0, shop.store.query

        def counted(*arguments: Any) -> Any:
            self.count += 1
            return query(*arguments)

        monkeypatch.setattr(shop.store, "query", counted)


# -- the cache itself --------------------------------------------------------------------------------------------------


class Catalogue:
    """A cache, and what it asks of the store."""

    def __init__(self) -> None:
        self.shop = stocked()
        self.clock, self.metrics = Clock(0.0), Metrics()
        self.cache = CatalogueCache(self.shop.store, self.metrics, self.clock, SideBySide())
        self.asked: list[tuple[str, int, tuple[str, ...]]] = []
        retrieve = self.shop.store.retrieve

        def retrieving(collection: str, ids: Sequence[str], **more: Any) -> dict[str, Point]:
            self.asked.append((collection, len(ids), more.get("vectors", ())))
            return retrieve(collection, ids, **more)

        self.shop.store.retrieve = retrieving  # type: ignore[method-assign]

    def find(self, *names: str, **more: Any) -> dict[str, Any]:
        """The items' payloads, by their names; and nothing asked so far."""
        self.asked.clear()
        found = self.cache.find(map(item_point_id, names), more.pop("passes", any_item), **more)
        return {item.item_id: item for item in found.values()}

    def counted(self, source: str) -> float:
        return self.metrics.registry.get_sample_value("eddyline_reader_catalogue_items_total", {"source": source}) or 0


@pytest.fixture
def it() -> Catalogue:
    return Catalogue()


def test_items_are_read_once_and_again_when_they_are_old(it: Catalogue) -> None:
    found = it.find("space1", "space2", "no such")
    assert found.keys() == {"space1", "space2"}
    assert found["space1"].payload["meta"]["title"] == "alien starship galaxy orbit 1"
    assert sorted(it.asked) == [(ITEMS, 3, ()), (ROWS, 3, ())]
    assert it.find("space1", "space2").keys() == {"space1", "space2"}
    assert it.asked == []
    assert it.find("space1", "kitchen1").keys() == {"space1", "kitchen1"}
    assert sorted(it.asked) == [(ITEMS, 1, ()), (ROWS, 1, ())]
    it.clock.forward(SHOWN_AGE)
    it.find("space1", max_age=RANKED_AGE)
    assert it.asked == []
    it.find("space1")
    assert sorted(it.asked) == [(ITEMS, 1, ()), (ROWS, 1, ())]
    assert (it.counted("cache"), it.counted("store")) == (4, 5)


def test_what_does_not_pass_is_read_again_since_the_search_knows_better(it: Catalogue) -> None:
    in_space = passing(Filter(must=(Match("meta.category", ("space",)),)), NOW)
    assert it.find("space1", "kitchen1", passes=in_space).keys() == {"space1"}
    it.find("space1", "kitchen1", passes=in_space)
    assert sorted(it.asked) == [(ITEMS, 1, ()), (ROWS, 1, ())]


def test_vectors_are_read_where_they_are_asked_for_and_once_per_text(it: Catalogue) -> None:
    it.find("space1")
    found = it.find("space1", "space2", vectors=("content",))
    assert sorted(it.asked) == [(ITEMS, 2, ("content",)), (ROWS, 2, ())]
    assert found["space2"].vectors["content"].shape == (16,)
    it.clock.forward(RANKED_AGE)
    again = it.find("space1", "space2", vectors=("content",))
    assert sorted(it.asked) == [(ITEMS, 2, ()), (ROWS, 2, ())], "the text is the same"
    assert again["space1"].vectors["content"] is found["space1"].vectors["content"]
    it.shop.put({"item_id": "space1", "title": "something else"})
    it.clock.forward(RANKED_AGE)
    changed = it.find("space1", "space2", vectors=("content",))
    assert sorted(it.asked) == [(ITEMS, 1, ("content",)), (ITEMS, 2, ()), (ROWS, 2, ())]
    assert not np.array_equal(changed["space1"].vectors["content"], found["space1"].vectors["content"])


def test_the_cache_is_bounded_in_bytes(it: Catalogue, monkeypatch: pytest.MonkeyPatch) -> None:
    (one,) = it.find("space1", vectors=("content",)).values()
    assert one.size > 1_000 + one.vectors["content"].nbytes
    monkeypatch.setattr(catalogue_cache, "MAX_BYTES", 5 * one.size)
    names = [f"space{n}" for n in range(20)]
    assert it.find(*names).keys() == set(names), "whatever is asked for is answered"
    it.find("space19")
    assert it.asked == [], "the last ones are kept"
    it.find("space0")
    assert it.asked != [], "and the first ones aren't"


def test_rows_trends_are_an_items(it: Catalogue) -> None:
    for user in ("u1", "u2"):
        it.shop.did(user, "space1")
    found = it.find("space1", "space2")
    assert found["space1"].payload["trend"]["count"] == 2
    assert "trend" not in found["space2"].payload


def test_a_pool_is_known_by_points(it: Catalogue) -> None:
    only = passing(only_items(["space1"]) & servable_items(NOW), NOW)
    assert it.find("space1", "space2", passes=only).keys() == {"space1"}


def test_many_threads_use_it_at_a_time(it: Catalogue, monkeypatch: pytest.MonkeyPatch) -> None:
    (one,) = it.find("space1").values()
    monkeypatch.setattr(catalogue_cache, "MAX_BYTES", 8 * one.size)
    names = [*(f"space{n}" for n in range(20)), *(f"kitchen{n}" for n in range(20))]
    with ThreadPoolExecutor(8) as threads:
        asked = [names[n % 40 : n % 40 + 5] for n in range(200)]
        found = list(threads.map(lambda some: it.cache.find(map(item_point_id, some), any_item), asked))
    assert [{item.item_id for item in each.values()} for each in found] == [set(some) for some in asked]
    assert it.cache._bytes == sum(item.size for item in it.cache._items.values()) <= 8 * one.size


# -- two calls at a time -----------------------------------------------------------------------------------------------


def test_two_calls_run_at_the_same_time_and_either_may_fail() -> None:
    both, met = SideBySide(), Barrier(2, timeout=10.0)
    assert sorted(both.run(met.wait, met.wait)) == [0, 1], "each waits for the other"
    for one, other in ((down, list), (list, down)):
        with pytest.raises(Unavailable):
            both.run(one, other)
    both.close()


def down() -> None:
    raise Unavailable("down")


def test_a_closed_reader_leaves_no_thread() -> None:
    shop = stocked()
    before = {thread for thread in threading.enumerate() if thread.name.startswith("side-by-side")}
    shop.reader.recommend(RecommendationRequest())
    shop.reader.close()
    assert {thread for thread in threading.enumerate() if thread.name.startswith("side-by-side")} <= before
