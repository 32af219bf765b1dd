"""What a record changes: its person's profile, and what must be sent because of it. Reads and writes no store."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import structlog

from eddyline.adapters.kafka import INVALID, Outgoing, Record
from eddyline.adapters.telemetry import Metrics
from eddyline.errors import InvalidEvent
from eddyline.model.events import (
    Activity,
    Erased,
    Exposure,
    Identify,
    Interaction,
    Onboarded,
    RecordOrigin,
    Transfer,
    activity_bytes,
    cloud_event_headers,
    pack_dimensions,
)
from eddyline.model.ids import Person
from eddyline.model.profile import PendingInteraction, Profile, TimeConstants, WeightedInteraction, pack_profile
from eddyline.model.profile.erasure import erase
from eddyline.model.profile.merge import absorb, hand_over
from eddyline.model.ranking.choices import SOMEONE
from eddyline.profiler.attempt import Attempt
from eddyline.profiler.choice_sampler import ChoiceSampler
from eddyline.profiler.item_cache import ItemVector
from eddyline.profiler.parsed_event import GROUP, ParsedEvent, read_event
from eddyline.profiler.pending_interactions import (
    UNKNOWN_ITEM,
    from_pending,
    give_up_oldest,
    give_up_pending,
    limit_pending,
    to_pending,
)
from eddyline.settings import EventSettings, ProfileSettings
from eddyline.topics import ACTIVITY, INTERACTIONS, RECORD_BYTES

TRANSFER_BYTES = RECORD_BYTES - 64_000
"""Largest transfer: the rest is for its headers."""
SAMPLE_BYTES = 50_000
"""Largest state of a profile that goes with an activity."""

log = structlog.get_logger("profiler")


class ProfileUpdater:
    """Applies records to profiles that may be changed (copies of the cached ones). `clock` in epoch seconds."""

    def __init__(
        self,
        events: EventSettings,
        settings: ProfileSettings,
        metrics: Metrics,
        clock: Callable[[], float],
        backward_window: int = 0,
        sampler: ChoiceSampler | None = None,
    ) -> None:
        """`backward_window`: how many of the newest recents learn what came after them (`affinity.backward_window`).

        `sampler`: of the choices that weights are fitted to; None: no strategy is learned.
        """
        self._events, self._settings, self._metrics, self._clock = events, settings, metrics, clock
        self._reverse_recents, self._sampler = backward_window, sampler
        self._taus = TimeConstants.from_settings(settings)

    def apply(
        self,
        profile: Profile,
        parsed: ParsedEvent,
        items: Mapping[str, ItemVector],
        reference: ItemVector | None,
        attempt: Attempt,
    ) -> None:
        """Apply one record. `reference`: any item's vector, which those that a record brings must be comparable with.

        Raises `OtherSpace` for an item in another space than the profile.
        """
        event = parsed.event
        error = parsed.error if event is None else parsed.incomparable(reference)
        if event is None or error:
            attempt.give_up(parsed.record, INVALID, error)
        elif isinstance(event, Interaction):
            if self._is_new(profile, parsed):
                self._apply_or_hold(profile, event, parsed, items, attempt)
        elif isinstance(event, Identify):
            if self._is_new(profile, parsed):
                self._identify(profile, event, parsed, attempt)
        elif isinstance(event, Exposure):
            _apply_exposure(profile, event, parsed, attempt)
        elif isinstance(event, Transfer):
            self._absorb(profile, event, parsed, attempt)
        elif isinstance(event, Onboarded):
            _onboard(profile, event)
        else:
            _erase(profile, event, parsed, attempt)

    def apply_pending(self, profile: Profile, items: Mapping[str, ItemVector], attempt: Attempt) -> None:
        """Apply the interactions whose items have come; give up on those that have waited too long."""
        left: list[PendingInteraction] = []
        for entry in profile.delivery.pending:
            if entry.item_id in items:
                self._apply_pending(profile, from_pending(entry), items[entry.item_id], attempt)
            elif self._clock() - entry.since > self._settings.pending_seconds:
                late = f"item {entry.item_id!r} didn't arrive within {self._settings.pending_seconds:g} s"
                give_up_pending(profile, from_pending(entry), UNKNOWN_ITEM, late, attempt)
            else:
                left.append(entry)
        if len(left) < len(profile.delivery.pending):
            attempt.changed.add(profile.person)
        profile.delivery.pending = tuple(left)

    def _is_new(self, profile: Profile, parsed: ParsedEvent) -> bool:
        """Return whether no producer has sent this event before, and nobody has been erased since it happened."""
        if profile.delivery.is_repeat(parsed.scoped_id):
            self._metrics.repeated.labels("event_id").inc()
            return False
        profile.delivery.remember(parsed.scoped_id)
        return not profile.identity.is_erased_at(parsed.time)

    def _apply_or_hold(
        self,
        profile: Profile,
        event: Interaction,
        parsed: ParsedEvent,
        items: Mapping[str, ItemVector],
        attempt: Attempt,
    ) -> None:
        if profile.identity.merged_into is not None:
            _forward_to_user(profile, profile.identity.merged_into, parsed, attempt)
        elif event.item_id in items:
            self._apply_interaction(profile, event, parsed, items[event.item_id], attempt)
        else:
            pending = to_pending(event.item_id, parsed.record, self._clock())
            profile.delivery.pending = (*profile.delivery.pending, pending)
            limit_pending(profile, attempt)

    def _apply_pending(self, profile: Profile, record: Record, item: ItemVector, attempt: Attempt) -> None:
        try:
            parsed = read_event(record, self._events, self._settings)
        except InvalidEvent as error:  # it was valid when it came: its type is no longer in the settings
            give_up_pending(profile, record, INVALID, str(error), attempt)
            return
        assert isinstance(parsed.event, Interaction)
        if not profile.identity.is_erased_at(parsed.time):
            self._apply_interaction(profile, parsed.event, parsed, item, attempt)

    def _apply_interaction(
        self, profile: Profile, event: Interaction, parsed: ParsedEvent, item: ItemVector, attempt: Attempt
    ) -> None:
        profile.require_space(item.space)
        if parsed.weight > 0 and profile.seen.count_once_per_hour(event.item_id, parsed.time):
            for activity in self._activities(profile, event.item_id, parsed):
                attempt.send(parsed.record, activity)
        interaction = WeightedInteraction(
            event.item_id, event.type, item.vector, parsed.weight, parsed.time, item.popularity, parsed.place
        )
        profile.fold(interaction, self._taus)
        profile.identity.note_first_seen(parsed.time, parsed.experiment_key)
        attempt.folded += 1

    def _activities(self, profile: Profile, item_id: str, parsed: ParsedEvent) -> Iterator[Outgoing]:
        """Yield that the item came after the person's recents; and the other way round, for the newest of these. A late
        one came after those alone that are before it in time or, at its own time, in the log."""
        weight, at, source, entry = parsed.weight, parsed.time, parsed.record.place, (parsed.time, parsed.place)
        entries, recents = profile.seen.recents.entries, profile.seen.recents.newest_first()
        if recents and entries[recents[0]] >= entry:
            recents = [recent for recent in recents if entries[recent] < entry]
        if item_id in entries:
            recents = [recent for recent in recents if recent != item_id]
        before = None
        if self._sampler is not None and _is_choice(profile, item_id) and self._sampler.takes_next():
            before = _as_it_was(profile)
        packed = pack_dimensions(recents)
        yield _to_activity(item_id, source, activity_bytes(item_id, packed, weight, at, source, before=before))
        followed_by = pack_dimensions((item_id,))
        for rank, recent in enumerate(recents[: self._reverse_recents]):
            reverse = f"{source}/{rank}"
            yield _to_activity(recent, reverse, activity_bytes(recent, followed_by, weight, at, reverse, rank))

    def _identify(self, profile: Profile, event: Identify, parsed: ParsedEvent, attempt: Attempt) -> None:
        """Hand everything over to the user, as of exactly this offset, and forward from now on."""
        if profile.identity.merged_into != event.user:
            profile.identity.note_first_seen(parsed.time, parsed.experiment_key)
            attempt.forward(parsed.record, event.user, self._transfer(profile, event, parsed, attempt))
            hand_over(profile, event.user)
        profile.identity.tombstone_since = parsed.ingest_time

    def _transfer(self, profile: Profile, event: Identify, parsed: ParsedEvent, attempt: Attempt) -> Transfer:
        """Return a transfer of the profile that a record can hold. What matters least is shed first: the seen items,
        from the oldest on, then the interactions that have waited the longest, which become dead letters."""
        snapshot = profile.copy()
        while True:
            payload, vectors = pack_profile(snapshot, parsed.record.partition)
            transfer = Transfer(
                user_id=event.user_id,
                anonymous_id=event.anonymous_id,
                timestamp=parsed.time,
                payload=payload,
                vectors=vectors,
            )
            if len(transfer.to_bytes()) <= TRANSFER_BYTES:
                return transfer
            if dropped := snapshot.seen.drop_older_half():
                self._metrics.shed.labels("seen").inc(dropped)
            elif pending := len(snapshot.delivery.pending):
                give_up_oldest(snapshot, (pending + 1) // 2, attempt)
                self._metrics.shed.labels("pending").inc((pending + 1) // 2)
            else:
                return transfer
            log.warning("a profile is too large for a transfer: its oldest entries are dropped")

    def _absorb(self, profile: Profile, event: Transfer, parsed: ParsedEvent, attempt: Attempt) -> None:
        """Take in what an anonymous id held. One that was identified before the user was erased goes, too."""
        if profile.identity.is_erased_at(parsed.time):
            _erase_linked_ids((event.anonymous_id,), profile, parsed.record, attempt)
            return
        assert parsed.snapshot is not None
        absorb(profile, parsed.snapshot, self._taus)
        profile.identity.link(event.anonymous_id)
        limit_pending(profile, attempt)


def _is_choice(profile: Profile, item_id: str) -> bool:
    """Whether something can be learnt of it: somebody known chose what they hadn't met."""
    return not profile.is_unknown and item_id not in profile.seen.viewed.entries


def _as_it_was(profile: Profile) -> dict[str, Any] | None:
    """Return of a profile what lists are made of, without whose it is and what they told; None where that is much."""
    known = Profile(SOMEONE, profile.settings, profile.events, profile.last_seen)
    known.taste, known.seen = profile.taste, profile.seen
    payload, vectors = pack_profile(known, 0)
    return {"payload": payload, "vectors": vectors} if len(payload["state"]) <= SAMPLE_BYTES else None


def _to_activity(item_id: str, source: str, value: bytes) -> Outgoing:
    return Outgoing(ACTIVITY, item_id.encode(), value, cloud_event_headers(Activity, source, GROUP))


def _apply_exposure(profile: Profile, event: Exposure, parsed: ParsedEvent, attempt: Attempt) -> None:
    """Note what was shown: in a set, so it needs no event id to count once. The tombstone that this may make is of use
    until now."""
    if profile.identity.merged_into is not None:
        _forward_to_user(profile, profile.identity.merged_into, parsed, attempt)
    else:
        profile.show(event.items, parsed.time)
        profile.identity.note_first_seen(parsed.time, parsed.experiment_key)
        profile.identity.tombstone_since = parsed.ingest_time


def _forward_to_user(profile: Profile, user: Person, parsed: ParsedEvent, attempt: Attempt) -> None:
    """Forward what someone did under an anonymous id to the user that it belongs to by now."""
    attempt.forward(parsed.record, user, parsed.to_forward().model_copy(update={"user_id": user.id}))
    profile.identity.tombstone_since = parsed.ingest_time


def _onboard(profile: Profile, event: Onboarded) -> None:
    """Take the answers. Raises `OtherSpace` for a vector of another space than the profile's."""
    if event.space is not None:
        profile.require_space(event.space)
    vector = None if event.vector is None else np.asarray(event.vector, dtype=np.float64)
    profile.onboard(vector, event.origin.position, event.segment, event.attributes)


def _erase(profile: Profile, event: Erased, parsed: ParsedEvent, attempt: Attempt) -> None:
    """Forget a user and have their anonymous ids forgotten; or such an id, unless it is someone else's by now."""
    if event.anonymous_id is not None and profile.identity.merged_into != Person.named(event.user_id, None):
        return
    linked = dict.fromkeys((*profile.identity.linked_anonymous_ids, *parsed.forwarding_ids))
    position = parsed.record.position if event.origin is None else event.origin.position
    if erase(profile, parsed.time, position):
        _erase_linked_ids(linked, profile, parsed.record, attempt)


def _erase_linked_ids(anonymous_ids: Iterable[str], profile: Profile, record: Record, attempt: Attempt) -> None:
    """Send an erasure to the owners of these anonymous ids, as of the user's own."""
    at, tombstone = profile.identity.erased_at, profile.delivery.users_position
    if at is None or tombstone is None:
        return
    for anonymous_id in anonymous_ids:
        origin = RecordOrigin(**tombstone._asdict())
        erased = Erased(user_id=profile.person.id, anonymous_id=anonymous_id, timestamp=at, origin=origin)
        headers = cloud_event_headers(erased, record.place, GROUP)
        attempt.send(record, Outgoing(INTERACTIONS, erased.person.key.encode(), erased.to_bytes(), headers))
