"""A port of their own for metrics and health: what each port answers then, to whom."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from tests.services.test_access import bearer, entry, write
from tests.support.qdrant_rest import QdrantRest
from tests.support.system import Eddyline, wait_until

from eddyline.errors import Misconfigured
from eddyline.runtime.access import check_address
from eddyline.settings import ServerSettings, Settings

pytestmark = pytest.mark.process


def start(qdrant: QdrantRest, folder: Path, *options: str) -> Eddyline:
    env = {
        "EDDYLINE_QDRANT__URL": qdrant.url,
        "EDDYLINE_KEYS_FILE": str(folder / "keys.toml"),
        "EDDYLINE_SERVER__OPERATIONS_PORT": "0",
    }
    return Eddyline(("serve", "--roles", "reader", *options), env, folder / "log.txt")


@pytest.fixture
def reader(qdrant_rest: QdrantRest, tmp_path: Path) -> Iterator[Eddyline]:
    running = start(qdrant_rest, tmp_path)
    try:
        yield running
    finally:
        running.stop()


@pytest.mark.slow(15)
def test_metrics_and_what_is_not_ready_have_their_own_port(reader: Eddyline, tmp_path: Path) -> None:
    (own,) = reader.further_urls()
    assert own != reader.url
    for url in (own, reader.url):
        assert httpx.get(f"{url}/healthz").json() == {"status": "ok"}
    there = httpx.get(f"{own}/readyz")
    assert set(there.json()) == {"status", "checks"}
    here = httpx.get(f"{reader.url}/readyz")
    assert (here.status_code, here.json()) == (there.status_code, {"status": there.json()["status"]})
    assert httpx.get(f"{reader.url}/metrics").status_code == 404
    for path in ("/v1/trending", "/docs"):
        assert httpx.get(f"{own}{path}").status_code == 404
    assert httpx.get(f"{reader.url}/v1/trending?limit=0").status_code == 422
    counted = 'eddyline_http_requests_total{key="",method="GET",route="/v1/trending",status="422"} 1.0'
    assert counted in httpx.get(f"{own}/metrics").text

    write(tmp_path / "keys.toml", entry("ops", "edk_ops", "operate"))
    wait_until(lambda: httpx.get(f"{own}/metrics").status_code == 401, "it asks for a key, too")
    assert httpx.get(f"{own}/metrics", headers=bearer("edk_ops")).status_code == 200
    assert set(httpx.get(f"{own}/readyz").json()) == {"status"}
    assert reader.stop() == 0


@pytest.mark.extended  # three processes
@pytest.mark.slow(15)
def test_each_worker_has_such_a_port(qdrant_rest: QdrantRest, tmp_path: Path) -> None:
    running = start(qdrant_rest, tmp_path, "--workers", "2")
    try:
        own = running.further_urls()
        assert len({running.url, *own}) == 3
        for url in own:
            assert httpx.get(f"{url}/metrics", timeout=60).status_code == 200
            assert httpx.get(f"{url}/v1/trending").status_code == 404
        assert httpx.get(f"{running.url}/metrics").status_code == 404
        assert running.stop() == 0
    finally:
        running.stop()


def test_it_is_not_open_to_others_without_keys(tmp_path: Path) -> None:
    server = ServerSettings(operations_port=9000, operations_host="10.0.0.1")
    settings = Settings(keys_file=tmp_path / "keys.toml", server=server)
    with pytest.raises(Misconfigured, match=r"whoever reaches 10\.0\.0\.1 "):
        check_address(settings, ("collector",))
