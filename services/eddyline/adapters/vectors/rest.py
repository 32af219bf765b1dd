"""Qdrant's REST API: one pool of connections, bodies by orjson, and errors in our own words."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import httpx
import orjson

from eddyline.errors import EddylineError, Misconfigured, Unavailable

_RETRY = frozenset({408, 425, 429})
_REFUSED = frozenset({401, 403})


class QdrantError(EddylineError):
    """Qdrant answered with a 4xx that is neither a time-out nor about credentials."""

    def __init__(self, message: str, status: int) -> None:
        """`status` is the HTTP status code."""
        self.status = status
        super().__init__(message)


class Rest:
    """Calls to one Qdrant server, from any thread."""

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
        self._client = httpx.Client(
            base_url=url,
            headers=headers,
            timeout=timeout_seconds,
            limits=httpx.Limits(max_connections=64, max_keepalive_connections=64),
        )

    def call(self, method: str, path: str, body: object = None, **parameters: str) -> Any:
        """Qdrant's `result`.

        Raises `Unavailable` when it is down, slow or overloaded, `Misconfigured` when it refuses the key, and
        `QdrantError` with its message for any other refusal.
        """
        content = None if body is None else orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY)
        response = self._send(method, path, content, parameters)
        try:
            return orjson.loads(response.content)["result"]
        except (orjson.JSONDecodeError, KeyError, TypeError) as error:
            raise EddylineError(f"{self.url}{path} doesn't answer as Qdrant: {response.text[:200]!r}") from error

    def ready(self) -> None:
        """Raise `Unavailable` unless the server says that it is ready."""
        self._send("GET", "/readyz", None, {})

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _send(self, method: str, path: str, content: bytes | None, parameters: dict[str, str]) -> httpx.Response:
        where = f"Qdrant at {self.url} ({method} {path})"
        try:
            response = self._client.request(method, path, content=content, params=parameters)
        except httpx.TimeoutException as error:
            raise Unavailable(f"{where} didn't answer in time: {type(error).__name__}") from error
        except httpx.TransportError as error:
            raise Unavailable(f"{where} can't be reached: {error}") from error
        if response.is_success:
            return response
        status = response.status_code
        message = f"{where} answered {status}: {_message(response)}"
        if status >= 500 or status in _RETRY:
            raise Unavailable(message)
        if status in _REFUSED:
            raise Misconfigured(f"{message}. Check the API key.")
        raise QdrantError(message, status)


def collection_path(collection: str, *rest: str) -> str:
    """The path of a collection, or of something in it."""
    return "/".join(("/collections", *(quote(part, safe="") for part in (collection, *rest))))


def _message(response: httpx.Response) -> str:
    try:
        status = orjson.loads(response.content)["status"]
        return str(status["error"] if isinstance(status, dict) else status)
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return response.text[:500]
