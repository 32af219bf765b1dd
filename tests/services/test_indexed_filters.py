"""Every condition of every list is answered by an index: without one, a store reads the payload of all points."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from tests.services.imaging import COLOURS, ColourEncoder
from tests.services.reading import SETTINGS, Shop, stocked
from tests.services.serving import served
from tests.support.fakes import NOW
from tests.support.ids import stable

from eddyline.adapters.vectors import ITEMS, PROFILES, ROWS, HasId, OrderBy, Query, Scored
from eddyline.model.ids import item_point_id
from eddyline.reader import Search, router
from eddyline.runtime.collection_setup import ensure_image_vectors
from eddyline.settings import (
    STRATEGIES,
    AttributeKind,
    ImageSettings,
    PromotionSettings,
    ReaderSettings,
    RuleSettings,
    StrategySettings,
)

EVERYTHING = StrategySettings(
    affinity=1.0,
    people=1.0,
    taste=1.0,
    session=1.0,
    popularity=1.0,
    trending=1.0,
    freshness=1.0,
    rating=1.0,
    price=1.0,
    image=1.0,
    diversity=0.3,
)
SETTINGS_OF_ALL = SETTINGS.model_copy(
    update={
        "strategies": {**STRATEGIES, "everything": EVERYTHING},
        "images": ImageSettings(enabled=True),
        "reader": ReaderSettings(similar_image_share=0.5),
        "rules": (RuleSettings(name="cheap", boost={"filter": {"price": {"lt": 3}}, "factor": 2.0}),),
        "promotions": (PromotionSettings(name="sale", filter={"tag": "odd", "popularity": {"lt": 3}}, share=0.2),),
    }
)
FILTERS: list[dict[str, Any]] = [
    {},
    {"category": ["space", "kitchen"]},
    {"tag": "odd", "tags": {"all": ["film"], "not": ["even"]}},
    {"language": "en", "language_detected": False},
    {"published_at": {"gte": NOW - 1e6}, "expires_at": {"gt": NOW}},
    {"price": {"gte": 1, "lt": 9}, "rating": {"gte": 3}, "available": True},
    {"brand": "acme", "year": {"gte": 1980, "not": [1999]}},
    {"item_id": ["space1", "space2"]},
    *({"popularity": bounds} for bounds in ({"gte": 1}, {"lt": 9}, {"gt": 0}, {"lte": 0}, {"gte": 1, "lt": 9})),
]
RANGES = (AttributeKind.FLOAT, AttributeKind.INTEGER)


@pytest.fixture(scope="module")
def shop() -> Iterator[Shop]:
    """With pictures, and a person of whom everything is known."""
    it = stocked(SETTINGS_OF_ALL)
    ensure_image_vectors(it.store, ColourEncoder.dimension)
    points = [item_point_id(f"space{n}") for n in range(20)]
    red = np.array(COLOURS["red"], np.float32)
    it.store.update_vectors(ITEMS, {point: {"image": red} for point in points})
    it.store.set_payload(ITEMS, {point: {"image": {"state": "ready", "space": "colours-1"}} for point in points})
    it.user("ada", {"interests": ["bread"]})
    for user in ("ada", "bob"):
        for n in range(3):
            it.did(user, f"space{n}", ago=10.0 * n)
        it.did(user, "space9", ago=90 * 86_400.0)
    search = Search(
        it.store, SETTINGS_OF_ALL, it.reader.finder, it.reader.profiles, it.encoder, it.clock, ColourEncoder()
    )
    with served(router(it.reader, 100_000, search)) as it.client:
        yield it


@contextmanager
def recorded(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[str, Query]]]:
    """The queries that are asked of the store, each with its collection."""
    queries: list[tuple[str, Query]] = []
    query = shop.store.query

    def querying(collection: str, asked: Sequence[Query]) -> list[list[Scored]]:
        queries.extend((collection, one) for one in asked)
        return query(collection, asked)

    shop.monotonic.forward(3600.0)
    with monkeypatch.context() as patch:
        patch.setattr(shop.store, "query", querying)
        yield queries


def unindexed(shop: Shop, queries: Sequence[tuple[str, Query]]) -> set[tuple[str, str]]:
    """The fields that are asked for without an index."""
    found = set()
    for collection, query in queries:
        indexes = shop.store._stored[shop.store.aliases()[collection]].indexes
        conditions = (*query.filter.must, *query.filter.must_not)
        found |= {
            (collection, condition.field)
            for condition in conditions
            if not isinstance(condition, HasId) and condition.field not in indexes
        }
        if isinstance(query.by, OrderBy) and indexes.get(query.by.field) not in RANGES:
            found.add((collection, query.by.field))
    return found


@pytest.mark.parametrize("filter", FILTERS, ids=stable)
def test_of_recommendations(shop: Shop, filter: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    with recorded(shop, monkeypatch) as queries:
        for person in ({"user_id": "ada"}, {"user_id": "nobody"}):
            for more in ({}, {"exclude": ["space7"], "strict": True}, {"candidates": ["space5", "kitchen5"]}):
                shop.asked(**person, strategy="everything", filter=filter, **more)
        shop.asked(user_id="ada", filter={**filter, "brand": "nobody's"})
    assert {collection for collection, _ in queries} == {ITEMS, ROWS, PROFILES}
    assert {query.by.using for _, query in queries if not isinstance(query.by, OrderBy)} == {
        *("content", "image", "affinity", "history")
    }
    assert not unindexed(shop, queries)


SIMILAR = "/v1/items/space1/similar"
LISTS: list[tuple[str, dict[str, str]]] = [
    *((SIMILAR, {"relation": relation}) for relation in ("substitute", "complement", "any")),
    *(("/v1/trending", {"window": window}) for window in ("hour", "week")),
    ("/v1/latest", {}),
    *(("/v1/search", {"q": "red", "by": by}) for by in ("text", "image", "both")),
    ("/v1/search", {"q": "red", "user_id": "ada"}),
]
"""The other lists, each with what makes it."""
PARAMETERS: list[dict[str, Any]] = [
    {},
    {"category": "space", "tag": ["odd", "even"], "published_after": str(NOW - 1e6)},
    {"exclude": "space2", "category": "none of it"},
]


@pytest.mark.parametrize(("path", "kind"), LISTS, ids=stable)
def test_of_other_lists(shop: Shop, path: str, kind: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    with recorded(shop, monkeypatch) as queries:
        for parameters in PARAMETERS:
            answer = shop.get(path, **kind, **parameters)
            assert answer.status_code == 200, answer.text
    assert {collection for collection, _ in queries} <= {ITEMS, ROWS}
    assert queries
    assert not unindexed(shop, queries)


def test_of_an_audience(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    with recorded(shop, monkeypatch) as queries:
        assert shop.get("/v1/items/space1/audience").json()["people"]
        shop.get("/v1/items/space1/audience", segment="trial", active_within="1d")
    assert {collection for collection, _ in queries} == {PROFILES}
    assert not unindexed(shop, queries)
