"""The application around the services' routes: API documentation, health, metrics."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeAlias

from fastapi import APIRouter, FastAPI, Response
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.openapi.utils import get_openapi
from fastapi.staticfiles import StaticFiles
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema
from starlette.concurrency import run_in_threadpool
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from eddyline import __version__
from eddyline.adapters.http import problems
from eddyline.adapters.http.body import json_response
from eddyline.adapters.telemetry import CONTENT_TYPE, Metrics
from eddyline.errors import EddylineError

ReadinessCheck: TypeAlias = Callable[[], None]
"""Raises an `EddylineError` that says why something isn't ready."""

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
ASSETS = ("swagger-ui-bundle.js", "swagger-ui.css", "favicon.png")
TITLE, SUMMARY = "Eddyline", "A streaming recommender: every click changes the next answer."


def create_app(
    routers: Sequence[APIRouter],
    checks: Mapping[str, ReadinessCheck],
    metrics: Metrics,
    bodies: Iterable[type[BaseModel]] = (),
    cors_origins: Iterable[str] = (),
) -> FastAPI:
    """Build an ASGI application of these routes, with /docs, /openapi.json, /healthz, /readyz and /metrics.

    `checks`: what must be ready, by name; each is called from a thread. `bodies`: the models of the bodies that routes
    read themselves.
    """
    app = FastAPI(
        title=TITLE,
        summary=SUMMARY,
        version=__version__,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
    )
    problems.install_error_handlers(app)
    for router in routers:
        app.include_router(router)
    app.include_router(_operations(checks, metrics))
    _serve_docs(app)
    _describe(app, bodies)
    origins = list(cors_origins)
    if origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=origins,
            allow_methods=["GET", "POST", "PUT", "DELETE"],
            allow_headers=["*"],
            expose_headers=["Retry-After"],
            max_age=600,
        )
    app.add_middleware(RequestMetricsMiddleware, metrics=metrics)
    app.add_middleware(RawPathMiddleware)
    return app


class RawPathMiddleware:
    """Route on the path as it was sent, so that an id may hold an encoded slash; handlers decode their ids."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] == "http" and scope.get("raw_path"):
            scope = {**scope, "path": scope["raw_path"].split(b"?", 1)[0].decode("latin-1")}
        await self._app(scope, receive, send)


class RequestMetricsMiddleware:
    """Count and time every request, by route."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status = time.perf_counter(), 500

        async def watch(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, watch)
        finally:
            route = getattr(scope.get("route"), "path", "other")
            method = scope["method"] if scope["method"] in METHODS else "other"
            self._metrics.requests.labels(method, route, status).inc()
            self._metrics.request_seconds.labels(method, route).observe(time.perf_counter() - started)


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


def _serve_docs(app: FastAPI) -> None:
    """Serve Swagger UI, from the files that fastapi-offline ships."""
    directory = Path(str(files("fastapi_offline"))) / "static"
    app.mount("/docs/assets", StaticFiles(directory=directory), name="assets")

    @app.get("/docs", include_in_schema=False)
    async def docs() -> Response:
        script, style, icon = (f"/docs/assets/{name}" for name in ASSETS)
        return get_swagger_ui_html(
            openapi_url="/openapi.json",
            title=f"{app.title} API",
            swagger_js_url=script,
            swagger_css_url=style,
            swagger_favicon_url=icon,
        )


def _describe(app: FastAPI, bodies: Iterable[type[BaseModel]]) -> None:
    """Add the bodies that routes read themselves, and problems, to the OpenAPI document."""
    models: list[type[BaseModel]] = [problems.Problem, *bodies]

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _document(app, models)
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def _document(app: FastAPI, models: Sequence[type[BaseModel]]) -> dict[str, Any]:
    document = get_openapi(
        title=app.title,
        version=app.version,
        summary=app.summary,
        license_info=app.license_info,
        routes=app.routes,
    )
    _, definitions = models_json_schema(
        [(model, "validation") for model in models], ref_template="#/components/schemas/{model}"
    )
    schemas = document.setdefault("components", {}).setdefault("schemas", {}) | definitions["$defs"]
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    document["components"]["schemas"] = dict(sorted(schemas.items()))
    refusal = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    for operations in document["paths"].values():
        for operation in operations.values():
            operation["responses"].pop("422", None)
            if "operations" not in operation.get("tags", ()):
                operation["responses"]["4XX"] = {"description": "Refused, with the reason", "content": refusal}
                operation["responses"]["503"] = {
                    "description": "Unavailable; try again after Retry-After",
                    "content": refusal,
                }
    return document
