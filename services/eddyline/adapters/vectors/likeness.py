"""How like what was searched for a found point is: the cosine, whatever the distance of the collection."""

from __future__ import annotations

from eddyline.adapters.vectors.contract import Distance, Nearest, Scored, Sparse
from eddyline.errors import EddylineError
from eddyline.model.distance import cosine


def compared(by: Nearest) -> tuple[str, ...]:
    """The vectors that a query must ask for, so that `likeness` can tell."""
    return () if by.distance is Distance.COSINE else (by.using,)


def likeness(found: Scored, by: Nearest) -> float:
    """The cosine of the found point's vector with the one searched for, -1…1."""
    if by.distance is Distance.COSINE:
        return found.score
    vector = found.vectors[by.using]
    if isinstance(vector, Sparse) or isinstance(by.vector, Sparse):
        raise EddylineError(f"vector `{by.using}` is sparse: it has no distance but the product")
    return cosine(vector, by.vector)
