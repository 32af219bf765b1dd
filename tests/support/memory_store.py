"""A vector store over qdrant-client's `:memory:`: exact, in one thread, gone at the end."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from qdrant_client import QdrantClient, models

from eddyline.adapters.vectors import rest_values as values
from eddyline.adapters.vectors.aliases import with_changes, without_collection
from eddyline.adapters.vectors.contract import (
    CollectionSpec,
    IndexKind,
    Nearest,
    OrderBy,
    Payload,
    Point,
    Query,
    Scored,
    Sparse,
    Vector,
)
from eddyline.adapters.vectors.stored import Stored, lacking
from eddyline.adapters.vectors.values import in_one_batch, json_path, selected
from eddyline.errors import EddylineError, Misconfigured
from eddyline.model.filters import Filter

_RANGES = {IndexKind.FLOAT, IndexKind.INTEGER}


class MemoryStore:
    """`VectorStore` in the memory of this process, for one thread."""

    def __init__(self) -> None:
        """An empty store."""
        self._client = QdrantClient(":memory:")
        self._stored: dict[str, Stored] = {}
        self._aliases: dict[str, str] = {}

    def ensure(self, spec: CollectionSpec) -> None:
        """Create the collection, or add what it lacks; raises `Misconfigured` where the two disagree."""
        spec = replace(spec, name=self._aliases.get(spec.name, spec.name))
        if spec.name not in self._stored:
            self._client.create_collection(spec.name, **values.to_collection(spec))
            self._stored[spec.name] = Stored.bare(spec)
        stored = self._stored[spec.name]
        needed = lacking(spec, stored)
        for name, config in values.to_added_vectors(needed).items():
            self._client.create_vector_name(spec.name, name, config)
        self._stored[spec.name] = Stored(
            dense={**stored.dense, **{name: (each.size, each.distance) for name, each in needed.dense.items()}},
            sparse=stored.sparse | set(needed.sparse),
            indexes={**stored.indexes, **needed.indexes},
        )

    def collections(self) -> list[str]:
        """The names of the collections."""
        return sorted(self._stored)

    def drop(self, collection: str) -> None:
        """Delete a collection, its points and its aliases."""
        if self._stored.pop(collection, None) is not None:
            self._aliases = without_collection(self._aliases, collection)
            self._client.delete_collection(collection)

    def aliases(self) -> dict[str, str]:
        """The aliases: name → collection."""
        return dict(self._aliases)

    def set_aliases(self, changes: Mapping[str, str | None]) -> None:
        """Point these aliases at these collections, or remove them, all at once."""
        self._aliases = with_changes(self._aliases, changes, self._stored)

    def upsert(
        self,
        collection: str,
        points: Sequence[Point],
        *,
        insert_only: bool = False,
        condition: Filter | None = None,
    ) -> None:
        """Write whole points."""
        collection = self._existing(collection)
        rows = [
            models.PointStruct(id=point.id, vector=_vectors(point.vectors), payload=dict(point.payload))
            for point in points
        ]
        mode = models.UpdateMode.INSERT_ONLY if insert_only else None
        only = values.to_filter_model(condition) if condition else None
        if rows:
            with _told(collection):
                self._client.upsert(collection, rows, update_filter=only, update_mode=mode)

    def update_vectors(self, collection: str, vectors: Mapping[str, Mapping[str, Vector]]) -> None:
        """Set named vectors of existing points."""
        collection = self._existing(collection)
        there = self.retrieve(collection, list(vectors), payload=())
        rows = [models.PointVectors(id=each, vector=_vectors(vectors[each])) for each in there if vectors[each]]
        if rows:
            with _told(collection):
                self._client.update_vectors(collection, rows)

    def set_payload(self, collection: str, payloads: Mapping[str, Payload]) -> None:
        """Set top-level payload keys of existing points."""
        collection = self._existing(collection)
        for each in self.retrieve(collection, list(payloads), payload=()):
            self._client.set_payload(collection, dict(payloads[each]), points=[each])

    def delete_payload(self, collection: str, ids: Sequence[str], keys: Sequence[str]) -> None:
        """Remove top-level payload keys of existing points."""
        collection = self._existing(collection)
        there = self.retrieve(collection, ids, payload=())
        if there and keys:
            self._client.delete_payload(collection, keys=[json_path(key) for key in keys], points=list(there))

    def delete(self, collection: str, ids: Sequence[str]) -> None:
        """Delete points."""
        collection = self._existing(collection)
        if ids:
            self._client.delete(collection, list(ids))

    def delete_matching(self, collection: str, filter: Filter) -> None:
        """Delete all points that match."""
        matching = models.FilterSelector(filter=values.to_filter_model(filter) or models.Filter())
        self._client.delete(self._existing(collection), matching)

    def retrieve(
        self,
        collection: str,
        ids: Sequence[str],
        *,
        payload: tuple[str, ...] | None = None,
        vectors: tuple[str, ...] = (),
    ) -> dict[str, Point]:
        """The points that exist, by id."""
        collection = self._existing(collection)
        records = self._client.retrieve(
            collection,
            list(ids),
            with_payload=selected(payload),
            with_vectors=selected(vectors),
        )
        return {str(record.id): values.from_record(dict(record)) for record in records}

    def query(self, collection: str, queries: Sequence[Query]) -> list[list[Scored]]:
        """Run the queries one after another."""
        collection = self._existing(collection)
        return in_one_batch(queries, lambda asked: [self._find(collection, each) for each in asked], values.from_scored)

    def _find(self, collection: str, query: Query) -> list[values.Json]:
        if isinstance(query.by, OrderBy) and self._stored[collection].indexes.get(query.by.field) not in _RANGES:
            raise EddylineError(
                f"collection `{collection}`: order by `{query.by.field}` needs a float or integer index on it"
            )
        if isinstance(query.by, Nearest) and not isinstance(query.by.vector, Sparse):
            size = self._stored[collection].dense[query.by.using][0]
            if size != len(query.by.vector):
                raise EddylineError(f"Vector dimension error: expected dim: {size}, got {len(query.by.vector)}")
        found = self._client.query_points(
            collection,
            query=_by(query.by),
            using=query.by.using if isinstance(query.by, Nearest) else None,
            query_filter=values.to_filter_model(query.filter),
            limit=query.limit,
            with_payload=selected(query.payload),
            with_vectors=selected(query.vectors),
        )
        return [dict(point) for point in found.points]

    def scroll(
        self,
        collection: str,
        *,
        filter: Filter = Filter(),
        limit: int = 256,
        after: str | None = None,
        payload: tuple[str, ...] | None = None,
        vectors: tuple[str, ...] = (),
    ) -> tuple[list[Point], str | None]:
        """A page of points in id order, and where the next one starts."""
        collection = self._existing(collection)
        records, following = self._client.scroll(
            collection,
            scroll_filter=values.to_filter_model(filter),
            limit=limit,
            offset=after,
            with_payload=selected(payload),
            with_vectors=selected(vectors),
        )
        points = [values.from_record(dict(record)) for record in records]
        return points, None if following is None else str(following)

    def count(self, collection: str, filter: Filter = Filter()) -> int:
        """How many points match."""
        collection = self._existing(collection)
        return self._client.count(collection, values.to_filter_model(filter)).count

    def check(self) -> None:
        """It always answers."""

    def flush(self) -> None:
        """There is nothing to flush to."""

    def close(self) -> None:
        """Forget everything."""
        self._client.close()

    def _existing(self, name: str) -> str:
        """The collection of that name, or of that alias."""
        collection = self._aliases.get(name, name)
        if collection not in self._stored:
            raise Misconfigured(f"there is no collection `{collection}`: run `eddyline init`")
        return collection


@contextmanager
def _told(collection: str) -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise EddylineError(f"collection `{collection}`: {error}") from error


def _vectors(vectors: Mapping[str, Vector]) -> dict[str, Any]:
    return {name: _vector(name, vector) for name, vector in vectors.items()}


def _vector(name: str, vector: Vector) -> Any:
    arrays = values.to_vector(name, vector)
    if isinstance(arrays, dict):
        return models.SparseVector(**{part: array.tolist() for part, array in arrays.items()})
    return arrays.tolist()


def _by(by: Nearest | OrderBy) -> Any:
    if isinstance(by, Nearest):
        return _vector(by.using, by.vector)
    return models.OrderByQuery.model_validate(values.to_by(by)["query"])
