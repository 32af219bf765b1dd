"""Profile points, with their vectors: those of before, which have some of them by name, cost another look-up."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

from eddyline.adapters.vectors.contract import Point, PointStore, scroll_pages
from eddyline.errors import EddylineError, GenerationChanged
from eddyline.model.profile import former_vectors

_NO_SUCH_VECTOR = "Not existing vector name"
"""In Qdrant's message."""


def retrieve_profiles(store: PointStore, collection: str, ids: Sequence[str]) -> dict[str, Point]:
    """Return the profile points that exist, by id, with their `former_vectors`. Raises `Unavailable`."""
    points = store.retrieve(collection, ids)
    return {**points, **_with_former_vectors(store, collection, points.values())}


def scroll_profiles(store: PointStore, collection: str) -> Iterator[list[Point]]:
    """Yield all profile points with their `former_vectors`, page by page, in id order. Raises `Unavailable`."""
    for page in scroll_pages(store, collection):
        former = _with_former_vectors(store, collection, page)
        yield [former.get(point.id, point) for point in page]


def _with_former_vectors(store: PointStore, collection: str, points: Iterable[Point]) -> dict[str, Point]:
    """Read those points again that were written with vectors by name. Only collections of then have such points, and
    only they have these vectors: asked for one that a collection lacks, Qdrant refuses the whole look-up."""
    ids: defaultdict[tuple[str, ...], list[str]] = defaultdict(list)
    for point in points:
        if names := former_vectors(point.payload):
            ids[names].append(point.id)
    found: dict[str, Point] = {}
    try:
        for names, theirs in ids.items():
            found |= store.retrieve(collection, theirs, vectors=names)
    except EddylineError as error:
        if _NO_SUCH_VECTOR not in str(error):
            raise
        raise GenerationChanged(f"another generation of profiles went live in between: {error}") from error
    return found
