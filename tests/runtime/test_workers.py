"""Several workers on one port: what may run so, how they answer, and how they end."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from tests.services.test_access import bearer, entry, write
from tests.support.qdrant_rest import QdrantRest
from tests.support.system import Eddyline, run, wait_until

from eddyline.adapters.http import listen, listen_together, url_of
from eddyline.errors import Misconfigured
from eddyline.runtime.startup_checks import check_workers
from eddyline.runtime.workers import WorkerProcesses
from eddyline.settings import KafkaSettings, QdrantSettings, ServerSettings, Settings

ON_SERVERS = Settings(kafka=KafkaSettings(bootstrap_servers="kafka:9092"), qdrant=QdrantSettings(url="http://qdrant"))


@pytest.mark.parametrize(
    ("settings", "roles", "reason"),
    [
        (ON_SERVERS, ["collector", "profiler"], r"profiler can't run in workers.+start more processes"),
        (ON_SERVERS, ["embedder", "affinity"], "embedder, affinity can't run in workers"),
        (ON_SERVERS, ["encoder"], "encoder can't run in workers"),
        (Settings(), ["collector", "reader"], "EDDYLINE_KAFKA__BOOTSTRAP_SERVERS"),
        (Settings(), ["reader"], "EDDYLINE_QDRANT__URL"),
    ],
)
def test_what_consumes_or_embeds_is_refused(settings: Settings, roles: list[str], reason: str) -> None:
    with pytest.raises(Misconfigured, match=reason):
        check_workers(settings, roles)


def test_collectors_and_readers_may() -> None:
    assert check_workers(ON_SERVERS, ["reader", "collector"]) == ("collector", "reader")


def test_an_address_is_shared_by_the_workers_of_one_start_alone() -> None:
    first, second = listen_together("127.0.0.1", 0, 2)
    try:
        assert url_of(first) == url_of(second)
        port = first.getsockname()[1]
        for again in (listen, lambda host, port: listen_together(host, port, 2)):
            with pytest.raises(Misconfigured, match="can't listen"):
                again("127.0.0.1", port)
    finally:
        first.close()
        second.close()


def test_each_worker_has_the_next_port_for_itself_and_one_that_is_taken_is_named() -> None:
    port = 20_000 + os.getpid() % 10_000  # below those that a system gives away by itself
    with listen("127.0.0.1", port + 2):
        server = ServerSettings(port=port)
        with pytest.raises(Misconfigured, match=f"can't listen on 127.0.0.1:{port + 2}"):
            WorkerProcesses(ON_SERVERS.model_copy(update={"server": server}), ["reader"], 2)


# -- processes ---------------------------------------------------------------------------------------------------------

process = pytest.mark.process


@pytest.fixture
def workers(qdrant_rest: QdrantRest, tmp_path: Path) -> Iterator[Eddyline]:
    """Two readers on one port."""
    env = {"EDDYLINE_QDRANT__URL": qdrant_rest.url, "EDDYLINE_KEYS_FILE": str(tmp_path / "keys.toml")}
    running = Eddyline(("serve", "--roles", "reader", "--workers", "2"), env, tmp_path / "log.txt")
    try:
        yield running
    finally:
        running.stop()


def worker_pids(workers: Eddyline) -> list[int]:
    """The processes of the workers, by the connections that they accept."""
    children = Path(f"/proc/{workers.process.pid}/task/{workers.process.pid}/children")
    if not children.exists():
        pytest.skip("this system doesn't tell the children of a process")
    pids = [int(pid) for pid in children.read_text().split()]
    return [pid for pid in pids if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]


@process
@pytest.mark.slow(15)
def test_workers_answer_on_one_port_and_each_on_its_own_and_stop_when_told(workers: Eddyline, tmp_path: Path) -> None:
    own = workers.further_urls()
    assert len({workers.url, *own}) == 3
    health = [httpx.get(f"{url}/healthz", timeout=60).json() for url in own]
    assert health == [health[0]] * len(own), "all belong to one installation"
    assert health[0]["status"] == "ok"

    def answered() -> list[int]:
        counts = []
        for url in own:
            text = httpx.get(f"{url}/metrics", timeout=30).text
            found = re.search(r'requests_total\{key="",method="GET",route="other",status="404"\} (\d+)', text)
            counts.append(0 if found is None else int(found[1]))
        return counts

    for _ in range(40):  # a connection each
        assert httpx.get(f"{workers.url}/v1/nothing", timeout=30).status_code == 404
    assert sum(answered()) == 40
    assert min(answered()) > 0
    write(tmp_path / "keys.toml", entry("ops", "edk_ops", "operate"))
    wait_until(lambda: all(httpx.get(f"{url}/metrics").status_code == 401 for url in own), "each asks for a key")
    assert all(httpx.get(f"{url}/metrics", headers=bearer("edk_ops")).status_code == 200 for url in own)
    assert workers.stop() == 0


@pytest.mark.extended
@process
@pytest.mark.slow(15)
def test_a_worker_that_is_killed_ends_all_with_a_failure(workers: Eddyline) -> None:
    for url in workers.further_urls():
        httpx.get(f"{url}/healthz", timeout=60)
    first, second = worker_pids(workers)
    os.kill(first, signal.SIGKILL)
    assert workers.process.wait(30) == 1
    assert not Path(f"/proc/{second}").exists()


@process
@pytest.mark.slow(15)
def test_workers_end_with_their_main_process(workers: Eddyline) -> None:
    for url in workers.further_urls():
        httpx.get(f"{url}/healthz", timeout=60)
    pids = worker_pids(workers)
    assert len(pids) == 2
    workers.process.kill()
    wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids), "the workers are gone")


@process
def test_what_a_worker_cannot_be_is_said_and_nothing_starts() -> None:
    done = run("serve", "--roles", "collector,profiler", "--workers", "2")
    assert done.returncode == 2
    assert "EDDYLINE_KAFKA__BOOTSTRAP_SERVERS" in done.stderr
    assert done.stdout == ""
