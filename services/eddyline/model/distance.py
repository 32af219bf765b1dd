"""Distances: how content vectors are compared. A `space` says which one its vectors are made for.

- *cosine*: vectors are of unit length; a search goes by direction.
- *dot*: vectors are as the model makes them, and a longer one counts for more; a search goes by a direction as well.
- *Euclid*: vectors are as the model makes them; a search goes by a point, the mean of what was chosen, and the
  similarity is 1 / (1 + d). What was disliked isn't in that mean: no point is far from something in any direction.

Whatever the distance, how similar two items are (for diversity, and to tell near copies) is the cosine of their
vectors: the only one of the three whose size means something by itself.
"""

from __future__ import annotations

from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from eddyline.model.decay import Accumulator, Vector

_MARK = "+"
"""Between the distance and the rest of a space; no model's name has it."""


class Distance(StrEnum):
    """How two dense vectors are compared. COSINE vectors are normalised on write; the others are kept as is."""

    COSINE = "Cosine"
    DOT = "Dot"
    EUCLID = "Euclid"

    @classmethod
    def named(cls, name: str) -> Distance:
        """Return the distance that the settings call so, in lower case."""
        return cls(name.capitalize())


def space_of(distance: Distance, rest: str) -> str:
    """Name a space; cosine goes without a prefix.

    >>> space_of(Distance.DOT, "53aa51172d142c89-t1")
    'dot+53aa51172d142c89-t1'
    """
    return rest if distance is Distance.COSINE else f"{distance.lower()}{_MARK}{rest}"


def distance_of(space: str | None) -> Distance:
    """Return what the vectors of a space are compared by.

    >>> distance_of("euclid+53aa51172d142c89-t1"), distance_of("53aa51172d142c89-t1")
    (<Distance.EUCLID: 'Euclid'>, <Distance.COSINE: 'Cosine'>)
    """
    name, mark, _ = (space or "").partition(_MARK)
    return Distance.named(name) if mark else Distance.COSINE


def query_vector(vector: Vector, distance: Distance) -> Vector:
    """Return what to search with for what is similar to `vector`: itself by Euclid, its direction otherwise, so that
    the scores of several queries have one unit. A zero stays zero."""
    if distance is Distance.EUCLID:
        return vector
    return np.asarray(normalise_rows(vector[np.newaxis])[0])


def folded_weight(weight: float, distance: Distance) -> float:
    """Return an interaction's weight in the sums of a profile: its own, signed; by Euclid a dislike has none."""
    return max(0.0, weight) if distance is Distance.EUCLID else weight


def interest_vector(sums: Accumulator, distance: Distance) -> Vector | None:
    """Return what to search with for what someone chose: the direction of S (None where S is nearly zero), or by Euclid
    the point S / W, the weighted mean."""
    if distance is not Distance.EUCLID:
        return sums.direction()
    return None if sums.sum is None or sums.weight <= 0 else np.asarray(sums.sum / sums.weight)


def similarity_from_score(score: float, distance: Distance) -> float:
    """Convert a vector store's score, which by Euclid is the distance itself, to a similarity: larger is closer."""
    return 1.0 / (1.0 + max(0.0, score)) if distance is Distance.EUCLID else score


def similarities(query: Vector, rows: Vector, distance: Distance) -> NDArray[np.floating]:
    """Compare each row, shape (n, dimension), with the query, as a vector store does: shape (n)."""
    if distance is not Distance.EUCLID:
        return np.asarray(rows @ query)
    # |x|^2 - 2 xq + |q|^2, in double precision since they nearly cancel out: without a copy of all rows.
    products = (rows @ query).astype(np.float64)
    squares = np.einsum("ij,ij->i", rows, rows, dtype=np.float64) - 2 * products + float(query @ query)
    return np.asarray(1.0 / (1.0 + np.sqrt(np.maximum(0.0, squares))))


def normalise_rows(rows: NDArray[np.floating]) -> NDArray[np.floating]:
    """Scale rows to unit length; a zero stays zero."""
    lengths = np.sqrt(np.einsum("ij,ij->i", rows, rows))  # in half the time of `np.linalg.norm`
    return np.asarray(rows / np.where(lengths > 0, lengths, 1.0).astype(rows.dtype)[:, np.newaxis])


def cosine_similarity(one: Vector, other: Vector) -> float:
    """Return the cosine of two vectors; 0 where one of them is zero."""
    lengths = float(np.linalg.norm(one)) * float(np.linalg.norm(other))
    return float(one @ other) / lengths if lengths > 0 else 0.0
