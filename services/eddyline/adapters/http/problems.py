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
    """The body of a refusal (RFC 9457)."""

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
    """Make a problem+json response; `more` are further members."""
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
    """Turn every error into a problem, none of which shows a stack trace. Goes before all other middleware."""
    for error in (InvalidInput, NotFound, NotEnabled, Overloaded, Unavailable):
        app.add_exception_handler(error, _refused)
    app.add_exception_handler(RequestValidationError, _request_validation)
    app.add_exception_handler(HTTPException, _http)
    app.add_middleware(CatchAllMiddleware)


async def _refused(_: Request, error: Exception) -> Response:
    """Answer one of our own errors, which are raised before anything of the response was sent."""
    match error:
        case InvalidInput():
            return problem_response(413 if isinstance(error, TooLarge) else 422, str(error), error.field)
        case NotFound():
            return problem_response(404, str(error))
        case NotEnabled():
            return problem_response(501, str(error))
        case Overloaded():
            headers = retry_after_header(error.retry_after)
            return problem_response(503, str(error), headers=headers, accepted=0, acknowledged=[])
        case _:
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
    """Answers an unexpected error with a 500, and logs it once; the connection stays usable."""

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
        except ClientDisconnect:  # nobody reads the response; it keeps the metrics from calling it our fault
            await problem_response(400, "the body ended early")(scope, receive, send)
        except Exception as error:
            if started or scope["type"] != "http":
                raise
            log.error("request failed", path=scope["path"], exc_info=error)
            await problem_response(500, "something went wrong here; it has been logged")(scope, receive, send)


def retry_after_header(seconds: float) -> dict[str, str]:
    """Return the Retry-After header, in whole seconds."""
    return {"Retry-After": str(max(1, math.ceil(seconds)))}
