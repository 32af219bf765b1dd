r"""What is kept of one person: their recent lists and actions. Pure.

It is a *set*: lists by their request id, actions by their event id, each with its time and, for those of the same time,
the place of its record in the log. So it doesn't matter in which order the two topics are read, nor whether a record
comes twice; and what a person adds to the measures (`attribution.measure_contribution`)
is a pure function of it. The handler adds records and books the difference, $measured(after) - measured(before)$: that
is how a click finds a list that is read later, and how the positions that were really seen take the place of those
that were served.

A list is kept for as long as anything can still change what came of it: the attribution window and the lateness of
records. What is dropped then has been booked, and stays.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

import orjson

from eddyline.errors import InvalidEvent
from eddyline.insights.rows import DAY, LATENCIES_MS, MILLIONTHS, RETURN_DAYS, Dimensions, VariantKey
from eddyline.model.events import ImpressionReport, Interaction, ServedList
from eddyline.model.placed_time import UNPLACED
from eddyline.settings import InsightsSettings

MINUTE = 60
NEW_ITEM_DAYS = 7.0
"""An item published (or first come) less than this before it was served is new."""
BATCH_SECONDS = 7 * DAY
"""How long a list that was made ahead waits to be opened: as long as `impressions` keeps it."""
SKEW_SECONDS = 3600.0
"""How far an app's clock may be behind ours, where an event names the list that it came from."""
MAX_VALUE = 1e9
"""Largest value of a conversion, either way: what is more is no price."""
MAX_NAMES, MAX_TOTALS = 50, 100
"""Combinations of dimensions that are kept of a person's day, and variants that they ever had, at most: the names come
from outside."""
MAX_LISTS, MAX_ACTIONS = 300, 1000
"""Lists and actions that are kept of one person; beyond, the oldest are dropped early."""

Totals: TypeAlias = tuple[float, ...]


class LoggedItem(NamedTuple):
    """An item of a list. `is_new`: when it was served."""

    item_id: str
    rank: int
    category: str
    is_new: bool


@dataclass(slots=True)
class LoggedList:
    """A list, as far as it is known: what was served, what was seen of it, or both. Times in epoch seconds."""

    served_at: float | None = None
    """None: only what was seen of it has been read yet."""
    seen: dict[int, float] = field(default_factory=dict)
    """When each rank was first seen, as far as the app reports it."""
    whole_at: float | None = None
    """When the app first reported that all of it was seen."""
    dimensions: Dimensions = field(default_factory=Dimensions)
    revision: str = ""
    is_batch: bool = False
    is_forced: bool = False
    is_degraded: bool = False
    is_unit: bool = True
    """Whether the person was assigned by their own key."""
    took: int | None = None
    """Bucket of the response time."""
    items: tuple[LoggedItem, ...] = ()
    place: int = UNPLACED
    """Where the record that served it is in the log (`model.placed_time`)."""

    @property
    def time(self) -> float:
        """When the list was served; one made ahead: when it was first seen. Where its serving hasn't been read yet:
        when it was seen."""
        if self.served_at is not None and not self.is_batch:
            return self.served_at
        seen = self.first_seen()
        return (self.served_at or 0.0) if seen is None else seen

    def first_seen(self) -> float | None:
        """When any of the list was seen, within `BATCH_SECONDS` after it was served."""
        times = [*self.seen.values(), *([] if self.whole_at is None else [self.whole_at])]
        latest = math.inf if self.served_at is None else self.served_at + BATCH_SECONDS
        return min((time for time in times if time <= latest), default=None)

    def to_plain(self) -> list[Any]:
        """The values of all fields, as JSON types."""
        served_at, seen, whole_at, dimensions, *rest, items, place = (getattr(self, name) for name in self.__slots__)
        items = [tuple(item) for item in items]
        return [served_at, sorted(seen.items()), whole_at, tuple(dimensions), *rest, items, place]

    @classmethod
    def from_plain(cls, plain: list[Any]) -> LoggedList:
        """Parse what `to_plain` made."""
        logged = cls(*plain)
        logged.seen, logged.dimensions = dict(plain[1]), Dimensions(*plain[3])
        logged.items = tuple(LoggedItem(*item) for item in logged.items)
        return logged


class LoggedAction(NamedTuple):
    """What someone did with an item. `value` in millionths; `place`: of its record in the log."""

    item_id: str
    at: float
    request_id: str | None
    is_click: bool
    is_conversion: bool
    dwell_ms: int | None
    value: int
    place: int = UNPLACED


@dataclass(slots=True)
class PersonLog:
    """What is kept of a person. `totals`: by variant, everything that ever came of its lists."""

    lists: dict[str, LoggedList] = field(default_factory=dict)
    actions: dict[str, LoggedAction] = field(default_factory=dict)
    days: dict[int, set[Dimensions]] = field(default_factory=dict)
    """Days since 1970 on which they were there, and the dimensions of the lists that they were served."""
    totals: dict[VariantKey, Totals] = field(default_factory=dict)
    erased_at: float | None = None
    newest: float = 0.0
    """The broker's time of the newest record, in epoch seconds."""

    def add_list(self, served: ServedList, place: int) -> None:
        """Add what the reader served, by a record at `place`."""
        if self._is_erased(served.timestamp):
            return
        logged = self.lists.setdefault(served.request_id, LoggedList())
        if logged.served_at is not None:
            return
        logged.served_at = served.timestamp
        logged.dimensions = _dimensions(served)
        logged.revision = served.revision or ""
        logged.is_batch, logged.is_forced, logged.is_degraded = served.batch, served.forced, served.degraded
        logged.is_unit = served.unit is None
        logged.took = None if served.took_ms is None else sum(served.took_ms > bound for bound in LATENCIES_MS)
        logged.items, logged.place = _logged_items(served, served.timestamp), place

    def add_report(self, report: ImpressionReport, at: float, place: int) -> None:
        """Add what was really seen of a list, at `at`, by a record at `place`."""
        if self._is_erased(at):
            return
        logged = self.lists.setdefault(report.request_id, LoggedList())
        if report.items is not None and logged.served_at is None:  # another system's list: this is all there is of it
            logged.served_at, logged.dimensions, logged.revision = at, _dimensions(report), report.revision or ""
            logged.items, logged.place = _logged_items(report, at), place
        ranks = report.positions if report.items is None else [item.rank for item in report.items]
        if ranks is None:
            logged.whole_at = at if logged.whole_at is None else min(logged.whole_at, at)
        for rank in ranks or ():
            logged.seen[rank] = min(at, logged.seen.get(rank, at))

    def add_action(self, event: Interaction, event_id: str, at: float, place: int, settings: InsightsSettings) -> None:
        """Add what someone did, where it can be measured. Raises `InvalidEvent` for a value that is no price."""
        is_click, is_conversion = event.type in settings.clicks, event.type in settings.conversions
        if self._is_erased(at) or not (is_click or is_conversion or event.dwell_ms is not None):
            return
        if is_conversion and abs(event.value or 0.0) > MAX_VALUE:
            raise InvalidEvent(f"{event.value:g} is no price, which is at most {MAX_VALUE:g}", "value")
        dwell = None if event.dwell_ms is None else round(event.dwell_ms)
        value = round((event.value or 0.0) * MILLIONTHS) if is_conversion else 0
        action = LoggedAction(event.item_id, at, event.request_id, is_click, is_conversion, dwell, value, place)
        self.actions.setdefault(event_id, action)

    def erase(self, at: float) -> None:
        """Forget everything until then. What was booked stays: it names nobody."""
        self.lists = {name: logged for name, logged in self.lists.items() if logged.time > at}
        self.actions = {name: action for name, action in self.actions.items() if action.at > at}
        self.days, self.totals = {}, {}
        self.erased_at = at

    def _is_erased(self, at: float) -> bool:
        return self.erased_at is not None and at <= self.erased_at

    def drop_settled(self, read: float, settings: InsightsSettings) -> int:
        """Drop what can't change any more, and the oldest beyond the bounds. Returns how many of the latter.

        `read`: the broker's time, in epoch seconds, up to which both topics have been read: one may be far behind the
        other.
        """
        window, lateness = settings.attribution_hours * 3600, settings.lateness_minutes * MINUTE
        # A list outlives the actions that may belong to it, else they would move to another one.
        settled = read - 2 * window - lateness - SKEW_SECONDS
        unopened = read - BATCH_SECONDS - window - lateness
        self.lists = {
            name: logged
            for name, logged in self.lists.items()
            if logged.time > (unopened if logged.is_batch else settled)
        }
        ahead = {name for name, logged in self.lists.items() if logged.is_batch}
        done = read - window - lateness - SKEW_SECONDS
        self.actions = {
            name: action for name, action in self.actions.items() if action.at > done or action.request_id in ahead
        }
        first_day = int(read // DAY) - max(RETURN_DAYS) - 1
        self.days = {day: set(sorted(found)[:MAX_NAMES]) for day, found in self.days.items() if day >= first_day}
        self.totals = dict(list(self.totals.items())[-MAX_TOTALS:])
        if len(self.lists) > MAX_LISTS or len(self.actions) > MAX_ACTIONS:
            return self._keep_newest(MAX_LISTS, MAX_ACTIONS)
        return 0

    def shrink(self) -> int:
        """Drop the older half of the lists and of the actions, since their row would be too large; where there are
        none, all the rest. Returns how many lists and actions."""
        if not self.lists and not self.actions:
            self.days, self.totals = {}, {}
        return self._keep_newest(len(self.lists) // 2, len(self.actions) // 2)

    def _keep_newest(self, lists: int, actions: int) -> int:
        """Keep so many of the newest, and no action from before the lists that are kept. Returns how many went."""
        before = len(self.lists) + len(self.actions)
        by_time = sorted(self.lists.items(), key=lambda item: (item[1].time, item[1].place, item[0]))
        is_cut = len(by_time) > lists
        self.lists = dict(by_time[-lists:] if lists else ())
        first = min((logged.time for logged in self.lists.values()), default=math.inf) if is_cut else -math.inf
        in_order = sorted(self.actions.items(), key=lambda item: (item[1].at, item[1].place, item[0]))
        newest = in_order[-actions:] if actions else ()
        self.actions = {name: action for name, action in newest if action.at >= first}
        return before - len(self.lists) - len(self.actions)

    def is_expired(self, now: float, settings: InsightsSettings) -> bool:
        """Whether nothing of it is of use any more at `now` (epoch seconds)."""
        kept = max(
            2 * settings.attribution_hours * 3600 + 2 * settings.lateness_minutes * MINUTE, (max(RETURN_DAYS) + 2) * DAY
        )
        if self.erased_at is not None and not (self.lists or self.actions or self.totals):
            kept = 2 * settings.lateness_minutes * MINUTE  # what comes later isn't measured, whoever it is of
            return now - self.newest > kept
        longest = settings.day_retention_days * DAY if self.totals else max(kept, BATCH_SECONDS + 2 * DAY)
        return now - self.newest > longest

    def to_bytes(self) -> bytes:
        """Serialize the value of the row."""
        return orjson.dumps(
            {
                "lists": {name: logged.to_plain() for name, logged in self.lists.items()},
                "deeds": {name: tuple(action) for name, action in self.actions.items()},
                "days": [[day, *map(tuple, sorted(found))] for day, found in self.days.items()],
                "totals": [[*key, *totals] for key, totals in self.totals.items()],
                "erased_at": self.erased_at,
                "newest": self.newest,
            }
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> PersonLog:
        """Parse what `to_bytes` wrote."""
        plain = orjson.loads(data)
        return cls(
            {name: LoggedList.from_plain(logged) for name, logged in plain["lists"].items()},
            {name: LoggedAction(*action) for name, action in plain["deeds"].items()},
            {day: {Dimensions(*found) for found in rest} for day, *rest in plain["days"]},
            {VariantKey(*row[:3]): tuple(row[3:]) for row in plain["totals"]},
            plain["erased_at"],
            plain["newest"],
        )


def _dimensions(event: ServedList | ImpressionReport) -> Dimensions:
    return Dimensions(event.surface or "", event.strategy or "", event.experiment or "", event.variant or "")


def _logged_items(event: ServedList | ImpressionReport, at: float) -> tuple[LoggedItem, ...]:
    oldest_new = at - NEW_ITEM_DAYS * DAY
    return tuple(
        LoggedItem(
            item.item_id,
            item.rank,
            item.category or "",
            item.published_at is not None and item.published_at > oldest_new,
        )
        for item in event.items or ()
    )
