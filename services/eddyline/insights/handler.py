"""A partition's records into its rows: parsed, folded by person, and written so that each counts once.

Runs in the worker's event loop, one batch of one partition at a time. What must be durable before what: see
`write_plan`. A record that can't be read becomes a dead letter; so does one that measuring fails at, which is looked
for by halves. What says nothing of a record (a full disk), and too large a share of such records, ends the worker,
which starts again from its last plan.
"""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from functools import partial

from eddyline.adapters.kafka import (
    FAILED,
    INVALID,
    LoopOptions,
    Record,
    describe_failure,
    is_records_fault,
    log_failure,
    partition_of,
)
from eddyline.errors import InvalidEvent, TooLarge, TooManyDeadLetters
from eddyline.insights.impression_attribution import Contribution, measure_contribution
from eddyline.insights.known_names import KnownNames
from eddyline.insights.person_log import PersonLog
from eddyline.insights.row_updates import RowUpdates
from eddyline.insights.rows import DAY, PartitionProgress, parse_row
from eddyline.insights.write_plan import PEOPLE, WINDOWS, PartitionTables, WritePlan, load_row
from eddyline.model.events import (
    Erased,
    ImpressionReport,
    Interaction,
    ServedList,
    clamp_event_time,
    parse_impression,
    parse_person_event,
)
from eddyline.model.forwarding import ForwardedFrom
from eddyline.model.ids import Person
from eddyline.model.placed_time import place_of
from eddyline.model.signatures import require_author
from eddyline.settings import InsightsSettings
from eddyline.topics import IMPRESSIONS, INTERACTIONS

TOPICS = (IMPRESSIONS, INTERACTIONS)
MAX_BATCH_PLAN_BYTES = 900_000
"""Largest plan of several records: what a record of Kafka's usually may hold."""
MAX_PLAN_BYTES = 3_500_000
"""Largest plan of one record. `LARGE_RECORD_BYTES` of its topic is more."""
MAX_PERSON_BYTES = 300_000
"""Largest row of a person; beyond, their oldest lists and actions are dropped early."""
SLACK_SECONDS = 5.0
"""How long ago, at most, the consumer learnt that nothing is left to read."""
LIMITS = LoopOptions()
"""Of the share of records that may fail, as for other consumers."""


@dataclass(frozen=True, slots=True)
class TimedEvent:
    """A parsed record, and when its event happened (epoch seconds)."""

    record: Record
    event: ServedList | ImpressionReport | Interaction | Erased
    at: float


class PartitionHandler:
    """Handles the records of one partition, from its last plan on. `write_dead_letter` keeps a record that can't be
    read or measured. `partitions`: the number of each topic's; `clock`: epoch seconds."""

    def __init__(
        self,
        settings: InsightsSettings,
        partitions: int,
        logs: Mapping[str, str],
        last: WritePlan | None,
        write_dead_letter: Callable[[Record, str, str], None],
        clock: Callable[[], float],
    ) -> None:
        self._settings, self._partitions, self._logs = settings, partitions, logs
        self._write_dead_letter, self._clock = write_dead_letter, clock
        counts: Mapping[str, int] = {} if last is None else last.progress.counts
        newest = 0.0 if last is None else last.progress.newest
        offsets = {} if last is None else {t: n for t, n in last.offsets.items() if last.logs.get(t) == logs.get(t)}
        self._last = WritePlan(logs, offsets, PartitionProgress(clock(), newest, counts, offsets))
        self._times: dict[str, float] = {}
        """The broker's time of the newest record handled, by topic."""
        self._dead_letters: list[tuple[Record, str, str]] = []
        """The dead letters of the plan in hand: the record, the reason's slug, and a sentence."""
        self._recent: deque[bool] = deque(maxlen=LIMITS.dead_letter_window)
        """Of the newest records, whether measuring failed at them."""
        self._names: KnownNames | None = None
        self._next_names = 0.0

    def handled(self, topic: str) -> int:
        """Return the last offset handled of a topic; -1: none."""
        return self._last.offsets.get(topic, -1)

    def plans(
        self, tables: PartitionTables, records: Sequence[Record], finished: Set[str] = frozenset()
    ) -> Iterable[WritePlan]:
        """Yield one after another what these records come to. The caller must make each plan durable, and write its
        rows, before it asks for the next. `finished`: the topics of which nothing is left to read beyond these."""
        fresh = [record for record in records if record.offset > self.handled(record.topic)]
        self._note_names(tables)
        count = len(fresh)
        while fresh:
            part, left = fresh[:count], fresh[count:]
            times = self._times_with(part)
            try:
                plan = self._fitting_plan(tables, part, self._read_until(times, left, finished))
            except Exception as error:
                if not is_records_fault(error):
                    raise
                if len(part) > 1:
                    count = (len(part) + 1) // 2
                    continue
                plan = self._plan_without(part[0], error)
            for letter in self._dead_letters:
                self._write_dead_letter(*letter)
            self._times = times
            self._last = replace(plan, rows={})
            yield plan
            fresh, count = left, 2 * count

    def idle_plan(self, finished: Set[str]) -> WritePlan:
        """Return a plan that only says how far the partition is measured. `finished`: as for `plans`."""
        read = self._read_until(self._times, (), finished)
        self._last = replace(self._last, progress=replace(self._last.progress, at=self._clock(), read=read))
        return self._last

    def _times_with(self, records: Sequence[Record]) -> dict[str, float]:
        times = dict(self._times)
        for record in records:
            times[record.topic] = max(times.get(record.topic, 0.0), record.timestamp / 1000)
        return times

    def _read_until(self, times: Mapping[str, float], left: Sequence[Record], finished: Set[str]) -> float | None:
        """The broker's time up to which both topics have been read, while these records are left; None where it isn't
        known."""
        now = dict.fromkeys(finished - {record.topic for record in left}, self._clock() - SLACK_SECONDS)
        known = {**times, **now}
        return None if any(topic not in known for topic in TOPICS) else min(known.values())

    def _note_names(self, tables: PartitionTables) -> None:
        """Look now and then which names the rows have: those that are over make room for others."""
        if self._names is None or self._clock() >= self._next_names:
            self._names = KnownNames(tables.keys(WINDOWS))
            self._next_names = self._clock() + DAY

    def _fitting_plan(self, tables: PartitionTables, records: Sequence[Record], read: float | None) -> WritePlan:
        """Return the plan of these records. Raises `TooLarge` where it can't be written as one record, and whatever
        measuring them raises."""
        self._dead_letters.clear()
        plan = self._plan(tables, records, read)
        size, limit = len(plan.to_bytes()), MAX_PLAN_BYTES if len(records) == 1 else MAX_BATCH_PLAN_BYTES
        if size > limit:
            raise TooLarge(f"its rows take {size:,} bytes, at most {limit:,} are written")
        self._recent.extend([False] * len(records))
        return plan

    def _plan_without(self, record: Record, error: Exception) -> WritePlan:
        """What is left to do of one record that can't be measured. Raises `TooManyDeadLetters`."""
        log_failure("insights", record, error)
        self._recent.append(True)
        failed, seen = sum(self._recent), len(self._recent)
        if seen >= LIMITS.dead_letter_minimum and failed > seen * LIMITS.dead_letter_share:
            raise TooManyDeadLetters(f"{failed} of the last {seen} records can't be measured, the last: {error}")
        self._dead_letters[:] = [(record, FAILED, describe_failure(error))]
        counts = Counter(self._last.progress.counts) + Counter(records=1, failed=1)
        offsets = {**self._last.offsets, record.topic: record.offset}
        progress = replace(self._last.progress, counts=dict(counts), offsets=offsets)
        return replace(self._last, offsets=offsets, progress=progress)

    def _plan(self, tables: PartitionTables, records: Sequence[Record], read: float | None) -> WritePlan:
        counts = Counter(self._last.progress.counts)
        offsets, newest = dict(self._last.offsets), self._last.progress.newest
        by_person: defaultdict[str, list[TimedEvent]] = defaultdict(list)
        for record in records:
            expected = offsets.get(record.topic, record.offset - 1) + 1
            counts["missed"] += max(0, record.offset - expected)
            counts["records"] += 1
            offsets[record.topic] = record.offset
            timed = self._parse(record, counts)
            if timed is not None:
                newest = max(newest, timed.at)
                by_person[timed.event.person.key].append(timed)
        now = self._clock()
        updates = RowUpdates(self._settings, now)
        people: dict[bytes, bytes | None] = {}
        for person, events in by_person.items():
            people[person.encode()] = self._fold(tables, updates, person, events, read or 0.0, counts)
        windows = updates.apply(lambda key: load_row(tables, WINDOWS, key.to_bytes(), partial(parse_row, key)))
        progress = PartitionProgress(now, newest, dict(+counts), offsets, read)
        return WritePlan(self._logs, offsets, progress, {PEOPLE: people, WINDOWS: windows})

    def _parse(self, record: Record, counts: Counter[str]) -> TimedEvent | None:
        """None: it isn't measured."""
        ingest_time = record.timestamp / 1000
        event: ServedList | ImpressionReport | Interaction | Erased
        try:
            if record.topic == IMPRESSIONS:
                event = parse_impression(record.value)
            else:
                parsed = parse_person_event(record.value)
                require_author(parsed, record.headers, record.is_trusted)
                if not isinstance(parsed, Interaction | Erased) or self._counts_elsewhere(parsed, record):
                    return None
                event = parsed
            at = clamp_event_time(event.timestamp, ingest_time)
        except InvalidEvent as error:
            counts["unreadable"] += 1
            if record.topic == IMPRESSIONS:  # of interactions, the profiler keeps what can't be read
                self._dead_letters.append((record, INVALID, str(error)))
            return None
        if not isinstance(event, Erased) and ingest_time - at > self._settings.lateness_minutes * 60:
            counts["late"] += 1
            return None
        if isinstance(event, ServedList):
            event = event.model_copy(update={"timestamp": at})
        if isinstance(event, ServedList | ImpressionReport):
            assert self._names is not None
            event = self._names.bound(event)
        return TimedEvent(record, event, at)

    def _counts_elsewhere(self, event: Interaction | Erased, record: Record) -> bool:
        """Whether the profiler forwards it to the partition where it belongs, or has forwarded it from where it was
        counted: what comes under an anonymous id counts for the lists of that id."""
        if isinstance(event, Erased):
            return False
        if partition_of(event.person.key.encode(), self._partitions) != record.partition:
            return True
        forwarded = ForwardedFrom.from_headers(record.headers)
        if forwarded is None or event.user_id is None or event.anonymous_id is None:
            return False
        visitor = Person("a", event.anonymous_id)
        return partition_of(visitor.key.encode(), self._partitions) == forwarded.origin.partition

    def _fold(
        self,
        tables: PartitionTables,
        updates: RowUpdates,
        person: str,
        events: Sequence[TimedEvent],
        read: float,
        counts: Counter[str],
    ) -> bytes:
        """Add a person's events to their log, book the difference in `updates`, and return their row."""
        kept = load_row(tables, PEOPLE, person.encode(), partial(self._load_person, person))
        known, before = kept or (PersonLog(), Contribution())
        for timed in events:
            known.newest = max(known.newest, timed.record.timestamp / 1000)
            if isinstance(timed.event, Erased):
                updates.add(person, known, before)
                known.erase(timed.at)
                before = measure_contribution(person, known, self._settings)
                continue
            try:
                self._add_event(known, timed)
            except InvalidEvent as error:
                counts["failed"] += 1
                self._dead_letters.append((timed.record, INVALID, str(error)))
        updates.add(person, known, before)
        counts["cut"] += known.drop_settled(read, self._settings)
        data = known.to_bytes()
        while len(data) > MAX_PERSON_BYTES:
            counts["cut"] += known.shrink()
            data = known.to_bytes()
        return data

    def _load_person(self, person: str, data: bytes) -> tuple[PersonLog, Contribution]:
        """A person's log, and what they have added so far."""
        known = PersonLog.from_bytes(data)
        return known, measure_contribution(person, known, self._settings)

    def _add_event(self, known: PersonLog, timed: TimedEvent) -> None:
        event, record = timed.event, timed.record
        place = place_of(record.partition, record.offset)
        if isinstance(event, ServedList):
            known.add_list(event, place)
        elif isinstance(event, ImpressionReport):
            known.add_report(event, timed.at, place)
        elif isinstance(event, Interaction):
            known.add_action(event, event.scoped_id(record.place), timed.at, place, self._settings)
