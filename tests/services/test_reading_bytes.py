"""What a list costs on the wire, on the stand-in for a Qdrant server."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import orjson
import pytest
from tests.services.reading import SETTINGS, stocked
from tests.support.fakes import NOW, TinyEncoder

from eddyline.adapters.telemetry import Metrics
from eddyline.adapters.vectors import ITEMS as CATALOGUE
from eddyline.adapters.vectors import PROFILES, ROWS, Distance, Point, Sparse, VectorStore
from eddyline.adapters.vectors.rest_client import Rest
from eddyline.model.ids import Person, item_dimension, item_point_id
from eddyline.model.listing import row_listing
from eddyline.model.profile import Profile, TimeConstants, WeightedInteraction
from eddyline.profiler import to_profile_point
from eddyline.reader import Reader
from eddyline.reader.schemas import RecommendationRequest
from eddyline.runtime.collection_setup import create_collections

BYTES_PER_HIT = 100
"""A point's id, its score and their names in JSON."""
SIZE, ITEMS, EVENTS = 384, 300, 100
PERSON_BYTES, HITS_BYTES = 9_000, 7_000
"""Most that is read for a list: of the person, and in the search of each source."""


def asking(
    reader: Reader, monkeypatch: pytest.MonkeyPatch, strategy: str | None = None
) -> Callable[[], list[tuple[str, bytes]]]:
    """Return what asks for ada's list, and returns the store's answers: path and body."""
    answers: list[tuple[str, bytes]] = []
    send: Callable[..., Any] = Rest._send

    def sending(rest: Rest, method: str, path: str, content: bytes) -> Any:
        answer = send(rest, method, path, content)
        if "blends/points" not in path:  # once a second, for everybody's lists
            answers.append((path, answer.content))
        return answer

    def ask() -> list[tuple[str, bytes]]:
        answers.clear()
        reader.recommend(RecommendationRequest(user_id="ada", limit=20, strategy=strategy))
        return answers.copy()

    monkeypatch.setattr(Rest, "_send", sending)
    return ask


def test_a_warm_list_is_read_as_ids_and_scores(rest_store: VectorStore, monkeypatch: pytest.MonkeyPatch) -> None:
    create_collections(rest_store, SETTINGS, TinyEncoder.dimension, Distance.COSINE)
    shop = stocked(store=rest_store)
    for n in range(20):
        shop.did("ada", f"space{n % 5}", "like", ago=60.0 - n)
        shop.did("bob", f"space{n % 7}", ago=60.0 - n)
    ask = asking(shop.reader, monkeypatch)
    assert len(ask()) == 5, "with nothing cached"
    profile, *batches = ask()
    assert profile[0].endswith("profiles/points")
    assert sorted(path.rpartition("-")[2] for path, _ in batches) == [
        "items/points/query/batch",
        "rows/points/query/batch",
    ]
    hits = sum(len(found["points"]) for _, body in batches for found in orjson.loads(body)["result"])
    assert hits > 40
    assert sum(len(body) for _, body in batches) < BYTES_PER_HIT * hits + 200
    assert sum(len(body) for _, body in (profile, *batches)) < 15_000


@pytest.mark.slow(20)
@pytest.mark.parametrize(
    ("strategy", "sources"),
    [("eddyline", {"taste", "session", "affinity"}), ("learned", {"taste", "session", "affinity", "next", "recent"})],
)
def test_a_list_for_someone_active_reads_few_bytes(
    rest_store: VectorStore, monkeypatch: pytest.MonkeyPatch, strategy: str, sources: set[str]
) -> None:
    """Of vectors as long as the default encoder's, and of someone who has chosen a hundred items lately."""
    create_collections(rest_store, SETTINGS, SIZE, Distance.COSINE)
    random = np.random.default_rng(1)
    vectors = random.normal(size=(ITEMS, SIZE)).astype(np.float32)
    names = [f"product-{number}" for number in range(ITEMS)]
    chosen = random.permutation(ITEMS)[:EVENTS]
    row = Sparse(np.array([item_dimension(names[number]) for number in chosen], np.uint32), np.ones(EVENTS, np.float32))
    items, rows = [], []
    for name, vector in zip(names, vectors, strict=True):
        fields = {"item_id": name, "listed_at": NOW, "meta": {"title": name}}
        listing = row_listing(fields, {})
        items.append(Point(item_point_id(name), {"content": vector}, {**listing, "space": "s"}))
        rows.append(Point(item_point_id(name), {"affinity": row}, {**listing, "trend": {"quarter": 1.0, "week": 1.0}}))
    rest_store.upsert(CATALOGUE, items)
    rest_store.upsert(ROWS, rows)
    ada = Profile(Person("u", "ada"), SETTINGS.profile)
    ada.require_space("s")
    for ago, number in enumerate(chosen.tolist()):
        one = WeightedInteraction(names[number], "click", vectors[number].astype(np.float64), 1.0, NOW - 60 * ago, 9.0)
        ada.fold(one, TimeConstants.from_settings(SETTINGS.profile))
        ada.delivery.remember(f"event-{ago}")
    rest_store.upsert(PROFILES, [to_profile_point(ada, 0)])
    reader = Reader(rest_store, SETTINGS, Metrics(), lambda: NOW, lambda: 0.0)
    ask = asking(reader, monkeypatch, strategy)
    assert len(ask()) == 5, "with nothing cached"
    person, *batches = ask()
    reader.close()
    found = [found for _, body in batches for found in orjson.loads(body)["result"]]
    assert len(found) == len(sources)
    assert all(len(each["points"]) in (0, SETTINGS.ranking.candidates) for each in found)
    assert len(person[1]) < PERSON_BYTES
    assert sum(len(body) for _, body in batches) < HITS_BYTES * len(sources)
