"""After the storm: profiles, dead letters and activity, compared with what must be."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import orjson
from tests.chaos.load import read
from tests.chaos.truth import DAY, Expected, Place, Truth, newest, sum_of
from tests.services.learning import restored
from tests.support.poison import BROKEN, FAILED, INVALID
from tests.support.stored_profile import open_payload

from eddyline.adapters.kafka import LogReader, Record
from eddyline.adapters.vectors import Collections, Point, VectorStore, scroll_pages
from eddyline.maintenance.audit import audit
from eddyline.model import affinity
from eddyline.model.events import Activity, parse_row_event
from eddyline.model.ids import Person, person_point_id
from eddyline.settings import AffinitySettings, ProfileSettings, Settings
from eddyline.topics import DEAD_LETTER_SUFFIX, TOPIC_SPECS

TOLERANCE = 1e-5
"""Of an accumulator's weight: what float32 may lose."""
DLQ = "eddyline-dlq-"


@dataclass
class Findings:
    """`lost` and `doubled`: events too few and too many, person by person. `difference`: the largest of a sum's
    components, as a share of the tolerance. `problems`: everything that isn't as it must be, in words."""

    folded: int = 0
    lost: int = 0
    doubled: int = 0
    difference: float = 0.0
    problems: list[str] = field(default_factory=list)


def check(
    truth: Truth, store: VectorStore, collections: Collections, log: LogReader, settings: ProfileSettings
) -> Findings:
    """Everything: by the truth, which knows what was meant, and by `eddyline audit`, which knows the log alone."""
    findings = Findings()
    points = {point.id: point for point in _all(store, collections.profiles)}
    for key, expected in truth.people.items():
        _check_person(key, expected, points.pop(person_point_id(Person.from_key(key)), None), findings, settings)
    findings.problems += [f"a profile of nobody: {dict(point.payload)}" for point in points.values()]
    findings.problems += _check_letters(truth, log)
    findings.problems += _check_activity(truth, log)
    findings.problems += _check_rows(truth, store, collections.rows, log)
    findings.problems += _check_audit(store, collections, log, settings)
    return findings


def _all(store: VectorStore, collection: str) -> Iterable[Point]:
    after: str | None = None
    while True:
        page, after = store.scroll(collection, after=after)
        yield from page
        if after is None:
            return


# -- profiles -------------------------------------------------------------------------------------------------------


def _check_person(
    key: str, expected: Expected, point: Point | None, findings: Findings, settings: ProfileSettings
) -> None:
    payload: Mapping[str, Any] = point.payload if point is not None else {}
    events = payload.get("events", 0)
    least, most = len(expected.interactions), len(expected.interactions) + len(expected.uncertain)
    findings.folded += events
    findings.lost += max(0, least - events)
    findings.doubled += max(0, events - most)

    def wrong(what: str, found: object, wanted: object) -> None:
        if found != wanted:
            findings.problems.append(f"{key}: {what} is {found!r:.300}, must be {wanted!r:.300}")

    if not least <= events <= most:
        wrong("events", events, least)
    wrong("forward", payload.get("forward"), expected.forward)
    wrong("waiting", payload.get("waiting"), None)
    if point is None or expected.uncertain:
        return
    opened = open_payload(payload)
    state, vectors = opened["state"], opened["vectors"]
    interactions = expected.interactions
    wrong("last_seen", payload["last_seen"], max((interaction.at for interaction in interactions), default=0.0))
    wrong(
        "evidence", round(state["evidence"], 6), round(sum(abs(interaction.weight) for interaction in interactions), 6)
    )
    sets = {
        "recents": (settings.recents, [d for d in interactions if d.weight > 0]),
        "viewed": (settings.seen, [d for d in interactions if d.type != "impression"]),
        "purchased": (settings.seen, [d for d in interactions if d.type == "purchase"]),
        "disliked": (settings.seen, [d for d in interactions if d.type in ("dislike", "rating") and d.weight < 0]),
        "liked": (settings.seen, [d for d in interactions if d.weight > 0 and d.type not in ("click", "view")]),
    }
    for name, (size, counted) in sets.items():
        places = state["places"][name]
        wrong(name, {item: (time, places[item]) for item, time in state[name].items()}, newest(counted, size))
    for name, half_life in _half_lives(settings).items():
        _check_sum(key, name, expected, half_life, state[name], vectors.get(name), findings)


def _half_lives(settings: ProfileSettings) -> dict[str, float]:
    """In seconds."""
    return {
        "taste": settings.taste_half_life_days * DAY,
        "session": settings.session_half_life_minutes * 60.0,
        "lifetime": settings.lifetime_half_life_days * DAY,
    }


def _check_sum(
    key: str, name: str, expected: Expected, half_life: float, stored: list[float], vector: Any, findings: Findings
) -> None:
    weight, time = stored
    wanted = sum_of(expected.interactions, half_life)
    if wanted is None:
        if weight != 0 or vector is not None:
            findings.problems.append(f"{key}: {name} weighs {weight}, must be empty")
        return
    if abs(time - wanted.time) > 1e-6 or vector is None:
        findings.problems.append(f"{key}: {name} is of {time}, must be of {wanted.time}")
        return
    off = max(float(np.max(np.abs(np.asarray(vector, dtype=np.float64) - wanted.vector))), abs(weight - wanted.weight))
    share = off / (TOLERANCE * wanted.weight)
    findings.difference = max(findings.difference, share)
    if share > 1:
        findings.problems.append(f"{key}: {name} is off by {off:.3g} of a weight of {wanted.weight:.3g}")


def _check_audit(
    store: VectorStore, collections: Collections, log: LogReader, settings: ProfileSettings
) -> Iterable[str]:
    report = audit(log, store, Settings(profile=settings), collections=collections)
    # Its replay has no fail points: whose record broke the handler is missing to it.
    yield from (f"audit: {difference}" for difference in report.differences if difference.person != BROKEN)
    yield from (f"audit lists apart: {apart}" for apart in report.apart)
    if report.older:
        yield f"audit leaves out {report.older} who are older than the log"


# -- dead letters -----------------------------------------------------------------------------------------------------


def dead_letters(log: LogReader) -> Iterator[tuple[Place, str, Record]]:
    """All of every topic: the place of the record, the reason, and the letter."""
    for topic in TOPIC_SPECS:
        if topic.endswith(DEAD_LETTER_SUFFIX):
            for letter in read(log, topic):
                why = {name.removeprefix(DLQ): value for name, value in letter.headers if name.startswith(DLQ)}
                place = why["topic"].decode(), int(why["partition"]), int(why["offset"])
                yield place, why["reason"].decode(), letter


def _check_letters(truth: Truth, log: LogReader) -> Iterable[str]:
    poison, never = dict(truth.poison), set(truth.never)
    for place, reason, letter in dead_letters(log):
        if reason in (INVALID, FAILED):
            meant = truth.poison.get(place)
            if meant is None:
                yield f"a dead letter that is no poison: {place} {reason} {letter.value!r:.200}"
            elif (letter.key or None, letter.value, reason) != (meant.key or None, meant.value, meant.reason):
                yield f"a dead letter that isn't what came: {place} {reason} {letter!r:.300}, {meant!r:.300}"
            poison.pop(place, None)
        else:
            event_id = orjson.loads(letter.value or b"{}").get("event_id")
            if place[0] != "interactions" or event_id not in truth.never | truth.maybe_dead:
                yield f"a dead letter that should have been folded: {place} {reason} {letter.value!r:.200}"
            never.discard(event_id)
    yield from (f"poison that is no dead letter: {place} {meant!r:.300}" for place, meant in poison.items())
    yield from (f"waited for an item that never came, and is no dead letter: {event_id}" for event_id in never)


# -- activity ---------------------------------------------------------------------------------------------------------


def _activity(truth: Truth, log: LogReader) -> Iterable[Record]:
    """What isn't poison of it."""
    return (one for one in read(log, "activity") if (one.topic, one.partition, one.offset) not in truth.poison)


def _check_activity(truth: Truth, log: LogReader) -> Iterable[str]:
    sources: defaultdict[str, set[str]] = defaultdict(set)
    for record in _activity(truth, log):
        activity = orjson.loads(record.value or b"{}")
        if "source" in activity:
            sources[activity["item_id"]].add(activity["source"])
    bounds = truth.activity()
    for item in sources.keys() | bounds.keys():
        least, most = bounds.get(item, (0, 0))
        if not least <= len(sources[item]) <= most:
            yield f"{item}: {len(sources[item])} activities, must be {least} to {most}"
    owners = Counter(source for each in sources.values() for source in each)
    yield from (f"{source} is the source of activity of several items" for source, n in owners.items() if n > 1)


def _check_rows(truth: Truth, store: VectorStore, rows: str, log: LogReader) -> Iterable[str]:
    """Each row is what the log of `activity` says, each source counted once."""
    told: defaultdict[str, dict[str, Activity]] = defaultdict(dict)
    for record in _activity(truth, log):
        event = parse_row_event(record.value)
        if isinstance(event, Activity):
            told[event.item_id].setdefault(event.source, event)
    points = {point.payload["item_id"]: point for point in _all_rows(store, rows)}
    for item, events in told.items():
        point = points.get(item)
        if point is None:
            yield f"{item}: no row, though it came {len(events)} times"
            continue
        counted = (point.payload.get("trend") or {}).get("count", 0)
        if counted != len(events):
            yield f"{item}: its row has counted {counted}, the log has {len(events)}"
        updates = [affinity.forward_update(event.dimensions, event.timestamp) for event in events.values()]
        expected = affinity.merge([affinity.NO_ROW, *updates], AffinitySettings())
        found = restored(point)
        mine = dict(zip(found.indices.tolist(), found.weights.tolist(), strict=True))
        wanted = dict(zip(expected.indices.tolist(), expected.weights.tolist(), strict=True))
        if mine.keys() != wanted.keys() or any(
            abs(mine[key] - weight) > 1e-4 * weight for key, weight in wanted.items()
        ):
            yield f"{item}: its row isn't what the log says: {len(mine)} entries, must be {len(wanted)}"


def _all_rows(store: VectorStore, rows: str) -> Iterable[Point]:
    for page in scroll_pages(store, rows, vectors=("affinity",)):
        yield from page
