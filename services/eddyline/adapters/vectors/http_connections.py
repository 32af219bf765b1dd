"""HTTP connections to one server, kept alive.

Writing a batch of profiles is one request, and HTTPX's was a third of what folding such a batch costs altogether. The
standard library's client does the same in less than a quarter of the processor's time. It knows no proxies: where the
environment names one for the server, it is HTTPX after all.
"""

from __future__ import annotations

import select
import time
from base64 import b64encode
from collections.abc import Mapping
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import NamedTuple, Protocol
from urllib.request import getproxies, proxy_bypass

import httpx

KEEP_ALIVE_SECONDS = 5.0
"""How long an idle connection is used again: as HTTPX does it, and no longer than servers keep theirs."""


class HttpAnswer(NamedTuple):
    """A response: its status code and its body."""

    status: int
    content: bytes


class HttpConnections(Protocol):
    """Requests to one server, from any thread; none is repeated, no redirect is followed."""

    def request(self, method: str, path: str, content: bytes) -> HttpAnswer:
        """Send a request to `path`, below the path of the server's URL, and return the whole answer.

        Raises `TimeoutError` when nothing came in time, any other `OSError` when the server can't be reached.
        """

    def close(self) -> None:
        """Close the connections."""


def connect(url: httpx.URL, headers: Mapping[str, str], timeout_seconds: float) -> HttpConnections:
    """Return the connections to an http(s) URL; they are opened when they are needed. `headers` go with every request,
    credentials in the URL as well. `timeout_seconds`: of connecting, and of each send and receive."""
    proxies = getproxies()
    is_proxied = (url.scheme in proxies or "all" in proxies) and not proxy_bypass(url.host)
    return (_ProxiedConnections if is_proxied else _DirectConnections)(url, headers, timeout_seconds)


class _DirectConnections:
    """Connections that are kept and taken by whichever thread asks next: as many as have asked at once."""

    def __init__(self, url: httpx.URL, headers: Mapping[str, str], timeout_seconds: float) -> None:
        self._host, self._timeout = url.raw_host.decode(), timeout_seconds
        self._port = url.port or (443 if url.scheme == "https" else 80)
        self._tls = httpx.create_ssl_context() if url.scheme == "https" else None
        self._path = url.copy_with(query=None, fragment=None).raw_path.decode().rstrip("/")
        self._headers = dict(headers)
        if url.userinfo:
            credentials = b64encode(f"{url.username}:{url.password}".encode()).decode()
            self._headers["Authorization"] = f"Basic {credentials}"
        self._idle: list[tuple[HTTPConnection, float]] = []  # appending and popping are atomic

    def request(self, method: str, path: str, content: bytes) -> HttpAnswer:
        connection = self._take()
        try:
            connection.request(method, self._path + path, content, self._headers)
            response = connection.getresponse()
            answer = HttpAnswer(response.status, response.read())
        except HTTPException as error:
            connection.close()
            raise ConnectionError(f"{type(error).__name__}: {error}") from error
        except BaseException:
            connection.close()
            raise
        self._idle.append((connection, time.monotonic()))
        return answer

    def close(self) -> None:
        while self._idle:
            self._idle.pop()[0].close()

    def _take(self) -> HTTPConnection:
        """Return the connection that was used last, or a new one."""
        try:
            connection, since = self._idle.pop()
        except IndexError:
            return self._new()
        if time.monotonic() - since > KEEP_ALIVE_SECONDS or _is_closed(connection):
            connection.close()  # and opens again with the next request
        return connection

    def _new(self) -> HTTPConnection:
        if self._tls is None:
            return HTTPConnection(self._host, self._port, timeout=self._timeout)
        return HTTPSConnection(self._host, self._port, timeout=self._timeout, context=self._tls)


class _ProxiedConnections:
    """Connections by way of the proxy that the environment names (`HTTP_PROXY` and its like)."""

    def __init__(self, url: httpx.URL, headers: Mapping[str, str], timeout_seconds: float) -> None:
        limits = httpx.Limits(max_connections=64, max_keepalive_connections=64)
        self._client = httpx.Client(base_url=url, headers=dict(headers), timeout=timeout_seconds, limits=limits)

    def request(self, method: str, path: str, content: bytes) -> HttpAnswer:
        try:
            response = self._client.request(method, path, content=content)
        except httpx.TimeoutException as error:
            raise TimeoutError(type(error).__name__) from error
        except httpx.TransportError as error:
            raise ConnectionError(str(error)) from error
        return HttpAnswer(response.status_code, response.content)

    def close(self) -> None:
        self._client.close()


def _is_closed(connection: HTTPConnection) -> bool:
    """Return whether the server has closed an idle connection: there is something to read, the end."""
    if connection.sock is None:
        return True
    poll = select.poll()
    poll.register(connection.sock, select.POLLIN)
    return bool(poll.poll(0))
