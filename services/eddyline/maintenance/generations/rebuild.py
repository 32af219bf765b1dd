"""Fills a generation of profiles from the log, with an ordinary profiler whose side effects are held back.

Partitions are read one batch at a time, and never past a transfer whose origin hasn't been folded yet: so a transfer is
taken with the snapshot of this generation, not with the one that the old generation sent.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import TypeAlias

import orjson

from eddyline.adapters.kafka import (
    FAILED,
    INVALID,
    Acknowledgements,
    DeadLetterWriter,
    LogReader,
    Message,
    Outgoing,
    Producer,
    Record,
    RecordMetadata,
    TopicPartition,
    describe_failure,
    is_records_fault,
)
from eddyline.adapters.telemetry import Metrics
from eddyline.adapters.vectors import Collections, Point, PointStore, scroll_profiles
from eddyline.errors import InvalidEvent
from eddyline.model.forwarding import ForwardedFrom
from eddyline.model.ids import Person
from eddyline.model.offsets import LogPosition, Offsets
from eddyline.model.profile import Profile, decode_profile
from eddyline.profiler import ParsedEvent, Profiler, to_profile_point
from eddyline.settings import ProfileSettings, Settings
from eddyline.topics import INTERACTIONS

BATCH = 500
SPAN_MS = 60_000
"""A batch is handled as of its last record's arrival; so much earlier its first may have come."""
STREAM_RECORDS = 5000
"""Records of one partition handled before the next partition has its turn."""
TranslateRecord: TypeAlias = Callable[[Record], Record]
"""Makes of a record of the log what it is read as; itself, as a rule."""
ReportProgress: TypeAlias = Callable[[int], None]
"""Takes how many more are done."""
ConvertProfiles: TypeAlias = Callable[[Sequence[Profile]], None]
"""Changes, in place, what must be changed of profiles that are taken over."""
Select: TypeAlias = Callable[[Sequence[Message[ParsedEvent]]], Sequence[Message[ParsedEvent]]]
"""Chooses the messages of a batch that are handled; all, as a rule."""


class GatedOutputs:
    """A producer and dead letters that drop what a rebuilding profiler sends, until they are `open`.

    What the old generation sent is in the log and its dead letters already. Transfers are kept, by their origin.
    """

    def __init__(self, producer: Producer | None, dead_letters: DeadLetterWriter | None) -> None:
        self._producer, self._dead_letters = producer, dead_letters
        self.open = False
        self.transfers: dict[LogPosition, bytes] = {}

    def send(self, record: Outgoing) -> Future[RecordMetadata]:
        """Send a record, or seem to."""
        self._keep(record)
        if self.open and self._producer is not None:
            return self._producer.send(record)
        future: Future[RecordMetadata] = Future()
        future.set_result(RecordMetadata(record.topic, -1, -1))
        return future

    def send_all(self, records: Sequence[Outgoing]) -> list[RecordMetadata]:
        """Send records, or seem to."""
        return self.begin_all(records)()

    def begin_all(self, records: Sequence[Outgoing]) -> Acknowledgements:
        """Send records, or seem to; what is returned waits for them."""
        if self.open and self._producer is not None:
            for record in records:
                self._keep(record)
            return self._producer.begin_all(records)
        sent = [self.send(record).result() for record in records]
        return lambda: sent

    def check(self) -> None:
        """Raise `Unavailable` unless the cluster answers."""
        if self._producer is not None:
            self._producer.check()

    def close(self) -> None:
        """Do nothing: the real producer is its owner's to close."""

    def put(self, record: Record, reason: str, detail: str, attempt: int = 1) -> None:
        """Write a dead letter, or seem to."""
        if self.open and self._dead_letters is not None:
            self._dead_letters.put(record, reason, detail, attempt)

    def put_all(self, records: Sequence[tuple[Record, str, str]]) -> None:
        """Write dead letters, or seem to."""
        if self.open and self._dead_letters is not None:
            self._dead_letters.put_all(records)

    def _keep(self, record: Outgoing) -> None:
        forwarded = ForwardedFrom.from_headers(record.headers)
        if forwarded is not None and _is_transfer(record.value):
            assert record.value is not None
            self.transfers[forwarded.origin] = record.value


@dataclass(slots=True)
class RebuildCounts:
    """Counts of what became of the records."""

    handled: int = 0
    invalid: int = 0
    carried: int = 0
    """Profiles older than the log, taken over as they were."""


@dataclass(slots=True)
class _PartitionStream:
    """The records left to read of a partition. `head` was read, and waits."""

    records: Iterator[Record]
    end: int
    head: Record | None = None
    ended: bool = False

    def peek(self) -> Record | None:
        """Look at the next record; None at the end."""
        if self.head is None and not self.ended:
            self.head = next(self.records, None)
            self.ended = self.head is None
        return self.head

    def take(self) -> Record:
        """Take the record that was peeked at."""
        record, self.head = self.head, None
        assert record is not None
        return record


@dataclass(slots=True)
class _LogClock:
    """The time at which the records being handled arrived, until it is let go to the present."""

    clock: Callable[[], float]
    arrived: float = 0.0
    present: bool = False

    def __call__(self) -> float:
        return self.clock() if self.present else self.arrived


class ProfileRebuild:
    """One run of a profiler over the log. `collections` are concrete; the profiles' must exist and be nobody else's.

    `positions` is the next offset to read of each partition; `advance` gets how many more records were read.
    """

    def __init__(
        self,
        log: LogReader,
        store: PointStore,
        outputs: GatedOutputs,
        settings: Settings,
        collections: Collections,
        partitions: int,
        translate: TranslateRecord = lambda record: record,
        advance: ReportProgress = lambda _: None,
        clock: Callable[[], float] = time.time,
        select: Select = lambda messages: messages,
    ) -> None:
        self._log, self._store, self._settings = log, store, settings
        self._outputs, self.collections = outputs, collections
        self._translate, self._advance, self._select = translate, advance, select
        self._clock = _LogClock(clock)
        self.epoch = int(clock() * 1000)
        self.counts = RebuildCounts()
        self._lows = {partition: low for partition, (low, _) in log.bounds(INTERACTIONS).items()}
        self.positions = dict(self._lows)
        self._profiler = Profiler(
            store,
            outputs,
            outputs,
            settings.events,
            settings.profile,
            partitions,
            Metrics(),
            clock=self._clock,
            collections=collections,
            backward_window=settings.affinity.backward_window,
        )
        self._profiler.assigned({TopicPartition(INTERACTIONS, partition): self.epoch for partition in self._lows})

    def carry_over(self, live: str, log_identity: str, convert: ConvertProfiles = lambda _: None) -> None:
        """Take over the profiles that the log alone can't give: those whose first record it no longer holds.

        Records at or under their watermarks are then passed over, and what came later is folded into them.
        """

        def is_lost(profile: Profile) -> bool:
            return not is_covered(profile.delivery.first, log_identity, self._lows)

        target, settings = self.collections.profiles, self._settings.profile
        self.counts.carried = carry_over(self._store, live, target, settings, convert, is_lost, self.epoch)

    def run(self, ends: Mapping[int, int], *, with_side_effects: bool = False) -> None:
        """Fold what lies before these offsets; `with_side_effects`: as the live profiler would, sending everything.

        A partition may stop short of its end: at a transfer whose origin lies beyond the ends.
        """
        self._outputs.open = with_side_effects
        streams = {
            partition: _PartitionStream(self._log.read(INTERACTIONS, partition, self.positions[partition], end), end)
            for partition, end in ends.items()
            if self.positions[partition] < end
        }
        while streams:
            moved = [partition for partition in list(streams) if self._drain(partition, streams)]
            if not moved:
                return

    def apply_pending(self) -> None:
        """Look once more, as of now, at what waits for its item."""
        self._clock.present = True
        self._profiler.tick(math.inf)

    def _drain(self, partition: int, streams: dict[int, _PartitionStream]) -> bool:
        """Handle some of a partition; whether it moved."""
        stream, before = streams[partition], self.positions[partition]
        while self.positions[partition] - before < STREAM_RECORDS:
            batch = self._batch(stream)
            if batch:
                self._handle(batch)
                self.positions[partition] = batch[-1].offset + 1
            elif stream.peek() is None:
                self.positions[partition] = stream.end
                del streams[partition]
                break
            else:
                break  # at a transfer that must wait
        self._profiler.tick(math.inf)
        self._advance(self.positions[partition] - before)
        return self.positions[partition] > before

    def _batch(self, stream: _PartitionStream) -> list[Record]:
        batch: list[Record] = []
        while len(batch) < BATCH and (record := stream.peek()) is not None and not self._is_ahead(record):
            if batch and record.timestamp > batch[0].timestamp + SPAN_MS:
                break
            batch.append(stream.take())
        return batch

    def _is_ahead(self, record: Record) -> bool:
        """Whether it is a transfer of which the origin isn't folded yet."""
        origin = _transfer_origin(record)
        if origin is None or origin[0] != record.log:
            return False
        _, partition, offset = origin
        return offset >= self.positions.get(partition, offset + 1)

    def _handle(self, records: Sequence[Record]) -> None:
        self._clock.arrived = max(self._clock.arrived, records[-1].timestamp / 1000)
        self._profiler.tick(math.inf)  # what has waited too long by then is given up before the same event comes again
        messages = self._select([message for record in records if (message := self._read(record)) is not None])
        if messages:
            self._handle_or_isolate(messages)

    def _handle_or_isolate(self, messages: Sequence[Message[ParsedEvent]]) -> None:
        """Handle messages; by halves where the profiler fails, down to the one at fault, as the live one does."""
        try:
            self._profiler.handle(messages)
        except Exception as error:
            if not is_records_fault(error):
                raise
            if len(messages) > 1:
                middle = len(messages) // 2
                self._handle_or_isolate(messages[:middle])
                self._handle_or_isolate(messages[middle:])
                return
            self._outputs.put(messages[0].record, FAILED, describe_failure(error))
            self.counts.invalid += 1
        else:
            self.counts.handled += len(messages)

    def _read(self, record: Record) -> Message[ParsedEvent] | None:
        origin = _transfer_origin(record)
        if origin is not None:
            record = replace(record, value=self._outputs.transfers.pop(origin, record.value))
        record = self._translate(record)
        try:
            return Message(record, self._profiler.parse(record))
        except Exception as error:
            if not is_records_fault(error):
                raise
            is_invalid = isinstance(error, InvalidEvent)
            detail = str(error) if is_invalid else describe_failure(error)
            self._outputs.put(record, INVALID if is_invalid else FAILED, detail)
            self.counts.invalid += 1
        return None


def carry_over(
    store: PointStore,
    live: str,
    target: str,
    settings: ProfileSettings,
    convert: ConvertProfiles,
    is_selected: Callable[[Profile], bool],
    epoch: int,
) -> int:
    """Copy the selected profiles of one collection to another, as `convert` makes them. Returns their count."""
    carried = 0
    for page in scroll_profiles(store, live):
        kept = [(point, profile) for point in page if is_selected(profile := _loaded(point, settings))]
        convert([profile for _, profile in kept])
        points = []
        for point, profile in kept:
            profile.delivery.epoch = epoch
            points.append(replace(to_profile_point(profile, point.payload.get("waiting", 0)), id=point.id))
        if points:
            store.upsert(target, points)
        carried += len(points)
    return carried


def _loaded(point: Point, settings: ProfileSettings) -> Profile:
    key = point.payload.get("person")  # an erased one's tombstone names nobody
    person = Person("u", "") if key is None else Person.from_key(key)
    return decode_profile(person, point.payload, point.vectors, settings)


def is_covered(first: Offsets, log_identity: str, lows: Mapping[int, int]) -> bool:
    """Tell whether all records that a profile was made of are still in the log."""
    return all(
        log == log_identity and all(offset >= lows.get(partition, offset + 1) for partition, offset in marks.items())
        for log, marks in first.items()
    )


def _transfer_origin(record: Record) -> LogPosition | None:
    try:
        forwarded = ForwardedFrom.from_headers(record.headers)
    except InvalidEvent:
        return None
    if forwarded is None or not record.is_trusted or not _is_transfer(record.value):
        return None
    return forwarded.origin


def _is_transfer(value: bytes | None) -> bool:
    try:
        parsed = orjson.loads(value or b"null")
    except orjson.JSONDecodeError:
        return False
    return isinstance(parsed, dict) and parsed.get("type") == "transfer"
