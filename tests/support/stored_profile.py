"""A stored profile, opened by the letter of its form alone: shares no code with what writes it."""

from __future__ import annotations

import struct
import zlib
from base64 import b64decode
from collections.abc import Mapping
from itertools import accumulate
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
    """Everything in it, in plain words: `recents`, `viewed` … are items and their times, `places` their places by set,
    `shown` items and minutes."""
    version, packed, numbers, popularity, event_ids = state.split(".")
    assert version == "3"
    content = zlib.decompressobj(zdict=DICTIONARY).decompress(b64decode(packed))
    end = 4 + struct.unpack("<I", content[:4])[0]
    fields: dict[str, Any] = orjson.loads(content[4:end])
    items, columns = fields.pop("items"), content[end:]
    flags, widths = columns[: len(items["ids"])], columns[len(items["ids"]) :]
    entries = _sets(items["ids"], items["own"], items["unit"], flags, _numbers(widths, b64decode(numbers)))
    halves, hashes = b64decode(popularity), b64decode(event_ids)
    popular = [struct.unpack("<f", b"\0\0" + halves[at : at + 2])[0] for at in range(0, len(halves), 2)]
    return {
        **fields,
        **{name: {item: time for item, (time, _) in found.items()} for name, found in entries.items()},
        "places": {name: {item: place for item, (_, place) in found.items()} for name, found in entries.items()},
        "shown": _shown(*items["shown"]),
        "popularity": dict(zip(entries["recents"], popular, strict=True)),
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


def _numbers(widths: bytes, packed: bytes) -> list[int]:
    """Each in one byte more than its width says, zigzag."""
    found, at = [], 0
    for width in widths:
        number = int.from_bytes(packed[at : at + width + 1], "little")
        found.append(-(number + 1) // 2 if number % 2 else number // 2)
        at += width + 1
    return found


def _sets(
    ids: list[str], own: list[list[int]], unit: float | None, flags: bytes, numbers: list[int]
) -> dict[str, dict[str, tuple[float, int]]]:
    apart = [place for place, flag in enumerate(flags) if flag & 1 << 6]
    owners = [*(place for each in own for place in each), *apart]
    half = len(numbers) // 2
    times, places = (_summed(each, len(ids), owners) for each in (numbers[:half], numbers[half:]))
    entries = [(_time(time, unit), place) for time, place in zip(times, places, strict=True)]
    further = iter(entries[len(ids) :])
    found = {}
    for kind, (name, its_own) in enumerate(zip(KINDS, [*own, apart], strict=True)):
        flagged = zip(ids, entries, flags, strict=False)
        found[name] = {item: entry for item, entry, flag in flagged if flag & 1 << kind}
        for place in its_own:
            found[name][ids[place]] = next(further)
    return found


def _summed(differences: list[int], count: int, own: list[int]) -> list[int]:
    """Undo that each is told by its difference from another: modulo 2^64."""
    shared = [_signed(number) for number in accumulate(differences[:count])]
    return shared + [_signed(shared[place] + more) for place, more in zip(own, differences[count:], strict=True)]


def _signed(number: int) -> int:
    return (number + 2**63) % 2**64 - 2**63


def _time(number: int, unit: float | None) -> float:
    bits: float = struct.unpack("<d", struct.pack("<q", number))[0]
    return bits if unit is None else number / unit


def _shown(ids: list[str], minutes: list[int], counts: list[int], which: list[int]) -> dict[str, list[int]]:
    left = iter(which)
    return {item: [minutes[next(left)] for _ in range(count)] for item, count in zip(ids, counts, strict=True)}
