"""What is left of someone who was erased: every collection is read, and every compacted topic.

It asks over HTTP, as an application does; then it looks inside, which nobody else in this folder may.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.support.kafka import Cluster
from tests.support.stored_profile import open_payload
from tests.support.system import eddyline, on_kafka, wait_until

from eddyline.adapters.kafka import KafkaOptions, LogReader
from eddyline.adapters.vectors import EdgeStore, VectorStore
from eddyline.topics import SOURCE_TOPICS

pytestmark = pytest.mark.system

USER, VISITOR = "erin-the-erased", "browser-of-erin"
VECTORS = {"profiles": ("taste", "history"), "items": ("content",), "rows": ("affinity",), "blends": ()}


@pytest.mark.slow(45)
def test_nothing_of_an_erased_person_is_left(kafka_cluster: Cluster, tmp_path: Path, lean: dict[str, str]) -> None:
    env = lean | on_kafka(kafka_cluster, "erasure")
    prefix = env["EDDYLINE_KAFKA__PREFIX"].rstrip(".")
    if url := os.environ.get("QDRANT_URL"):
        env |= {"EDDYLINE_QDRANT__URL": url, "EDDYLINE_QDRANT__PREFIX": f"{prefix}-"}
    with eddyline("up", "--data-dir", str(tmp_path / "data"), log=tmp_path / "log.txt", env=env) as it:
        client = it.client
        for item in ("kayaks", "canoes", "rafts"):
            client.put(f"/v1/items/{item}", json={"title": f"All about {item}"})
        it.await_item("rafts")
        client.put(f"/v1/users/{USER}", json={"interests": ["rivers"], "attributes": {"town": "Eddyville"}})
        for event in (
            {"type": "like", "anonymous_id": VISITOR, "item_id": "kayaks"},
            {"type": "identify", "anonymous_id": VISITOR, "user_id": USER},
            {"type": "click", "anonymous_id": VISITOR, "item_id": "canoes"},
            {"type": "purchase", "user_id": USER, "item_id": "rafts"},
            {"type": "like", "user_id": USER, "item_id": "never-made"},
        ):
            assert client.post("/v1/events", json=event).status_code == 202
        wait_until(lambda: client.get(f"/v1/users/{USER}").json().get("events") == 3, "all of it is theirs")
        assert client.delete(f"/v1/users/{USER}").status_code == 202
        wait_until(lambda: client.get(f"/v1/users/{USER}").status_code == 404, "nothing is known of them")
        late = {"type": "like", "user_id": USER, "item_id": "kayaks", "timestamp": 1_700_000_000}
        assert client.post("/v1/events", json=late).status_code == 202
        assert client.post("/v1/events", json=late | {"user_id": "somebody-else"}).status_code == 202
        wait_until(lambda: client.get("/v1/users/somebody-else").status_code == 200, "what came later is handled")
        wait_until(lambda: _anonymous_is_a_stranger(it.client), "their anonymous id is forgotten")
        it.stop()
        with _stored(tmp_path / "data", prefix) as store:
            assert _names(_everything(store)) == []
            assert "somebody-else" in _everything(store), "it does read what is there"
    options = KafkaOptions(kafka_cluster.bootstrap_servers, prefix=f"{prefix}.")
    assert _names(repr(_compacted(options))) == []


def _names(text: str) -> list[str]:
    return [trace for trace in (USER, VISITOR, "Eddyville", "never-made") if trace in text]


def _anonymous_is_a_stranger(client: object) -> bool:
    answer = client.post("/v1/recommendations", json={"anonymous_id": VISITOR})  # type: ignore[attr-defined]
    return bool(answer.json()["cold_start"])


@contextmanager
def _stored(data: Path, prefix: str) -> Iterator[VectorStore]:
    store: VectorStore
    if url := os.environ.get("QDRANT_URL"):
        from eddyline.adapters.vectors import ServerStore

        store = ServerStore(url, prefix=f"{prefix}-")
    else:
        store = EdgeStore(data / "vectors")
    try:
        yield store
    finally:
        store.close()


def _everything(store: VectorStore) -> str:
    """All points of all collections, as text; and no profile of someone erased has a vector."""
    text = []
    for collection in store.collections():
        vectors = VECTORS[collection.rsplit("-", 1)[0]]
        points, after = store.scroll(collection, limit=10_000, vectors=vectors)
        assert after is None
        for point in points:
            assert "erased_at" not in point.payload or not (point.vectors or "vectors" in point.payload)
            payload = open_payload(point.payload) if collection.startswith("profiles") else point.payload
            text.append(f"{collection} {point.id} {payload}")
    return "\n".join(text)


def _compacted(options: KafkaOptions) -> dict[tuple[str, bytes | None], bytes]:
    """The latest value of each key of each compacted topic, which is what compaction leaves; tombstones are gone."""
    latest: dict[tuple[str, bytes | None], bytes | None] = {}
    reader = LogReader(options)
    for spec in SOURCE_TOPICS:
        if spec.cleanup == "compact":
            for partition, (low, high) in reader.bounds(spec.name).items():
                for record in reader.read(spec.name, partition, low, high):
                    latest[spec.name, record.key] = record.value
    reader.close()
    assert any(topic == "content" for topic, _ in latest)
    assert any(topic == "users" for topic, _ in latest)
    return {key: value for key, value in latest.items() if value is not None}
