"""The state of a profile as one string: all of it that nothing filters or searches by.

Its form is `2.PACKED.POPULARITY.EVENT_IDS`, the three in base64, all numbers little-endian. PACKED is deflated, with a
dictionary of what every state has: the length of a JSON object (4 bytes), that object, and the columns of `item_table`.
The others wouldn't deflate: POPULARITY is 3 bytes for each recent item, a float32 without its lowest byte; EVENT_IDS
are 7 bytes for each hash of 53 bits, oldest first. A new field goes into `_fields`, and into `codec.decode_profile`.

Version 1, which older profiles and transfers in flight may still hold, is a JSON object with the sets as lists.
"""

from __future__ import annotations

import struct
import zlib
from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from eddyline.model.exposures import ExposureHistory
from eddyline.model.newest_items import NewestItems
from eddyline.model.offsets import offsets_to_json
from eddyline.model.profile.item_table import pack_seen, unpack_recents, unpack_seen
from eddyline.model.profile.narrow import drop_byte, restore_byte
from eddyline.model.profile.profile import Profile
from eddyline.model.profile.seen_items import SeenItems
from eddyline.model.profile.taste import VECTORS
from eddyline.settings import ProfileSettings

VERSION = 2
READABLE = (1, VERSION)
FAST = 1
"""Level of deflate: level 6 saves 3 % and takes longer."""
DICTIONARY = (
    b'{"taste":[0.0,0.0],"session":[0.0,1790000000.0],"lifetime":[0.0,0.0],"evidence":0.0,"onboarded":null,'
    b'"pending":[],"twins":[],"unit":[179000000.0,"a:"],"unit":[179000000.0,"u:"],"watermarks":{"0":{"1":0}},'
    b'"origins":{},"first":{"0":{"1":0}},"items":{"ids":[],"own":[[],[],[],[],[],[]],"unit":1000.0,'
    b'"shown":[[],[],[],[]]}}'
)
"""What a state begins with, more or less: 160 bytes less to store. Never changes: stored states would be lost."""
HIGHEST_BYTE = 7
"""Of an event id's eight, which is a zero."""


@dataclass(frozen=True, slots=True)
class StoredState:
    """What a state holds. `fields` are plain JSON."""

    fields: Mapping[str, Any]
    seen: SeenItems
    event_ids: tuple[int, ...]


def write_state(profile: Profile) -> str:
    """Return the state of a profile."""
    items, columns, popularity = pack_seen(profile.seen)
    fields = orjson.dumps({**_fields(profile), "items": items})
    deflate = zlib.compressobj(FAST, zdict=DICTIONARY)
    packed = deflate.compress(b"".join((struct.pack("<I", len(fields)), fields, columns))) + deflate.flush()
    parts = (packed, popularity, _pack_event_ids(profile.delivery.event_ids))
    return ".".join((str(VERSION), *(b64encode(part).decode() for part in parts)))


def state_version(state: str) -> int:
    """Return the version of a state. Raises ValueError where it is none."""
    return 1 if state.startswith("{") else int(state.partition(".")[0])


def read_state(state: str, settings: ProfileSettings) -> StoredState:
    """Invert `write_state`; the version is one of `READABLE`. Raises ValueError, KeyError or TypeError for rubbish."""
    if state_version(state) == 1:
        return _read_first_version(orjson.loads(state), settings)
    _, packed, popularity, event_ids = state.split(".")
    fields, columns = _inflate(packed)
    try:
        seen = unpack_seen(fields["items"], columns, b64decode(popularity, validate=True), settings)
    except (IndexError, struct.error) as error:
        raise ValueError(f"is not a packed state: {error}") from error
    return StoredState(fields, seen, _unpack_event_ids(b64decode(event_ids, validate=True)))


def read_recents(state: str) -> list[str]:
    """Return the recent items of a state, newest first, without reading the rest of it."""
    if state_version(state) == 1:
        return [item_id for item_id, _ in orjson.loads(state)["recents"]]
    fields, columns = _inflate(state.split(".")[1])
    times = unpack_recents(fields["items"], columns)
    return NewestItems(len(times), times).newest_first()


def _fields(profile: Profile) -> dict[str, Any]:
    taste, identity, delivery = profile.taste, profile.identity, profile.delivery
    return {
        **{name: [total.weight, total.time] for name, total in zip(VECTORS, taste.sums, strict=True)},
        "evidence": taste.evidence,
        "onboarded": delivery.users_position and list(delivery.users_position),
        "pending": [entry.to_fields() for entry in delivery.pending],
        "twins": identity.linked_anonymous_ids,
        "unit": identity.first_seen and list(identity.first_seen),
        "watermarks": offsets_to_json(delivery.watermarks),
        "origins": offsets_to_json(delivery.origins),
        "first": offsets_to_json(delivery.first),
    }


def _inflate(packed: str) -> tuple[dict[str, Any], bytes]:
    inflate = zlib.decompressobj(zdict=DICTIONARY)
    try:
        content = inflate.decompress(b64decode(packed, validate=True))
    except zlib.error as error:
        raise ValueError(f"is not a packed state: {error}") from error
    if not inflate.eof:
        raise ValueError("is not a packed state: its end is missing")
    end = 4 + int.from_bytes(content[:4], "little")
    return orjson.loads(content[4:end]), content[end:]


def _pack_event_ids(event_ids: Sequence[int]) -> bytes:
    return drop_byte(struct.pack(f"<{len(event_ids)}Q", *event_ids), 8, HIGHEST_BYTE)


def _unpack_event_ids(packed: bytes) -> tuple[int, ...]:
    whole = restore_byte(packed, 8, HIGHEST_BYTE)
    return struct.unpack(f"<{len(whole) // 8}Q", whole)


def _read_first_version(fields: Mapping[str, Any], settings: ProfileSettings) -> StoredState:
    # Profiles of before `shown` and `popularity` were kept lack them.
    shown = {item_id: tuple(minutes) for item_id, minutes in fields.get("shown", {}).items()}
    seen = SeenItems(
        recents=NewestItems.from_times(settings.recents, dict(fields["recents"])),
        viewed=NewestItems.from_times(settings.seen, dict(fields["viewed"])),
        purchased=NewestItems.from_times(settings.seen, dict(fields["purchased"])),
        disliked=NewestItems.from_times(settings.seen, dict(fields["disliked"])),
        liked=NewestItems.from_times(settings.seen, dict(fields["liked"])),
        shown=ExposureHistory.from_minutes(settings.exposures, shown),
        popularity=fields.get("popularity", {}),
        counted=fields["counted"],
    )
    return StoredState(fields, seen, tuple(fields["event_ids"]))
