"""The application around the services' routes: dispatch, errors, metrics."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from typing import TypeAlias

from fastapi import APIRouter, FastAPI, Request
from fastapi.routing import APIRoute
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.routing import BaseRoute, Match, Mount, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from eddyline import __version__
from eddyline.adapters.http.access import OPERATE, AccessControl, RouteAccess
from eddyline.adapters.http.description import describe, serve_docs
from eddyline.adapters.http.endpoints import Endpoint, endpoint_of
from eddyline.adapters.http.operations import ReadinessCheck, operations_routes
from eddyline.adapters.http.problems import answer_error
from eddyline.adapters.http.security_headers import protected
from eddyline.adapters.telemetry import Metrics

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
Served: TypeAlias = tuple[APIRoute, Endpoint, RouteAccess]
"""A route, what answers it, and who may call it."""
TITLE, SUMMARY = "Eddyline", "A streaming recommender: every click changes the next answer."


class Application(FastAPI):
    """Answers the services' routes itself, in one pass over the request; FastAPI describes them, and routes to the
    documentation and to what there isn't.

    Paths are matched as they were sent, so that an id may hold an encoded slash; handlers decode their ids. Every
    request is counted and timed, by route. Any error is a problem. Before anything is read, `access` decides.
    """

    def __init__(
        self, routers: Sequence[APIRouter], metrics: Metrics, cors_origins: Sequence[str], access: AccessControl
    ) -> None:
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
            lambda method, route, status, key: (
                metrics.requests.labels(method, route, status, key),
                metrics.request_seconds.labels(method, route),
            )
        )
        """The counter and the histogram of a request, looked up once."""
        self._access = access
        self._fixed: dict[tuple[str, str], Served] = {}
        """Routes without an id in their paths, by method and path."""
        self._patterns: dict[str, list[Served]] = defaultdict(list)
        """The others by method, in the order in which they were declared."""
        for router in routers:
            self.include_router(router)
            for route in router.routes:
                self._add_endpoint(route)
        self._others: ASGIApp = ExceptionMiddleware(self.router, {HTTPException: answer_error, Exception: answer_error})
        self._answers = self._answer if not cors_origins else _with_cors(self._answer, cors_origins)

    def _add_endpoint(self, route: BaseRoute) -> None:
        """Raises `TypeError` for a route that doesn't say who may call it."""
        assert isinstance(route, APIRoute)
        security = (route.openapi_extra or {}).get("security")
        if security is None:
            raise TypeError(f"{route.path}: nothing says who may call it")
        served = route, endpoint_of(route), RouteAccess.from_security(security)
        for method in route.methods or ():
            if route.param_convertors:
                self._patterns[method].append(served)
            else:
                self._fixed[method, route.path] = served

    def access_rules(self) -> Iterator[tuple[str, str, RouteAccess]]:
        """Yield every route with its method, and who may call it."""
        for (method, path), (_, _, access) in self._fixed.items():
            yield method, path, access
        for method, patterns in self._patterns.items():
            yield from ((method, route.path, access) for route, _, access in patterns)
        others = [route for route in self.routes if not isinstance(route, APIRoute)]
        yield from (("GET", route.path, OPERATE) for route in others if isinstance(route, Route | Mount))

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
                message = {**message, "headers": protected(message["headers"])}
            await send(message)

        try:
            await self._answers(scope, receive, watch)
        finally:
            route = getattr(scope.get("route"), "path", "other")
            method = scope["method"] if scope["method"] in METHODS else "other"
            answered, seconds = self._series(method, route, status, scope.get("key", ""))
            answered.inc()
            seconds.observe(time.perf_counter() - started)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        response: ASGIApp
        try:
            served = self._match(scope)
            if served is None:
                self._admit_to_others(scope)
                response = self._others
            else:
                endpoint, access = served
                scope["caller"] = self._access.admit(scope, access)
                response = await endpoint(request)
        except Exception as error:
            response = await answer_error(request, error)
        await response(scope, receive, send)

    def _admit_to_others(self, scope: Scope) -> None:
        """Ask for a key where there is an answer: the API's description, which isn't for everyone."""
        if any(route.matches(scope)[0] is Match.FULL for route in self.routes):
            self._access.admit(scope, OPERATE)

    def _match(self, scope: Scope) -> tuple[Endpoint, RouteAccess] | None:
        """Return the endpoint of the request, and who may call it; note its route, and the ids of its path."""
        method, path = scope["method"], scope["path"]
        if (fixed := self._fixed.get((method, path))) is not None:
            scope["route"], endpoint, access = fixed
            return endpoint, access
        for route, endpoint, access in self._patterns.get(method, ()):
            if (match := route.path_regex.match(path)) is not None:
                scope["route"], scope["path_params"] = route, match.groupdict()
                return endpoint, access
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
    access: AccessControl | None = None,
    operations: Callable[[Mapping[str, ReadinessCheck], Metrics], APIRouter] = operations_routes,
) -> Application:
    """Build an ASGI application of these routes, with /docs, /openapi.json, and those of `operations`: /healthz,
    /readyz and /metrics.

    `checks`: what must be ready, by name; each is called from a thread. `bodies`: the models of the bodies that routes
    read themselves. `access`: who may call what; None: without keys. Raises `TypeError` for a route that doesn't say
    who may call it, or takes a parameter from nowhere.
    """
    origins = list(cors_origins)
    access = access or AccessControl(None, cors_origins=origins)
    app = Application([*routers, operations(checks, metrics)], metrics, origins, access)
    serve_docs(app)
    describe(app, bodies)
    return app


def create_operations_app(checks: Mapping[str, ReadinessCheck], metrics: Metrics, access: AccessControl) -> Application:
    """Build an ASGI application of /healthz, /readyz and /metrics alone, for a port of their own."""
    return Application([operations_routes(checks, metrics)], metrics, (), access)
