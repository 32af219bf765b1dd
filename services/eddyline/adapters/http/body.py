"""Request bodies, ids in paths, and JSON responses."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any, TypeAlias, TypeVar
from urllib.parse import unquote_to_bytes

import orjson
from fastapi import Request, Response
from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect

from eddyline.adapters.http.in_flight import InFlightLimit
from eddyline.adapters.http.limits import ADMISSION, Admission
from eddyline.errors import InvalidInput, TooLarge, UnsupportedEncoding
from eddyline.model.events import RECEIVED, check_id, explain_validation_error, load_json

Model = TypeVar("Model", bound=BaseModel)
_Unpack: TypeAlias = Callable[[bytes, int, bool], bytes]
"""Unpacks bytes: at most one more than there is room for; the last argument says whether others follow."""


async def read_json(
    request: Request, limit: int, in_flight: InFlightLimit | None = None, load: Callable[[bytes], Any] = load_json
) -> Any:
    """Read the body as JSON, by `load`, whatever its content type (sendBeacon says text/plain), plain or gzip.

    Raises `TooLarge` past `limit` bytes, as they are sent or unpacked, without reading further; `Overloaded` where its
    client has too much under way, or there is no more room in `in_flight`, which counts it once it is whole;
    `UnsupportedEncoding`, `InvalidInput` where it isn't JSON, and `ClientDisconnect`.
    """
    unpack = _unpacker(request)
    declared = request.headers.get("content-length", "")
    if declared.isascii() and declared.isdigit() and (len(declared) > 18 or int(declared) > limit):
        raise _too_large(limit)
    admission: Admission | None = request.scope.get(ADMISSION)
    chunks: list[bytes] = []
    size = 0
    more = True
    while more:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        more = message.get("more_body", False)
        chunk = unpack(message.get("body", b""), limit - size, more)
        if len(chunk) > limit - size:
            raise _too_large(limit)
        size += len(chunk)
        if admission is not None and more:
            admission.read(len(chunk))
        chunks.append(chunk)
    if admission is not None:
        admission.start()
    if in_flight is None:
        return _decoded(b"".join(chunks), load)
    in_flight.reserve(size)
    try:
        return _decoded(b"".join(chunks), load)
    finally:
        in_flight.release(size)


def validate_input(model: type[Model], value: Any) -> Model:
    """Check a body, or a query, that is decoded. Raises `InvalidInput` with the field and the reason."""
    try:
        return model.model_validate(value, context=RECEIVED)
    except ValidationError as error:
        raise InvalidInput(*explain_validation_error(error)) from None


def _unpacker(request: Request) -> _Unpack:
    """Return what unpacks the next bytes of the body. Raises `UnsupportedEncoding`."""
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding == "identity":
        return lambda packed, _room, _more: packed
    if encoding not in ("gzip", "x-gzip"):
        raise UnsupportedEncoding(f"{encoding[:40]!r} isn't read: send it plain, or gzip", "Content-Encoding")
    inflate = zlib.decompressobj(16 + zlib.MAX_WBITS)

    def unpack(packed: bytes, room: int, more: bool) -> bytes:
        try:
            plain = inflate.decompress(packed, room + 1)
        except zlib.error as error:
            raise InvalidInput(f"is not valid gzip: {error}", "body") from None
        if len(plain) <= room and (inflate.unused_data or not (more or inflate.eof)):
            raise InvalidInput("is not valid gzip: " + ("something follows it" if inflate.eof else "it is cut"), "body")
        return plain

    return unpack


def _decoded(body: bytes, load: Callable[[bytes], Any]) -> Any:
    if not body.strip():
        raise InvalidInput("the body is empty; JSON is needed", "body")
    try:
        return load(body)
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


def with_path_id(body: Any, field: str, name: str) -> Any:
    """Return the body with the id of the path. Raises `InvalidInput` where it names another."""
    if not isinstance(body, dict):
        raise InvalidInput("must be a JSON object", "body")
    if body.get(field, name) != name:
        raise InvalidInput("differs from the one in the path", field)
    return {**body, field: name}


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
