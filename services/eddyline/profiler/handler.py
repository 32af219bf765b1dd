"""The handler of `interactions`.

A batch is folded into copies of the cached profiles; the activity records are acknowledged first, then the profiles are
written (one write a person, under the partition's epoch), and only then do the copies replace the cached ones. A failed
attempt leaves the cache as it was, so that the next one folds the same records again.

What concerns someone whose records lie on another partition is passed on to its owner as a record of its own
(`model.passage`): an event that an app put on the wrong partition, what an anonymous person was when they were
identified, and what is done under that anonymous id later.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache

import structlog

from eddyline.adapters.kafka import DeadLetterWriter, Message, Producer, Record, TopicPartition, partition_of
from eddyline.adapters.telemetry import Metrics
from eddyline.adapters.vectors import Collections, PointStore
from eddyline.model.events import Exposure, Identify, Interaction
from eddyline.model.forwarding import ForwardedFrom, SequenceCheck
from eddyline.model.ids import Person
from eddyline.model.profile import DAY, Profile
from eddyline.profiler.attempt import Attempt, Outbox
from eddyline.profiler.items import ItemVector, ItemVectors
from eddyline.profiler.pending import PendingIndex
from eddyline.profiler.profile_store import ProfileStore
from eddyline.profiler.profile_updater import INVALID, ParsedPersonEvent, ProfileUpdater, UnreadableForward
from eddyline.profiler.records import ingest_time, with_id_and_time
from eddyline.settings import EventSettings, ProfileSettings
from eddyline.topics import INTERACTIONS

LOOKUPS = 1000
"""Most waiting items that are looked up in one tick."""
SWEEP_SECONDS = 3600.0

log = structlog.get_logger("profiler")


class Profiler:
    """The handler of the topic `interactions`.

    `partitions`: of the topic, for finding records that an app put on the wrong one. `clock`: epoch seconds.
    `backward_window`: the setting of that name in `affinity`.
    """

    topics = (INTERACTIONS,)

    def __init__(
        self,
        store: PointStore,
        producer: Producer,
        dead_letters: DeadLetterWriter,
        events: EventSettings,
        settings: ProfileSettings,
        partitions: int,
        metrics: Metrics,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        collections: Collections = Collections(),
        backward_window: int = 0,
    ) -> None:
        self._settings, self._metrics = settings, metrics
        self._clock, self._monotonic = clock, monotonic
        self._partition_of = lru_cache(maxsize=100_000)(lambda key: partition_of(key.encode(), partitions))
        self._updater = ProfileUpdater(events, settings, metrics, clock, backward_window)
        self._items = ItemVectors(store, collections.items, settings, clock, monotonic)
        self._profiles = ProfileStore(store, collections.profiles, settings)
        self._outbox = Outbox(producer, dead_letters, metrics)
        self._waiting = PendingIndex()
        self._next_sweep = -math.inf

    # -- the loop's calls ---------------------------------------------------------------------------------------

    def parse(self, record: Record) -> ParsedPersonEvent:
        """Raises `InvalidEvent`: not JSON, no event that there is, an unknown type, a time far ahead."""
        return self._updater.parse(record)

    def handle(self, batch: Sequence[Message[ParsedPersonEvent]]) -> None:
        """Fold the batch; the profiles are durable when it returns."""
        attempt = Attempt()
        here = [message for message in batch if not self._is_misrouted(message)]
        self._profiles.load({m.value.person: m.record.partition for m in here}, attempt)
        items = self._items.find({m.value.item_id for m in here if isinstance(m.value, Interaction)})
        for message in batch:  # in the order of their offsets, since that is the order in which they are passed on
            if self._is_misrouted(message):
                self._forward(message, attempt)
            else:
                self._apply(message, items, attempt)
        self._commit(attempt)
        now = self._clock()
        for message in here:
            self._metrics.visible_seconds.observe(max(0.0, now - ingest_time(message.record)))

    def assigned(self, epochs: Mapping[TopicPartition, int]) -> None:
        """Take over partitions: note their epochs, and find the profiles in which interactions wait."""
        for source, epoch in epochs.items():
            self._profiles.add_partition(source.partition, epoch)
            for profile in self._profiles.waiting(source.partition):
                self._waiting.note(profile)
        self._metrics.waiting.set(len(self._waiting))

    def revoked(self, partitions: Iterable[TopicPartition]) -> None:
        """Forget all that belongs to these partitions."""
        for person in self._profiles.remove_partitions(source.partition for source in partitions):
            self._waiting.note(Profile(person, self._settings))
        self._metrics.waiting.set(len(self._waiting))

    def tick(self) -> None:
        """Fold the interactions whose items have come; give up on those that waited too long; sweep."""
        self._sweep()
        if not self._waiting:
            return
        found = self._items.find(self._waiting.next_items(LOOKUPS))
        people = {person for item_id in found for person in self._waiting.waiting_for(item_id)} | self._overdue()
        if not people:
            return
        attempt = Attempt()
        self._profiles.load({person: self._profiles.partition_of(person) for person in people}, attempt)
        for profile in attempt.profiles.values():
            self._updater.apply_pending(profile, found, attempt)
        self._commit(attempt)

    # -- one record ---------------------------------------------------------------------------------------------

    def _is_misrouted(self, message: Message[ParsedPersonEvent]) -> bool:
        """Whether an app has put it on another partition than its person's."""
        return self._partition_of(message.value.person.key) != message.record.partition

    def _forward(self, message: Message[ParsedPersonEvent], attempt: Attempt) -> None:
        """Send it on to the right one."""
        record, event = message.record, message.value
        if isinstance(event, UnreadableForward):
            attempt.give_up(record, INVALID, event.reason)
            return
        if isinstance(event, Interaction | Identify | Exposure):
            event = with_id_and_time(event, record)
        attempt.pass_on(record, event.person, event)

    def _apply(self, message: Message[ParsedPersonEvent], items: Mapping[str, ItemVector], attempt: Attempt) -> None:
        record, event = message.record, message.value
        profile = attempt.profiles[event.person]
        if profile.has_folded(record.log, record.partition, record.offset):
            self._metrics.repeated.labels("offset").inc()
            return
        attempt.changed.add(event.person)
        if self._is_next(profile, record):
            self._updater.apply(profile, event, record, items, attempt)
        profile.advance(record.log, record.partition, record.offset)

    def _is_next(self, profile: Profile, record: Record) -> bool:
        """Whether to take the record: of those that were passed on, each origin once, and none through a gap."""
        passage = ForwardedFrom.of(record.headers)
        verdict = SequenceCheck.NEXT if passage is None else profile.receive(passage)
        if verdict is SequenceCheck.REPEAT:
            self._metrics.repeated.labels("origin").inc()
        elif verdict is SequenceCheck.GAP:
            log.info("skipped a forwarded record behind a gap; it will come again", place=record.place)
        return verdict is SequenceCheck.NEXT

    # -- durable effects ----------------------------------------------------------------------------------------

    def _commit(self, attempt: Attempt) -> None:
        """All that must be out acknowledged, then profiles durable, then the cache: in this order."""
        self._outbox.send(attempt)
        self._profiles.write(attempt)
        self._outbox.clear()
        for profile in attempt.profiles.values():
            self._waiting.note(profile)
        self._metrics.folded.inc(attempt.folded)
        self._metrics.waiting.set(len(self._waiting))

    def _overdue(self) -> set[Person]:
        """Who has something that waited too long, as far as that is at hand."""
        deadline = self._clock() - self._settings.pending_seconds
        cached = {person: self._profiles.cached(person) for person in self._waiting.people()}
        return {
            person
            for person, profile in cached.items()
            if profile is None or any(entry.since < deadline for entry in profile.pending)
        }

    def _sweep(self) -> None:
        """Now and then, by the owner of one partition for all: stubs only kept late events from going astray."""
        if not self._profiles.owns(0) or self._monotonic() < self._next_sweep:
            return
        self._profiles.sweep(self._clock() - self._settings.tombstone_days * DAY)
        self._next_sweep = self._monotonic() + SWEEP_SECONDS
