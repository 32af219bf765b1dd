"""A profile as it is stored, and as it travels: a few filterable fields, its vectors, and one string with the rest.

A new field of the profile point goes into `_payload` (where it is filtered by) or `state.write_state`, and
`decode_profile`.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from eddyline.errors import Misconfigured
from eddyline.model.decay import Accumulator, Vector
from eddyline.model.ids import Person
from eddyline.model.offsets import LogPosition, offsets_from_json
from eddyline.model.profile.delivery import Delivery, PendingInteraction
from eddyline.model.profile.identity import FirstSeen, Identity
from eddyline.model.profile.profile import Profile
from eddyline.model.profile.state import READABLE, read_recents, read_state, state_version, write_state
from eddyline.model.profile.taste import FORMER_VECTORS, VECTORS, DecayedSums, Taste
from eddyline.settings import ProfileSettings

UNKNOWN_TIME = 0.0
"""The time of `first_seen` where it wasn't kept yet."""


def encode_payload(profile: Profile, partition: int) -> dict[str, Any]:
    """Return a few filterable fields, the state, and the vectors, packed as float32: nothing is searched by them.

    `partition`: where the person's records are. An erased person's tombstone doesn't say whose it is: only the point's
    id, a hash, does.
    """
    packed = {name: _pack(vector, "<f4") for name, vector in _vectors(profile).items()}
    return _payload(profile, partition) | ({"vectors": packed} if packed else {})


def _payload(profile: Profile, partition: int) -> dict[str, Any]:
    identity, delivery = profile.identity, profile.delivery
    fields: dict[str, Any] = {
        "events": profile.events,
        "last_seen": profile.last_seen,
        "epoch": delivery.epoch,
        "state": write_state(profile),
    }
    optional = {
        "person": None if profile.is_blank else profile.person.key,
        "space": profile.taste.space,
        "segment": identity.segment,
        "attributes": dict(identity.attributes) or None,
        "erased_at": identity.erased_at,
        "waiting": partition if delivery.pending else None,
        "forward": None if identity.merged_into is None else identity.merged_into.key,
        "active_at": profile.active_at or None if _may_end(profile) else None,
        "stub_since": identity.tombstone_since if profile.is_tombstone else None,
    }
    return fields | {name: value for name, value in optional.items() if value is not None}


def _may_end(profile: Profile) -> bool:
    """Whether the profile ends by itself when nothing comes any more: then it says since when."""
    return profile.person.kind == "a" and not profile.is_tombstone


def decode_profile(
    person: Person, payload: Mapping[str, Any], vectors: Mapping[str, Any], settings: ProfileSettings
) -> Profile:
    """Invert `encode_payload`. `vectors`: those that aren't in the payload, of a transfer, and of a point that has
    `former_vectors`.

    Raises `Misconfigured` for a state of another version.
    """
    version = state_version(payload["state"])
    if version not in READABLE:
        raise Misconfigured(
            f"profile {person.key} has state version {version}, this Eddyline reads {READABLE}: rebuild the profiles "
            "(`eddyline replay`), or start with a new data directory"
        )
    state = read_state(payload["state"], settings)
    fields, dense = state.fields, {name: _unpack(text, "<f4") for name, text in payload.get("vectors", {}).items()}
    dense |= {name: np.asarray(vectors[name], dtype=np.float64) for name in FORMER_VECTORS if name in vectors}
    profile = Profile(person, settings, payload["events"], payload["last_seen"], payload.get("active_at", 0.0))
    profile.taste = Taste(
        space=payload.get("space"),
        sums=DecayedSums(*(Accumulator(dense.get(name), *fields[name]) for name in VECTORS)),
        evidence=fields["evidence"],
        onboarding=dense.get("onboarding"),
    )
    profile.seen = state.seen
    profile.identity = Identity(
        merged_into=Person.from_key(payload["forward"]) if "forward" in payload else None,
        linked_anonymous_ids=tuple(fields["twins"]),
        first_seen=_first_seen(profile, fields),
        segment=payload.get("segment"),
        attributes=payload.get("attributes") or {},
        erased_at=payload.get("erased_at"),
        tombstone_since=payload.get("stub_since"),
    )
    profile.delivery = Delivery(
        settings.event_ids,
        epoch=payload["epoch"],
        watermarks=offsets_from_json(fields["watermarks"]),
        origins=offsets_from_json(fields["origins"]),
        event_ids=state.event_ids,
        pending=tuple(_pending(row) for row in fields["pending"]),
        users_position=LogPosition(*fields["onboarded"]) if fields["onboarded"] else None,
        first=offsets_from_json(fields["first"]),
    )
    return profile


def former_vectors(payload: Mapping[str, Any]) -> tuple[str, ...]:
    """Return which vectors of a stored profile are, or may be, named ones of its point and not packed in its payload:
    none, but for one that was written when its `taste` was, or all four were."""
    if state_version(payload["state"]) == 1:
        return FORMER_VECTORS
    packed = payload.get("vectors", {})  # the three sums are of the same events: there are all, or none
    return ("taste",) if "lifetime" in packed and "taste" not in packed else ()


def stored_recents(payload: Mapping[str, Any]) -> list[str]:
    """Return the recent items of a stored profile, newest first, without reading the rest of it."""
    return read_recents(payload["state"])


def pack_profile(profile: Profile, partition: int) -> tuple[dict[str, Any], dict[str, str]]:
    """Return (payload, vectors) for a `Transfer`: all vectors as float64 in base64, so that nothing is rounded."""
    return _payload(profile, partition), {name: _pack(vector, "<f8") for name, vector in _vectors(profile).items()}


def unpack_profile(
    person: Person, payload: Mapping[str, Any], vectors: Mapping[str, str], settings: ProfileSettings
) -> Profile:
    """Invert `pack_profile`. Raises ValueError, KeyError or TypeError for what isn't one."""
    sums = {name: _unpack(text, "<f8") for name, text in vectors.items()}
    try:
        return decode_profile(person, payload, sums, settings)
    except AttributeError as error:  # a number or a list where a text or an object must be
        raise ValueError(str(error)) from error


def _vectors(profile: Profile) -> dict[str, Vector]:
    """Return the vectors that there are, by name."""
    sums = {name: total.sum for name, total in zip(VECTORS, profile.taste.sums, strict=True)}
    named = {**sums, "onboarding": profile.taste.onboarding}
    return {name: vector for name, vector in named.items() if vector is not None}


def _pack(vector: Vector, dtype: str) -> str:
    return b64encode(vector.astype(dtype).tobytes()).decode()


def _unpack(text: str, dtype: str) -> Vector:
    return np.frombuffer(b64decode(text, validate=True), dtype=dtype).astype(np.float64)


def _first_seen(profile: Profile, fields: Mapping[str, Any]) -> FirstSeen | None:
    if "unit" in fields:
        if fields["unit"] is None:
            return None
        time, key = fields["unit"]
        return FirstSeen(float(time), str(key))
    # From before it was kept: who was known then stays who they are.
    was_known = profile.events or fields["twins"] or fields.get("shown")
    return FirstSeen(UNKNOWN_TIME, profile.person.key) if was_known else None


def _pending(row: Sequence[Any]) -> PendingInteraction:
    item_id, value, topic, partition, offset, log, timestamp, since, headers, key = row
    names_and_values = tuple((name, value) for name, value in headers)
    return PendingInteraction(item_id, value, topic, partition, offset, log, timestamp, since, names_and_values, key)
