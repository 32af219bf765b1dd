"""Collector: takes events, items and people over HTTP and puts them on their topics.

A 202 means that the broker has acknowledged. What it can't take it refuses, saying why; nothing is dropped silently.
"""

from __future__ import annotations

import time
import uuid
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Header, Request, Response

from eddyline.adapters.event_tap import EventTap
from eddyline.adapters.http import (
    IdentityCheck,
    InFlightLimit,
    describe_body,
    id_from_path,
    item_id_from_path,
    open_to,
    read_json,
    with_path_id,
)
from eddyline.adapters.kafka import Outgoing, Producer
from eddyline.adapters.telemetry import Metrics
from eddyline.collector.cloud_event_bodies import BATCH, STRUCTURED, binary_envelope, content_mode
from eddyline.collector.event_ids import EventIdGenerator
from eddyline.collector.records import RecordReader, to_record
from eddyline.collector.schemas import Accepted, AvailabilityBatch, EventBatch, ItemBatch, take_sent_at
from eddyline.collector.sender import ReadOne, Sender
from eddyline.collector.tracker_routes import add_tracker_routes
from eddyline.errors import InvalidEvent, InvalidInput, TooLarge
from eddyline.model.events import (
    Availability,
    Content,
    Erased,
    Identify,
    ImpressionReport,
    Interaction,
    LeftOut,
    SenderClock,
    User,
    load_batch,
    load_json,
    load_members,
)
from eddyline.model.trackers import TrackedEvent, our_events, read_cloud_event
from eddyline.settings import AttributeKind, EventSettings, ImageSettings, Scope, ServerSettings
from eddyline.topics import CONTENT, INTERACTIONS, USERS

MAX_NAME = 64
"""Characters of the name of what has no meaning here."""


class Collector:
    """The writing half of the API. `clock` in epoch seconds."""

    def __init__(
        self,
        producer: Producer,
        events: EventSettings,
        server: ServerSettings,
        metrics: Metrics,
        clock: Callable[[], float] = time.time,
        images: ImageSettings = ImageSettings(),
        identity: IdentityCheck = IdentityCheck(None),
        attributes: Mapping[str, AttributeKind] = {},
        tap: EventTap | None = None,
    ) -> None:
        """`attributes`: those of items that the settings declare. `tap`: where events are handed on to who watches."""
        self._events, self._server, self._clock, self._tap = events, server, clock, tap
        self._records = RecordReader(events, images, identity, attributes)
        self._in_flight = InFlightLimit(server.max_in_flight_bytes)
        self._sender = Sender(producer, metrics, self._in_flight)
        metrics.in_flight.set_function(lambda: self._in_flight.bytes)

    def router(self) -> APIRouter:
        """The routes."""
        router = APIRouter(tags=["writing"])
        options: dict[str, Any] = {"status_code": 202, "response_model": Accepted}
        catalogue, people = open_to(Scope.CATALOGUE), open_to(Scope.PEOPLE)

        @router.post(
            "/v1/events",
            summary="Send events",
            openapi_extra=open_to(Scope.EVENTS, in_query=True)
            | describe_body(
                Interaction,
                Identify,
                ImpressionReport,
                EventBatch,
                description="One event, or several; CloudEvents, too, in each mode of its HTTP binding",
            ),
            **options,
        )
        async def post_events(
            request: Request, idempotency_key: Annotated[str | None, Header(max_length=512)] = None
        ) -> Response:
            if (mode := content_mode(request.headers)) is not None:
                return await self.take_tracked(request, await self._cloud_events(request, mode), idempotency_key)
            body = await self._object(request, "events")
            sent_at = take_sent_at(body)
            return await self.take_events(request, self._members(body, "events"), idempotency_key, sent_at=sent_at)

        @router.post(
            "/v1/items",
            summary="Create or replace several items",
            openapi_extra=catalogue | describe_body(Content, ItemBatch, description="One item, or several"),
            **options,
        )
        async def post_items(request: Request) -> Response:
            items = self._members(await self._object(request, "items"), "items")
            return await self._sender.take(items, self._entities(Content))

        @router.post(
            "/v1/items/availability",
            summary="Update price and stock only",
            openapi_extra=catalogue
            | describe_body(Availability, AvailabilityBatch, description="One item's, or several"),
            **options,
        )
        async def post_availability(request: Request) -> Response:
            items = self._members(await self._object(request, "items"), "items")
            return await self._sender.take(items, self._entities(Availability))

        @router.put(
            "/v1/items/{item_id}",
            summary="Create or replace an item",
            openapi_extra=catalogue
            | describe_body(Content, description="The item's full state; item_id may be left out"),
            **options,
        )
        async def put_item(request: Request, item_id: str) -> Response:
            named = with_path_id(await self._body(request), "item_id", item_id_from_path(item_id))
            return await self._sender.take_alone(self._entities(Content), named)

        @router.delete("/v1/items/{item_id}", summary="Delete an item", openapi_extra=catalogue, **options)
        async def delete_item(item_id: str) -> Response:
            name = item_id_from_path(item_id)
            return await self._sender.send_one(name, Outgoing(CONTENT, name.encode(), None))

        @router.put(
            "/v1/users/{user_id}",
            summary="Set a person's onboarding answers, segment and attributes",
            openapi_extra=people | describe_body(User, description="user_id may be left out"),
            **options,
        )
        async def put_user(request: Request, user_id: str) -> Response:
            named = with_path_id(await self._body(request), "user_id", id_from_path(user_id, "user_id"))
            return await self._sender.take_alone(self._entities(User), named)

        @router.delete("/v1/users/{user_id}", summary="Erase a person", openapi_extra=people, **options)
        async def delete_user(user_id: str) -> Response:
            name = id_from_path(user_id, "user_id")
            return await self._sender.send_one(name, Outgoing(USERS, name.encode(), None))

        @router.delete(
            "/v1/anonymous/{anonymous_id}",
            summary="Erase someone anonymous, unless they are a user by now",
            openapi_extra=people,
            **options,
        )
        async def delete_anonymous(anonymous_id: str) -> Response:
            name = id_from_path(anonymous_id, "anonymous_id")
            event = Erased(anonymous_id=name, timestamp=self._clock())
            return await self._sender.send_one(
                name, to_record(INTERACTIONS, event.person.key, event, str(uuid.uuid4()))
            )

        add_tracker_routes(router, self.take_tracked, self._body, options, self._clock)
        return router

    async def take_events(
        self,
        request: Request,
        events: Sequence[Any],
        idempotency_key: str | None,
        ignored: Mapping[str, int] = {},
        sent_at: float | None = None,
    ) -> Response:
        """Take events, and say how often what has no meaning here was sent, by its name (`ignored`). `sent_at`: when
        they were sent, by the sender's clock, in epoch seconds."""
        ids, clock = EventIdGenerator(idempotency_key), SenderClock.at_arrival(sent_at, self._clock())
        read = self._watched(request, lambda one, odd: self._records.event(request, one, ids, clock, odd))
        return await self._sender.take(events, read, ignored)

    async def take_tracked(
        self,
        request: Request,
        given: Sequence[TrackedEvent | dict[str, Any] | InvalidEvent],
        idempotency_key: str | None,
    ) -> Response:
        """Take what events of another system come to; those that come to nothing are counted by their names. Among them
        may be events of our own, and what can't be read."""
        events: list[Any] = []
        ignored = Counter[str]()
        for one in given:
            if not isinstance(one, TrackedEvent):
                events.append(one)
            elif made := our_events(one, self._events):
                events.extend(made)
            else:
                ignored[one.name[:MAX_NAME]] += 1
        return await self.take_events(request, events, idempotency_key, ignored)

    def _watched(self, request: Request, read: ReadOne) -> ReadOne:
        """Return `read`; while somebody watches, one that hands on what is read, too."""
        tap = self._tap
        if tap is None or not tap.is_watched:
            return read
        key = str(request.scope.get("key", ""))

        def read_and_tell(given: Any, left_out: list[LeftOut]) -> tuple[str, Outgoing]:
            try:
                taken = read(given, left_out)
            except InvalidEvent as error:
                tap.note(given, key, error)
                raise
            tap.note(given, key)
            return taken

        return read_and_tell

    def _entities(self, model: type[Content | Availability | User]) -> ReadOne:
        """Return what reads the states of items or people that have come now."""
        now = self._clock()
        return lambda given, odd: self._records.entity(model, given, now, odd)

    # -- bodies -------------------------------------------------------------------------------------------------

    async def _body(self, request: Request) -> Any:
        return await read_json(request, self._server.max_body_bytes, self._in_flight)

    async def _cloud_events(self, request: Request, mode: str) -> list[TrackedEvent | dict[str, Any] | InvalidEvent]:
        """Return the events of a body of CloudEvents, with `InvalidEvent`s in the place of those that can't be read."""
        load = load_members if mode == BATCH else load_json
        body = await read_json(request, self._server.max_body_bytes, self._in_flight, load)
        if mode == BATCH:
            envelopes = self._checked(body, "body")
        else:
            envelopes = [body if mode == STRUCTURED else binary_envelope(request.headers, body)]
        now, events = self._clock(), list[TrackedEvent | dict[str, Any] | InvalidEvent]()
        for one in envelopes:
            try:
                events.append(one if isinstance(one, InvalidEvent) else read_cloud_event(one, now))
            except InvalidEvent as error:
                events.append(error)
        return events

    async def _object(self, request: Request, name: str) -> dict[str, Any]:
        """Return a body: one object, or {name: [objects]}, with `InvalidEvent`s in the place of those that can't be
        read."""
        load = partial(load_batch, name=name)
        body = await read_json(request, self._server.max_body_bytes, self._in_flight, load)
        if not isinstance(body, dict):
            raise InvalidInput(f'must be one object, or {{"{name}": […]}}', "body")
        return body

    def _members(self, body: dict[str, Any], name: str) -> list[Any]:
        """Return the objects in a body."""
        if name not in body:
            return [body]
        unknown = sorted(body.keys() - {name})
        if unknown:
            raise InvalidInput("there is no such field beside a batch", unknown[0])
        return self._checked(body[name], name)

    def _checked(self, batch: Any, name: str) -> list[Any]:
        """Return a batch, which is a list and not too long."""
        if not isinstance(batch, list) or not batch:
            raise InvalidInput("must be a list of at least one", name)
        if len(batch) > self._server.max_batch:
            raise TooLarge(f"holds {len(batch):,}, the limit is {self._server.max_batch:,}", name)
        return batch
