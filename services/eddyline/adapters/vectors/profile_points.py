"""Profile points, with their vectors: those of before, which have more of them by name, cost another look-up."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from eddyline.adapters.vectors.contract import Point, PointStore, scroll_pages
from eddyline.errors import EddylineError, GenerationChanged
from eddyline.model.profile import DENSE_VECTORS, FORMER_VECTORS, has_former_vectors

_NO_SUCH_VECTOR = "Not existing vector name"
"""In Qdrant's message."""


def retrieve_profiles(store: PointStore, collection: str, ids: Sequence[str]) -> dict[str, Point]:
    """Return the profile points that exist, by id, with their dense vectors. Raises `Unavailable`."""
    points = store.retrieve(collection, ids, vectors=DENSE_VECTORS)
    return {**points, **_with_former_vectors(store, collection, points.values())}


def scroll_profiles(store: PointStore, collection: str) -> Iterator[list[Point]]:
    """Yield all profile points with their dense vectors, page by page, in id order. Raises `Unavailable`."""
    for page in scroll_pages(store, collection, vectors=DENSE_VECTORS):
        former = _with_former_vectors(store, collection, page)
        yield [former.get(point.id, point) for point in page]


def _with_former_vectors(store: PointStore, collection: str, points: Iterable[Point]) -> dict[str, Point]:
    """Read those points again that were written with further vectors. Only collections of then have such points, and
    only they have these vectors: asked for one that a collection lacks, Qdrant refuses the whole look-up."""
    ids = [point.id for point in points if has_former_vectors(point.payload)]
    try:
        return store.retrieve(collection, ids, vectors=FORMER_VECTORS) if ids else {}
    except EddylineError as error:
        if _NO_SUCH_VECTOR not in str(error):
            raise
        raise GenerationChanged(f"another generation of profiles went live in between: {error}") from error
