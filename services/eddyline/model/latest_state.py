"""Which of an item's states holds, where several write it: the newest by its time, not the last that came.

A compacted topic keeps the last record alone. So a state that is older than the one before it, and came after it,
leaves an untruth there: whoever notices restates what holds. A restatement counts at the place of the record that it
corrects: where a deletion came in between, the deletion holds, and is restated in its turn. Once all is read, the last
record says what holds, and whoever starts from it alone comes to the same.

    >>> latest_state(Known(time=5.0, offset=0), [StateRecord(1, 3.0)])
    LatestState(index=None, is_to_be_restated=True)
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from eddyline.errors import InvalidEvent
from eddyline.model.offsets import LogPosition

RESTATES = "eddyline-restates"
OFFER_FIELDS = ("available", "price")


class Known(NamedTuple):
    """What is stored of an item's state."""

    time: float = -math.inf
    """When it was true, in epoch seconds; -inf where there is none."""
    offset: int | None = None
    """Of its record; None where that isn't known, or was in another log."""


class StateRecord(NamedTuple):
    """A record of a compacted topic."""

    offset: int
    """Of a restatement, that of the record that it corrects."""
    time: float | None
    """When it was true, in epoch seconds; None: a tombstone, which holds whatever time the states before it have."""
    restates: bool = False


@dataclass(frozen=True, slots=True)
class LatestState:
    """What a batch makes of an item. `index`: of the record that holds; None: what is stored does."""

    index: int | None
    is_to_be_restated: bool
    """The log ends with a record that doesn't hold."""


def latest_state(known: Known, records: Iterable[StateRecord]) -> LatestState:
    """Decide between what is stored and an item's records, in their order. Repeated records change nothing."""
    time, offset = known
    index, is_to_be_restated = None, False
    for ordinal, record in enumerate(records):
        if offset is not None and record.offset < offset:
            is_to_be_restated |= record.restates  # something came between it and what it corrects
            continue
        offset = record.offset
        if record.time is not None and record.time < time:
            is_to_be_restated = True
            continue
        time = -math.inf if record.time is None else record.time
        index, is_to_be_restated = ordinal, False
    return LatestState(index, is_to_be_restated)


def corrected_position(headers: Iterable[tuple[str, bytes]], position: LogPosition) -> LogPosition | None:
    """Return the place of the record that this one, at `position`, corrects; None where it corrects none of its log.

    Raises `InvalidEvent` for a header that isn't what the embedder writes.
    """
    given = dict(headers).get(RESTATES)
    if given is None:
        return None
    try:
        corrected = LogPosition.parse(given.decode())
    except ValueError:
        raise InvalidEvent("is not what the embedder writes", RESTATES) from None
    is_before = corrected[:2] == position[:2] and corrected.offset < position.offset
    return corrected if is_before else None


def current_offer(meta: Mapping[str, Any] | None, meta_time: float, stock: Mapping[str, Any]) -> dict[str, Any]:
    """Return an item's price and stock: each as its own state says it, unless `availability` said it then or
    later.

    `stock`: what availability said, with the time `at` which it was so; empty where it said nothing. An item of which
    nobody said otherwise is available.

    >>> current_offer({"price": 9.5}, 2.0, {"available": False, "price": 8.0, "at": 1.0})
    {'available': False, 'at': 2.0, 'price': 9.5}
    """
    said = {name: meta[name] for name in OFFER_FIELDS if name in meta} if meta else {}
    heard = {name: stock[name] for name in OFFER_FIELDS if name in stock}
    stock_time = stock["at"] if heard else -math.inf
    offer = heard | said if meta_time > stock_time else heard
    at = max((time for time in (meta_time, stock_time) if math.isfinite(time)), default=0.0)
    return {"available": True, "at": at} | offer
