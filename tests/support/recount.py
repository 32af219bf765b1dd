"""Counting a log anew, in one go and by the words of docs/insights.md: what the windows' sums must equal."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from eddyline.insights.rows import SECONDS, Cell, CellKey, Dimensions, Size, VariantKey
from eddyline.model.events import parse_timestamp
from eddyline.settings import InsightsSettings


@dataclass
class Recount:
    """Sums by cell; exact sets of people and items by cell; totals by variant and person."""

    counts: defaultdict[CellKey, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    shown: defaultdict[CellKey, Counter[int]] = field(default_factory=lambda: defaultdict(Counter))
    clicked: defaultdict[CellKey, Counter[int]] = field(default_factory=lambda: defaultdict(Counter))
    people: defaultdict[CellKey, set[str]] = field(default_factory=lambda: defaultdict(set))
    items: defaultdict[CellKey, set[str]] = field(default_factory=lambda: defaultdict(set))
    totals: defaultdict[VariantKey, defaultdict[str, Counter[str]]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(Counter))
    )

    def assert_equal(self, cells: Mapping[CellKey, Cell]) -> None:
        """Fail where a cell isn't what was counted."""
        for key in cells.keys() | self.counts.keys():
            cell = cells.get(key, Cell())
            assert +cell.counts == +self.counts[key], key
            assert +cell.shown == +self.shown[key], key
            assert +cell.clicked == +self.clicked[key], key
            assert round(cell.people.estimate) == len(self.people[key]), key
            assert round(cell.items.estimate) == len(self.items[key]), key


def recount(log: Sequence[tuple[str, bytes | None, float]], settings: InsightsSettings) -> Recount:
    """`log`: (topic, value, the broker's time in epoch seconds) of every record."""
    lists: dict[tuple[str, str], dict[str, Any]] = {}
    seen: dict[tuple[str, str], list[tuple[float, list[int] | None]]] = defaultdict(list)
    deeds: dict[tuple[str, ...], dict[str, Any]] = {}
    for number, (topic, value, arrived) in enumerate(log):
        said = orjson.loads(value or b"{}")
        at = min(parse_timestamp(said["timestamp"]), arrived)
        if arrived - at > settings.lateness_minutes * 60:
            continue
        person = f"u:{said['user_id']}" if "user_id" in said else f"a:{said['anonymous_id']}"
        if topic == "interactions":
            if said["type"] in (*settings.clicks, *settings.conversions) or "dwell_ms" in said:
                deed_id = (person, said["event_id"], said["type"], said["item_id"])
                deeds.setdefault(deed_id, said | {"at": at, "person": person})
        elif said["type"] == "served":
            lists.setdefault((person, said["request_id"]), said | {"at": at, "number": number})
        elif "items" in said:
            lists.setdefault((person, said["request_id"]), said | {"at": at, "number": number})
            seen[person, said["request_id"]].append((at, [place["rank"] for place in said["items"]]))
        else:
            seen[person, said["request_id"]].append((at, said.get("positions")))
    window = settings.attribution_hours * 3600
    by_list: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    loose = []
    for deed in deeds.values():
        name = (deed["person"], deed.get("request_id", ""))
        one = lists.get(name)
        if one is not None and any(place["item_id"] == deed["item_id"] for place in one["items"]):
            opened_at = [at for at, _ in seen[name] if at <= one["at"] + 7 * 86_400]
            made = min(opened_at, default=one["at"]) if one.get("batch") else one["at"]
            if -3600 <= deed["at"] - made <= (7 * 86_400 if one.get("batch") else window):
                by_list[name].append(deed)
                continue
        loose.append(deed)
    counted: dict[tuple[str, str], tuple[dict[str, Any], float, list[dict[str, Any]]]] = {}
    for name, one in lists.items():
        at = one["at"]
        latest = at + (7 * 86_400 if one.get("batch") else window)
        if one.get("batch"):
            opened = [time for time, _ in seen[name] if time <= latest] or [deed["at"] for deed in by_list[name]]
            if not opened:
                continue
            at = min(opened)
        told = [positions for time, positions in seen[name] if time <= latest]
        ranks = {place["rank"] for place in one["items"]}
        if told and None not in told:
            clicked = {deed["item_id"] for deed in by_list[name]}
            ranks &= {rank for positions in told for rank in positions or ()}
            ranks |= {place["rank"] for place in one["items"] if place["item_id"] in clicked}
        counted[name] = one, at, [place for place in one["items"] if place["rank"] in ranks]
    result = Recount()
    for deed in loose:
        found = [
            (at, one["number"], name[1])
            for name, (one, at, shown) in counted.items()
            if name[0] == deed["person"]
            and deed["at"] - window <= at <= deed["at"]
            and any(place["item_id"] == deed["item_id"] for place in shown)
        ]
        if found:
            by_list[deed["person"], max(found)[2]].append(deed)
        else:
            _add_loose(result, deed, settings)
    days: dict[str, dict[int, set[Dimensions]]] = defaultdict(lambda: defaultdict(set))
    for name, (one, at, shown) in counted.items():
        if not one.get("forced"):
            _add_list(result, name[0], one, at, shown, by_list[name], settings)
            days[name[0]][int(at // 86_400)].add(_whose(one))
    for presence in days.values():
        for day, whose in presence.items():
            for each in whose:
                counts = result.counts[CellKey("day", day * 86_400, each)]
                counts["visitors"] += 1
                counts["returned_1"] += day + 1 in presence
                counts["returned_7"] += day + 7 in presence
    return result


def _whose(one: dict[str, Any], category: str = "") -> Dimensions:
    return Dimensions(
        one.get("surface", ""), one.get("strategy", ""), one.get("experiment", ""), one.get("variant", ""), category
    )


def _keys(at: float, whose: Dimensions) -> list[CellKey]:
    sizes: list[Size] = ["minute", "hour", "day"]
    return [CellKey(size, int(at // SECONDS[size]) * SECONDS[size], whose) for size in sizes]


def _add_loose(result: Recount, deed: dict[str, Any], settings: InsightsSettings) -> None:
    for key in _keys(deed["at"], Dimensions()):
        result.counts[key]["organic_clicks"] += deed["type"] in settings.clicks
        if deed["type"] in settings.conversions:
            result.counts[key]["organic_conversions"] += 1
            result.counts[key]["organic_revenue"] += round(deed.get("value", 0) * 1_000_000)


def _add_list(
    result: Recount,
    person: str,
    one: dict[str, Any],
    at: float,
    shown: list[dict[str, Any]],
    deeds: list[dict[str, Any]],
    settings: InsightsSettings,
) -> None:
    mine = {place["item_id"]: place for place in reversed(one["items"])}
    clicked = {deed["item_id"] for deed in deeds if deed["type"] in settings.clicks}
    whole = Counter(requests=1, empty=int(not one["items"]), degraded=int(one.get("degraded", False)))
    for key in _keys(at, _whose(one)):
        result.counts[key].update(whole)
        result.people[key].add(person)
    for place in mine.values():
        for key in _keys(at, _whose(one, place.get("category", ""))):
            result.people[key].add(person)
            result.items[key].add(place["item_id"])
            result.counts[key]["served"] += 1
            if place in shown:
                result.counts[key]["impressions"] += 1
                result.shown[key][place["rank"]] += 1
            if place["item_id"] in clicked:
                result.counts[key]["clicks"] += 1
                result.clicked[key][place["rank"]] += 1
    for deed in deeds:
        for key in _keys(at, _whose(one, mine[deed["item_id"]].get("category", ""))):
            counts = result.counts[key]
            if "dwell_ms" in deed:
                counts["dwells"] += 1
                counts["dwell_ms"] += round(deed["dwell_ms"])
            if deed["type"] in settings.conversions:
                counts["conversions"] += 1
                counts["revenue"] += round(deed.get("value", 0) * 1_000_000)
    if "experiment" in one:
        variant = VariantKey(one["experiment"], one.get("revision", ""), one.get("variant", ""))
        totals = result.totals[variant][person]
        totals["requests"] += 1
        totals["impressions"] += sum(place in shown for place in mine.values())
        totals["clicks"] += len(clicked)
