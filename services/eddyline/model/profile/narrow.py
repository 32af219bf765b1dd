"""Packed numbers without one of their bytes: of little-endian ones, the highest (a zero) or the least significant."""

from __future__ import annotations


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
