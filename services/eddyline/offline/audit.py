"""Audit: every profile worked out anew from the log, and compared with what is stored.

The log is read first and the profiles after it, while profilers may go on: a profile is compared as of its own
watermark, or of what its group has committed, whichever is later; where that lies beyond what was read, more is read.
"""

from __future__ import annotations

import heapq
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import islice
from typing import Any, Protocol, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from eddyline.adapters.kafka import Position, Record, Watermarks
from eddyline.adapters.vectors import Collections, Payload, Point, Sparse, VectorStore
from eddyline.errors import InvalidEvent
from eddyline.model.events import Identify, Transfer, parse_person_event
from eddyline.model.ids import Person, item_point, person_point
from eddyline.model.profile import STORED_VECTORS, Profile
from eddyline.offline.comparison import Comparison, Difference, compare
from eddyline.offline.ledger import Ledger
from eddyline.offline.reference import DAY, Deed, Life, Reference
from eddyline.settings import Settings

TOPIC, GROUP = "interactions", "profiler"
BATCH = 64
"""People compared at once."""
ROUNDS = 4
"""How often someone who seems to differ is looked at again, with what has come meanwhile."""
PENDING_BYTES = 262_144
Part = TypeVar("Part")


class Log(Protocol):
    """What is read of Kafka: `LogReader` does it."""

    def bounds(self, topic: str) -> dict[int, Watermarks]:
        """The first offset of each partition, and the one that its next record will get."""

    def read(self, topic: str, partition: int, start: int, end: int) -> Iterator[Record]:
        """The records at offsets `start` to `end` - 1 that are there."""

    def committed(self, group: str, topic: str) -> dict[int, Position | None]:
        """What `group` has committed of each partition; None where nothing."""


class Progress(Protocol):
    """Hears how far it is."""

    def start(self, what: str, total: int, done: int) -> None:
        """A stage begins."""

    def advance(self, what: str, count: int) -> None:
        """So many more are done."""


class Silent:
    """A `Progress` that tells nobody."""

    def start(self, what: str, total: int, done: int) -> None:
        """Nothing."""

    def advance(self, what: str, count: int) -> None:
        """Nothing."""


@dataclass(frozen=True, slots=True)
class Everyone:
    """All of whom the log or the store knows."""


@dataclass(frozen=True, slots=True)
class Sample:
    """So many people of those in the log: the same ones for the same `seed`, as long as nobody is new."""

    people: int
    seed: int = 0


Who: TypeAlias = Everyone | Sample | Person


@dataclass(frozen=True, slots=True)
class Apart:
    """Someone who can't be compared, and why."""

    person: str
    why: tuple[str, ...]


@dataclass(slots=True)
class Report:
    """What was found. An audit is clean when nobody differs."""

    records: int = 0
    """Read from the log."""
    invalid: int = 0
    """Of these, dead letters: they count for nobody."""
    compared: int = 0
    """People whose profile was compared, those that differ among them."""
    older: int = 0
    """People whose profile owes something to records that the log no longer has."""
    apart: list[Apart] = field(default_factory=list)
    """People who differ, though it may be right: what they did can't be worked out any more."""
    in_motion: list[str] = field(default_factory=list)
    """People whose profile changed each time it was looked at."""
    differences: list[Difference] = field(default_factory=list)
    largest: float = 0.0
    """The largest difference of a sum or a weight that was let pass, in tolerances."""

    @property
    def differing(self) -> list[str]:
        """Who differs."""
        return list(dict.fromkeys(difference.person for difference in self.differences))

    @property
    def is_clean(self) -> bool:
        """Whether nobody differs."""
        return not self.differences


def audit(
    log: Log,
    store: VectorStore,
    settings: Settings,
    who: Who = Everyone(),
    *,
    group: str = GROUP,
    collections: Collections = Collections(),
    progress: Progress = Silent(),
    clock: Callable[[], float] = time.time,
) -> Report:
    """Compare the stored profiles with the log of `interactions`, as far as `group` has handled it.

    `settings` must be those of the profilers. Profilers may go on meanwhile. Raises `Unavailable` and `Misconfigured`
    as the log and the store do.
    """
    return _Audit(log, store, settings, who, group, collections, progress, clock).run()


@dataclass(frozen=True, slots=True)
class _Finding:
    """What became of one look at someone. `ahead`: they have folded more than was read."""

    comparison: Comparison | None = None
    why: tuple[str, ...] = ()
    older: bool = False
    ahead: int | None = None

    @property
    def is_settled(self) -> bool:
        """Whether another look would be no use."""
        return self.ahead is None and (self.comparison is None or not self.comparison.differences)


class _Audit:
    """One run."""

    def __init__(
        self,
        log: Log,
        store: VectorStore,
        settings: Settings,
        who: Who,
        group: str,
        collections: Collections,
        progress: Progress,
        clock: Callable[[], float],
    ) -> None:
        self._log, self._store, self._settings = log, store, settings
        self._who, self._group, self._profiles = who, group, collections.profiles
        self._progress, self._clock = progress, clock
        self._items = _Items(store, collections.items, settings.profile.cached_items)
        self._ends: dict[int, int] = {}
        self._report = Report()

    def run(self) -> Report:
        """Read, compare, look again."""
        bounds = self._log.bounds(TOPIC)
        chosen = None if isinstance(self._who, Everyone) else self._choose(self._who, bounds)
        wanted = None if chosen is None else chosen.keys() | {twin for twins in chosen.values() for twin in twins}
        self._ledger = Ledger(self._settings.events, len(bounds), wanted)
        self._read_on("reading")
        suspects = self._all() if chosen is None else self._some(sorted(chosen, key=lambda person: person.key))
        self._look_again(suspects)
        self._report.records, self._report.invalid = self._ledger.records, self._ledger.invalid
        return self._report

    # -- the log ------------------------------------------------------------------------------------------------

    def _choose(self, who: Sample | Person, bounds: Mapping[int, Watermarks]) -> dict[Person, set[Person]]:
        """The people to look at, and their anonymous ids."""
        choice = _Choice(1, 0, who) if isinstance(who, Person) else _Choice(who.people, who.seed)
        self._progress.start("choosing", sum(high - low for low, high in bounds.values()), 0)
        for record in self._records("choosing", {partition: bound.low for partition, bound in bounds.items()}, bounds):
            choice.offer(record)
        return choice.people

    def _read_on(self, what: str) -> None:
        """Read what has come since the last time."""
        committed = self._log.committed(self._group, TOPIC)  # before the end is asked for, so that all of it is read
        bounds = self._log.bounds(TOPIC)
        starts = {partition: self._ends.get(partition, bound.low) for partition, bound in bounds.items()}
        self._progress.start(
            what, sum(max(0, bounds[partition].high - start) for partition, start in starts.items()), 0
        )
        for record in self._records(what, starts, bounds):
            self._ledger.add(record)
        self._ends = {partition: bound.high for partition, bound in bounds.items()}
        handled = {partition: 0 if (at := committed.get(partition)) is None else at.offset for partition in bounds}
        self._lows = {partition: bound.low for partition, bound in self._log.bounds(TOPIC).items()}
        self._handled = handled
        self._reference = Reference(self._ledger, self._settings.profile, self._lows, handled)

    def _records(self, what: str, starts: Mapping[int, int], bounds: Mapping[int, Watermarks]) -> Iterator[Record]:
        for partition, start in starts.items():
            done = start
            for record in self._log.read(TOPIC, partition, start, bounds[partition].high):
                yield record
                if record.offset - done >= 1000:
                    self._progress.advance(what, record.offset - done)
                    done = record.offset
            self._progress.advance(what, bounds[partition].high - done)

    # -- people -------------------------------------------------------------------------------------------------

    def _all(self) -> dict[Person, str | None]:
        """Look at everyone. What is returned needs another look; with the state that was seen."""
        self._progress.start("comparing", max(len(self._ledger), self._store.count(self._profiles)), 0)
        suspects: dict[Person, str | None] = {}
        seen, stubs = set[int](), dict[str, Point]()
        after: str | None = None
        while True:
            page, after = self._store.scroll(self._profiles, limit=BATCH, after=after, vectors=STORED_VECTORS)
            stubs |= {point.id: point for point in page if "person" not in point.payload}
            named = {Person.from_key(point.payload["person"]): point for point in page if "person" in point.payload}
            seen |= {number for person in named if (number := self._ledger.number(person)) is not None}
            suspects |= self._look_at(named)
            if after is None:
                break
        rest = (person for person in self._ledger.people() if self._ledger.number(person) not in seen)
        for batch in _in_batches(rest, BATCH):
            points = self._retrieve(batch)
            for point in points.values():
                if point is not None:
                    stubs.pop(point.id, None)
            suspects |= self._look_at(points)
        self._look_at_nameless(stubs.values())
        return suspects

    def _some(self, people: Sequence[Person]) -> dict[Person, str | None]:
        """Look at these people, as `_all` does."""
        self._progress.start("comparing", len(people), 0)
        suspects: dict[Person, str | None] = {}
        for batch in _in_batches(people, BATCH):
            suspects |= self._look_at(self._retrieve(batch))
        return suspects

    def _look_at(self, points: Mapping[Person, Point | None]) -> dict[Person, str | None]:
        suspects = {}
        for person, finding in self._findings(points):
            if finding.is_settled:
                self._note(person, finding)
            else:
                suspects[person] = _state(points[person])
        self._progress.advance("comparing", len(points))
        return suspects

    def _look_again(self, suspects: Mapping[Person, str | None]) -> None:
        """What differs may just have changed: it is believed of a profile that is the same after reading on."""
        for _ in range(ROUNDS):
            if not suspects:
                return
            self._read_on("reading on")
            self._items.clear()
            moving: dict[Person, str | None] = {}
            for batch in _in_batches(suspects, BATCH):
                points = self._retrieve(batch)
                for person, finding in self._findings(points):
                    state = _state(points[person])
                    if finding.is_settled or state == suspects[person]:
                        self._note(person, finding)
                    else:
                        moving[person] = state
            suspects = moving
        self._report.in_motion += [person.key for person in suspects]

    def _look_at_nameless(self, stubs: Iterable[Point]) -> None:
        """Stubs of erased people of whom the log knows nothing (any more)."""
        for stub in stubs:
            profile = Profile.load(Person("u", ""), stub.payload, stub.vectors, self._settings.profile)
            if self._is_covered(profile):
                seen = Difference(f"(erased: point {stub.id})", "profile", "a stub", None, by=1)
                self._report.differences.append(seen)
                self._report.compared += 1
            else:
                self._report.older += 1

    def _retrieve(self, people: Sequence[Person]) -> dict[Person, Point | None]:
        ids = {person: person_point(person) for person in people}
        points = self._store.retrieve(self._profiles, list(ids.values()), vectors=STORED_VECTORS)
        return {person: points.get(point_id) for person, point_id in ids.items()}

    def _note(self, person: Person, finding: _Finding) -> None:
        """It is so."""
        report = self._report
        if finding.older:
            report.older += 1
        elif finding.ahead is not None:
            home = self._ledger.home(person)
            end = self._ends[home] - 1
            report.compared += 1
            report.differences.append(Difference(person.key, "watermark", finding.ahead, end, by=finding.ahead - end))
        elif finding.comparison is None:
            return
        elif finding.comparison.differences and finding.why:
            report.apart.append(Apart(person.key, finding.why))
        else:
            report.compared += 1
            report.differences += finding.comparison.differences
            if not finding.comparison.differences:
                report.largest = max(report.largest, finding.comparison.largest)

    # -- one person ---------------------------------------------------------------------------------------------

    def _findings(self, points: Mapping[Person, Point | None]) -> Iterator[tuple[Person, _Finding]]:
        lives: dict[Person, tuple[Profile | None, Life]] = {}
        for person, point in points.items():
            profile = None if point is None else self._load(person, point)
            early = None if profile is None else self._too_old_or_new(profile)
            if early is None:
                lives[person] = profile, self._reference.life(person, self._until(person, profile))
            else:
                yield person, early
        self._items.load({deed.did.item_id for _, life in lives.values() for deed in life.deeds})
        for person, (profile, life) in lives.items():
            yield person, self._missing(life) if profile is None else self._compare(profile, life)

    def _load(self, person: Person, point: Point) -> Profile:
        return Profile.load(person, point.payload, point.vectors, self._settings.profile)

    def _too_old_or_new(self, profile: Profile) -> _Finding | None:
        if not self._is_covered(profile):
            return _Finding(older=True)
        home = self._ledger.home(profile.person)
        mark = self._mark(profile, home)
        return _Finding(ahead=mark) if mark >= self._ends[home] else None

    def _is_covered(self, profile: Profile) -> bool:
        """Whether all that the profile owes something to is in the log."""
        return all(
            log == self._ledger.log and all(offset >= self._lows.get(partition, offset + 1) for partition, offset in at)
            for log, at in ((log, marks.items()) for log, marks in profile.first.items())
        )

    def _mark(self, profile: Profile, partition: int) -> int:
        return profile.watermarks.get(self._ledger.log or "", {}).get(partition, -1)

    def _until(self, person: Person, profile: Profile | None) -> int:
        """What is stored must be the fold of what is below this offset."""
        home = self._ledger.home(person)
        return max(self._handled[home], 0 if profile is None else self._mark(profile, home) + 1)

    def _missing(self, life: Life) -> _Finding:
        swept = life.is_stub and self._clock() - life.last_use > self._settings.profile.stub_days * DAY
        if swept or not life.entries:
            return _Finding()
        should = f"a profile of {len(life.deeds)} events"
        return _Finding(Comparison([Difference(life.person.key, "profile", None, should, by=1)]))

    def _compare(self, profile: Profile, life: Life) -> _Finding:
        judged = _Judged.of(life, profile, self._items, self._settings)
        best = self._against(profile, life, judged, judged.folded)
        if best.differences and judged.late:
            given_up = self._against(profile, life, judged, [deed for deed in judged.folded if deed not in judged.late])
            best = best if given_up.differences else given_up
        why = {*judged.why, *life.doubts}
        partitions = {partition for marks in profile.first.values() for partition in marks}
        if not partitions <= life.homes:
            why.add("the number of partitions was changed since their first record")
        return _Finding(best, tuple(sorted(why)))

    def _against(self, profile: Profile, life: Life, judged: _Judged, folded: Sequence[Deed]) -> Comparison:
        return compare(profile, life, folded, len(judged.waiting), self._items.vectors, self._settings.profile)


@dataclass(frozen=True, slots=True)
class _Judged:
    """A person's deeds by what must have become of them, and what can't be known of that."""

    folded: list[Deed]
    waiting: list[Deed]
    late: list[Deed]
    """Folded, or given up before their item came."""
    why: list[str]

    @classmethod
    def of(cls, life: Life, profile: Profile, items: _Items, settings: Settings) -> _Judged:
        """By what waits in the profile, and by when the items came."""
        places = {(entry.partition, entry.offset) for entry in profile.pending}
        waiting = [deed for deed in life.deeds if deed.place in places]
        rest = [deed for deed in life.deeds if deed.place not in places]
        folded = [deed for deed in rest if deed.did.item_id in items.vectors]
        gone = [deed for deed in rest if deed.did.item_id not in items.vectors]
        late = [deed for deed in folded if items.came_late(deed, settings.profile.pending_seconds)]
        changed = [deed for deed in folded if items.has_changed(deed, settings.profile.item_cache_seconds)]
        early = [deed for deed in life.deeds if items.came_late(deed, 0.0)] + gone
        why = [
            *_touched("not there (any more)", gone),
            *_touched("embedded so late that the event may have been given up", late),
            *_touched("embedded anew since", changed),
        ]
        if len(early) > settings.profile.pending or sum(deed.did.size for deed in early) > PENDING_BYTES:
            why.append("more of their events may have waited for items than are kept")
        return cls(folded, waiting, late, why)


def _touched(what: str, deeds: Sequence[Deed]) -> list[str]:
    items = sorted({deed.did.item_id for deed in deeds})
    if not items:
        return []
    more = f" and {len(items) - 1} more" if len(items) > 1 else ""
    return [f"touched {items[0]!r}{more}, {what}"]


class _Items:
    """Content vectors and when they were made, of the items asked for last; at most about `most`."""

    def __init__(self, store: VectorStore, collection: str, most: int) -> None:
        self._store, self._collection, self._most = store, collection, most
        self.vectors: OrderedDict[str, NDArray[np.floating]] = OrderedDict()
        self._sources: dict[str, Payload] = {}

    def load(self, item_ids: set[str]) -> None:
        """Have these, as far as they are there."""
        for item_id in item_ids & self.vectors.keys():
            self.vectors.move_to_end(item_id)
        while len(self.vectors) > max(self._most, len(item_ids)):
            self._sources.pop(self.vectors.popitem(last=False)[0], None)
        missing = {item_point(item_id): item_id for item_id in item_ids - self.vectors.keys()}
        for batch in _in_batches(missing, 500):
            points = self._store.retrieve(self._collection, batch, payload=("space", "source"), vectors=("content",))
            for point_id, point in points.items():
                vector = point.vectors.get("content")
                if vector is not None and not isinstance(vector, Sparse) and "space" in point.payload:
                    self.vectors[missing[point_id]] = vector
                    self._sources[missing[point_id]] = point.payload.get("source", {})

    def clear(self) -> None:
        """Forget them: they may have changed."""
        self.vectors.clear()
        self._sources.clear()

    def came_late(self, deed: Deed, seconds: float) -> bool:
        """Whether the vector was made more than `seconds` after the event arrived."""
        made = self._sources.get(deed.did.item_id, {}).get("embedded_at")
        return made is not None and made > deed.arrived + seconds

    def has_changed(self, deed: Deed, cache_seconds: float) -> bool:
        """Whether the event may have been folded with an earlier vector; one that weighs nothing has no use for it."""
        source: Mapping[str, Any] = self._sources.get(deed.did.item_id, {})
        if deed.did.weight == 0 or source.get("embeddings", 1) <= 1:
            return False
        return bool(deed.arrived < source["embedded_at"] + cache_seconds)


class _Choice:
    """People in the log: one, or the `size` of the smallest hash, with their anonymous ids."""

    def __init__(self, size: int, seed: int, only: Person | None = None) -> None:
        self._size, self._seed, self._only = size, seed, only
        self.people: dict[Person, set[Person]] = {} if only is None else {only: set()}
        self._hashes: list[tuple[int, str]] = []
        """Negative, so that the largest hash is the first to go."""

    def offer(self, record: Record) -> None:
        """Consider whom a record is about."""
        try:
            event = parse_person_event(record.value)
        except InvalidEvent:
            return
        self._consider(event.person)
        if isinstance(event, Identify):
            self._consider(event.user)
            self._link(event.user, event.person)
        elif isinstance(event, Transfer):
            self._link(event.person, Person("a", event.anonymous_id))

    def _consider(self, person: Person) -> None:
        if self._only is not None or person in self.people:
            return
        digest = blake2b(f"{self._seed} {person.key}".encode(), digest_size=8).digest()
        entry = (-int.from_bytes(digest, "big"), person.key)
        if len(self._hashes) < self._size:
            heapq.heappush(self._hashes, entry)
        elif entry > self._hashes[0]:
            del self.people[Person.from_key(heapq.heapreplace(self._hashes, entry)[1])]
        else:
            return
        self.people[person] = set()

    def _link(self, user: Person, anonymous: Person) -> None:
        if user in self.people:
            self.people[user].add(anonymous)


def _state(point: Point | None) -> str | None:
    return None if point is None else str(point.payload["state"])


def _in_batches(all_of_them: Iterable[Part], size: int) -> Iterator[list[Part]]:
    iterator = iter(all_of_them)
    while batch := list(islice(iterator, size)):
        yield batch
