"""deploy/nginx.conf, run by nginx, with our HTTP server behind it."""

from __future__ import annotations

import shutil
import ssl
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from fastapi import APIRouter, Request, Response
from tests.services.serving import problem, served
from tests.support.kafka import free_port, wait_until

from eddyline.adapters.http import id_from_path, json_response, open_to, read_json
from eddyline.settings import ServerSettings

pytestmark = [pytest.mark.process, pytest.mark.slow(10)]

CONFIGURATION = Path(__file__).parents[2] / "deploy" / "nginx.conf"
NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")


@dataclass(frozen=True)
class Proxy:
    """An nginx, and a client of it that comes from an address of its own."""

    client: httpx.Client
    plain: str
    log: Path


def routes(name: str) -> APIRouter:
    made = APIRouter(tags=["testing"])

    @made.get("/v1/items/{item_id}", openapi_extra=open_to())
    async def item(item_id: str) -> Response:
        return json_response({"item_id": id_from_path(item_id, "item_id")})

    @made.get("/v1/insights/kpis", openapi_extra=open_to())
    @made.get("/who", openapi_extra=open_to())
    async def who(request: Request) -> Response:
        assert request.client is not None
        return json_response({"name": name, "client": request.client.host, "host": request.headers["host"]})

    @made.post("/v1/events", openapi_extra=open_to())
    async def events(request: Request) -> Response:
        return json_response(len(await read_json(request, ServerSettings().max_body_bytes)))

    return made


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    folder = tmp_path_factory.mktemp("nginx")
    with served(routes("api")) as api, served(routes("insights")) as insights:
        ports = {"8000": api.base_url.port, "8001": insights.base_url.port}
        changes = {f"server 127.0.0.1:{old};": f"server 127.0.0.1:{new};" for old, new in ports.items()}
        with nginx(folder, changes) as running:
            yield running


@contextmanager
def nginx(folder: Path, changes: Mapping[str, str]) -> Iterator[Proxy]:
    """Run it with the example, after these changes of its text."""
    if NGINX is None:
        pytest.skip("no nginx on this machine")
    if shutil.which("openssl") is None:
        pytest.skip("no openssl on this machine to make a certificate")
    certificate(folder)
    secure, plain = free_port(), free_port()
    text = CONFIGURATION.read_text(encoding="utf-8")
    for old, new in {
        **changes,
        "listen 80;": f"listen 127.0.0.1:{plain};",
        "listen 443 ssl http2;": f"listen 127.0.0.1:{secure} ssl http2;",
        "/etc/ssl/eddyline": str(folder),
        "/var/log/nginx/eddyline.log": str(folder / "access.log"),
    }.items():
        assert old in text
        text = text.replace(old, new)
    (folder / "eddyline.conf").write_text(text)
    main, errors = folder / "nginx.conf", folder / "error.log"
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    temporary = "\n".join(f"{kind}_temp_path {folder / kind};" for kind in kinds)
    main.write_text(
        f"daemon off; worker_processes 1; pid {folder / 'pid'}; error_log {errors};\n"
        f"events {{ worker_connections 64; }}\nhttp {{ {temporary}\ninclude {folder / 'eddyline.conf'}; }}\n"
    )
    process = subprocess.Popen([NGINX, "-p", str(folder), "-e", str(errors), "-c", str(main)])
    trusted = ssl.create_default_context(cafile=folder / "fullchain.pem")
    transport = httpx.HTTPTransport(verify=trusted, local_address="127.0.0.2")
    try:
        with httpx.Client(base_url=f"https://localhost:{secure}", transport=transport, timeout=20) as client:
            wait_until(lambda: answers(client) or process.poll() is not None, "nginx answers")
            assert process.poll() is None, errors.read_text()
            yield Proxy(client, f"http://127.0.0.1:{plain}", folder / "access.log")
    finally:
        process.terminate()
        process.wait(10)


def certificate(folder: Path) -> None:
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
            *("-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-days", "2"),
            *("-keyout", str(folder / "privkey.pem"), "-out", str(folder / "fullchain.pem")),
        ],
        check=True,
        capture_output=True,
    )


def answers(client: httpx.Client) -> bool:
    try:
        client.get("/metrics")
    except httpx.TransportError:
        return False
    return True


@pytest.mark.parametrize(
    ("path", "item_id"),
    [
        ("a%2Fb", "a/b"),
        ("https%3A%2F%2Fshop.example%2Fp%3Fc%3D1", "https://shop.example/p?c=1"),
        ("a%2F%2Fb", "a//b"),
        ("..%2Fx", "../x"),
        ("50%25", "50%"),
        ("So%C4%8Da", "Soča"),
        ("a;b+c,d", "a;b+c,d"),
    ],
)
def test_an_id_arrives_as_it_was_sent(proxy: Proxy, path: str, item_id: str) -> None:
    assert proxy.client.get(f"/v1/items/{path}").json() == {"item_id": item_id}


def test_the_client_is_who_connects_to_the_proxy_whatever_it_says(proxy: Proxy) -> None:
    for headers in ({}, {"x-forwarded-for": "192.0.2.7"}, {"x-forwarded-for": "127.0.0.1"}):
        found = proxy.client.get("/who", headers=headers).json()
        assert found["client"] == "127.0.0.2"
        assert found["host"] == f"localhost:{proxy.client.base_url.port}"


def test_insights_are_asked_where_they_are_and_operators_ask_elsewhere(proxy: Proxy) -> None:
    assert proxy.client.get("/v1/insights/kpis").json()["name"] == "insights"
    assert proxy.client.get("/who").json()["name"] == "api"
    for path in (
        "/metrics",
        "/readyz",
        "/docs",
        "/docs/assets/favicon.png",
        "/openapi.json",
        "/%6detrics",
        "/x/../metrics",
    ):
        assert proxy.client.get(f"/{path}").status_code == 404, path
    assert proxy.client.get("/healthz").status_code == 200


def test_bodies_and_headers_have_the_limits_of_eddyline(proxy: Proxy) -> None:
    largest = b"[" + b"1," * (1024 * 1024 // 2 - 2) + b"1]"
    most = largest.ljust(1024 * 1024)
    assert proxy.client.post("/v1/events", content=most).json() == 1024 * 1024 // 2 - 1
    assert problem(proxy.client.post("/v1/events", content=most + b" "), 413)
    assert proxy.client.get("/who", headers={"x": "y" * 30_000}).status_code == 200
    assert (
        "server.max_header_bytes"
        in problem(proxy.client.get("/who", headers={"x": "y" * 20_000, "z": "y" * 20_000}), 431)["detail"]
    )


def test_browsers_are_told_to_come_by_https_alone(proxy: Proxy) -> None:
    moved = httpx.get(f"{proxy.plain}/v1/items/a%2Fb?c=%2F")
    assert moved.status_code == 308
    assert moved.headers["location"] == "https://eddyline.example/v1/items/a%2Fb?c=%2F"
    headers = proxy.client.get("/who").headers
    assert headers["strict-transport-security"] == "max-age=31536000"
    assert headers.get_list("cache-control") == ["no-store"]


def test_what_is_logged_holds_no_key(proxy: Proxy) -> None:
    proxy.client.post("/v1/events?key=edk_secret", content=b"[]")
    wait_until(lambda: "POST /v1/events 200" in proxy.log.read_text(), "it is logged")
    assert "edk_" not in proxy.log.read_text()


def test_what_the_proxy_refuses_itself_is_a_problem_with_a_time_to_come_again(tmp_path: Path) -> None:
    slow = {"rate=100r/s": "rate=1r/m", "burst=200": "burst=2"}
    with nginx(tmp_path, {"server 127.0.0.1:8000;": f"server 127.0.0.1:{free_port()};", **slow}) as it:
        found = [it.client.get("/v1/trending") for _ in range(4)]
        assert problem(found[0], 503)["detail"] == "Eddyline does not answer"
        assert problem(found[3], 429)["detail"] == "this client sends too many"
        assert {one.headers["retry-after"] for one in found} == {"1"}
