"""What the rows of items are made from, topic `activity`, key item_id: what people chose after what, and what lists
filter the item by. Internal: our own services write and read it."""

from __future__ import annotations

import struct
from base64 import b64decode, b64encode
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import orjson
from numpy.typing import NDArray
from pydantic import AfterValidator, Field, JsonValue

from eddyline.model.events.interactions import RecordOrigin
from eddyline.model.events.record_formats import load_record
from eddyline.model.events.timestamps import Timestamp, format_timestamp
from eddyline.model.events.wire import VERSION, Id, WireModel, validate_event
from eddyline.model.ids import item_dimension

_DIMENSION = np.dtype("<u4")


def pack_dimensions(item_ids: Iterable[str]) -> str:
    """Return the sparse dimensions of items as text: four bytes each, little-endian, all of them in base64."""
    dimensions = list(map(item_dimension, item_ids))
    return b64encode(struct.pack(f"<{len(dimensions)}I", *dimensions)).decode()


def _packed_dimensions(text: str) -> str:
    if len(b64decode(text, validate=True)) % _DIMENSION.itemsize:
        raise ValueError("must be dimensions of four bytes each")
    return text


class ProfileBefore(WireModel):
    """A profile as it was just before the item was chosen, as a `Transfer` has it, without whose it is."""

    payload: dict[str, JsonValue]
    vectors: dict[str, str]


class Activity(WireModel):
    """An item came, after these recent ones of the same person.

    With a `position` it is the other way round: one of `recents`, the only one, came after this item.
    """

    ce_name: ClassVar = "activity"

    item_id: Id
    recents: Annotated[str, AfterValidator(_packed_dimensions)] | list[str] = ""
    """Newest first, without the item itself: the sparse dimension of each, 4 bytes, little-endian, all of them in
    base64. Records from before hold their ids."""
    position: Annotated[int, Field(ge=0, le=1000)] | None = None
    """Where this item was among the person's recents, 0 being the newest, when the other came. It makes no trend."""
    weight: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    timestamp: Timestamp
    source: str
    """`log:partition:offset` of the interaction; with `/position` where there is one."""
    before: ProfileBefore | None = None
    """In a sample of them: whom the weights of learned strategies are fitted to."""

    @property
    def dimensions(self) -> NDArray[np.uint32]:
        """Return the sparse dimension of each recent item, newest first: all that a row learns from."""
        if isinstance(self.recents, str):
            return np.frombuffer(b64decode(self.recents), _DIMENSION)
        return np.array(list(map(item_dimension, self.recents)), np.uint32)


def activity_bytes(
    item_id: str,
    recents: str,
    weight: float,
    timestamp: float,
    source: str,
    position: int | None = None,
    before: Mapping[str, Any] | None = None,
) -> bytes:
    """Return the same as `Activity(…).to_bytes()`, of values that are valid, as a profiler's own are. It takes a fifth
    of the time, and is done several times for each event."""
    fields: dict[str, Any] = {"v": VERSION, "item_id": item_id, "recents": recents}
    if position is not None:
        fields["position"] = position
    if before is not None:
        fields["before"] = before
    return orjson.dumps({**fields, "weight": weight, "timestamp": format_timestamp(timestamp), "source": source})


def _listed_fields(fields: dict[str, JsonValue]) -> dict[str, JsonValue]:
    meta = fields.get("meta")
    if not isinstance(meta, dict):
        raise ValueError("must have an object `meta`")
    if any(not _is_number(meta[name]) for name in ("published_at", "expires_at") if name in meta):
        raise ValueError("times must be epoch seconds")
    return fields


def _timed_offer(offer: dict[str, JsonValue]) -> dict[str, JsonValue]:
    if "at" in offer and not _is_number(offer["at"]):
        raise ValueError("its time `at` must be epoch seconds")
    return offer


def _is_number(value: JsonValue) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


class Listing(WireModel):
    """An item is filtered by this from now on, or is gone. From the embedder, in the order of its writes."""

    ce_name: ClassVar = "listing"

    type: Literal["listing"] = "listing"
    item_id: Id
    fields: Annotated[dict[str, JsonValue], AfterValidator(_listed_fields)] | None = None
    """The payload of `model.listing`, but for the offer; None: unchanged."""
    offer: Annotated[dict[str, JsonValue], AfterValidator(_timed_offer)] | None = None
    """Price and stock, with the time `at` which they were so; None: unchanged."""
    origin: RecordOrigin | None = None
    """The record of `content` that `fields` are of, or that deleted the item."""
    gone: bool = False
    """The item was deleted."""


RowEvent = Activity | Listing


def parse_row_event(data: bytes | None) -> RowEvent:
    """Read a record of `activity`. Raises `InvalidEvent`."""
    value = load_record(data)
    if isinstance(value, dict) and value.get("type") == "listing":
        return validate_event(Listing, value)
    return validate_event(Activity, value)
