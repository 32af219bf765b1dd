"""A profile as it is stored, and as it travels: vectors, a few filterable fields, and one string with the rest."""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
from numpy.typing import NDArray

from eddyline.errors import Misconfigured
from eddyline.model.decay import Accumulator, Vector
from eddyline.model.exposures import ExposureHistory
from eddyline.model.ids import Person
from eddyline.model.newest_items import NewestItems
from eddyline.model.offsets import offsets_from_json, offsets_to_json
from eddyline.model.profile.parts import SETS, STATE_VERSION, VECTORS, PendingInteraction

if TYPE_CHECKING:
    from eddyline.model.profile.state import Profile

BEFORE = 0.0
"""The time of `unit` where it wasn't kept yet."""
OFFSETS = ("watermarks", "origins", "first")


def encode_vectors(profile: Profile) -> dict[str, NDArray[np.float32]]:
    """The named dense vectors that there are, as stored: the sums themselves, float32."""
    stored = {
        name: np.asarray(getattr(profile, name).sum, dtype=np.float32)
        for name in VECTORS
        if getattr(profile, name).sum is not None
    }
    if profile.onboarding is not None:
        stored["onboarding"] = np.asarray(profile.onboarding, dtype=np.float32)
    return stored


def encode_payload(profile: Profile, partition: int) -> dict[str, Any]:
    """A few filterable fields, and one string with the rest. `partition`: where the person's records are.

    An erased person's stub doesn't say whose it is: only the point's id, a hash, does.
    """
    fields: dict[str, Any] = {
        "events": profile.events,
        "last_seen": profile.last_seen,
        "epoch": profile.epoch,
        "state": orjson.dumps(_state(profile)).decode(),
    }
    optional = {
        "person": None if profile.is_blank else profile.person.key,
        "space": profile.space,
        "segment": profile.segment,
        "attributes": dict(profile.attributes) or None,
        "erased_at": profile.erased_at,
        "waiting": partition if profile.pending else None,
        "forward": None if profile.forward is None else profile.forward.key,
        "stub_since": profile.stub_since if profile.is_stub else None,
    }
    return fields | {name: value for name, value in optional.items() if value is not None}


def _state(profile: Profile) -> dict[str, Any]:
    return {
        "v": STATE_VERSION,
        **{name: [getattr(profile, name).weight, getattr(profile, name).time] for name in VECTORS},
        "evidence": profile.evidence,
        **{name: getattr(profile, name).to_list() for name in SETS},
        "shown": profile.shown.to_plain(),
        "popularity": profile.popularity,
        "counted": profile.counted,
        "onboarded": list(profile.onboarded) if profile.onboarded else None,
        "pending": [
            [p.item_id, p.value, p.topic, p.partition, p.offset, p.log, p.timestamp, p.since, p.headers, p.key]
            for p in profile.pending
        ],
        "event_ids": list(profile.event_ids),
        "twins": profile.twins,
        "unit": profile.unit,
        **{name: offsets_to_json(getattr(profile, name)) for name in OFFSETS},
    }


def decode_into(profile: Profile, payload: Mapping[str, Any], vectors: Mapping[str, Any]) -> None:
    """Fill an empty profile from a stored point. Raises `Misconfigured` for a state of another version."""
    state = orjson.loads(payload["state"])
    if state["v"] != STATE_VERSION:
        raise Misconfigured(
            f"profile {profile.person.key} has state version {state['v']}, this Eddyline reads {STATE_VERSION}: "
            "rebuild the profiles (`eddyline replay`), or start with a new data directory"
        )
    profile.space = payload.get("space")
    for name in VECTORS:
        weight, time = state[name]
        vector = vectors.get(name)
        total = None if vector is None else np.asarray(vector, dtype=np.float64)
        setattr(profile, name, Accumulator(total, weight, time))
    onboarding = vectors.get("onboarding")
    profile.onboarding = None if onboarding is None else np.asarray(onboarding, dtype=np.float64)
    profile.onboarded = tuple(state["onboarded"]) if state["onboarded"] else None
    profile.evidence, profile.events = state["evidence"], payload["events"]
    profile.last_seen, profile.epoch = payload["last_seen"], payload["epoch"]
    profile.segment, profile.attributes = payload.get("segment"), payload.get("attributes") or {}
    profile.erased_at = payload.get("erased_at")
    for name in SETS:
        size = getattr(profile, name).size
        setattr(profile, name, NewestItems.from_list(size, state[name]))
    # Profiles of before these were kept lack them.
    profile.shown = ExposureHistory.from_plain(profile.settings.exposures, state.get("shown", {}))
    profile.popularity = state.get("popularity", {})
    profile.counted = state["counted"]
    profile.pending = tuple(_pending(row) for row in state["pending"])
    profile.event_ids = tuple(state["event_ids"])
    profile.twins = tuple(state["twins"])
    profile.unit = _unit(profile, state)
    for name in OFFSETS:
        setattr(profile, name, offsets_from_json(state[name]))
    profile.forward = Person.from_key(payload["forward"]) if "forward" in payload else None
    profile.stub_since = payload.get("stub_since")


def stored_recents(payload: Mapping[str, Any]) -> list[str]:
    """The recent items of a stored profile, newest first, without reading the rest of it."""
    return [item_id for item_id, _ in orjson.loads(payload["state"])["recents"]]


def pack_vectors(profile: Profile) -> dict[str, str]:
    """The sums, float64 in base64."""
    sums = {name: getattr(profile, name).sum for name in VECTORS}
    return {name: _base64(total) for name, total in sums.items() if total is not None}


def unpack_vectors(vectors: Mapping[str, str]) -> dict[str, Vector]:
    """The inverse of `pack_vectors`. Raises ValueError or TypeError for what isn't one."""
    return {name: _floats(text) for name, text in vectors.items()}


def _unit(profile: Profile, state: Mapping[str, Any]) -> tuple[float, str] | None:
    if "unit" in state:
        if state["unit"] is None:
            return None
        time, key = state["unit"]
        return float(time), str(key)
    # Of before it was kept: who was known then stays who they are.
    return (BEFORE, profile.person.key) if profile.events or profile.twins or state.get("shown") else None


def _pending(row: Sequence[Any]) -> PendingInteraction:
    item_id, value, topic, partition, offset, log, timestamp, since, headers, key = row
    names_and_values = tuple((name, value) for name, value in headers)
    return PendingInteraction(item_id, value, topic, partition, offset, log, timestamp, since, names_and_values, key)


def _base64(vector: Vector) -> str:
    return b64encode(np.asarray(vector, dtype="<f8").tobytes()).decode()


def _floats(text: str) -> Vector:
    return np.frombuffer(b64decode(text, validate=True), dtype="<f8")
