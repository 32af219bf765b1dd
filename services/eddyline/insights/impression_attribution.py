"""What a person's lists and actions add to the measures: which list an action belongs to, and which of a list's items
count as seen. Pure.

An action belongs to the list that it names, where that has the item and is at most the attribution window older; else
to the last list before it, within that window, in which the item was seen; else to none: it is organic. Of lists of the
same time, the last is the one that comes last in the log.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from eddyline.insights.moments import NOBODY, TOTALS
from eddyline.insights.person_log import BATCH_SECONDS, SKEW_SECONDS, LoggedAction, LoggedList, PersonLog
from eddyline.insights.rows import (
    DAY,
    MILLIONTHS,
    RETURN_DAYS,
    CellAddition,
    CellKey,
    Dimensions,
    VariantKey,
    window_start,
)
from eddyline.model.placed_time import UNPLACED
from eddyline.settings import InsightsSettings

MEASURED_POSITIONS = 20
"""Positions of a list that are measured one by one."""


@dataclass(slots=True)
class Contribution:
    """What someone adds to the measures. `cells`: to the minutes of their lists, from which coarser windows are
    summed, and to days, of which they are a visitor. `totals`: by variant, in the order of `TOTALS`."""

    cells: defaultdict[CellKey, CellAddition] = field(default_factory=lambda: defaultdict(CellAddition))
    totals: dict[VariantKey, tuple[float, ...]] = field(default_factory=dict)
    times: dict[VariantKey, float] = field(default_factory=dict)
    """Time of the newest list, by variant, in epoch seconds."""
    units: set[VariantKey] = field(default_factory=set)
    """The variants to which they were assigned by their own key."""

    def minute(self, at: float, dimensions: Dimensions) -> CellAddition:
        """What is added to the minute of a time."""
        return self.cells[CellKey("minute", window_start(at, "minute"), dimensions)]


@dataclass(slots=True)
class _CountedList:
    """A list that counts, from the time `at` on: the ranks that were seen, and the actions that belong to it."""

    logged: LoggedList
    at: float
    seen: set[int]
    actions: list[LoggedAction]


def measure_contribution(person: str, log: PersonLog, settings: InsightsSettings) -> Contribution:
    """Compute what the lists and actions that are kept of a person (by their typed key) add to the measures."""
    window = settings.attribution_hours * 3600
    named, unnamed = _by_named_list(log, window)
    lists = {
        name: _CountedList(logged, _opened_at(logged, named[name]), _seen(logged, window, named[name]), named[name])
        for name, logged in log.lists.items()
        if _is_counted(logged, named[name])
    }
    found = Contribution()
    showing = _by_seen_item(lists)
    for action in unnamed:
        name = _last_before(showing.get(action.item_id, ()), action.at, window)
        if name is None:
            _add_organic(found, action)
        else:
            lists[name].actions.append(action)
    measured = [counted for counted in lists.values() if not counted.logged.is_forced]
    for counted in measured:
        _add_list(found, person, counted)
    _add_days(found, log, measured)
    return found


def remember_days(log: PersonLog, found: Contribution) -> None:
    """Keep on which days someone was there, beyond the lists of those days."""
    for key in found.cells:
        if key.size == "day":
            log.days.setdefault(key.start // DAY, set()).add(key.dimensions)


# -- which list an action belongs to ------------------------------------------------------------------------------


def _by_named_list(log: PersonLog, window: float) -> tuple[defaultdict[str, list[LoggedAction]], list[LoggedAction]]:
    """Actions by the list that they name, and those that name none to which they can belong."""
    named: defaultdict[str, list[LoggedAction]] = defaultdict(list)
    unnamed = []
    for action in log.actions.values():
        logged = None if action.request_id is None else log.lists.get(action.request_id)
        if (
            logged is not None
            and logged.served_at is not None
            and -SKEW_SECONDS <= action.at - logged.time <= (BATCH_SECONDS if logged.is_batch else window)
            and any(item.item_id == action.item_id for item in logged.items)
        ):
            named[str(action.request_id)].append(action)
        else:
            unnamed.append(action)
    return named, unnamed


def _by_seen_item(lists: dict[str, _CountedList]) -> dict[str, list[tuple[float, int, str]]]:
    """The lists in which each item was seen: their times, places and request ids."""
    found: defaultdict[str, list[tuple[float, int, str]]] = defaultdict(list)
    for name, counted in lists.items():
        for item in counted.logged.items:
            if item.rank in counted.seen:
                found[item.item_id].append((counted.at, counted.logged.place, name))
    return found


def _last_before(lists: Iterable[tuple[float, int, str]], at: float, window: float) -> str | None:
    return max((one for one in lists if at - window <= one[0] <= at), default=(0.0, UNPLACED, None))[2]


# -- which lists count, and what was seen of them -----------------------------------------------------------------


def _is_counted(logged: LoggedList, actions: Collection[LoggedAction]) -> bool:
    """Whether a list was served, and opened where it was made ahead."""
    return logged.served_at is not None and (not logged.is_batch or bool(actions) or logged.first_seen() is not None)


def _opened_at(logged: LoggedList, actions: Iterable[LoggedAction]) -> float:
    """When a list counts: when it was served, or, made ahead, when it was first seen or else clicked."""
    if not logged.is_batch:
        return logged.time
    seen = logged.first_seen()
    return min((action.at for action in actions), default=logged.time) if seen is None else seen


def _seen(logged: LoggedList, window: float, actions: Iterable[LoggedAction]) -> set[int]:
    """The ranks that were seen: as the app reports within the window, and what was acted on; else all."""
    every = {item.rank for item in logged.items}
    latest = (logged.served_at or 0.0) + (BATCH_SECONDS if logged.is_batch else window)
    reported = {rank for rank, time in logged.seen.items() if time <= latest}
    is_whole = logged.whole_at is not None and logged.whole_at <= latest
    if is_whole or not reported:
        return every
    acted_on = {action.item_id for action in actions}
    return (reported & every) | {item.rank for item in logged.items if item.item_id in acted_on}


# -- what they add ------------------------------------------------------------------------------------------------


def _add_list(found: Contribution, person: str, counted: _CountedList) -> None:
    logged, dimensions = counted.logged, counted.logged.dimensions
    totals = dict.fromkeys(TOTALS, 0.0) | {"requests": 1.0}
    whole = found.minute(counted.at, dimensions)
    whole.people.add(person)
    whole.counts["requests"] += 1
    whole.counts["empty"] += not logged.items
    whole.counts["degraded"] += logged.is_degraded
    if logged.took is not None:
        whole.took[logged.took] += 1
    item_of = {item.item_id: item for item in reversed(logged.items)}
    for item in item_of.values():
        cell = found.minute(counted.at, dimensions._replace(category=item.category))
        cell.people.add(person)
        cell.items.add(item.item_id)
        cell.counts["served"] += 1
        if item.rank in counted.seen:
            cell.counts["impressions"] += 1
            cell.counts["new_items"] += item.is_new
            totals["impressions"] += 1
            if item.rank <= MEASURED_POSITIONS:
                cell.shown[item.rank] += 1
    clicked = set()
    for action in counted.actions:
        item = item_of[action.item_id]
        cell = found.minute(counted.at, dimensions._replace(category=item.category))
        if action.is_click and action.item_id not in clicked:
            clicked.add(action.item_id)
            cell.counts["clicks"] += 1
            totals["clicks"] += 1
            if item.rank <= MEASURED_POSITIONS:
                cell.clicked[item.rank] += 1
        if action.dwell_ms is not None:
            cell.counts["dwells"] += 1
            cell.counts["dwell_ms"] += action.dwell_ms
            totals["dwells"] += 1
            totals["dwell_ms"] += action.dwell_ms
        if action.is_conversion:
            cell.counts["conversions"] += 1
            cell.counts["revenue"] += action.value
            totals["conversions"] += 1
            totals["revenue"] += action.value / MILLIONTHS
    if dimensions.experiment:
        key = VariantKey(dimensions.experiment, logged.revision, dimensions.variant)
        sums = zip(found.totals.get(key, NOBODY), totals.values(), strict=True)
        found.totals[key] = tuple(known + more for known, more in sums)
        found.times[key] = max(found.times.get(key, 0.0), counted.at)
        if logged.is_unit:
            found.units.add(key)


def _add_organic(found: Contribution, action: LoggedAction) -> None:
    counts = found.minute(action.at, Dimensions()).counts
    counts["organic_clicks"] += action.is_click
    if action.is_conversion:
        counts["organic_conversions"] += 1
        counts["organic_revenue"] += action.value


def _add_days(found: Contribution, log: PersonLog, lists: Iterable[_CountedList]) -> None:
    days: defaultdict[int, set[Dimensions]] = defaultdict(set)
    for day, known in log.days.items():
        days[day] |= known
    for counted in lists:
        days[int(counted.at // DAY)].add(counted.logged.dimensions)
    for day, known in days.items():
        for dimensions in known:
            counts = found.cells[CellKey("day", day * DAY, dimensions)].counts
            counts["visitors"] = 1
            for later in RETURN_DAYS:
                counts[f"returned_{later}"] = int(day + later in days)
