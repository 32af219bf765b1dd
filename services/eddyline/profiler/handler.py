"""The handler of `interactions`.

A batch is folded into copies of the cached profiles; the activity records are acknowledged first, then the profiles are
written (one write a person, under the partition's epoch), and only then do the copies replace the cached ones. A failed
attempt leaves the cache as it was, so that the next one folds the same records again. All calls come from the consume
loop's one thread.

What concerns someone whose records lie on another partition is forwarded to its owner as a record of its own
(`model.forwarding`): an event that an app put on the wrong partition, what an anonymous person was when they were
identified, and what is done under that anonymous id later.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache

import structlog

from eddyline.adapters.kafka import (
    FAILED,
    INVALID,
    DeadLetterWriter,
    Message,
    Producer,
    Record,
    TopicPartition,
    describe_failure,
    is_records_fault,
    log_failure,
    partition_of,
)
from eddyline.adapters.telemetry import Metrics
from eddyline.adapters.vectors import Collections, PointStore, in_batches
from eddyline.model.events import Erased, Interaction, LeftOut, Onboarded, Transfer
from eddyline.model.forwarding import SequenceCheck
from eddyline.model.ids import Person
from eddyline.model.profile import Profile
from eddyline.profiler.attempt import Attempt, Outbox
from eddyline.profiler.choice_sampler import ChoiceSampler
from eddyline.profiler.item_cache import ItemCache, ItemVector
from eddyline.profiler.parsed_event import GROUP, ParsedEvent, parse_record
from eddyline.profiler.pending_interactions import PendingIndex, from_pending
from eddyline.profiler.profile_store import ProfileStore
from eddyline.profiler.profile_updater import ProfileUpdater
from eddyline.settings import EventSettings, ProfileSettings
from eddyline.topics import INTERACTIONS

LOOKUPS = 1000
"""Waiting items that are looked up in one tick."""
SLICE_PEOPLE = 200
"""People whose pending interactions are worked off at once."""
TICK_SECONDS = 0.25
"""How long a tick goes on with the next slice; ticks come about once a second."""
SWEEP_SECONDS = 3600.0

log = structlog.get_logger("profiler")


class Profiler:
    """The handler of the topic `interactions`.

    `partitions`: of the topic, for finding records that an app put on the wrong one. `clock`: epoch seconds.
    `backward_window`: the setting of that name in `affinity`. `samples_choices`: whether a strategy is learned.
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
        samples_choices: bool = False,
    ) -> None:
        self._events, self._settings, self._metrics = events, settings, metrics
        self._clock, self._monotonic = clock, monotonic
        self._partition_of = lru_cache(maxsize=100_000)(lambda key: partition_of(key.encode(), partitions))
        sampler = ChoiceSampler(monotonic) if samples_choices else None
        self._updater = ProfileUpdater(events, settings, metrics, clock, backward_window, sampler)
        self._items = ItemCache(store, collections, settings, clock, monotonic)
        self._profiles = ProfileStore(store, collections.profiles, settings, metrics, clock)
        self._outbox = Outbox(producer, dead_letters, metrics)
        self._pending = PendingIndex()
        self._next_sweep = -math.inf

    # -- the loop's calls ---------------------------------------------------------------------------------------

    def parse(self, record: Record) -> ParsedEvent:
        """Read a record. Raises `InvalidEvent`: not JSON, no event that there is, an unknown type, a time far ahead."""
        left_out: list[LeftOut] = []
        parsed = parse_record(record, self._events, self._settings, left_out)
        self._metrics.count_left_out(one.field for one in left_out)
        return parsed

    def handle(self, batch: Sequence[Message[ParsedEvent]]) -> None:
        """Fold the batch; the profiles are durable when it returns."""
        attempt = Attempt()
        events = [message.value for message in batch]
        here = [parsed for parsed in events if not self._is_misrouted(parsed)]
        self._profiles.load({parsed.person: parsed.record.partition for parsed in here}, attempt)
        items = self._items.find({one.event.item_id for one in here if isinstance(one.event, Interaction)})
        brings_vectors = any(isinstance(one.event, Onboarded | Transfer) for one in here)
        reference = self._items.reference() if brings_vectors else None
        events = [self._with_forwarding_ids(parsed) for parsed in events]
        for parsed in events:  # in the order of their offsets, since that is the order in which they are forwarded
            if self._is_misrouted(parsed):
                self._reroute(parsed, attempt)
            else:
                self._apply(parsed, items, reference, attempt)
        self._commit(attempt)
        now = self._clock()
        for parsed in here:
            self._metrics.visible_seconds.observe(max(0.0, now - parsed.ingest_time))

    def assigned(self, epochs: Mapping[TopicPartition, int]) -> None:
        """Take over partitions: note their epochs, and find the profiles in which interactions wait."""
        for source, epoch in epochs.items():
            self._profiles.add_partition(source.partition, epoch)
            for profile in self._profiles.with_pending(source.partition):
                self._pending.note(profile)
        self._metrics.waiting.set(len(self._pending))

    def revoked(self, partitions: Iterable[TopicPartition]) -> None:
        """Forget all that belongs to these partitions."""
        for person in self._profiles.remove_partitions(source.partition for source in partitions):
            self._pending.note(Profile(person, self._settings))
        self._metrics.waiting.set(len(self._pending))

    def tick(self, budget_seconds: float = TICK_SECONDS) -> None:
        """Fold the interactions whose items have come; give up on those that waited too long; sweep.

        A catalogue that came late, or not at all, concerns many people at once: it is worked off in slices, for about
        `budget_seconds`, since no batch is handled meanwhile; the next tick goes on.
        """
        self._sweep()
        if not self._pending:
            return
        until = self._monotonic() + budget_seconds
        found = self._items.find(self._pending.next_items(LOOKUPS))
        for people in in_batches(list(dict.fromkeys(self._due(found))), SLICE_PEOPLE):
            self._apply_pending(people, found)
            if self._monotonic() >= until:
                return

    def _apply_pending(self, people: Sequence[Person], found: Mapping[str, ItemVector]) -> None:
        """Work off what these people wait for; by halves where that fails, since one of them must not hold up all. What
        waits for the one at fault becomes dead letters."""
        attempt = Attempt()
        self._profiles.load({person: self._profiles.partition_of(person) for person in people}, attempt)
        try:
            for profile in attempt.profiles.values():
                self._updater.apply_pending(profile, found, attempt)
            self._commit(attempt)
        except Exception as error:
            if not is_records_fault(error):
                raise
            middle = len(people) // 2
            if middle:
                self._apply_pending(people[:middle], found)
                self._apply_pending(people[middle:], found)
            else:
                self._give_up_pending(people[0], error)

    def _give_up_pending(self, person: Person, error: Exception) -> None:
        attempt = Attempt()
        self._profiles.load({person: self._profiles.partition_of(person)}, attempt)
        profile = attempt.profiles[person]
        for entry in profile.delivery.pending:
            log_failure(GROUP, from_pending(entry), error)
            attempt.give_up(from_pending(entry), FAILED, describe_failure(error))
        profile.delivery.pending = ()
        attempt.changed.add(person)
        self._commit(attempt)

    # -- one record ---------------------------------------------------------------------------------------------

    def _is_misrouted(self, parsed: ParsedEvent) -> bool:
        """Return whether an app has put it on another partition than its person's."""
        return self._partition_of(parsed.person.key) != parsed.record.partition

    def _reroute(self, parsed: ParsedEvent, attempt: Attempt) -> None:
        """Forward it to the partition of its person."""
        if parsed.event is None:
            attempt.give_up(parsed.record, INVALID, parsed.error)
        else:
            attempt.forward(parsed.record, parsed.person, parsed.to_forward())

    def _with_forwarding_ids(self, parsed: ParsedEvent) -> ParsedEvent:
        """Look for all anonymous ids of a user who is erased: a profile names the newest alone."""
        event = parsed.event
        if not isinstance(event, Erased) or event.anonymous_id is not None or self._is_misrouted(parsed):
            return parsed
        return replace(parsed, forwarding_ids=self._profiles.forwarding_to(parsed.person))

    def _apply(
        self, parsed: ParsedEvent, items: Mapping[str, ItemVector], reference: ItemVector | None, attempt: Attempt
    ) -> None:
        profile, position = attempt.profiles[parsed.person], parsed.record.position
        if profile.delivery.has_folded(position):
            self._metrics.repeated.labels("offset").inc()
            return
        attempt.changed.add(parsed.person)
        if self._is_next(profile, parsed):
            self._updater.apply(profile, parsed, items, reference, attempt)
        profile.delivery.advance(position)
        profile.active_at = max(profile.active_at, parsed.ingest_time)

    def _is_next(self, profile: Profile, parsed: ParsedEvent) -> bool:
        """Return whether to take the record: of forwarded ones, each origin once, and none through a gap."""
        if parsed.forwarded_from is None:
            return True
        check = profile.delivery.check_sequence(parsed.forwarded_from)
        if check is SequenceCheck.REPEAT:
            self._metrics.repeated.labels("origin").inc()
        elif check is SequenceCheck.GAP:
            log.info("skipped a forwarded record behind a gap; it will come again", place=parsed.record.place)
        return check is SequenceCheck.NEXT

    # -- durable effects ----------------------------------------------------------------------------------------

    def _commit(self, attempt: Attempt) -> None:
        """All that must be out acknowledged, then profiles durable, then the cache: in this order. Points are made
        while Kafka acknowledges."""
        finish_sending = self._outbox.begin(attempt)
        points = self._profiles.to_points(attempt)
        finish_sending()
        self._profiles.write(attempt, points)
        self._outbox.clear()
        for profile in attempt.profiles.values():
            self._pending.note(profile)
        self._metrics.folded.inc(attempt.folded)
        self._metrics.waiting.set(len(self._pending))

    def _due(self, found: Iterable[str]) -> Iterator[Person]:
        """Yield who waits for what was found, then who has something that waited too long, or may have: who isn't
        cached. Some come twice."""
        for item_id in found:
            yield from self._pending.waiting_for(item_id)
        deadline = self._clock() - self._settings.pending_seconds
        for person in self._pending.people():
            profile = self._profiles.cached(person)
            if profile is None or any(entry.since < deadline for entry in profile.delivery.pending):
                yield person

    def _sweep(self) -> None:
        """Remove what has ended, now and then, by the owner of one partition for all: tombstones only kept late events
        from going astray."""
        if not self._profiles.owns(0) or self._monotonic() < self._next_sweep:
            return
        self._profiles.sweep()
        self._next_sweep = self._monotonic() + SWEEP_SECONDS
