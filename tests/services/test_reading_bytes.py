"""What a list costs on the wire, on the stand-in for a Qdrant server."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson
import pytest
from tests.services.reading import SETTINGS, stocked
from tests.support.fakes import TinyEncoder

from eddyline.adapters.vectors import Distance, VectorStore
from eddyline.adapters.vectors.rest_client import Rest
from eddyline.reader.schemas import RecommendationRequest
from eddyline.runtime.collection_setup import create_collections

BYTES_PER_HIT = 100
"""A point's id, its score and their names in JSON."""


def test_a_warm_list_is_read_as_ids_and_scores(rest_store: VectorStore, monkeypatch: pytest.MonkeyPatch) -> None:
    create_collections(rest_store, SETTINGS, TinyEncoder.dimension, Distance.COSINE)
    shop = stocked(store=rest_store)
    for n in range(20):
        shop.did("ada", f"space{n % 5}", "like", ago=60.0 - n)
        shop.did("bob", f"space{n % 7}", ago=60.0 - n)
    answers: list[tuple[str, bytes]] = []
    send: Callable[..., Any] = Rest._send

    def sending(rest: Rest, method: str, path: str, content: bytes) -> Any:
        answer = send(rest, method, path, content)
        answers.append((path, answer.content))
        return answer

    def ask() -> list[tuple[str, bytes]]:
        answers.clear()
        shop.reader.recommend(RecommendationRequest(user_id="ada"))
        return answers

    monkeypatch.setattr(Rest, "_send", sending)
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
