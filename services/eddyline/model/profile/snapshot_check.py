"""Whether a profile that came in a record is one that a profiler could have sent: what is taken from it stays for good.

A number that is a text, or overflows once it is added to another, would break a person's profile long after the record
was taken.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from eddyline.model.decay import Vector
from eddyline.model.profile.delivery import Delivery, PendingInteraction
from eddyline.model.profile.profile import Profile
from eddyline.model.profile.seen_items import SETS, SeenItems
from eddyline.topics import INTERACTIONS

MAX_NUMBER = 1e12
"""Of a weight or a count: no person gets near it, and no number of them overflows."""
MAX_COMPONENT = 1e12
"""Of a vector's: the same, as float32."""
_PENDING_TYPES = (str, str, str, int, int, str, int, int | float, tuple, str | None)


def check_snapshot(profile: Profile, latest: float) -> None:
    """Raise ValueError where it isn't what a profiler sends. `latest`: no time (epoch seconds) in it can be later."""
    _check_numbers("evidence", [profile.taste.evidence], MAX_NUMBER)
    _check_numbers("events", [profile.events], MAX_NUMBER)
    _check_numbers("last_seen", [profile.last_seen], latest)
    for total in profile.taste.sums:
        _check_numbers("weight", [total.weight], MAX_NUMBER)
        _check_numbers("time", [total.time], latest)
    vectors = [total.sum for total in profile.taste.sums if total.sum is not None]
    if len({len(vector) for vector in vectors}) > 1:
        raise ValueError("its vectors have several lengths")
    for vector in vectors:
        check_vector(vector)
    _check_seen(profile.seen, latest)
    _check_delivery(profile.delivery)
    seen_first = profile.identity.first_seen
    if seen_first is not None:
        _check_numbers("first_seen", [seen_first.time], latest)


def check_vector(vector: Vector) -> None:
    """Raise ValueError for a vector that has a number which isn't finite, or which overflows in a sum."""
    if not (np.isfinite(vector).all() and np.abs(vector).max(initial=0.0) <= MAX_COMPONENT):
        raise ValueError("a vector has a number that is too large")


def _check_seen(seen: SeenItems, latest: float) -> None:
    for name in SETS:
        entries = getattr(seen, name).entries
        _check_texts(name, entries)
        _check_numbers(name, (time for time, _ in entries.values()), latest)
    _check_texts("shown", seen.shown.minutes)
    for minutes in seen.shown.minutes.values():
        if not all(type(minute) is int for minute in minutes):
            raise ValueError("a minute in shown is no whole number")
        _check_numbers("shown", minutes, latest / 60)
    for name, numbers, limit in (("popularity", seen.popularity, MAX_NUMBER), ("counted", seen.counted, latest)):
        _check_texts(name, numbers)
        _check_numbers(name, numbers.values(), limit)


def _check_delivery(delivery: Delivery) -> None:
    for entry in delivery.pending:
        _check_pending(entry)
    if not all(type(event_id) is int and 0 <= event_id < 1 << 53 for event_id in delivery.event_ids):
        raise ValueError("an event id's hash is no number of 53 bits")
    for offsets in delivery.first.values():
        if not all(type(offset) is int and offset >= 0 for offset in offsets.values()):
            raise ValueError("an offset is no whole number")


def _check_pending(entry: PendingInteraction) -> None:
    values = (getattr(entry, name) for name in entry.__slots__)
    if not all(isinstance(value, kind) for value, kind in zip(values, _PENDING_TYPES, strict=True)):
        raise ValueError("what waits is not as a profiler writes it")
    if entry.topic != INTERACTIONS:
        raise ValueError(f"what waits is of topic {entry.topic[:40]!r}")
    _check_numbers("since", [entry.since], MAX_NUMBER)  # a replay's clock may be ahead of the record's
    for name, text in (*entry.headers, ("", entry.key or "")):
        if not isinstance(name, str):
            raise ValueError("a header's name is no text")
        text.encode("latin-1")  # a UnicodeEncodeError is a ValueError


def _check_texts(what: str, keys: Iterable[object]) -> None:
    if not all(isinstance(key, str) for key in keys):
        raise ValueError(f"an id in {what} is no text")


def _check_numbers(what: str, numbers: Iterable[object], limit: float) -> None:
    for number in numbers:
        is_number = isinstance(number, int | float) and not isinstance(number, bool)
        if not is_number or not 0 <= number <= limit or math.isnan(number):  # type: ignore[operator,arg-type]
            raise ValueError(f"{what} is {str(number)[:40]}")
