"""Search: items by meaning, in an order that suits whoever asks, where the reader has an encoder."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from tests.services.reading import SETTINGS, Shop, ids, pages, share, stocked
from tests.services.serving import problem, served
from tests.support.fakes import TinyEncoder, WiderEncoder

from eddyline.model.ids import item_point_id
from eddyline.reader import Search, router
from eddyline.settings import ReaderSettings

WAIT = 10.0


class Desk:
    """A shop whose reader can search."""

    def __init__(self, shop: Shop, encoder: TinyEncoder, client: httpx.Client) -> None:
        self.shop, self.encoder, self._client = shop, encoder, client

    def find(self, q: str, **params: Any) -> dict[str, Any]:
        answer = self.ask(q=q, **params)
        assert answer.status_code == 200, answer.text
        said: dict[str, Any] = answer.json()
        return said

    def ask(self, **params: Any) -> httpx.Response:
        return self._client.get("/v1/search", params=params)

    def get(self, path: str) -> httpx.Response:
        return self._client.get(path)


@contextmanager
def opened(shop: Shop, encoder: TinyEncoder | None = None, share: float = 0.2) -> Iterator[Desk]:
    encoder = encoder or TinyEncoder()
    settings = SETTINGS.model_copy(update={"reader": ReaderSettings(search_taste_share=share)})
    search = Search(shop.store, settings, shop.reader.finder, shop.reader.profiles, encoder, shop.clock)
    with served(router(shop.reader, 100_000, search)) as client:
        yield Desk(shop, encoder, client)


@pytest.fixture
def it() -> Iterator[Desk]:
    with opened(stocked()) as desk:
        yield desk


def both_kinds() -> Shop:
    """Two bridges between the kinds: as close to the query as one another."""
    shop = stocked()
    shop.put(
        {"item_id": "galley", "title": "sandwich alien starship", "category": "bridges"},
        {"item_id": "pantry", "title": "sandwich bread butter", "category": "bridges"},
    )
    for n in range(4):
        shop.did("ada", f"space{n}", "like")
        shop.did("bob", f"kitchen{n}", "like")
    return shop


# -- what is found -----------------------------------------------------------------------------------------------------


def test_a_search_finds_what_means_the_same(it: Desk) -> None:
    answer = it.find("Alien starship?", limit=20)
    assert share(answer, "space") == 1.0
    assert share(it.find("bread, butter", limit=20), "kitchen") == 1.0
    scores = [item["score"] for item in answer["items"]]
    assert scores == sorted(scores, reverse=True)
    assert (answer["personalised"], answer["degraded"], answer["items"][0]["rank"]) == (False, False, 1)
    assert answer["items"][0]["title"].startswith("alien starship")


def test_a_search_filters_leaves_out_and_shows_only_what_can_be_had(it: Desk) -> None:
    assert share(it.find("starship", category="kitchen"), "kitchen") == 1.0
    shown = ids(it.find("starship", tag="odd", exclude=["space1", "space3"], limit=40))
    assert set(shown) == {f"space{n}" for n in range(5, 20, 2)}
    it.shop.offer("space5", available=False)
    assert "space5" not in ids(it.find("starship", limit=100))


def test_a_search_pages_without_repeating(it: Desk) -> None:
    for someone in ({}, {"user_id": "ada"}):
        it.shop.did("ada", "kitchen1", "like")
        found = pages(lambda cursor, who=someone: it.ask(q="starship", limit=7, **who, **cursor))  # type: ignore[misc]
        assert sum(len(ids(page)) for page in found) == 40
    cursor = it.find("starship", limit=7)["next"]
    for other in ({"q": "bread"}, {"q": "starship", "user_id": "ada"}, {"q": "starship", "tag": "odd"}):
        assert problem(it.ask(**other, next=cursor))["field"] == "next"


def test_nothing_found_says_why(it: Desk) -> None:
    answer = it.find("starship", category="garden")
    assert (answer["items"], "filter" in answer["reason"]) == ([], True)
    with opened(Shop()) as empty:
        assert empty.find("starship")["reason"] == "there is no item to show yet"


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({}, "q"),
        ({"q": ""}, "q"),
        ({"q": "   "}, "q"),
        ({"q": "x" * 1001}, "q"),
        ({"q": "starship", "user_id": ""}, "user_id"),
        ({"q": "starship", "limit": 101}, "limit"),
        ({"q": "starship", "query": "x"}, "query"),
        ({"q": "starship", "next": "garbage"}, "next"),
    ],
)
def test_a_wrong_search_is_refused_by_name(it: Desk, params: dict[str, Any], field: str) -> None:
    assert problem(it.ask(**params))["field"] == field
    assert it.find("x" * 1000)["items"]


# -- whose order it is -------------------------------------------------------------------------------------------------


def test_the_same_search_suits_whoever_asks() -> None:
    with opened(both_kinds(), share=0.5) as desk:
        for user, first in (("ada", "galley"), ("bob", "pantry")):
            answer = desk.find("sandwich", user_id=user, category="bridges")
            assert answer["personalised"]
            assert ids(answer)[0] == first
        stranger = desk.find("sandwich", user_id="nobody")
        assert not stranger["personalised"]
        assert stranger["items"] == desk.find("sandwich")["items"]


def test_taste_has_its_share_and_no_more() -> None:
    with opened(both_kinds(), share=0.2) as desk:
        found = desk.find("bread butter oven recipe", user_id="ada", limit=20)
        assert share(found, "kitchen") == 1.0
    with opened(both_kinds(), share=0.0) as desk:
        answer = desk.find("sandwich", user_id="ada")
        assert (answer["personalised"], answer["items"]) == (False, desk.find("sandwich")["items"])


def test_someone_who_is_not_signed_in_has_a_say_too() -> None:
    shop = both_kinds()
    shop.did("a:x7", "kitchen1", "like")
    with opened(shop, share=0.5) as desk:
        assert ids(desk.find("sandwich", anonymous_id="x7", category="bridges"))[0] == "pantry"
        assert ids(desk.find("sandwich", anonymous_id="x7", user_id="ada", category="bridges"))[0] == "galley"
        assert not desk.find("sandwich", user_id="x7")["personalised"]


def test_a_search_explains_itself() -> None:
    shop = both_kinds()
    shop.clock.forward(3 * 86_400.0)
    with opened(shop, share=0.5) as desk:
        plain = desk.find("sandwich", explain=True)["items"][0]
        assert plain["because"] == "close to what you searched for"
        assert plain["scores"] == {"relevance": plain["score"]}
        before = desk.find("sandwich", user_id="ada", explain=True)["items"][0]
        assert before["scores"].keys() == {"relevance", "taste"} | ({"session"} & before["scores"].keys())
        shop.did("ada", "space9", "like")
        for item in desk.find("sandwich", user_id="ada", explain=True)["items"]:
            assert item["scores"].keys() == {"relevance", "taste", "session"}
            assert item["score"] == pytest.approx(sum(item["scores"].values()), abs=2e-6)
        assert "because" not in desk.find("sandwich", user_id="ada")["items"][0]


# -- the encoder -------------------------------------------------------------------------------------------------------


def test_a_repeated_search_is_encoded_once(it: Desk) -> None:
    for q in ("starship", " starship ", "bread", "starship"):
        it.find(q)
    assert it.encoder.texts == ["starship", "bread"]


def test_what_is_remembered_of_searches_is_bounded(it: Desk) -> None:
    search = Search(it.shop.store, SETTINGS, it.shop.reader.finder, it.shop.reader.profiles, it.encoder, it.shop.clock)
    for n in range(1100):
        search._encode(f"word{n}")
    del it.encoder.texts[:]
    for n in (1099, 500, 0):
        search._encode(f"word{n}")
    assert it.encoder.texts == ["word0"]


def test_a_reader_without_an_encoder_says_how_to_search() -> None:
    with stocked().open() as shop:
        said = problem(shop.get("/v1/search", q="starship"), 501)
        assert "reader.search = true" in said["detail"]
        assert problem(shop.get("/v1/search"))["field"] == "q"


@pytest.mark.parametrize(
    ("encoder", "named"),
    [(TinyEncoder("other-t1"), "other-t1"), (WiderEncoder(), "encoder.model")],
    ids=["another model", "another length"],
)
def test_vectors_of_another_model_are_never_compared(encoder: TinyEncoder, named: str) -> None:
    with opened(stocked(), encoder) as desk:
        said = problem(desk.ask(q="starship"), 503)
        assert "tiny-t1" in said["detail"]
        assert named in said["detail"]


def test_a_profile_of_another_model_has_no_say() -> None:
    shop = both_kinds()
    search = Search(shop.store, SETTINGS, shop.reader.finder, shop.reader.profiles, TinyEncoder("other-t1"), shop.clock)
    for n in range(20):
        for kind in ("space", "kitchen"):
            shop.store.set_payload("items", {item_point_id(f"{kind}{n}"): {"space": "other-t1"}})
    for item in ("galley", "pantry"):
        shop.store.set_payload("items", {item_point_id(item): {"space": "other-t1"}})
    with served(router(shop.reader, 100_000, search)) as client:
        answer = client.get("/v1/search", params={"q": "sandwich", "user_id": "ada"}).json()
    assert answer["items"]
    assert not answer["personalised"]


class SlowEncoder(TinyEncoder):
    """Encodes when it is let."""

    def __init__(self) -> None:
        super().__init__()
        self.begun, self.go = threading.Event(), threading.Event()

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        self.begun.set()
        assert self.go.wait(WAIT)
        return super().encode(texts)


def test_others_are_answered_while_a_search_is_encoded() -> None:
    encoder = SlowEncoder()
    with opened(stocked(), encoder) as desk:
        answers: list[dict[str, Any]] = []
        searching = threading.Thread(target=lambda: answers.append(desk.find("starship")))
        searching.start()
        assert encoder.begun.wait(WAIT)
        assert desk.get("/healthz").status_code == 200
        assert desk.get("/v1/latest").json()["items"]
        assert not answers
        encoder.go.set()
        searching.join(WAIT)
        assert answers[0]["items"]


def test_a_search_without_the_store_is_refused_for_now(it: Desk) -> None:
    it.shop.store.down = {"all"}
    assert problem(it.ask(q="starship"), 503)
