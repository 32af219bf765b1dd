"""What people were served, and what they saw of it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, ClassVar, Literal, Self, TypeAlias

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from eddyline.errors import InvalidEvent
from eddyline.model.events.record_formats import load_record
from eddyline.model.events.timestamps import Timestamp
from eddyline.model.events.wire import (
    MAX_ID_BYTES,
    Context,
    FieldError,
    Finite,
    Id,
    PersonRecord,
    Short,
    validate_event,
)

MAX_RANK = 1000


def _once_each(ranks: list[int]) -> list[int]:
    return sorted(set(ranks))


class ServedItem(BaseModel):
    """One item of a list."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, use_attribute_docstrings=True)

    item_id: Id
    rank: Annotated[int, Field(ge=1, le=MAX_RANK)]
    """Its place, counted from 1 over all pages."""
    score: Finite | None = None
    category: Short | None = None
    published_at: Timestamp | None = None
    """When it was published, or first came: a younger one is new."""


def _check_items(items: Iterable[ServedItem]) -> None:
    """Raise `FieldError` where two of them have one item, or one rank."""
    item_ids: set[str] = set()
    ranks: set[int] = set()
    for index, one in enumerate(items):
        if one.item_id in item_ids:
            raise FieldError(f"items.{index}.item_id", "is in the list already")
        if one.rank in ranks:
            raise FieldError(f"items.{index}.rank", f"{one.rank} is another item's already")
        item_ids.add(one.item_id)
        ranks.add(one.rank)


class _ListRecord(PersonRecord):
    """What becomes of a list. Topic `impressions`, key the typed person key."""

    request_id: Id
    """Of the response."""
    session_id: Id | None = None
    surface: Short | None = None
    """Where the list is, in the app's own words."""
    strategy: Short | None = None
    """What it is ranked by."""
    experiment: Short | None = None
    variant: Short | None = None
    """Of the experiment; without one, as in the response, or a name of the app's own."""


class ServedList(_ListRecord):
    """Internal, topic `impressions`: a response of the reader, as it was served."""

    ce_name: ClassVar = "impression"

    type: Literal["served"] = "served"
    revision: Short | None = None
    """Of the experiment's definition."""
    unit: Annotated[str, Field(min_length=3, max_length=2 + MAX_ID_BYTES)] | None = None
    """The typed person key by which they were assigned, where it isn't their own."""
    forced: bool = False
    """The variant was forced by a header: it isn't measured."""
    batch: bool = False
    """The list was made ahead: it counts only once it is opened."""
    degraded: bool = False
    """It came from a cache, since the vector store didn't answer."""
    took_ms: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    """Time to make the response."""
    items: Annotated[list[ServedItem], Field(max_length=1000)]
    """Empty where nothing was found."""
    timestamp: Timestamp


class ImpressionReport(_ListRecord):
    """What a person really saw: an event of type `impression`, which goes to the topic `impressions`.

    Of a list of the reader, by its `request_id`: the `positions` that were seen, or, without any, all of it. With
    `items` it is a list of another system, which counts as served and seen at once.
    """

    ce_name: ClassVar = "seen"
    may_be_left_out: ClassVar = frozenset({"session_id", "context"})

    type: Literal["impression"] = "impression"
    event_id: Id | None = None
    """Made by the collector where missing."""
    positions: (
        Annotated[
            list[Annotated[int, Field(ge=1, le=MAX_RANK)]],
            Field(min_length=1, max_length=1000),
            AfterValidator(_once_each),
        ]
        | None
    ) = None
    """Ranks; one that is there twice counts once."""
    items: Annotated[list[ServedItem], Field(min_length=1, max_length=1000)] | None = None
    """Of another system's list."""
    revision: Short | None = None
    """Of the experiment's definition, as in its assignment."""
    timestamp: Timestamp | None = None
    """When it was seen; the time of arrival where missing. At most 24 hours ahead."""
    context: Context = {}
    """Device, locale, …"""

    @model_validator(mode="before")
    @classmethod
    def _is_of_a_list(cls, given: Any) -> Any:
        if isinstance(given, dict) and "item_id" in given:
            raise FieldError(
                "item_id",
                "isn't a field of an impression, which reports on a whole list: give the list's request_id, "
                "and the positions seen, or the items of another system's list",
            )
        return given

    @model_validator(mode="after")
    def _is_of_one_list(self) -> Self:
        if self.items is None:
            for field in ("surface", "strategy", "experiment", "variant", "revision"):
                if getattr(self, field) is not None:
                    raise FieldError(field, "belongs to the list of another system: give its items too")
            return self
        if self.positions is not None:
            raise FieldError("positions", "are of the reader's own list: leave items out, or name just the items seen")
        _check_items(self.items)
        if self.experiment is not None and self.variant is None:
            raise FieldError("variant", "is needed with an experiment")
        if self.revision is not None and self.experiment is None:
            raise FieldError("experiment", "is needed with a revision")
        return self


ImpressionRecord: TypeAlias = ServedList | ImpressionReport


def parse_impression(data: bytes | None) -> ImpressionRecord:
    """Read a record of `impressions`. Raises `InvalidEvent`."""
    value = load_record(data)
    kind = value.get("type") if isinstance(value, dict) else None
    if kind not in (None, "served", "impression"):
        raise InvalidEvent("must be 'served' or 'impression' on this topic", "type")
    return validate_event(ImpressionReport, value) if kind == "impression" else validate_event(ServedList, value)
