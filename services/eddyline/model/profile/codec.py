"""A profile as it is stored, and as it travels: vectors, a few filterable fields, and one string with the rest.

A new field of the profile point goes into `encode_payload` (where it is filtered by) or `_state`, and `decode_profile`.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from eddyline.errors import Misconfigured
from eddyline.model.decay import Accumulator
from eddyline.model.exposures import ExposureHistory
from eddyline.model.ids import Person
from eddyline.model.newest_items import NewestItems
from eddyline.model.offsets import LogPosition, offsets_from_json, offsets_to_json
from eddyline.model.profile.delivery import Delivery, PendingInteraction
from eddyline.model.profile.identity import FirstSeen, Identity
from eddyline.model.profile.profile import Profile
from eddyline.model.profile.seen_items import SETS, SeenItems
from eddyline.model.profile.taste import STORED_VECTORS, VECTORS, DecayedSums, Taste
from eddyline.settings import ProfileSettings

STATE_VERSION = 1
UNKNOWN_TIME = 0.0
"""The time of `first_seen` where it wasn't kept yet."""


def encode_vectors(profile: Profile) -> dict[str, NDArray[np.float32]]:
    """Return the named dense vectors that there are, as stored: the sums themselves, float32."""
    vectors = {name: total.sum for name, total in zip(VECTORS, profile.taste.sums, strict=True)}
    vectors["onboarding"] = profile.taste.onboarding
    return {name: np.asarray(vector, dtype=np.float32) for name, vector in vectors.items() if vector is not None}


def encode_payload(profile: Profile, partition: int) -> dict[str, Any]:
    """Return a few filterable fields, and one string with the rest. `partition`: where the person's records are.

    An erased person's tombstone doesn't say whose it is: only the point's id, a hash, does.
    """
    identity, delivery = profile.identity, profile.delivery
    fields: dict[str, Any] = {
        "events": profile.events,
        "last_seen": profile.last_seen,
        "epoch": delivery.epoch,
        "state": orjson.dumps(_state(profile)).decode(),
    }
    optional = {
        "person": None if profile.is_blank else profile.person.key,
        "space": profile.taste.space,
        "segment": identity.segment,
        "attributes": dict(identity.attributes) or None,
        "erased_at": identity.erased_at,
        "waiting": partition if delivery.pending else None,
        "forward": None if identity.merged_into is None else identity.merged_into.key,
        "stub_since": identity.tombstone_since if profile.is_tombstone else None,
    }
    return fields | {name: value for name, value in optional.items() if value is not None}


def _state(profile: Profile) -> dict[str, Any]:
    taste, seen, identity, delivery = profile.taste, profile.seen, profile.identity, profile.delivery
    return {
        "v": STATE_VERSION,
        **{name: [total.weight, total.time] for name, total in zip(VECTORS, taste.sums, strict=True)},
        "evidence": taste.evidence,
        **{name: getattr(seen, name).to_list() for name in SETS},
        "shown": seen.shown.minutes,
        "popularity": seen.popularity,
        "counted": seen.counted,
        "onboarded": delivery.users_position and list(delivery.users_position),
        "pending": [
            [p.item_id, p.value, p.topic, p.partition, p.offset, p.log, p.timestamp, p.since, p.headers, p.key]
            for p in delivery.pending
        ],
        "event_ids": delivery.event_ids,
        "twins": identity.linked_anonymous_ids,
        "unit": identity.first_seen and list(identity.first_seen),
        "watermarks": offsets_to_json(delivery.watermarks),
        "origins": offsets_to_json(delivery.origins),
        "first": offsets_to_json(delivery.first),
    }


def decode_profile(
    person: Person, payload: Mapping[str, Any], vectors: Mapping[str, Any], settings: ProfileSettings
) -> Profile:
    """Invert `encode_payload` and `encode_vectors`. Raises `Misconfigured` for a state of another version."""
    state = orjson.loads(payload["state"])
    if state["v"] != STATE_VERSION:
        raise Misconfigured(
            f"profile {person.key} has state version {state['v']}, this Eddyline reads {STATE_VERSION}: "
            "rebuild the profiles (`eddyline replay`), or start with a new data directory"
        )
    dense = {name: np.asarray(vectors[name], dtype=np.float64) for name in STORED_VECTORS if name in vectors}
    profile = Profile(person, settings, payload["events"], payload["last_seen"])
    profile.taste = Taste(
        space=payload.get("space"),
        sums=DecayedSums(*(Accumulator(dense.get(name), *state[name]) for name in VECTORS)),
        evidence=state["evidence"],
        onboarding=dense.get("onboarding"),
    )
    profile.seen = SeenItems(
        recents=NewestItems.from_list(settings.recents, state["recents"]),
        viewed=NewestItems.from_list(settings.seen, state["viewed"]),
        purchased=NewestItems.from_list(settings.seen, state["purchased"]),
        disliked=NewestItems.from_list(settings.seen, state["disliked"]),
        liked=NewestItems.from_list(settings.seen, state["liked"]),
        # Profiles of before these two were kept lack them.
        shown=ExposureHistory.from_minutes(settings.exposures, state.get("shown", {})),
        popularity=state.get("popularity", {}),
        counted=state["counted"],
    )
    profile.identity = Identity(
        merged_into=Person.from_key(payload["forward"]) if "forward" in payload else None,
        linked_anonymous_ids=tuple(state["twins"]),
        first_seen=_first_seen(profile, state),
        segment=payload.get("segment"),
        attributes=payload.get("attributes") or {},
        erased_at=payload.get("erased_at"),
        tombstone_since=payload.get("stub_since"),
    )
    profile.delivery = Delivery(
        settings.event_ids,
        epoch=payload["epoch"],
        watermarks=offsets_from_json(state["watermarks"]),
        origins=offsets_from_json(state["origins"]),
        event_ids=tuple(state["event_ids"]),
        pending=tuple(_pending(row) for row in state["pending"]),
        users_position=LogPosition(*state["onboarded"]) if state["onboarded"] else None,
        first=offsets_from_json(state["first"]),
    )
    return profile


def stored_recents(payload: Mapping[str, Any]) -> list[str]:
    """Return the recent items of a stored profile, newest first, without reading the rest of it."""
    return [item_id for item_id, _ in orjson.loads(payload["state"])["recents"]]


def pack_profile(profile: Profile, partition: int) -> tuple[dict[str, Any], dict[str, str]]:
    """Return (payload, vectors) for a `Transfer`: the sums as float64 in base64, so that nothing is rounded."""
    sums = {name: total.sum for name, total in zip(VECTORS, profile.taste.sums, strict=True)}
    vectors = {
        name: b64encode(np.asarray(total, dtype="<f8").tobytes()).decode()
        for name, total in sums.items()
        if total is not None
    }
    return encode_payload(profile, partition), vectors


def unpack_profile(
    person: Person, payload: Mapping[str, Any], vectors: Mapping[str, str], settings: ProfileSettings
) -> Profile:
    """Invert `pack_profile`. Raises ValueError, KeyError or TypeError for what isn't one."""
    sums = {name: np.frombuffer(b64decode(text, validate=True), dtype="<f8") for name, text in vectors.items()}
    return decode_profile(person, payload, sums, settings)


def _first_seen(profile: Profile, state: Mapping[str, Any]) -> FirstSeen | None:
    if "unit" in state:
        if state["unit"] is None:
            return None
        time, key = state["unit"]
        return FirstSeen(float(time), str(key))
    # From before it was kept: who was known then stays who they are.
    was_known = profile.events or state["twins"] or state.get("shown")
    return FirstSeen(UNKNOWN_TIME, profile.person.key) if was_known else None


def _pending(row: Sequence[Any]) -> PendingInteraction:
    item_id, value, topic, partition, offset, log, timestamp, since, headers, key = row
    names_and_values = tuple((name, value) for name, value in headers)
    return PendingInteraction(item_id, value, topic, partition, offset, log, timestamp, since, names_and_values, key)
