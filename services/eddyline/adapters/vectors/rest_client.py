"""Qdrant's REST API: one pool of connections for qdrant-client and for our own calls, and our own errors.

qdrant-client makes most calls. Those that every event or list needs are written by hand: with bodies by orjson they are
about twice as fast. Both may be used from any thread.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import orjson
from qdrant_client import QdrantClient
from qdrant_client.http.exceptions import ResponseHandlingException

from eddyline.adapters.vectors.http_connections import HttpAnswer, connect
from eddyline.errors import EddylineError, Misconfigured, NotStorable, Unavailable

MAX_REQUEST_BYTES = 30 * 2**20
"""A larger request isn't sent: a server refuses those over 32 MiB, unless it is set otherwise."""
_RETRY = frozenset({408, 425, 429})
_REFUSED = frozenset({401, 403})


class QdrantError(EddylineError):
    """Qdrant answered with a 4xx that is neither a time-out nor about credentials."""

    def __init__(self, message: str, status: int) -> None:
        """`status` is the HTTP status code."""
        self.status = status
        super().__init__(message)


class QdrantNotFound(QdrantError):
    """Qdrant answered with a 404: there is no such collection or point."""


class QdrantTooLarge(QdrantError):
    """A request that is larger than Qdrant takes."""


class QdrantUnprocessable(QdrantError, NotStorable):
    """Qdrant refuses what is to be written, for what is in it."""


class Rest:
    """Calls to one Qdrant server, from any thread.

    All raise `Unavailable` when it is down, slow or overloaded, `Misconfigured` when it refuses the key, and
    `QdrantError` with its message for any other refusal.
    """

    def __init__(self, url: str, api_key: str | None, timeout_seconds: float) -> None:
        """Raises `Misconfigured` for a URL that isn't http(s)."""
        try:
            parsed = httpx.URL(url)
        except httpx.InvalidURL as error:
            raise Misconfigured(f"the vector store's URL can't be read: {error}") from error
        self.url = str(parsed.copy_with(userinfo=b"", query=None, fragment=None))
        if parsed.scheme not in {"http", "https"} or not parsed.host:
            raise Misconfigured(f"the vector store's URL must be http://… or https://…, not {self.url!r}")
        headers = {"Accept-Encoding": "identity", "Content-Type": "application/json"}
        if api_key:
            headers["api-key"] = api_key
        self._connections = connect(parsed, headers, timeout_seconds)
        # It never connects by itself (its address is a dummy): the middleware sends what it builds, so that one
        # pool, which keeps connections alive, one key, one exact time-out and one set of errors serve both.
        self._qdrant = QdrantClient(check_compatibility=False)
        self._qdrant.http.client.add_middleware(self._forward)

    @contextmanager
    def qdrant(self) -> Iterator[QdrantClient]:
        """Yield qdrant-client. An answer that it can't read becomes an `EddylineError`."""
        try:
            yield self._qdrant
        except (ResponseHandlingException, ValueError, AssertionError) as error:  # of another shape, no JSON, no result
            raise EddylineError(f"{self.url} doesn't answer as Qdrant: {error}") from error

    def call(self, method: str, path: str, body: object) -> Any:
        """Send `body` (numpy arrays may be in it) and return Qdrant's `result`."""
        content = orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY)
        if len(content) > MAX_REQUEST_BYTES:
            raise QdrantTooLarge(f"a request of {len(content):,} bytes is larger than Qdrant takes ({path})", 413)
        answer = self._send(method, path, content)
        try:
            return orjson.loads(answer.content)["result"]
        except (orjson.JSONDecodeError, KeyError, TypeError) as error:
            raise EddylineError(f"{self.url}{path} doesn't answer as Qdrant: {_text(answer)[:200]!r}") from error

    def check(self) -> None:
        """Raise `Unavailable` unless the server says that it is ready."""
        # By hand, since qdrant-client reads the answer, plain text, as JSON.
        self._send("GET", "/readyz", b"")

    def close(self) -> None:
        """Close the connections."""
        self._qdrant.close()
        self._connections.close()

    def _forward(self, request: httpx.Request, _: object) -> httpx.Response:
        answer = self._send(request.method, request.url.raw_path.decode(), request.content)
        return httpx.Response(answer.status, content=answer.content)

    def _send(self, method: str, path: str, content: bytes) -> HttpAnswer:
        where = f"Qdrant at {self.url} ({method} {path})"
        try:
            answer = self._connections.request(method, path, content)
        except TimeoutError as error:
            raise Unavailable(f"{where} didn't answer in time: {error}") from error
        except OSError as error:
            raise Unavailable(f"{where} can't be reached: {error}") from error
        status = answer.status
        if 200 <= status < 300:
            return answer
        message = f"{where} answered {status}: {_message(answer)}"
        if status >= 500 or status in _RETRY:
            raise Unavailable(message)
        if status in _REFUSED:
            raise Misconfigured(f"{message}. Check the API key.")
        if status == 404:
            raise QdrantNotFound(message, status)
        raise QdrantTooLarge(message, status) if status == 413 else QdrantError(message, status)


def _message(answer: HttpAnswer) -> str:
    try:
        status = orjson.loads(answer.content)["status"]
        return str(status["error"] if isinstance(status, dict) else status)
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return _text(answer)[:500]


def _text(answer: HttpAnswer) -> str:
    return answer.content.decode("utf-8", "replace")
