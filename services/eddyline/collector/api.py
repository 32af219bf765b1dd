"""Collector: takes events, items and people over HTTP and puts them on their topics.

A 202 means that the broker has acknowledged. What it can't take it refuses, saying why; nothing is dropped silently.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from functools import partial
from typing import Annotated, Any

import orjson
import structlog
from fastapi import APIRouter, Header, Request, Response
from pydantic import BaseModel, Field

from eddyline.adapters.http import (
    InFlightLimit,
    describe_body,
    id_from_path,
    item_id_from_path,
    json_response,
    read_json,
)
from eddyline.adapters.http.problems import problem_response, retry_after_header
from eddyline.adapters.kafka import Outgoing, Producer, RecordMetadata
from eddyline.adapters.telemetry import Metrics
from eddyline.errors import EddylineError, InvalidEvent, InvalidInput, Overloaded, TooLarge, Unavailable
from eddyline.model.events import (
    Availability,
    Content,
    Identify,
    ImpressionReport,
    Interaction,
    Model,
    User,
    WireModel,
    clamp_event_time,
    cloud_event_headers,
    interaction_weight,
    validate_event,
)
from eddyline.model.image_urls import parse_data_url
from eddyline.settings import RESERVED_EVENT_TYPES, EventSettings, ImageSettings, ServerSettings
from eddyline.topics import AVAILABILITY, CONTENT, IMPRESSIONS, INTERACTIONS, USERS

log = structlog.get_logger("collector")

IDENTIFY, IMPRESSION = "identify", "impression"


class EventBatch(BaseModel):
    """Several events at once."""

    events: Annotated[list[Interaction | Identify | ImpressionReport], Field(min_length=1)]


class ItemBatch(BaseModel):
    """Several items at once."""

    items: Annotated[list[Content], Field(min_length=1)]


class AvailabilityBatch(BaseModel):
    """Price and stock of several items at once."""

    items: Annotated[list[Availability], Field(min_length=1)]


class Rejected(BaseModel):
    """One that was refused: its place in the batch, the field and the reason."""

    index: int
    field: str | None = None
    reason: str


class Accepted(BaseModel):
    """What the broker has acknowledged. `ids`, in the batch's order: event ids or item ids, null where refused."""

    accepted: int
    rejected: list[Rejected] = []
    ids: list[str | None] = []


BODIES = (
    Interaction,
    Identify,
    ImpressionReport,
    EventBatch,
    Content,
    ItemBatch,
    Availability,
    AvailabilityBatch,
    User,
)
"""Models of the bodies that the routes read themselves."""


_FIELDS = frozenset(name for model in BODIES for name in model.model_fields)


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
    ) -> None:
        self._producer, self._events, self._server, self._images = producer, events, server, images
        self._metrics, self._clock = metrics, clock
        self._in_flight = InFlightLimit(server.max_in_flight_bytes)
        metrics.in_flight.set_function(lambda: self._in_flight.bytes)

    def router(self) -> APIRouter:
        """The routes."""
        router = APIRouter(tags=["writing"])
        options: dict[str, Any] = {"status_code": 202, "response_model": Accepted}

        @router.post(
            "/v1/events",
            summary="Send events",
            openapi_extra=describe_body(
                Interaction, Identify, ImpressionReport, EventBatch, description="One event, or several"
            ),
            **options,
        )
        async def post_events(
            request: Request, idempotency_key: Annotated[str | None, Header(max_length=512)] = None
        ) -> Response:
            body = await self._body(request)
            given = self._batch(body, "events")
            ids, now = _EventIdGenerator(idempotency_key), self._clock()
            return await self._take(given, lambda one: self._event(one, ids, now))

        @router.post(
            "/v1/items",
            summary="Create or replace several items",
            openapi_extra=describe_body(Content, ItemBatch, description="One item, or several"),
            **options,
        )
        async def post_items(request: Request) -> Response:
            body = await self._body(request)
            now = self._clock()
            return await self._take(self._batch(body, "items"), lambda one: self._item(one, now))

        @router.post(
            "/v1/items/availability",
            summary="Update price and stock only",
            openapi_extra=describe_body(Availability, AvailabilityBatch, description="One item's, or several"),
            **options,
        )
        async def post_availability(request: Request) -> Response:
            body = await self._body(request)
            now = self._clock()
            return await self._take(self._batch(body, "items"), lambda one: self._availability(one, now))

        @router.put(
            "/v1/items/{item_id}",
            summary="Create or replace an item",
            openapi_extra=describe_body(Content, description="The item's full state; item_id may be left out"),
            **options,
        )
        async def put_item(request: Request, item_id: str) -> Response:
            body = await self._body(request)
            named = _with_path_id(body, "item_id", item_id_from_path(item_id))
            return await self._take_one(self._item(named, self._clock()))

        @router.delete("/v1/items/{item_id}", summary="Delete an item", **options)
        async def delete_item(item_id: str) -> Response:
            name = item_id_from_path(item_id)
            return await self._take_one((name, Outgoing(CONTENT, name.encode(), None)))

        @router.put(
            "/v1/users/{user_id}",
            summary="Set a person's onboarding answers, segment and attributes",
            openapi_extra=describe_body(User, description="user_id may be left out"),
            **options,
        )
        async def put_user(request: Request, user_id: str) -> Response:
            body = await self._body(request)
            named = _with_path_id(body, "user_id", id_from_path(user_id, "user_id"))
            return await self._take_one(self._user(named, self._clock()))

        @router.delete("/v1/users/{user_id}", summary="Erase a person", **options)
        async def delete_user(user_id: str) -> Response:
            name = id_from_path(user_id, "user_id")
            return await self._take_one((name, Outgoing(USERS, name.encode(), None)))

        return router

    # -- one thing said → (its id, its record) -------------------------------------------------------------------

    def _event(self, given: Any, ids: _EventIdGenerator, now: float) -> tuple[str, Outgoing]:
        event = self._read_event(given)
        at = clamp_event_time(event.timestamp, now)
        event_id = event.event_id or ids.make(given)
        event = event.model_copy(update={"event_id": event_id, "timestamp": at})
        topic = IMPRESSIONS if isinstance(event, ImpressionReport) else INTERACTIONS
        return event_id, _to_record(topic, event.person.key, event, event_id)

    def _read_event(self, given: Any) -> Interaction | Identify | ImpressionReport:
        kind = given.get("type") if isinstance(given, dict) else None
        if kind == IDENTIFY:
            return validate_event(Identify, given)
        if kind == IMPRESSION:
            return validate_event(ImpressionReport, given)
        event = validate_event(Interaction, given)
        if event.type in RESERVED_EVENT_TYPES:
            raise InvalidEvent(f"{event.type!r} is reserved", "type")
        interaction_weight(event, self._events)
        return event

    def _item(self, given: Any, now: float) -> tuple[str, Outgoing]:
        item = _with_timestamp(validate_event(Content, given), now)
        self._check_upload(item)
        return item.item_id, _to_record(CONTENT, item.item_id, item)

    def _check_upload(self, item: Content) -> None:
        """Its picture itself is looked at by the imager: here nothing is decoded that could do harm."""
        try:
            upload, most = parse_data_url(item.image_url), self._images.max_upload_bytes
        except ValueError as error:
            raise InvalidEvent(str(error), "image_url") from None
        if upload is not None and len(upload.body) > most:
            raise InvalidEvent(
                f"its picture has {len(upload.body):,} bytes, at most {most:,} are taken with an item "
                "(images.max_upload_bytes): send a smaller one, or the address that it can be fetched from",
                "image_url",
            )

    def _availability(self, given: Any, now: float) -> tuple[str, Outgoing]:
        said = _with_timestamp(validate_event(Availability, given), now)
        return said.item_id, _to_record(AVAILABILITY, said.item_id, said)

    def _user(self, given: Any, now: float) -> tuple[str, Outgoing]:
        user = _with_timestamp(validate_event(User, given), now)
        return user.user_id, _to_record(USERS, user.user_id, user)

    # -- a whole request ----------------------------------------------------------------------------------------

    async def _body(self, request: Request) -> Any:
        return await read_json(request, self._server.max_body_bytes, self._in_flight)

    def _batch(self, body: Any, name: str) -> list[Any]:
        """The things said in a body: one object, or {name: [objects]}."""
        if not isinstance(body, dict):
            raise InvalidInput(f'must be one object, or {{"{name}": […]}}', "body")
        if name not in body:
            return [body]
        unknown = sorted(body.keys() - {name})
        if unknown:
            raise InvalidInput("there is no such field beside a batch", unknown[0])
        batch = body[name]
        if not isinstance(batch, list) or not batch:
            raise InvalidInput("must be a list of at least one", name)
        if len(batch) > self._server.max_batch:
            raise TooLarge(f"holds {len(batch):,}, the limit is {self._server.max_batch:,}", name)
        return batch

    async def _take(self, given: Sequence[Any], read: Callable[[Any], tuple[str, Outgoing]]) -> Response:
        """Refuse what is wrong, take the rest."""
        ids: list[str | None] = []
        outgoing: dict[int, Outgoing] = {}
        rejected: list[dict[str, Any]] = []
        for index, one in enumerate(given):
            try:
                name, outgoing[index] = read(one)
                ids.append(name)
            except InvalidEvent as error:
                ids.append(None)
                rejected.append(self._rejection(index, error))
        return await self._produce(outgoing, ids, rejected)

    async def _take_one(self, one: tuple[str, Outgoing]) -> Response:
        return await self._produce({0: one[1]}, [one[0]], [])

    async def _produce(
        self, outgoing: Mapping[int, Outgoing], ids: list[str | None], rejected: list[dict[str, Any]]
    ) -> Response:
        """Wait for every acknowledgement; where some are missing, say which are there. `outgoing` and `ids` by the
        place in the batch. Raises `Overloaded` when too much is in flight for all of it."""
        waiting: dict[int, asyncio.Future[Any]] = {}
        refused: EddylineError | None = None
        sizes = {index: record.size for index, record in outgoing.items()}
        unsent = sum(sizes.values())
        self._in_flight.reserve(unsent)
        try:
            for index, record in outgoing.items():
                try:
                    sent = self._producer.send(record)
                except TooLarge as error:
                    if len(ids) == 1:
                        raise
                    ids[index] = None
                    rejected.append(self._rejection(index, error))
                except (Overloaded, Unavailable) as error:
                    refused = error
                    break
                else:
                    unsent -= sizes[index]
                    sent.add_done_callback(partial(self._settled, sizes[index]))
                    waiting[index] = asyncio.wrap_future(sent)
        finally:
            self._in_flight.release(unsent)
        if not waiting and refused is None:
            return _all_rejected(rejected)
        results = dict(zip(waiting, await asyncio.gather(*waiting.values(), return_exceptions=True), strict=True))
        failures = [result for result in results.values() if isinstance(result, BaseException)]
        self._count(outgoing[index].topic for index, result in results.items() if not isinstance(result, BaseException))
        unexpected = next((f for f in failures if not isinstance(f, Overloaded | Unavailable)), None)
        if unexpected is not None:
            raise unexpected
        if refused is None and not failures:
            return json_response({"accepted": len(results), "rejected": rejected, "ids": ids}, 202)
        reason = refused or failures[0]
        acknowledged = [ids[index] for index, result in results.items() if not isinstance(result, BaseException)]
        wait = reason.retry_after if isinstance(reason, Overloaded) else 1.0
        log.warning("refused", reason=str(reason), acknowledged=len(acknowledged), of=len(outgoing))
        return problem_response(
            503,
            f"{reason}; send the rest again",
            headers=retry_after_header(wait),
            accepted=len(acknowledged),
            acknowledged=acknowledged,
            rejected=rejected,
        )

    def _count(self, topics: Iterable[str]) -> None:
        """These records were acknowledged."""
        for topic, records in Counter(topics).items():
            self._metrics.accepted.labels(topic).inc(records)

    def _settled(self, size: int, _sent: Future[RecordMetadata]) -> None:
        self._in_flight.release(size)

    def _rejection(self, index: int, error: InvalidInput) -> dict[str, Any]:
        self._metrics.rejected.labels(_metric_label(error.field)).inc()
        return {"index": index, "field": error.field, "reason": error.reason}


def _all_rejected(rejected: Sequence[Mapping[str, Any]]) -> Response:
    first = rejected[0]
    detail = f"{first['field']}: {first['reason']}" if first["field"] else first["reason"]
    return problem_response(422, detail, first["field"], accepted=0, rejected=rejected)


class _EventIdGenerator:
    """Ids for the events of one request that have none: random, or derived from its Idempotency-Key, the event's
    content and its ordinal among equal ones, so that sending all of it again, or the rest, makes the same ids."""

    def __init__(self, idempotency_key: str | None) -> None:
        self._key = idempotency_key
        self._alike: Counter[bytes] = Counter()

    def make(self, given: Any) -> str:
        """The id of an event as it was given."""
        if self._key is None:
            return str(uuid.uuid4())
        said = orjson.dumps(given, option=orjson.OPT_SORT_KEYS)
        self._alike[said] += 1
        return str(uuid.uuid5(uuid.NAMESPACE_OID, f"{self._key}\0{self._alike[said]}\0{said.decode()}"))


def _metric_label(field: str | None) -> str:
    """A field's name for a metric: only our own names, since anyone can send any."""
    name = (field or "body").split(".")[0]
    return name if name in _FIELDS or name == "body" else "unknown"


def _with_path_id(body: Any, field: str, name: str) -> Any:
    """The body with the id of the path. Raises `InvalidInput` where it names another."""
    if not isinstance(body, dict):
        raise InvalidInput("must be a JSON object", "body")
    if body.get(field, name) != name:
        raise InvalidInput("differs from the one in the path", field)
    return {**body, field: name}


def _with_timestamp(said: Model, now: float) -> Model:
    """With the time of arrival where none is given."""
    return said.model_copy(update={"timestamp": now}) if getattr(said, "timestamp") is None else said  # noqa: B009


def _to_record(topic: str, key: str, said: WireModel, event_id: str | None = None) -> Outgoing:
    return Outgoing(
        topic, key.encode(), said.to_bytes(), cloud_event_headers(said, event_id or str(uuid.uuid4()), "collector")
    )
