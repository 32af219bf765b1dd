"""Audit: every profile worked out anew from the log, and compared with what is stored.

The log is read first and the profiles after it, while profilers may go on: a profile is compared as of its own
watermark, or of what its group has committed, whichever is later; where that lies beyond what was read, more is read.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from eddyline.adapters.kafka import Position, Record, Watermarks
from eddyline.adapters.vectors import Collections, Point, VectorStore
from eddyline.model.ids import Person, person_point
from eddyline.model.profile import DAY, STORED_VECTORS, Profile
from eddyline.offline.audit.batches import in_batches
from eddyline.offline.audit.choice import Choice, Everyone, Sample, Who
from eddyline.offline.audit.comparison import Comparison, Difference, compare
from eddyline.offline.audit.ledger import Ledger
from eddyline.offline.audit.outcomes import Items, Outcomes
from eddyline.offline.audit.reference import Deed, Life, Reference
from eddyline.offline.audit.report import Apart, Report
from eddyline.settings import Settings

TOPIC, GROUP = "interactions", "profiler"
BATCH = 64
"""People compared at once."""
ROUNDS = 4
"""How often someone who seems to differ is looked at again, with what has come meanwhile."""


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
        self._items = Items(store, collections.items, settings.profile.cached_items)
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
        choice = Choice(1, 0, who) if isinstance(who, Person) else Choice(who.people, who.seed)
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
        for batch in in_batches(rest, BATCH):
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
        for batch in in_batches(people, BATCH):
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
            for batch in in_batches(suspects, BATCH):
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
        self._items.load({deed.did.item_id for _, life in lives.values() for deed in (*life.deeds, *life.repeated)})
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
        outcomes = Outcomes.of(life, profile, self._items, self._settings.profile)
        best = self._against(profile, life, outcomes, outcomes.folded + outcomes.late)
        if best.differences and outcomes.late:
            given_up = self._against(profile, life, outcomes, outcomes.folded)
            best = best if given_up.differences else given_up
        why = {*outcomes.why, *life.doubts}
        partitions = {partition for marks in profile.first.values() for partition in marks}
        if not partitions <= life.homes:
            why.add("the number of partitions was changed since their first record")
        return _Finding(best, tuple(sorted(why)))

    def _against(self, profile: Profile, life: Life, outcomes: Outcomes, folded: Sequence[Deed]) -> Comparison:
        return compare(profile, life, folded, len(outcomes.waiting), self._items.vectors, self._settings.profile)


def _state(point: Point | None) -> str | None:
    return None if point is None else str(point.payload["state"])
