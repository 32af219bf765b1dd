"""What operators ask a process: whether it is alive, what isn't ready, and how it is doing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

from fastapi import APIRouter, Request, Response
from starlette.concurrency import run_in_threadpool

from eddyline.adapters.http.access import caller_of, open_to
from eddyline.adapters.http.body import json_response
from eddyline.adapters.telemetry import CONTENT_TYPE, Metrics
from eddyline.errors import EddylineError
from eddyline.settings import Scope

ReadinessCheck: TypeAlias = Callable[[], None]
"""Raises an `EddylineError` that says why something isn't ready."""


def operations_routes(
    checks: Mapping[str, ReadinessCheck], metrics: Metrics, installation: str | None = None
) -> APIRouter:
    """Build /healthz, /readyz and /metrics. `installation`: what /healthz says that this one is."""
    router = APIRouter(tags=["operations"])
    _add_healthz(router, installation)

    @router.get(
        "/readyz",
        summary="Is the process ready? Names what isn't, to who may operate",
        responses={503: {}},
        openapi_extra=open_to(),
    )
    async def readyz(request: Request) -> Response:
        states = await run_in_threadpool(_states, checks)
        return _readiness(states, {"checks": states} if Scope.OPERATE in caller_of(request.scope).scopes else {})

    @router.get("/metrics", summary="Prometheus metrics", openapi_extra=open_to(Scope.OPERATE))
    async def show_metrics() -> Response:
        return Response(metrics.render(), headers={"Content-Type": CONTENT_TYPE})

    return router


def probe_routes(checks: Mapping[str, ReadinessCheck], _metrics: Metrics, installation: str | None = None) -> APIRouter:
    """Build /healthz and a /readyz that gives no details: what load balancers ask the port that they send to, where
    operators have one of their own."""
    router = APIRouter(tags=["operations"])
    _add_healthz(router, installation)

    @router.get("/readyz", summary="Is the process ready?", responses={503: {}}, openapi_extra=open_to())
    async def readyz() -> Response:
        return _readiness(await run_in_threadpool(_states, checks), {})

    return router


def _add_healthz(router: APIRouter, installation: str | None) -> None:
    alive = {"status": "ok"} | ({} if installation is None else {"installation": installation})

    @router.get("/healthz", summary="Is the process alive?", openapi_extra=open_to())
    async def healthz() -> Response:
        return json_response(alive)


def _readiness(states: Mapping[str, str], details: Mapping[str, Mapping[str, str]]) -> Response:
    ready = all(state == "ok" for state in states.values())
    return json_response({"status": "ready" if ready else "not ready", **details}, 200 if ready else 503)


def _states(checks: Mapping[str, ReadinessCheck]) -> dict[str, str]:
    states = {}
    for name, check in checks.items():
        try:
            check()
            states[name] = "ok"
        except EddylineError as error:
            states[name] = str(error)
    return states
