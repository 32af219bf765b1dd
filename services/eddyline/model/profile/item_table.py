"""The items that a person has met, packed: each id once, and columns of bytes for when it was met, and how.

Most items are in several sets since the same time, so an item has one time for all of them, and further ones only where
sets differ. It is plain Python on C's loops where a person has few items, as most have: numpy's calls would cost more.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from itertools import accumulate, chain, compress, repeat
from typing import Any

import numpy as np

from eddyline.model.exposures import ExposureHistory
from eddyline.model.newest_items import NewestItems
from eddyline.model.profile.narrow import drop_byte, restore_byte
from eddyline.model.profile.seen_items import SeenItems
from eddyline.settings import ProfileSettings

Json = dict[str, Any]
KINDS = ("recents", "viewed", "purchased", "disliked", "liked", "counted")
"""What has a time for each of its items. Their order is part of the stored form."""
IS_HELD = tuple(bytes(flags >> kind & 1 for flags in range(256)) for kind in range(len(KINDS)))
"""For each kind: whether a byte of flags has its own."""
LOWEST_BYTE = 0
"""Of a popularity's four: five digits are enough of what is a rule of thumb."""
TIME_BYTES = 8
MILLISECONDS = 1000.0
LARGEST_EXACT = 2.0**53
"""Up to here, doubles hold every whole number."""


def pack_seen(seen: SeenItems) -> tuple[Json, bytes, bytes]:
    """Return a part for JSON, columns that deflate well, and popularities, which don't.

    `unpack_seen` inverts it; nothing is rounded but popularity, to five digits. The columns: a byte of flags for each
    item, which say what kinds hold it; then the times, of all items first, then those that a kind has of its own.
    """
    recents, viewed, purchased, disliked, liked = (
        each.times for each in (seen.recents, seen.viewed, seen.purchased, seen.disliked, seen.liked)
    )
    kinds = (recents, viewed, purchased, disliked, liked, seen.counted)
    # In the order of `counted`, which says what is forgotten first. The time that most sets share is that of `viewed`.
    common = {**seen.counted, **recents, **purchased, **disliked, **liked, **viewed}
    ids, shared = list(common), list(common.values())
    places = dict(zip(ids, range(len(ids)), strict=True))
    flags = bytearray(len(ids))
    own = [_mark(flags, 1 << kind, times, places, shared) for kind, times in enumerate(kinds)]
    own_times = (times[ids[place]] for times, apart in zip(kinds, own, strict=True) for place in apart)
    unit, column = _pack_times([*shared, *own_times])
    popularity = list(map(seen.popularity.get, compress(ids, flags.translate(IS_HELD[0])), repeat(0.0)))
    fields = {"ids": ids, "own": own, "unit": unit, "shown": _pack_exposures(seen.shown)}
    return fields, bytes(flags) + column, drop_byte(struct.pack(f"<{len(popularity)}f", *popularity), 4, LOWEST_BYTE)


def unpack_seen(fields: Json, columns: bytes, popularity: bytes, settings: ProfileSettings) -> SeenItems:
    """Invert `pack_seen`; of each set the newest that `settings` allow. Raises ValueError, KeyError or TypeError."""
    recents, viewed, purchased, disliked, liked, counted = _unpack_times(fields, columns)
    each_popularity = struct.unpack(f"<{len(recents)}f", restore_byte(popularity, 4, LOWEST_BYTE))
    return SeenItems(
        recents=NewestItems.from_times(settings.recents, recents),
        viewed=NewestItems.from_times(settings.seen, viewed),
        purchased=NewestItems.from_times(settings.seen, purchased),
        disliked=NewestItems.from_times(settings.seen, disliked),
        liked=NewestItems.from_times(settings.seen, liked),
        shown=ExposureHistory.from_minutes(settings.exposures, _unpack_exposures(*fields["shown"])),
        popularity={item: each for item, each in zip(recents, each_popularity, strict=True) if each},
        counted=counted,
    )


def unpack_recents(fields: Json, columns: bytes) -> dict[str, float]:
    """Return the recent items alone, and their times (epoch seconds)."""
    return _unpack_times(fields, columns, 1)[0]


def _mark(
    flags: bytearray, flag: int, times: Mapping[str, float], places: Mapping[str, int], shared: Sequence[float]
) -> list[int]:
    """Flag the items of a kind, and return the places of those whose time isn't the shared one."""
    own = []
    for item_id, time in times.items():
        place = places[item_id]
        flags[place] |= flag
        if time != shared[place]:
            own.append(place)
    return sorted(own)


def _unpack_times(fields: Json, columns: bytes, count: int = len(KINDS)) -> list[dict[str, float]]:
    """Return the items of each of the first `count` kinds and their times."""
    ids: list[str] = fields["ids"]
    flags, times = columns[: len(ids)], _read_times(columns[len(ids) :], fields["unit"])
    kinds = [
        dict(zip(compress(ids, here), compress(times, here), strict=True))
        for here in (flags.translate(is_held) for is_held in IS_HELD[:count])
    ]
    own_times = iter(times[len(ids) :])
    for kind, apart in zip(kinds, fields["own"], strict=False):
        kind.update(zip((ids[place] for place in apart), own_times, strict=False))
    return kinds


def _pack_times(times: Sequence[float]) -> tuple[float | None, bytes]:
    """Return (unit, the times in byte planes): whole milliseconds where all of them are, or else the doubles.

    In planes (all first bytes, then all second ones, …) the upper bytes, which hardly differ, deflate to nothing.
    """
    exact = np.array(times, "<f8")
    scaled = np.rint(exact * MILLISECONDS)
    is_whole = (scaled / MILLISECONDS == exact).all() and (np.abs(scaled) < LARGEST_EXACT).all()
    column = scaled.astype("<i8") if is_whole else exact
    planes = column.view(np.uint8).reshape(-1, TIME_BYTES).T
    return MILLISECONDS if is_whole else None, planes.tobytes()


def _read_times(column: bytes, unit: float | None) -> list[float]:
    planes = np.frombuffer(column, np.uint8).reshape(TIME_BYTES, -1)
    stored = np.ascontiguousarray(planes.T)
    times: list[float] = (stored.view("<f8") if unit is None else stored.view("<i8") / unit).ravel().tolist()
    return times


def _pack_exposures(shown: ExposureHistory) -> tuple[list[str], list[int], list[int], list[int]]:
    """Return the items, the minutes that there are, how many each item has, and which."""
    exposures = list(chain.from_iterable(shown.minutes.values()))
    minutes = sorted(set(exposures))
    ordinals = dict(zip(minutes, range(len(minutes)), strict=True))
    counts = list(map(len, shown.minutes.values()))
    return list(shown.minutes), minutes, counts, list(map(ordinals.__getitem__, exposures))


def _unpack_exposures(
    ids: Sequence[str], minutes: Sequence[int], counts: Sequence[int], which: Sequence[int]
) -> Mapping[str, tuple[int, ...]]:
    found = tuple(map(minutes.__getitem__, which))
    ends = zip(ids, counts, accumulate(counts), strict=True)
    return {item_id: found[end - count : end] for item_id, count, end in ends}
