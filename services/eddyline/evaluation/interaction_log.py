"""A log as it is evaluated: its items, its people, and everything they did, in the order of its times."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from eddyline.clients.lines import SourceLine
from eddyline.clients.sources import Source
from eddyline.errors import InvalidEvent, InvalidInput
from eddyline.model.decay import HOUR
from eddyline.model.events import Content, Interaction, User, WireModel, interaction_weight, validate_event
from eddyline.model.ids import Person
from eddyline.settings import RESERVED_EVENT_TYPES, EventSettings

IMPRESSION = "impression"
VISIT_GAP = HOUR
"""A pause of at least this many seconds ends a visit."""

UNKNOWN_ITEM = "on unknown items"
REPEATED = "repeated (the same event_id)"
IDENTIFY = "not what someone did (such as identify: anonymous ids stay people of their own)"


class LoggedInteraction(NamedTuple):
    """What someone did: `person` and `item` are places in the log's lists, `time` is in epoch seconds."""

    person: int
    item: int
    type: str
    weight: float
    time: float
    event_id: str


@dataclass(frozen=True, slots=True)
class InteractionLog:
    """`events` are in the order of their times, equal ones in the order of the files.

    `left_out` counts the lines that are no part of it, by the reason; `answers` are the onboarding records by person.
    """

    name: str
    fingerprint: str
    items: tuple[Content, ...]
    people: tuple[Person, ...]
    events: tuple[LoggedInteraction, ...]
    answers: Mapping[int, User] = field(default_factory=dict)
    left_out: Mapping[str, int] = field(default_factory=dict)

    def position(self, share: float) -> int:
        """Count the events in the first `share` (0…1) of the log."""
        return round(len(self.events) * share)

    def first(self, count: int) -> InteractionLog:
        """Cut the log after `count` events: what comes later isn't in it at all."""
        return replace(self, events=self.events[:count])

    def shuffled(self, seed: int) -> InteractionLog:
        """Permute what was done inside each visit, the times staying where they are.

        Many logs list what was on one page within seconds, in the page's order. Whoever beats popularity on a log
        shuffled this way has learnt more than that order.
        """
        events, random = list(self.events), np.random.default_rng(seed)
        for visit in self.visits():
            for place, origin in zip(visit, random.permutation(np.asarray(visit)).tolist(), strict=True):
                events[place] = self.events[origin]._replace(time=self.events[place].time)
        return replace(self, events=tuple(events))

    def visits(self) -> list[list[int]]:
        """List the places of each person's events, cut where a pause is `VISIT_GAP` or longer; without impressions."""
        last: dict[int, float] = {}
        open_visits: dict[int, list[int]] = {}
        visits: list[list[int]] = []
        for place, event in enumerate(self.events):
            if event.type == IMPRESSION:
                continue
            if event.time - last.get(event.person, -np.inf) >= VISIT_GAP:
                open_visits[event.person] = []
                visits.append(open_visits[event.person])
            open_visits[event.person].append(place)
            last[event.person] = event.time
        return visits


@dataclass(frozen=True, slots=True)
class PriorCounts:
    """Counts of what was there before each event, without impressions.

    `of_person`, `of_item`: how many events. `pause`: seconds since the person's last one, infinite before the first.
    `is_repeat`: the person had done something with the item already.
    """

    of_person: NDArray[np.int64]
    of_item: NDArray[np.int64]
    pause: NDArray[np.float64]
    is_repeat: NDArray[np.bool_]

    @classmethod
    def before_each(cls, events: Sequence[LoggedInteraction]) -> PriorCounts:
        """Count in one pass, in the order given."""
        people: Counter[int] = Counter()
        items: Counter[int] = Counter()
        last: dict[int, float] = {}
        seen: defaultdict[int, set[int]] = defaultdict(set)
        rows = np.empty((len(events), 4), dtype=np.float64)
        for row, event in zip(rows, events, strict=True):
            known = seen[event.person]
            pause = event.time - last.get(event.person, -np.inf)
            row[:] = people[event.person], items[event.item], pause, event.item in known
            if event.type != IMPRESSION:
                people[event.person] += 1
                items[event.item] += 1
                last[event.person] = event.time
                known.add(event.item)
        return cls(rows[:, 0].astype(np.int64), rows[:, 1].astype(np.int64), rows[:, 2], rows[:, 3].astype(np.bool_))


@dataclass(frozen=True, slots=True)
class ItemCounts:
    """Counts of each item's events before any place of the log, without impressions. `keys`: item * span + place."""

    places: NDArray[np.int64]
    keys: NDArray[np.int64]
    span: int

    @classmethod
    def from_events(cls, events: Sequence[LoggedInteraction]) -> ItemCounts:
        """Index them by item."""
        is_counted = np.array([event.type != IMPRESSION for event in events], dtype=np.bool_)
        places, span = np.flatnonzero(is_counted), len(events) + 1
        items = np.array([event.item for event in events], dtype=np.int64)
        return cls(places, np.sort(items[places] * span + places), span)

    def before(self, items: NDArray[np.int32], places: NDArray[np.int64]) -> NDArray[np.int64]:
        """Count the events of each item (requests, k) before the place of its request (requests)."""
        begins = items.astype(np.int64) * self.span
        found = np.searchsorted(self.keys, begins + places[:, np.newaxis]) - np.searchsorted(self.keys, begins)
        return np.asarray(found, dtype=np.int64)

    def all_before(self, places: NDArray[np.int64]) -> NDArray[np.int64]:
        """Count the events of all items before each place."""
        return np.asarray(np.searchsorted(self.places, places), dtype=np.int64)


def read(source: Source, settings: EventSettings) -> InteractionLog:
    """Read all of a source. Raises `InvalidInput` naming the line, or saying what the log lacks."""
    for refused in source.refused():
        raise InvalidInput(str(refused), "path")
    items = {item.item_id: item for _, item in _parsed(source.items(), Content)}
    if not items:
        raise InvalidInput(f"{source.name} has no items: a log is evaluated with the items that its events are on")
    places = {item_id: place for place, item_id in enumerate(items)}
    people: dict[Person, int] = {}
    left_out: Counter[str] = Counter({f"by --skip {pattern}": count for pattern, count in source.skipped().items()})
    events = list(_events(source, settings, places, people, left_out))
    if not events:
        unknown = f" ({left_out[UNKNOWN_ITEM]:,} are on items it doesn't have)" if left_out[UNKNOWN_ITEM] else ""
        raise InvalidInput(f"{source.name} has no events to evaluate{unknown}")
    events.sort(key=lambda event: event.time)
    answers = {Person("u", user.user_id): user for _, user in _parsed(source.users(), User)}
    return InteractionLog(
        name=source.name,
        fingerprint=source.fingerprint,
        items=tuple(items.values()),
        people=tuple(people),
        events=tuple(events),
        answers={people[person]: user for person, user in answers.items() if person in people},
        left_out=dict(left_out),
    )


def _events(
    source: Source, settings: EventSettings, items: Mapping[str, int], people: dict[Person, int], left_out: Counter[str]
) -> Iterator[LoggedInteraction]:
    """Yield events in the order of the files; `people` and `left_out` are filled on the way."""
    known: set[str] = set()
    for line in source.events():
        if line.value.get("type") in RESERVED_EVENT_TYPES:
            left_out[IDENTIFY] += 1
            continue
        event = _valid(line, Interaction)
        weight = _weight(line, event, settings)
        if event.timestamp is None:
            raise InvalidInput(f"{line.where}: is needed: a log is evaluated in the order of its times", "timestamp")
        if event.scoped_id(line.where) in known:
            left_out[REPEATED] += 1
        elif event.item_id not in items:
            left_out[UNKNOWN_ITEM] += 1
        else:
            name = event.event_id or line.where
            known.add(event.scoped_id(line.where))
            person = people.setdefault(event.person, len(people))
            yield LoggedInteraction(person, items[event.item_id], event.type, weight, event.timestamp, name)


Model = TypeVar("Model", bound=WireModel)


def _parsed(lines: Iterator[SourceLine], model: type[Model]) -> Iterator[tuple[str, Model]]:
    return ((line.where, _valid(line, model)) for line in lines)


def _valid(line: SourceLine, model: type[Model]) -> Model:
    try:
        return validate_event(model, line.value)
    except InvalidEvent as error:
        raise InvalidInput(f"{line.where}: {error.reason}", error.field) from None


def _weight(line: SourceLine, event: Interaction, settings: EventSettings) -> float:
    try:
        return interaction_weight(event, settings)
    except InvalidEvent as error:
        raise InvalidInput(f"{line.where}: {error.reason}", error.field) from None
