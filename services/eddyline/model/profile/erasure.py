"""Erasure: what of a person is forgotten, what waits for its item included, and what keeps it forgotten."""

from __future__ import annotations

from eddyline.model.offsets import LogPosition
from eddyline.model.profile.delivery import Delivery
from eddyline.model.profile.identity import Identity
from eddyline.model.profile.profile import Profile


def erase(profile: Profile, time: float, origin: LogPosition) -> bool:
    """Forget, in place, everything but what keeps it forgotten; return False where this tombstone was applied before.

    What stays: the time, the tombstone's position, the watermarks and origins, the epoch. A tombstone that comes again,
    as after a crash of the embedder, changes nothing: what came since stays.
    """
    known = profile.delivery
    if known.has_applied_users_record(origin):
        return False
    profile.forget_events()
    profile.delivery = Delivery(
        known.max_event_ids, known.epoch, known.watermarks, known.origins, users_position=origin
    )
    profile.identity = Identity(erased_at=max(time, profile.identity.erased_at or 0.0), tombstone_since=time)
    return True
