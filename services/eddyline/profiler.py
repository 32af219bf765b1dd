"""Profiler: folds every interaction into the profile of the person it belongs to. The only writer of profiles.

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
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice

import numpy as np
import structlog

from eddyline.adapters.kafka import (
    DeadLetters,
    Message,
    Outgoing,
    Producer,
    Record,
    TopicPartition,
    partition_of,
)
from eddyline.adapters.telemetry import Metrics
from eddyline.adapters.vectors import Collections, Filter, Match, Point, Range, Sparse, VectorStore
from eddyline.errors import Fenced, InvalidEvent
from eddyline.model.decay import Vector
from eddyline.model.events import (
    Activity,
    Erased,
    Identify,
    Interaction,
    Onboarded,
    Origin,
    PersonEvent,
    Transfer,
    Wire,
    cloud_event,
    parse_person_event,
    strength,
    timely,
)
from eddyline.model.ids import Person, item_point, person_point
from eddyline.model.passage import Passage, Verdict, without_passage
from eddyline.model.profile import DAY, STORED_VECTORS, Deed, Pending, Profile, TimeConstants
from eddyline.settings import Events as EventSettings
from eddyline.settings import Profile as ProfileSettings

TOPIC = "interactions"
GROUP = "profiler"
UNKNOWN_ITEM, INVALID = "unknown_item", "invalid_event"

LOOKUPS = 1000
"""Most waiting items that are looked up in one tick."""
PENDING_BYTES = 262_144
"""Most that the waiting interactions of one person may hold together."""
TRANSFER_BYTES = 900_000
"""Largest transfer: Kafka takes records up to a megabyte."""
SWEEP_SECONDS = 3600.0
LETTER = -1
"""Stands for a place's dead letter, where numbers stand for what is sent because of it."""

log = structlog.get_logger("profiler")


@dataclass(frozen=True, slots=True)
class ItemVector:
    """An item's content vector (unit length) and the space it lives in; `read_at` by the monotonic clock."""

    vector: Vector
    space: str
    read_at: float


class Attempt:
    """One try at a batch: profiles being folded, and the records that must be acknowledged before they are written."""

    def __init__(self) -> None:
        self.profiles: dict[Person, Profile] = {}
        self.partitions: dict[Person, int] = {}
        self.changed: set[Person] = set()
        self.outgoing: dict[tuple[str, int], Outgoing] = {}
        """By the place of the interaction each is due to, and a number."""
        self.letters: dict[str, tuple[Record, str, str]] = {}
        """Dead letters by their place: the record, the reason, the detail."""
        self.folded = 0
        self._passed: dict[tuple[Person, TopicPartition], int] = {}

    def send(self, due_to: Record, outgoing: Outgoing) -> None:
        """It must be acknowledged before the profiles are written."""
        number = 0
        while (due_to.place, number) in self.outgoing:
            number += 1
        self.outgoing[due_to.place, number] = outgoing

    def pass_on(self, record: Record, person: Person, said: Wire) -> None:
        """Send `said` on to the owner of `person`, once for `record`."""
        stream = (person, record.source)
        passage = Passage(record.log, record.partition, record.offset, self._passed.get(stream))
        self._passed[stream] = record.offset
        headers = (*without_passage(record.headers), *passage.headers())
        self.send(record, Outgoing(TOPIC, person.key.encode(), said.to_bytes(), headers))

    def give_up(self, record: Record, reason: str, detail: str) -> None:
        """It becomes a dead letter."""
        self.letters[record.place] = (record, reason, detail)


class Profiler:
    """The handler of the topic `interactions`.

    `partitions`: of the topic, for finding records that an app put on the wrong one. `clock`: epoch seconds.
    """

    topics = (TOPIC,)

    def __init__(
        self,
        store: VectorStore,
        producer: Producer,
        dead_letters: DeadLetters,
        events: EventSettings,
        settings: ProfileSettings,
        partitions: int,
        metrics: Metrics,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        collections: Collections = Collections(),
    ) -> None:
        self._store, self._producer, self._dead_letters = store, producer, dead_letters
        self._items_of, self._profiles = collections.items, collections.profiles
        self._next_sweep = -math.inf
        self._events, self._settings, self._metrics = events, settings, metrics
        self._clock, self._monotonic = clock, monotonic
        self._taus = TimeConstants.of(settings)
        self._partition_of = lru_cache(maxsize=100_000)(lambda key: partition_of(key.encode(), partitions))
        self._epochs: dict[int, int] = {}
        self._cache: OrderedDict[Person, Profile] = OrderedDict()
        self._owner: dict[Person, int] = {}
        self._items: OrderedDict[str, ItemVector] = OrderedDict()
        self._waiting: defaultdict[str, set[Person]] = defaultdict(set)
        self._waits_for: dict[Person, frozenset[str]] = {}
        self._sent: set[tuple[str, int]] = set()
        """What a failed attempt has sent or buried already: the next one need not again."""

    # -- the loop's calls ---------------------------------------------------------------------------------------

    def parse(self, record: Record) -> PersonEvent:
        """Raises `InvalidEvent`: not JSON, not an interaction, an unknown type, a time far ahead."""
        event = parse_person_event(record.value)
        Passage.of(record.headers)
        if isinstance(event, Interaction):
            strength(event, self._events)
        if isinstance(event, Interaction | Identify):
            timely(event.timestamp, _arrived(record))
        elif isinstance(event, Transfer):
            _unpacked(event, self._settings)
        return event

    def handle(self, batch: Sequence[Message[PersonEvent]]) -> None:
        """Fold the batch; the profiles are durable when it returns."""
        attempt = Attempt()
        here = [message for message in batch if not self._is_astray(message)]
        self._load({m.value.person: m.record.partition for m in here}, attempt)
        items = self._find_items({m.value.item_id for m in here if isinstance(m.value, Interaction)})
        for message in batch:  # in the order of their offsets, since that is the order in which they are passed on
            if self._is_astray(message):
                self._reroute(message, attempt)
            else:
                self._apply(message, items, attempt)
        self._commit(attempt)
        now = self._clock()
        for message in here:
            self._metrics.visible_seconds.observe(max(0.0, now - message.record.timestamp / 1000))

    def assigned(self, epochs: Mapping[TopicPartition, int]) -> None:
        """Take over partitions: note their epochs, and find the profiles in which interactions wait."""
        for partition, epoch in epochs.items():
            self._epochs[partition.partition] = epoch
            self._find_waiting(partition.partition)

    def revoked(self, partitions: Iterable[TopicPartition]) -> None:
        """Forget all that belongs to these partitions."""
        gone = {partition.partition for partition in partitions}
        for partition in gone:
            self._epochs.pop(partition, None)
        lost = {person for person, partition in self._owner.items() if partition in gone}
        for person in lost:
            self._cache.pop(person, None)
            del self._owner[person]
            self._note_waiting(Profile(person, self._settings))
        self._metrics.waiting.set(len(self._waiting))

    def tick(self) -> None:
        """Fold the interactions whose items have come; give up on those that waited too long; sweep."""
        self._sweep()
        if not self._waiting:
            return
        due = list(islice(self._waiting, LOOKUPS))
        for item_id in due:  # to the end of the line, so that each has its turn
            self._waiting[item_id] = self._waiting.pop(item_id)
        found = self._find_items(set(due))
        people = {person for item_id in found for person in self._waiting[item_id]} | self._overdue()
        if not people:
            return
        attempt = Attempt()
        self._load({person: self._owner[person] for person in people}, attempt)
        for profile in attempt.profiles.values():
            self._fold_pending(profile, found, attempt)
        self._commit(attempt)

    def _sweep(self) -> None:
        """Remove stubs that were of no use for long: they only kept late events from going astray.

        One profiler does it, at most once an hour, whoever owns them: an owner that still holds one writes it again.
        """
        if 0 not in self._epochs or self._monotonic() < self._next_sweep:
            return
        unused_since = self._clock() - self._settings.stub_days * DAY
        self._store.delete_matching(self._profiles, Filter(must=(Range("stub_since", lt=unused_since),)))
        self._next_sweep = self._monotonic() + SWEEP_SECONDS

    # -- one record ---------------------------------------------------------------------------------------------

    def _is_astray(self, message: Message[PersonEvent]) -> bool:
        """Whether an app has put it on another partition than its person's."""
        return self._partition_of(message.value.person.key) != message.record.partition

    def _reroute(self, message: Message[PersonEvent], attempt: Attempt) -> None:
        """Send it on to the right one."""
        record, event = message.record, message.value
        if isinstance(event, Interaction | Identify):
            event = _settled(event, record)
        attempt.pass_on(record, event.person, event)

    def _apply(self, message: Message[PersonEvent], items: Mapping[str, ItemVector], attempt: Attempt) -> None:
        record, event = message.record, message.value
        profile = attempt.profiles[event.person]
        if profile.has_folded(record.log, record.partition, record.offset):
            self._metrics.repeated.labels("offset").inc()
            return
        attempt.changed.add(event.person)
        if self._is_next(profile, record):
            self._take(profile, event, record, items, attempt)
        profile.advance(record.log, record.partition, record.offset)

    def _is_next(self, profile: Profile, record: Record) -> bool:
        """Whether to take the record: of those that were passed on, each origin once, and none through a gap."""
        passage = Passage.of(record.headers)
        verdict = Verdict.NEXT if passage is None else profile.receive(passage)
        if verdict is Verdict.REPEAT:
            self._metrics.repeated.labels("origin").inc()
        elif verdict is Verdict.GAP:
            log.info("passed on through a gap; it comes again", person=profile.person.kind, place=record.place)
        return verdict is Verdict.NEXT

    def _take(
        self,
        profile: Profile,
        event: PersonEvent,
        record: Record,
        items: Mapping[str, ItemVector],
        attempt: Attempt,
    ) -> None:
        if isinstance(event, Interaction):
            self._interact(profile, event, record, items, attempt)
        elif isinstance(event, Identify):
            self._identify(profile, event, record, attempt)
        elif isinstance(event, Transfer):
            self._absorb(profile, event, record, attempt)
        elif isinstance(event, Onboarded):
            self._onboard(profile, event)
        else:
            self._erase(profile, event, record, attempt)

    # -- who someone is -----------------------------------------------------------------------------------------

    def _identify(self, profile: Profile, event: Identify, record: Record, attempt: Attempt) -> None:
        """Hand everything over to the user, as of exactly this offset, and forward from now on."""
        at = _at(event, record)
        if self._is_over(profile, at) or self._repeats(profile, _event_id(event, record)):
            return
        if profile.forward != event.user:
            attempt.pass_on(record, event.user, self._transfer(profile, event, at, record.partition))
            profile.freeze(event.user, _arrived(record))
        profile.stub_since = _arrived(record)

    def _transfer(self, profile: Profile, event: Identify, at: float, partition: int) -> Transfer:
        snapshot = profile.copy()
        while True:
            payload, vectors = snapshot.packed(partition)
            transfer = Transfer(
                user_id=event.user_id,
                anonymous_id=event.anonymous_id,
                timestamp=at,
                payload=payload,
                vectors=vectors,
            )
            if len(transfer.to_bytes()) <= TRANSFER_BYTES or not snapshot.shrink():
                return transfer
            log.warning("the oldest seen items don't fit in a transfer", limit_bytes=TRANSFER_BYTES)

    def _absorb(self, profile: Profile, event: Transfer, record: Record, attempt: Attempt) -> None:
        if self._is_over(profile, event.timestamp):  # identified before the user was erased: it goes, too
            self._erase_twins((event.anonymous_id,), profile, record, attempt)
            return
        profile.absorb(_unpacked(event, self._settings), self._taus)
        profile.add_twin(event.anonymous_id)
        self._bound_pending(profile, attempt)

    def _erase(self, profile: Profile, event: Erased, record: Record, attempt: Attempt) -> None:
        twins = profile.twins
        if event.anonymous_id is not None and profile.forward != Person("u", event.user_id):
            return  # swept, or someone else's by now
        if profile.erase(event.timestamp, _origin(event)):
            self._erase_twins(twins, profile, record, attempt)

    def _erase_twins(self, twins: Iterable[str], profile: Profile, record: Record, attempt: Attempt) -> None:
        """Have the anonymous ids of an erased user forgotten."""
        at, tombstone = profile.erased_at, profile.onboarded
        if at is None or tombstone is None:
            return
        origin = Origin(log=tombstone[0], partition=tombstone[1], offset=tombstone[2])
        for twin in twins:
            erased = Erased(user_id=profile.person.id, anonymous_id=twin, timestamp=at, origin=origin)
            headers = cloud_event(erased, record.place, GROUP)
            attempt.send(record, Outgoing(TOPIC, erased.person.key.encode(), erased.to_bytes(), headers))

    def _onboard(self, profile: Profile, event: Onboarded) -> None:
        if event.space is not None:
            profile.accepts(event.space)
        vector = None if event.vector is None else np.asarray(event.vector, dtype=np.float64)
        profile.onboard(vector, _origin(event), event.segment, event.attributes)

    # -- what someone did ---------------------------------------------------------------------------------------

    def _interact(
        self,
        profile: Profile,
        event: Interaction,
        record: Record,
        items: Mapping[str, ItemVector],
        attempt: Attempt,
    ) -> None:
        if self._repeats(profile, _event_id(event, record)) or self._is_over(profile, _at(event, record)):
            return
        if profile.forward is not None:
            theirs = _settled(event, record).model_copy(update={"user_id": profile.forward.id})
            attempt.pass_on(record, profile.forward, theirs)
            profile.stub_since = _arrived(record)
        elif event.item_id in items:
            self._fold(profile, event, record, items[event.item_id], attempt)
        else:
            self._wait(profile, event, record, attempt)

    def _repeats(self, profile: Profile, event_id: str) -> bool:
        """Whether a producer has sent this event before; now it is known."""
        if profile.is_repeat(event_id):
            self._metrics.repeated.labels("event_id").inc()
            return True
        profile.remember(event_id)
        return False

    def _is_over(self, profile: Profile, at: float) -> bool:
        """Whether it happened before the person was erased."""
        return profile.erased_at is not None and at <= profile.erased_at

    def _fold(
        self,
        profile: Profile,
        event: Interaction,
        record: Record,
        item: ItemVector,
        attempt: Attempt,
    ) -> None:
        at = _at(event, record)
        profile.accepts(item.space)
        weight = strength(event, self._events)
        if weight > 0 and profile.counts(event.item_id, at):
            attempt.send(record, _activity(profile, event.item_id, weight, at, record))
        deed = Deed(event.item_id, event.type, item.vector, weight, at, _event_id(event, record))
        profile.fold(deed, self._taus)
        attempt.folded += 1

    # -- interactions that wait for their item ------------------------------------------------------------------

    def _wait(self, profile: Profile, event: Interaction, record: Record, attempt: Attempt) -> None:
        entry = Pending(
            event.item_id,
            (record.value or b"").decode(),
            record.topic,
            record.partition,
            record.offset,
            record.log,
            record.timestamp,
            self._clock(),
            tuple((name, value.decode("latin-1")) for name, value in record.headers),
            None if record.key is None else record.key.decode("latin-1"),
        )
        profile.pending = (*profile.pending, entry)
        self._bound_pending(profile, attempt)

    def _bound_pending(self, profile: Profile, attempt: Attempt) -> None:
        """Give up on the oldest where there are too many, or too large."""
        size = sum(len(entry.value) for entry in profile.pending)
        while len(profile.pending) > self._settings.pending or size > PENDING_BYTES:
            oldest, *rest = profile.pending
            size -= len(oldest.value)
            profile.pending = tuple(rest)
            self._give_up(
                profile, _record(oldest), "too many interactions of this person wait for unknown items", attempt
            )

    def _give_up(self, profile: Profile, record: Record, detail: str, attempt: Attempt) -> None:
        """It becomes a dead letter, and counts should it be sent again."""
        attempt.give_up(record, UNKNOWN_ITEM, detail)
        with suppress(InvalidEvent):
            event = parse_person_event(record.value)
            if isinstance(event, Interaction):
                profile.forget(_event_id(event, record))

    def _fold_pending(self, profile: Profile, items: Mapping[str, ItemVector], attempt: Attempt) -> None:
        left: list[Pending] = []
        for entry in profile.pending:
            record = _record(entry)
            if entry.item_id in items:
                self._fold_late(profile, record, items[entry.item_id], attempt)
            elif self._clock() - entry.since > self._settings.pending_seconds:
                late = f"item {entry.item_id!r} didn't come within {self._settings.pending_seconds:g} s"
                self._give_up(profile, record, late, attempt)
            else:
                left.append(entry)
        if len(left) < len(profile.pending):
            attempt.changed.add(profile.person)
        profile.pending = tuple(left)

    def _fold_late(self, profile: Profile, record: Record, item: ItemVector, attempt: Attempt) -> None:
        try:
            event = self.parse(record)
        except InvalidEvent as error:  # it was valid when it came: its type is no longer in the settings
            attempt.give_up(record, INVALID, str(error))
            return
        assert isinstance(event, Interaction)
        if not self._is_over(profile, _at(event, record)):
            self._fold(profile, event, record, item, attempt)

    def _overdue(self) -> set[Person]:
        deadline = self._clock() - self._settings.pending_seconds
        return {
            person
            for person in self._waits_for
            if person not in self._cache or any(entry.since < deadline for entry in self._cache[person].pending)
        }

    def _find_waiting(self, partition: int) -> None:
        after: str | None = None
        mine = Filter(must=(Match("waiting", (partition,)),))
        while True:
            page, after = self._store.scroll(self._profiles, filter=mine, after=after, payload=None, vectors=())
            for point in page:
                profile = Profile.load(Person.from_key(point.payload["person"]), point.payload, {}, self._settings)
                self._owner[profile.person] = partition
                self._note_waiting(profile)
            if after is None:
                break
        self._metrics.waiting.set(len(self._waiting))

    def _note_waiting(self, profile: Profile) -> None:
        wanted = frozenset(entry.item_id for entry in profile.pending)
        noted = self._waits_for.get(profile.person, frozenset())
        for item_id in noted - wanted:
            self._waiting[item_id].discard(profile.person)
            if not self._waiting[item_id]:
                del self._waiting[item_id]
        for item_id in wanted - noted:
            self._waiting[item_id].add(profile.person)
        if wanted:
            self._waits_for[profile.person] = wanted
        else:
            self._waits_for.pop(profile.person, None)

    # -- reading and writing ------------------------------------------------------------------------------------

    def _load(self, people: Mapping[Person, int], attempt: Attempt) -> None:
        """Copies of the profiles, from the cache or the store, or new ones."""
        missing = {person_point(person): person for person in people if person not in self._cache}
        stored = self._store.retrieve(self._profiles, sorted(missing), vectors=STORED_VECTORS) if missing else {}
        for person, partition in people.items():
            cached = self._cache.get(person)
            point = None if cached is not None else stored.get(person_point(person))
            if cached is not None:
                profile = cached.copy()
            elif point is not None:
                profile = Profile.load(person, point.payload, point.vectors, self._settings)
            else:
                profile = Profile(person, self._settings)
            epoch = self._epochs[partition]
            if profile.epoch > epoch:
                raise Fenced(
                    f"profile {person.key} was written under epoch {profile.epoch}, partition {partition} of "
                    f"{TOPIC} is held here under {epoch}: is there another group of profilers on this collection?",
                    epoch=max([profile.epoch, *(int(point.payload["epoch"]) for point in stored.values())]),
                )
            profile.epoch = epoch
            attempt.profiles[person] = profile
            attempt.partitions[person] = partition

    def _find_items(self, item_ids: set[str]) -> dict[str, ItemVector]:
        """The vectors of the items that are embedded, through the cache."""
        now = self._monotonic()
        found: dict[str, ItemVector] = {}
        for item_id in item_ids:
            cached = self._items.get(item_id)
            if cached is not None and now - cached.read_at < self._settings.item_cache_seconds:
                self._items.move_to_end(item_id)
                found[item_id] = cached
        missing = {item_point(item_id): item_id for item_id in item_ids - found.keys()}
        if missing:
            points = self._store.retrieve(self._items_of, sorted(missing), payload=("space",), vectors=("content",))
            for point_id, point in points.items():
                vector = point.vectors.get("content")
                # An item that is just being made has its vector a moment before its space.
                if vector is None or isinstance(vector, Sparse) or "space" not in point.payload:
                    continue
                item = ItemVector(np.asarray(vector, dtype=np.float64), str(point.payload["space"]), now)
                found[missing[point_id]] = self._items[missing[point_id]] = item
                self._items.move_to_end(missing[point_id])
        while len(self._items) > self._settings.cached_items:
            self._items.popitem(last=False)
        return found

    def _commit(self, attempt: Attempt) -> None:
        """Activity acknowledged, dead letters buried, then profiles durable, then the cache: in this order."""
        self._send(attempt)
        by_epoch: defaultdict[int, list[Profile]] = defaultdict(list)
        for person in attempt.changed:
            by_epoch[attempt.profiles[person].epoch].append(attempt.profiles[person])
        for epoch, profiles in by_epoch.items():
            condition = Filter(must_not=(Range("epoch", gt=epoch),))
            points = [to_point(profile, attempt.partitions[profile.person]) for profile in profiles]
            self._store.upsert(self._profiles, points, condition=condition)
        for person, profile in attempt.profiles.items():
            self._cache[person] = profile
            self._cache.move_to_end(person)
            self._owner[person] = attempt.partitions[person]
            self._note_waiting(profile)
        self._sent.clear()
        self._evict()
        self._metrics.folded.inc(attempt.folded)
        self._metrics.waiting.set(len(self._waiting))

    def _send(self, attempt: Attempt) -> None:
        """What must be out before the profiles are written, once: attempts may be many while the store is down."""
        outgoing = {key: record for key, record in attempt.outgoing.items() if key not in self._sent}
        if outgoing:
            self._producer.send_all(list(outgoing.values()))
            self._sent |= outgoing.keys()
        for place, (record, reason, detail) in attempt.letters.items():
            if (place, LETTER) not in self._sent:
                self._dead_letters.put(record, reason, detail)
                self._metrics.dead_letters.labels(GROUP, record.topic, reason).inc()
                self._sent.add((place, LETTER))

    def _evict(self) -> None:
        while len(self._cache) > self._settings.cached_profiles:
            person, profile = self._cache.popitem(last=False)
            if not profile.pending:
                self._owner.pop(person, None)


def to_point(profile: Profile, partition: int) -> Point:
    """The point that a profile is stored as. `partition`: where the person's records are."""
    vectors: dict[str, np.ndarray | Sparse] = {**profile.dense()}
    indices, values = profile.history()
    if len(indices):
        vectors["history"] = Sparse(indices, values)
    return Point(person_point(profile.person), vectors, profile.payload(partition))


def _activity(profile: Profile, item_id: str, weight: float, at: float, record: Record) -> Outgoing:
    recents = [recent for recent in profile.recents.newest_first() if recent != item_id]
    activity = Activity(item_id=item_id, recents=recents, weight=weight, timestamp=at, source=record.place)
    return Outgoing(
        "activity", item_id.encode(), activity.to_bytes(), cloud_event(activity, activity.source, "profiler")
    )


def _event_id(event: Interaction | Identify, record: Record) -> str:
    return event.event_id or record.place


def _settled(event: Interaction | Identify, record: Record) -> Interaction | Identify:
    """With its id and its time, wherever it is read from then on."""
    return event.model_copy(update={"event_id": _event_id(event, record), "timestamp": _at(event, record)})


def _at(event: Interaction | Identify, record: Record) -> float:
    """When it happened, in epoch seconds."""
    return timely(event.timestamp, _arrived(record))


def _arrived(record: Record) -> float:
    """When the broker got it, in epoch seconds."""
    return record.timestamp / 1000


def _unpacked(event: Transfer, settings: ProfileSettings) -> Profile:
    """Raises `InvalidEvent`."""
    try:
        return Profile.unpack(Person("a", event.anonymous_id), event.payload, event.vectors, settings)
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidEvent(f"is not a profile: {type(error).__name__} {error}", "payload") from None


def _origin(event: Onboarded | Erased) -> tuple[str, int, int]:
    return event.origin.log, event.origin.partition, event.origin.offset


def _record(entry: Pending) -> Record:
    return Record(
        topic=entry.topic,
        partition=entry.partition,
        offset=entry.offset,
        key=None if entry.key is None else entry.key.encode("latin-1"),
        value=entry.value.encode(),
        timestamp=entry.timestamp,
        log=entry.log,
        headers=tuple((name, value.encode("latin-1")) for name, value in entry.headers),
    )
