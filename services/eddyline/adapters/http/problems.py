"""Errors as problem+json (RFC 9457), with the field and the reason."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import orjson
import structlog
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from eddyline.errors import InvalidInput, NotEnabled, NotFound, Overloaded, TooLarge, Unavailable
from eddyline.model.events import explain_validation_error

log = structlog.get_logger("http")


class Problem(BaseModel):
    """What a refusal says (RFC 9457)."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    field: str | None = None
    """The offending field or parameter."""


_TITLES = {
    400: "Bad request",
    404: "Not found",
    405: "Method not allowed",
    413: "Too large",
    422: "Invalid input",
    500: "Internal error",
    501: "Not enabled",
    503: "Unavailable",
}


def problem_response(
    status: int,
    detail: str,
    field: str | None = None,
    headers: Mapping[str, str] | None = None,
    **more: Any,
) -> Response:
    """A problem+json response; `more` are further members."""
    body: dict[str, Any] = {"type": "about:blank", "title": _TITLES.get(status, "Error"), "status": status}
    body["detail"] = detail
    if field is not None:
        body["field"] = field
    return Response(
        orjson.dumps(body | more),
        status_code=status,
        media_type="application/problem+json",
        headers=dict(headers or {}),
    )


def install_error_handlers(app: FastAPI) -> None:
    """Turn every error into a problem; nothing shows a stack trace. Goes before all other middleware."""
    app.add_exception_handler(InvalidInput, _invalid)
    app.add_exception_handler(NotFound, _not_found)
    app.add_exception_handler(NotEnabled, _not_enabled)
    app.add_exception_handler(Overloaded, _overloaded)
    app.add_exception_handler(Unavailable, _unavailable)
    app.add_exception_handler(RequestValidationError, _request_validation)
    app.add_exception_handler(HTTPException, _http)
    app.add_middleware(CatchAllMiddleware)


async def _invalid(_: Request, error: Exception) -> Response:
    assert isinstance(error, InvalidInput)
    status = 413 if isinstance(error, TooLarge) else 422
    return problem_response(status, str(error), error.field)


async def _not_found(_: Request, error: Exception) -> Response:
    return problem_response(404, str(error))


async def _not_enabled(_: Request, error: Exception) -> Response:
    return problem_response(501, str(error))


async def _overloaded(_: Request, error: Exception) -> Response:
    """Raised before anything of the request was sent."""
    assert isinstance(error, Overloaded)
    return problem_response(503, str(error), headers=retry_after_header(error.retry_after), accepted=0, acknowledged=[])


async def _unavailable(_: Request, error: Exception) -> Response:
    return problem_response(503, str(error), headers=retry_after_header(1.0))


async def _request_validation(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    line = ValidationError.from_exception_data("request", [{**_line(first), "loc": tuple(first["loc"][1:])}])  # type: ignore[typeddict-item]
    reason, field = explain_validation_error(line)
    return problem_response(422, f"{field}: {reason}" if field else reason, field)


def _line(error: Mapping[str, Any]) -> dict[str, Any]:
    return {name: error[name] for name in ("type", "input", "ctx") if name in error}


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    detail = {
        404: f"there is nothing at {request.url.path}; the API is described at /docs",
        405: f"{request.url.path} doesn't take {request.method}",
    }.get(error.status_code, str(error.detail))
    return problem_response(error.status_code, detail, headers=error.headers)


class CatchAllMiddleware:
    """Answers an error that nobody expected, and logs it once; the connection stays usable."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        started = False

        async def watch(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self._app(scope, receive, watch)
        except ClientDisconnect:  # nobody hears it; the metrics shall not call it our fault
            await problem_response(400, "the body ended early")(scope, receive, send)
        except Exception as error:
            if started or scope["type"] != "http":
                raise
            log.error("request failed", path=scope["path"], exc_info=error)
            await problem_response(500, "something went wrong here; it has been logged")(scope, receive, send)


def retry_after_header(seconds: float) -> dict[str, str]:
    """The Retry-After header, in whole seconds."""
    return {"Retry-After": str(max(1, math.ceil(seconds)))}
