"""How like each other two stored vectors are: by the cosine, whatever the distance of their collection."""

from __future__ import annotations

from eddyline.adapters.vectors.contract import Sparse, Vector
from eddyline.model.distance import cosine_similarity


def likeness(one: Vector | None, other: Vector | None) -> float:
    """The cosine of two dense vectors, -1…1; 0 where one isn't there."""
    if one is None or other is None or isinstance(one, Sparse) or isinstance(other, Sparse):
        return 0.0
    return cosine_similarity(one, other)
