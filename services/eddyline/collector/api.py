"""Collector: takes events, items and people over HTTP and puts them on their topics.

A 202 means that the broker has acknowledged. What it can't take it refuses, saying why; nothing is dropped silently.
"""

from __future__ import annotations

import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from functools import partial
from typing import Annotated, Any, TypeAlias

import structlog
from fastapi import APIRouter, Header, Request, Response

from eddyline.adapters.event_tap import EventTap
from eddyline.adapters.http import (
    IdentityCheck,
    InFlightLimit,
    describe_body,
    id_from_path,
    item_id_from_path,
    json_response,
    open_to,
    read_json,
    with_path_id,
)
from eddyline.adapters.http.problems import problem_response, retry_after_header
from eddyline.adapters.kafka import Outgoing, Producer, RecordMetadata
from eddyline.adapters.telemetry import Metrics
from eddyline.collector.acknowledgements import Acknowledgements
from eddyline.collector.event_ids import EventIdGenerator
from eddyline.collector.schemas import BODIES, Accepted, AvailabilityBatch, EventBatch, ItemBatch, take_sent_at
from eddyline.collector.segment_api import add_segment_routes
from eddyline.errors import EddylineError, Forbidden, InvalidEvent, InvalidInput, Overloaded, TooLarge, Unavailable
from eddyline.model.attributes import convert_attributes
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
    WireModel,
    clamp_entity_time,
    cloud_event_headers,
    interaction_weight,
    load_batch,
    validate_event,
)
from eddyline.model.image_urls import parse_data_url
from eddyline.model.placeholders import refuse_placeholders
from eddyline.settings import RESERVED_EVENT_TYPES, AttributeKind, EventSettings, ImageSettings, Scope, ServerSettings
from eddyline.topics import AVAILABILITY, CONTENT, IMPRESSIONS, INTERACTIONS, USERS

log = structlog.get_logger("collector")

IDENTIFY, IMPRESSION = "identify", "impression"
MAX_WARNINGS = 100
"""Warnings in one response: a small body may give cause for many."""

_ENTITIES: Mapping[type[WireModel], tuple[str, str]] = {
    Content: (CONTENT, "item_id"),
    Availability: (AVAILABILITY, "item_id"),
    User: (USERS, "user_id"),
}
"""Topic and key of what replaces an earlier state of itself."""
_Read: TypeAlias = Callable[[Any, list[LeftOut]], tuple[str, Outgoing]]
"""Makes an id and a record of one object, and names what it left out. Raises `InvalidEvent`."""
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
        identity: IdentityCheck = IdentityCheck(None),
        attributes: Mapping[str, AttributeKind] = {},
        tap: EventTap | None = None,
    ) -> None:
        """`attributes`: those of items that the settings declare. `tap`: where events are handed on to who watches."""
        self._producer, self._events, self._server, self._images = producer, events, server, images
        self._metrics, self._clock, self._identity = metrics, clock, identity
        self._attributes, self._tap = attributes, tap
        self._in_flight = InFlightLimit(server.max_in_flight_bytes)
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
            | describe_body(Interaction, Identify, ImpressionReport, EventBatch, description="One event, or several"),
            **options,
        )
        async def post_events(
            request: Request, idempotency_key: Annotated[str | None, Header(max_length=512)] = None
        ) -> Response:
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
            items, now = self._members(await self._object(request, "items"), "items"), self._clock()
            return await self._take(items, lambda one, odd: self._entity(Content, one, now, odd))

        @router.post(
            "/v1/items/availability",
            summary="Update price and stock only",
            openapi_extra=catalogue
            | describe_body(Availability, AvailabilityBatch, description="One item's, or several"),
            **options,
        )
        async def post_availability(request: Request) -> Response:
            items, now = self._members(await self._object(request, "items"), "items"), self._clock()
            return await self._take(items, lambda one, odd: self._entity(Availability, one, now, odd))

        @router.put(
            "/v1/items/{item_id}",
            summary="Create or replace an item",
            openapi_extra=catalogue
            | describe_body(Content, description="The item's full state; item_id may be left out"),
            **options,
        )
        async def put_item(request: Request, item_id: str) -> Response:
            named = with_path_id(await self._body(request), "item_id", item_id_from_path(item_id))
            return await self._take_alone(Content, named)

        @router.delete("/v1/items/{item_id}", summary="Delete an item", openapi_extra=catalogue, **options)
        async def delete_item(item_id: str) -> Response:
            name = item_id_from_path(item_id)
            return await self._take_one((name, Outgoing(CONTENT, name.encode(), None)))

        @router.put(
            "/v1/users/{user_id}",
            summary="Set a person's onboarding answers, segment and attributes",
            openapi_extra=people | describe_body(User, description="user_id may be left out"),
            **options,
        )
        async def put_user(request: Request, user_id: str) -> Response:
            named = with_path_id(await self._body(request), "user_id", id_from_path(user_id, "user_id"))
            return await self._take_alone(User, named)

        @router.delete("/v1/users/{user_id}", summary="Erase a person", openapi_extra=people, **options)
        async def delete_user(user_id: str) -> Response:
            name = id_from_path(user_id, "user_id")
            return await self._take_one((name, Outgoing(USERS, name.encode(), None)))

        @router.delete(
            "/v1/anonymous/{anonymous_id}",
            summary="Erase someone anonymous, unless they are a user by now",
            openapi_extra=people,
            **options,
        )
        async def delete_anonymous(anonymous_id: str) -> Response:
            name = id_from_path(anonymous_id, "anonymous_id")
            event = Erased(anonymous_id=name, timestamp=self._clock())
            return await self._take_one((name, _to_record(INTERACTIONS, event.person.key, event, str(uuid.uuid4()))))

        add_segment_routes(router, self.take_events, self._body, self._clock, options)
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
        read = self._watched(request, lambda one, odd: self._event(request, one, ids, clock, odd))
        return await self._take(events, read, ignored)

    # -- one object → (its id, its record) ----------------------------------------------------------------------

    def _event(
        self, request: Request, given: Any, ids: EventIdGenerator, clock: SenderClock, left_out: list[LeftOut]
    ) -> tuple[str, Outgoing]:
        event = self._read_event(given, left_out)
        refuse_placeholders(event, self._events)
        self._check_identity(request, event)
        event_id = event.event_id or ids.make(given)
        event = event.model_copy(update={"event_id": event_id, "timestamp": clock.event_time(event.timestamp)})
        topic = IMPRESSIONS if isinstance(event, ImpressionReport) else INTERACTIONS
        return event_id, _to_record(topic, event.person.key, event, event_id)

    def _watched(self, request: Request, read: _Read) -> _Read:
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

    def _read_event(self, given: Any, left_out: list[LeftOut]) -> Interaction | Identify | ImpressionReport:
        kind = given.get("type") if isinstance(given, dict) else None
        if kind == IDENTIFY:
            return validate_event(Identify, given, left_out)
        if kind == IMPRESSION:
            return validate_event(ImpressionReport, given, left_out)
        event = validate_event(Interaction, given, left_out)
        if event.type in RESERVED_EVENT_TYPES:
            raise InvalidEvent(f"{event.type!r} is reserved", "type")
        interaction_weight(event, self._events)
        return event

    def _check_identity(self, request: Request, event: Interaction | Identify | ImpressionReport) -> None:
        """Raise `InvalidEvent` where the sender may not say so of this person: that they are this user, or are in an
        experiment."""
        try:
            if isinstance(event, Identify):
                self._identity.require_identity(request, event.user)
            elif isinstance(event, ImpressionReport) and event.experiment is not None:
                self._identity.require_proof(request, event.person)
        except Forbidden as error:
            raise InvalidEvent(str(error), "user_id" if event.person.kind == "u" else "anonymous_id") from None

    def _entity(
        self, model: type[Content | Availability | User], given: Any, now: float, left_out: list[LeftOut]
    ) -> tuple[str, Outgoing]:
        entity = clamp_entity_time(validate_event(model, given, left_out), now)
        if isinstance(entity, Content):
            self._check_upload(entity)
            converted = convert_attributes(entity.attributes, self._attributes)
            entity = entity.model_copy(update={"attributes": converted})
        refuse_placeholders(entity, self._events)
        topic, key = _ENTITIES[model]
        name = getattr(entity, key)
        return name, _to_record(topic, name, entity, str(uuid.uuid4()))

    def _check_upload(self, item: Content) -> None:
        """Raise `InvalidEvent` for a picture that is too large. The image embedder alone decodes it: here that could do
        harm."""
        try:
            upload, limit = parse_data_url(item.image_url), self._images.max_upload_bytes
        except ValueError as error:
            raise InvalidEvent(str(error), "image_url") from None
        if upload is not None and len(upload.body) > limit:
            raise InvalidEvent(
                f"its picture has {len(upload.body):,} bytes, at most {limit:,} are taken with an item "
                "(images.max_upload_bytes): send a smaller one, or the address that it can be fetched from",
                "image_url",
            )

    # -- a whole request ----------------------------------------------------------------------------------------

    async def _body(self, request: Request) -> Any:
        return await read_json(request, self._server.max_body_bytes, self._in_flight)

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
        batch = body[name]
        if not isinstance(batch, list) or not batch:
            raise InvalidInput("must be a list of at least one", name)
        if len(batch) > self._server.max_batch:
            raise TooLarge(f"holds {len(batch):,}, the limit is {self._server.max_batch:,}", name)
        return batch

    async def _take(self, given: Sequence[Any], read: _Read, ignored: Mapping[str, int] = {}) -> Response:
        """Refuse what is invalid, send the rest. `ignored`: how often what came to nothing was sent, by its name."""
        if not given:
            return json_response({"accepted": 0, "rejected": [], "ids": [], "ignored": dict(ignored)}, 202)
        ids: list[str | None] = []
        outgoing: dict[int, Outgoing] = {}
        rejected: list[dict[str, Any]] = []
        warnings: list[dict[str, Any]] = []
        for index, one in enumerate(given):
            left_out: list[LeftOut] = []
            try:
                if isinstance(one, InvalidEvent):
                    raise one
                name, outgoing[index] = read(one, left_out)
                ids.append(name)
            except InvalidEvent as error:
                ids.append(None)
                rejected.append(self._rejection(index, error))
            else:
                warnings.extend(self._warnings(index, left_out))
        return await self._produce(outgoing, ids, rejected, warnings, ignored)

    async def _take_alone(self, model: type[Content | User], given: Any) -> Response:
        left_out: list[LeftOut] = []
        name, record = self._entity(model, given, self._clock(), left_out)
        return await self._produce({0: record}, [name], [], self._warnings(0, left_out))

    async def _take_one(self, one: tuple[str, Outgoing]) -> Response:
        return await self._produce({0: one[1]}, [one[0]], [], [])

    async def _produce(
        self,
        outgoing: Mapping[int, Outgoing],
        ids: list[str | None],
        rejected: list[dict[str, Any]],
        warnings: list[dict[str, Any]],
        ignored: Mapping[str, int] = {},
    ) -> Response:
        """Send, and wait for every acknowledgement; where some are missing, name those that are there. `outgoing` and
        `ids` by the place in the batch. Raises `Overloaded` when too much is in flight for all of it."""
        acknowledgements = Acknowledgements()
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
                    acknowledgements.add(index, sent)
        finally:
            self._in_flight.release(unsent)
        if not acknowledgements and refused is None:
            return _all_rejected(rejected)
        outcomes = await acknowledgements.wait()
        accepted = [index for index, failure in outcomes.items() if failure is None]
        failures = [failure for failure in outcomes.values() if failure is not None]
        self._count(outgoing[index].topic for index in accepted)
        unexpected = next((f for f in failures if not isinstance(f, Overloaded | Unavailable)), None)
        if unexpected is not None:
            raise unexpected
        if refused is None and not failures:
            answer: dict[str, Any] = {"accepted": len(accepted), "rejected": rejected, "ids": ids}
            further = {"warnings": warnings[:MAX_WARNINGS], "ignored": dict(ignored)}
            return json_response(answer | {name: value for name, value in further.items() if value}, 202)
        reason = refused or failures[0]
        acknowledged = [ids[index] for index in accepted]
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
        """Count records that were acknowledged."""
        for topic, records in Counter(topics).items():
            self._metrics.accepted.labels(topic).inc(records)

    def _settled(self, size: int, _sent: Future[RecordMetadata]) -> None:
        self._in_flight.release(size)

    def _warnings(self, index: int, left_out: Sequence[LeftOut]) -> list[dict[str, Any]]:
        self._metrics.count_left_out(one.field for one in left_out)
        return [{"index": index, "field": one.field, "reason": f"{one.reason}: left out"} for one in left_out]

    def _rejection(self, index: int, error: InvalidInput) -> dict[str, Any]:
        self._metrics.rejected.labels(_metric_label(error.field)).inc()
        return {"index": index, "field": error.field, "reason": error.reason}


def _all_rejected(rejected: Sequence[Mapping[str, Any]]) -> Response:
    first = rejected[0]
    detail = f"{first['field']}: {first['reason']}" if first["field"] else first["reason"]
    return problem_response(422, detail, first["field"], accepted=0, rejected=rejected)


def _metric_label(field: str | None) -> str:
    """Return a field's name for a metric: only our own names, since anyone can send any."""
    name = (field or "body").split(".")[0]
    return name if name in _FIELDS or name == "body" else "unknown"


def _to_record(topic: str, key: str, value: WireModel, event_id: str) -> Outgoing:
    return Outgoing(topic, key.encode(), value.to_bytes(), cloud_event_headers(value, event_id, "collector"))
