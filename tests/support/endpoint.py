"""A server over real HTTP that answers as a test says, and keeps what it was sent."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import orjson

Answer = tuple[int, Any] | tuple[int, Any, dict[str, str]]
"""A status, a body (bytes as they are, anything else as JSON), and headers."""


@dataclass
class Request:
    method: str
    path: str
    headers: dict[str, str]
    body: Any


@dataclass
class FakeEndpoint:
    url: str = ""
    requests: list[Request] = field(default_factory=list)
    answer: Callable[[Request], Answer] = lambda _: (500, {})
    script: list[Answer | None] = field(default_factory=list)
    """What is answered first, one after another; None: what `answer` says."""

    def respond(self, request: Request) -> Answer:
        self.requests.append(request)
        scripted = self.script.pop(0) if self.script else None
        return self.answer(request) if scripted is None else scripted


@contextmanager
def serving() -> Iterator[FakeEndpoint]:
    """Serves on a free port of this machine."""
    endpoint = FakeEndpoint()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            size = int(self.headers.get("content-length", 0))
            body = self.rfile.read(size)
            headers = {name.lower(): value for name, value in self.headers.items()}
            request = Request(self.command, self.path, headers, orjson.loads(body) if body else None)
            status, content, *more = endpoint.respond(request)
            data = content if isinstance(content, bytes) else orjson.dumps(content)
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            for name, value in (more[0] if more else {}).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_PUT = do_DELETE = do_POST  # noqa: N815

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    endpoint.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield endpoint
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)
