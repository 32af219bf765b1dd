"""Another encoder: everything is embedded anew and swapped, from the packaged model to an endpoint of OpenAI's kind."""

from __future__ import annotations

import os
import threading
import uuid
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.embedding_api import embeddings
from tests.support.endpoint import serving
from tests.support.kafka import Cluster
from tests.support.qdrant_rest import QdrantRest
from tests.support.system import Eddyline, eddyline, run, wait_until

pytestmark = pytest.mark.system

SLOWLY = 120.0
FILMS = {
    "whales": "Whales of the deep ocean",
    "reef": "Life on an ocean reef",
    "pasta": "Cooking fresh pasta",
    "bread": "Baking bread at home",
}


@pytest.fixture
def other(tmp_path: Path) -> Iterator[dict[str, str]]:
    """The settings of another encoder."""
    with serving() as endpoint:
        endpoint.answer = embeddings
        yield {
            "EDDYLINE_ENCODER__KIND": "openai",
            "EDDYLINE_ENCODER__URL": endpoint.url,
            "EDDYLINE_ENCODER__MODEL": "small",
            "EDDYLINE_ENCODER__CACHE_DIR": str(tmp_path / "cache"),
        }


def fill(process: Eddyline) -> None:
    for item_id, title in FILMS.items():
        process.put(item_id, title=title)
    for item_id in FILMS:
        process.await_item(item_id, SLOWLY)
    process.post(*({"type": "click", "user_id": "ada", "item_id": "whales"} for _ in range(2)))
    process.await_events("ada", 2, SLOWLY)


def found(process: Eddyline, text: str) -> str:
    answer = process.client.get("/v1/search", params={"q": text, "limit": 1})
    assert answer.status_code == 200, answer.text
    first: str = answer.json()["items"][0]["item_id"]
    return first


def test_embedded_it_goes_on_with_what_there_was(tmp_path: Path, other: dict[str, str]) -> None:
    data = ("--data-dir", str(tmp_path / "data"))
    with eddyline("up", *data, log=tmp_path / "before.txt") as process:
        fill(process)
        before = process.client.get("/v1/items/whales").json()
        assert found(process, "marine animals") in {"whales", "reef"}

    refused = run("up", *data, "--port", "0", env=other)
    assert refused.returncode == 2
    assert "reembed" in refused.stderr

    done = run("reembed", *data, env=other)
    assert done.returncode == 0, done.stderr
    assert "4 items and 1 profiles" in " ".join(done.stderr.split())

    with eddyline("up", *data, log=tmp_path / "after.txt", env=other) as process:
        assert process.client.get("/v1/items/whales").json() == before
        assert process.person("ada")["events"] == 2
        assert found(process, "fresh pasta") == "pasta"
        process.put("squid", title="Squid of the deep ocean")
        process.await_item("squid", SLOWLY)
        assert process.recommend("ada", limit=1)[0]["item_id"] == "squid", "the taste for whales came along"
        process.post({"type": "click", "user_id": "ada", "item_id": "bread"})
        process.await_events("ada", 3, SLOWLY)
        assert found(process, "squid") == "squid"


@pytest.mark.parametrize("broker", ["in-process", "kafka"])
def test_embedded_people_get_their_lists_all_the_while(
    tmp_path: Path, other: dict[str, str], broker: str, request: pytest.FixtureRequest
) -> None:
    data, env = ("--data-dir", str(tmp_path / "data")), {}
    if broker == "kafka":
        cluster: Cluster = request.getfixturevalue("kafka_cluster")
        if cluster.kind == "in-process":
            pytest.skip(f"no real Kafka: {'; '.join(cluster.fell_back)}")
        env = {
            "EDDYLINE_KAFKA__BOOTSTRAP_SERVERS": cluster.bootstrap_servers,
            "EDDYLINE_KAFKA__PREFIX": f"embedded-{uuid.uuid4().hex[:8]}.",
        }
    films = {f"film{n}": f"Chronicle {n % 7} number {n} of the archive" for n in range(400)}
    with eddyline("up", *data, log=tmp_path / "up.txt", env=env) as process:
        fill(process)
        for item_id, title in films.items():
            process.put(item_id, title=title)
        wait_until(lambda: all(process.has(item_id) for item_id in films), "all films are searchable", SLOWLY)
        process.client.put("/v1/users/ada", json={"interests": ["rivers"], "segment": "new"})
        wait_until(lambda: process.person("ada").get("onboarded"), "what ada answered is known", SLOWLY)
        visitor, writer = Visitor(process), Writer(process)
        try:
            done = run("reembed", *data, env=env | other)
            assert done.returncode == 0, done.stderr
            said = " ".join(done.stderr.split())
            assert "items-2 and profiles-2 are live" in said
            assert "encoder.model" in said, "the next start needs the same settings"
        finally:
            answers, searches, written = visitor.leave(), visitor.searches, writer.leave()
        assert written > 2, "items and clicks came in meanwhile"
        assert set(answers) == {"full"}, answers
        assert set(searches) == {"full"}, searches
        everything(process, written)

    refused = run("up", *data, "--port", "0", env=env)
    assert refused.returncode == 2
    assert "reembed" in refused.stderr
    with eddyline("up", *data, log=tmp_path / "after.txt", env=env | other) as process:
        everything(process, written)


def everything(process: Eddyline, written: int) -> None:
    """All that was ever sent is there, in the other space."""
    for number in range(written):
        process.await_item(f"new{number}", SLOWLY)
    process.await_events("ada", 2 + written, SLOWLY)
    person = process.person("ada")
    assert (person["events"], person["onboarded"], person["segment"]) == (2 + written, True, "new")
    assert found(process, "fresh pasta") == "pasta"
    assert found(process, "zebra 1 on the run") == "new1"
    answer = process.client.get("/readyz")
    assert answer.status_code == 200, answer.text


class Writer:
    """Puts an item and clicks on it, again and again."""

    def __init__(self, process: Eddyline) -> None:
        self._process, self._is_over = process, threading.Event()
        self._written = 0
        self._thread = threading.Thread(target=self._write)
        self._thread.start()

    def _write(self) -> None:
        while not self._is_over.wait(0.2):
            item_id = f"new{self._written}"
            self._process.put(item_id, title=f"Zebra {self._written} on the run")
            self._process.post({"type": "click", "user_id": "ada", "item_id": item_id})
            self._written += 1

    def leave(self) -> int:
        """How many there were."""
        self._is_over.set()
        self._thread.join()
        return self._written


class Visitor:
    """Asks for lists and searches all the time, and keeps what came."""

    def __init__(self, process: Eddyline) -> None:
        self._process, self._is_over = process, threading.Event()
        self.answers: Counter[str] = Counter()
        self.searches: Counter[str] = Counter()
        self._thread = threading.Thread(target=self._ask)
        self._thread.start()

    def _ask(self) -> None:
        while not self._is_over.wait(0.05):
            self.answers[self._answer("/v1/users/ada/recommendations")] += 1
            self.searches[self._answer(f"/v1/search?q=ocean{self.searches.total()}")] += 1

    def _answer(self, path: str) -> str:
        response = self._process.client.get(path)
        is_full = response.status_code == 200 and len(response.json()["items"]) > 0
        return "full" if is_full else f"{response.status_code}: {response.text[:200]}"

    def leave(self) -> Counter[str]:
        self._is_over.set()
        self._thread.join()
        return self.answers


def test_on_kafka_people_get_their_lists_all_the_while(
    tmp_path: Path, other: dict[str, str], kafka_cluster: Cluster, request: pytest.FixtureRequest
) -> None:
    if kafka_cluster.kind == "in-process":
        pytest.skip(f"no real Kafka: {'; '.join(kafka_cluster.fell_back)}")
    url = os.environ.get("QDRANT_URL")
    if not url:
        stand_in: QdrantRest = request.getfixturevalue("qdrant_rest")
        url = stand_in.url
    prefix = f"encoder-{uuid.uuid4().hex[:8]}."
    env = {
        "EDDYLINE_KAFKA__BOOTSTRAP_SERVERS": kafka_cluster.bootstrap_servers,
        "EDDYLINE_KAFKA__PREFIX": prefix,
        "EDDYLINE_QDRANT__URL": url,
        "EDDYLINE_QDRANT__PREFIX": prefix,
        "EDDYLINE_QDRANT__TIMEOUT_SECONDS": "30",
    }
    serve = ("serve", "--roles", "collector,profiler,affinity,reader")
    with (
        eddyline("embedder", log=tmp_path / "old.txt", env=env) as old,
        eddyline(*serve, log=tmp_path / "serve.txt", env=env) as process,
    ):
        fill(process)
        visitor = Visitor(process)
        try:
            done = run("reembed", env=env | other)
            assert done.returncode == 0, done.stderr
            wait_until(lambda: old.process.poll() == 2, "the embedder of the old model has ended", SLOWLY)
            process.put("squid", title="Squid of the deep ocean")
            with eddyline("embedder", log=tmp_path / "new.txt", env=env | other):
                process.await_item("squid", SLOWLY)
                process.post({"type": "click", "user_id": "ada", "item_id": "bread"})
                process.await_events("ada", 3, SLOWLY)
        finally:
            answers = visitor.leave()
        assert set(answers) == {"full"}, answers
        assert answers["full"] > 20
        assert process.similar("squid", 1) == ["whales"]
