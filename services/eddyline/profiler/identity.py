"""Who someone is: the handing over of an anonymous profile, and erasure."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import structlog

from eddyline.adapters.kafka import Outgoing, Record
from eddyline.model.events import Erased, Identify, Onboarded, RecordOrigin, Transfer, cloud_event_headers
from eddyline.model.ids import Person
from eddyline.model.profile import Profile, TimeConstants
from eddyline.profiler import pending
from eddyline.profiler.attempt import Attempt
from eddyline.profiler.records import GROUP, event_time, experiment_key, ingest_time, origin, unpack_transfer
from eddyline.settings import ProfileSettings
from eddyline.topics import INTERACTIONS

TRANSFER_BYTES = 900_000
"""Largest transfer: Kafka takes records up to a megabyte."""

log = structlog.get_logger("profiler")


def identify(profile: Profile, event: Identify, record: Record, attempt: Attempt) -> None:
    """Hand everything over to the user, as of exactly this offset, and forward from now on."""
    if profile.forward != event.user:
        profile.note_first_seen(event_time(event, record), experiment_key(event))
        attempt.pass_on(record, event.user, _transfer(profile, event, record))
        profile.freeze(event.user, ingest_time(record))
    profile.stub_since = ingest_time(record)


def absorb(
    profile: Profile,
    event: Transfer,
    record: Record,
    settings: ProfileSettings,
    taus: TimeConstants,
    attempt: Attempt,
) -> None:
    """Take in what an anonymous id held. One that was identified before the user was erased goes, too."""
    if profile.is_over(event.timestamp):
        _erase_linked_ids((event.anonymous_id,), profile, record, attempt)
        return
    profile.absorb(unpack_transfer(event, settings), taus)
    profile.add_twin(event.anonymous_id)
    pending.limit_pending(profile, settings, attempt)


def erase(profile: Profile, event: Erased, record: Record, attempt: Attempt) -> None:
    """Forget a user and have their anonymous ids forgotten; or such an id, unless it is someone else's by now."""
    if event.anonymous_id is not None and profile.forward != Person("u", event.user_id):
        return
    twins = profile.twins
    if profile.erase(event.timestamp, origin(event)):
        _erase_linked_ids(twins, profile, record, attempt)


def onboard(profile: Profile, event: Onboarded) -> None:
    """Take the answers. Raises `Misconfigured` for a vector of another space."""
    if event.space is not None:
        profile.require_space(event.space)
    vector = None if event.vector is None else np.asarray(event.vector, dtype=np.float64)
    profile.onboard(vector, origin(event), event.segment, event.attributes)


def _transfer(profile: Profile, event: Identify, record: Record) -> Transfer:
    held = profile.copy()
    while True:
        payload, vectors = held.packed(record.partition)
        transfer = Transfer(
            user_id=event.user_id,
            anonymous_id=event.anonymous_id,
            timestamp=event_time(event, record),
            payload=payload,
            vectors=vectors,
        )
        if len(transfer.to_bytes()) <= TRANSFER_BYTES or not held.shrink():
            return transfer
        log.warning("the oldest seen items don't fit in a transfer", limit_bytes=TRANSFER_BYTES)


def _erase_linked_ids(twins: Iterable[str], profile: Profile, record: Record, attempt: Attempt) -> None:
    """Tell the owners of these anonymous ids of the user's erasure."""
    at, tombstone = profile.erased_at, profile.onboarded
    if at is None or tombstone is None:
        return
    due_to = RecordOrigin(log=tombstone[0], partition=tombstone[1], offset=tombstone[2])
    for twin in twins:
        erased = Erased(user_id=profile.person.id, anonymous_id=twin, timestamp=at, origin=due_to)
        headers = cloud_event_headers(erased, record.place, GROUP)
        attempt.send(record, Outgoing(INTERACTIONS, erased.person.key.encode(), erased.to_bytes(), headers))
