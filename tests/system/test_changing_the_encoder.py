"""Another encoder: everything is re-embedded and swapped, from one model of an endpoint to another."""

from __future__ import annotations

import subprocess
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.embedding_api import embeddings
from tests.support.endpoint import Answer, FakeEndpoint, Request, serving
from tests.support.kafka import Cluster
from tests.support.system import ROOT, Eddyline, command, eddyline, environment, on_servers, run, wait_until

pytestmark = pytest.mark.system

SLOWLY = 120.0
FILMS = {
    "whales": "Whales of the deep ocean",
    "reef": "Life on an ocean reef",
    "pasta": "Cooking fresh pasta",
    "bread": "Baking bread at home",
}


@pytest.fixture
def endpoint() -> Iterator[FakeEndpoint]:
    with serving() as endpoint:
        endpoint.answer = embeddings
        yield endpoint


@pytest.fixture
def other(tmp_path: Path, endpoint: FakeEndpoint) -> dict[str, str]:
    """The settings of another encoder."""
    return {
        "EDDYLINE_ENCODER__KIND": "openai",
        "EDDYLINE_ENCODER__URL": endpoint.url,
        "EDDYLINE_ENCODER__MODEL": "large",
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


@pytest.mark.slow(300)
def test_embedded_it_goes_on_with_what_there_was(tmp_path: Path, lean: dict[str, str], other: dict[str, str]) -> None:
    data = ("--data-dir", str(tmp_path / "data"))
    with eddyline("up", *data, log=tmp_path / "before.txt", env=lean) as process:
        fill(process)
        before = process.client.get("/v1/items/whales").json()
        assert found(process, "the ocean reef") == "reef"
        held = run("reembed", *data, env=other)
        assert held.returncode == 2
        assert "stop it, run `eddyline reembed` again, and start it with the same settings" in held.stderr
        assert len(held.stderr.splitlines()) == 1, held.stderr

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


@pytest.mark.extended  # three starts
@pytest.mark.slow(300)
def test_embedded_a_killed_run_leaves_what_there_was(
    tmp_path: Path, endpoint: FakeEndpoint, lean: dict[str, str], other: dict[str, str]
) -> None:
    data = ("--data-dir", str(tmp_path / "data"))
    with eddyline("up", *data, log=tmp_path / "before.txt", env=lean) as process:
        fill(process)

    asked, is_over = threading.Event(), threading.Event()

    def hanging(request: Request) -> Answer:
        if len(request.body["input"]) > 1:  # the items; a single text is asked for at the start
            asked.set()
            is_over.wait(SLOWLY)
        return embeddings(request)

    endpoint.answer = hanging
    killed = subprocess.Popen(command("reembed", *data), env=environment(other), cwd=ROOT)
    try:
        assert asked.wait(SLOWLY), "it embeds"
        assert (tmp_path / "data" / "vectors" / "items-2").exists()
    finally:
        killed.kill()
        killed.wait(SLOWLY)
        is_over.set()

    with eddyline("up", *data, log=tmp_path / "after.txt", env=lean) as process:
        assert not (tmp_path / "data" / "vectors" / "items-2").exists()
        assert found(process, "fresh pasta") == "pasta"
        process.post({"type": "click", "user_id": "ada", "item_id": "bread"})
        process.await_events("ada", 3, SLOWLY)


class Visitor:
    """Asks for lists all the time, and keeps what came."""

    def __init__(self, process: Eddyline) -> None:
        self._process, self._is_over = process, threading.Event()
        self.answers: Counter[str] = Counter()
        self._thread = threading.Thread(target=self._ask)
        self._thread.start()

    def _ask(self) -> None:
        while not self._is_over.wait(0.05):
            response = self._process.client.get("/v1/users/ada/recommendations")
            is_full = response.status_code == 200 and len(response.json()["items"]) > 0
            self.answers["full" if is_full else f"{response.status_code}: {response.text[:200]}"] += 1

    def leave(self) -> Counter[str]:
        self._is_over.set()
        self._thread.join()
        return self.answers


@pytest.mark.extended  # five processes
@pytest.mark.slow(120)
def test_on_kafka_people_get_their_lists_all_the_while(
    tmp_path: Path,
    lean: dict[str, str],
    other: dict[str, str],
    kafka_cluster: Cluster,
    request: pytest.FixtureRequest,
) -> None:
    env = lean | on_servers(kafka_cluster, "encoder", request)
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
