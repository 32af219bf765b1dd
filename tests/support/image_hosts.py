"""A host of images on 127.0.0.1, good and hostile ones, over real HTTP."""

from __future__ import annotations

import io
import ssl
import struct
import threading
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import import_module
from typing import Any

Answer = Callable[["Request"], None]


def picture(colour: str = "red", size: tuple[int, int] = (32, 32), form: str = "PNG") -> bytes:
    """An image of one colour."""
    file = io.BytesIO()
    images: Any = import_module("PIL.Image")
    images.new("RGB", size, colour).save(file, form)
    return file.getvalue()


def bomb(width: int, height: int) -> bytes:
    """A PNG of a few hundred bytes that says it has so many pixels."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(9))) + chunk(b"IEND", b"")


class Request(BaseHTTPRequestHandler):
    """One request; `host` is whom it came to."""

    host: Host

    def do_GET(self) -> None:
        with self.host.lock:
            self.host.asked.append(self.path)
            self.host.names.append(self.headers["Host"])
        with suppress(ConnectionError):
            self.host.answers[self.path](self)

    def begin(self, status: int = 200, **headers: str) -> None:
        """Status and headers; `_` in a name stands for `-`."""
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


class Quiet(ThreadingHTTPServer):
    """Says nothing of a client that goes away."""

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass


@dataclass
class Host:
    """`answers` by path; `asked` and `names`: paths and Host headers as they came; `over` once the test ends."""

    answers: dict[str, Answer]
    asked: list[str] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)
    over: threading.Event = field(default_factory=threading.Event)
    port: int = 0

    def url(self, path: str, name: str = "127.0.0.1") -> str:
        return f"http://{name}:{self.port}{path}"


def sends(body: bytes, kind: str = "image/png", status: int = 200) -> Answer:
    def answer(request: Request) -> None:
        request.begin(status, Content_Type=kind, Content_Length=str(len(body)))
        request.wfile.write(body)

    return answer


def redirects(where: str) -> Answer:
    return lambda request: request.begin(302, Location=where, Content_Length="0")


def declares(size: int) -> Answer:
    return lambda request: request.begin(Content_Type="image/png", Content_Length=str(size))


def streams_for_ever(request: Request) -> None:
    request.begin(Content_Type="image/png")
    while not request.host.over.is_set():
        request.wfile.write(bytes(65_536))


def trickles_headers(request: Request) -> None:
    """A header that never ends, a byte at a time."""
    request.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    while not request.host.over.wait(0.02):
        request.wfile.write(b"x")
        request.wfile.flush()


def trickles_body(request: Request) -> None:
    request.begin(Content_Type="image/png", Content_Length="100000")
    while not request.host.over.wait(0.02):
        request.wfile.write(b"x")
        request.wfile.flush()


def says_nothing(request: Request) -> None:
    request.host.over.wait(30)


@contextmanager
def image_host(answers: Mapping[str, Answer], tls: ssl.SSLContext | None = None) -> Iterator[Host]:
    """With `tls`, over HTTPS."""
    host = Host(dict(answers))
    handler = type("Handler", (Request,), {"host": host})
    server = Quiet(("127.0.0.1", 0), handler)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    host.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield host
    finally:
        host.over.set()
        server.shutdown()
        thread.join()
        server.server_close()
