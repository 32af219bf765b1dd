"""How much of this process all requests together, and those of one client, may take.

A body counts for its client while it comes, and a request once it is whole: clients that send slowly, or never finish,
take nothing from the others. All of it is for the event loop's thread.
"""

from __future__ import annotations

from collections import Counter

from starlette.types import ASGIApp, Receive, Scope, Send

from eddyline.adapters.http.problems import problem_response, retry_after_header
from eddyline.adapters.http.security_headers import protected
from eddyline.adapters.telemetry import Metrics
from eddyline.errors import Overloaded
from eddyline.settings import ServerSettings

ALWAYS_ANSWERED = frozenset({"/healthz", "/readyz", "/metrics"})
"""What an operator looks at just when there is too much of all else."""
WITH_BODIES = frozenset({"POST", "PUT", "PATCH"})
"""What `read_json` lets start."""
ADMISSION = "admission"
"""The key in a request's scope."""


class _Limit:
    """So much for all, and half of it for one client; but always `least`."""

    def __init__(self, setting: str, limit: int, metrics: Metrics, least: int = 1) -> None:
        self._setting, self._limit, self._share = setting, limit, max(least, limit // 2)
        self._refused = metrics.refused.labels(setting.removeprefix("max_"))
        self._by_client: Counter[str] = Counter()
        self.taken = 0

    def take(self, client: str, count: int) -> None:
        """Count more; each must be given back. Raises `Overloaded` where it would be too much."""
        if self.taken + count > self._limit or self._by_client[client] + count > self._share:
            self._refused.inc()
            who = "all clients have" if self.taken + count > self._limit else "this client has"
            raise Overloaded(
                f"{who} too much under way: server.{self._setting} is {self._limit:,}, half of it for one client"
            )
        self.taken += count
        self._by_client[client] += count

    def give_back(self, client: str, count: int) -> None:
        """Count less."""
        self.taken -= count
        self._by_client[client] -= count
        if not self._by_client[client]:
            del self._by_client[client]


class RequestLimits:
    """An ASGI application around another, whose requests it admits."""

    def __init__(self, app: ASGIApp, settings: ServerSettings, metrics: Metrics) -> None:
        self._app = app
        self.running = _Limit("max_requests", settings.max_requests, metrics)
        self.unfinished = _Limit("max_in_flight_bytes", settings.max_in_flight_bytes, metrics, settings.max_body_bytes)
        metrics.unfinished.set_function(lambda: self.unfinished.taken)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http" or scope["path"] in ALWAYS_ANSWERED:
            await self._app(scope, receive, send)
            return
        client = (scope.get("client") or ("", 0))[0]
        admission = Admission(self, client)
        try:
            if scope["method"] not in WITH_BODIES:
                admission.start()
        except Overloaded as error:
            response = problem_response(503, str(error), headers=retry_after_header(error.retry_after))
            response.raw_headers = protected(response.raw_headers)
            await response(scope, receive, send)
            return
        try:
            await self._app({**scope, ADMISSION: admission}, receive, send)
        finally:
            admission.end()


class Admission:
    """What one request takes."""

    def __init__(self, limits: RequestLimits, client: str) -> None:
        self._limits, self._client = limits, client
        self._read = 0
        self._is_running = False

    def read(self, size: int) -> None:
        """Count so many more bytes of its body, which isn't whole. Raises `Overloaded`."""
        self._limits.unfinished.take(self._client, size)
        self._read += size

    def start(self) -> None:
        """Count it as running: its body, where there is one, is whole. Raises `Overloaded`."""
        self._drop_body()
        if not self._is_running:
            self._limits.running.take(self._client, 1)
            self._is_running = True

    def end(self) -> None:
        """Give all of it back."""
        self._drop_body()
        if self._is_running:
            self._limits.running.give_back(self._client, 1)
            self._is_running = False

    def _drop_body(self) -> None:
        if self._read:
            self._limits.unfinished.give_back(self._client, self._read)
            self._read = 0
