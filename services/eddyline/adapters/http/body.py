"""Request bodies, ids in paths, and JSON responses."""

from __future__ import annotations

from typing import Any, TypeVar
from urllib.parse import unquote_to_bytes

import orjson
from fastapi import Request, Response
from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect

from eddyline.adapters.http.in_flight import InFlightLimit
from eddyline.errors import InvalidInput, TooLarge
from eddyline.model.events import RECEIVED, check_id, explain_validation_error, load_json

Model = TypeVar("Model", bound=BaseModel)


async def read_json(request: Request, limit: int, in_flight: InFlightLimit | None = None) -> Any:
    """Read the body as JSON, whatever its content type (sendBeacon says text/plain).

    Raises `TooLarge` past `limit` bytes, without reading further, `Overloaded` where there is no more room in
    `in_flight`, which counts it while it is read, `InvalidInput` where it isn't JSON, and `ClientDisconnect`.
    """
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > limit:
        raise _too_large(limit)
    chunks: list[bytes] = []
    size = 0
    try:
        more = True
        while more:
            message = await request.receive()
            if message["type"] == "http.disconnect":
                raise ClientDisconnect
            chunk, more = message.get("body", b""), message.get("more_body", False)
            if size + len(chunk) > limit:
                raise _too_large(limit)
            if in_flight is not None:
                in_flight.reserve(len(chunk))
            size += len(chunk)
            chunks.append(chunk)
        return _decoded(b"".join(chunks))
    finally:
        if in_flight is not None:
            in_flight.release(size)


def validate_input(model: type[Model], value: Any) -> Model:
    """Check a body, or a query, that is decoded. Raises `InvalidInput` with the field and the reason."""
    try:
        return model.model_validate(value, context=RECEIVED)
    except ValidationError as error:
        raise InvalidInput(*explain_validation_error(error)) from None


def _decoded(body: bytes) -> Any:
    if not body.strip():
        raise InvalidInput("the body is empty; JSON is needed", "body")
    try:
        return load_json(body)
    except InvalidInput as error:
        raise InvalidInput(error.reason, "body") from None


def _too_large(limit: int) -> TooLarge:
    return TooLarge(f"is over the limit of {limit:,} bytes; send less at once", "body")


def id_from_path(raw: str, field: str) -> str:
    """Decode an id in a path, which is matched undecoded. Raises `InvalidInput`."""
    try:
        return check_id(unquote_to_bytes(raw.encode("latin-1")).decode(), field)
    except UnicodeDecodeError:
        raise InvalidInput("must be percent-encoded UTF-8", field) from None


def item_id_from_path(raw: str) -> str:
    """Decode an item id in a path. Raises `InvalidInput`."""
    return id_from_path(raw, "item_id")


def json_response(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """Make a JSON response."""
    return Response(orjson.dumps(value), status_code=status, media_type="application/json", headers=headers)


def describe_body(*models: type[BaseModel], description: str = "") -> dict[str, Any]:
    """Describe for OpenAPI a body that the handler reads itself: one of these models, which `create_app` needs too."""
    refs = [{"$ref": f"#/components/schemas/{model.__name__}"} for model in models]
    schema = refs[0] if len(refs) == 1 else {"oneOf": refs}
    return {
        "requestBody": {
            "required": True,
            "description": description,
            "content": {"application/json": {"schema": schema}},
        }
    }
