"""The items that a person has met, packed: each id once, and columns for when it was met, and how.

Most items are in several sets since the same event, so an item has one time and place for all of them, and further ones
only where sets differ. Items are in the order of these, and each time and place is told by its difference from the one
before; those further ones by theirs from the item's. It is plain Python on C's loops where that is quicker for the few
items that most people have.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, chain, compress, repeat
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from eddyline.model.exposures import ExposureHistory
from eddyline.model.newest_items import NewestItems
from eddyline.model.placed_time import UNPLACED, PlacedTime
from eddyline.model.profile.narrow import pack_whole, unpack_whole
from eddyline.model.profile.seen_items import SETS, SeenItems
from eddyline.settings import ProfileSettings

Json = dict[str, Any]
Entries = Mapping[str, PlacedTime]
COUNTED = len(SETS)
"""The kind, after the sets, that has times alone."""
IS_HELD = tuple(bytes(flags >> kind & 1 for flags in range(256)) for kind in range(COUNTED + 2))
"""For each kind: whether a byte of flags has its own; and whether the item was counted at a time of its own."""
COUNTED_APART = 1 << COUNTED + 1
VIEWED = SETS.index("viewed")
VIEWED_FLAG = bytes.maketrans(b"\1", bytes([1 << VIEWED]))
UNITS = (1e3, 1e6)
"""Of times, in a second: they are whole in one of these, or else kept by the bits of their doubles."""
LARGEST_EXACT = 2.0**53
"""Up to here, doubles hold every whole number."""


class PackedItems(NamedTuple):
    """The items in four parts: a part for JSON, columns that deflate well, and numbers and popularities, which don't.

    `columns`: a byte of flags for each item, which say what kinds hold it; then the widths of `numbers`, which are the
    times and then the places, of all items first, then those that a kind has of its own.
    """

    fields: Json
    columns: bytes
    numbers: bytes
    popularity: bytes


@dataclass(frozen=True, slots=True)
class StoredItems:
    """The items, unpacked but not yet told apart by kind.

    `own`: for each kind, the ordinals of the items of which its entry isn't the shared one; those entries follow the
    shared ones in `entries`, kind by kind. `popularity`: of the recent items, in the order of `ids`.
    """

    ids: Sequence[str]
    flags: bytes
    own: Sequence[Sequence[int]]
    entries: Sequence[PlacedTime]
    popularity: Sequence[float]

    def kinds(self, count: int = COUNTED + 1) -> Iterator[dict[str, PlacedTime]]:
        """Yield the items of each of the first `count` kinds and their entries."""
        own_entries = iter(self.entries[len(self.ids) :])
        for is_held, apart in zip(IS_HELD[:count], self.own, strict=False):
            here = self.flags.translate(is_held)
            kind = dict(zip(compress(self.ids, here), compress(self.entries, here), strict=True))
            kind.update(zip((self.ids[ordinal] for ordinal in apart), own_entries, strict=False))
            yield kind

    def to_seen(self, fields: Json, settings: ProfileSettings) -> SeenItems:
        """Return the sets, of each the newest that `settings` allow."""
        recents, viewed, purchased, disliked, liked, counted = self.kinds()
        return SeenItems(
            recents=NewestItems.from_entries(settings.recents, recents),
            viewed=NewestItems.from_entries(settings.seen, viewed),
            purchased=NewestItems.from_entries(settings.seen, purchased),
            disliked=NewestItems.from_entries(settings.seen, disliked),
            liked=NewestItems.from_entries(settings.seen, liked),
            shown=ExposureHistory.from_minutes(settings.exposures, _unpack_exposures(*fields["shown"])),
            popularity={item: each for item, each in zip(recents, self.popularity, strict=True) if each},
            counted={item: time for item, (time, _) in counted.items()},
        )


def pack_items(seen: SeenItems) -> PackedItems:
    """Pack what `unpack_items` unpacks; nothing is rounded but popularity, a rule of thumb, to two digits."""
    placed: tuple[Entries, ...] = tuple(getattr(seen, name).entries for name in SETS)
    ids, shared = _shared_entries(placed, seen.counted)
    ordinals = dict(zip(ids, range(len(ids)), strict=True))
    # The shared entry of what was viewed is that of `viewed`: there is nothing to compare.
    flags = bytearray(bytes(map(seen.viewed.entries.__contains__, ids)).translate(VIEWED_FLAG))
    own = [
        [] if kind == VIEWED else _mark(flags, 1 << kind, entries, ordinals, shared)
        for kind, entries in enumerate(placed)
    ]
    counted_apart = _mark_counted(flags, seen.counted, ordinals, shared)
    entries, own_ordinals = shared, counted_apart
    if any(own):
        entries = shared + [kind[ids[at]] for kind, apart in zip(placed, own, strict=True) for at in apart]
        own_ordinals = [*chain.from_iterable(own), *counted_apart]
    entries = entries + [(seen.counted[ids[at]], shared[at][1]) for at in counted_apart]
    unit, numbers = _to_whole(entries)
    widths, packed = pack_whole(_differences(numbers, len(ids), own_ordinals).ravel())
    popularity = list(map(seen.popularity.get, compress(ids, flags.translate(IS_HELD[0])), repeat(0.0)))
    fields = {"ids": ids, "own": own, "unit": unit, "shown": _pack_exposures(seen.shown)}
    upper_halves = np.array(popularity, "<f4").view("<u2")[1::2]
    return PackedItems(fields, bytes(flags) + widths, packed, upper_halves.tobytes())


def unpack_items(fields: Json, columns: bytes, numbers: bytes, popularities: bytes) -> StoredItems:
    """Invert `pack_items`. Raises ValueError, KeyError or TypeError for what it didn't write."""
    ids, flags = fields["ids"], columns[: len(fields["ids"])]
    counted_apart = list(compress(range(len(ids)), flags.translate(IS_HELD[COUNTED + 1])))
    own_ordinals = [*chain.from_iterable(fields["own"]), *counted_apart]
    differences = unpack_whole(columns[len(ids) :], numbers).reshape(2, -1)
    times, places = _from_differences(differences, len(ids), own_ordinals)
    entries = list(zip(to_times(times, fields["unit"]), places.tolist(), strict=True))
    popularity = (np.frombuffer(popularities, "<u2").astype("<u4") << 16).view("<f4").tolist()
    return StoredItems(ids, flags, [*fields["own"], counted_apart], entries, popularity)


def _shared_entries(placed: Sequence[Entries], counted: Mapping[str, float]) -> tuple[list[str], list[PlacedTime]]:
    """Return the items of all kinds, in the order of the entry that most kinds share; and those entries."""
    recents, viewed, purchased, disliked, liked = placed
    # That of `viewed` is shared most. It has nearly always all of the items, and in order.
    common = {**viewed, **recents, **purchased, **disliked, **liked, **viewed}
    if not counted.keys() <= common.keys():
        common = {**{item_id: (time, UNPLACED) for item_id, time in counted.items()}, **common}
    if len(common) == len(viewed):
        return list(common), list(common.values())
    in_order = sorted(zip(common.values(), common, strict=True))
    return [item_id for _, item_id in in_order], [entry for entry, _ in in_order]


def _mark(
    flags: bytearray, flag: int, entries: Entries, ordinals: Mapping[str, int], shared: Sequence[PlacedTime]
) -> list[int]:
    """Flag the items of a kind, and return the ordinals of those whose entry isn't the shared one."""
    own = []
    for item_id, entry in entries.items():
        ordinal = ordinals[item_id]
        flags[ordinal] |= flag
        if entry != shared[ordinal]:
            own.append(ordinal)
    return sorted(own)


def _mark_counted(
    flags: bytearray, counted: Mapping[str, float], ordinals: Mapping[str, int], shared: Sequence[PlacedTime]
) -> list[int]:
    """Flag the items that were counted, and those at another time than the shared one; return the latter's ordinals."""
    own = []
    for item_id, time in counted.items():
        ordinal = ordinals[item_id]
        if time == shared[ordinal][0]:
            flags[ordinal] |= 1 << COUNTED
        else:
            flags[ordinal] |= 1 << COUNTED | COUNTED_APART
            own.append(ordinal)
    return sorted(own)


def _to_whole(entries: Sequence[PlacedTime]) -> tuple[float | None, NDArray[np.int64]]:
    """Return (unit, times in it and places, shape (2, n)); None, and the bits of the times' doubles, where they aren't
    whole in any unit."""
    times, places = zip(*entries, strict=True) if entries else ((), ())
    numbers, exact = np.empty((2, len(entries)), np.int64), np.array(times, np.float64)
    numbers[1] = places
    for unit in UNITS:
        scaled = np.rint(exact * unit)
        is_exact = scaled.max(initial=0) < LARGEST_EXACT and scaled.min(initial=0) > -LARGEST_EXACT
        if is_exact and (scaled / unit == exact).all():
            numbers[0] = scaled
            return unit, numbers
    numbers[0] = exact.view(np.int64)
    return None, numbers


def to_times(numbers: NDArray[np.int64], unit: float | None) -> list[float]:
    """Return the times (epoch seconds) that these numbers stand for."""
    times: list[float] = (numbers.view(np.float64) if unit is None else numbers / unit).tolist()
    return times


def _differences(numbers: NDArray[np.int64], count: int, own: Sequence[int]) -> NDArray[np.int64]:
    """Return the differences, modulo 2^64, of the first `count` numbers of each row from the one before, and of what
    follows from the numbers at the ordinals `own`."""
    differences = numbers.copy()
    differences[:, 1:count] -= numbers[:, : max(0, count - 1)]
    if own:
        differences[:, count:] -= numbers[:, own]
    return differences


def _from_differences(differences: NDArray[np.int64], count: int, own: Sequence[int]) -> NDArray[np.int64]:
    """Invert `_differences`."""
    numbers = differences.copy()
    differences[:, :count].cumsum(axis=1, out=numbers[:, :count])
    if own:
        numbers[:, count:] += numbers[:, own]
    return numbers


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
