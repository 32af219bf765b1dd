"""Items and people, as they are: the compacted topics."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, TypeVar, cast

import orjson
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo, WithJsonSchema, model_validator

from eddyline.model.events.odd_fields import LeftOut
from eddyline.model.events.timestamps import RECEIVED, Timestamp, clamp_event_time
from eddyline.model.events.wire import Attributes, FieldError, Id, Short, WireModel, parse_event
from eddyline.model.image_urls import ADDRESS_CHARACTERS, MEDIA_TYPES, check_image_url
from eddyline.model.language import normalized_language
from eddyline.model.plain_text import plain_line, says_something

ImageAddress = Annotated[
    str,
    AfterValidator(check_image_url),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "maxLength": ADDRESS_CHARACTERS},
                {"type": "string", "pattern": f"^data:({'|'.join(MEDIA_TYPES)});base64,"},
            ]
        }
    ),
]
"""Where a picture is, or the picture itself (see `model.image_urls`)."""


def _reduce(text: str) -> str:
    line = plain_line(text)
    if not says_something(line):
        raise ValueError("has no text: it is blank, or markup and control characters alone")
    return line


def _said(available: bool | None, info: ValidationInfo) -> bool | None:
    if available is None and info.context is RECEIVED:
        raise ValueError("is null")
    return available


Title = Annotated[str, Field(min_length=1, max_length=1000), AfterValidator(_reduce)]
Label = Annotated[Short, AfterValidator(_reduce)]
"""A category or a tag: as a title, its text alone."""
MAX_RATINGS = 2**53
"""The largest count that JSON's readers agree on."""
Mark = Annotated[float, Field(ge=-1e6, le=1e6, allow_inf_nan=False)]


class Rating(BaseModel):
    """What people elsewhere gave an item: the mean, and of how many. Ranked by where a strategy says so."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, use_attribute_docstrings=True)

    value: Mark
    """The mean, e.g. 7.9; where `count` is 0 it isn't looked at."""
    count: Annotated[int, Field(ge=0, le=MAX_RATINGS)]
    """How many rated."""
    scale: Mark = 5.0
    """The best possible value."""
    least: Mark = 0.0
    """The worst possible value."""

    @model_validator(mode="after")
    def _lies_on_its_scale(self) -> Rating:
        if self.least >= self.scale:
            raise FieldError("scale", f"must be above least, {self.least:g}: it is the best possible value")
        if self.count and not self.least <= self.value <= self.scale:
            raise FieldError(
                "value",
                f"must be within {self.least:g} and {self.scale:g}, it is {self.value:g}: give the best possible value "
                "as scale (5 where it is missing), the worst as least (0)",
            )
        return self


class Content(WireModel):
    """The full state of an item. Topic `content`, key item_id; a tombstone deletes it."""

    ce_name: ClassVar = "content"
    may_be_left_out: ClassVar = frozenset(
        {"description", "category", "tags", "url", "image_url", "image", "language", "detected_language"}
        | {"price", "rating", "attributes"}
    )

    item_id: Id
    title: Title
    """Embedded and displayed: its text alone, without markup and entities, in one line."""
    description: Annotated[str, Field(max_length=100_000)] | None = None
    """Kept as it is; its text alone, without markup and entities, is embedded, as far as the model reads."""
    category: Label | None = None
    """Embedded, displayed and filterable."""
    tags: Annotated[list[Label], Field(max_length=100)] = []
    """Embedded and filterable."""
    url: Annotated[str, Field(max_length=2048)] | None = None
    image_url: ImageAddress | None = None
    """Fetched, where images are enabled, so that the item is found by what it shows. Or the picture itself, uploaded
    with its item: `data:image/jpeg;base64,…` (also PNG, WebP and GIF). Instead of that, `data:image/jpeg;sha256=…` is
    given back, which sent again stands for the same picture."""
    image: Annotated[dict[str, Any] | None, Field(exclude=True)] = None
    """What became of it, as GET says; not read."""
    language: Annotated[str, Field(min_length=2, max_length=35), AfterValidator(normalized_language)] | None = None
    """BCP 47, e.g. `en`; filterable. `en_us` is `en-US`."""
    detected_language: Annotated[str | None, Field(exclude=True)] = None
    """What was detected where no `language` was said, as GET says; not read."""
    published_at: Timestamp | None = None
    """Not recommended before; also what `latest` and freshness go by (without it: the item's first arrival)."""
    expires_at: Timestamp | None = None
    """Not recommended from then on."""
    available: Annotated[bool | None, AfterValidator(_said), WithJsonSchema({"type": "boolean"})] = None
    """Not recommended while false. Where it is left out: as `availability` said it, else true."""
    price: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    """Where it is left out: as `availability` said it."""
    rating: Rating | None = None
    """What people gave it, where ratings are gathered elsewhere; filterable by its value."""
    attributes: Attributes = {}
    """Anything else. Filterable where declared in the settings."""
    timestamp: Timestamp | None = None
    """When this state was true; the time of arrival where missing."""

    @model_validator(mode="after")
    def _expires_later(self) -> Content:
        if self.published_at is not None and self.expires_at is not None and self.expires_at <= self.published_at:
            raise FieldError("expires_at", "must be after published_at")
        return self


class Availability(WireModel):
    """Price and stock alone, always both. Topic `availability`, key item_id.

    The topic keeps only the last record of an item, and an item that is rebuilt from it must come out the same.
    """

    ce_name: ClassVar = "availability"

    item_id: Id
    available: bool
    """Not recommended while false."""
    price: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None
    """Null: not known, or no longer."""
    timestamp: Timestamp | None = None

    @model_validator(mode="before")
    @classmethod
    def _is_complete(cls, given: Any) -> Any:
        for field in ("available", "price"):
            if isinstance(given, dict) and field not in given:
                raise FieldError(field, "is needed: price and stock replace what was said of both (price may be null)")
        return given

    def to_bytes(self) -> bytes:
        """The record's value, in which the price is always there."""
        return orjson.dumps(self.model_dump(mode="json", exclude_none=True) | {"price": self.price})


class User(WireModel):
    """Onboarding answers and attributes. Topic `users`, key user_id; a tombstone erases the person."""

    ce_name: ClassVar = "user"
    may_be_left_out: ClassVar = frozenset({"interests", "goals", "experience", "segment", "attributes"})

    user_id: Id
    interests: Annotated[list[Short], Field(max_length=100)] = []
    goals: Annotated[list[Short], Field(max_length=100)] = []
    experience: Annotated[str, Field(max_length=256)] | None = None
    segment: Short | None = None
    attributes: Attributes = {}
    timestamp: Timestamp | None = None


Entity = TypeVar("Entity", bound=Content | Availability | User)


def clamp_entity_time(entity: Entity, arrived: float) -> Entity:
    """Return the state with the time at which it was true, `arrived` (epoch seconds) where that is unknown or ahead.

    Raises `InvalidEvent` as `clamp_event_time` does: what came from the year 9999 would void all that comes later.
    """
    update = {"timestamp": clamp_event_time(entity.timestamp, arrived)}
    return cast(Entity, entity.model_copy(update=update))


def parse_entity(
    model: type[Entity], data: bytes | None, arrived: float, left_out: list[LeftOut] | None = None
) -> Entity:
    """Read the value of a record of a compacted topic, which arrived then (epoch seconds). Raises `InvalidEvent`."""
    return clamp_entity_time(parse_event(model, data, left_out), arrived)
