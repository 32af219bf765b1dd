"""Lists by ratings, prices and pictures: what weights change, what that costs, and what is said of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from tests.services.imaging import COLOURS, Imaging
from tests.services.reading import SETTINGS, Shop, ids, stocked
from tests.services.test_recommendations import BATCHES, LOOK_UP, USUAL, Counted, directly

from eddyline.adapters.telemetry import Metrics
from eddyline.adapters.vectors import ITEMS, Nearest
from eddyline.model.experiments.definitions import parse_experiments
from eddyline.model.ids import item_point_id
from eddyline.model.ranking.recent_items import NEUTRAL
from eddyline.reader import Reader, retrieval
from eddyline.reader.catalogue_cache import RANKED_AGE
from eddyline.reader.experiments import ActiveExperiments
from eddyline.reader.schemas import RecommendationRequest
from eddyline.runtime.collection_setup import ensure_image_vectors
from eddyline.settings import (
    STRATEGIES,
    ImageSettings,
    RankingSettings,
    ReaderSettings,
    RuleSettings,
    Settings,
    StrategySettings,
)

WEIGHTED = {
    "rated": StrategySettings(rating=1.0),
    "thrifty": StrategySettings(price=1.0),
    "pretty": StrategySettings(image=1.0),
    "all": StrategySettings(affinity=1.0, session=0.5, rating=0.5, price=0.5, image=0.5, diversity=0.3),
    "fresh": StrategySettings(freshness=1.0, price=0.01, rating=0.01),
}
SPACE = "colours-1"


def shop_with(images: bool = True, **more: Any) -> Settings:
    return SETTINGS.model_copy(
        update={"strategies": {**STRATEGIES, **WEIGHTED}, "images": ImageSettings(enabled=images), **more}
    )


def rated(shop: Shop, *told: tuple[str, dict[str, Any] | None], price: float | None = None) -> None:
    shop.put(*({"item_id": name, "title": f"thing {name}", "price": price, "rating": rating} for name, rating in told))


def shows(shop: Shop, space: str = SPACE, state: str = "ready", **pictures: str) -> None:
    """As an imager leaves it: items and the colours of their pictures."""
    points = {name: item_point_id(name) for name in pictures}
    shop.store.update_vectors(
        ITEMS, {points[name]: {"image": np.array(COLOURS[colour], np.float32)} for name, colour in pictures.items()}
    )
    shop.store.set_payload(ITEMS, {point: {"image": {"state": state, "space": space}} for point in points.values()})


@contextmanager
def opened(settings: Settings, with_pictures: bool = True) -> Iterator[Shop]:
    """A shop in which ada chose two cheap films with a red picture."""
    shop = stocked(settings)
    if with_pictures:
        ensure_image_vectors(shop.store, 3)
        colours = {f"space{n}": ("red", "green", "blue")[n % 3] for n in range(20)}
        shows(shop, **colours)
    for n in (3, 6):
        shop.did("ada", f"space{n}", ago=10.0 - n)
    with shop.open():
        yield shop


@pytest.fixture(scope="module")
def it() -> Iterator[Shop]:
    """For tests that only read."""
    with opened(shop_with()) as shop:
        rated(
            shop,
            ("loved", {"value": 9.6, "count": 12_000, "scale": 10}),
            ("perfect once", {"value": 5, "count": 1}),
            ("hated", {"value": 1.2, "count": 300, "least": 1}),
            ("unrated", None),
        )
        yield shop


def sentences(answer: dict[str, Any]) -> dict[str, str | None]:
    return {item["item_id"]: item["because"] for item in answer["items"]}


def costs(shop: Shop, monkeypatch: pytest.MonkeyPatch, **asked: Any) -> Counter[tuple[str, str]]:
    shop.monotonic.forward(3600.0)  # so that no list is cached
    shop.reader.finder.catalogue.clear()
    with monkeypatch.context() as patch:
        counted = Counted(shop, patch)
        directly(shop, **asked)
    return counted.calls


# -- who doesn't ask ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_ratings_prices_and_pictures_change_nothing_for_who_does_not_ask(strategy: str) -> None:
    """The same list, to the last digit, with all of it and with none."""
    lists = []
    for known in (False, True):
        shop = Shop(shop_with(images=known))
        more = {"price": 9.0, "rating": {"value": 4.9, "count": 500}} if known else {}
        shop.put(*({"item_id": f"i{n}", "title": f"alien bread {n}", **(more if n % 2 else {})} for n in range(12)))
        if known:
            ensure_image_vectors(shop.store, 3)
            shows(shop, i1="red", i2="red", i5="red", i7="blue")
        for user, item in (("ada", "i1"), ("ada", "i2"), ("bob", "i2"), ("bob", "i5")):
            shop.did(user, item)
        with shop.open():
            lists += [shop.recommend(user, strategy=strategy, explain=True)["items"] for user in ("ada", "nobody")]
    assert lists[:2] == lists[2:]
    assert all(lists)


# -- what they change --------------------------------------------------------------------------------------------------


def test_what_many_rated_well_comes_first_and_the_badly_rated_last(it: Shop) -> None:
    pool = ["hated", "unrated", "perfect once", "loved"]
    for who in ({"user_id": "ada"}, {}):
        answer = it.asked(**who, candidates=pool, strategy="rated", explore=0, explain=True)
        assert ids(answer) == ["loved", "perfect once", "unrated", "hated"]
        assert sentences(answer) == {
            "loved": "rated 9.6 of 10 by 12,000 people",
            "perfect once": "rated 5 of 5 by one person",
            "hated": "rated 1.2 of 5 by 300 people",
            "unrated": None,
        }


def test_a_reason_is_never_a_rating_or_a_price_that_is_not_there(it: Shop) -> None:
    answer = it.asked(user_id="ada", candidates=["unrated", "space19", "space4"], strategy="fresh", explain=True)
    assert set(sentences(answer).values()) == {"new", "new in space"}
    answer = it.asked(user_id="ada", candidates=["unrated", "space19", "space4"], strategy="thrifty", explain=True)
    assert sentences(answer) == {"space4": "costs about what you chose lately", "unrated": None, "space19": None}
    answer = it.asked(recent=[{"item_id": "space4"}], candidates=["space12"], strategy="thrifty", explain=True)
    assert answer["items"][0]["scores"]["price"] > NEUTRAL, "little is known, and so much fits"
    assert sentences(answer) == {"space12": None}, "but three times as much isn't about the same"


def test_what_costs_about_the_same_as_what_was_chosen_comes_first(it: Shop) -> None:
    answer = it.asked(user_id="ada", strategy="thrifty", candidates=[f"space{n}" for n in (0, 1, 4, 9, 19)], limit=5)
    assert ids(answer) == ["space4", "space9", "space0", "space19", "space1"]
    assert it.asked(strategy="thrifty", explain=True)["items"][0]["scores"] == {}, "nobody's prices are known"


def test_what_is_sent_along_counts_for_the_price(it: Shop) -> None:
    pool = ["space2", "space18"]
    dear = it.asked(recent=[{"item_id": "space17"}], strategy="thrifty", candidates=pool)
    cheap = it.asked(recent=[{"item_id": "space1"}], strategy="thrifty", candidates=pool)
    assert (ids(dear), ids(cheap)) == (["space18", "space2"], ["space2", "space18"])


def test_a_new_price_is_gone_by_soon() -> None:
    with opened(shop_with()) as shop:
        pool = ["space4", "space19"]
        assert ids(shop.asked(user_id="ada", strategy="thrifty", candidates=pool))[0] == "space4"
        for name in ("space3", "space6"):
            shop.offer(name, price=19.0)
        shop.monotonic.forward(RANKED_AGE)
        assert ids(shop.asked(user_id="ada", strategy="thrifty", candidates=pool))[0] == "space19"


def test_what_looks_like_what_was_chosen_comes_first_and_says_so(it: Shop) -> None:
    answer = it.asked(user_id="ada", strategy="pretty", limit=5, explain=True)
    assert set(ids(answer)) == {"space0", "space9", "space12", "space15", "space18"}
    assert set(sentences(answer).values()) == {"looks like what you chose lately"}


def test_a_filter_and_what_is_hidden_hold_for_pictures_too(it: Shop) -> None:
    answer = it.asked(user_id="ada", strategy="pretty", filter={"price": {"gte": 12}}, limit=3, strict=True)
    assert set(ids(answer)) == {"space12", "space15", "space18"}


@pytest.mark.parametrize(("space", "state"), [("colours-2", "ready"), (SPACE, "failed"), (SPACE, "pending")])
def test_pictures_of_another_model_or_that_are_gone_do_not_count(space: str, state: str) -> None:
    with opened(shop_with()) as shop:
        shows(shop, space, state, space9="red", space12="red")
        listed = shop.asked(user_id="ada", strategy="pretty", limit=3)
        assert set(ids(listed)) == {"space0", "space15", "space18"}
        shows(shop, space, state, space3="red", space6="red")
        shop.monotonic.forward(RANKED_AGE)
        terms = shop.asked(user_id="ada", strategy="pretty", limit=20, explain=True)["items"]
        liked = {one["item_id"] for one in terms if one["scores"].get("image")}
        assert liked <= {"space9", "space12"}, "the newest recent item's space, and only ready ones"


def test_where_images_are_off_pictures_have_no_weight(monkeypatch: pytest.MonkeyPatch) -> None:
    with opened(shop_with(images=False), with_pictures=False) as shop:
        answer = shop.asked(user_id="ada", strategy="pretty", explain=True)
        assert all("image" not in one["scores"] for one in answer["items"])
        assert costs(shop, monkeypatch, user_id="ada", strategy="pretty") == USUAL + LOOK_UP


def test_terms_add_up_and_the_next_page_goes_on(it: Shop) -> None:
    whole = it.asked(user_id="ada", strategy="all", explain=True, diversity=0, limit=20)
    for one in whole["items"]:
        assert sum(one["scores"].values()) == pytest.approx(one["score"], abs=1e-5)
        assert {"rating", "price"} <= one["scores"].keys()
    first = it.asked(user_id="ada", strategy="all", diversity=0, limit=10)
    rest = it.asked(user_id="ada", strategy="all", diversity=0, limit=10, next=first["next"])
    assert ids(whole) == ids(first) + ids(rest)


# -- what an answer costs ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({"user_id": "ada"}, USUAL),
        ({"user_id": "ada", "strategy": "rated"}, USUAL),
        ({"user_id": "ada", "strategy": "thrifty"}, USUAL + LOOK_UP),
        ({"user_id": "ada", "strategy": "pretty"}, USUAL + LOOK_UP),
        ({"user_id": "ada", "strategy": "all"}, USUAL + LOOK_UP),
        ({"user_id": "nobody", "strategy": "all"}, USUAL),
        ({"strategy": "all"}, BATCHES),
    ],
    ids=str,
)
def test_prices_and_pictures_cost_one_look_up_more(
    it: Shop, asked: dict[str, Any], expected: Counter[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert costs(it, monkeypatch, **asked) == expected + LOOK_UP


def test_only_the_newest_recents_are_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrieval, "DETAILED_RECENTS", 2)
    with opened(shop_with()) as shop:
        shop.did("ada", "space19", ago=-1.0)
        asked: list[list[str]] = []
        retrieve = shop.store.retrieve

        def noting(collection: str, ids: list[str], **more: Any) -> Any:
            if collection == ITEMS:
                asked.append(ids)
            return retrieve(collection, ids, **more)

        monkeypatch.setattr(shop.store, "retrieve", noting)
        shop.asked(user_id="ada", strategy="thrifty")
        assert asked[0] == [item_point_id("space19"), item_point_id("space6")]


def test_pictures_are_one_more_search_in_the_same_query(it: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    it.monotonic.forward(3600.0)
    counted = Counted(it, monkeypatch)
    it.asked(user_id="ada", strategy="pretty")
    by = [query.by.using for query in counted.queries if isinstance(query.by, Nearest)]
    assert by == ["image"]


# -- by rule, by experiment, and without a store -----------------------------------------------------------------------


def test_a_rule_turns_them_off_or_up(monkeypatch: pytest.MonkeyPatch) -> None:
    off = RuleSettings(name="no pictures on the watch", when={"device": "watch"}, weights={"image": 0, "price": 0})
    up = RuleSettings(name="thrift on sundays", when={"device": "phone"}, weights={"price": 3})
    with opened(shop_with(rules=(off, up))) as shop:
        watch = {"user_id": "ada", "strategy": "all", "context": {"device": "watch"}}
        assert costs(shop, monkeypatch, **watch) == USUAL + LOOK_UP
        terms = [one["scores"] for one in shop.asked(**watch, explain=True)["items"]]
        assert all(not {"image", "price"} & one.keys() and "rating" in one for one in terms)
        prices = [
            {one["item_id"]: one["scores"]["price"] for one in shop.asked(**asked, explain=True, limit=30)["items"]}
            for asked in (
                {"user_id": "ada", "strategy": "all", "context": {"device": device}} for device in ("tv", "phone")
            )
        ]
        assert prices[1] == pytest.approx({name: 3 * term for name, term in prices[0].items()}, abs=1e-5)


EXPERIMENT = """
[[experiment]]
name = "signals"
[[experiment.variant]]
name = "control"
[[experiment.variant]]
name = "thrifty"
strategy = "eddyline"
weights = { affinity = 0, taste = 0, session = 0, popularity = 0, trending = 0, freshness = 0, price = 1, rating = 0.1 }
explore = 0
rotation = 0
"""


def test_a_variant_of_an_experiment_sets_their_weights() -> None:
    settings = shop_with()
    shop = stocked(settings)
    running = ActiveExperiments(parse_experiments(EXPERIMENT, settings, "tests.toml"))
    shop.reader = shop.new_reader(experiments=lambda: running)
    shop.did("ada", "space6")
    request = RecommendationRequest(user_id="ada", candidates=["space19", "space7"], explain=True)
    answer = shop.reader.recommend(request, "signals/thrifty")
    assert ids(answer) == ["space7", "space19"]
    assert answer["items"][0]["scores"].keys() == {"price", "rating"}


def test_while_the_store_is_down_a_list_is_served_all_the_same() -> None:
    settings = shop_with(ranking=RankingSettings(strategy="all"), reader=ReaderSettings(stale_seconds=60))
    with opened(settings) as shop:
        shop.asked(user_id="ada")
        shop.store.down = {"retrieve"}
        answer = shop.asked(user_id="ada")
        assert answer["degraded"]
        assert answer["items"]


# -- the item itself ---------------------------------------------------------------------------------------------------


def test_a_rating_is_given_back_taken_back_and_filtered_by(it: Shop) -> None:
    shown = it.get("/v1/items/loved").json()
    assert shown["rating"] == {"value": 9.6, "count": 12_000, "scale": 10.0, "least": 0.0}
    it.put(shown)
    assert it.get("/v1/items/loved").json() == shown
    assert "rating" not in it.get("/v1/items/unrated").json()
    listed = it.asked(filter={"rating": {"gte": 5}}, limit=40)
    assert set(ids(listed)) == {"loved", "perfect once"}


def test_an_imager_s_own_pictures_are_gone_by() -> None:
    """From the address of a picture to a list that is led by what it shows."""
    imaging = Imaging()
    for offset, (name, colour) in enumerate({"rose": "red", "cherry": "red", "sea": "blue", "sky": "blue"}.items()):
        imaging.pictures[f"https://pictures.example/{name}"] = colour
        imaging.put(offset, f"https://pictures.example/{name}", name)
    imaging.settle()
    settings = shop_with()
    reader = Reader(imaging.store, settings, Metrics(), imaging.clock, imaging.clock)
    for chosen, alike in (("rose", "cherry"), ("sea", "sky")):
        asked = {"recent": [{"item_id": chosen}], "strategy": "pretty"}
        assert ids(reader.recommend(RecommendationRequest.model_validate(asked)))[0] == alike
