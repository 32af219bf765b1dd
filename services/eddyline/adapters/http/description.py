"""The API described: its OpenAPI document, and the page that shows it."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.openapi.utils import get_openapi
from fastapi.responses import HTMLResponse
from fastapi.staticfiles import StaticFiles
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from eddyline.adapters.http.access import SECURITY_SCHEMES
from eddyline.adapters.http.problems import Problem

ASSETS = ("swagger-ui-bundle.js", "swagger-ui.css", "favicon.png")
CONTENT_POLICY = (
    "default-src 'none'; script-src 'self' {script}; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""Of the page: its own scripts and no others, and requests to this host. Swagger UI writes styles into elements."""
_INLINE_SCRIPT = re.compile(rb"<script>(.*?)</script>", re.DOTALL)


def serve_docs(app: FastAPI) -> None:
    """Serve Swagger UI, from the files that fastapi-offline ships."""
    directory = Path(str(files("fastapi_offline"))) / "static"
    app.mount("/docs/assets", StaticFiles(directory=directory), name="assets")

    script, style, icon = (f"/docs/assets/{name}" for name in ASSETS)
    page = bytes(
        get_swagger_ui_html(
            openapi_url="/openapi.json",
            title=f"{app.title} API",
            swagger_js_url=script,
            swagger_css_url=style,
            swagger_favicon_url=icon,
        ).body
    )
    policy = {"Content-Security-Policy": CONTENT_POLICY.format(script=" ".join(_hashes(page)))}

    async def docs(_: Request) -> Response:
        return HTMLResponse(page, headers=policy)

    app.add_route("/docs", docs, include_in_schema=False)


def _hashes(page: bytes) -> Iterable[str]:
    """Yield the sources that a content policy must name for the scripts within a page."""
    for script in _INLINE_SCRIPT.findall(page):
        yield f"'sha256-{base64.b64encode(hashlib.sha256(script).digest()).decode()}'"


def describe(app: FastAPI, bodies: Iterable[type[BaseModel]]) -> None:
    """Add the bodies that routes read themselves, and problems, to the OpenAPI document."""
    models: list[type[BaseModel]] = [Problem, *bodies]

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
    document["components"]["securitySchemes"] = SECURITY_SCHEMES
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
