"""A declared route as what answers it: each parameter read from the request once, as the handler's signature says.

FastAPI describes the routes. Its own way to serve them, through a dozen layers, takes more processor time than most
handlers.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from types import UnionType
from typing import Any, TypeAlias, Union, get_args, get_origin
from urllib.parse import parse_qsl

from fastapi import Request, Response, params
from fastapi.routing import APIRoute
from pydantic import BaseModel, TypeAdapter, ValidationError

from eddyline.adapters.http.body import validate_input
from eddyline.errors import InvalidInput
from eddyline.model.events import explain_validation_error

Endpoint: TypeAlias = Callable[[Request], Awaitable[Response]]
"""Answers a request whose path has been matched; may raise any error."""
_Read: TypeAlias = Callable[[Request], Any]


def endpoint_of(route: APIRoute) -> Endpoint:
    """Return what answers a route.

    Its handler may take the request, parts of the path as text, a model of the whole query, and headers. Raises
    `TypeError` for any other parameter. An endpoint raises `InvalidInput`, with the parameter, for what it refuses.
    """
    handler = route.endpoint
    signature = inspect.signature(handler, eval_str=True)
    reads = {name: _reader(route, parameter) for name, parameter in signature.parameters.items()}

    async def answer(request: Request) -> Response:
        response: Response = await handler(**{name: read(request) for name, read in reads.items()})
        return response

    return answer


def _reader(route: APIRoute, parameter: inspect.Parameter) -> _Read:
    annotation, name = parameter.annotation, parameter.name
    if annotation is Request:
        return lambda request: request
    if name in route.param_convertors:
        return lambda request: request.path_params[name]
    for source in getattr(annotation, "__metadata__", ()):
        if isinstance(source, params.Query):
            return _query_reader(get_args(annotation)[0])
        if isinstance(source, params.Header):
            return _header_reader(source.alias or name.replace("_", "-"), annotation, parameter.default)
    raise TypeError(f"{route.path}: nothing says where its parameter {name} comes from")


def _query_reader(model: type[BaseModel]) -> _Read:
    """Return what reads the whole query as this model. A field that is a list may be repeated; another that
    is given twice is refused: some proxy, or script, may have read the other one."""
    repeated = {field.alias or name for name, field in model.model_fields.items() if _is_list(field.annotation)}

    def read(request: Request) -> BaseModel:
        given: dict[str, Any] = {}
        for name, value in parse_qsl(request.scope["query_string"].decode("latin-1"), keep_blank_values=True):
            if name in repeated:
                given.setdefault(name, []).append(value)
            elif name in given:
                raise InvalidInput("is given twice, and takes one value", name)
            else:
                given[name] = value
        return validate_input(model, given)

    return read


def _is_list(annotation: Any) -> bool:
    origin = get_origin(annotation)
    return origin is list or (origin in (Union, UnionType) and any(map(_is_list, get_args(annotation))))


def _header_reader(header: str, annotation: Any, default: Any) -> _Read:
    wanted, adapter = header.lower().encode(), TypeAdapter(annotation)

    def read(request: Request) -> Any:
        for name, value in request.scope["headers"]:
            if name == wanted:
                try:
                    return adapter.validate_python(value.decode("latin-1"))
                except ValidationError as error:
                    raise InvalidInput(explain_validation_error(error)[0], header) from None
        return default

    return read
