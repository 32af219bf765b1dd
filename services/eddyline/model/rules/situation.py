"""Situations: what is known of a request beside what the person likes: when, where, by whom."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo
from typing import Any
from zoneinfo import ZoneInfo

from eddyline.errors import InvalidInput
from eddyline.model.rules.conditions import WEEKDAYS

TIMEZONE = "timezone"
"""The key of the context that says where the person's clock is."""
_ZONE_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+){0,2}")


@dataclass(frozen=True, slots=True)
class Situation:
    """`now` in epoch seconds; `hour` (0 to 23) and `weekday` on the person's own clock; `context` as the request gave
    it, with `surface`, `device`, `locale`, `location` and anything else; `segments` and `attributes` of the person."""

    now: float
    hour: int
    weekday: str
    context: Mapping[str, Any] = field(default_factory=dict)
    segments: tuple[str, ...] = ()
    attributes: Mapping[str, Any] = field(default_factory=dict)

    def values(self, name: str) -> Sequence[Any]:
        """Return what is known of a condition's field: nothing, one value, or several."""
        prefix, _, rest = name.partition(".")
        if name == "hour":
            return (self.hour,)
        if name == "weekday":
            return (self.weekday,)
        if name == "segment":
            return self.segments
        value = self.attributes.get(rest) if prefix == "user" else self.context.get(rest or name)
        if value is None:
            return ()
        return value if isinstance(value, list | tuple) else (value,)


def time_zone(name: Any, where: str) -> tzinfo:
    """Look up the time zone of an IANA name. Raises `InvalidInput` naming `where`."""
    if name == "UTC":
        return UTC  # known even where the system has no time zone data
    if isinstance(name, str) and len(name) <= 64 and _ZONE_NAME.fullmatch(name):
        try:
            return ZoneInfo(name)
        except (OSError, ValueError, LookupError):  # a folder, no such file, not a zone's file
            pass
    raise InvalidInput(
        f"there is no time zone {name!r:.80}: it must be an IANA name such as Europe/Vienna "
        "(and the system must have the time zone data: tzdata)",
        where,
    )


def local_time(context: Mapping[str, Any], now: float, default: tzinfo) -> tuple[int, str]:
    """Return hour and weekday in `context.timezone`, or else in the default zone. Raises `InvalidInput`."""
    given = context.get(TIMEZONE)
    local = datetime.fromtimestamp(now, default if given is None else time_zone(given, f"context.{TIMEZONE}"))
    return local.hour, WEEKDAYS[local.weekday()]
