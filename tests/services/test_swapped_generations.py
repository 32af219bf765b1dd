"""Another generation goes live while a request is answered: it is answered all the same, from the new one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from tests.services.reading import SETTINGS, Shop, ids, stocked
from tests.support.fake_log import FakeLog
from tests.support.fakes import Clock, FakeDeadLetters, FakeProducer, WiderEncoder

from eddyline.adapters.vectors import Collections, Distance, item_collection, profile_collection
from eddyline.maintenance.generations.handover import RebuildSource
from eddyline.maintenance.generations.rebuild import GatedOutputs, ProfileRebuild, TranslateRecord
from eddyline.maintenance.generations.reembed import reembed
from eddyline.model.ranking import Hit, merge_candidates

PARTITIONS = 4


def swap(shop: Shop) -> None:
    """Everything in vectors of another size from now on."""
    encoder = WiderEncoder()

    def create(target: Collections) -> None:
        shop.store.ensure(item_collection(encoder.dimension, Distance.COSINE, {}, target.items))
        shop.store.ensure(profile_collection(target.profiles))

    log = FakeLog(PARTITIONS, Clock())

    def rebuild(target: Collections, translate: TranslateRecord) -> ProfileRebuild:
        outputs = GatedOutputs(FakeProducer(), FakeDeadLetters())
        return ProfileRebuild(log, shop.store, outputs, SETTINGS, target, PARTITIONS, translate, lambda _count: None)

    # An empty log, which no profile is of: all are approximated.
    source = RebuildSource(log, "another log", rebuild)
    reembed(shop.store, encoder, SETTINGS.profile, create, lambda _line: None, source)


def once_after(shop: Shop, name: str, collection: str, then: Callable[[], None], monkeypatch: Any) -> None:
    """Have `then` happen right after the first look-up of that kind."""
    look_up, happened = getattr(shop.store, name), [False]

    def looking(where: str, *positional: Any, **named: Any) -> Any:
        found = look_up(where, *positional, **named)
        if where == collection and not happened[0]:
            happened[0] = True
            then()
        return found

    monkeypatch.setattr(shop.store, name, looking)


@pytest.fixture
def shop() -> Shop:
    shop = stocked()
    for n in range(4):
        shop.did("ada", f"space{n}", "like")
    return shop


def test_a_list_is_full_and_personal(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    with shop.open():
        once_after(shop, "retrieve", "profiles", lambda: swap(shop), monkeypatch)
        answer = shop.recommend("ada", limit=5)
    assert len(ids(answer)) == 5
    assert (answer["degraded"], answer["cold_start"]) == (False, False)


def test_what_was_done_this_very_moment_counts(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    with shop.open():
        once_after(shop, "retrieve", "profiles", lambda: swap(shop), monkeypatch)
        answer = shop.asked(user_id="ada", recent=[{"type": "like", "item_id": "kitchen1"}], limit=5)
    assert len(ids(answer)) == 5
    assert not answer["degraded"]


def test_a_list_that_everyone_shares_goes_with_vectors_of_the_next_generation(shop: Shop) -> None:
    with shop.open():
        assert not shop.recommend("ada", diversity=0.5)["degraded"]
        swap(shop)
        answer = shop.recommend("ada", diversity=0.5, limit=10)
    assert len(ids(answer)) == 10
    assert not answer["degraded"]


def test_similar_items_are_found(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    with shop.open():
        once_after(shop, "retrieve", "items", lambda: swap(shop), monkeypatch)
        assert ids(shop.get("/v1/items/space1/similar", limit=3).json())


def test_vectors_of_another_length_have_no_say_in_diversity() -> None:
    found = [Hit("a", 1.0, {}, np.ones(2)), Hit("b", 0.9, {}, None), Hit("c", 0.8, {}, np.ones(3))]
    gathered = merge_candidates({"taste": found}, 10)
    assert [None if vector is None else len(vector) for vector in gathered.vectors] == [2, None, None]
