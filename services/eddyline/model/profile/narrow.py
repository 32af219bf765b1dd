"""Packed little-endian numbers without the bytes that say nothing: all without one that is zero or insignificant, or
each in as many as it needs."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

BYTES = 8
_ORDINALS = np.arange(BYTES, dtype=np.uint8)
_LIMITS = np.uint64(1) << np.arange(8, 64, 8, dtype=np.uint64)
"""Where numbers begin that take two bytes, three, …"""


def drop_byte(packed: bytes, width: int, place: int) -> bytes:
    """Drop the byte at `place` of each number of `width` bytes."""
    narrow = bytearray(packed)
    del narrow[place::width]
    return bytes(narrow)


def restore_byte(narrow: bytes, width: int, place: int) -> bytes:
    """Invert `drop_byte`, with zeros. Raises ValueError where a number is cut short."""
    count, rest = divmod(len(narrow), width - 1)
    if rest:
        raise ValueError(f"is not numbers of {width - 1} bytes: there are {len(narrow)} bytes")
    packed = bytearray(width * count)
    for column, kept in enumerate(each for each in range(width) if each != place):
        packed[kept::width] = narrow[column :: width - 1]
    return bytes(packed)


def pack_whole(numbers: NDArray[np.int64]) -> tuple[bytes, bytes]:
    """Pack signed numbers, shape (n): (the width of each but one, n bytes; all of the bytes).

    They are small where the numbers are near 0 on either side: 0, -1, 1, -2, … are stored as 0, 1, 2, 3, … (zigzag).
    """
    zigzag = ((numbers << 1) ^ (numbers >> 63)).view(np.uint64)
    widths = np.searchsorted(_LIMITS, zigzag, side="right").astype(np.uint8)
    is_kept = widths[:, None] >= _ORDINALS
    return widths.tobytes(), zigzag.view(np.uint8).reshape(-1, BYTES)[is_kept].tobytes()


def unpack_whole(widths: bytes, packed: bytes) -> NDArray[np.int64]:
    """Invert `pack_whole`. Raises ValueError where there are more bytes, or fewer."""
    is_kept = np.frombuffer(widths, np.uint8)[:, None] >= _ORDINALS
    if np.count_nonzero(is_kept) != len(packed):
        raise ValueError(f"is not numbers of {np.count_nonzero(is_kept)} bytes: there are {len(packed)}")
    each = np.zeros(is_kept.shape, np.uint8)
    each[is_kept] = np.frombuffer(packed, np.uint8)
    zigzag = each.view(np.uint64).ravel()
    return (zigzag >> np.uint64(1)).view(np.int64) ^ -(zigzag & np.uint64(1)).view(np.int64)
