"""Times in events: RFC 3339 with an offset, or epoch numbers; and how far from the time of arrival they may be."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BeforeValidator, PlainSerializer, ValidationInfo, WithJsonSchema

from eddyline.errors import InvalidEvent

MILLISECONDS_FROM = 1e11
EARLIEST_EPOCH, LATEST_EPOCH = -62_135_596_800.0, 253_402_300_799.0  # the years 1 to 9999, which RFC 3339 can write
DAY = MAX_AHEAD_SECONDS = 86_400.0
RECEIVED: Final = {"received": True}
"""Pydantic's context for what came from outside: only there may a number of a `Timestamp` be milliseconds. What is made
inside has epoch seconds, which after the year 5138 look like milliseconds."""
_NEVER = frozenset({float(2**63 - 1), 8.64e15})
"""The last instants of Java's long and of JavaScript's Date, in epoch milliseconds."""
_YEAR_OF_FIVE_DIGITS = re.compile(r"\+[0-9]{5,}-")
_DURATION = re.compile(r"([1-9][0-9]{0,5})([mhd])")
_DURATION_UNITS = {"m": 60.0, "h": 3600.0, "d": 86_400.0}


def parse_timestamp(value: Any) -> float:
    """Return epoch seconds from RFC 3339 with an offset, or from an epoch number (seconds; milliseconds from 1e11 on).

    What programs write for "never" (`9999-12-31T23:59:59.9999999Z`, in any offset; `infinity`; a year of more digits;
    the largest long) is the end of the year 9999. Call it once: epoch seconds are no valid argument. Raises ValueError
    saying what is wrong.
    """
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError("must be RFC 3339 with an offset, or an epoch number")
    if isinstance(value, str):
        if value == "infinity" or _YEAR_OF_FIVE_DIGITS.match(value):
            return LATEST_EPOCH
        try:
            parsed = datetime.fromisoformat(value)
        except ValueError:
            raise ValueError(f"{value[:40]!r} is not RFC 3339, e.g. 2026-03-01T12:00:00Z") from None
        if parsed.tzinfo is None:
            raise ValueError(f"{value[:40]!r} has no offset: add Z or, say, +01:00")
        seconds = parsed.timestamp()
    else:
        try:
            seconds = float(value)
        except OverflowError:
            seconds = math.inf
        if seconds in _NEVER:
            return LATEST_EPOCH
        seconds = seconds / 1000 if abs(seconds) >= MILLISECONDS_FROM else seconds
    return _within_calendar(seconds)


def _within_calendar(seconds: float) -> float:
    """Return the same, within the years 1 to 9999. Raises ValueError where it is more than a day beyond them, the most
    that an offset and a rounded fraction can make."""
    if not math.isfinite(seconds):
        raise ValueError("must be finite")
    if not EARLIEST_EPOCH - DAY <= seconds <= LATEST_EPOCH + DAY:
        raise ValueError("is " + ("before the year 1" if seconds < 0 else "beyond the year 9999"))
    return min(max(seconds, EARLIEST_EPOCH), LATEST_EPOCH)


def _parse_where_received(value: Any, info: ValidationInfo) -> float:
    if info.context is not RECEIVED and isinstance(value, float):
        return _within_calendar(value)
    return parse_timestamp(value)


def parse_timestamp_text(text: str) -> float:
    """Return the epoch seconds of a query parameter: as `parse_timestamp`, where a number comes as text.

    Raises ValueError saying what is wrong.
    """
    given: Any = text
    try:
        given = float(text)
    except ValueError:
        pass
    else:
        if not math.isfinite(given):
            raise ValueError("must be RFC 3339 with an offset, or an epoch number")
    return parse_timestamp(given)


@lru_cache(maxsize=16_384)  # every list has the times of the same items
def format_timestamp(seconds: float) -> str:
    """Return RFC 3339 in UTC, to the microsecond."""
    return datetime.fromtimestamp(round(seconds, 6), UTC).isoformat().replace("+00:00", "Z")


def parse_duration(text: str) -> float:
    """Parse a duration, e.g. 30m, 24h or 7d, into seconds. Raises ValueError."""
    match = _DURATION.fullmatch(text)
    if match is None:
        raise ValueError(f"{text[:20]!r} isn't a duration: write minutes, hours or days, e.g. 30m, 24h or 7d")
    return int(match[1]) * _DURATION_UNITS[match[2]]


def _parsed_by(parse: Callable[[str], float]) -> AfterValidator:
    """Validate a text that stays one until it is used."""

    def check(text: str) -> str:
        parse(text)
        return text

    return AfterValidator(check)


TimeText = Annotated[str, _parsed_by(parse_timestamp_text)]
"""A time in a query: RFC 3339 with an offset, or an epoch number."""
DurationText = Annotated[str, _parsed_by(parse_duration)]
Timestamp = Annotated[
    float,
    BeforeValidator(_parse_where_received),
    PlainSerializer(format_timestamp, return_type=str, when_used="json"),
    WithJsonSchema(
        {
            "anyOf": [{"type": "string", "format": "date-time"}, {"type": "number"}],
            "description": "RFC 3339 with an offset, or epoch seconds (milliseconds from 1e11 on)",
        }
    ),
]
"""Epoch seconds. What comes from outside (`RECEIVED`) may write it otherwise."""


@dataclass(frozen=True, slots=True)
class SenderClock:
    """The clock by which the times of a batch are, as seen when it arrived: `ahead` of ours by so many seconds."""

    arrived: float
    ahead: float = 0.0

    @classmethod
    def at_arrival(cls, sent: float | None, arrived: float) -> SenderClock:
        """Compare when it was `sent`, by the sender's clock, with when it `arrived`, by ours (epoch seconds); the time
        on the way counts as the clock's. Where it isn't known, the clock is right."""
        return cls(arrived, 0.0 if sent is None else sent - arrived)

    def event_time(self, timestamp: float | None) -> float:
        """Return when it happened by our clock, as `clamp_event_time`. Raises `InvalidEvent`."""
        return clamp_event_time(None if timestamp is None else timestamp - self.ahead, self.arrived)


def clamp_event_time(timestamp: float | None, arrived: float) -> float:
    """Return when it happened, in epoch seconds: `arrived` where unknown, or where it is at most 24 h ahead of it.

    Raises `InvalidEvent` when it is more than 24 h ahead, or before 1970.
    """
    if timestamp is None:
        return arrived
    if timestamp > arrived + MAX_AHEAD_SECONDS:
        raise InvalidEvent(f"{format_timestamp(timestamp)} is more than 24 hours ahead", "timestamp")
    if timestamp < 0:
        raise InvalidEvent(f"{format_timestamp(timestamp)} is before 1970", "timestamp")
    return min(timestamp, arrived)
