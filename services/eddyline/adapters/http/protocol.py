"""A connection, with limits on what uvicorn leaves without one: how many there are, how large headers and the framing
of a body are, how long each takes to come, and how long a refused body is read on.

Everything runs in the server's event loop. What is refused here no route sees; it is answered as a problem, too.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import Any

import orjson
import uvicorn
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from eddyline.adapters.http.problems import problem_fields
from eddyline.adapters.http.security_headers import header_lines
from eddyline.adapters.telemetry import Metrics
from eddyline.settings import ServerSettings

DRAIN_SECONDS = 2.0
"""How long a refused request is read on: a client that is still sending wouldn't hear why otherwise."""


class TrustedProxies:
    """The addresses whose `X-Forwarded-For` says who is at the other end: one of them speaks for many."""

    def __init__(self, networks: Sequence[IPv4Network | IPv6Network]) -> None:
        self._networks = tuple(networks)
        self._known = lru_cache(maxsize=4096)(self._is_in_a_network)

    def __contains__(self, host: str) -> bool:
        return bool(self._networks) and self._known(host)

    def _is_in_a_network(self, host: str) -> bool:
        try:
            address = ip_address(host)
        except ValueError:
            return False
        return any(address in network for network in self._networks)


class ConnectionLimits(uvicorn.Config):
    """uvicorn's configuration with our limits, which each connection gets."""

    def __init__(self, app: Any, settings: ServerSettings, metrics: Metrics, **more: Any) -> None:
        super().__init__(
            app, http=LimitedConnection, forwarded_allow_ips=[str(one) for one in settings.trusted_proxies], **more
        )
        self.settings, self.refused = settings, metrics.refused
        self.proxies = TrustedProxies(settings.trusted_proxies)
        self.by_client: Counter[str] = Counter()
        """Connections that are open."""


class LimitedConnection(HttpToolsProtocol):
    """uvicorn's connection, which is closed where it takes too long, or too much."""

    config: ConnectionLimits

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._settings = self.config.settings
        self._timer: asyncio.TimerHandle | None = None
        self._is_refused = False
        self._refusal = ("request", 400, "this is no HTTP request")
        """What a parser's error says."""
        self._in_headers = self._in_body = False
        self._began = False
        """Whether a request began in the data at hand."""
        self._raw = self._body = 0
        """Bytes of the headers, or of the body with its framing, that came since; and of the body alone."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Refuse one connection too many; wait for headers on another."""
        super().connection_made(transport)
        host, by_client, most = self._host, self.config.by_client, self._settings.max_connections
        by_client[host] += 1
        share = most if host in self.config.proxies else max(1, most // 2)
        if len(self.connections) > most or by_client[host] > share:
            self._answer("connections", 503, f"too many connections (server.max_connections is {most:,})")
            self._is_refused = True
            transport.close()
        else:
            self._start_timer(self._settings.header_seconds, self._headers_late)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it."""
        super().connection_lost(exc)
        self._stop_timer()
        by_client = self.config.by_client
        by_client[self._host] -= 1
        if not by_client[self._host]:
            del by_client[self._host]

    def data_received(self, data: bytes) -> None:
        """Parse; count what belongs to headers and framing; see that what has begun comes to an end."""
        if self._is_refused:
            return
        self._began = False
        had_headers, had_body = self._in_headers, self._in_body
        super().data_received(data)
        if self._is_refused or self.transport.is_closing() or self._began:
            pass
        elif self._in_headers and had_headers:
            self._raw += len(data)
            if self._raw > self._settings.max_header_bytes:
                self._refuse("headers", 431, self._headers_too_large)
        elif self._in_body and had_body:
            self._raw += len(data)
            if self._raw > self._settings.max_header_bytes + 2 * self._body:
                self._refuse("framing", 400, "the framing of the chunks takes more than what is in them")
        if self._timer is None and not self._is_refused:
            if self._in_headers:
                self._start_timer(self._settings.header_seconds, self._headers_late)
            elif self._in_body:
                self._start_timer(self._settings.body_seconds, self._body_late)

    # -- the parser's calls -------------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """Begin to count."""
        super().on_message_begin()
        self._in_headers = self._began = True
        self._raw = self._body = 0

    def on_headers_complete(self) -> None:
        """Refuse headers that are too large; wait for the body. Raises ValueError, which the parser passes on."""
        self._in_headers, self._in_body = False, True
        self._stop_timer()
        self._raw = 0
        size = len(self.url) + sum(len(name) + len(value) for name, value in self.headers)
        if size > self._settings.max_header_bytes:
            self._refusal = ("headers", 431, self._headers_too_large)
            raise ValueError("headers")
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Count it."""
        self._body += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Stop waiting."""
        self._in_body = False
        self._stop_timer()
        super().on_message_complete()

    def send_400_response(self, _msg: str) -> None:
        """Answer what the parser fails at."""
        self._refuse(*self._refusal)

    # -- the ends -----------------------------------------------------------------------------------------------------

    def on_response_complete(self) -> None:
        """Read on for a moment where a body is answered before it has come."""
        super().on_response_complete()
        if self.transport.is_closing():
            if self.transport.get_write_buffer_size():
                self.loop.call_later(self.timeout_keep_alive, self.transport.abort)
        elif self._in_body:
            self._start_timer(DRAIN_SECONDS, self.transport.close)

    def timeout_keep_alive_handler(self) -> None:
        """Close an idle connection, and one whose client doesn't read what it was answered."""
        if self.transport.get_write_buffer_size():
            self.transport.abort()
        else:
            super().timeout_keep_alive_handler()

    def _headers_late(self) -> None:
        if self._in_headers:
            self._refuse("header time", 408, f"the headers took longer than {self._settings.header_seconds:g} s")
        else:  # nothing came at all
            self.transport.close()

    def _body_late(self) -> None:
        self._refuse("body time", 408, f"the body took longer than {self._settings.body_seconds:g} s")

    def _refuse(self, reason: str, status: int, detail: str) -> None:
        """Answer a request that hasn't come whole, unless another answer is under way; read on for a moment; close."""
        cycle = self.cycle
        is_idle = cycle is None or cycle.response_complete
        if not is_idle and self._in_body and not cycle.response_started and not self.pipeline:
            cycle.disconnected = is_idle = True  # what its handler says from now on is dropped
            cycle.message_event.set()
        self._is_refused = True
        self.flow.resume_reading()
        if is_idle:
            self._answer(reason, status, detail)
            self.transport.write_eof()
            self._start_timer(DRAIN_SECONDS, self.transport.close)
        else:
            self.config.refused.labels(reason).inc()
            self.transport.close()

    def _answer(self, reason: str, status: int, detail: str) -> None:
        self.config.refused.labels(reason).inc()
        body = orjson.dumps(problem_fields(status, detail))
        head = b"content-type: application/problem+json\r\ncontent-length: %d\r\nconnection: close\r\n" % len(body)
        self.transport.write(STATUS_LINE[status] + head + header_lines() + b"\r\n" + body)

    @property
    def _headers_too_large(self) -> str:
        return f"the headers have more than {self._settings.max_header_bytes:,} bytes (server.max_header_bytes)"

    @property
    def _host(self) -> str:
        return "" if self.client is None else self.client[0]

    def _start_timer(self, seconds: float, call: Any) -> None:
        self._stop_timer()
        self._timer = self.loop.call_later(seconds, call)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
