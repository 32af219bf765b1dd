"""The routes that other systems send their own events to: Segment's and RudderStack's libraries, Google Analytics 4's
senders, webhooks."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Annotated, Any, Protocol

from fastapi import APIRouter, Header, Request, Response

from eddyline.adapters.http import describe_body, id_from_path, open_to
from eddyline.collector.schemas import Ga4Body, SegmentMessage, WebhookBody
from eddyline.model.trackers import TrackedEvent, ga4_messages, segment_messages, webhook_messages
from eddyline.settings import Scope

_IdempotencyKey = Annotated[str | None, Header(max_length=512)]


class TakeTracked(Protocol):
    """Take events of another system as `Collector.take_tracked` does."""

    def __call__(
        self, request: Request, given: Sequence[TrackedEvent], idempotency_key: str | None
    ) -> Awaitable[Response]:
        """Return the response."""


def add_tracker_routes(
    router: APIRouter,
    take: TakeTracked,
    read: Callable[[Request], Awaitable[Any]],
    options: Mapping[str, Any],
    clock: Callable[[], float] = time.time,
) -> None:
    """Add the routes. `read` reads a request's JSON; `clock` in epoch seconds."""
    events = open_to(Scope.EVENTS, in_query=True)
    segment = events | describe_body(SegmentMessage, description="A message, {batch: [messages]}, or a list of such")

    @router.post(
        "/v1/track/segment",
        summary="Send events as Segment's and RudderStack's HTTP APIs take them",
        openapi_extra=segment,
        **options,
    )
    async def post_segment(request: Request) -> Response:
        return await take(request, segment_messages(await read(request), None, clock()), None)

    @router.post(
        "/v1/track/segment/v1/{call}",
        summary="The same, by the paths that their libraries add: batch, track, identify, …",
        openapi_extra=segment,
        **options,
    )
    async def post_segment_call(request: Request, call: str) -> Response:
        return await take(request, segment_messages(await read(request), call, clock()), None)

    @router.post(
        "/v1/track/ga4",
        summary="Send events as Google Analytics 4 takes them: Measurement Protocol, Tag Manager's server container",
        openapi_extra=events | describe_body(Ga4Body, description="{client_id, events}, one event, or a list of such"),
        **options,
    )
    async def post_ga4(request: Request, idempotency_key: _IdempotencyKey = None) -> Response:
        return await take(request, ga4_messages(await read(request), clock()), idempotency_key)

    @router.post(
        "/v1/track/webhook/{name}",
        summary="Send what a webhook sends, as an event of this name, which the settings map (events.mappings)",
        openapi_extra=events | describe_body(WebhookBody, description="An object, or a list of such"),
        **options,
    )
    async def post_webhook(request: Request, name: str, idempotency_key: _IdempotencyKey = None) -> Response:
        messages = webhook_messages(await read(request), id_from_path(name, "name"))
        return await take(request, messages, idempotency_key)
