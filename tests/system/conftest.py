"""Two places to run the same tests in: all embedded, and a real Apache Kafka.

On Kafka all services share a process, since Edge can't be shared; where QDRANT_URL is set, they are processes of their
own.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from tests.support.embedding_api import embeddings
from tests.support.endpoint import serving
from tests.support.kafka import Cluster
from tests.support.system import SAMPLE, Eddyline, eddyline, on_kafka, run

KINDS = (
    pytest.param("embedded", marks=pytest.mark.xdist_group("films-embedded")),
    pytest.param("kafka", marks=[pytest.mark.xdist_group("films-kafka"), pytest.mark.extended]),
)


@pytest.fixture(scope="session")
def stand_in(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Settings of an encoder without a model: a text is the sum of its words, in 16 dimensions."""
    with serving() as endpoint:
        endpoint.answer = embeddings
        yield {
            "EDDYLINE_ENCODER__KIND": "openai",
            "EDDYLINE_ENCODER__URL": endpoint.url,
            "EDDYLINE_ENCODER__MODEL": "small",
            "EDDYLINE_ENCODER__CACHE_DIR": str(tmp_path_factory.mktemp("embeddings")),
        }


@pytest.fixture(scope="session")
def lean(stand_in: dict[str, str]) -> dict[str, str]:
    """Settings of a process that starts in a moment: no model to load, no insights worker."""
    return stand_in | {"EDDYLINE_INSIGHTS__ENABLED": "false"}


@pytest.fixture(scope="session", params=KINDS)
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Eddyline]:
    """A running Eddyline with the films of the sample in it."""
    directory = tmp_path_factory.mktemp(request.param)
    with ExitStack() as stack:
        if request.param == "embedded":
            running = stack.enter_context(
                eddyline("up", "--data-dir", str(directory / "data"), log=directory / "log.txt", env=ATTRIBUTES)
            )
        else:
            running = _on_kafka(request.getfixturevalue("kafka_cluster"), directory, stack)
        films = directory / "films.jsonl"
        films.write_text(_films(directory))
        imported = run("import", str(films), "--url", running.url, "--state", str(directory / "state.json"))
        assert imported.returncode == 0, imported.stderr
        yield running


ATTRIBUTES = {"EDDYLINE_ATTRIBUTES": '{"studio": "keyword"}', "EDDYLINE_PROFILE__PENDING_SECONDS": "600"}


def _films(directory: Path) -> str:
    """The sample's films as JSON lines (its events stay behind)."""
    import orjson

    from eddyline.clients.sources import open_source

    assert directory.exists()
    return "\n".join(orjson.dumps(line.value).decode() for line in open_source(SAMPLE).items())


def _on_kafka(cluster: Cluster, directory: Path, stack: ExitStack) -> Eddyline:
    env = ATTRIBUTES | on_kafka(cluster, "system")
    url = os.environ.get("QDRANT_URL")
    if not url:
        return stack.enter_context(
            eddyline("up", "--data-dir", str(directory / "data"), log=directory / "log.txt", env=env)
        )
    env |= {"EDDYLINE_QDRANT__URL": url, "EDDYLINE_QDRANT__PREFIX": f"system-{uuid.uuid4().hex[:8]}-"}
    made = run("init", env=env)
    assert made.returncode == 0, made.stderr
    for service in ("embedder", "profiler", "affinity"):
        stack.enter_context(eddyline(service, log=directory / f"{service}.txt", env=env))
    return stack.enter_context(eddyline("serve", "--roles", "collector,reader", log=directory / "api.txt", env=env))
