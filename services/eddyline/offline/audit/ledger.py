"""What the log says of people: a row for every event, compact enough to hold millions, and the few other records.

Pure: records go in, one person's entries come out. What the product would make a dead letter is counted and left out.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Container, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from eddyline.adapters.kafka import Record, partition_of
from eddyline.errors import InvalidEvent
from eddyline.model.events import (
    Erased,
    Identify,
    Interaction,
    Onboarded,
    PersonEvent,
    Shown,
    Transfer,
    parse_person_event,
    strength,
    timely,
)
from eddyline.model.ids import Person, fingerprint
from eddyline.model.passage import Passage
from eddyline.settings import Events

NOWHERE = -1
SEEN = "shown"
Place: TypeAlias = tuple[int, int]
"""Partition and offset."""


@dataclass(frozen=True, slots=True)
class Did:
    """An interaction: its item, type, signed weight, time in epoch seconds, the mark of its id, its size in bytes.

    `heard`: the key under which it counts for who someone was first, which is an anonymous id's where it names one.
    """

    item_id: str
    type: str
    weight: float
    time: float
    mark: int
    size: int
    heard: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Seen:
    """Items of lists that were served, at `time` in epoch seconds; `heard` as in `Did`."""

    items: tuple[str, ...]
    time: float
    heard: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Identified:
    """Someone anonymous turned out to be `user`."""

    user: Person
    time: float
    mark: int


@dataclass(frozen=True, slots=True)
class Transferred:
    """The copy that carries what an anonymous id was; `size` in bytes."""

    anonymous: Person
    size: int


@dataclass(frozen=True, slots=True)
class Answered:
    """Onboarding answers; `told`: there is something in them. `origin`: log, partition and offset in `users`."""

    origin: tuple[str, int, int]
    told: bool


@dataclass(frozen=True, slots=True)
class Forgotten:
    """An erasure; `twin_of`: the user whose anonymous id this is, None where it is the user."""

    twin_of: Person | None
    time: float
    origin: tuple[str, int, int]


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A copy that can't be read: a dead letter, and yet it has come, so that what follows it isn't behind a gap."""


Said: TypeAlias = Did | Seen | Identified | Transferred | Answered | Forgotten | Unreadable


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a record was passed on from (None: a log that is gone), and which one its sender names as passed on
    before it: an offset of the same partition."""

    place: Place | None
    after: int | None


@dataclass(frozen=True, slots=True)
class Entry:
    """A record of one person: where it lies, when it arrived (epoch seconds), where it was passed on from."""

    place: Place
    arrived: float
    said: Said
    origin: Origin | None


class Ledger:
    """Holds what was added, of `people` alone where that is given. Partitions' records come in the log's order.

    `partitions`: of `interactions`. `events`: what the weights are.
    """

    def __init__(self, events: Events, partitions: int, people: Container[Person] | None = None) -> None:
        self._events, self._partitions, self._wanted = events, partitions, people
        self.log: str | None = None
        """The identity of the log, once a record has told it."""
        self.records = 0
        """How many were read, everyone's."""
        self.invalid = 0
        """Of these, the ones that can't be read, or can never be applied: the product's dead letters."""
        self._people = _Names()
        self._items, self._types = _Names(), _Names()
        self._who, self._item, self._type = array("i"), array("q"), array("H")
        self._partition, self._offset = array("i"), array("q")
        self._mark, self._size = array("Q"), array("I")
        self._time, self._weight, self._arrived = array("d"), array("d"), array("d")
        self._heard, self._keys = array("i"), _Names()
        """The key that a row counts under, where it isn't the person's own."""
        self._lists = array("i")
        """The items of all lists, one after the other."""
        self._copies = _Copies()
        self._others: defaultdict[int, list[Entry]] = defaultdict(list)
        """What is no interaction, by person."""
        self._anonymous: defaultdict[Person, dict[Person, None]] = defaultdict(dict)
        self._handed: defaultdict[Person, list[tuple[Person, Place]]] = defaultdict(list)
        self._order: NDArray[np.intp] | None = None
        """Rows by person."""
        self._starts: NDArray[np.intp] | None = None

    def add(self, record: Record) -> None:
        """Note a record."""
        self.records += 1
        self.log = record.log
        try:
            event = parse_person_event(record.value)
            origin = _origin(record)
            said = self._said(event, record)
        except InvalidEvent:
            self.invalid += 1
            self._note_unreadable(record)
            return
        self._link(event, origin)
        self._note(event.person, record, said, origin)

    def home(self, person: Person) -> int:
        """The partition where the person's records belong."""
        return partition_of(person.key.encode(), self._partitions)

    def people(self) -> Iterator[Person]:
        """Everyone of whom there is a record."""
        return (Person.from_key(key) for key in self._people.names)

    def __len__(self) -> int:
        """How many people there are."""
        return len(self._people.names)

    def knows(self, person: Person) -> bool:
        """Whether there is a record of them."""
        return person.key in self._people.numbers

    def number(self, person: Person) -> int | None:
        """Which one of `people` they are; None for nobody."""
        return self._people.numbers.get(person.key)

    def anonymous_ids(self, user: Person) -> list[Person]:
        """Who was identified as this user, or handed over to them."""
        return list(self._anonymous.get(user, ()))

    def handed_over(self, anonymous: Person) -> list[tuple[Person, Place]]:
        """The users who were sent what this anonymous id was, and the place in the log that each is due to."""
        return self._handed.get(anonymous, [])

    def entries(self, person: Person) -> list[Entry]:
        """Everything under the person's key, by place."""
        who = self._people.numbers.get(person.key)
        if who is None:
            return []
        found = [self._entry(row) for row in self._rows(who)]
        return sorted((*found, *self._others.get(who, ())), key=lambda entry: entry.place)

    def _note(self, person: Person, record: Record, said: Said, origin: Origin | None) -> None:
        if self._wanted is not None and person not in self._wanted:
            return
        who = self._people.number(person.key)
        if isinstance(said, Did | Seen):
            self._append(who, record, said, origin)
        else:
            entry = Entry((record.partition, record.offset), record.timestamp / 1000, said, origin)
            self._others[who].append(entry)

    def _note_unreadable(self, record: Record) -> None:
        with suppress(InvalidEvent, ValueError):  # a header or a key of nobody's: it concerns nobody
            origin = _origin(record)
            if origin is not None:
                self._note(Person.from_key((record.key or b"").decode()), record, Unreadable(), origin)

    # -- rows ---------------------------------------------------------------------------------------------------

    def _said(self, event: PersonEvent, record: Record) -> Said:
        """Raises `InvalidEvent`."""
        arrived = record.timestamp / 1000
        if isinstance(event, Interaction | Identify):
            time, mark = timely(event.timestamp, arrived), fingerprint(event.event_id or record.place)
            if isinstance(event, Identify):
                return Identified(event.user, time, mark)
            weight = strength(event, self._events)
            return Did(event.item_id, event.type, weight, time, mark, len(record.value or b""), _heard(event))
        if isinstance(event, Shown):
            return Seen(tuple(event.items), timely(event.timestamp, arrived), _heard(event))
        if isinstance(event, Transfer):
            return Transferred(Person("a", event.anonymous_id), len(record.value or b""))
        origin = (event.origin.log, event.origin.partition, event.origin.offset)
        if isinstance(event, Onboarded):
            return Answered(origin, bool(event.vector is not None or event.segment or event.attributes))
        return Forgotten(_twin_of(event), event.timestamp, origin)

    def _link(self, event: PersonEvent, origin: Origin | None) -> None:
        """Note who became whom."""
        if isinstance(event, Identify):
            self._anonymous[event.user][event.person] = None
        elif isinstance(event, Transfer) and origin is not None and origin.place is not None:
            anonymous = Person("a", event.anonymous_id)
            self._anonymous[event.person][anonymous] = None
            self._handed[anonymous].append((event.person, origin.place))

    def _append(self, who: int, record: Record, said: Did | Seen, origin: Origin | None) -> None:
        if origin is not None:
            self._copies.add(len(self._who), origin)
        self._who.append(who)
        self._partition.append(record.partition)
        self._offset.append(record.offset)
        self._time.append(said.time)
        own = said.heard == self._people.names[who]
        self._heard.append(NOWHERE if own else self._keys.number(said.heard))
        self._arrived.append(record.timestamp / 1000)
        if isinstance(said, Did):
            self._append_did(said)
        else:
            self._append_seen(said)
        self._order = None

    def _append_did(self, did: Did) -> None:
        self._item.append(self._items.number(did.item_id))
        self._type.append(self._types.number(did.type))
        self._mark.append(did.mark)
        self._size.append(did.size)
        self._weight.append(did.weight)

    def _append_seen(self, seen: Seen) -> None:
        """Its type is one that no interaction can have, its item where its list begins, its size that list's."""
        self._item.append(len(self._lists))
        self._type.append(self._types.number(SEEN))
        self._mark.append(0)
        self._size.append(len(seen.items))
        self._weight.append(0.0)
        self._lists.extend(self._items.number(item_id) for item_id in seen.items)

    def _rows(self, who: int) -> list[int]:
        if self._order is None or self._starts is None:
            people = np.array(self._who, dtype=np.int32)
            self._order = np.argsort(people, kind="stable")
            self._starts = np.searchsorted(people[self._order], np.arange(len(self._people.names) + 1))
        if who + 1 >= len(self._starts):  # came after the last row was sorted, with no row of their own
            return []
        rows: list[int] = self._order[self._starts[who] : self._starts[who + 1]].tolist()
        return rows

    def _entry(self, row: int) -> Entry:
        place = (self._partition[row], self._offset[row])
        kind = self._types.names[self._type[row]]
        said = self._seen(row) if kind == SEEN else self._did(row, kind)
        return Entry(place, self._arrived[row], said, self._copies.origin(row))

    def _did(self, row: int, kind: str) -> Did:
        item_id = self._items.names[self._item[row]]
        mark, size = self._mark[row], self._size[row]
        return Did(item_id, kind, self._weight[row], self._time[row], mark, size, self._key(row))

    def _seen(self, row: int) -> Seen:
        start = self._item[row]
        numbers = self._lists[start : start + self._size[row]]
        return Seen(tuple(self._items.names[number] for number in numbers), self._time[row], self._key(row))

    def _key(self, row: int) -> str:
        other = self._heard[row]
        return self._people.names[self._who[row]] if other == NOWHERE else self._keys.names[other]


class _Copies:
    """The rows that were passed on, with their origins."""

    def __init__(self) -> None:
        self._row, self._partition = array("q"), array("i")
        self._offset, self._after = array("q"), array("q")

    def add(self, row: int, origin: Origin) -> None:
        """Note where a row came from; rows come in order."""
        partition, offset = origin.place or (NOWHERE, NOWHERE)
        self._row.append(row)
        self._partition.append(partition)
        self._offset.append(offset)
        self._after.append(NOWHERE if origin.after is None else origin.after)

    def origin(self, row: int) -> Origin | None:
        """None for a row that came from its author."""
        at = bisect_left(self._row, row)
        if at == len(self._row) or self._row[at] != row:
            return None
        place = (self._partition[at], self._offset[at])
        return Origin(None if place[0] == NOWHERE else place, None if self._after[at] == NOWHERE else self._after[at])


class _Names:
    """Numbers for strings, in the order of their coming."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.numbers: dict[str, int] = {}

    def number(self, name: str) -> int:
        """The number of a name."""
        number = self.numbers.setdefault(name, len(self.names))
        if number == len(self.names):
            self.names.append(name)
        return number


def _origin(record: Record) -> Origin | None:
    """Raises `InvalidEvent`."""
    passage = Passage.of(record.headers)
    if passage is None:
        return None
    return Origin((passage.partition, passage.offset) if passage.log == record.log else None, passage.after)


def _heard(event: Interaction | Shown) -> str:
    return event.person.key if event.anonymous_id is None else Person("a", event.anonymous_id).key


def _twin_of(event: Erased) -> Person | None:
    return None if event.anonymous_id is None else Person("u", event.user_id)
