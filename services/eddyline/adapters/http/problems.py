"""Errors as problem+json (RFC 9457), with the field and the reason."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import orjson
import structlog
from fastapi import Request, Response
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from eddyline.errors import (
    MAX_FIELD,
    MAX_REASON,
    Forbidden,
    InvalidInput,
    NotEnabled,
    NotFound,
    Overloaded,
    RateLimited,
    TooLarge,
    Unauthenticated,
    Unavailable,
    UnsupportedEncoding,
    WrongHost,
    clip,
)

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
    401: "Not authenticated",
    403: "Not allowed",
    404: "Not found",
    405: "Method not allowed",
    408: "Too slow",
    413: "Too large",
    415: "Unsupported encoding",
    421: "Wrong host",
    422: "Invalid input",
    429: "Too many requests",
    431: "Headers too large",
    500: "Internal error",
    501: "Not enabled",
    503: "Unavailable",
}


def problem_fields(status: int, detail: str, field: str | None = None) -> dict[str, Any]:
    """Return the members of a problem."""
    fields: dict[str, Any] = {
        "type": "about:blank",
        "title": _TITLES.get(status, "Error"),
        "status": status,
        "detail": clip(detail, MAX_REASON + MAX_FIELD),
    }
    return fields if field is None else {**fields, "field": field}


def problem_response(
    status: int,
    detail: str,
    field: str | None = None,
    headers: Mapping[str, str] | None = None,
    **more: Any,
) -> Response:
    """Make a problem+json response; `more` are further members."""
    return Response(
        orjson.dumps(problem_fields(status, detail, field) | more),
        status_code=status,
        media_type="application/problem+json",
        headers=dict(headers or {}),
    )


async def answer_error(request: Request, error: Exception) -> Response:
    """Answer an error that was raised before anything of the response was sent. None shows a stack trace; what nobody
    expected is a 500, and logged once; the connection stays usable."""
    match error:
        case UnsupportedEncoding():
            return problem_response(415, str(error), error.field, headers={"Accept-Encoding": "gzip"})
        case InvalidInput():
            return problem_response(413 if isinstance(error, TooLarge) else 422, str(error), error.field)
        case NotFound():
            return problem_response(404, str(error))
        case NotEnabled():
            return problem_response(501, str(error))
        case Unauthenticated():
            return problem_response(401, str(error), headers={"WWW-Authenticate": "Bearer"})
        case Forbidden():
            return problem_response(403, str(error))
        case WrongHost():
            return problem_response(421, str(error))
        case RateLimited():
            return problem_response(429, str(error), headers=retry_after_header(error.retry_after))
        case Overloaded():
            headers = retry_after_header(error.retry_after)
            return problem_response(503, str(error), headers=headers, accepted=0, acknowledged=[])
        case Unavailable():
            return problem_response(503, str(error), headers=retry_after_header(1.0))
        case HTTPException():
            return _http(request, error)
        case ClientDisconnect():  # nobody reads the response; it keeps the metrics from calling it our fault
            return problem_response(400, "the body ended early")
        case _:
            caller = request.scope.get("caller")
            log.error("request failed", path=request.scope["path"], key=caller and caller.name, exc_info=error)
            return problem_response(500, "something went wrong here; it has been logged")


def _http(request: Request, error: HTTPException) -> Response:
    path = clip(request.url.path, MAX_FIELD)
    detail = {
        404: f"there is nothing at {path}; the API is described at /docs",
        405: f"{path} doesn't take {request.method}",
    }.get(error.status_code, str(error.detail))
    return problem_response(error.status_code, detail, headers=error.headers)


def retry_after_header(seconds: float) -> dict[str, str]:
    """Return the Retry-After header, in whole seconds."""
    return {"Retry-After": str(max(1, math.ceil(seconds)))}
