"""Recommendations under all that can be asked of them: what they cost, what they keep to, how they hold together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from pydantic import ValidationError
from tests.services.reading import DAY, SETTINGS, Shop, ids, pages, share, stocked
from tests.services.serving import problem
from tests.support.fakes import NOW

from eddyline.adapters.vectors import ITEMS, PROFILES, ROWS, Point, Query, Scored
from eddyline.reader.schemas import RecommendationRequest
from eddyline.settings import STRATEGIES, PromotionSettings, Settings, StrategySettings

HOUR = 3600.0
SALE = PromotionSettings(name="sale", filter={"tag": "odd"}, share=0.2)
TOP = PromotionSettings(name="top", filter={"brand": "bakers", "year": {"lt": 2003}}, positions=(1, 4))


def with_more(**more: Any) -> Settings:
    return SETTINGS.model_copy(update=more)


def by(**changed: Any) -> Settings:
    """The usual strategy, changed."""
    usual = STRATEGIES["learned"].model_copy(update=changed)
    alike = StrategySettings(people=1.0)
    return with_more(strategies={**STRATEGIES, "learned": usual, "alike": alike})


@contextmanager
def opened(settings: Settings = by(), shop: Shop | None = None) -> Iterator[Shop]:
    """A shop in which ada likes space, and bob kitchens."""
    it = stocked(settings) if shop is None else shop
    for n, user in enumerate(["ada", "ada", "ada", "eve"]):
        it.did(user, f"space{n}", "like", ago=60.0 - n)
    it.did("bob", "kitchen1", "purchase", ago=50.0)
    it.did("a:x7", "kitchen2", "like", ago=40.0)
    for user in ("u1", "u2", "u3"):
        it.did(user, "space1", ago=400.0)
        it.did(user, "space6", ago=300.0)
    with it.open():
        yield it


@pytest.fixture(scope="module")
def _shop() -> Iterator[Shop]:
    with opened() as shop:
        yield shop


@pytest.fixture
def it(_shop: Shop) -> Shop:
    """For tests that only read."""
    return _shop


# -- what an answer costs ----------------------------------------------------------------------------------------------


class Counted:
    """Notes what is asked of a shop's store: (what, of which collection). Two may be at the same time."""

    def __init__(self, shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
        self._calls: list[tuple[str, str]] = []
        self.queries: list[Query] = []
        retrieve, query = shop.store.retrieve, shop.store.query

        def retrieving(collection: str, ids: Sequence[str], **more: Any) -> dict[str, Point]:
            self._calls.append(("look-up", collection))
            return retrieve(collection, ids, **more)

        def querying(collection: str, queries: Sequence[Query]) -> list[list[Scored]]:
            self._calls.append(("query", collection))
            self.queries += queries
            return query(collection, queries)

        monkeypatch.setattr(shop.store, "retrieve", retrieving)
        monkeypatch.setattr(shop.store, "query", querying)

    @property
    def calls(self) -> Counter[tuple[str, str]]:
        """How many there were of each."""
        return Counter(self._calls)

    def clear(self) -> None:
        """Begin anew."""
        self._calls.clear()
        self.queries.clear()


BATCHES = Counter([("query", ITEMS), ("query", ROWS)])
USUAL = BATCHES + Counter([("look-up", PROFILES)])
LOOK_UP = Counter([("look-up", ITEMS), ("look-up", ROWS)])
"""Of items that aren't cached, or were too long ago."""


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({"user_id": "ada"}, USUAL),
        ({"user_id": "nobody"}, USUAL),
        ({"anonymous_id": "x7"}, USUAL),
        ({}, BATCHES),
        ({"filter": {"category": "kitchen"}}, BATCHES),
        ({"user_id": "ada", "filter": {"category": "space", "price": {"gte": 3}}, "limit": 5}, USUAL),
        ({"user_id": "ada", "hide": [], "exclude": ["space4", "kitchen4"]}, USUAL),
        ({"user_id": "ada", "candidates": [f"space{n}" for n in range(5, 20)], "limit": 5}, USUAL),
        ({"user_id": "ada", "diversity": 0.5, "explore": 0.5, "per_category": 5, "limit": 9}, USUAL),
        ({"user_id": "ada", "boost": [{"filter": {"tag": "odd"}, "factor": 2.0}]}, USUAL),
        ({"user_id": "ada", "strategy": "content"}, USUAL),
        ({"user_id": "ada", "session_id": "s1", "context": {"device": "phone"}, "surface": "home"}, USUAL),
    ],
    ids=str,
)
def test_an_answer_takes_a_look_up_of_the_person_and_two_batches_of_queries(
    it: Shop, asked: dict[str, Any], expected: Counter[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And one look-up of items, while none are cached."""
    it.monotonic.forward(HOUR)
    counted = Counted(it, monkeypatch)
    first = it.asked(**asked)
    assert first["items"]
    assert counted.calls == expected + LOOK_UP, "with nothing cached"
    counted.clear()
    it.asked(**asked)
    assert not counted.calls - expected, "with what everyone shares cached"
    counted.clear()
    if first["next"] is not None:
        assert it.asked(**asked, next=first["next"])["items"]
        assert counted.calls == expected, "on the second page"


def test_no_search_asks_for_more_than_ids_and_scores(it: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    it.monotonic.forward(HOUR)
    counted = Counted(it, monkeypatch)
    it.asked(user_id="ada", diversity=0.5, explain=True, boost=[{"filter": {"tag": "odd"}, "factor": 2.0}])
    for path in ("/v1/items/space1/similar", "/v1/latest", "/v1/trending"):
        it.get(path)
    assert len(counted.queries) >= 8
    assert {(query.payload, query.vectors) for query in counted.queries} == {((), ())}


def test_promotions_are_looked_for_in_the_same_query(monkeypatch: pytest.MonkeyPatch) -> None:
    with opened(with_more(promotions=(SALE, TOP))) as shop:
        counted = Counted(shop, monkeypatch)
        first = shop.recommend("ada")
        assert counted.calls == USUAL + LOOK_UP
        counted.clear()
        shop.recommend("ada", next=first["next"])
        assert counted.calls == USUAL
        counted.clear()
        shop.asked()
        assert not counted.calls - BATCHES - LOOK_UP, "with what ada isn't shown"


def test_what_everyone_shares_is_not_looked_for_again_for_a_moment(it: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    it.monotonic.forward(HOUR)
    counted = Counted(it, monkeypatch)
    it.asked()
    counted.clear()
    it.asked()
    assert not counted.calls, "a stranger's second list costs nothing"
    it.asked(user_id="bob")
    personal = len(counted.queries)
    it.monotonic.forward(HOUR)
    counted.clear()
    it.asked(user_id="bob")
    assert len(counted.queries) > personal


def test_what_is_out_of_the_usual_costs_more(it: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    cold = USUAL + LOOK_UP
    counted = Counted(it, monkeypatch)

    def costs(**asked: Any) -> Counter[tuple[str, str]]:
        it.monotonic.forward(HOUR)
        counted.clear()
        it.asked(**asked)
        return counted.calls

    def queries(number: int) -> Counter[tuple[str, str]]:
        return Counter({("query", ITEMS): number})

    assert costs(user_id="ada", recent=[{"item_id": "kitchen4"}]) == cold + LOOK_UP, "the items sent"
    assert costs(user_id="nobody", filter={"brand": "x"}) == USUAL + queries(2), "to say why it is empty"
    assert costs(user_id="ada", limit=40) == cold + LOOK_UP, "to fill it with what was seen"
    assert costs(user_id="ada", filter={"brand": "x"}) == cold + queries(2), "both"
    assert costs(user_id="ada", strategy="content", explain=True) == cold, "nothing to name"
    rows = Counter([("look-up", ROWS)])
    explained = costs(user_id="ada", strategy="affinity", explain=True, limit=1)
    assert explained == cold + rows + LOOK_UP, "rows, and the titles of what was opened"
    assert costs(user_id="ada", strategy="alike") == cold + Counter([("query", PROFILES)]), "people"
    popular = Counter([("query", ROWS)])
    assert costs(user_id="nobody", filter={"popularity": {"gte": 1}}) == cold + popular, "which items are so popular"


# -- what a list keeps to ----------------------------------------------------------------------------------------------

SPACE, KITCHEN = ([f"{kind}{n}" for n in range(20)] for kind in ("space", "kitchen"))


def directly(shop: Shop, **asked: Any) -> dict[str, Any]:
    """Past the limit that the tests' server sets to a body."""
    return shop.reader.recommend(RecommendationRequest(**asked))


VARIED = {"diversity": 0.5, "explore": 0.8, "boost": [{"filter": {"category": "kitchen"}, "factor": 50.0}]}


@pytest.mark.parametrize("how", [{}, VARIED, {"hide": []}, {"strategy": "trending"}, {"strategy": "articles"}], ids=str)
@pytest.mark.parametrize("user", ["ada", "nobody", None])
def test_a_filter_holds_though_few_items_match(it: Shop, user: str | None, how: dict[str, Any]) -> None:
    """Also where all else speaks for other items, and where one of the few was seen: that one comes last."""
    wanted = {"price": {"gte": 2, "lt": 5}}
    answer = it.asked(user_id=user, filter=wanted, limit=20, **how)
    assert set(ids(answer)) == {"space2", "space3", "space4"}
    assert answer["next"] is None
    if user == "ada" and "hide" not in how:
        assert [item["item_id"] for item in answer["items"] if item.get("repeat")] == ["space2"]
        assert ids(answer)[-1] == "space2"


def test_a_pool_is_all_that_a_list_is_made_of(it: Shop) -> None:
    newsletter = ["kitchen5", "space1", "space7", "kitchen9", "there is none"]
    assert set(ids(it.asked(candidates=newsletter))) == set(newsletter[:4])
    answer = it.asked(user_id="ada", candidates=newsletter, strict=True)
    assert set(ids(answer)) == {"kitchen5", "space7", "kitchen9"}
    assert ids(answer)[0] == "space7"
    assert ids(
        it.asked(user_id="ada", candidates=newsletter, filter={"category": "kitchen"}, exclude=["kitchen5"])
    ) == ["kitchen9"]
    assert it.asked(candidates=[])["items"] == []
    many = [f"none{n}" for n in range(9_998)] + ["space9", "kitchen9"]
    assert set(ids(directly(it, user_id="bob", candidates=many))) == {"space9", "kitchen9"}
    with pytest.raises(ValidationError, match="candidates"):
        directly(it, candidates=[*many, "one more"])


def test_ten_thousand_items_can_be_left_out(it: Shop) -> None:
    left = {"space7", "kitchen7", "kitchen8"}
    exclude = [item for item in SPACE + KITCHEN if item not in left]
    exclude += [f"none{n}" for n in range(10_000 - len(exclude))]
    for user in ("ada", None):
        answer = directly(it, user_id=user, exclude=exclude, limit=20)
        assert set(ids(answer)) == left, "nor do repeats bring back what is excluded"
    with pytest.raises(ValidationError, match="exclude"):
        directly(it, exclude=[*exclude, "one more"])


def test_a_short_list_is_filled_with_what_was_seen_longest_ago() -> None:
    with stocked().open() as shop:
        for days, item in [(1, "space1"), (9, "space2"), (5, "space3"), (7, "kitchen1"), (3, "space4")]:
            shop.did("ada", item, ago=days * DAY)
        shop.did("ada", "space2", "view", ago=2 * DAY)
        shop.did("ada", "space5", "dislike", ago=8 * DAY)
        shop.did("ada", "space6", "purchase", ago=6 * DAY)
        asked = {"user_id": "ada", "filter": {"category": "space", "price": {"lt": 9}}, "limit": 9}
        answer = shop.asked(**asked)
        repeated = [item["item_id"] for item in answer["items"] if item.get("repeat")]
        assert repeated == ["space6", "space3", "space4", "space2", "space1"]
        assert set(ids(answer)) - set(repeated) == {"space0", "space7", "space8"}
        assert ids(answer)[3:] == repeated
        assert [item["rank"] for item in answer["items"]] == list(range(1, 9))
        assert ids(shop.asked(**asked | {"limit": 5}))[3:] == ["space6", "space3"]
        assert set(ids(shop.asked(**asked, strict=True))) == {"space0", "space7", "space8"}
        assert "space3" not in ids(shop.asked(**asked, exclude=["space3"]))
        explained = shop.asked(**asked, explain=True)["items"][3]
        assert (explained["because"], explained["scores"], explained["score"]) == ("seen before", {}, 0.0)
        seen_alone = {**asked, "filter": {"category": "space", "price": {"gte": 1, "lt": 7}}}
        assert ids(shop.asked(**seen_alone)) == repeated, "all of it was seen: better that than nothing"
        two = shop.asked(**asked, per_category=4)
        assert len(two["items"]) == 4, "nor may repeats be more of a category than asked for"


def test_pages_go_on_into_what_was_seen_and_end(it: Shop) -> None:
    pages = followed(it, user_id="ada", filter={"category": "space"}, limit=6)
    assert [len(page) for page in pages] == [6, 6, 6, 2]
    repeated = [item["item_id"] for page in pages for item in page if item.get("repeat")]
    assert repeated == ["space0", "space1", "space2"]
    assert [item["item_id"] for page in pages for item in page][-3:] == repeated


def test_only_items_that_score_enough(it: Shop) -> None:
    everything = it.asked(user_id="ada", limit=40, strict=True)["items"]
    least = everything[7]["score"]
    answer = it.asked(user_id="ada", limit=40, min_score=least)
    assert [item["item_id"] for item in answer["items"]] == [
        item["item_id"] for item in everything if item["score"] >= least
    ]
    assert all(item["score"] >= least for item in it.asked(user_id="ada", limit=40, min_score=least, **VARIED)["items"])


@pytest.mark.parametrize("how", [{}, {"diversity": 0.7}, {"explore": 1.0}, {"strategy": "trending"}], ids=str)
def test_no_more_of_a_category_than_asked_for(it: Shop, how: dict[str, Any]) -> None:
    for user in ("ada", None):
        answer = it.asked(user_id=user, limit=10, per_category=3, **how)
        assert Counter(item["category"] for item in answer["items"]) == {"space": 3, "kitchen": 3}


def test_a_boost_raises_and_lowers_and_nothing_else_comes_in(it: Shop) -> None:
    def listed(factor: float) -> dict[str, Any]:
        return it.asked(user_id="ada", limit=10, boost=[{"filter": {"category": "kitchen"}, "factor": factor}])

    assert share(it.asked(user_id="ada"), "kitchen") <= 0.1
    assert share(listed(100.0), "kitchen") >= 0.9
    assert share(listed(0.0), "kitchen") == 0.0
    both = {"boost": [{"filter": {"tag": "odd"}, "factor": 100.0}], "filter": {"category": "kitchen"}}
    assert share(it.asked(user_id="ada", **both), "kitchen") == 1.0


def test_diversity_makes_a_list_less_alike(it: Shop) -> None:
    assert share(it.asked(user_id="ada", diversity=0.0), "space") > share(
        it.asked(user_id="ada", diversity=0.7), "space"
    )


def test_exploration_tries_what_few_have_chosen_and_never_first(it: Shop) -> None:
    told = it.asked(user_id="ada", explore=1.0, explain=True)["items"]
    tried = [item["rank"] for item in told if item["because"] == "something different to try"]
    assert tried == list(range(3, 11))
    assert ids(it.asked(user_id="ada", explore=1.0))[:2] == ids(it.asked(user_id="ada", explore=0.0))[:2]
    assert not {"space0", "space1", "space2"} & set(ids(it.asked(user_id="ada", explore=1.0))), (
        "nor is it what was seen"
    )


def test_an_empty_list_says_why(it: Shop) -> None:
    def why(**asked: Any) -> str:
        answer = it.asked(**asked)
        assert answer["items"] == []
        return str(answer["reason"])

    for user in ("ada", None):
        assert why(user_id=user, filter={"brand": "nobody's"}).startswith("no item passes the filter")
        assert why(user_id=user, candidates=["none"]).startswith("no item passes the filter")
        assert "excluded" in why(user_id=user, candidates=["space4"], exclude=["space4"])
        assert "min_score" in why(user_id=user, min_score=1e6)
    assert "strict" in why(user_id="ada", candidates=["space1"], strict=True)
    with Shop().open() as empty:
        assert empty.asked(user_id="ada")["reason"] == "there is no item to show yet"
    assert it.asked(user_id="ada").get("reason") is None


# -- pages -------------------------------------------------------------------------------------------------------------


def followed(shop: Shop, **asked: Any) -> list[list[dict[str, Any]]]:
    """The items of every page, to the end."""
    return [page["items"] for page in pages(lambda cursor: shop.ask(**asked, **cursor))]


@pytest.mark.slow(10)
@pytest.mark.parametrize(
    "how",
    [{}, {"session_id": "s"}, {"explore": 1.0}, {"diversity": 0.5, "explore": 0.5, "per_category": 3}, {"hide": []}],
    ids=str,
)
@pytest.mark.parametrize("user", ["ada", None])
def test_no_page_repeats_an_item_and_none_is_missed(user: str | None, how: dict[str, Any], steered: Shop) -> None:
    """With a rotation that turns everything over from one moment to the next, promotions, and repeats at the end."""

    def ask(cursor: dict[str, str]) -> httpx.Response:
        steered.clock.forward(7 * HOUR)
        return steered.ask(user_id=user, limit=6, **how, **cursor)

    shown = [item_id for page in pages(ask) for item_id in ids(page)]
    if "per_category" not in how:
        assert set(shown) == {*SPACE, *KITCHEN}


@pytest.fixture(scope="module")
def steered() -> Iterator[Shop]:
    turning = by(rotation=5.0, explore=0.2).model_copy(update={"promotions": (SALE, TOP)})
    with opened(turning) as shop:
        yield shop


def test_promotions_have_their_places_on_every_page(steered: Shop) -> None:
    pages = followed(steered, user_id="bob", limit=10)
    placed = {item["rank"]: item.get("promotion") for page in pages for item in page}
    assert [rank for rank, name in placed.items() if name == "top"] == [1, 4]
    promoted = [rank for rank, name in placed.items() if name == "sale"]
    assert promoted
    assert all(sum(rank <= n for rank in promoted) <= n * 0.2 for n in placed)
    by_rank = {item["rank"]: item["item_id"] for page in pages for item in page}
    assert {by_rank[1], by_rank[4]} < {"kitchen0", "kitchen1", "kitchen2"}
    assert "kitchen1" not in {by_rank[1], by_rank[4]}, "bob has it"


def test_of_a_promotion_that_comes_first_which_is_closest_to_the_person() -> None:
    everything = PromotionSettings(name="taste", filter={"language": ["en", "de"]}, positions=(1, 2, 3))
    with opened(with_more(promotions=(everything,))) as shop:
        for user, kind in (("ada", "space"), ("bob", "kitchen")):
            first = shop.recommend(user)["items"][:3]
            assert [item["promotion"] for item in first] == ["taste"] * 3
            assert all(item["item_id"].startswith(kind) for item in first)


CHANGED: list[dict[str, Any]] = [
    {"filter": {"category": "space"}},
    {"exclude": ["space9"]},
    {"hide": []},
    {"candidates": SPACE},
    {"strategy": "content"},
    {"boost": [{"filter": {"tag": "odd"}, "factor": 2.0}]},
    {"strict": True},
    {"diversity": 0.5},
    {"explore": 0.5},
    {"per_category": 4},
    {"min_score": 0.01},
    {"user_id": "bob"},
]
"""What makes another list of it."""


@pytest.mark.parametrize("changed", CHANGED, ids=str)
def test_a_cursor_is_refused_where_another_list_is_asked_for(it: Shop, changed: dict[str, Any]) -> None:
    cursor = it.asked(user_id="ada", limit=4)["next"]
    said = problem(it.ask(**{"user_id": "ada", "limit": 4, "next": cursor} | changed))
    assert (said["field"], "other parameters" in said["detail"]) == ("next", True)
    again = it.asked(**{"user_id": "ada", "limit": 4} | changed)["next"]
    assert it.ask(**{"user_id": "ada", "limit": 4, "next": again} | changed).status_code == 200


@pytest.mark.parametrize(
    "changed",
    [
        {"limit": 7},
        {"explain": True},
        {"session_id": "s"},
        {"surface": "more"},
        {"context": {"device": "phone"}},
        {"recent": [{"item_id": "space4"}]},
    ],
    ids=str,
)
def test_a_list_goes_on_while_the_situation_changes(it: Shop, changed: dict[str, Any]) -> None:
    """What the person does meanwhile, and where, is no other list."""
    first = it.asked(user_id="ada", limit=4)
    second = it.asked(**{"user_id": "ada", "limit": 4, "next": first["next"]} | changed)
    assert not set(ids(first)) & set(ids(second))


@pytest.mark.parametrize(("recent", "first"), [(["c", "a"], "after a"), (["a", "c"], "after c")])
def test_what_a_request_brings_along_is_in_the_order_given(recent: list[str], first: str) -> None:
    shop = Shop()
    names = ["a", "c", "after a", "after c"]
    shop.put(*({"item_id": name, "title": name, "published_at": NOW - 60} for name in names))
    for item in ("a", "c"):
        shop.did(f"of {item}", item, ago=60.0)
        shop.did(f"of {item}", f"after {item}")
    with shop.open():
        listed = ids(shop.asked(recent=[{"item_id": item} for item in recent], strategy="affinity"))
    assert listed[0] == first


# -- few items, and none -----------------------------------------------------------------------------------------------


SIZED: list[dict[str, Any]] = [{}, {"per_category": 1}, {"hide": []}, {"strategy": "content"}, {"strategy": "affinity"}]


@pytest.mark.slow(10)
@pytest.mark.parametrize("count", [0, 1, 2, 5, 50])
def test_it_works_with_any_number_of_items(count: int) -> None:
    shop = Shop(by(explore=0.3, diversity=0.3))
    shop.put(
        *(
            {"item_id": f"i{n:02}", "title": f"word{n % 7} word{n}", "category": f"c{n % 3}", "published_at": NOW - n}
            for n in range(count)
        )
    )
    for n in range(0, count, 3):
        shop.did("ada", f"i{n:02}", "like", ago=60.0)
    seen = {f"i{n:02}" for n in range(0, count, 3)}
    everything = {f"i{n:02}" for n in range(count)}
    with shop.open():
        for person in ({"user_id": "ada"}, {"user_id": "nobody"}, {}, {"recent": [{"item_id": "i01"}]}):
            for how in SIZED:
                answer = shop.asked(**person, **how, limit=100)
                listed = ids(answer)
                assert len(listed) == len(set(listed))
                assert answer.get("reason") == (None if count else "there is no item to show yet")
                if "per_category" in how:
                    assert len(listed) == min(3, count)
                else:
                    assert set(listed) == everything
        listed = ids(shop.asked(user_id="ada", strict=True, limit=100))
        assert set(listed) == everything - seen


def test_the_reason_is_the_recent_item_that_adds_most_over_all_terms_of_what_people_chose_in_sequence() -> None:
    """Of many that lead there, the newest is named, where people went right on from it."""
    shop = stocked(by(explore=0.0, rotation=0.0, taste=0.0, session=0.0))
    for person in range(7):
        shop.did(f"w{person}", "kitchen1", ago=400.0 - person)
        shop.did(f"w{person}", "kitchen5", ago=380.0 - person)
    for person in range(4):
        shop.did(f"v{person}", "space1", ago=300.0 - person)
        shop.did(f"v{person}", "kitchen5", ago=290.0 - person)
    shop.did("ada", "kitchen1", ago=60.0)
    shop.did("ada", "space1", ago=30.0)
    with shop.open():
        first = shop.recommend("ada", explain=True, limit=3)["items"][0]
    assert first["item_id"] == "kitchen5"
    assert {"affinity", "next", "recent"} <= first["scores"].keys()
    assert first["because"] == "because you opened alien starship galaxy orbit 1"
