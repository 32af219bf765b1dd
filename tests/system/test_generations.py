"""A change of generation under way, as a rebuild brings it about: from outside, while the process runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from confluent_kafka import ConsumerGroupState
from confluent_kafka.admin import AdminClient
from tests.support.kafka import Cluster
from tests.support.system import Eddyline, eddyline, on_servers, wait_until

from eddyline.adapters.vectors import ITEMS, PROFILES, Collections, ServerStore, generations, profile_collection

pytestmark = pytest.mark.system


@dataclass(frozen=True)
class Place:
    """A process with all services, and the two servers that it uses."""

    process: Eddyline
    store: ServerStore
    admin: AdminClient
    prefix: str

    def state(self, service: str) -> tuple[int, str]:
        """The status of /readyz, and what it says of a service."""
        response = self.process.client.get("/readyz")
        return response.status_code, response.json()["checks"][service]

    def waits(self, service: str) -> bool:
        status, said = self.state(service)
        return status == 503 and "waiting for generation 2 to go live" in said

    def is_left(self, group: str) -> bool:
        """Whether the group has no members."""
        name = self.prefix + group
        described = self.admin.describe_consumer_groups([name], request_timeout=30)[name].result(30)
        return bool(described.state == ConsumerGroupState.EMPTY)

    def events(self, collection: str, person: str) -> int | None:
        """How many events of a person a collection has folded; None where it doesn't know them."""
        page, _ = self.store.scroll(collection, payload=("person", "events"))
        return next((point.payload["events"] for point in page if point.payload["person"] == f"u:{person}"), None)


@pytest.fixture
def place(
    tmp_path: Path, kafka_cluster: Cluster, request: pytest.FixtureRequest, lean: dict[str, str]
) -> Iterator[Place]:
    """All services in one process on a real Kafka; Qdrant at QDRANT_URL, or the stand-in for its API."""
    env = lean | on_servers(kafka_cluster, "generations", request)
    url, key, prefix = (env.get(f"EDDYLINE_QDRANT__{name}") for name in ("URL", "API_KEY", "PREFIX"))
    assert url is not None
    assert prefix is not None
    admin = AdminClient({"bootstrap.servers": kafka_cluster.bootstrap_servers})
    with _store(url, key, prefix) as store, eddyline("up", log=tmp_path / "log.txt", env=env) as process:
        yield Place(process, store, admin, prefix)


@contextmanager
def _store(url: str, key: str | None, prefix: str) -> Iterator[ServerStore]:
    store = ServerStore(url, key, timeout_seconds=30.0, prefix=prefix)
    try:
        yield store
        for collection in store.collections():
            store.drop(collection)
    finally:
        store.close()


@pytest.mark.slow(30)
def test_the_profiler_stops_for_a_seal_and_goes_on_with_the_generation_that_goes_live(place: Place) -> None:
    process, store = place.process, place.store
    click = {"type": "click", "user_id": "ada", "item_id": "i1"}
    process.put("i1", title="The first film", category="Drama")
    process.await_item("i1")
    process.post(click)
    process.await_events("ada", 1)
    assert generations.live(store) == Collections("items-1", "profiles-1", "rows-1")

    generations.seal(store, [PROFILES])
    wait_until(lambda: place.waits("profiler"), "the profiler stopped for the seal")
    wait_until(lambda: place.is_left("profiler"), "the profiler left its group")

    # The other roles serve meanwhile.
    assert {place.state(name)[1] for name in ("embedder", "affinity", "broker", "vectors")} == {"ok"}
    process.post(click, click)
    process.put("i2", title="The second film", category="Drama")
    process.await_item("i2")
    assert process.recommend("ada")

    store.ensure(profile_collection("profiles-2"))
    generations.go_live(store, Collections("items-1", "profiles-2", "rows-1"))
    process.await_events("ada", 3)
    process.await_ready()
    assert place.events("profiles-2", "ada") == 3
    assert place.events("profiles-1", "ada") == 1, "nothing was written under the seal"
    assert place.is_left("profiler")
    assert not place.is_left("profiler-2")

    store.drop("profiles-1")
    process.post(click)
    process.await_events("ada", 4)


@pytest.mark.slow(45)
def test_a_seal_that_is_lifted_lets_all_go_on_and_one_that_stays_hinders_no_stop(place: Place) -> None:
    process, store = place.process, place.store
    generations.seal(store, [ITEMS, PROFILES])
    services = ("embedder", "profiler", "affinity")
    wait_until(lambda: all(place.waits(name) for name in services), "all consumers stopped for the seal")
    wait_until(lambda: all(place.is_left(name) for name in services), "all consumers left their groups")
    process.put("i1", title="The first film", category="Drama")
    generations.unseal(store, [ITEMS, PROFILES])
    process.await_item("i1")
    process.await_ready()
    generations.seal(store, [ITEMS, PROFILES])
    wait_until(lambda: all(place.is_left(name) for name in services), "all consumers left their groups")
    assert process.stop(seconds=20) == 0
