"""Fills a generation of profiles from the log, with an ordinary profiler whose side effects are held back.

Partitions are read one batch at a time, and never past a transfer whose origin hasn't been folded yet: so a transfer is
taken with the snapshot of this generation, not with the one that the old generation sent.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import TypeAlias

import orjson

from eddyline.adapters.kafka import (
    DeadLetterWriter,
    LogReader,
    Message,
    Outgoing,
    Producer,
    Record,
    RecordMetadata,
    TopicPartition,
)
from eddyline.adapters.telemetry import Metrics
from eddyline.adapters.vectors import Collections, Point, PointStore
from eddyline.errors import InvalidEvent, Misconfigured
from eddyline.model.forwarding import ForwardedFrom
from eddyline.model.ids import Person
from eddyline.model.offsets import Offsets
from eddyline.model.profile import STORED_VECTORS, Profile
from eddyline.profiler import TOPIC, ParsedPersonEvent, Profiler, to_profile_point
from eddyline.settings import ProfileSettings, Settings

BATCH = 500
SCROLL = 256
SPAN_MS = 60_000
"""A batch is handled as of its last record's arrival; so much earlier its first may have come."""
STREAM_RECORDS = 5000
"""Records of one partition handled before the next partition has its turn."""
RecordPosition: TypeAlias = tuple[str, int, int]
"""Log, partition, offset."""
TranslateRecord: TypeAlias = Callable[[Record], Record]
"""What a record of the log must be read as; the record itself, as a rule."""
ReportProgress: TypeAlias = Callable[[int], None]
"""Hears how many more are done."""
ConvertProfiles: TypeAlias = Callable[[Sequence[Profile]], None]
"""What must be changed, in place, of profiles that are taken over."""
Select: TypeAlias = Callable[[Sequence[Message[ParsedPersonEvent]]], Sequence[Message[ParsedPersonEvent]]]
"""Which messages of a batch are handled; all, as a rule."""


def leave_unchanged(taken_over: Sequence[Profile]) -> None:
    """Change nothing."""


def ignore_progress(count: int) -> None:
    """Hear of no progress."""


class GatedOutputs:
    """Where a rebuilding profiler's records and dead letters go: nowhere, until they are `heard`.

    Those of the old generation are in the log and its dead letters already. Transfers are kept, by their origin.
    """

    def __init__(self, producer: Producer | None, dead_letters: DeadLetterWriter | None) -> None:
        self._producer, self._dead_letters = producer, dead_letters
        self.heard = False
        self.transfers: dict[RecordPosition, bytes] = {}

    def send(self, record: Outgoing) -> Future[RecordMetadata]:
        """Send it, or seem to."""
        self._keep(record)
        if self.heard and self._producer is not None:
            return self._producer.send(record)
        future: Future[RecordMetadata] = Future()
        future.set_result(RecordMetadata(record.topic, -1, -1))
        return future

    def send_all(self, records: Sequence[Outgoing]) -> list[RecordMetadata]:
        """Send them, or seem to."""
        if self.heard and self._producer is not None:
            for record in records:
                self._keep(record)
            return self._producer.send_all(records)
        return [self.send(record).result() for record in records]

    def check(self) -> None:
        """Raise `Unavailable` unless the cluster answers."""
        if self._producer is not None:
            self._producer.check()

    def close(self) -> None:
        """The real producer is its owner's to close."""

    def put(self, record: Record, reason: str, detail: str, attempt: int = 1) -> None:
        """Bury it, or seem to."""
        if self.heard and self._dead_letters is not None:
            self._dead_letters.put(record, reason, detail, attempt)

    def _keep(self, record: Outgoing) -> None:
        passage = ForwardedFrom.of(record.headers)
        if passage is not None and _is_transfer(record.value):
            assert record.value is not None
            self.transfers[passage.log, passage.partition, passage.offset] = record.value


@dataclass(slots=True)
class RebuildCounts:
    """What became of the records."""

    handled: int = 0
    invalid: int = 0
    foreign: int = 0
    """Transfers from before the log that could not be taken over."""
    carried: int = 0
    """Profiles older than the log, taken over as they were."""


@dataclass(slots=True)
class _PartitionStream:
    """What is left to read of a partition. `head` was read, and waits."""

    records: Iterator[Record]
    end: int
    head: Record | None = None
    ended: bool = False

    def peek(self) -> Record | None:
        """The next record; None at the end."""
        if self.head is None and not self.ended:
            self.head = next(self.records, None)
            self.ended = self.head is None
        return self.head

    def take(self) -> Record:
        """The next record, which was peeked at."""
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
    """One run. `collections` are concrete; those of the profiles must exist and be nobody else's.

    `positions` is the next offset to read of each partition; `tell` hears how many more records were read.
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
        tell: ReportProgress = ignore_progress,
        clock: Callable[[], float] = time.time,
        select: Select = lambda messages: messages,
    ) -> None:
        self._log, self._store, self._settings = log, store, settings
        self._outputs, self.collections = outputs, collections
        self._translate, self._tell, self._select = translate, tell, select
        self._clock = _LogClock(clock)
        self.epoch = int(clock() * 1000)
        self.tally = RebuildCounts()
        self._lows = {partition: low for partition, (low, _) in log.bounds(TOPIC).items()}
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
            reverse_recents=settings.affinity.reverse_recents,
        )
        self._profiler.assigned({TopicPartition(TOPIC, partition): self.epoch for partition in self._lows})

    def carry_over(self, live: str, log_identity: str, convert: ConvertProfiles = leave_unchanged) -> None:
        """Take over the profiles that the log alone can't give: those whose first record it no longer holds.

        Records at or under their watermarks are then passed over, and what came later is folded into them.
        """

        def is_lost(profile: Profile) -> bool:
            return not is_covered(profile.first, log_identity, self._lows)

        target, settings = self.collections.profiles, self._settings.profile
        self.tally.carried = carry_over(self._store, live, target, settings, convert, is_lost, self.epoch)

    def run(self, ends: Mapping[int, int], *, heard: bool = False) -> None:
        """Fold what lies before these offsets; `heard`: with all side effects, as the live profiler.

        A partition may stop short of its end: at a transfer whose origin lies beyond the ends.
        """
        self._outputs.heard = heard
        streams = {
            partition: _PartitionStream(self._log.read(TOPIC, partition, self.positions[partition], end), end)
            for partition, end in ends.items()
            if self.positions[partition] < end
        }
        while streams:
            moved = [partition for partition in list(streams) if self._drain(partition, streams)]
            if not moved:
                return

    def settle(self) -> None:
        """Look once more, as of now, at what waits for its item."""
        self._clock.present = True
        self._profiler.tick()

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
        self._profiler.tick()
        self._tell(self.positions[partition] - before)
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
        self._profiler.tick()  # what has waited too long by then is given up before the same event comes again
        messages = self._select([message for record in records if (message := self._read(record)) is not None])
        if messages:
            self._profiler.handle(messages)
        self.tally.handled += len(messages)

    def _read(self, record: Record) -> Message[ParsedPersonEvent] | None:
        origin = _transfer_origin(record)
        if origin is not None:
            record = replace(record, value=self._outputs.transfers.pop(origin, record.value))
        record = self._translate(record)
        try:
            return Message(record, self._profiler.parse(record))
        except InvalidEvent as error:
            self._outputs.put(record, "invalid_event", str(error))
            self.tally.invalid += 1
        except Misconfigured:
            if origin is None:
                raise
            self.tally.foreign += 1  # the snapshot of another version, of someone whose events the log has lost
        return None


def carry_over(
    store: PointStore,
    live: str,
    target: str,
    settings: ProfileSettings,
    convert: ConvertProfiles,
    wanted: Callable[[Profile], bool],
    epoch: int,
) -> int:
    """Copy the `wanted` profiles of one collection to another, as `convert` makes them. How many there were."""
    carried, after = 0, None
    while True:
        page, after = store.scroll(live, limit=SCROLL, after=after, vectors=STORED_VECTORS)
        kept = [(point, profile) for point in page if wanted(profile := _loaded(point, settings))]
        convert([profile for _, profile in kept])
        points = []
        for point, profile in kept:
            profile.epoch = epoch
            points.append(replace(to_profile_point(profile, point.payload.get("waiting", 0)), id=point.id))
        if points:
            store.upsert(target, points)
        carried += len(points)
        if after is None:
            return carried


def _loaded(point: Point, settings: ProfileSettings) -> Profile:
    key = point.payload.get("person")  # an erased one's stub names nobody
    person = Person("u", "") if key is None else Person.from_key(key)
    return Profile.load(person, point.payload, point.vectors, settings)


def is_covered(first: Offsets, log_identity: str, lows: Mapping[int, int]) -> bool:
    """Whether everything that a profile owes something to is still in the log."""
    return all(
        log == log_identity and all(offset >= lows.get(partition, offset + 1) for partition, offset in marks.items())
        for log, marks in first.items()
    )


def _transfer_origin(record: Record) -> RecordPosition | None:
    try:
        passage = ForwardedFrom.of(record.headers)
    except InvalidEvent:
        return None
    if passage is None or not _is_transfer(record.value):
        return None
    return passage.log, passage.partition, passage.offset


def _is_transfer(value: bytes | None) -> bool:
    try:
        said = orjson.loads(value or b"null")
    except orjson.JSONDecodeError:
        return False
    return isinstance(said, dict) and said.get("type") == "transfer"
