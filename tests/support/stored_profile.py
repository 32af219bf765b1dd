"""A stored profile, opened by the letter of its form alone: shares no code with what writes it."""

from __future__ import annotations

import struct
import zlib
from base64 import b64decode
from collections.abc import Mapping
from typing import Any

import orjson

KINDS = ("recents", "viewed", "purchased", "disliked", "liked", "counted")
DICTIONARY = (
    b'{"taste":[0.0,0.0],"session":[0.0,1790000000.0],"lifetime":[0.0,0.0],"evidence":0.0,"onboarded":null,'
    b'"pending":[],"twins":[],"unit":[179000000.0,"a:"],"unit":[179000000.0,"u:"],"watermarks":{"0":{"1":0}},'
    b'"origins":{},"first":{"0":{"1":0}},"items":{"ids":[],"own":[[],[],[],[],[],[]],"unit":1000.0,'
    b'"shown":[[],[],[],[]]}}'
)
"""A copy on purpose: with another one, the product couldn't read what is stored."""


def open_state(state: str) -> dict[str, Any]:
    """Everything in it, in plain words: `recents`, `viewed` … are items and their times, `shown` items and minutes."""
    version, packed, popularity, event_ids = state.split(".")
    assert version == "2"
    content = zlib.decompressobj(zdict=DICTIONARY).decompress(b64decode(packed))
    end = 4 + struct.unpack("<I", content[:4])[0]
    fields: dict[str, Any] = orjson.loads(content[4:end])
    items = fields.pop("items")
    opened = {**fields, **_sets(items["ids"], items["own"], items["unit"], content[end:])}
    highest = b64decode(popularity)
    numbers = [struct.unpack("<f", b"\0" + highest[at : at + 3])[0] for at in range(0, len(highest), 3)]
    hashes = b64decode(event_ids)
    return {
        **opened,
        "shown": _shown(*items["shown"]),
        "popularity": dict(zip(opened["recents"], numbers, strict=True)),
        "event_ids": [int.from_bytes(hashes[at : at + 7], "little") for at in range(0, len(hashes), 7)],
    }


def open_payload(payload: Mapping[str, Any]) -> dict[str, Any]:
    """The payload with its state opened, and its vectors as numbers."""
    state = payload["state"]
    opened = orjson.loads(state) if state.startswith("{") else open_state(state)
    return {**payload, "state": opened, "vectors": open_vectors(payload)}


def open_vectors(payload: Mapping[str, Any]) -> dict[str, list[float]]:
    """The vectors that are in the payload."""
    packed = {name: b64decode(text) for name, text in payload.get("vectors", {}).items()}
    return {name: list(struct.unpack(f"<{len(each) // 4}f", each)) for name, each in packed.items()}


def _sets(ids: list[str], own: list[list[int]], unit: float | None, columns: bytes) -> dict[str, dict[str, float]]:
    planes = columns[len(ids) :]
    count = len(planes) // 8
    each = [bytes(planes[plane * count + place] for plane in range(8)) for place in range(count)]
    times = [struct.unpack("<d", eight)[0] if unit is None else struct.unpack("<q", eight)[0] / unit for eight in each]
    further = iter(times[len(ids) :])
    found = {}
    for kind, (name, apart) in enumerate(zip(KINDS, own, strict=True)):
        flagged = zip(ids, times, columns, strict=False)
        found[name] = {item: time for item, time, flags in flagged if flags & 1 << kind}
        for place in apart:
            found[name][ids[place]] = next(further)
    return found


def _shown(ids: list[str], minutes: list[int], counts: list[int], which: list[int]) -> dict[str, list[int]]:
    left = iter(which)
    return {item: [minutes[next(left)] for _ in range(count)] for item, count in zip(ids, counts, strict=True)}
