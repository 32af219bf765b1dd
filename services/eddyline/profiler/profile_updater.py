"""What a record changes: its person's profile, and what must be sent because of it. Reads and writes no store."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from eddyline.adapters.kafka import Headers, Outgoing, Record
from eddyline.adapters.telemetry import Metrics
from eddyline.errors import InvalidEvent
from eddyline.model.events import (
    Activity,
    Exposure,
    Identify,
    Interaction,
    Onboarded,
    PersonEvent,
    Transfer,
    cloud_event_headers,
    interaction_weight,
    parse_person_event,
)
from eddyline.model.forwarding import ForwardedFrom
from eddyline.model.ids import Person
from eddyline.model.profile import PendingInteraction, Profile, TimeConstants, WeightedInteraction
from eddyline.profiler import identity, pending
from eddyline.profiler.attempt import Attempt
from eddyline.profiler.items import ItemVector
from eddyline.profiler.records import (
    GROUP,
    event_id,
    event_time,
    experiment_key,
    from_pending,
    ingest_time,
    to_pending,
    unpack_transfer,
    with_id_and_time,
)
from eddyline.settings import EventSettings, ProfileSettings
from eddyline.topics import ACTIVITY

INVALID = "invalid_event"


@dataclass(frozen=True, slots=True)
class UnreadableForward:
    """A record that was passed on, by a profiler that could read it, and that this one can't (other settings).

    It counts as come, so that what came behind it doesn't seem to have come through a gap; then it is a dead letter.
    """

    person: Person
    reason: str


ParsedPersonEvent: TypeAlias = PersonEvent | UnreadableForward


class ProfileUpdater:
    """Applies records to profiles that may be changed (copies of the cached ones). `clock` in epoch seconds."""

    def __init__(
        self,
        events: EventSettings,
        settings: ProfileSettings,
        metrics: Metrics,
        clock: Callable[[], float],
        backward_window: int = 0,
    ) -> None:
        """`backward_window`: how many of the newest recents learn what came after them (`affinity.backward_window`)."""
        self._events, self._settings, self._metrics, self._clock = events, settings, metrics, clock
        self._backward_window = backward_window
        self._taus = TimeConstants.of(settings)

    def parse(self, record: Record) -> ParsedPersonEvent:
        """Raises `InvalidEvent`: not JSON, no event that there is, an unknown type, a time far ahead."""
        passage = ForwardedFrom.of(record.headers)
        try:
            return self._parse(record)
        except InvalidEvent as error:
            if passage is None:
                raise
            return UnreadableForward(_addressee(record), str(error))

    def _parse(self, record: Record) -> PersonEvent:
        event = parse_person_event(record.value)
        if isinstance(event, Interaction):
            interaction_weight(event, self._events)
        if isinstance(event, Interaction | Identify | Exposure):
            event_time(event, record)
        elif isinstance(event, Transfer):
            unpack_transfer(event, self._settings)
        return event

    def apply(
        self,
        profile: Profile,
        event: ParsedPersonEvent,
        record: Record,
        items: Mapping[str, ItemVector],
        attempt: Attempt,
    ) -> None:
        """Apply one record."""
        if isinstance(event, Interaction):
            if self._is_new(profile, event, record):
                self._apply_or_hold(profile, event, record, items, attempt)
        elif isinstance(event, Identify):
            if self._is_new(profile, event, record):
                identity.identify(profile, event, record, attempt)
        elif isinstance(event, Transfer):
            identity.absorb(profile, event, record, self._settings, self._taus, attempt)
        elif isinstance(event, Onboarded):
            identity.onboard(profile, event)
        elif isinstance(event, Exposure):
            _apply_shown(profile, event, record, attempt)
        elif isinstance(event, UnreadableForward):
            attempt.give_up(record, INVALID, event.reason)
        else:
            identity.erase(profile, event, record, attempt)

    def apply_pending(self, profile: Profile, items: Mapping[str, ItemVector], attempt: Attempt) -> None:
        """Apply the interactions whose items have come; give up on those that have waited too long."""
        left: list[PendingInteraction] = []
        for entry in profile.pending:
            record = from_pending(entry)
            if entry.item_id in items:
                self._apply_pending(profile, record, items[entry.item_id], attempt)
            elif self._clock() - entry.since > self._settings.pending_seconds:
                late = f"item {entry.item_id!r} didn't arrive within {self._settings.pending_seconds:g} s"
                pending.give_up_pending(profile, record, pending.UNKNOWN_ITEM, late, attempt)
            else:
                left.append(entry)
        if len(left) < len(profile.pending):
            attempt.changed.add(profile.person)
        profile.pending = tuple(left)

    def _is_new(self, profile: Profile, event: Interaction | Identify, record: Record) -> bool:
        """Whether no producer has sent this event before, and nobody has been erased since it happened."""
        known = event_id(event, record)
        if profile.is_repeat(known):
            self._metrics.repeated.labels("event_id").inc()
            return False
        profile.remember(known)
        return not profile.is_over(event_time(event, record))

    def _apply_or_hold(
        self,
        profile: Profile,
        event: Interaction,
        record: Record,
        items: Mapping[str, ItemVector],
        attempt: Attempt,
    ) -> None:
        if profile.forward is not None:
            theirs = with_id_and_time(event, record).model_copy(update={"user_id": profile.forward.id})
            attempt.pass_on(record, profile.forward, theirs)
            profile.stub_since = ingest_time(record)
        elif event.item_id in items:
            self._apply_interaction(profile, event, record, items[event.item_id], attempt)
        else:
            profile.pending = (*profile.pending, to_pending(event.item_id, record, self._clock()))
            pending.limit_pending(profile, self._settings, attempt)

    def _apply_pending(self, profile: Profile, record: Record, item: ItemVector, attempt: Attempt) -> None:
        try:
            event = self._parse(record)
        except InvalidEvent as error:  # it was valid when it came: its type is no longer in the settings
            pending.give_up_pending(profile, record, INVALID, str(error), attempt)
            return
        assert isinstance(event, Interaction)
        if not profile.is_over(event_time(event, record)):
            self._apply_interaction(profile, event, record, item, attempt)

    def _apply_interaction(
        self, profile: Profile, event: Interaction, record: Record, item: ItemVector, attempt: Attempt
    ) -> None:
        at = event_time(event, record)
        profile.require_space(item.space)
        weight = interaction_weight(event, self._events)
        if weight > 0 and profile.count_once_per_hour(event.item_id, at):
            for activity in _activities(profile, event.item_id, weight, at, record, self._backward_window):
                outgoing = Outgoing(ACTIVITY, activity.item_id.encode(), activity.to_bytes(), _headers(activity))
                attempt.send(record, outgoing)
        known = event_id(event, record)
        profile.fold(
            WeightedInteraction(event.item_id, event.type, item.vector, weight, at, known, item.popularity), self._taus
        )
        profile.note_first_seen(at, experiment_key(event))
        attempt.folded += 1


def _apply_shown(profile: Profile, event: Exposure, record: Record, attempt: Attempt) -> None:
    """A set takes it, so it needs no event id to count once; the stub that this may make is of use until now."""
    if profile.forward is not None:
        theirs = with_id_and_time(event, record).model_copy(update={"user_id": profile.forward.id})
        attempt.pass_on(record, profile.forward, theirs)
    else:
        profile.show(event.items, event_time(event, record))
        profile.note_first_seen(event_time(event, record), experiment_key(event))
    profile.stub_since = ingest_time(record)


def _addressee(record: Record) -> Person:
    try:
        return Person.from_key((record.key or b"").decode())
    except ValueError:
        raise InvalidEvent("can't be forwarded: its key is not a person key") from None


def _activities(
    profile: Profile, item_id: str, weight: float, at: float, record: Record, backward_window: int
) -> Iterator[Activity]:
    """That the item came after the person's recents; and the other way round, for the newest of these. A late one came
    after those of before its own time alone."""
    times = profile.recents.times
    recents = [recent for recent in profile.recents.newest_first() if recent != item_id and times[recent] <= at]
    yield Activity(item_id=item_id, recents=recents, weight=weight, timestamp=at, source=record.place)
    for position, recent in enumerate(recents[:backward_window]):
        source = f"{record.place}/{position}"
        yield Activity(item_id=recent, recents=[item_id], position=position, weight=weight, timestamp=at, source=source)


def _headers(activity: Activity) -> Headers:
    return cloud_event_headers(activity, activity.source, GROUP)
