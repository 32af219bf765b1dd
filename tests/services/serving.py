"""An application behind a real HTTP server, on any free port."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import httpx
from fastapi import APIRouter

from eddyline import reader
from eddyline.adapters.http import AccessControl, HttpServer, ReadinessCheck, create_app, listen
from eddyline.adapters.telemetry import Metrics
from eddyline.collector import schemas as collector
from eddyline.settings import ServerSettings

BODIES = (*collector.BODIES, *reader.BODIES)


@contextmanager
def served(
    *routers: APIRouter,
    checks: Mapping[str, ReadinessCheck] | None = None,
    metrics: Metrics | None = None,
    cors_origins: Iterable[str] = (),
    settings: ServerSettings = ServerSettings(),
    access: AccessControl | None = None,
) -> Iterator[httpx.Client]:
    """A client of the application of these routes."""
    metrics = metrics or Metrics()
    app = create_app(routers, checks or {}, metrics, BODIES, cors_origins, access)
    server = HttpServer(app, listen("127.0.0.1", 0), settings=settings, metrics=metrics)
    server.start()
    try:
        with httpx.Client(base_url=server.url, timeout=10.0) as client:
            yield client
    finally:
        server.stop()
        server.join()


def problem(response: httpx.Response, status: int | None = None) -> dict[str, Any]:
    """The problem in a refusal, after checking that it is one."""
    assert 400 <= response.status_code < 500 if status is None else response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    said: dict[str, Any] = response.json()
    assert said["status"] == response.status_code
    assert said["title"]
    assert said["detail"]
    assert "Traceback" not in response.text
    return said
