"""The reader over HTTP: who should see what next, and how a list behaves."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
from tests.services.reading import DAY, SETTINGS, Shop, ids, share, stocked
from tests.services.serving import problem
from tests.support.fakes import NOW
from tests.support.ids import stable

from eddyline.adapters.vectors import ITEMS
from eddyline.model.ids import item_point_id
from eddyline.reader.list_cache import ListCache
from eddyline.settings import ReaderSettings

HOUR = 3600.0


@pytest.fixture(scope="module")
def _shop() -> Iterator[Shop]:
    shop = stocked()
    for n, user in enumerate(["ada", "ada", "ada", "eve"]):
        shop.did(user, f"space{n}", "like", ago=60.0 - n)
    shop.did("bob", "kitchen1", "purchase")
    shop.did("a:x7", "kitchen2", "like")
    shop.user("newcomer", {"interests": ["bread", "oven"], "segment": "trial", "attributes": {"age": 30}})
    with shop.open():
        yield shop


@pytest.fixture
def it(_shop: Shop) -> Shop:
    """For tests that only read."""
    _shop.store.down = set()
    return _shop


@pytest.fixture
def fresh() -> Iterator[Shop]:
    """For tests that change something."""
    with stocked().open() as shop:
        yield shop


# -- whose list it is --------------------------------------------------------------------------------------------------


def test_a_person_sees_more_of_what_they_liked(it: Shop) -> None:
    answer = it.recommend("ada")
    assert len(answer["items"]) == 10
    assert share(answer, "space") >= 0.9
    assert share(it.recommend("bob"), "kitchen") >= 0.9
    assert (answer["cold_start"], answer["degraded"], answer["variant"]) == (False, False, "learned")
    assert [item["rank"] for item in answer["items"]] == list(range(1, 11))
    scores = [item["score"] for item in answer["items"]]
    assert scores == sorted(scores, reverse=True)
    first = answer["items"][0]
    assert (first["category"], first["url"].startswith("https://films/space/")) == ("space", True)
    assert "because" not in first


def test_the_same_request_twice_is_the_same_list(it: Shop) -> None:
    one, two = it.recommend("ada"), it.recommend("ada")
    assert one["items"] == two["items"]
    assert one["request_id"] != two["request_id"]


def test_one_click_changes_the_next_answer(fresh: Shop) -> None:
    for n in range(3):
        fresh.did("ada", f"space{n}")
    before = fresh.recommend("ada")
    fresh.did("ada", "kitchen0", "like")
    after = fresh.recommend("ada")
    assert share(before, "kitchen") < share(after, "kitchen")
    assert "kitchen0" not in ids(after)


def test_someone_new_sees_what_is_popular_and_new(fresh: Shop) -> None:
    for user in ("u1", "u2", "u3"):
        fresh.did(user, "kitchen15")
    answer = fresh.recommend("nobody")
    assert answer["cold_start"]
    assert ids(answer)[0] == "kitchen15"
    assert "space0" in ids(answer)


def test_answers_make_the_first_request_personal(it: Shop) -> None:
    answer = it.recommend("newcomer", explain=True)
    assert not answer["cold_start"]
    assert share(answer, "kitchen") >= 0.9
    assert answer["items"][0]["because"] == "matches the interests you named"


def test_someone_who_comes_back_after_months_is_still_known(fresh: Shop) -> None:
    for n in range(5):
        fresh.did("ada", f"space{n}", "like", ago=90 * DAY)
    fresh.did("ada", "kitchen0")
    assert share(fresh.recommend("ada", strategy="content"), "space") >= 0.3


def test_anonymous_people_have_profiles_of_their_own(it: Shop) -> None:
    answer = it.asked(anonymous_id="x7")
    assert not answer["cold_start"]
    assert share(answer, "kitchen") >= 0.9
    assert "kitchen2" not in ids(answer)
    assert it.asked(user_id="x7")["cold_start"]
    assert it.asked()["cold_start"]


def test_what_happened_this_very_moment_counts_for_this_answer_alone(it: Shop) -> None:
    before, stored = it.recommend("ada"), it.store.dump()
    bought = [{"item_id": f"kitchen{n}", "type": "purchase"} for n in (4, 5, 6)]
    answer = it.asked(user_id="ada", recent=bought)
    assert share(answer, "kitchen") > share(before, "kitchen")
    assert not {"kitchen4", "kitchen5", "kitchen6"} & set(ids(answer))
    assert it.store.dump() == stored
    assert it.recommend("ada")["items"] == before["items"]
    stranger = it.asked(recent=[{"item_id": "kitchen4"}, {"item_id": "never heard of", "timestamp": NOW}])
    assert not stranger["cold_start"]
    assert share(stranger, "kitchen") >= 0.9


# -- what is left out --------------------------------------------------------------------------------------------------


def test_seen_items_are_left_out_unless_a_request_says_otherwise(it: Shop) -> None:
    seen = {"space0", "space1", "space2"}
    assert not seen & set(ids(it.recommend("ada", limit=37)))
    assert seen <= set(ids(it.recommend("ada", limit=40, hide="purchased")))
    assert seen <= set(ids(it.recommend("ada", limit=40, hide="")))
    assert seen <= set(ids(it.asked(user_id="ada", limit=40, hide=[])))
    assert "kitchen1" not in ids(it.recommend("bob", limit=40, hide=["purchased", "disliked"], strict=True))


def test_a_dislike_pushes_away_and_leaves_out(fresh: Shop) -> None:
    for n in range(3):
        fresh.did("ada", f"space{n}")
    fresh.did("ada", "space9", "dislike")
    assert "space9" not in ids(fresh.recommend("ada", limit=40, hide="disliked"))
    assert "space9" in ids(fresh.recommend("ada", limit=40, hide="purchased"))


def test_excluded_items_are_left_out_everywhere(it: Shop) -> None:
    for path in ("/v1/users/ada/recommendations", "/v1/items/space1/similar", "/v1/latest", "/v1/trending"):
        first = ids(it.get(path).json())[0]
        assert first not in ids(it.get(path, exclude=[first, "space7"], limit=40).json())
        assert "space7" not in ids(it.get(path, exclude=[first, "space7"], limit=40).json())


def test_what_cannot_be_had_never_appears(fresh: Shop) -> None:
    soon = {"title": "alien starship galaxy orbit", "category": "space"}
    fresh.put(
        {"item_id": "sold out", **soon, "available": False},
        {"item_id": "expired", **soon, "expires_at": NOW - 1},
        {"item_id": "expires now", **soon, "expires_at": NOW},
        {"item_id": "to come", **soon, "published_at": NOW + 60},
        {"item_id": "there", **soon, "expires_at": NOW + 60},
        {"item_id": "gone", **soon},
    )
    fresh.offer("gone", available=False)
    fresh.offer("not embedded yet", available=True, price=1)
    fresh.store.set_payload(ITEMS, {item_point_id("not embedded yet"): {"listed_at": NOW, "trend": {"day": 1e6}}})
    for item in ("sold out", "expired", "to come", "there", "gone", "space0"):
        fresh.did("eve", item)
    fresh.did("ada", "space0")
    hidden = {"sold out", "expired", "expires now", "to come", "gone", "not embedded yet"}
    paths = ("/v1/users/ada/recommendations", "/v1/items/space0/similar", "/v1/latest", "/v1/trending")
    for path in paths:
        shown = set(ids(fresh.get(path, limit=100).json()))
        assert "there" in shown
        assert not hidden & shown
    fresh.clock.forward(60)
    fresh.monotonic.forward(60)
    for path in paths:
        shown = set(ids(fresh.get(path, limit=100).json()))
        assert "there" not in shown
        assert "to come" in shown


# -- filters -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({"category": "space"}, {f"space{n}" for n in range(20)}),
        ({"category": ["space", "kitchen"]}, {f"{kind}{n}" for kind in ("space", "kitchen") for n in range(20)}),
        ({"category": {"not": "space"}}, {f"kitchen{n}" for n in range(20)}),
        ({"tag": "odd"}, {f"space{n}" for n in range(1, 20, 2)}),
        ({"tags": {"all": ["film", "even"]}}, {f"space{n}" for n in range(0, 20, 2)}),
        ({"tags": {"any": ["even", "odd"], "not": ["odd"]}}, {f"space{n}" for n in range(0, 20, 2)}),
        ({"language": "de"}, {f"kitchen{n}" for n in range(20)}),
        ({"price": {"gte": 3, "lt": 6}}, {"space3", "space4", "space5"}),
        ({"price": 7}, {"space7"}),
        ({"published_at": {"gt": NOW - 2 * DAY}}, {"space0", "space1", "kitchen0", "kitchen1"}),
        ({"brand": "acme", "year": {"lte": 1982}}, {"space0", "space1", "space2"}),
        ({"year": [1981, 2001]}, {"space1", "kitchen1"}),
    ],
    ids=stable,
)
def test_a_filter_holds_for_every_item(it: Shop, wanted: dict[str, Any], expected: set[str]) -> None:
    assert set(ids(it.asked(filter=wanted, limit=100))) == expected


def test_years_of_five_thousand_and_more_are_times_like_others(it: Shop) -> None:
    for path in ("/v1/items/space1/similar", "/v1/latest"):
        for time in ("6000-01-01T00:00:00Z", "9999-12-31T23:59:59.9999999Z"):
            assert ids(it.get(path, published_after=time).json()) == []
    assert ids(it.asked(filter={"published_at": {"gt": "6000-01-01T00:00:00Z"}})) == []


def test_parameters_filter_lists_of_every_kind(it: Shop) -> None:
    for path in ("/v1/users/ada/recommendations", "/v1/items/space1/similar", "/v1/latest"):
        assert share(it.get(path, category="kitchen").json(), "kitchen") == 1.0
        assert share(it.get(path, category=["kitchen", "space"], tag="odd").json(), "space") == 1.0
        for time in ("2026-09-19T14:13:20Z", str(NOW - 2 * DAY), str((NOW - 2 * DAY) * 1000)):
            assert set(ids(it.get(path, published_after=time, exclude="space1").json())) <= {
                "space0",
                "space1",
                "kitchen0",
                "kitchen1",
            }


GOOD_BOOST = {"filter": {"tag": "odd"}, "factor": 2.0}


@pytest.mark.parametrize(
    ("body", "field", "reason"),
    [
        ({"filter": {"colour": "red"}}, "filter.colour", '[attributes] colour = "keyword"'),
        ({"filter": {"loud": True}}, "filter.loud", "declare"),
        ({"filter": {"price": "cheap"}}, "filter.price", "number"),
        ({"filter": {"price": [1, 2]}}, "filter.price", "one number"),
        ({"filter": {"price": {}}}, "filter.price", "empty"),
        ({"filter": {"price": {"near": 3}}}, "filter.price.near", "operator"),
        ({"filter": {"category": {"gt": "a"}}}, "filter.category.gt", "bounds"),
        ({"filter": {"category": []}}, "filter.category", "1 to 500"),
        ({"filter": {"category": 3}}, "filter.category", "keyword"),
        ({"filter": {"year": 1.5}}, "filter.year", "integer"),
        ({"filter": {"year": 2**64 - 1}}, "filter.year", "64-bit"),
        ({"filter": {"year": True}}, "filter.year", "integer"),
        ({"filter": {"published_at": {"gt": "yesterday"}}}, "filter.published_at.gt", "RFC 3339"),
        ({"filter": []}, "filter", "dictionary"),
        ({"limit": -1}, "limit", "1"),
        ({"limit": 101}, "limit", "100"),
        ({"limit": 1.5}, "limit", "integer"),
        ({"limit": "10"}, "limit", "integer"),
        ({"hide": ["bought"]}, "hide.0", "viewed"),
        ({"user": "ada"}, "user", "no such field"),
        ({"user_id": ""}, "user_id", "1"),
        ({"user_id": "x" * 10_000}, "user_id", "512"),
        ({"exclude": ["x"] * 10_001}, "exclude", "10000"),
        ({"recent": [{"item_id": "space1", "type": "wave"}]}, "recent.0.type", "unknown type"),
        ({"recent": [{"item_id": "space1"}, {"type": "click"}]}, "recent.1.item_id", "is needed"),
        ({"recent": [{"item_id": "space1", "type": "rating"}]}, "recent.0.value", "rating"),
        ({"recent": [{"item_id": "space1", "dwell_ms": 1e12}]}, "recent.0.dwell_ms", "less than"),
        ({"recent": [{"item_id": "space1", "timestamp": NOW + 2 * DAY}]}, "recent.0.timestamp", "24 hours"),
        ({"recent": [{"item_id": "space1", "timestamp": "2026-09-01T12:00:00"}]}, "recent.0.timestamp", "offset"),
        ({"recent": [{"item_id": "space1"}] * 101}, "recent", "100"),
        ({"next": "garbage"}, "next", "first page"),
        ({"strategy": "best"}, "strategy", "'best'"),
        ({"context": {"timezone": "Mars/Olympus"}}, "context.timezone", "'Mars/Olympus'"),
        ({"boost": [GOOD_BOOST, {"filter": {"hue": "red"}, "factor": 1.0}]}, "boost.1.filter.hue", "declare"),
    ],
    ids=lambda value: str(value)[:60],
)
def test_a_wrong_request_is_refused_with_the_field(it: Shop, body: dict[str, Any], field: str, reason: str) -> None:
    for person in ({}, {"user_id": "ada"}):
        said = problem(it.ask(**person | body), 422)
        assert said["field"] == field
        assert reason in said["detail"]


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'"x"', b"\xff", b'{"limit":NaN}'])
def test_a_body_that_is_no_request_is_refused(it: Shop, content: bytes) -> None:
    assert problem(it.client.post("/v1/recommendations", content=content))["field"] == "body"
    problem(it.client.post("/v1/recommendations", content=b'{"x":"' + b"y" * 200_000 + b'"}'), 413)


@pytest.mark.parametrize(
    ("path", "params", "field"),
    [
        ("/v1/users/ada/recommendations", {"limit": -1}, "limit"),
        ("/v1/users/ada/recommendations", {"limit": 101}, "limit"),
        ("/v1/users/ada/recommendations", {"limit": "ten"}, "limit"),
        ("/v1/users/ada/recommendations", {"limt": 10}, "limt"),
        ("/v1/users/ada/recommendations", {"brand": "acme"}, "brand"),
        ("/v1/users/ada/recommendations", {"hide": "bought"}, "hide.0"),
        ("/v1/users/ada/recommendations", {"published_after": "2026-09-01"}, "published_after"),
        ("/v1/users/ada/recommendations", {"published_after": "nan"}, "published_after"),
        ("/v1/users/ada/recommendations", {"explain": "perhaps"}, "explain"),
        ("/v1/users/ada/recommendations", {"session_id": "x" * 513}, "session_id"),
        ("/v1/users/" + "x" * 10_000 + "/recommendations", {}, "user_id"),
        ("/v1/users/%FF/recommendations", {}, "user_id"),
        ("/v1/items/space1/similar", {"limit": 0}, "limit"),
        ("/v1/items/space1/similar", {"hide": "viewed"}, "hide"),
        ("/v1/items/space1/audience", {"limit": 101}, "limit"),
        ("/v1/items/space1/similar", {"relation": "opposite"}, "relation"),
        ("/v1/items/space1/audience", {"next": "x"}, "next"),
        ("/v1/items/space1/audience", {"active_within": "soon"}, "active_within"),
        ("/v1/items/space1/audience", {"active_within": "0d"}, "active_within"),
        ("/v1/items/space1/audience", {"category": "space"}, "category"),
        ("/v1/trending", {"window": "year"}, "window"),
        ("/v1/latest", {"window": "day"}, "window"),
        ("/v1/latest", {"next": "AAAA"}, "next"),
        ("/v1/items/%00", {}, "item_id"),
    ],
)
def test_a_wrong_parameter_is_refused_by_name(it: Shop, path: str, params: dict[str, Any], field: str) -> None:
    assert problem(it.get(path, **params))["field"] == field


# -- pages -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def big() -> Iterator[Shop]:
    shop = Shop()
    shop.put(
        *(
            {"item_id": f"i{n}", "title": f"word{n % 7} word{n}", "category": "c", "published_at": NOW - n}
            for n in range(560)
        )
    )
    for n in range(520):
        shop.did(f"u{n % 3}", f"i{n}")
    with shop.open():
        yield shop


@pytest.mark.slow(10)
@pytest.mark.parametrize(
    "path", ["/v1/users/someone/recommendations", "/v1/items/i3/similar", "/v1/latest", "/v1/trending"]
)
@pytest.mark.parametrize("limit", [100, 73])
def test_following_next_never_repeats_an_item_and_ends_by_500(big: Shop, path: str, limit: int) -> None:
    listed = [item_id for page in big.pages(path, limit=limit) for item_id in ids(page)]
    assert len(listed) == 500 // limit * limit


def test_a_personal_list_pages_on_while_it_changes(fresh: Shop) -> None:
    fresh.did("ada", "space0")
    first = fresh.recommend("ada")
    fresh.did("ada", "kitchen0", "purchase")
    second = fresh.recommend("ada", next=first["next"])
    assert len(second["items"]) == 10
    assert not set(ids(first)) & set(ids(second))


def test_a_short_list_has_no_next(it: Shop) -> None:
    assert it.recommend("ada", category="space", limit=40)["next"] is None
    assert it.get("/v1/latest", tag="odd", limit=20).json()["next"] is None


def test_a_cursor_belongs_to_its_request(it: Shop) -> None:
    cursor = it.recommend("ada")["next"]
    assert it.get("/v1/users/ada/recommendations", next=cursor, limit=5).status_code == 200
    for path, params in (
        ("/v1/users/bob/recommendations", {}),
        ("/v1/users/ada/recommendations", {"category": "space"}),
        ("/v1/users/ada/recommendations", {"exclude": "space9"}),
        ("/v1/latest", {}),
    ):
        said = problem(it.get(path, next=cursor, **params))
        assert (said["field"], "other parameters" in said["detail"]) == ("next", True)


def test_a_cursor_past_the_end_is_refused(big: Shop) -> None:
    cursor = big.get("/v1/latest", limit=50).json()["next"]
    for _ in range(4):
        cursor = big.get("/v1/latest", limit=100, next=cursor).json()["next"]
    assert cursor is None, "450 were served: another hundred would be too many"
    cursor = big.get("/v1/latest", limit=50).json()["next"]
    for _ in range(3):
        cursor = big.get("/v1/latest", limit=100, next=cursor).json()["next"]
    cursor = big.get("/v1/latest", limit=75, next=cursor).json()["next"]
    said = problem(big.get("/v1/latest", limit=100, next=cursor))
    assert (said["field"], "500" in said["detail"]) == ("next", True)
    assert len(ids(big.get("/v1/latest", limit=75, next=cursor).json())) == 75


def test_where_a_score_is_asked_for_a_short_list_stays_short(it: Shop) -> None:
    assert any(item.get("repeat") for item in it.recommend("bob", limit=40, hide=["purchased"])["items"])
    asked = it.recommend("bob", limit=40, hide=["purchased"], min_score=0.0001)["items"]
    assert asked
    assert all(item["score"] >= 0.0001 for item in asked)
    assert "min_score" in it.recommend("bob", min_score=1000)["reason"]


def test_who_is_known_is_not_cold_under_any_strategy(it: Shop) -> None:
    for strategy in SETTINGS.strategies:
        assert not it.recommend("ada", strategy=strategy)["cold_start"]
        assert it.recommend("nobody", strategy=strategy)["cold_start"]


# -- why ---------------------------------------------------------------------------------------------------------------


def test_an_explanations_terms_add_up_to_the_score(it: Shop) -> None:
    for user in ("ada", "bob", "newcomer", "nobody"):
        for item in it.recommend(user, explain=True, limit=40)["items"]:
            assert sum(item["scores"].values()) == pytest.approx(item["score"], abs=2e-6)
            if item.get("repeat"):
                assert (item["because"], item["scores"]) == ("seen before", {})
                continue
            best = max(item["scores"].values())
            assert (item["because"] is None) == (best <= 0)


def test_an_explanation_names_the_largest_term(fresh: Shop) -> None:
    for n in range(3):
        fresh.did("ada", f"space{n}", "purchase")
    assert "now" in fresh.recommend("ada", explain=True)["items"][0]["because"]
    fresh.clock.forward(3 * HOUR)
    fresh.monotonic.forward(3 * HOUR)
    assert "liked" in fresh.recommend("ada", explain=True)["items"][0]["because"]


# -- other lists -------------------------------------------------------------------------------------------------------


def test_the_audience_are_people_with_the_item_in_their_history(it: Shop) -> None:
    people = it.get("/v1/items/kitchen2/audience").json()["people"]
    assert [(one.get("anonymous_id"), one.get("user_id")) for one in people] == [("x7", None)]
    assert [one["user_id"] for one in it.get("/v1/items/space1/audience").json()["people"]] == ["ada"]
    assert it.get("/v1/items/space19/audience").json()["people"] == []
    problem(it.get("/v1/items/nothing/audience"), 404)


def test_trends_are_of_their_window(fresh: Shop) -> None:
    for n in range(5):
        fresh.did(f"early{n}", "space5", ago=2 * DAY)
    for n in range(2):
        fresh.did(f"late{n}", "kitchen5")
    fresh.did("one", "kitchen6", ago=20 * HOUR)
    hour = fresh.get("/v1/trending", window="hour").json()["items"]
    assert [item["item_id"] for item in hour] == ["kitchen5"]
    assert hour[0]["score"] == pytest.approx(2.0)
    assert ids(fresh.get("/v1/trending").json()) == ["kitchen5", "space5", "kitchen6"]
    week = fresh.get("/v1/trending", window="week").json()["items"]
    assert week[0]["item_id"] == "space5"
    assert week[0]["score"] == pytest.approx(5 * 0.5 ** (2 / 7), rel=1e-4)


def test_one_person_makes_no_trend_by_reloading(fresh: Shop) -> None:
    for n in range(30):
        fresh.did("ada", "space5", ago=30.0 - n)
    for user in ("bob", "eve"):
        fresh.did(user, "kitchen5")
    assert ids(fresh.get("/v1/trending").json()) == ["kitchen5", "space5"]


# -- one thing ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("item_id", ["space4", "https://a/b?c", "a/similar", "ünïcödé 🎬", "%2F", "x" * 512])
def test_an_item_is_given_back_in_the_shape_that_put_takes(fresh: Shop, item_id: str) -> None:
    state = {
        "item_id": item_id,
        "title": "alien",
        "description": "of the deep",
        "tags": ["film"],
        "url": "https://films",
        "published_at": "2026-09-01T00:00:00Z",
        "expires_at": "9999-12-31T00:00:00Z",
        "available": True,
        "price": 3.0,
        "attributes": {"year": 1980, "cast": ["a"], "ratio": 1.5},
    }
    fresh.put(state)
    path = f"/v1/items/{quote(item_id, safe='')}"
    assert fresh.get(path).json() == state
    fresh.put(fresh.get(path).json())
    assert fresh.get(path).json() == state
    fresh.clock.forward(5)
    fresh.offer(item_id, price=2.0, available=False)
    assert fresh.get(path).json() == {**state, "price": 2.0, "available": False}
    assert fresh.get(f"{path}/similar").status_code == 200


def test_an_item_that_is_not_embedded_yet_is_not_there(fresh: Shop) -> None:
    fresh.offer("early", price=1.0)
    for path in ("/v1/items/early", "/v1/items/early/similar", "/v1/items/early/audience", "/v1/items/never"):
        assert "moment" in problem(fresh.get(path), 404)["detail"]


def test_an_item_whose_point_is_half_made_is_passed_over(fresh: Shop) -> None:
    fresh.store.delete_payload(ITEMS, [item_point_id("kitchen3")], ["space"])
    assert fresh.asked(recent=[{"item_id": "kitchen3"}])["cold_start"]


def test_what_is_known_of_a_person_is_told_in_words(it: Shop) -> None:
    ada = it.get("/v1/users/ada").json()
    assert (ada["user_id"], ada["events"], ada["recents"]) == ("ada", 3, ["space2", "space1", "space0"])
    assert (ada["evidence"], ada["onboarded"], ada["waiting"]) == (9.0, False, 0)
    assert ada["last_seen"].endswith("Z")
    newcomer = it.get("/v1/users/newcomer").json()
    assert (newcomer["onboarded"], newcomer["segment"], newcomer["attributes"]) == (True, "trial", {"age": 30})
    problem(it.get("/v1/users/nobody"), 404)
    problem(it.get("/v1/users/x7"), 404)


def test_an_erased_person_is_a_stranger_until_they_come_again(fresh: Shop) -> None:
    fresh.did("ada", "space0", "like")
    fresh.user("ada", {"interests": ["bread"]})
    fresh.clock.forward(1)
    fresh.user("ada", None)
    assert problem(fresh.get("/v1/users/ada"), 404)
    assert fresh.recommend("ada")["cold_start"]
    assert fresh.get("/v1/items/space0/audience").json()["people"] == []
    fresh.user("ada", {"segment": "back"})
    assert fresh.get("/v1/users/ada").json()["segment"] == "back"
    assert fresh.get("/v1/users/ada").json()["events"] == 0


# -- when the store doesn't answer -------------------------------------------------------------------------------------


def test_without_the_store_a_cached_list_is_served_and_says_so(fresh: Shop) -> None:
    fresh.put({"item_id": "brief", "title": "alien", "category": "space", "expires_at": NOW + 30})
    for user in ("u1", "u2"):
        fresh.did(user, "kitchen7")
        fresh.did(user, "brief")
    assert "brief" in ids(fresh.recommend("ada"))
    before = {path: fresh.get(path).json() for path in ("/v1/trending", "/v1/latest")}
    fresh.store.down = {"all"}
    fresh.clock.forward(60)
    fresh.monotonic.forward(60)
    answer = fresh.recommend("ada", exclude="space0")
    assert (answer["degraded"], answer["variant"]) == (True, "degraded")
    assert ids(answer)[0] == "kitchen7"
    assert not {"brief", "space0"} & set(ids(answer))
    for path, said in before.items():
        assert fresh.get(path).json()["degraded"]
        left = [one for one in ids(said) if one != "brief"]
        assert ids(fresh.get(path).json())[: len(left)] == left
    fresh.store.down = set()
    assert not fresh.recommend("ada")["degraded"]


def test_a_cached_list_answers_only_under_its_own_filter_and_not_for_ever(fresh: Shop) -> None:
    fresh.did("eve", "kitchen7")
    fresh.recommend("ada")
    fresh.store.down = {"all"}
    assert fresh.get("/v1/users/ada/recommendations").json()["degraded"]
    for _ in range(2):
        refused = fresh.get("/v1/users/ada/recommendations", category="space")
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
    fresh.monotonic.forward(ReaderSettings().stale_seconds + 1)
    said = problem(fresh.get("/v1/users/ada/recommendations"), 503)
    assert "no list is cached" in said["detail"]


def test_what_cannot_be_answered_without_the_store_is_refused_for_now(fresh: Shop) -> None:
    fresh.store.down = {"all"}
    for path in ("/v1/items/space1", "/v1/items/space1/similar", "/v1/users/ada", "/v1/trending", "/v1/latest"):
        assert problem(fresh.get(path), 503)
        assert fresh.get(path).headers["retry-after"] == "1"
    answer = fresh.get("/readyz")
    assert (answer.status_code, list(answer.json()["checks"])) == (503, ["vectors"])
    assert fresh.get("/healthz").status_code == 200


def test_lists_for_everyone_are_reused_for_a_moment(fresh: Shop) -> None:
    fresh.did("eve", "kitchen7")
    assert ids(fresh.get("/v1/trending").json()) == ["kitchen7"]
    fresh.did("eve", "kitchen8")
    assert ids(fresh.get("/v1/trending").json()) == ["kitchen7"]
    fresh.monotonic.forward(SETTINGS.reader.list_cache_seconds + 0.1)
    assert set(ids(fresh.get("/v1/trending").json())) == {"kitchen7", "kitchen8"}


def test_the_cache_is_bounded_whatever_is_asked(fresh: Shop) -> None:
    lists = ListCache(SETTINGS.reader, fresh.monotonic)
    for n in range(300):
        lists.put((f"list {n}",), [])
    kept = [n for n in range(300) if lists.get_stale(f"list {n}") is not None]
    assert kept == list(range(100, 300))
    for n in range(100):
        lists.put((f"long {n}", "x" * 1_000_000), [])
    kept = [n for n in range(100) if lists.get_stale(f"long {n}") is not None]
    assert 5 < len(kept) < 20
    assert kept[-1] == 99, "the newest stay"
