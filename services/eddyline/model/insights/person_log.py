r"""One person's recent lists and deeds, and what they add to the measures.

What is kept of a person is a *set*: lists by their request id, deeds by their event id. So it doesn't matter in which
order the two topics are read, nor whether a record comes twice; and what a person adds to the measures,
`measure_contribution(person)`, is a pure function of it. A fold adds records and books the difference,
$measured(after) - measured(before)$: that is how a click finds a list that is read later, and how the positions that
were really seen take the place of those that were served.

A list is kept for as long as anything can still change what came of it: the attribution window and the lateness of
records. What is dropped then has been booked, and stays.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

import orjson

from eddyline.model.events import ImpressionReport, Interaction, ServedList
from eddyline.model.experiments.moments import NOBODY, TOTALS
from eddyline.model.insights.rows import DAY, LATENCIES_MS, MILLIONTHS, Dimensions, VariantKey
from eddyline.settings import InsightsSettings

MINUTE = 60
BATCH_SECONDS = 7 * DAY
"""How long a list that was made ahead waits to be opened: as long as `impressions` keeps it."""
SKEW_SECONDS = 3600.0
"""How far an app's clock may be behind ours, where an event names the list that it came from."""
MOST_VALUE = 1e9
"""Largest value of a conversion, either way: what is more is no price."""
MOST_NAMES, MOST_TOTALS = 50, 100
"""Most combinations of dimensions that are kept of a person's day, and variants that they ever had; the names come from
outside."""
MOST_LISTS, MOST_DEEDS = 300, 1000
"""Most that is kept of one person; beyond, the oldest are dropped early."""
RETURN_DAYS = (1, 7)

Totals: TypeAlias = tuple[float, ...]


class LoggedItem(NamedTuple):
    """One place of a list. `is_new`: when it was served."""

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
    """When each rank was first seen, as far as the app says."""
    whole_at: float | None = None
    """When the app first said that all of it was seen."""
    whose: Dimensions = field(default_factory=Dimensions)
    revision: str = ""
    is_batch: bool = False
    is_forced: bool = False
    is_degraded: bool = False
    is_unit: bool = True
    """Whether they were assigned by their own name."""
    took: int | None = None
    """Bucket of the time to answer."""
    places: tuple[LoggedItem, ...] = ()


class LoggedAction(NamedTuple):
    """What someone did with an item. `value` in millionths."""

    item_id: str
    at: float
    request_id: str | None
    is_click: bool
    is_conversion: bool
    dwell_ms: int | None
    value: int


@dataclass(slots=True)
class PersonLog:
    """What is kept of a person. `totals`: by variant, everything it ever had from them."""

    lists: dict[str, LoggedList] = field(default_factory=dict)
    deeds: dict[str, LoggedAction] = field(default_factory=dict)
    days: dict[int, set[Dimensions]] = field(default_factory=dict)
    """Days since 1970 on which they were there, and whose lists they were served."""
    totals: dict[VariantKey, Totals] = field(default_factory=dict)
    erased_at: float | None = None
    newest: float = 0.0
    """The broker's time of the newest record, in epoch seconds."""

    # -- the fold -----------------------------------------------------------------------------------------------

    def serve(self, said: ServedList, settings: InsightsSettings) -> None:
        """Add what the reader served."""
        if self._is_forgotten(said.timestamp):
            return
        listing = self.lists.setdefault(said.request_id, LoggedList())
        if listing.served_at is not None:
            return
        listing.served_at = said.timestamp
        listing.whose = _dimensions(said)
        listing.revision = said.revision or ""
        listing.is_batch, listing.is_forced, listing.is_degraded = said.batch, said.forced, said.degraded
        listing.is_unit = said.unit is None
        listing.took = None if said.took_ms is None else latency_bucket(said.took_ms)
        listing.places = _places(said, said.timestamp, settings)

    def see(self, said: ImpressionReport, at: float, settings: InsightsSettings) -> None:
        """Add what was really seen of a list, at `at`."""
        if self._is_forgotten(at):
            return
        listing = self.lists.setdefault(said.request_id, LoggedList())
        if said.items is not None and listing.served_at is None:  # another system's list: this is all there is of it
            listing.served_at, listing.whose, listing.revision = at, _dimensions(said), said.revision or ""
            listing.places = _places(said, at, settings)
        ranks = said.positions if said.items is None else [place.rank for place in said.items]
        if ranks is None:
            listing.whole_at = at if listing.whole_at is None else min(listing.whole_at, at)
        for rank in ranks or ():
            listing.seen[rank] = min(at, listing.seen.get(rank, at))

    def act(self, said: Interaction, event_id: str, at: float, settings: InsightsSettings) -> None:
        """Add what someone did, where it can be measured. Raises ValueError for a value that is no price."""
        is_click, is_conversion = said.type in settings.clicks, said.type in settings.conversions
        if self._is_forgotten(at) or not (is_click or is_conversion or said.dwell_ms is not None):
            return
        if is_conversion and abs(said.value or 0.0) > MOST_VALUE:
            raise ValueError(f"value: {said.value:g} is no price, which is at most {MOST_VALUE:g}")
        dwell = None if said.dwell_ms is None else round(said.dwell_ms)
        value = round((said.value or 0.0) * MILLIONTHS) if is_conversion else 0
        deed = LoggedAction(said.item_id, at, said.request_id, is_click, is_conversion, dwell, value)
        self.deeds.setdefault(event_id, deed)

    def erase(self, at: float) -> None:
        """Forget everything until then. What was booked stays: it names nobody."""
        self.lists = {name: one for name, one in self.lists.items() if _time(one) > at}
        self.deeds = {name: deed for name, deed in self.deeds.items() if deed.at > at}
        self.days, self.totals = {}, {}
        self.erased_at = at

    def dropped(self, read: float, settings: InsightsSettings) -> int:
        """Drop what can't change any more, and the oldest beyond the bounds. Returns how many of the latter.

        `read`: the broker's time, in epoch seconds, up to which both topics have been read: one may be far behind the
        other.
        """
        window, lateness = settings.attribution_hours * 3600, settings.lateness_minutes * MINUTE
        # A list outlives the deeds that may belong to it, else they would move to another one.
        ended = read - 2 * window - lateness - SKEW_SECONDS
        unopened = read - BATCH_SECONDS - window - lateness
        self.lists = {
            name: one for name, one in self.lists.items() if _time(one) > (unopened if one.is_batch else ended)
        }
        ahead = {name for name, one in self.lists.items() if one.is_batch}
        done = read - window - lateness - SKEW_SECONDS
        self.deeds = {name: deed for name, deed in self.deeds.items() if deed.at > done or deed.request_id in ahead}
        today = int(read // DAY)
        self.days = {
            day: set(sorted(whose)[:MOST_NAMES])
            for day, whose in self.days.items()
            if day >= today - max(RETURN_DAYS) - 1
        }
        self.totals = dict(list(self.totals.items())[-MOST_TOTALS:])
        before = len(self.lists) + len(self.deeds)
        if len(self.lists) > MOST_LISTS or len(self.deeds) > MOST_DEEDS:
            self._keep(MOST_LISTS, MOST_DEEDS)
        return before - len(self.lists) - len(self.deeds)

    def _keep(self, lists: int, deeds: int) -> None:
        """Keep so many of the newest, and no deed from before the lists that are kept."""
        by_time = sorted(self.lists.items(), key=lambda item: (_time(item[1]), item[0]))
        is_cut = len(by_time) > lists
        self.lists = dict(by_time[-lists:] if lists else ())
        first = min((_time(one) for one in self.lists.values()), default=math.inf) if is_cut else -math.inf
        newest = sorted(self.deeds.items(), key=lambda item: (item[1].at, item[0]))[-deeds:] if deeds else ()
        self.deeds = {name: deed for name, deed in newest if deed.at >= first}

    def shrink(self) -> int:
        """Drop the older half of the lists and of the deeds, since their row would be too large; where there are none,
        all the rest. Returns how many lists and deeds."""
        before = len(self.lists) + len(self.deeds)
        if not before:
            self.days, self.totals = {}, {}
            return 0
        self._keep(len(self.lists) // 2, len(self.deeds) // 2)
        return before - len(self.lists) - len(self.deeds)

    def is_done(self, now: float, settings: InsightsSettings) -> bool:
        """Whether nothing of it is of use any more at `now` (epoch seconds)."""
        kept = max(
            2 * settings.attribution_hours * 3600 + 2 * settings.lateness_minutes * MINUTE, (max(RETURN_DAYS) + 2) * DAY
        )
        longest = settings.days_kept * DAY if self.totals else max(kept, BATCH_SECONDS + 2 * DAY)
        return now - self.newest > longest

    def _is_forgotten(self, at: float) -> bool:
        return self.erased_at is not None and at <= self.erased_at

    # -- as a row -----------------------------------------------------------------------------------------------

    def to_bytes(self) -> bytes:
        """The value of their row."""
        return orjson.dumps(
            {
                "lists": {name: _plain(one) for name, one in self.lists.items()},
                "deeds": {name: tuple(deed) for name, deed in self.deeds.items()},
                "days": [[day, *map(tuple, sorted(whose))] for day, whose in self.days.items()],
                "totals": [[*key, *totals] for key, totals in self.totals.items()],
                "erased_at": self.erased_at,
                "newest": self.newest,
            }
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> PersonLog:
        """The inverse of `to_bytes`."""
        plain = orjson.loads(data)
        return cls(
            {name: _logged_list(one) for name, one in plain["lists"].items()},
            {name: LoggedAction(*deed) for name, deed in plain["deeds"].items()},
            {day: {Dimensions(*one) for one in whose} for day, *whose in plain["days"]},
            {VariantKey(*one[:3]): tuple(one[3:]) for one in plain["totals"]},
            plain["erased_at"],
            plain["newest"],
        )


@dataclass(slots=True)
class CellSums:
    """What someone adds to a cell."""

    counts: Counter[str] = field(default_factory=Counter)
    took: Counter[int] = field(default_factory=Counter)
    shown: Counter[int] = field(default_factory=Counter)
    clicked: Counter[int] = field(default_factory=Counter)
    is_there: bool = False
    items: set[str] = field(default_factory=set)


@dataclass(slots=True)
class Contribution:
    """What someone adds to the measures. `minutes`: by the minute (epoch seconds) and whose list it was; `days`: by
    day, exact numbers of people; `variants`: their totals, by variant; `since`: the first and last list of each."""

    minutes: defaultdict[tuple[int, Dimensions], CellSums] = field(default_factory=lambda: defaultdict(CellSums))
    days: defaultdict[tuple[int, Dimensions], Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    variants: dict[VariantKey, list[float]] = field(default_factory=dict)
    times: dict[VariantKey, float] = field(default_factory=dict)
    """Time of the newest list, by variant."""
    units: set[VariantKey] = field(default_factory=set)
    """The variants to which they were assigned by their own name."""


def measure_contribution(person: PersonLog, settings: InsightsSettings) -> Contribution:
    """What a person's kept lists and deeds add to the measures.

    A deed belongs to the list that it names, where that has the item and is at most the attribution window older;
    else to the last list before it, within that window, in which the item was seen; else to none.
    """
    found = Contribution()
    window = settings.attribution_hours * 3600
    named, rest = _named(person, window)
    counted = {name: one for name, one in person.lists.items() if _is_counted(one, bool(named.get(name)))}
    times = {name: _opened(one, named.get(name, ())) for name, one in counted.items()}
    shown = {name: _shown(one, window, named.get(name, ())) for name, one in counted.items()}
    latest = _by_item(counted, shown, times)
    for deed in rest:
        name = _last_before(latest.get(deed.item_id, ()), deed.at, window)
        if name is None:
            _add_organic(found, deed)
        else:
            named[name].append(deed)
    for name, listing in counted.items():
        if not listing.is_forced:
            _add_list(found, listing, times[name], shown[name], named.get(name, ()), settings)
    _add_days(found, person, [(times[name], one.whose) for name, one in counted.items() if not one.is_forced])
    return found


def latency_bucket(took_ms: float) -> int:
    """Which bucket of `LATENCIES_MS` a time belongs to."""
    return sum(took_ms > bound for bound in LATENCIES_MS)


def _named(person: PersonLog, window: float) -> tuple[defaultdict[str, list[LoggedAction]], list[LoggedAction]]:
    """Deeds by the list that they name, and those that name none that is known."""
    named: defaultdict[str, list[LoggedAction]] = defaultdict(list)
    rest = []
    for deed in person.deeds.values():
        listing = person.lists.get(deed.request_id) if deed.request_id is not None else None
        if (
            listing is not None
            and listing.served_at is not None
            and deed.at - _time(listing) >= -SKEW_SECONDS
            and deed.at - _time(listing) <= (BATCH_SECONDS if listing.is_batch else window)
            and any(place.item_id == deed.item_id for place in listing.places)
        ):
            named[str(deed.request_id)].append(deed)
        else:
            rest.append(deed)
    return named, rest


def _is_counted(listing: LoggedList, is_clicked: bool) -> bool:
    """Whether it was served, and opened where it was made ahead."""
    return listing.served_at is not None and (
        not listing.is_batch or is_clicked or _first_seen(listing, BATCH_SECONDS) is not None
    )


def _first_seen(listing: LoggedList, window: float) -> float | None:
    """When any of it was seen, within so long after it was served."""
    times = [*listing.seen.values(), *([] if listing.whole_at is None else [listing.whole_at])]
    latest = math.inf if listing.served_at is None else listing.served_at + window
    return min((time for time in times if time <= latest), default=None)


def _shown(listing: LoggedList, window: float, deeds: Iterable[LoggedAction]) -> set[int]:
    """The ranks that were seen: as the app says within the window, and what was clicked; else all."""
    every = {place.rank for place in listing.places}
    latest = (listing.served_at or 0.0) + (BATCH_SECONDS if listing.is_batch else window)
    told = {rank for rank, time in listing.seen.items() if time <= latest}
    is_whole = listing.whole_at is not None and listing.whole_at <= latest
    if is_whole or not told:
        return every
    done = {deed.item_id for deed in deeds}
    return (told & every) | {place.rank for place in listing.places if place.item_id in done}


def _opened(listing: LoggedList, deeds: Iterable[LoggedAction]) -> float:
    """When a list counts: when it was served, or, made ahead, when it was first seen or else clicked."""
    if not listing.is_batch:
        return _time(listing)
    seen = _first_seen(listing, BATCH_SECONDS)
    return min((deed.at for deed in deeds), default=_time(listing)) if seen is None else seen


def _by_item(
    counted: Mapping[str, LoggedList], shown: Mapping[str, set[int]], times: Mapping[str, float]
) -> dict[str, list[tuple[float, str]]]:
    """The lists in which an item was seen, with their times."""
    found: dict[str, list[tuple[float, str]]] = {}
    for name, listing in counted.items():
        for place in listing.places:
            if place.rank in shown[name]:
                found.setdefault(place.item_id, []).append((times[name], name))
    return found


def _last_before(lists: Iterable[tuple[float, str]], at: float, window: float) -> str | None:
    return max(((time, name) for time, name in lists if at - window <= time <= at), default=(0.0, None))[1]


def _add_list(
    found: Contribution,
    listing: LoggedList,
    at: float,
    shown: set[int],
    deeds: Iterable[LoggedAction],
    settings: InsightsSettings,
) -> None:
    minute = int(at // MINUTE) * MINUTE
    totals = dict.fromkeys(TOTALS, 0.0)
    whole = found.minutes[minute, listing.whose]
    whole.is_there = True
    whole.counts["requests"] += 1
    whole.counts["empty"] += not listing.places
    whole.counts["degraded"] += listing.is_degraded
    if listing.took is not None:
        whole.took[listing.took] += 1
    totals["requests"] = 1.0
    place_of = {place.item_id: place for place in reversed(listing.places)}
    for place in place_of.values():
        cell = found.minutes[minute, listing.whose._replace(category=place.category)]
        cell.is_there = True
        cell.items.add(place.item_id)
        cell.counts["served"] += 1
        if place.rank in shown:
            cell.counts["impressions"] += 1
            cell.counts["new_items"] += place.is_new
            totals["impressions"] += 1
            if place.rank <= settings.positions:
                cell.shown[place.rank] += 1
    clicked = set()
    for deed in deeds:
        place = place_of[deed.item_id]
        cell = found.minutes[minute, listing.whose._replace(category=place.category)]
        if deed.is_click and deed.item_id not in clicked:
            clicked.add(deed.item_id)
            cell.counts["clicks"] += 1
            totals["clicks"] += 1
            if place.rank <= settings.positions:
                cell.clicked[place.rank] += 1
        if deed.dwell_ms is not None:
            cell.counts["dwells"] += 1
            cell.counts["dwell_ms"] += deed.dwell_ms
            totals["dwells"] += 1
            totals["dwell_ms"] += deed.dwell_ms
        if deed.is_conversion:
            cell.counts["conversions"] += 1
            cell.counts["revenue"] += deed.value
            totals["conversions"] += 1
            totals["revenue"] += deed.value / MILLIONTHS
    if listing.whose.experiment:
        key = VariantKey(listing.whose.experiment, listing.revision, listing.whose.variant)
        mine = found.variants.setdefault(key, list(NOBODY))
        for index, name in enumerate(TOTALS):
            mine[index] += totals[name]
        found.times[key] = max(found.times.get(key, 0.0), at)
        if listing.is_unit:
            found.units.add(key)


def _add_organic(found: Contribution, deed: LoggedAction) -> None:
    counts = found.minutes[int(deed.at // MINUTE) * MINUTE, Dimensions()].counts
    counts["organic_clicks"] += deed.is_click
    if deed.is_conversion:
        counts["organic_conversions"] += 1
        counts["organic_revenue"] += deed.value


def _add_days(found: Contribution, person: PersonLog, lists: Iterable[tuple[float, Dimensions]]) -> None:
    days: defaultdict[int, set[Dimensions]] = defaultdict(set)
    for day, whose in person.days.items():
        days[day] |= whose
    for at, one in lists:
        days[int(at // DAY)].add(one)
    for day, whose in days.items():
        for one in whose:
            counts = found.days[day * DAY, one]
            counts["visitors"] = 1
            for later in RETURN_DAYS:
                counts[f"returned_{later}"] = int(day + later in days)


def remember_days(person: PersonLog, found: Contribution) -> None:
    """Keep on which days they were there, beyond the lists of those days."""
    for start, whose in found.days:
        person.days.setdefault(start // DAY, set()).add(whose)


def _time(listing: LoggedList) -> float:
    """When a list was served; one made ahead: when it was first seen. Of one whose serving hasn't been read yet: when
    it was seen."""
    if listing.served_at is not None and not listing.is_batch:
        return listing.served_at
    seen = _first_seen(listing, BATCH_SECONDS)
    return (listing.served_at or 0.0) if seen is None else seen


def _dimensions(said: ServedList | ImpressionReport) -> Dimensions:
    return Dimensions(said.surface or "", said.strategy or "", said.experiment or "", said.variant or "")


def _places(said: ServedList | ImpressionReport, at: float, settings: InsightsSettings) -> tuple[LoggedItem, ...]:
    young = at - settings.new_item_days * DAY
    return tuple(
        LoggedItem(
            place.item_id,
            place.rank,
            place.category or "",
            place.published_at is not None and place.published_at > young,
        )
        for place in said.items or ()
    )


def _plain(one: LoggedList) -> list[Any]:
    return [
        one.served_at,
        [[rank, at] for rank, at in sorted(one.seen.items())],
        one.whole_at,
        tuple(one.whose),
        one.revision,
        one.is_batch,
        one.is_forced,
        one.is_degraded,
        one.is_unit,
        one.took,
        [tuple(place) for place in one.places],
    ]


def _logged_list(plain: list[Any]) -> LoggedList:
    served_at, seen, whole_at, whose, revision, batch, forced, degraded, unit, took, places = plain
    return LoggedList(
        served_at,
        dict(seen),
        whole_at,
        Dimensions(*whose),
        revision,
        batch,
        forced,
        degraded,
        unit,
        took,
        tuple(LoggedItem(*place) for place in places),
    )
