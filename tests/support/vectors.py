"""Fixtures (a pytest plugin): a vector store of each kind.

`QDRANT_URL` (and `QDRANT_API_KEY`, where it wants one) is all that the tests on a server need. Without it
they start one in Docker; without Docker they are skipped, and say so.
"""

from __future__ import annotations

import gc
import os
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from tests.support.memory_store import MemoryStore
from tests.support.qdrant_rest import QdrantRest
from tests.support.shared import shared

from eddyline.adapters.vectors import VectorStore
from eddyline.adapters.vectors.edge_store import EdgeStore
from eddyline.adapters.vectors.server_store import ServerStore

IMAGE = os.environ.get("QDRANT_IMAGE", "qdrant/qdrant:v1.18.0")


@pytest.fixture(scope="session")
def qdrant_url(pytestconfig: pytest.Config) -> str:
    """A real server's URL: `QDRANT_URL`, or a container's, which all workers share."""
    url = os.environ.get("QDRANT_URL")
    if url:
        return url
    found = shared(pytestconfig, "qdrant", _start_container)
    if found.get("missing"):
        pytest.skip(f"no Qdrant server: QDRANT_URL is not set, and Docker doesn't answer ({found['missing']})")
    return str(found["url"])


def _start_container() -> dict[str, Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        missing = _no_docker()
        if missing:
            return {"missing": missing}
        from testcontainers.core.config import testcontainers_config
        from testcontainers.core.container import DockerContainer

        testcontainers_config.ryuk_disabled = True  # it would end the container with the worker that started it
        container = DockerContainer(IMAGE).with_exposed_ports(6333)
        container.start()
    url = f"http://{container.get_container_host_ip()}:{container.get_exposed_port(6333)}"
    _wait_until_ready(url)
    return {"url": url, "container": container.get_wrapped_container().id}


@pytest.fixture(scope="session")
def _qdrant_rest_server() -> Iterator[QdrantRest]:
    server = QdrantRest()
    yield server
    server.close()


@pytest.fixture
def qdrant_rest(_qdrant_rest_server: QdrantRest) -> Iterator[QdrantRest]:
    """The stand-in for Qdrant's REST API, nothing asked of it yet."""
    _qdrant_rest_server.seen.clear()
    yield _qdrant_rest_server
    _qdrant_rest_server.hang = False
    _qdrant_rest_server.fail_with = None
    _qdrant_rest_server.api_key = None


@pytest.fixture
def edge_store(tmp_path: Path) -> Iterator[VectorStore]:
    """The embedded store in an empty directory."""
    store = EdgeStore(tmp_path / "vectors")
    yield store
    store.close()


@pytest.fixture
def memory_store() -> Iterator[VectorStore]:
    """A store in memory, for one thread."""
    store = MemoryStore()
    yield store
    store.close()


@pytest.fixture
def rest_store(qdrant_rest: QdrantRest) -> Iterator[VectorStore]:
    """The server's store on the stand-in, with a prefix of its own."""
    yield from _server_store(qdrant_rest.url, None)


@pytest.fixture
def server_store(qdrant_url: str) -> Iterator[VectorStore]:
    """The server's store on a real server, with a prefix of its own."""
    yield from _server_store(qdrant_url, os.environ.get("QDRANT_API_KEY"))


@pytest.fixture(params=["memory", "edge", "rest", "server"])
def vector_store(request: pytest.FixtureRequest) -> VectorStore:
    """Each store in turn."""
    store: VectorStore = request.getfixturevalue(f"{request.param}_store")
    return store


@pytest.fixture(params=["edge", "rest", "server"])
def shared_vector_store(request: pytest.FixtureRequest) -> VectorStore:
    """Each store that may be used from several threads."""
    store: VectorStore = request.getfixturevalue(f"{request.param}_store")
    return store


def _server_store(url: str, api_key: str | None) -> Iterator[VectorStore]:
    prefix = f"test-{uuid4().hex[:12]}-"
    store = ServerStore(url, api_key, timeout_seconds=30.0, prefix=prefix)
    try:
        yield store
    finally:
        store.close()
        _drop_collections(url, api_key, prefix)


def _drop_collections(url: str, api_key: str | None, prefix: str) -> None:
    headers = {"api-key": api_key} if api_key else {}
    with httpx.Client(base_url=url, headers=headers, timeout=30.0) as client:
        collections = client.get("/collections").raise_for_status().json()["result"]["collections"]
        for name in (each["name"] for each in collections):
            if name.startswith(prefix):
                client.delete(f"/collections/{name}").raise_for_status()


def _no_docker() -> str | None:
    """Why there is no Docker, None where there is."""
    from testcontainers.core.docker_client import DockerClient

    try:
        client = DockerClient().client
        client.ping()
        client.close()
        reason = None
    except Exception as error:
        reason = str(error)
    # A client that never connected leaves its socket open: collect it while warnings are off.
    gc.collect()
    return reason


def _wait_until_ready(url: str, limit_seconds: float = 60.0) -> None:
    deadline = time.monotonic() + limit_seconds
    while True:
        try:
            httpx.get(f"{url}/readyz").raise_for_status()
            return
        except httpx.HTTPError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
