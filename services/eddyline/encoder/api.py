"""An encoder over HTTP, for processes that have none of their own.

What it answers is what `adapters.encoders.codecs.EddylineCodec` asks.
"""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool

from eddyline.adapters.encoders import DESCRIPTION, ENCODE, TextEncoder
from eddyline.adapters.http import describe_body, json_response, open_to, read_json, validate_input
from eddyline.model.distance import distance_of
from eddyline.settings import Scope


class EncoderDescription(BaseModel):
    """Which model the encoder has."""

    model: str
    """Which model: vectors of different ones are never compared."""
    dimension: int
    distance: Literal["cosine", "dot", "euclid"]
    """The distance that its vectors are for."""


class EncodeRequest(BaseModel):
    """Texts to encode."""

    model_config = ConfigDict(extra="forbid", strict=True)

    texts: Annotated[list[Annotated[str, Field(max_length=200_000)]], Field(min_length=1, max_length=1000)]


class EncodeResponse(BaseModel):
    """A vector for each text, in their order; of unit length where the distance is the cosine."""

    model: str
    distance: Literal["cosine", "dot", "euclid"]
    vectors: list[list[float]]


BODIES = (EncodeRequest,)
"""Models of the bodies that the routes read themselves."""


def router(encoder: TextEncoder, max_body_bytes: int) -> APIRouter:
    """Build the routes."""
    routes = APIRouter(tags=["encoding"])
    distance = distance_of(encoder.space).lower()

    @routes.get(
        DESCRIPTION,
        summary="Which model this is",
        response_model=EncoderDescription,
        openapi_extra=open_to(Scope.OPERATE),
    )
    async def describe() -> Response:
        return json_response({"model": encoder.model, "dimension": encoder.dimension, "distance": distance})

    @routes.post(
        ENCODE,
        summary="Texts into vectors",
        response_model=EncodeResponse,
        openapi_extra=open_to(Scope.OPERATE) | describe_body(EncodeRequest),
    )
    async def encode(request: Request) -> Response:
        parsed = validate_input(EncodeRequest, await read_json(request, max_body_bytes))
        rows = await run_in_threadpool(encoder.encode, parsed.texts)
        return json_response({"model": encoder.model, "distance": distance, "vectors": rows.tolist()})

    return routes
