"""The state of a profile as one string: all of it that nothing filters or searches by.

Its form is `3.PACKED.NUMBERS.POPULARITY.EVENT_IDS`, the four in base64, all numbers little-endian. PACKED is deflated,
with a dictionary of what every state has: the length of a JSON object (4 bytes), that object, and the columns of
`item_table`. The others wouldn't deflate: NUMBERS are its times and places; POPULARITY is the upper half of a float32
for each recent item; EVENT_IDS are 7 bytes for each hash of 53 bits, oldest first. A new field goes into `_fields`, and
into `codec.decode_profile`.

Older profiles and transfers in flight may still hold another version, of events without their places: `former_states`.
"""

from __future__ import annotations

import struct
import zlib
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from eddyline.model.newest_items import NewestItems
from eddyline.model.offsets import offsets_to_json
from eddyline.model.profile.former_states import read_first_version, unpack_second_version
from eddyline.model.profile.item_table import StoredItems, pack_items, unpack_items
from eddyline.model.profile.narrow import drop_byte, restore_byte
from eddyline.model.profile.profile import Profile
from eddyline.model.profile.seen_items import SeenItems
from eddyline.model.profile.taste import VECTORS
from eddyline.settings import ProfileSettings

VERSION = 3
READABLE = (1, 2, VERSION)
FAST = 1
"""Level of deflate: level 6 saves 3 % and takes longer."""
DICTIONARY = (
    b'{"taste":[0.0,0.0],"session":[0.0,1790000000.0],"lifetime":[0.0,0.0],"evidence":0.0,"onboarded":null,'
    b'"pending":[],"twins":[],"unit":[179000000.0,"a:"],"unit":[179000000.0,"u:"],"watermarks":{"0":{"1":0}},'
    b'"origins":{},"first":{"0":{"1":0}},"items":{"ids":[],"own":[[],[],[],[],[],[]],"unit":1000.0,'
    b'"shown":[[],[],[],[]]}}'
)
"""What a state begins with, more or less: 160 bytes less to store. Never changes: stored states would be lost."""
MAX_INFLATED = 32 * 2**20
"""Most bytes that a state may inflate to: several times those of the largest, with the longest ids."""
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
    items = pack_items(profile.seen)
    packed = _deflate({**_fields(profile), "items": items.fields}, items.columns)
    parts = (packed, items.numbers, items.popularity, _pack_event_ids(profile.delivery.event_ids))
    return ".".join((str(VERSION), *(b64encode(part).decode() for part in parts)))


def state_version(state: str) -> int:
    """Return the version of a state. Raises ValueError where it is none."""
    return 1 if state.startswith("{") else int(state.partition(".")[0])


def read_state(state: str, settings: ProfileSettings) -> StoredState:
    """Invert `write_state`; the version is one of `READABLE`. Raises ValueError, KeyError or TypeError for rubbish."""
    version = state_version(state)
    if version == 1:
        fields = orjson.loads(state)
        return StoredState(fields, read_first_version(fields, settings), tuple(fields["event_ids"]))
    *parts, event_ids = state.split(".")[1:]
    fields, items = _read_items(version, parts)
    try:
        seen = items.to_seen(fields["items"], settings)
    except IndexError as error:
        raise ValueError(f"is not a packed state: {error}") from error
    return StoredState(fields, seen, _unpack_event_ids(_decode(event_ids)))


def translate_state(state: str, translate: Callable[[dict[str, Any]], dict[str, Any]]) -> str:
    """Return a state with other fields, which `translate` makes of what it has. Raises as `read_state` does."""
    if state_version(state) == 1:
        return orjson.dumps(translate(orjson.loads(state))).decode()
    version, packed, *rest = state.split(".")
    fields, columns = _inflate(packed)
    return ".".join((version, b64encode(_deflate(translate(fields), columns)).decode(), *rest))


def read_recents(state: str) -> list[str]:
    """Return the recent items of a state, newest first, without reading the rest of it."""
    version = state_version(state)
    if version == 1:
        return [item_id for item_id, _ in orjson.loads(state)["recents"]]
    _, items = _read_items(version, state.split(".")[1:-1])
    recents = next(items.kinds(1))
    return NewestItems.from_entries(len(recents), recents).newest_first()


def _read_items(version: int, parts: Sequence[str]) -> tuple[dict[str, Any], StoredItems]:
    """Return (fields, the items). `parts`: from PACKED to POPULARITY."""
    fields, columns = _inflate(parts[0])
    unpack = unpack_second_version if version == 2 else unpack_items
    try:
        return fields, unpack(fields["items"], columns, *map(_decode, parts[1:]))
    except IndexError as error:
        raise ValueError(f"is not a packed state: {error}") from error


def _decode(text: str) -> bytes:
    return b64decode(text, validate=True)


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


def _deflate(fields: Mapping[str, Any], columns: bytes) -> bytes:
    content = orjson.dumps(fields)
    deflate = zlib.compressobj(FAST, zdict=DICTIONARY)
    return deflate.compress(b"".join((struct.pack("<I", len(content)), content, columns))) + deflate.flush()


def _inflate(packed: str) -> tuple[dict[str, Any], bytes]:
    inflate = zlib.decompressobj(zdict=DICTIONARY)
    try:
        content = inflate.decompress(_decode(packed), MAX_INFLATED)
    except zlib.error as error:
        raise ValueError(f"is not a packed state: {error}") from error
    if not inflate.eof:
        raise ValueError("is not a packed state: its end is missing, or too far")
    end = 4 + int.from_bytes(content[:4], "little")
    return orjson.loads(content[4:end]), content[end:]


def _pack_event_ids(event_ids: Sequence[int]) -> bytes:
    return drop_byte(struct.pack(f"<{len(event_ids)}Q", *event_ids), 8, HIGHEST_BYTE)


def _unpack_event_ids(packed: bytes) -> tuple[int, ...]:
    whole = restore_byte(packed, 8, HIGHEST_BYTE)
    return struct.unpack(f"<{len(whole) // 8}Q", whole)
