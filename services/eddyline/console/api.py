"""The routes of the console, under /console/api: for its page, and no part of the public API.

The streams are server-sent events; each ends within a minute, and the page asks for the next.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Annotated, Any, Final

import orjson
from fastapi import APIRouter, Query, Request, Response
from starlette.responses import StreamingResponse

from eddyline.adapters.event_tap import PEOPLE, EventTap, TappedEvent
from eddyline.adapters.http import WorkerThreads, id_from_path, item_id_from_path, json_response, open_to, read_json
from eddyline.adapters.http.access import caller_of
from eddyline.adapters.http.body import validate_input
from eddyline.console.dead_letters import DeadLetterChoice, DeadLetterDesk, DeadLetterQuery
from eddyline.console.filter_counts import FilterCounts, FilterQuery
from eddyline.console.known import KnownItems, KnownPeople
from eddyline.console.overview import MetricsHistory
from eddyline.console.quality import LastEvaluation
from eddyline.errors import InvalidInput, NotEnabled
from eddyline.model.ids import Person
from eddyline.settings import Scope

STREAM_SECONDS: Final = 55.0
TICK_SECONDS: Final = 0.25
READING_TICKS: Final = 4
"""Ticks between two readings of the metrics."""
NO_LETTERS = "this process has no broker: ask one that has a collector or a consumer for its dead letters"
NO_COLLECTOR = "this process takes in no events: ask one with the role collector"


@dataclass(frozen=True, slots=True)
class Console:
    """What it shows. None: not in this process. `is_stopping` ends the streams."""

    history: MetricsHistory
    people: KnownPeople
    items: KnownItems
    filters: FilterCounts
    quality: LastEvaluation
    variants: Callable[[], dict[str, Any]]
    """The variants whose lists can be asked for, as `<experiment>/<variant>`."""
    tap: EventTap | None
    dead_letters: DeadLetterDesk | None
    is_stopping: Callable[[], bool] = lambda: False


def router(console: Console, max_body_bytes: int) -> APIRouter:
    """Build the routes."""
    routes = APIRouter(prefix="/console/api", include_in_schema=False)
    threads = WorkerThreads("console", 2)
    operate = open_to(Scope.OPERATE)

    @routes.get("/history", openapi_extra=operate)
    async def history() -> Response:
        return json_response({"readings": console.history.readings(), "now": console.history.read()})

    @routes.get("/figures", openapi_extra=operate)
    async def figures() -> Response:
        return _stream(_figures(console))

    @routes.get("/events", openapi_extra=operate)
    async def events(request: Request) -> Response:
        if console.tap is None:
            raise NotEnabled(NO_COLLECTOR)
        return _stream(_events(console, console.tap, Scope.PEOPLE in caller_of(request.scope).scopes))

    @routes.get("/people/{kind}/{name}", openapi_extra=open_to(Scope.PEOPLE))
    async def person(kind: str, name: str) -> Response:
        return json_response(await threads.run(console.people.describe, _person(kind, name)))

    @routes.get("/people/{kind}/{name}/filters", openapi_extra=open_to(Scope.PEOPLE))
    async def filters_for(kind: str, name: str, query: Annotated[FilterQuery, Query()]) -> Response:
        return json_response(await threads.run(console.filters.count, query, _person(kind, name)))

    @routes.get("/filters", openapi_extra=operate)
    async def filters(query: Annotated[FilterQuery, Query()]) -> Response:
        return json_response(await threads.run(console.filters.count, query))

    @routes.get("/variants", openapi_extra=operate)
    async def variants() -> Response:
        return json_response(await threads.run(console.variants))

    @routes.get("/weights", openapi_extra=operate)
    async def weights() -> Response:
        return json_response(console.history.weights())

    @routes.get("/quality", openapi_extra=operate)
    async def quality() -> Response:
        return json_response(await threads.run(console.quality.describe))

    @routes.get("/items/{item_id}", openapi_extra=operate)
    async def item(item_id: str) -> Response:
        return json_response(await threads.run(console.items.describe, item_id_from_path(item_id)))

    def desk() -> DeadLetterDesk:
        if console.dead_letters is None:
            raise NotEnabled(NO_LETTERS)
        return console.dead_letters

    @routes.get("/dead-letters", openapi_extra=operate)
    async def dead_letters(request: Request, query: Annotated[DeadLetterQuery, Query()]) -> Response:
        with_people = Scope.PEOPLE in caller_of(request.scope).scopes
        return json_response(await threads.run(desk().summary, query, with_people))

    @routes.post("/dead-letters/replay", openapi_extra=operate)
    async def replay(request: Request) -> Response:
        choice = validate_input(DeadLetterChoice, await read_json(request, max_body_bytes))
        return json_response(await threads.run(desk().replay, choice))

    @routes.post("/dead-letters/drop", openapi_extra=operate)
    async def drop(request: Request) -> Response:
        choice = validate_input(DeadLetterChoice, await read_json(request, max_body_bytes))
        return json_response(await threads.run(desk().drop, choice))

    return routes


def _person(kind: str, name: str) -> Person:
    if kind not in ("u", "a"):
        raise InvalidInput("must be u (users) or a (anonymous)", "kind")
    return Person("u" if kind == "u" else "a", id_from_path(name, "user_id"))


def _stream(body: AsyncIterator[bytes]) -> Response:
    return StreamingResponse(body, media_type="text/event-stream")


async def _ticks(console: Console) -> AsyncIterator[int]:
    """Yield the ticks of a stream."""
    ends = time.monotonic() + STREAM_SECONDS
    tick = 0
    while time.monotonic() < ends and not console.is_stopping():
        yield tick
        tick += 1
        await asyncio.sleep(TICK_SECONDS)


async def _figures(console: Console) -> AsyncIterator[bytes]:
    async for tick in _ticks(console):
        if tick % READING_TICKS == 0:
            yield _message({**console.history.read(), "details": console.history.details()})


async def _events(console: Console, tap: EventTap, with_people: bool) -> AsyncIterator[bytes]:
    with tap.watch() as waiting:
        yield _message({"watching": True, "with_people": with_people})
        async for _ in _ticks(console):
            while waiting:
                yield _message(_described(waiting.popleft(), with_people))


def _described(tapped: TappedEvent, with_people: bool) -> dict[str, Any]:
    hidden = () if with_people else PEOPLE
    fault = tapped.fault
    return {
        "at": tapped.at,
        "key": tapped.key,
        "event": {name: value for name, value in tapped.event.items() if name not in hidden},
        "fault": None if fault is None else {"field": fault.field, "reason": fault.reason},
    }


def _message(value: Any) -> bytes:
    return b"data: " + orjson.dumps(value) + b"\n\n"
