"""What is left of someone who was erased: every collection is read, and every compacted topic.

It asks over HTTP, as an application does; then it looks inside, which nobody else in this folder may.
"""

from __future__ import annotations

import os
from base64 import b64decode
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from tests.support.kafka import Cluster
from tests.support.stored_profile import open_payload
from tests.support.system import Eddyline, eddyline, on_kafka, run, wait_until

from eddyline.adapters.kafka import KafkaOptions, LogReader
from eddyline.adapters.vectors import EdgeStore, VectorStore
from eddyline.topics import SOURCE_TOPICS, changelog_topic, dead_letter_topic

pytestmark = pytest.mark.system

USER, VISITOR, STRANGER = "erin-the-erased", "browser-of-erin", "someone-unnamed"
VECTORS = {"profiles": ("history",), "items": ("content",), "rows": ("affinity",), "blends": ()}


@pytest.mark.slow(60)
@pytest.mark.parametrize("kind", [pytest.param("embedded", marks=pytest.mark.extended), "kafka"])
def test_nothing_of_an_erased_person_is_left(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path, lean: dict[str, str]
) -> None:
    env, data = lean, tmp_path / "data"
    cluster: Cluster | None = None
    if kind == "kafka":
        cluster = request.getfixturevalue("kafka_cluster")
        env = lean | on_kafka(cluster, "erasure") | {"EDDYLINE_INSIGHTS__ENABLED": "true"}
    prefix = env.get("EDDYLINE_KAFKA__PREFIX", "").rstrip(".")
    url = os.environ.get("QDRANT_URL") if cluster is not None else None
    if url:
        env |= {"EDDYLINE_QDRANT__URL": url, "EDDYLINE_QDRANT__PREFIX": f"{prefix}-"}
    with eddyline("up", "--data-dir", str(data), log=tmp_path / "log.txt", env=env) as it:
        _live_and_be_erased(it, data, env)
        if cluster is not None:
            options = KafkaOptions(cluster.bootstrap_servers, prefix=f"{prefix}.")
            wait_until(lambda: not _measured(options), "insights has forgotten them, too", 60)
        it.stop()
    with _stored(data, prefix, url) as store:
        assert _names(_everything(store)) == []
        assert "somebody-else" in _everything(store), "it does read what is there"
    assert _names((tmp_path / "log.txt").read_text()) == []
    dead_letters = (tmp_path / "data" / "dead-letters").rglob("*.jsonl")
    assert [path for path in dead_letters if _names(_decoded(path))] == []
    if cluster is not None:
        assert _names(repr(_compacted(options))) == []
        assert _names(repr(_dead_letters(options))) == []


def _live_and_be_erased(it: Eddyline, data: Path, env: dict[str, str]) -> None:
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
        {"type": "like", "anonymous_id": STRANGER, "item_id": "rafts"},
        {"type": "like", "anonymous_id": STRANGER, "item_id": "never-made"},
    ):
        assert client.post("/v1/events", json=event).status_code == 202
    it.await_events(USER, 3)
    client.post("/v1/recommendations", json={"user_id": USER})
    wait_until(lambda: not _is_a_stranger(client, STRANGER), "the one without a name is known")
    erased = run("erase", USER, "--yes", "--url", it.url, "--data-dir", str(data), env=env)
    assert erased.returncode == 0, erased.stderr
    assert "3 events, 1 attribute, 1 waiting for their items, answers; erased" in erased.stdout
    assert client.delete(f"/v1/anonymous/{STRANGER}").status_code == 202
    assert client.get(f"/v1/users/{USER}").status_code == 404
    late = {"type": "like", "item_id": "kayaks", "timestamp": 1_700_000_000}
    for person in ({"user_id": USER}, {"anonymous_id": STRANGER}, {"user_id": "somebody-else"}):
        assert client.post("/v1/events", json=late | person).status_code == 202
    it.await_events("somebody-else", 1)
    wait_until(lambda: _is_a_stranger(client, VISITOR), "their anonymous id is forgotten")
    assert _is_a_stranger(client, STRANGER)


def _names(text: str) -> list[str]:
    return [trace for trace in (USER, VISITOR, STRANGER, "Eddyville", "never-made") if trace in text]


def _is_a_stranger(client: httpx.Client, anonymous_id: str) -> bool:
    answer = client.post("/v1/recommendations", json={"anonymous_id": anonymous_id})
    return bool(answer.json()["cold_start"])


def _decoded(path: Path) -> str:
    """A file of dead letters, whose bytes are in base64."""
    lines = [orjson.loads(line) for line in path.read_bytes().splitlines()]
    return repr([b64decode(line[name]) for line in lines for name in ("key", "value") if line[name]])


@contextmanager
def _stored(data: Path, prefix: str, url: str | None) -> Iterator[VectorStore]:
    store: VectorStore
    if url:
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


def _dead_letters(options: KafkaOptions) -> list[tuple[bytes | None, bytes | None]]:
    reader = LogReader(options)
    try:
        return [
            (record.key, record.value)
            for spec in SOURCE_TOPICS
            for partition, (low, high) in reader.bounds(dead_letter_topic(spec.name)).items()
            for record in reader.read(dead_letter_topic(spec.name), partition, low, high)
        ]
    finally:
        reader.close()


def _measured(options: KafkaOptions) -> bool:
    """Whether insights still holds something of the erased people, but for a row's key, which goes within hours."""
    rows: dict[str, dict[str, Any]] = {}
    reader, topic = LogReader(options), changelog_topic("people")
    try:
        for partition, (low, high) in reader.bounds(topic).items():
            for record in reader.read(topic, partition, low, high):
                rows[(record.key or b"").decode()] = orjson.loads(record.value or b"{}")
    finally:
        reader.close()
    # To the anonymous ids this test has served lists since.
    kept = {f"u:{USER}": ("lists", "deeds"), f"a:{VISITOR}": ("deeds",), f"a:{STRANGER}": ("deeds",)}
    return any(
        rows.get(key, {}).get("erased_at") is None or any(rows[key][name] for name in names)
        for key, names in kept.items()
    )
