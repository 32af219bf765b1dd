"""The contract of vector stores, in our own terms. Only the implementations know Qdrant's."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from eddyline.model.distance import Distance, cosine_similarity
from eddyline.model.filters import Filter
from eddyline.settings import AttributeKind

Dense: TypeAlias = NDArray[np.float32]
Payload: TypeAlias = Mapping[str, Any]
Fields: TypeAlias = tuple[str, ...]
"""Payload keys, or names of vectors."""


@dataclass(frozen=True, slots=True)
class Sparse:
    """A sparse vector: `indices` uint32, distinct; `values` float32 of the same length."""

    indices: NDArray[np.uint32]
    values: NDArray[np.float32]


Vector: TypeAlias = Dense | Sparse


@dataclass(frozen=True, slots=True)
class DenseSpec:
    """A named dense vector."""

    size: int
    distance: Distance


@dataclass(frozen=True, slots=True)
class CollectionSpec:
    """A collection: its named vectors and its payload indexes (dotted path → kind)."""

    name: str
    dense: Mapping[str, DenseSpec]
    sparse: tuple[str, ...] = ()
    indexes: Mapping[str, AttributeKind] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Point:
    """A stored point. `id` is a UUID's canonical string. What wasn't requested is absent."""

    id: str
    vectors: Mapping[str, Vector] = field(default_factory=dict)
    payload: Payload = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Nearest:
    """Best first by similarity of the named vector `using` to `vector`. Points without it are left out.

    `distance`: the collection's own of that vector, by which its scores are read.
    """

    vector: Vector
    using: str
    distance: Distance = Distance.COSINE


@dataclass(frozen=True, slots=True)
class OrderBy:
    """Order by a range-indexed payload field. Points without it are left out."""

    field: str
    descending: bool = True


@dataclass(frozen=True, slots=True)
class Query:
    """One search: at most `limit` points that pass `filter`; `payload` names the (dotted) keys to return."""

    by: Nearest | OrderBy
    limit: int
    filter: Filter = field(default_factory=Filter)
    payload: Fields = ()
    vectors: Fields = ()


@dataclass(frozen=True, slots=True)
class Scored:
    """A found point. `score` is the similarity, larger is closer, or the field's value for OrderBy."""

    id: str
    score: float
    payload: Payload = field(default_factory=dict)
    vectors: Mapping[str, Vector] = field(default_factory=dict)


def cosine_or_zero(one: Vector | None, other: Vector | None) -> float:
    """Compare two dense vectors by the cosine, -1…1, whatever the distance of their collection; 0 where one is
    missing, or they are of two generations, and not equally long."""
    if one is None or other is None or isinstance(one, Sparse) or isinstance(other, Sparse) or len(one) != len(other):
        return 0.0
    return cosine_similarity(one, other)


class PointStore(Protocol):
    """The calls that read and write points by id, all that a profiler needs. See `VectorStore` for their rules."""

    def upsert(
        self, collection: str, points: Sequence[Point], *, insert_only: bool = False, condition: Filter | None = None
    ) -> None:
        """Write whole points (what a point had and the new one lacks is gone).

        `insert_only`: existing points stay as they are. `condition`: an existing point is replaced only where
        it matches; missing points are inserted all the same. Ids in one batch are distinct.
        """

    def delete_matching(self, collection: str, filter: Filter) -> None:
        """Delete all points that match: every one, when the filter is empty."""

    def retrieve(
        self, collection: str, ids: Sequence[str], *, payload: Fields | None = None, vectors: Fields = ()
    ) -> dict[str, Point]:
        """Return the points that exist, by id."""

    def scroll(
        self,
        collection: str,
        *,
        filter: Filter = Filter(),
        limit: int = 256,
        after: str | None = None,
        payload: Fields | None = None,
        vectors: Fields = (),
    ) -> tuple[list[Point], str | None]:
        """Return a page of points in id order from `after` on, and where the next page starts (None at the end)."""


def scroll_pages(
    store: PointStore,
    collection: str,
    *,
    filter: Filter = Filter(),
    payload: tuple[str, ...] | None = None,
    vectors: tuple[str, ...] = (),
    limit: int = 256,
) -> Iterator[list[Point]]:
    """Yield all points that match, up to `limit` at a time, in id order. Raises `Unavailable`."""
    after: str | None = None
    while True:
        page, after = store.scroll(
            collection, filter=filter, limit=limit, after=after, payload=payload, vectors=vectors
        )
        yield page
        if after is None:
            return


class VectorStore(PointStore, Protocol):
    """The contract. Every call is safe from any thread (but for `:memory:`), durable when it returns, and
    raises `Unavailable` when the store is down or slow; the caller may retry, since all writes are idempotent.

    `payload` arguments: None for all keys, a tuple for those alone (empty: none). `collection` arguments may be
    aliases, except for `drop`'s.
    """

    def ensure(self, spec: CollectionSpec) -> None:
        """Create the collection and its indexes, or add what is missing to an existing one (or that of an alias).

        Raises `Misconfigured`, with what is stored and what is specified, when a vector's size or distance, or
        an index's kind, disagrees with what is stored.
        """

    def collections(self) -> list[str]:
        """Return the names of the collections, sorted, without the aliases."""

    def drop(self, collection: str) -> None:
        """Delete a collection, its points and its aliases. A missing one is skipped."""

    def aliases(self) -> dict[str, str]:
        """Return the aliases, name → collection. Cheap enough to be called every second."""

    def set_aliases(self, changes: Mapping[str, str | None]) -> None:
        """Point these aliases at these collections, or remove them (None), all at once.

        Raises `Misconfigured` for a missing collection, `EddylineError` for an alias that has the name of
        a collection; then nothing has changed.
        """

    def update_vectors(self, collection: str, vectors: Mapping[str, Mapping[str, Vector]]) -> None:
        """Set named vectors (point id → name → vector) of existing points; missing ids are skipped."""

    def set_payload(self, collection: str, payloads: Mapping[str, Payload]) -> None:
        """Set top-level payload keys (point id → keys), each replaced whole; missing ids are skipped."""

    def delete_payload(self, collection: str, ids: Sequence[str], keys: Sequence[str]) -> None:
        """Remove top-level payload keys; missing ids are skipped."""

    def delete(self, collection: str, ids: Sequence[str]) -> None:
        """Delete points; missing ids are skipped."""

    def query(self, collection: str, queries: Sequence[Query]) -> list[list[Scored]]:
        """Run the queries as one batch; return their results in the same order."""

    def count(self, collection: str, filter: Filter = Filter()) -> int:
        """Count the points that match, exactly."""

    def check(self) -> None:
        """Raise `Unavailable` unless the store answers."""

    def on_flush(self, begin: Callable[[], Callable[[], None]]) -> None:
        """Call `begin` before each flush, and what it returns once all that was written before it is on disk.

        A store whose writes are on disk at once never calls it.
        """

    def flush(self) -> None:
        """Make what was written survive a power failure."""

    def close(self) -> None:
        """Release everything; the store can't be used after."""
