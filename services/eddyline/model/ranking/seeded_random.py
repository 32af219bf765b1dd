r"""Chance that can be repeated: a number for each item, drawn by a seed, whatever else is on the list.

An order by $\log score_i + T\,g_i$, with $g_i$ from the standard Gumbel distribution, is a draw from the Plackett-Luce
model: the next place goes to i with a probability in proportion to $score_i^{1/T}$, among those left (Yellott, "The
relationship between Luce's choice axiom, Thurstone's theory of comparative judgment, and the double exponential
distribution", 1977).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

_MASK = (1 << 64) - 1


def seed_from(*parts: object) -> int:
    """A 64-bit seed that stands for these."""
    return int.from_bytes(hashlib.blake2b("\0".join(map(str, parts)).encode(), digest_size=8).digest(), "big")


def item_hashes(item_ids: Sequence[str]) -> NDArray[np.uint64]:
    """What stands for each in a draw, whatever the seed."""
    return np.array(list(map(crc32, map(str.encode, item_ids))), np.uint64)


def gumbel_draws(marks: NDArray[np.uint64], seeded: int, purpose: str) -> NDArray[np.float64]:
    """A draw of the standard Gumbel distribution for each, the same whenever it is asked for."""
    return np.asarray(-np.log(-np.log(_mixed(marks, seeded ^ crc32(purpose.encode())))))


def uniform_draws(count: int, seeded: int, purpose: str) -> NDArray[np.float64]:
    """A number in (0, 1) for each place."""
    return _mixed(np.arange(count, dtype=np.uint64), seeded ^ crc32(purpose.encode()))


def _mixed(numbers: NDArray[np.uint64], seeded: int) -> NDArray[np.float64]:
    """SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014)."""
    mixed = numbers * np.uint64(0x9E3779B97F4A7C15) + np.uint64(seeded & _MASK)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed = mixed ^ (mixed >> np.uint64(31))
    return np.asarray(((mixed >> np.uint64(11)).astype(np.float64) + 0.5) / 2.0**53)
