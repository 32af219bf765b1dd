"""What some people's profiles should be: their part of the log, replayed into memory by the profiler's own code.

The replay ends person by person, with the last record that is in the stored profile. What it would have sent to
`interactions` must be in the log. Where it can't know what the profiler met at the time, of an item above all, it notes
why: such people may rightly differ.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import replace
from typing import Any, TypeAlias

from eddyline.adapters.kafka import LogReader, Message, Outgoing, Record, RecordMetadata, partition_of
from eddyline.adapters.telemetry import Metrics
from eddyline.adapters.vectors import Collections, Payload, PointStore
from eddyline.maintenance.audit.audit_report import Difference
from eddyline.maintenance.audit.memory import Memory
from eddyline.maintenance.generations.rebuild import GatedOutputs, ProfileRebuild, ReportProgress
from eddyline.model.decay import DAY
from eddyline.model.events import Erased, Interaction, Onboarded, PersonEvent, Transfer, parse_person_event
from eddyline.model.forwarding import ForwardedFrom
from eddyline.model.ids import Person, fingerprint
from eddyline.model.profile import Profile
from eddyline.profiler import PENDING_BYTES, ParsedEvent, to_pending
from eddyline.profiler.attempt import Attempt
from eddyline.profiler.item_cache import ITEM_CACHE_SECONDS, ItemCache
from eddyline.profiler.profile_updater import ProfileUpdater
from eddyline.settings import Settings
from eddyline.topics import INTERACTIONS

GONE = "touched {!r}, which isn't there (any more)"
LATE = "touched {!r}, embedded so late that the event may have been given up"
CHANGED = "touched {!r}, re-embedded since"
SWEPT = "a tombstone of theirs may have been swept while it was still of use"
OTHER_SPACE = "an anonymous id of theirs was handed over under another model, and the log no longer holds all of it"
ERASED_BETWEEN = "they did something anonymously before they were erased, and were identified after it"
TOO_MANY = "more of their events may have waited for their items than may wait"
Route: TypeAlias = tuple[str, str]
"""The place of the record that another one, sent to `interactions`, is due to; and the key of its person."""


class ExpectedProfiles:
    """One replay, of the people in `stored`: each with how to load their profile, None where there is none.

    `space`: of the items. `handled`: the next offset of each partition that the profilers have yet to commit. Records
    below it are replayed (of these people); and records above it that a stored profile holds already.
    """

    def __init__(
        self,
        log: LogReader,
        store: PointStore,
        settings: Settings,
        collections: Collections,
        stored: Mapping[Person, Callable[[], Profile] | None],
        handled: Mapping[int, int],
        log_identity: str,
        space: str | None,
        advance: ReportProgress,
        clock: Callable[[], float],
    ) -> None:
        self._settings, self._stored, self._handled, self._space = settings, stored, handled, space
        self._clock = clock
        self._ends = {partition: bounds.high for partition, bounds in log.bounds(INTERACTIONS).items()}
        self._untils: dict[Person, int] = {}
        for person, load in stored.items():
            profile = load() if load is not None else Profile(person, settings.profile)
            self._untils[person] = profile.delivery.watermarks.get(log_identity, {}).get(self.home(person), -1) + 1
        self._outputs = _Outputs(self._untils)
        self._memory = Memory(store, collections, settings.profile)
        self._updater = ProfileUpdater(settings.events, settings.profile, Metrics(), clock)
        self._items = ItemCache(self._memory, collections, settings.profile, clock, clock)
        # An audit has no use for what people's earlier items would learn.
        affinity = settings.affinity.model_copy(update={"backward_window": 0})
        quiet = settings.model_copy(update={"affinity": affinity})
        self._rebuilding = ProfileRebuild(
            log,
            self._memory,
            self._outputs,
            quiet,
            collections,
            len(self._ends),
            lambda record: record,
            advance,
            clock,
            self._select,
        )
        self._doubts: defaultdict[Person, dict[str, str]] = defaultdict(dict)
        self._waited, self._waiting_bytes = Counter[Person](), Counter[Person]()

    def run(self) -> None:
        """Replay what is in the log by now."""
        self._rebuilding.run(self._ends)
        self._rebuilding.apply_pending()

    def home(self, person: Person) -> int:
        """Compute the partition where the person's records belong."""
        return partition_of(person.key.encode(), len(self._ends))

    # -- what was found out -----------------------------------------------------------------------------------------

    @property
    def longest(self) -> float:
        """The length of the longest item vector; at least 1."""
        return self._memory.longest

    def profile(self, person: Person) -> Profile | None:
        """Return the profile that someone should have; None where the log knows nothing of them."""
        return self._memory.profile(person)

    def apply_pending(self, profile: Profile) -> None:
        """Fold, in place, what waits in a stored profile and whose item has come: its profiler is just about to."""
        items = self._items.find({entry.item_id for entry in profile.delivery.pending})
        self._updater.apply_pending(profile, items, Attempt())

    def drop_overdue(self, profile: Profile) -> None:
        """Leave out, in place, what came longer ago than it may wait for its item.

        A profiler counts from when it read a record, a replay from when the batch arrived: so one may have given up
        what the other hasn't yet, and either way it counts for nobody.
        """
        deadline = self._clock() - self._settings.profile.pending_seconds
        pending = profile.delivery.pending
        profile.delivery.pending = tuple(each for each in pending if each.timestamp / 1000 >= deadline)

    def wrong_watermark(self, stored: Profile, expected: Profile, log_identity: str) -> Difference | None:
        """Find a watermark beyond the end of the log, or behind what must be in the profile by now."""
        home = self.home(stored.person)
        there, should = (each.delivery.watermarks.get(log_identity, {}).get(home, -1) for each in (stored, expected))
        should = max(should, min(there, self._ends[home] - 1))
        if there == should:
            return None
        return Difference(stored.person.key, "watermark", there, should, by=abs(there - should))

    def lost(self, person: Person) -> Iterator[Difference]:
        """Find what was passed on to someone, or had to be because of them, and isn't in the log."""
        for event, place in self._outputs.due.get(person, {}).values():
            yield Difference(person.key, "passed on", None, f"{event.type} of {place} to {event.person.key}", by=1)

    def doubts(self, people: Iterable[Person], expected: Profile) -> set[str]:
        """Collect why a profile may rightly differ. `people`: the person and their anonymous ids."""
        people = list(people)
        found = {doubt for person in people for doubt in self._doubts.get(person, {}).values()}
        waited = sum(self._waited[person] for person in people)
        if waited and expected.identity.erased_at is not None:
            found.add(ERASED_BETWEEN)
        size = sum(self._waiting_bytes[person] for person in people)
        if waited > self._settings.profile.pending or size > PENDING_BYTES:
            found.add(TOO_MANY)
        return found

    # -- one batch --------------------------------------------------------------------------------------------------

    def _select(self, messages: Sequence[Message[ParsedEvent]]) -> list[Message[ParsedEvent]]:
        for message in messages:
            self._outputs.note_arrival(message)
        mine = [message for message in messages if self._is_in_stored(message)]
        sources = self._memory.sources(m.value.event.item_id for m in mine if isinstance(m.value.event, Interaction))
        return [_without_space(message) for message in mine if self._is_applied(message, sources)]

    def _is_in_stored(self, message: Message[ParsedEvent]) -> bool:
        """Whether what is stored must hold it."""
        record, person = message.record, message.value.person
        if person not in self._untils:
            return False
        if record.offset < self._handled.get(record.partition, 0):
            return True
        return record.offset < self._untils[person] and record.partition == self.home(person)

    def _is_applied(self, message: Message[ParsedEvent], sources: Mapping[str, Payload]) -> bool:
        """Whether to replay it, or something else became of it; and note what can't be known."""
        parsed, event, doubts = message.value, message.value.event, self._doubts[message.value.person]
        since = self._memory.tombstone_since(parsed.person)
        if since is not None and parsed.ingest_time - since > self._settings.profile.tombstone_days * DAY:
            doubts[SWEPT] = SWEPT
        if isinstance(event, Transfer) and event.payload.get("space", self._space) != self._space:
            doubts[OTHER_SPACE] = OTHER_SPACE
            return False
        if isinstance(event, Onboarded) and event.space not in (None, self._space):
            return self._has_answers(parsed.person)  # re-embedded since; or, where there are none, refused
        if not isinstance(event, Interaction) or parsed.record.partition != self.home(parsed.person):
            return True
        return self._is_folded(event.item_id, parsed, sources.get(event.item_id), doubts)

    def _has_answers(self, person: Person) -> bool:
        load = self._stored[person]
        return load is not None and load().taste.onboarding is not None

    def _is_folded(self, item_id: str, parsed: ParsedEvent, source: Payload | None, doubts: dict[str, str]) -> bool:
        """Whether the event was folded, or waits; what was given up the stored profile has forgotten."""
        settings, at = self._settings.profile, parsed.ingest_time
        embedded_at = None if source is None else source.get("embedded_at", 0.0)
        if embedded_at is None or embedded_at > at:
            self._waited[parsed.person] += 1
            self._waiting_bytes[parsed.person] += to_pending(item_id, parsed.record, at).stored_bytes
        if source is None or embedded_at is None:
            doubts.setdefault(GONE, GONE.format(item_id))
            return True
        is_changed = source.get("embeddings", 1) > 1 and at < embedded_at + ITEM_CACHE_SECONDS
        if is_changed and parsed.weight:
            doubts.setdefault(CHANGED, CHANGED.format(item_id))
        if embedded_at <= at + settings.pending_seconds:
            return True
        doubts.setdefault(LATE, LATE.format(item_id))
        return self._is_remembered(parsed)

    def _is_remembered(self, parsed: ParsedEvent) -> bool:
        """Whether the stored profile knows the event's id, as it does of what was folded; or can't know it any more."""
        load = self._stored[parsed.person]
        known = () if load is None else load().delivery.event_ids
        return fingerprint(parsed.scoped_id) in known or len(known) >= self._settings.profile.event_ids


class _Outputs(GatedOutputs):
    """Outputs that send nothing, and note which records to `interactions` are due in the log. `people`: for whom.

    A copy may be read before the record that it is due to.
    """

    def __init__(self, people: Mapping[Person, Any]) -> None:
        super().__init__(None, None)
        self._people = people
        self._arrived: set[Route] = set()
        self.due: defaultdict[Person, dict[Route, tuple[Any, str]]] = defaultdict(dict)
        """By whom it concerns: the person that it goes to or, of an erasure, the user."""

    def send(self, record: Outgoing) -> Future[RecordMetadata]:
        """Seem to send it."""
        if record.topic == INTERACTIONS:
            event = parse_person_event(record.value)
            route = _route(record, event, event.person)
            if route is not None and route not in self._arrived:
                self.due[_person_concerned(event, event.person)][route] = (event, route[0])
        return super().send(record)

    def note_arrival(self, message: Message[ParsedEvent]) -> None:
        """Note that a record has arrived in the log: it isn't due any more."""
        event, person = message.value.event, message.value.person
        route = _route(message.record, event, person) if person in self._people else None
        if route is not None:
            self._arrived.add(route)
            self.due.get(_person_concerned(event, person), {}).pop(route, None)


def _route(record: Outgoing | Record, event: PersonEvent | None, person: Person) -> Route | None:
    forwarded = ForwardedFrom.from_headers(record.headers)
    if forwarded is not None:
        return str(forwarded.origin), person.key
    if isinstance(event, Erased) and event.anonymous_id is not None and event.origin is not None:
        return str(event.origin.position), person.key
    return None


def _person_concerned(event: PersonEvent | None, person: Person) -> Person:
    owner = Person.named(event.user_id, event.anonymous_id) if isinstance(event, Erased) else None
    return owner or person


def _without_space(message: Message[ParsedEvent]) -> Message[ParsedEvent]:
    """Drop the space and the numbers of answers: they may be an earlier model's, and only their being there is
    compared."""
    event = message.value.event
    if not isinstance(event, Onboarded) or event.vector is None:
        return message
    bare = event.model_copy(update={"space": None, "vector": []})
    return Message(message.record, replace(message.value, event=bare))
