"""The routes of feeds: make, list and end them."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Request, Response
from pydantic import BaseModel, Field, ValidationError
from starlette.concurrency import run_in_threadpool

from eddyline.adapters.http import describe_body, id_from_path, json_response, open_to, read_json
from eddyline.adapters.kafka import Producer
from eddyline.errors import InvalidInput, NotFound
from eddyline.feeds.feed_state import FeedView, shown_status
from eddyline.model.events import explain_validation_error, format_timestamp
from eddyline.settings import FeedSettings, Scope

Name = Annotated[str, Path(description="Of the feed")]


class FeedReport(BaseModel):
    """A feed, and how reading it goes."""

    name: str
    url: str
    format: str | None = None
    last_success: str | None = None
    next_at: str | None = None
    interval: float = 0.0
    """Seconds between two readings, as of now."""
    entries: int = 0
    """Of the last document."""
    items: int = 0
    """Items that were written, in all."""
    refused: int = 0
    """Entries of the last document that no item could be made of."""
    failures: int = 0
    """In a row."""
    error: str | None = None
    ended: bool = False
    """The host says that it is gone for good."""
    shrunk: bool = False
    """More than half of the catalogue was missing; it is deleted if that is so at the next reading, too."""


class FeedList(BaseModel):
    """All feeds."""

    feeds: Annotated[list[FeedReport], Field()]


BODIES = (FeedSettings,)
"""Models of the bodies that the routes read themselves."""


def router(view: FeedView, producer: Producer, max_body_bytes: int) -> APIRouter:
    """Build the routes."""
    routes = APIRouter(tags=["feeds"])

    @routes.get("/v1/feeds", summary="All feeds", response_model=FeedList, openapi_extra=open_to(Scope.OPERATE))
    async def list_feeds() -> Response:
        feeds = sorted(view.feeds().values(), key=lambda feed: feed.name)
        return json_response({"feeds": [_report(view, feed) for feed in feeds]})

    @routes.post(
        "/v1/feeds",
        summary="Read a feed from now on, or change one",
        status_code=202,
        response_model=FeedReport,
        openapi_extra=open_to(Scope.OPERATE) | describe_body(FeedSettings, description="The feed"),
    )
    async def make_feed(request: Request) -> Response:
        feed = _parsed(await read_json(request, max_body_bytes))
        if view.is_configured(feed.name):
            raise InvalidInput("is in the settings: change it there, or choose another name", "name")
        await run_in_threadpool(producer.send_all, [view.definition_record(feed.name, feed)])
        return json_response(_report(view, feed), 202)

    @routes.delete(
        "/v1/feeds/{name}",
        summary="End a feed; its items stay",
        status_code=202,
        response_model=FeedReport,
        openapi_extra=open_to(Scope.OPERATE),
    )
    async def end_feed(name: Name) -> Response:
        given = id_from_path(name, "name")
        feed = view.feeds().get(given)
        if feed is None:
            raise NotFound(f"there is no feed {given[:64]!r}")
        if view.is_configured(given):
            raise InvalidInput("is in the settings: take it out there", "name")
        report = _report(view, feed)
        await run_in_threadpool(producer.send_all, view.removal_records(given))
        return json_response(report, 202)

    return routes


def _parsed(body: Any) -> FeedSettings:
    if not isinstance(body, dict):
        raise InvalidInput("must be a JSON object", "body")
    try:
        return FeedSettings.model_validate(body)
    except ValidationError as error:
        raise InvalidInput(*explain_validation_error(error)) from None


def _report(view: FeedView, feed: FeedSettings) -> dict[str, Any]:
    shown = shown_status(feed, view.status(feed.name))
    for name in ("last_success", "next_at"):
        shown[name] = format_timestamp(shown[name]) if shown[name] else None
    return {name: value for name, value in shown.items() if value is not None}
