"""Browsing: what goes with an item, who an item is for, what is trending and new, and why a list is empty."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
import pytest
from tests.services.reading import DAY, SETTINGS, Shop, ids, share, stocked
from tests.services.serving import problem
from tests.support.fakes import NOW

from eddyline.adapters.vectors import ITEMS, PROFILES, ROWS, Sparse
from eddyline.model.ids import Person, item_dimension, item_point_id, person_point_id
from eddyline.settings import EncoderSettings, ReaderSettings

HOUR = 3600.0


def went_on(shop: Shop, rows: dict[str, dict[str, float]]) -> None:
    """Affinity rows: item → what people came to it from, and how much."""
    shop.store.update_vectors(
        ROWS,
        {
            item_point_id(item): {
                "affinity": Sparse(
                    np.asarray([item_dimension(before) for before in row], dtype=np.uint32),
                    np.asarray(list(row.values()), dtype=np.float32),
                )
            }
            for item, row in rows.items()
        },
    )


@pytest.fixture(scope="module")
def it() -> Iterator[Shop]:
    """For tests that only read. From space1 people went on to kitchens, and to a copy of it."""
    shop = stocked(SETTINGS.model_copy(update={"reader": ReaderSettings(duplicate_similarity=0.9999)}))
    shop.put(
        {"item_id": "space1 again", "title": "alien starship galaxy orbit 1", "category": "space", "tags": ["film"]}
    )
    content = shop.store.retrieve(ITEMS, [item_point_id("space1")], payload=(), vectors=("content",))
    shop.store.update_vectors(ITEMS, {item_point_id("space1 again"): {"content": only(content).vectors["content"]}})
    went_on(
        shop,
        {
            "space1 again": {"space1": 9.0},
            "kitchen3": {"space1": 3.0, "space2": 1.0},
            "kitchen4": {"space1": 2.0},
            "space7": {"space1": 1.0},
            "kitchen5": {"space2": 5.0},
        },
    )
    with shop.open():
        yield shop


@pytest.fixture
def fresh() -> Iterator[Shop]:
    """For tests that change something."""
    with stocked().open() as shop:
        yield shop


def only(found: dict[str, Any]) -> Any:
    (one,) = found.values()
    return one


def audience(shop: Shop, item: str, **params: Any) -> list[str]:
    people = shop.get(f"/v1/items/{item}/audience", **params).json()["people"]
    return [one.get("user_id") or f"a:{one['anonymous_id']}" for one in people]


# -- what goes with an item --------------------------------------------------------------------------------------------


def test_substitutes_are_the_nearest_in_content_without_the_item_itself(it: Shop) -> None:
    answer = it.get("/v1/items/space1/similar", relation="substitute").json()
    assert ids(answer)[0] == "space1 again"
    assert share(answer, "space") == 1.0
    third = it.get("/v1/items/space3/similar", limit=19).json()
    assert share(third, "space") == 1.0
    assert "space3" not in ids(third)
    scores = [item["score"] for item in third["items"]]
    assert scores == sorted(scores, reverse=True)
    assert 0.5 < scores[0] <= 1.0
    assert "nothing" in problem(it.get("/v1/items/nothing/similar"), 404)["detail"]
    assert answer["items"] == it.get("/v1/items/space1/similar").json()["items"]
    assert "reason" not in answer


def test_complements_are_what_people_went_on_to_and_no_copies(it: Shop) -> None:
    answer = it.get("/v1/items/space1/similar", relation="complement").json()
    assert ids(answer) == ["kitchen3", "kitchen4", "space7"]
    assert [item["score"] for item in answer["items"]] == [3.0, 2.0, 1.0]
    assert ids(it.get("/v1/items/space2/similar", relation="complement").json()) == ["kitchen5", "kitchen3"]


def test_what_people_do_next_becomes_a_complement(fresh: Shop) -> None:
    assert ids(fresh.get("/v1/items/space1/similar", relation="complement").json()) == []
    for user in ("ada", "bob"):
        fresh.did(user, "space1", ago=20.0)
        fresh.did(user, "kitchen3", ago=10.0)
    fresh.did("eve", "space1", ago=20.0)
    fresh.did("eve", "kitchen4", ago=10.0)
    assert ids(fresh.get("/v1/items/space1/similar", relation="complement").json()) == ["kitchen3", "kitchen4"]


def test_how_alike_makes_a_copy_is_a_setting() -> None:
    shop = stocked()
    went_on(shop, {"space7": {"space1": 1.0}, "kitchen3": {"space1": 0.5}})
    with shop.open():
        assert ids(shop.get("/v1/items/space1/similar", relation="complement").json()) == ["kitchen3"]


@pytest.mark.parametrize("distance", ["cosine", "dot", "euclid"])
def test_an_edition_is_known_by_its_direction_whatever_is_nearest(distance: Literal["cosine", "dot", "euclid"]) -> None:
    """Thirty editions that people went on to, shorter than all other items; and one thing that is another."""
    shop = stocked(SETTINGS.model_copy(update={"encoder": EncoderSettings(distance=distance)}))
    point = only(shop.store.retrieve(ITEMS, [item_point_id("space1")], payload=(), vectors=("content",)))
    editions = [f"edition {n}" for n in range(30)]
    shop.put(*({"item_id": name, "title": name} for name in editions))
    short = np.asarray(point.vectors["content"] / 10, dtype=np.float32)
    shop.store.update_vectors(ITEMS, {item_point_id(name): {"content": short} for name in editions})
    went_on(shop, {**{name: {"space1": 2.0} for name in editions}, "kitchen3": {"space1": 1.0}})
    with shop.open():
        assert ids(shop.get("/v1/items/space1/similar", relation="complement", limit=5).json()) == ["kitchen3"]


def test_any_relation_is_both_and_its_terms_add_up(it: Shop) -> None:
    answer = it.get("/v1/items/space1/similar", relation="any", explain=True, limit=40).json()
    places = {item["item_id"]: item for item in answer["items"]}
    assert ids(answer)[0] == "space1 again"
    assert places["space1 again"]["scores"] == {"content": 0.5, "affinity": 0.5}
    assert places["kitchen3"]["scores"]["affinity"] == round(0.5 * 3 / 9, 6)
    assert places["kitchen3"]["rank"] < places["kitchen4"]["rank"] < places["kitchen0"]["rank"]
    for place in answer["items"]:
        assert place["score"] == pytest.approx(sum(place["scores"].values()))
        assert 0 <= place["score"] <= 1


def test_the_share_of_what_people_went_on_to_is_a_setting(it: Shop) -> None:
    def ranks(shared: float) -> list[str]:
        shop = stocked(SETTINGS.model_copy(update={"reader": ReaderSettings(complement_share=shared)}))
        went_on(shop, {"kitchen3": {"space1": 3.0}})
        with shop.open():
            return ids(shop.get("/v1/items/space1/similar", relation="any", limit=20).json())

    assert ranks(0.9)[0] == "kitchen3"
    assert "kitchen3" not in ranks(0.01)


def test_each_relation_explains_itself(it: Shop) -> None:
    title = "alien starship galaxy orbit 1"
    near = it.get("/v1/items/space1/similar", explain=True).json()["items"][1]
    assert near["because"] == f"similar to {title}"
    assert near["scores"] == {"content": near["score"]}
    after = it.get("/v1/items/space1/similar", relation="complement", explain=True).json()["items"][0]
    assert after["because"] == f"people went on to it from {title}"
    assert after["scores"] == {"affinity": 3.0}
    both = it.get("/v1/items/space1/similar", relation="any", explain=True, limit=40).json()["items"]
    said = {item["item_id"]: item["because"] for item in both}
    assert said["kitchen3"] == after["because"]
    assert said["space2"] == near["because"]
    assert "because" not in it.get("/v1/items/space1/similar").json()["items"][0]


@pytest.mark.parametrize("relation", ["substitute", "complement", "any"])
def test_every_relation_filters_and_leaves_out(it: Shop, relation: str) -> None:
    path = "/v1/items/space1/similar"
    assert share(it.get(path, relation=relation, category="kitchen").json(), "kitchen") == 1.0
    shown = ids(it.get(path, relation=relation, category="kitchen", exclude="kitchen3", limit=100).json())
    assert shown
    assert "kitchen3" not in shown
    assert "space1" not in ids(it.get(path, relation=relation, limit=100).json())


@pytest.mark.parametrize("relation", ["substitute", "complement", "any"])
def test_every_relation_pages_without_repeating(it: Shop, relation: str) -> None:
    found = it.pages("/v1/items/space1/similar", relation=relation, limit=2)
    assert sum(len(ids(page)) for page in found) == {"substitute": 40, "complement": 3, "any": 40}[relation]
    other = "any" if relation != "any" else "substitute"
    first = it.get("/v1/items/space1/similar", relation=relation, limit=2).json()["next"]
    assert problem(it.get("/v1/items/space1/similar", relation=other, next=first))["field"] == "next"


def test_what_cannot_be_had_complements_nothing(fresh: Shop) -> None:
    went_on(fresh, {"kitchen3": {"space1": 3.0}, "kitchen4": {"space1": 2.0}})
    fresh.offer("kitchen3", available=False)
    assert ids(fresh.get("/v1/items/space1/similar", relation="complement").json()) == ["kitchen4"]


def test_an_empty_list_says_why(it: Shop) -> None:
    def why(path: str, **params: Any) -> str:
        answer = it.get(path, **params).json()
        assert answer["items"] == []
        return str(answer["reason"])

    similar = "/v1/items/space1/similar"
    assert "nobody has gone on" in why("/v1/items/space9/similar", relation="complement")
    assert "the filter" in why(similar, relation="complement", category="garden")
    assert "the filter" in why(similar, category="garden")
    assert "the filter" in why("/v1/latest", category="garden")
    assert "nobody has chosen" in why("/v1/trending")
    with Shop().open() as empty:
        answer = empty.get("/v1/latest").json()
        assert (answer["items"], answer["reason"]) == ([], "there is no item to show yet")
        empty.put({"item_id": "alone", "title": "one"})
        for relation in ("substitute", "any"):
            alone = empty.get("/v1/items/alone/similar", relation=relation).json()
            assert (alone["items"], alone["reason"]) == ([], "there is no other item to show yet")


def test_a_page_past_the_end_says_so(it: Shop) -> None:
    first = it.get("/v1/items/space1/similar", relation="complement", limit=3).json()
    assert first["next"]
    last = it.get("/v1/items/space1/similar", relation="complement", limit=3, next=first["next"]).json()
    assert (last["items"], last["reason"], last["next"]) == ([], "the list ends here", None)


# -- who an item is for ------------------------------------------------------------------------------------------------


def test_an_audience_can_be_of_some_segments(fresh: Shop) -> None:
    for user, segment in (("ada", "trial"), ("bob", "paying"), ("eve", "paying")):
        fresh.user(user, {"segment": segment})
        fresh.did(user, "space3")
    fresh.did("zoe", "space3")
    assert set(audience(fresh, "space3")) == {"ada", "bob", "eve", "zoe"}
    assert set(audience(fresh, "space3", segment="paying")) == {"bob", "eve"}
    assert set(audience(fresh, "space3", segment=["paying", "trial"])) == {"ada", "bob", "eve"}
    assert len(audience(fresh, "space3", limit=1)) == 1


def test_an_audience_can_be_of_those_who_were_here_lately(fresh: Shop) -> None:
    for user, ago in (("ada", 10 * 60.0), ("bob", 5 * HOUR), ("eve", 3 * DAY)):
        fresh.did(user, "space3", ago=ago)
    assert set(audience(fresh, "space3", active_within="15m")) == {"ada"}
    assert set(audience(fresh, "space3", active_within="5h")) == {"ada", "bob"}
    assert set(audience(fresh, "space3", active_within="7d")) == {"ada", "bob", "eve"}
    fresh.clock.forward(1)
    assert set(audience(fresh, "space3", active_within="5h")) == {"ada"}


def test_an_empty_audience_says_why(fresh: Shop) -> None:
    assert "nobody has this item" in fresh.get("/v1/items/space3/audience").json()["reason"]
    fresh.did("ada", "space3")
    assert "reason" not in fresh.get("/v1/items/space3/audience").json()
    assert "segment" in fresh.get("/v1/items/space3/audience", segment="paying").json()["reason"]


def test_an_audience_holds_nobody_who_is_forgotten_or_became_someone_else(fresh: Shop) -> None:
    for user in ("ada", "bob", "a:x7", "a:x8"):
        fresh.did(user, "space3")
    fresh.user("bob", None)
    fresh.identify("x8", "carol")
    assert "a:x8" not in audience(fresh, "space3")
    assert set(audience(fresh, "space3")) == {"ada", "a:x7", "carol"}
    # Whatever a stub still holds, it is nobody's history: as if its history hadn't gone.
    stub = fresh.store.retrieve(PROFILES, [person_point_id(Person("a", "x8"))], payload=None)
    assert "stub_since" in only(stub).payload
    whole = fresh.store.retrieve(PROFILES, [person_point_id(Person("u", "ada"))], vectors=("history",))
    for gone in (Person("a", "x8"), Person("u", "bob")):
        fresh.store.update_vectors(PROFILES, {person_point_id(gone): {"history": only(whole).vectors["history"]}})
    assert set(audience(fresh, "space3")) == {"ada", "a:x7", "carol"}


# -- trending and latest -----------------------------------------------------------------------------------------------


def test_what_trends_depends_on_the_window_and_the_category(fresh: Shop) -> None:
    for n in range(3):
        fresh.did(f"u{n}", "space3", ago=5 * DAY)
        fresh.did(f"u{n}", "kitchen3", ago=5 * DAY)
    fresh.did("u9", "space4")
    fresh.did("u9", "kitchen4")
    assert ids(fresh.get("/v1/trending", window="week", category="space").json()) == ["space3", "space4"]
    assert ids(fresh.get("/v1/trending", window="day", category="space").json()) == ["space4", "space3"]
    assert ids(fresh.get("/v1/trending", window="hour", category="kitchen").json()) == ["kitchen4"]
    assert [item["score"] for item in fresh.get("/v1/trending", window="hour").json()["items"]] == [1.0, 1.0]


def test_latest_is_by_publication_and_by_category(it: Shop) -> None:
    assert ids(it.get("/v1/latest", category="kitchen", limit=3).json()) == ["kitchen0", "kitchen1", "kitchen2"]
    answer = it.get("/v1/latest", exclude="space1 again", limit=4).json()
    assert ids(answer) == ["space0", "kitchen0", "space1", "kitchen1"]
    assert answer["items"][0]["score"] == NOW
