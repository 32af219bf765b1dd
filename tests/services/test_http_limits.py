"""The limits of the HTTP door: what is too large, too slow or too much is refused, with a reason, and stops nobody."""

from __future__ import annotations

import gzip
import socket
import threading
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import httpx
import orjson
import pytest
from fastapi import APIRouter, Request, Response
from tests.services.serving import problem, served
from tests.support.kafka import wait_until

from eddyline.adapters.http import WorkerThreads, json_response, read_json
from eddyline.adapters.http.access import open_to
from eddyline.adapters.http.security_headers import SECURITY_HEADERS
from eddyline.adapters.telemetry import Metrics
from eddyline.settings import ServerSettings

BODY = 1_000_000
USUAL = ServerSettings(max_body_bytes=BODY)


class Door:
    """A server, what it counts, and raw connections to it."""

    def __init__(self, client: httpx.Client, metrics: Metrics, gate: threading.Event) -> None:
        self.client, self.metrics, self.gate = client, metrics, gate
        """`/held` answers when the gate is open."""

    @contextmanager
    def connection(self) -> Iterator[socket.socket]:
        url = self.client.base_url
        with socket.create_connection((url.host, url.port or 0), timeout=20) as raw:
            yield raw

    def send(self, *data: bytes) -> bytes:
        """What comes back for it, until the server closes."""
        with self.connection() as raw:
            for one in data:
                try:
                    raw.sendall(one)
                except ConnectionError:
                    break
            return read_all(raw)

    def count(self, name: str, **labels: str) -> float:
        return self.metrics.registry.get_sample_value(name, labels) or 0.0

    def refused(self, limit: str) -> float:
        return self.count("eddyline_http_refused_total", limit=limit)


def read_all(raw: socket.socket) -> bytes:
    found = b""
    try:
        while chunk := raw.recv(65_536):
            found += chunk
    except ConnectionResetError:
        pass
    return found


def said(answer: bytes, status: int) -> str:
    """What a raw answer says, after checking that it is a problem."""
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status), answer[:200]
    assert b"application/problem+json" in head.lower()
    fields = orjson.loads(body)
    assert fields["status"] == status
    return str(fields["detail"])


@contextmanager
def door(settings: ServerSettings = USUAL) -> Iterator[Door]:
    routes, gate, metrics = APIRouter(tags=["testing"]), threading.Event(), Metrics()
    threads = WorkerThreads("held", 64)

    @routes.post("/echo", openapi_extra=open_to())
    async def echo(request: Request) -> Response:
        body = await read_json(request, settings.max_body_bytes)
        return json_response({"length": len(orjson.dumps(body))})

    @routes.get("/held", openapi_extra=open_to())
    async def held() -> Response:
        await threads.run(gate.wait, 20)
        return json_response({})

    @routes.get("/long", openapi_extra=open_to())
    async def long() -> Response:
        return json_response("x" * 20_000_000)

    with served(routes, metrics=metrics, settings=settings) as client:
        try:
            yield Door(client, metrics, gate)
        finally:
            gate.set()


@pytest.fixture(scope="module")
def it() -> Iterator[Door]:
    with door() as it:
        yield it


def post(body: bytes, *headers: bytes, length: int | None = None) -> bytes:
    size = b"content-length: %d" % (len(body) if length is None else length)
    return b"\r\n".join((b"POST /echo HTTP/1.1", b"host: x", *headers, size, b"", body))


def chunked(*headers: bytes) -> bytes:
    return b"\r\n".join((b"POST /echo HTTP/1.1", b"host: x", *headers, b"transfer-encoding: chunked", b"", b""))


# -- headers -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "header",
    [b"x: " + b"y" * 30_000_000, b"\r\n".join(b"x%d: y" % n for n in range(300_000)), b"x: " + b"y" * 33_000],
    ids=["one of 30 MB", "many", "a little too long"],
)
def test_headers_are_bounded(it: Door, header: bytes) -> None:
    before = it.refused("headers")
    answer = it.send(b"GET /healthz HTTP/1.1\r\nhost: x\r\n" + header + b"\r\n\r\n")
    assert "server.max_header_bytes" in said(answer, 431)
    assert it.refused("headers") == before + 1


def test_an_address_is_bounded(it: Door) -> None:
    assert problem(it.client.get("/healthz?" + "x" * 40_000), 431)
    assert it.client.get("/healthz?" + "x" * 30_000).status_code == 200


def test_headers_that_do_not_come_to_an_end_are_waited_for_a_while() -> None:
    with door(ServerSettings(header_seconds=0.2)) as it:
        assert "headers took longer" in said(it.send(b"GET /healthz HTTP/1.1\r\nhost: "), 408)
        assert it.send() == b"", "who sends nothing at all is answered nothing"
        with it.connection() as raw:  # nor may a second request on the same connection
            raw.sendall(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
            assert raw.recv(65_536).startswith(b"HTTP/1.1 200 ")
            raw.sendall(b"GET /hea")
            assert "headers took longer" in said(read_all(raw), 408)


def test_what_is_no_http_is_a_problem(it: Door) -> None:
    assert said(it.send(b"\x16\x03\x01 hello\r\n\r\n"), 400)


# -- bodies ------------------------------------------------------------------------------------------------------------


def test_a_body_that_does_not_come_to_an_end_is_waited_for_a_while() -> None:
    with door(ServerSettings(body_seconds=0.2)) as it:
        assert "body took longer" in said(it.send(post(b'{"a":', length=1000)), 408)
        wait_until(lambda: it.count("eddyline_http_unfinished_bytes") == 0, "what came of it is dropped")


def test_sixty_four_bodies_that_are_half_sent_block_nobody() -> None:
    with door(ServerSettings(max_requests=8)) as it, ExitStack() as stack:
        for _ in range(64):
            raw = stack.enter_context(it.connection())
            raw.sendall(post(b"[" + b"1," * 300_000, length=1_048_576))
        wait_until(lambda: it.count("eddyline_http_unfinished_bytes") > 30_000_000, "they are being read")
        assert {it.client.post("/echo", json=[n]).status_code for n in range(50)} == {200}
        assert it.count("eddyline_http_unfinished_bytes") <= USUAL.max_in_flight_bytes / 2, "a client has its share"


@pytest.mark.parametrize("body", [post(b"x" * 40_000_000), chunked() + b"1312d00\r\n" + b"x" * 20_000_000 + b"\r\n"])
def test_a_client_that_is_still_sending_hears_that_it_is_too_large(it: Door, body: bytes) -> None:
    with it.connection() as raw:
        raw.sendall(body)  # all of it, before anything is read
        head = raw.recv(65_536)
    assert "over the limit" in said(head, 413)


def test_a_body_without_end_is_not_read_for_ever(it: Door) -> None:
    def send_for_ever(raw: socket.socket) -> None:
        raw.sendall(chunked())
        while True:
            raw.sendall(b"10000\r\n" + b"x" * 65_536 + b"\r\n")

    with it.connection() as raw, pytest.raises(ConnectionError):
        send_for_ever(raw)


@pytest.mark.parametrize(
    "chunk",
    [b"1;" + b"x" * 10_000 + b"\r\n1\r\n", b"1\r\n1\r\n"],
    ids=["extensions", "a byte each"],
)
def test_framing_that_takes_more_than_the_body_is_refused(it: Door, chunk: bytes) -> None:
    with it.connection() as raw:
        raw.sendall(chunked())
        answer = b""
        try:
            while not answer:
                raw.sendall(chunk * 50)
                raw.setblocking(False)
                try:
                    answer = raw.recv(65_536)
                except BlockingIOError:
                    pass
                finally:
                    raw.settimeout(20)
        except ConnectionError:
            answer = read_all(raw)
    assert "framing" in said(answer, 400)


def test_trailers_count_as_framing(it: Door) -> None:
    trailer = b"x: " + b"y" * 10_000 + b"\r\n"
    with it.connection() as raw:
        raw.sendall(chunked() + b"1\r\n1\r\n0\r\n")
        for _ in range(2000):
            try:
                raw.sendall(trailer)
            except ConnectionError:
                break
        assert "framing" in said(read_all(raw), 400)


# -- gzip --------------------------------------------------------------------------------------------------------------


def test_a_gzip_body_is_read_within_the_same_limits(it: Door) -> None:
    def ask(body: bytes) -> httpx.Response:
        return it.client.post("/echo", content=body, headers={"content-encoding": "gzip"})

    assert ask(gzip.compress(b"[%s1]" % (b"1," * 400_000))).json()["length"] == 800_003
    assert "over the limit" in problem(ask(gzip.compress(b" " * 100_000_000)), 413)["detail"]
    for wrong in (b"[]", gzip.compress(b"[1]")[:-3], gzip.compress(b"[1]") + b"rest", zlib.compress(b"[1]")):
        assert "not valid gzip" in problem(ask(wrong), 422)["detail"]


@pytest.mark.parametrize("encoding", ["br", "zstd", "deflate", "gzip, gzip", "x" * 10_000])
def test_another_encoding_is_named(it: Door, encoding: str) -> None:
    answer = it.client.post("/echo", content=b"[]", headers={"content-encoding": encoding})
    assert encoding[:40] in problem(answer, 415)["detail"]
    assert len(answer.text) < 500
    assert answer.headers["accept-encoding"] == "gzip"


# -- how much at once --------------------------------------------------------------------------------------------------


def test_connections_are_bounded_and_one_address_has_half() -> None:
    with door(ServerSettings(max_connections=8, trusted_proxies=())) as it, ExitStack() as stack:
        assert it.client.get("/healthz").status_code == 200  # which keeps one
        for _ in range(3):
            stack.enter_context(it.connection()).sendall(b"GET")
        assert "server.max_connections" in said(it.send(), 503)
        assert it.refused("connections") == 1
        assert it.client.get("/healthz").status_code == 200, "those that are there go on"
        stack.close()
        wait_until(lambda: it.send(b"GET /healthz HTTP/1.0\r\n\r\n")[:12] == b"HTTP/1.1 200", "there is room again")


def test_a_trusted_proxy_has_all_connections() -> None:
    with door(ServerSettings(max_connections=8)) as it, ExitStack() as stack:
        for _ in range(8):
            raw = stack.enter_context(it.connection())
            raw.sendall(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
            assert raw.recv(15) == b"HTTP/1.1 200 OK"
        assert "server.max_connections" in said(it.send(), 503)


@pytest.mark.parametrize(
    ("proxies", "forwarded", "has_its_own_share"),
    [
        (["127.0.0.1"], "192.0.2.7", True),
        (["127.0.0.0/8"], "192.0.2.7", True),
        (["127.0.0.0/8", "192.0.2.0/24"], "203.0.113.9, 192.0.2.7", True),
        (["127.0.0.1"], "127.0.0.1", False),
        (["10.0.0.0/8"], "192.0.2.7", False),
        ([], "192.0.2.7", False),
    ],
)
def test_only_a_trusted_proxy_says_whose_request_it_is(
    proxies: list[str], forwarded: str, has_its_own_share: bool
) -> None:
    settings = ServerSettings.model_validate({"max_requests": 2, "trusted_proxies": proxies})
    with door(settings) as it, it.connection() as raw:
        raw.sendall(b"GET /held HTTP/1.1\r\nhost: x\r\n\r\n")
        wait_until(lambda: it.client.post("/echo", json=[]).status_code == 503, "it is being answered")
        answer = it.client.post("/echo", json=[], headers={"x-forwarded-for": forwarded})
        assert (answer.status_code == 200) is has_its_own_share


def test_what_no_route_sees_is_not_kept_framed_or_taken_for_something_else(it: Door) -> None:
    heads = [it.send(b"rubbish\r\n\r\n"), it.send(b"GET / HTTP/1.1\r\nx: " + b"y" * 40_000 + b"\r\n\r\n")]
    with door(ServerSettings(max_requests=1)) as full, full.connection() as raw:
        raw.sendall(b"GET /held HTTP/1.1\r\nhost: x\r\n\r\n")
        ask = b"GET /other HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
        wait_until(lambda: full.send(ask).startswith(b"HTTP/1.1 503"), "the other is being answered")
        heads.append(full.send(ask))
        full.gate.set()
    for head in heads:
        for name, value in SECURITY_HEADERS:
            assert head.count(b"%b: %b\r\n" % (name, value)) == 1, head[:600]


def test_requests_are_bounded_and_one_client_has_half() -> None:
    with door(ServerSettings(max_requests=4)) as it, ExitStack() as stack:
        for _ in range(2):
            stack.enter_context(it.connection()).sendall(b"GET /held HTTP/1.1\r\nhost: x\r\n\r\n")

        def refusal() -> httpx.Response | None:
            answer = it.client.post("/echo", json=[])
            return answer if answer.status_code == 503 else None

        wait_until(lambda: refusal() is not None, "both are being answered")
        answer = it.client.post("/echo", json=[])
        assert "server.max_requests is 4" in problem(answer, 503)["detail"]
        assert answer.headers["retry-after"] == "1"
        assert it.client.get("/nothing").status_code == 503
        assert it.client.get("/metrics").status_code == 200, "operators can always look"
        elsewhere = it.client.post("/echo", json=[], headers={"x-forwarded-for": "192.0.2.7"})
        assert elsewhere.status_code == 200, "another client has its own share"
        it.gate.set()
        wait_until(lambda: it.client.post("/echo", json=[]).status_code == 200, "they are answered")


def test_who_does_not_read_blocks_nobody(it: Door) -> None:
    with ExitStack() as stack:
        for _ in range(16):
            stack.enter_context(it.connection()).sendall(b"GET /long HTTP/1.1\r\nhost: x\r\n\r\n")
        assert {it.client.post("/echo", json=[n]).status_code for n in range(50)} == {200}
