"""The application around the services' routes: dispatch, errors, metrics, health."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from typing import TypeAlias

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.routing import APIRoute
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from eddyline import __version__
from eddyline.adapters.http.body import json_response
from eddyline.adapters.http.description import describe, serve_docs
from eddyline.adapters.http.endpoints import Endpoint, endpoint_of
from eddyline.adapters.http.problems import answer_error
from eddyline.adapters.telemetry import CONTENT_TYPE, Metrics
from eddyline.errors import EddylineError

ReadinessCheck: TypeAlias = Callable[[], None]
"""Raises an `EddylineError` that says why something isn't ready."""

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
TITLE, SUMMARY = "Eddyline", "A streaming recommender: every click changes the next answer."


class Application(FastAPI):
    """Answers the services' routes itself, in one pass over the request; FastAPI describes them, and routes to the
    documentation and to what there isn't.

    Paths are matched as they were sent, so that an id may hold an encoded slash; handlers decode their ids. Every
    request is counted and timed, by route. Any error is a problem.
    """

    def __init__(self, routers: Sequence[APIRouter], metrics: Metrics, cors_origins: Sequence[str]) -> None:
        super().__init__(
            title=TITLE,
            summary=SUMMARY,
            version=__version__,
            docs_url=None,
            redoc_url=None,
            redirect_slashes=False,
            license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
        )
        self._series = cache(
            lambda method, route, status: (
                metrics.requests.labels(method, route, status),
                metrics.request_seconds.labels(method, route),
            )
        )
        """The counter and the histogram of a request, looked up once."""
        self._fixed: dict[tuple[str, str], tuple[APIRoute, Endpoint]] = {}
        """Routes without an id in their paths, by method and path."""
        self._patterns: dict[str, list[tuple[APIRoute, Endpoint]]] = defaultdict(list)
        """The others by method, in the order in which they were declared."""
        for router in routers:
            self.include_router(router)
            for route in router.routes:
                self._add_endpoint(route)
        self._others: ASGIApp = ExceptionMiddleware(self.router, {HTTPException: answer_error, Exception: answer_error})
        self._answers = self._answer if not cors_origins else _with_cors(self._answer, cors_origins)

    def _add_endpoint(self, route: BaseRoute) -> None:
        assert isinstance(route, APIRoute)
        for method in route.methods or ():
            if route.param_convertors:
                self._patterns[method].append((route, endpoint_of(route)))
            else:
                self._fixed[method, route.path] = route, endpoint_of(route)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            await super().__call__(scope, receive, send)
            return
        started, status = time.perf_counter(), 500
        path = scope["raw_path"].split(b"?", 1)[0].decode("latin-1") if scope.get("raw_path") else scope["path"]
        scope = {**scope, "app": self, "path": path}

        async def watch(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._answers(scope, receive, watch)
        finally:
            route = getattr(scope.get("route"), "path", "other")
            method = scope["method"] if scope["method"] in METHODS else "other"
            answered, seconds = self._series(method, route, status)
            answered.inc()
            seconds.observe(time.perf_counter() - started)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        endpoint = self._match(scope)
        if endpoint is None:
            await self._others(scope, receive, send)
            return
        request = Request(scope, receive)
        try:
            response = await endpoint(request)
        except Exception as error:
            response = await answer_error(request, error)
        await response(scope, receive, send)

    def _match(self, scope: Scope) -> Endpoint | None:
        """Return the endpoint of the request; note its route, and the ids of its path."""
        method, path = scope["method"], scope["path"]
        if (fixed := self._fixed.get((method, path))) is not None:
            scope["route"], endpoint = fixed
            return endpoint
        for route, endpoint in self._patterns.get(method, ()):
            if (match := route.path_regex.match(path)) is not None:
                scope["route"], scope["path_params"] = route, match.groupdict()
                return endpoint
        return None


def _with_cors(app: ASGIApp, origins: Sequence[str]) -> ASGIApp:
    return CORSMiddleware(
        app,
        allow_origins=origins,
        allow_methods=["GET", "POST", "PUT", "DELETE"],
        allow_headers=["*"],
        expose_headers=["Retry-After"],
        max_age=600,
    )


def create_app(
    routers: Sequence[APIRouter],
    checks: Mapping[str, ReadinessCheck],
    metrics: Metrics,
    bodies: Iterable[type[BaseModel]] = (),
    cors_origins: Iterable[str] = (),
) -> Application:
    """Build an ASGI application of these routes, with /docs, /openapi.json, /healthz, /readyz and /metrics.

    `checks`: what must be ready, by name; each is called from a thread. `bodies`: the models of the bodies that routes
    read themselves.
    """
    app = Application([*routers, _operations(checks, metrics)], metrics, list(cors_origins))
    serve_docs(app)
    describe(app, bodies)
    return app


def _operations(checks: Mapping[str, ReadinessCheck], metrics: Metrics) -> APIRouter:
    router = APIRouter(tags=["operations"])

    @router.get("/healthz", summary="Is the process alive?")
    async def healthz() -> Response:
        return json_response({"status": "ok"})

    @router.get("/readyz", summary="Is the process ready? Names what isn't", responses={503: {}})
    async def readyz() -> Response:
        states = await run_in_threadpool(_states, checks)
        ready = all(state == "ok" for state in states.values())
        return json_response({"status": "ready" if ready else "not ready", "checks": states}, 200 if ready else 503)

    @router.get("/metrics", summary="Prometheus metrics")
    async def show_metrics() -> Response:
        return Response(metrics.render(), headers={"Content-Type": CONTENT_TYPE})

    return router


def _states(checks: Mapping[str, ReadinessCheck]) -> dict[str, str]:
    states = {}
    for name, check in checks.items():
        try:
            check()
            states[name] = "ok"
        except EddylineError as error:
            states[name] = str(error)
    return states
