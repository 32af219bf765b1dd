"""A vector store over qdrant-client's `:memory:`: exact, in one thread, gone at the end."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from qdrant_client import QdrantClient, models

from eddyline.adapters.vectors import server_conversion as conversion
from eddyline.adapters.vectors.collection_check import Stored, lacking, with_changes, without_collection
from eddyline.adapters.vectors.contract import (
    CollectionSpec,
    Fields,
    Nearest,
    OrderBy,
    Payload,
    Point,
    Query,
    Scored,
    Sparse,
    Vector,
)
from eddyline.adapters.vectors.conversion import in_one_batch, json_path, selected
from eddyline.errors import EddylineError, Misconfigured, NotStorable
from eddyline.model.filters import Filter
from eddyline.settings import AttributeKind

_RANGES = {AttributeKind.FLOAT, AttributeKind.INTEGER}


class MemoryStore:
    """`VectorStore` in the memory of this process, for one thread."""

    def __init__(self) -> None:
        """An empty store."""
        self._client = QdrantClient(":memory:")
        self._stored: dict[str, Stored] = {}
        self._aliases: dict[str, str] = {}

    def ensure(self, spec: CollectionSpec) -> None:
        spec = replace(spec, name=self._aliases.get(spec.name, spec.name))
        if spec.name not in self._stored:
            self._client.create_collection(spec.name, **conversion.to_collection(spec))
            self._stored[spec.name] = Stored.bare(spec)
        stored = self._stored[spec.name]
        needed = lacking(spec, stored)
        for name, config in conversion.to_added_vectors(needed).items():
            self._client.create_vector_name(spec.name, name, config)
        self._stored[spec.name] = Stored(
            dense={**stored.dense, **{name: (each.size, each.distance) for name, each in needed.dense.items()}},
            sparse=stored.sparse | set(needed.sparse),
            indexes={**stored.indexes, **needed.indexes},
        )

    def collections(self) -> list[str]:
        return sorted(self._stored)

    def drop(self, collection: str) -> None:
        if self._stored.pop(collection, None) is not None:
            self._aliases = without_collection(self._aliases, collection)
            self._client.delete_collection(collection)

    def aliases(self) -> dict[str, str]:
        return dict(self._aliases)

    def set_aliases(self, changes: Mapping[str, str | None]) -> None:
        self._aliases = with_changes(self._aliases, changes, self._stored)

    def upsert(
        self, collection: str, points: Sequence[Point], *, insert_only: bool = False, condition: Filter | None = None
    ) -> None:
        collection = self._existing(collection)
        rows = [
            models.PointStruct(id=point.id, vector=_vectors(point.vectors), payload=dict(point.payload))
            for point in points
        ]
        mode = models.UpdateMode.INSERT_ONLY if insert_only else None
        only = conversion.to_filter_model(condition) if condition else None
        if rows:
            with _told(collection):
                self._client.upsert(collection, rows, update_filter=only, update_mode=mode)

    def update_vectors(self, collection: str, vectors: Mapping[str, Mapping[str, Vector]]) -> None:
        collection = self._existing(collection)
        there = self.retrieve(collection, list(vectors), payload=())
        rows = [models.PointVectors(id=each, vector=_vectors(vectors[each])) for each in there if vectors[each]]
        if rows:
            with _told(collection):
                self._client.update_vectors(collection, rows)

    def set_payload(self, collection: str, payloads: Mapping[str, Payload]) -> None:
        collection = self._existing(collection)
        for each in self.retrieve(collection, list(payloads), payload=()):
            self._client.set_payload(collection, dict(payloads[each]), points=[each])

    def delete_payload(self, collection: str, ids: Sequence[str], keys: Sequence[str]) -> None:
        collection = self._existing(collection)
        there = self.retrieve(collection, ids, payload=())
        if there and keys:
            self._client.delete_payload(collection, keys=[json_path(key) for key in keys], points=list(there))

    def delete(self, collection: str, ids: Sequence[str]) -> None:
        collection = self._existing(collection)
        if ids:
            self._client.delete(collection, list(ids))

    def delete_matching(self, collection: str, filter: Filter) -> None:
        matching = models.FilterSelector(filter=conversion.to_filter_model(filter) or models.Filter())
        self._client.delete(self._existing(collection), matching)

    def retrieve(
        self, collection: str, ids: Sequence[str], *, payload: Fields | None = None, vectors: Fields = ()
    ) -> dict[str, Point]:
        collection = self._existing(collection)
        records = self._client.retrieve(
            collection,
            list(ids),
            with_payload=selected(payload),
            with_vectors=selected(vectors),
        )
        return {str(record.id): conversion.from_record(dict(record)) for record in records}

    def query(self, collection: str, queries: Sequence[Query]) -> list[list[Scored]]:
        collection = self._existing(collection)
        return in_one_batch(
            queries, lambda asked: [self._find(collection, each) for each in asked], conversion.from_scored
        )

    def _find(self, collection: str, query: Query) -> list[conversion.Json]:
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
            query_filter=conversion.to_filter_model(query.filter),
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
        payload: Fields | None = None,
        vectors: Fields = (),
    ) -> tuple[list[Point], str | None]:
        collection = self._existing(collection)
        records, following = self._client.scroll(
            collection,
            scroll_filter=conversion.to_filter_model(filter),
            limit=limit,
            offset=after,
            with_payload=selected(payload),
            with_vectors=selected(vectors),
        )
        points = [conversion.from_record(dict(record)) for record in records]
        return points, None if following is None else str(following)

    def count(self, collection: str, filter: Filter = Filter()) -> int:
        collection = self._existing(collection)
        return self._client.count(collection, conversion.to_filter_model(filter)).count

    def check(self) -> None:
        """It always answers."""

    def on_flush(self, begin: Callable[[], Callable[[], None]]) -> None:
        """Nothing is ever flushed."""

    def flush(self) -> None:
        """There is nothing to flush to."""

    def close(self) -> None:
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
        raise NotStorable(f"collection `{collection}`: {error}") from error


def _vectors(vectors: Mapping[str, Vector]) -> dict[str, Any]:
    return {name: _vector(name, vector) for name, vector in vectors.items()}


def _vector(name: str, vector: Vector) -> Any:
    arrays = conversion.to_vector(name, vector)
    if isinstance(arrays, dict):
        return models.SparseVector(**{part: array.tolist() for part, array in arrays.items()})
    return arrays.tolist()


def _by(by: Nearest | OrderBy) -> Any:
    if isinstance(by, Nearest):
        return _vector(by.using, by.vector)
    return models.OrderByQuery.model_validate(conversion.to_by(by)["query"])
