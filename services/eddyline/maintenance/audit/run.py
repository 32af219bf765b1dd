"""Audit: the log replayed into memory, and compared with what is stored, so many people at a time.

Profilers may go on meanwhile. Their commits are read first, then the profiles, then the log: so a profile holds all
that is committed, and the log all that is in a profile. A profile must be the fold of exactly what it says it holds.
"""

from __future__ import annotations

import heapq
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from dataclasses import dataclass, field
from functools import partial
from hashlib import blake2b
from itertools import islice
from typing import TypeAlias

from eddyline.adapters.kafka import LogReader, Record
from eddyline.adapters.vectors import Collections, Filter, IsEmpty, Point, VectorStore, retrieve_profiles, scroll_pages
from eddyline.clients.progress import ProgressListener
from eddyline.errors import InvalidEvent
from eddyline.maintenance.audit.audit_report import AuditReport, Difference, Inconclusive
from eddyline.maintenance.audit.expected_profiles import ExpectedProfiles
from eddyline.maintenance.audit.profile_comparison import compare
from eddyline.maintenance.audit.rows import audit_rows
from eddyline.maintenance.generations.rebuild import is_covered
from eddyline.model.decay import DAY
from eddyline.model.events import Identify, Transfer
from eddyline.model.ids import Person, person_point_id
from eddyline.model.profile import Profile, decode_profile
from eddyline.profiler import GROUP, ParsedEvent
from eddyline.profiler.parsed_event import parse_record
from eddyline.settings import Settings
from eddyline.topics import INTERACTIONS

PEOPLE = 20_000
"""How many are held in memory at once, their anonymous ids aside."""
PAGE = 256
PARTITIONS_CHANGED = "the number of partitions was changed since their first record"


@dataclass(frozen=True, slots=True)
class Everyone:
    """All of whom the log or the store knows."""


@dataclass(frozen=True, slots=True)
class Sample:
    """So many people of those in the log: the same ones for the same `seed`, as long as nobody is new."""

    people: int
    seed: int = 0


PeopleSelection: TypeAlias = Everyone | Sample | Person


def audit(
    log: LogReader,
    store: VectorStore,
    settings: Settings,
    who: PeopleSelection = Everyone(),
    *,
    group: str = GROUP,
    collections: Collections = Collections(),
    progress: ProgressListener = ProgressListener(),
    clock: Callable[[], float] = time.time,
) -> AuditReport:
    """Compare the stored profiles with the log of `interactions`, as far as `group` has handled it.

    `settings` must be those of the profilers. Profilers may go on meanwhile. Raises `Unavailable` and `Misconfigured`
    as the log and the store do.
    """
    return _Audit(log, store, settings, who, group, collections, progress, clock).run()


@dataclass
class _Audit:
    """One run."""

    log: LogReader
    store: VectorStore
    settings: Settings
    who: PeopleSelection
    group: str
    collections: Collections
    progress: ProgressListener
    clock: Callable[[], float]
    report: AuditReport = field(default_factory=AuditReport)
    log_identity: str = ""

    def run(self) -> AuditReport:
        """Choose the people, then replay and compare, so many at a time."""
        tombstones: dict[str, Point] = {}
        known: list[Person] = []
        if isinstance(self.who, Everyone):  # before the log is read: so that they are in it, if they ever were
            known, tombstones = self._scroll()
        people = _choose(self.who, self._events())
        people |= {person: frozenset() for person in known if person not in people}
        batches = -(-len(people) // PEOPLE)
        total = sum(high - low for low, high in self.log.bounds(INTERACTIONS).values())
        self.progress.start("replaying", total * batches, 0)
        chosen = iter(people.items())
        while batch := dict(islice(chosen, PEOPLE)):
            self._audit(batch)
            for person in batch if tombstones else ():
                tombstones.pop(person_point_id(person), None)
        self._note_nameless(tombstones.values())
        if isinstance(self.who, Everyone):
            audit_rows(self.log, self.store, self.collections.rows, self.report)
        return self.report

    def _scroll(self) -> tuple[list[Person], dict[str, Point]]:
        """Find everyone whom the store knows by name, and the tombstones that name nobody, by id."""
        people, tombstones = list[Person](), dict[str, Point]()
        for page in scroll_pages(self.store, self.collections.profiles, payload=("person",)):
            people += [Person.from_key(point.payload["person"]) for point in page if "person" in point.payload]
            nameless = [point.id for point in page if "person" not in point.payload]
            points = self.store.retrieve(self.collections.profiles, nameless) if nameless else {}
            tombstones |= {point_id: point for point_id, point in points.items() if "person" not in point.payload}
        return people, tombstones

    def _events(self) -> Iterator[ParsedEvent]:
        """Read the log's events. What can't be read is counted."""
        for record in self._records():
            self.report.records += 1
            self.log_identity = record.log
            try:
                parsed = parse_record(record, self.settings.events, self.settings.profile)
            except InvalidEvent:
                self.report.invalid += 1
                continue
            self.report.invalid += parsed.event is None
            yield parsed

    def _records(self) -> Iterator[Record]:
        bounds = self.log.bounds(INTERACTIONS)
        self.progress.start("choosing", sum(high - low for low, high in bounds.values()), 0)
        for partition, (low, high) in bounds.items():
            done = low
            for record in self.log.read(INTERACTIONS, partition, low, high):
                yield record
                if record.offset - done >= 1000:
                    self.progress.advance("choosing", record.offset - done)
                    done = record.offset
            self.progress.advance("choosing", high - done)

    # -- some people ------------------------------------------------------------------------------------------------

    def _audit(self, people: Mapping[Person, Set[Person]]) -> None:
        committed = self.log.committed(self.group, INTERACTIONS)
        stored = self._retrieve({*people, *(each for linked in people.values() for each in linked)})
        lows = self._lows()
        whole = {person: load for person, load in stored.items() if load is None or self._is_covered(load(), lows)}
        handled = {partition: 0 if at is None else at.offset for partition, at in committed.items()}
        expectation = ExpectedProfiles(
            self.log,
            self.store,
            self.settings,
            self.collections,
            whole,
            handled,
            self.log_identity,
            self._space(),
            partial(self.progress.advance, "replaying"),
            self.clock,
        )
        expectation.run()
        lows = self._lows()  # the log may have lost something while it was read
        for person, linked in people.items():
            load = stored[person]
            if load is None:
                self._note_missing(person, expectation)
            elif person not in whole or not self._is_covered(load(), lows):
                self.report.older += 1
            else:
                self._compare(load(), linked, expectation)

    def _space(self) -> str | None:
        embedded = Filter(must_not=(IsEmpty("space"),))
        page, _ = self.store.scroll(self.collections.items, filter=embedded, limit=1, payload=("space",))
        return page[0].payload["space"] if page else None

    def _retrieve(self, people: Iterable[Person]) -> dict[Person, Callable[[], Profile] | None]:
        """Find how to load each one's profile, as it is now."""
        found: dict[Person, Callable[[], Profile] | None] = {}
        remaining = iter(people)
        while page := {person: person_point_id(person) for person in islice(remaining, PAGE)}:
            points = retrieve_profiles(self.store, self.collections.profiles, list(page.values()))
            for person, point_id in page.items():
                point = points.get(point_id)
                found[person] = None if point is None else partial(self._load, person, point)
        return found

    def _load(self, person: Person, point: Point) -> Profile:
        return decode_profile(person, point.payload, point.vectors, self.settings.profile)

    def _lows(self) -> dict[int, int]:
        return {partition: bounds.low for partition, bounds in self.log.bounds(INTERACTIONS).items()}

    def _is_covered(self, profile: Profile, lows: Mapping[int, int]) -> bool:
        return is_covered(profile.delivery.first, self.log_identity, lows)

    # -- one person -------------------------------------------------------------------------------------------------

    def _compare(self, stored: Profile, linked: Set[Person], expectation: ExpectedProfiles) -> None:
        person = stored.person
        expected = expectation.profile(person) or Profile(person, self.settings.profile)
        expectation.apply_pending(stored)
        for profile in (stored, expected):
            expectation.drop_overdue(profile)
        found = compare(stored, expected, expectation.longest)
        watermark = expectation.wrong_watermark(stored, expected, self.log_identity)
        differences = [*found.differences, *expectation.lost(person), *([] if watermark is None else [watermark])]
        doubts = expectation.doubts((person, *linked), expected)
        homes = {expectation.home(each) for each in (person, *linked)}
        if not {partition for marks in stored.delivery.first.values() for partition in marks} <= homes:
            doubts.add(PARTITIONS_CHANGED)
        self._note(person, differences, doubts)
        if not differences:
            self.report.largest = max(self.report.largest, found.largest)

    def _note_missing(self, person: Person, expectation: ExpectedProfiles) -> None:
        """Note that there is no profile, unless the person did nothing, or their profile has ended."""
        expected = expectation.profile(person)
        if expected is None:
            return
        unused_since = self.clock() - self.settings.profile.tombstone_days * DAY
        last_used = expected.identity.tombstone_since
        if expected.is_tombstone and last_used is not None and last_used < unused_since:
            return
        ended_since = self.clock() - self.settings.profile.anonymous_days * DAY
        if person.kind == "a" and not expected.is_tombstone and expected.active_at < ended_since:
            return
        missing = Difference(person.key, "profile", None, f"a profile of {expected.events} events", by=1)
        self._note(person, [missing, *expectation.lost(person)], set())

    def _note(self, person: Person, differences: list[Difference], doubts: set[str]) -> None:
        if differences and doubts:
            self.report.apart.append(Inconclusive(person.key, tuple(sorted(doubts))))
            return
        self.report.compared += 1
        self.report.differences += differences

    def _note_nameless(self, tombstones: Iterable[Point]) -> None:
        """Note tombstones of erased people of whom the log knows nothing (any more)."""
        lows = self._lows()
        for tombstone in tombstones:
            if not self._is_covered(self._load(Person("u", ""), tombstone), lows):
                self.report.older += 1
                continue
            self.report.compared += 1
            seen = Difference(f"(erased: point {tombstone.id})", "profile", "a tombstone", None, by=1)
            self.report.differences.append(seen)


def _choose(who: PeopleSelection, events: Iterable[ParsedEvent]) -> dict[Person, Set[Person]]:
    """Choose among the people of these events; each comes with the anonymous ids that became theirs."""
    people: dict[Person, None] = {}
    linked: defaultdict[Person, set[Person]] = defaultdict(set)
    for parsed in events:
        people[parsed.person] = None
        if isinstance(parsed.event, Identify):
            people[parsed.event.user] = None
            linked[parsed.event.user].add(parsed.person)
        elif isinstance(parsed.event, Transfer):
            linked[parsed.person].add(Person("a", parsed.event.anonymous_id))
    chosen: Iterable[Person] = people
    if isinstance(who, Person):
        chosen = [who]
    elif isinstance(who, Sample):
        seed = who.seed
        chosen = heapq.nsmallest(who.people, people, lambda one: blake2b(f"{seed} {one.key}".encode()).digest())
    return {person: linked.get(person, frozenset()) for person in chosen}
