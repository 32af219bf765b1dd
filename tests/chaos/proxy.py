"""A proxy before the vector store that answers with errors, late, or not at all, by a seeded throw for each request."""

from __future__ import annotations

import http.client
import random
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

FAULTS = {
    "answers 500": 4,
    "answers 503": 4,
    "closes the connection": 3,
    "answers slowly": 8,
    "doesn't answer": 3,
    "does it, and answers 503": 4,
    "does it, and doesn't answer": 3,
    "does it after the client gave up": 5,
}
"""What may become of a request, and how often of a hundred; the rest is passed through."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that has gone: they are killed, after all."""


class FaultyProxy:
    """Listens at `url` and forwards to `upstream`. No faults until `begin`, none after `end`.

    `patience`: how many seconds the clients wait for an answer. `note` hears of each fault.
    """

    def __init__(self, upstream: str, patience: float, seed: int, note: Callable[[str], None]) -> None:
        where = urlsplit(upstream)
        self._connect = http.client.HTTPSConnection if where.scheme == "https" else http.client.HTTPConnection
        self._host, self._port = where.hostname or "", where.port
        self._patience, self._rng, self._note = patience, random.Random(seed), note
        self._faulty = False
        self._lock = threading.Lock()
        self._closed = threading.Event()
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do(self) -> None:
                proxy._answer(self)

            do_GET = do_PUT = do_POST = do_PATCH = do_DELETE = do  # noqa: N815

            def log_message(self, format: str, *values: object) -> None:
                """Nowhere."""

        self._server = _Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def begin(self) -> None:
        """From now on requests may fail."""
        self._faulty = True

    def end(self) -> None:
        """From now on none does."""
        self._faulty = False

    def close(self) -> None:
        """Stop; requests that are held are dropped."""
        self._closed.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)

    def _answer(self, request: BaseHTTPRequestHandler) -> None:
        body = request.rfile.read(int(request.headers.get("Content-Length") or 0))
        fault = self._fault()
        if fault is not None:
            self._note(fault)
        if fault in ("answers 500", "answers 503"):
            _reply(request, int(fault[-3:]), b'{"status": {"error": "Service internal error: a fault"}}')
        elif fault == "closes the connection":
            request.close_connection = True
        elif fault == "doesn't answer":
            self._closed.wait(self._patience * 1.5)
            request.close_connection = True
        elif fault == "answers slowly":
            self._closed.wait(self._draw(0.05, 0.8 * self._patience))
            self._pass(request, body)
        elif fault == "does it, and answers 503":
            self._forward(request, body)
            _reply(request, 503, b'{"status": {"error": "Service unavailable: a fault"}}')
        elif fault == "does it, and doesn't answer":
            self._forward(request, body)
            self._closed.wait(self._patience * 1.5)
            request.close_connection = True
        elif fault == "does it after the client gave up":
            self._closed.wait(self._patience + self._draw(0.1, 2.0))
            self._forward(request, body)
            request.close_connection = True
        else:
            self._pass(request, body)

    def _fault(self) -> str | None:
        if not self._faulty:
            return None
        with self._lock:
            rest = 100 - sum(FAULTS.values())
            return self._rng.choices([None, *FAULTS], [rest, *FAULTS.values()])[0]

    def _draw(self, least: float, most: float) -> float:
        with self._lock:
            return self._rng.uniform(least, most)

    def _pass(self, request: BaseHTTPRequestHandler, body: bytes) -> None:
        answer = self._forward(request, body)
        if answer is None:
            request.close_connection = True
        else:
            _reply(request, *answer)

    def _forward(self, request: BaseHTTPRequestHandler, body: bytes) -> tuple[int, bytes] | None:
        """The store's answer; None when it can't be reached, or nothing is forwarded any more."""
        if self._closed.is_set():
            return None
        headers = {
            name: value
            for name, value in request.headers.items()
            if name.lower() in ("content-type", "api-key", "accept-encoding")
        }
        connection = self._connect(self._host, self._port, timeout=30)
        try:
            connection.request(request.command, request.path, body, headers)
            response = connection.getresponse()
            return response.status, response.read()
        except (OSError, http.client.HTTPException):
            return None
        finally:
            connection.close()


def _reply(request: BaseHTTPRequestHandler, status: int, body: bytes) -> None:
    try:
        request.send_response(status)
        request.send_header("Content-Type", "application/json")
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        request.wfile.write(body)
    except OSError:  # the client has gone
        request.close_connection = True
