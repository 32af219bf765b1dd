"""The bodies that the collector takes, beside the events themselves, and what it answers."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from eddyline.errors import InvalidInput
from eddyline.model.events import (
    Availability,
    Content,
    Identify,
    ImpressionReport,
    Interaction,
    Timestamp,
    User,
    parse_timestamp,
)


class EventBatch(BaseModel):
    """Several events at once."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    events: Annotated[list[Interaction | Identify | ImpressionReport], Field(min_length=1)]
    sent_at: Timestamp | None = None
    """When the batch was sent, by the sender's clock: with it, the times of its events are corrected by as much as that
    clock is wrong."""


class ItemBatch(BaseModel):
    """Several items at once."""

    items: Annotated[list[Content], Field(min_length=1)]


class AvailabilityBatch(BaseModel):
    """Price and stock of several items at once."""

    items: Annotated[list[Availability], Field(min_length=1)]


class SegmentMessage(BaseModel):
    """A message of Segment's HTTP API: as far as it is read."""

    model_config = ConfigDict(extra="allow")

    type: Literal["track", "identify", "page", "screen", "group", "alias"] | None = None
    """Where the path doesn't say it."""
    event: str | None = None
    userId: str | None = None  # noqa: N815 (theirs)
    anonymousId: str | None = None  # noqa: N815
    messageId: str | None = None  # noqa: N815
    properties: dict[str, Any] = {}
    timestamp: str | None = None
    sentAt: str | None = None  # noqa: N815
    batch: list[dict[str, Any]] | None = None


class Ga4Body(BaseModel):
    """What Google Analytics 4's Measurement Protocol takes, or an event of Tag Manager's: as far as it is read."""

    model_config = ConfigDict(extra="allow")

    client_id: str | None = None
    user_id: str | None = None
    timestamp_micros: int | str | None = None
    events: list[dict[str, Any]] | None = None
    """Each with `name` and `params`."""
    event_name: str | None = None
    """Of Tag Manager's server container, whose events have their parameters beside it."""
    items: list[dict[str, Any]] | None = None


class WebhookBody(BaseModel):
    """Whatever a webhook sends."""

    model_config = ConfigDict(extra="allow")


class Rejected(BaseModel):
    """One that was refused: its place in the batch, the field and the reason."""

    index: int
    field: str | None = None
    reason: str


class FieldWarning(BaseModel):
    """A value that was left out of what was accepted: its place in the batch, the field and the reason."""

    index: int
    field: str
    reason: str


class Accepted(BaseModel):
    """What the broker has acknowledged. `ids`, in the batch's order: event ids or item ids, null where refused."""

    accepted: int
    rejected: list[Rejected] = []
    ids: list[str | None] = []
    warnings: list[FieldWarning] = []
    """At most the first hundred; only where there are some."""
    ignored: dict[str, int] = {}
    """Of another system's events, how often what has no meaning here was sent, by its name; only where there are
    some."""


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
    SegmentMessage,
    Ga4Body,
    WebhookBody,
)
"""Models of the bodies that the routes read themselves."""


def take_sent_at(body: dict[str, Any]) -> float | None:
    """Take from a batch of events when it was sent, in epoch seconds; None where it doesn't say. Raises
    `InvalidInput`."""
    if "events" not in body or (given := body.pop("sent_at", None)) is None:
        return None
    try:
        return parse_timestamp(given)
    except ValueError as error:
        raise InvalidInput(str(error), "sent_at") from None
