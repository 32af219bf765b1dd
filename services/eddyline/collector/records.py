"""One object, as it was given, becomes the id that the response names and the record that goes to its topic."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

from fastapi import Request

from eddyline.adapters.http import IdentityCheck
from eddyline.adapters.kafka import Outgoing
from eddyline.collector.event_ids import EventIdGenerator
from eddyline.errors import Forbidden, InvalidEvent
from eddyline.model.attributes import convert_attributes
from eddyline.model.events import (
    Availability,
    Content,
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
    validate_event,
)
from eddyline.model.image_urls import parse_data_url
from eddyline.model.placeholders import refuse_placeholders
from eddyline.settings import RESERVED_EVENT_TYPES, AttributeKind, EventSettings, ImageSettings
from eddyline.topics import AVAILABILITY, CONTENT, IMPRESSIONS, INTERACTIONS, USERS

IDENTIFY, IMPRESSION = "identify", "impression"

_ENTITIES: Mapping[type[WireModel], tuple[str, str]] = {
    Content: (CONTENT, "item_id"),
    Availability: (AVAILABILITY, "item_id"),
    User: (USERS, "user_id"),
}
"""Topic and key of what replaces an earlier state of itself."""


class RecordReader:
    """Reads objects by the settings. `attributes`: those of items that the settings declare."""

    def __init__(
        self,
        events: EventSettings,
        images: ImageSettings,
        identity: IdentityCheck,
        attributes: Mapping[str, AttributeKind],
    ) -> None:
        self._events, self._images, self._identity, self._attributes = events, images, identity, attributes

    def event(
        self, request: Request, given: Any, ids: EventIdGenerator, clock: SenderClock, left_out: list[LeftOut]
    ) -> tuple[str, Outgoing]:
        """Read an event; name in `left_out` what was odd. Raises `InvalidEvent`."""
        event = self._parse(given, left_out)
        refuse_placeholders(event, self._events)
        self._check_identity(request, event)
        event_id = event.event_id or ids.make(given)
        event = event.model_copy(update={"event_id": event_id, "timestamp": clock.event_time(event.timestamp)})
        topic = IMPRESSIONS if isinstance(event, ImpressionReport) else INTERACTIONS
        return event_id, to_record(topic, event.person.key, event, event_id)

    def entity(
        self, model: type[Content | Availability | User], given: Any, now: float, left_out: list[LeftOut]
    ) -> tuple[str, Outgoing]:
        """Read the state of an item or a person that came at `now`, in epoch seconds. Raises `InvalidEvent`."""
        entity = clamp_entity_time(validate_event(model, given, left_out), now)
        if isinstance(entity, Content):
            self._check_upload(entity)
            converted = convert_attributes(entity.attributes, self._attributes)
            entity = entity.model_copy(update={"attributes": converted})
        refuse_placeholders(entity, self._events)
        topic, key = _ENTITIES[model]
        name = getattr(entity, key)
        return name, to_record(topic, name, entity, str(uuid.uuid4()))

    def _parse(self, given: Any, left_out: list[LeftOut]) -> Interaction | Identify | ImpressionReport:
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


def to_record(topic: str, key: str, value: WireModel, event_id: str) -> Outgoing:
    """Return the record of a value."""
    return Outgoing(topic, key.encode(), value.to_bytes(), cloud_event_headers(value, event_id, "collector"))
