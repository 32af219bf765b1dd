"""A partition's records into its rows: read, folded by person, and written so that each counts once.

The tables' writes aren't atomic, so a batch is first written as one record, with the places in the log up to which it
goes: the *plan*. It holds every row as it will be. Once the plan is durable, the rows are written, and then the offsets
are committed. A worker that takes over writes the rows of the last plan again (they are what they are, not changes),
and skips what that plan has.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Protocol, TypeVar

import orjson
import structlog

from eddyline.adapters.kafka import Record, partition_of
from eddyline.errors import InvalidEvent
from eddyline.model.events import (
    Erased,
    ImpressionReport,
    Interaction,
    ServedList,
    clamp_event_time,
    parse_impression,
    parse_person_event,
)
from eddyline.model.experiments.moments import Moments
from eddyline.model.forwarding import ForwardedFrom
from eddyline.model.ids import Person
from eddyline.model.insights.person_log import Contribution, PersonLog, measure_contribution
from eddyline.model.insights.row_updates import RowUpdates
from eddyline.model.insights.rows import PROGRESS_KEY, Cell, CellKey, PartitionProgress, VariantKey, parse_row
from eddyline.settings import InsightsSettings

Row = TypeVar("Row")

IMPRESSIONS, INTERACTIONS = "impressions", "interactions"
TOPICS = (IMPRESSIONS, INTERACTIONS)
PEOPLE, WINDOWS, PLANS = "people", "windows", "progress"
PLAN_KEY = b"plan"
PLAN_BYTES = 900_000
"""Largest plan of several records: what a record of Kafka's usually may hold."""
LARGEST_PLAN_BYTES = 3_500_000
"""Largest plan of one record. `LARGE_RECORD_BYTES` of its topic is more."""
PERSON_BYTES = 300_000
"""Largest row of a person; beyond, their oldest lists and deeds are dropped early."""

SLACK_SECONDS = 5.0
"""How long ago, at most, the consumer heard that nothing is left to read."""

log = structlog.get_logger("insights")


class PartitionTables(Protocol):
    """The rows of one partition, by table and key."""

    def get(self, table: str, key: bytes) -> bytes | None:
        """A row's value."""

    def put(self, table: str, key: bytes, value: bytes | None) -> None:
        """Write a row, or drop it."""


@dataclass(frozen=True, slots=True)
class WritePlan:
    """What a batch comes to. `offsets`: the last one taken by topic, in the log of this identity (`logs`). `rows`: by
    table and key; None: dropped."""

    logs: Mapping[str, str]
    offsets: Mapping[str, int]
    progress: PartitionProgress
    rows: Mapping[str, Mapping[bytes, bytes | None]] = field(default_factory=dict)

    def to_bytes(self) -> bytes:
        """The value of its row."""
        rows = {
            table: {key.decode(): None if value is None else value.decode() for key, value in rows.items()}
            for table, rows in self.rows.items()
        }
        return orjson.dumps(
            {"logs": self.logs, "offsets": self.offsets, "progress": self.progress.to_bytes().decode(), "rows": rows}
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> WritePlan:
        """The inverse of `to_bytes`."""
        plain = orjson.loads(data)
        rows = {
            table: {key.encode(): None if value is None else value.encode() for key, value in rows.items()}
            for table, rows in plain["rows"].items()
        }
        progress = PartitionProgress.from_bytes(plain["progress"].encode())
        numbers = [*plain["offsets"].values(), *progress.counts.values()]
        if not (all(isinstance(number, int) for number in numbers) and rows.keys() <= {PEOPLE, WINDOWS}):
            raise ValueError("a plan has offsets, counts and rows")
        return cls(plain["logs"], plain["offsets"], progress, rows)

    def write(self, tables: PartitionTables) -> None:
        """Write the rows, and how far it goes."""
        for table, rows in self.rows.items():
            for key, value in rows.items():
                tables.put(table, key, value)
        tables.put(WINDOWS, PROGRESS_KEY, self.progress.to_bytes())


def last_plan(tables: PartitionTables) -> WritePlan | None:
    """What a partition's table of plans holds."""
    return _load_row(tables, PLANS, PLAN_KEY, WritePlan.from_bytes)


Said = ServedList | ImpressionReport | Interaction | Erased


@dataclass(frozen=True, slots=True)
class TimedEvent:
    """A record, read: who, what, and when it happened (epoch seconds)."""

    record: Record
    person: Person
    said: Said
    at: float


class PartitionFold:
    """The fold of one partition, from its last plan on. `put_aside` keeps a record that can't be read (or folded), with
    the reason's slug and a sentence. `partitions`: of each topic; `clock`: epoch seconds."""

    def __init__(
        self,
        settings: InsightsSettings,
        partitions: int,
        logs: Mapping[str, str],
        last: WritePlan | None,
        put_aside: Callable[[Record, str, str], None],
        clock: Callable[[], float],
    ) -> None:
        self._settings, self._partitions, self._logs = settings, partitions, logs
        self._put_aside, self._clock = put_aside, clock
        counts: Mapping[str, int] = {} if last is None else last.progress.counts
        newest = 0.0 if last is None else last.progress.newest
        offsets = {} if last is None else {t: n for t, n in last.offsets.items() if last.logs.get(t) == logs.get(t)}
        self._last = WritePlan(logs, offsets, PartitionProgress(clock(), newest, counts, offsets))
        self._times: dict[str, float] = {}
        """The broker's time of the newest record taken, by topic."""
        self._letters: list[tuple[Record, str, str]] = []
        """What the plan in hand puts aside."""

    def taken(self, topic: str) -> int:
        """The last offset taken of a topic; -1: none."""
        return self._last.offsets.get(topic, -1)

    def plans(
        self, tables: PartitionTables, records: Sequence[Record], finished: Set[str] = frozenset()
    ) -> Iterable[WritePlan]:
        """One after another what these records come to; the caller must make each durable, and write it, before it asks
        for the next. `finished`: the topics of which nothing is left to read beyond these."""
        fresh = [record for record in records if record.offset > self._last.offsets.get(record.topic, -1)]
        while fresh:
            count = len(fresh)
            while True:
                self._letters.clear()
                plan = self._plan(tables, fresh[:count], self._read_until(fresh, count, finished))
                size = len(plan.to_bytes())
                if size <= PLAN_BYTES or (count == 1 and size <= LARGEST_PLAN_BYTES):
                    break
                if count == 1:
                    plan = self._without(
                        fresh[0], f"its rows take {size:,} bytes, at most {LARGEST_PLAN_BYTES:,} are written"
                    )
                    break
                count = (count + 1) // 2
            for letter in self._letters:
                self._put_aside(*letter)
            for record in fresh[:count]:
                self._times[record.topic] = max(self._times.get(record.topic, 0.0), record.timestamp / 1000)
            self._last = replace(plan, rows={})
            yield plan
            fresh = fresh[count:]

    def idle(self, finished: Set[str]) -> WritePlan:
        """How far it is, with nothing new. `finished`: as for `plans`."""
        progress = replace(self._last.progress, at=self._clock(), read=self._read_until((), 0, finished))
        self._last = replace(self._last, progress=progress)
        return self._last

    def _read_until(self, fresh: Sequence[Record], count: int, finished: Set[str]) -> float | None:
        """The broker's time up to which both topics have been read once `count` of the fresh ones are taken; None where
        it isn't known."""
        times, left = dict(self._times), {record.topic for record in fresh[count:]}
        for record in fresh[:count]:
            times[record.topic] = max(times.get(record.topic, 0.0), record.timestamp / 1000)
        for topic in finished - left:
            times[topic] = self._clock() - SLACK_SECONDS
        return None if any(topic not in times for topic in TOPICS) else min(times.values())

    def _without(self, record: Record, reason: str) -> WritePlan:
        """What is left to do of one record that can't be measured."""
        self._letters.clear()
        self._letters.append((record, "insights_failed", reason))
        counts = dict(self._last.progress.counts)
        _add_count(counts, "records", 1)
        _add_count(counts, "failed", 1)
        offsets = {**self._last.offsets, record.topic: record.offset}
        return replace(
            self._last, offsets=offsets, progress=replace(self._last.progress, counts=counts, offsets=offsets)
        )

    def _plan(self, tables: PartitionTables, records: Sequence[Record], read: float | None) -> WritePlan:
        counts = dict(self._last.progress.counts)
        offsets, newest = dict(self._last.offsets), self._last.progress.newest
        heard: dict[str, list[TimedEvent]] = {}
        for record in records:
            expected = offsets.get(record.topic, record.offset - 1) + 1
            _add_count(counts, "missed", record.offset - expected)
            _add_count(counts, "records", 1)
            offsets[record.topic] = record.offset
            one = self._read(record, counts)
            if one is not None:
                newest = max(newest, one.at)
                heard.setdefault(one.person.key, []).append(one)
        now = self._clock()
        book = RowUpdates(self._settings, now)
        people: dict[bytes, bytes | None] = {}
        for name, said in heard.items():
            theirs = RowUpdates(self._settings, now)
            try:
                people[name.encode()] = self._fold(tables, theirs, name, said, read or 0.0, counts)
                book.take(theirs)
            except Exception as error:  # one person's records must not stop everyone's
                log.exception("a person's records can't be folded", records=len(said))
                for one in said:
                    self._give_up(one.record, error, counts)
        windows = self._windows(tables, book)
        progress = PartitionProgress(now, newest, counts, offsets, read)
        return WritePlan(self._logs, offsets, progress, {PEOPLE: people, WINDOWS: windows})

    def _read(self, record: Record, counts: dict[str, int]) -> TimedEvent | None:
        """None: it isn't measured."""
        arrived = record.timestamp / 1000
        try:
            said: Said
            if record.topic == IMPRESSIONS:
                said = parse_impression(record.value)
            else:
                event = parse_person_event(record.value)
                if not isinstance(event, Interaction | Erased) or self._counts_elsewhere(event, record):
                    return None
                said = event
            at = clamp_event_time(said.timestamp, arrived)
        except InvalidEvent as error:
            _add_count(counts, "unreadable", 1)
            if record.topic == IMPRESSIONS:  # of interactions, the profiler keeps what can't be read
                self._letters.append((record, "invalid_event", str(error)))
            return None
        if not isinstance(said, Erased) and arrived - at > self._settings.lateness_minutes * 60:
            _add_count(counts, "late", 1)
            return None
        if isinstance(said, ServedList):
            said = said.model_copy(update={"timestamp": at})
        return TimedEvent(record, said.person, said, at)

    def _counts_elsewhere(self, event: Interaction | Erased, record: Record) -> bool:
        """Whether the profiler passes it on to the partition where it belongs, or has passed it on from where it was
        counted: what comes under an anonymous id counts for the lists of that id."""
        if isinstance(event, Erased):
            return False
        if partition_of(event.person.key.encode(), self._partitions) != record.partition:
            return True
        passage = ForwardedFrom.of(record.headers)
        if passage is None or event.user_id is None or event.anonymous_id is None:
            return False
        visitor = Person("a", event.anonymous_id)
        return partition_of(visitor.key.encode(), self._partitions) == passage.partition

    def _fold(
        self,
        tables: PartitionTables,
        book: RowUpdates,
        name: str,
        heard: Sequence[TimedEvent],
        read: float,
        counts: dict[str, int],
    ) -> bytes:
        person, before = _load_row(tables, PEOPLE, name.encode(), self._known) or (PersonLog(), Contribution())
        for one in heard:
            person.newest = max(person.newest, one.record.timestamp / 1000)
            if isinstance(one.said, Erased):
                book.add(name, person, before)
                person.erase(one.at)
                before = measure_contribution(person, self._settings)
                continue
            try:
                self._take(person, one)
            except Exception as error:
                log.exception("a record can't be folded", place=one.record.place, topic=one.record.topic)
                self._give_up(one.record, error, counts)
        book.add(name, person, before)
        _add_count(counts, "cut", person.dropped(read, self._settings))
        data = person.to_bytes()
        while len(data) > PERSON_BYTES:
            _add_count(counts, "cut", person.shrink())
            data = person.to_bytes()
        return data

    def _known(self, data: bytes) -> tuple[PersonLog, Contribution]:
        """A person's row, and what it has added so far."""
        person = PersonLog.from_bytes(data)
        return person, measure_contribution(person, self._settings)

    def _give_up(self, record: Record, error: Exception, counts: dict[str, int]) -> None:
        _add_count(counts, "failed", 1)
        self._letters.append((record, "insights_failed", f"{type(error).__name__}: {error}"))

    def _take(self, person: PersonLog, heard: TimedEvent) -> None:
        if isinstance(heard.said, ServedList):
            person.serve(heard.said, self._settings)
        elif isinstance(heard.said, ImpressionReport):
            person.see(heard.said, heard.at, self._settings)
        elif isinstance(heard.said, Interaction):
            person.act(heard.said, heard.said.event_id or heard.record.place, heard.at, self._settings)

    def _windows(self, tables: PartitionTables, book: RowUpdates) -> dict[bytes, bytes | None]:
        def cell(key: CellKey) -> Cell | None:
            row = _load_row(tables, WINDOWS, key.to_bytes(), partial(parse_row, key))
            return row if isinstance(row, Cell) else None

        def variant(key: VariantKey) -> Moments | None:
            row = _load_row(tables, WINDOWS, key.to_bytes(), partial(parse_row, key))
            return row if isinstance(row, Moments) else None

        rows = book.apply(cell, variant)
        return {
            key.to_bytes(): row.to_bytes() if isinstance(row, Cell) else orjson.dumps(row.to_plain())
            for key, row in rows.items()
        }


def _add_count(counts: dict[str, int], name: str, more: int) -> None:
    if more > 0:
        counts[name] = counts.get(name, 0) + more


def _load_row(tables: PartitionTables, table: str, key: bytes, read: Callable[[bytes], Row]) -> Row | None:
    """None also where it is rubbish: it must stop nobody."""
    data = tables.get(table, key)
    if data is None:
        return None
    try:
        return read(data)
    except Exception as error:
        log.warning("skipped an invalid row", table=table, key=repr(key[:100]), error=repr(error))
        return None
