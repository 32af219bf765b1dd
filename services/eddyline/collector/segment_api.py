"""The routes that Segment's and RudderStack's libraries send to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

from fastapi import APIRouter, Request, Response

from eddyline.adapters.http import describe_body, open_to
from eddyline.collector.schemas import SegmentMessage
from eddyline.collector.segment_messages import segment_messages
from eddyline.model.tracker_events import segment_events, unmapped_name
from eddyline.settings import Scope


class TakeEvents(Protocol):
    """Take events as `Collector.take_events` does."""

    def __call__(
        self, request: Request, events: list[Any], idempotency_key: str | None, ignored: Mapping[str, int]
    ) -> Awaitable[Response]:
        """Return the response."""


def add_segment_routes(
    router: APIRouter,
    take: TakeEvents,
    read: Callable[[Request], Awaitable[Any]],
    clock: Callable[[], float],
    options: Mapping[str, Any],
) -> None:
    """Add the routes. `read` reads a request's JSON; `clock` in epoch seconds."""
    described = open_to(Scope.EVENTS, in_query=True) | describe_body(
        SegmentMessage, description="A message, or {batch: [messages]}"
    )

    async def respond(request: Request, call: str | None) -> Response:
        messages = segment_messages(await read(request), call, clock())
        events = [event for message in messages for event in segment_events(message)]
        ignored = Counter(name for message in messages if (name := unmapped_name(message)) is not None)
        return await take(request, events, None, ignored)

    @router.post(
        "/v1/track/segment",
        summary="Send events as Segment's and RudderStack's HTTP APIs take them",
        openapi_extra=described,
        **options,
    )
    async def post_segment(request: Request) -> Response:
        return await respond(request, None)

    @router.post(
        "/v1/track/segment/v1/{call}",
        summary="The same, by the paths that their libraries add: batch, track, identify, …",
        openapi_extra=described,
        **options,
    )
    async def post_segment_call(request: Request, call: str) -> Response:
        return await respond(request, call)
