"""What a crash left at the end of SQLite's write-ahead log: looked at before it is opened, since opening it cuts it.

https://www.sqlite.org/fileformat2.html#walformat
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import NamedTuple

_HEADER, _FRAME_HEADER = 32, 24
_MAGIC = 0x377F0682  # its last bit says in which order the bytes of numbers are summed


class TornTail(NamedTuple):
    """`bytes` that follow the last whole transaction, which is where SQLite cuts; `is_damaged`: some of them are not
    what was written, rather than never written."""

    bytes: int
    is_damaged: bool


def torn_tail(path: Path) -> TornTail | None:
    """Return what the log holds of its present round after the last whole transaction; None where it ends whole."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    if len(data) < _HEADER:
        return TornTail(len(data), True) if data else None
    magic, _, page_size, _, salt_1, salt_2 = struct.unpack_from(">6I", data)
    if magic & ~1 != _MAGIC or page_size < 512:
        return TornTail(len(data), True)
    order = ">" if magic & 1 else "<"
    sums = _checksum(data[:24], order, (0, 0))
    if sums != struct.unpack_from(">2I", data, 24):
        return TornTail(len(data), True)
    whole = position = _HEADER
    is_damaged = False
    while position + _FRAME_HEADER <= len(data):
        frame = data[position : position + _FRAME_HEADER + page_size]
        _, pages_after_commit, frame_salt_1, frame_salt_2 = struct.unpack_from(">4I", frame)
        if (frame_salt_1, frame_salt_2) != (salt_1, salt_2):
            break  # of an earlier round, which was checkpointed
        sums = _checksum(frame[:8] + frame[_FRAME_HEADER:], order, sums)
        if len(frame) < _FRAME_HEADER + page_size or sums != struct.unpack_from(">2I", frame, 16):
            is_damaged = True
            position = _end_of_round(data, position, page_size, (salt_1, salt_2))
            break
        position += len(frame)
        if pages_after_commit:
            whole = position
    return TornTail(position - whole, is_damaged) if position > whole else None


def _end_of_round(data: bytes, position: int, page_size: int, salts: tuple[int, int]) -> int:
    while position + 16 <= len(data) and struct.unpack_from(">2I", data, position + 8) == salts:
        position += _FRAME_HEADER + page_size
    return min(position, len(data))


def _checksum(data: bytes, order: str, sums: tuple[int, int]) -> tuple[int, int]:
    first, second = sums
    for one, other in struct.iter_unpack(f"{order}2I", data[: len(data) // 8 * 8]):
        first = (first + one + second) & 0xFFFFFFFF
        second = (second + other + first) & 0xFFFFFFFF
    return first, second
