r"""Reproducible random draws: a number for each item, by a seed, whatever else is on the list.

An order by $\log score_i + T\,g_i$, with $g_i$ from the standard Gumbel distribution, is a draw from the Plackett-Luce
model: the next position goes to i with a probability in proportion to $score_i^{1/T}$, among those left (Yellott, "The
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
    """Hash these into a 64-bit seed."""
    return int.from_bytes(hashlib.blake2b("\0".join(map(str, parts)).encode(), digest_size=8).digest(), "big")


def item_hashes(item_ids: Sequence[str]) -> NDArray[np.uint64]:
    """Hash each id for draws, whatever the seed."""
    return np.array(list(map(crc32, map(str.encode, item_ids))), np.uint64)


def gumbel_draws(hashes: NDArray[np.uint64], seed: int, purpose: str) -> NDArray[np.float64]:
    """Draw from the standard Gumbel distribution for each item: the same number for the same seed and purpose."""
    return np.asarray(-np.log(-np.log(_mixed(hashes, seed ^ crc32(purpose.encode())))))


def gamma_draws(
    hashes: NDArray[np.uint64], seed: int, purpose: str, shapes: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Draw from gamma distributions of a mean of 1 for each item, by their shapes, of 1 or more.

    By the cube of a normal draw (Wilson and Hilferty, "The distribution of chi-square", PNAS 1931), which is one of two
    uniform draws (Box and Muller, 1958).
    """
    own = seed ^ crc32(purpose.encode())
    radius = np.sqrt(-2.0 * np.log(_mixed(hashes, own)))
    normal = radius * np.cos(2.0 * np.pi * _mixed(hashes, ~own))
    return np.asarray(np.maximum(0.0, 1.0 - 1.0 / (9.0 * shapes) + normal / (3.0 * np.sqrt(shapes))) ** 3)


def uniform_draws(count: int, seed: int, purpose: str) -> NDArray[np.float64]:
    """Draw a number in (0, 1) for each position."""
    return _mixed(np.arange(count, dtype=np.uint64), seed ^ crc32(purpose.encode()))


def _mixed(numbers: NDArray[np.uint64], seed: int) -> NDArray[np.float64]:
    """Mix by SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014)."""
    mixed = numbers * np.uint64(0x9E3779B97F4A7C15) + np.uint64(seed & _MASK)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed = mixed ^ (mixed >> np.uint64(31))
    return np.asarray(((mixed >> np.uint64(11)).astype(np.float64) + 0.5) / 2.0**53)
