"""Convert our terms to Qdrant's JSON and qdrant-client's models, and results back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from qdrant_client import models

from eddyline.adapters.vectors.collection_check import Lacking, Stored
from eddyline.adapters.vectors.contract import (
    CollectionSpec,
    Nearest,
    OrderBy,
    Point,
    Query,
    Scored,
    Sparse,
    Vector,
)
from eddyline.adapters.vectors.conversion import bounds, dense_array, of_one_type, selected, sparse_arrays
from eddyline.model.distance import Distance, similarity_from_score
from eddyline.model.filters import Condition, Filter, HasId, IsEmpty, Match, Range
from eddyline.settings import AttributeKind

Json = dict[str, Any]


def to_collection(spec: CollectionSpec) -> Json:
    """Convert a spec to what `QdrantClient.create_collection` takes beside the name."""
    dense = {
        name: models.VectorParams(size=each.size, distance=models.Distance(each.distance))
        for name, each in spec.dense.items()
    }
    return {
        "vectors_config": dense,
        "sparse_vectors_config": {name: models.SparseVectorParams() for name in spec.sparse},
        "optimizers_config": None if dense else models.OptimizersConfigDiff(indexing_threshold=0),
    }


def to_added_vectors(needed: Lacking) -> dict[str, models.VectorNameConfig]:
    """Convert missing vectors to what `QdrantClient.create_vector_name` takes for each."""
    dense = {
        name: models.DenseVectorNameConfig(
            dense=models.DenseVectorConfig(size=each.size, distance=models.Distance(each.distance))
        )
        for name, each in needed.dense.items()
    }
    sparse = models.SparseVectorNameConfig(sparse=models.SparseVectorConfig())
    return {**dense, **dict.fromkeys(needed.sparse, sparse)}


def from_collection(info: models.CollectionInfo) -> Stored:
    """Convert Qdrant's description of a collection."""
    params = info.config.params
    # A collection with a single vector without a name isn't ours.
    dense = {"": params.vectors} if isinstance(params.vectors, models.VectorParams) else params.vectors or {}
    return Stored(
        dense={name: (each.size, _known(Distance, each.distance.value)) for name, each in dense.items()},
        sparse=frozenset(params.sparse_vectors or {}),
        indexes={path: _known(AttributeKind, index.data_type.value) for path, index in info.payload_schema.items()},
    )


def _known(kind: type[Distance] | type[AttributeKind], name: str) -> Any:
    return kind(name) if name in {str(each) for each in kind} else name


def to_alias_operation(alias: str, collection: str | None) -> models.AliasOperations:
    """Make the operation that points an alias at a collection, or removes it (None)."""
    if collection is None:
        return models.DeleteAliasOperation(delete_alias=models.DeleteAlias(alias_name=alias))
    return models.CreateAliasOperation(create_alias=models.CreateAlias(alias_name=alias, collection_name=collection))


def to_batch(points: Sequence[Point]) -> Json:
    """Convert points to columns, the fastest for Qdrant to read. All must have the same named vectors."""
    names = points[0].vectors
    return {
        "ids": [point.id for point in points],
        "payloads": [dict(point.payload) for point in points],
        "vectors": {name: [to_vector(name, point.vectors[name]) for point in points] for name in names},
    }


def to_rows(points: Sequence[Point]) -> list[Json]:
    """Convert points to rows."""
    return [{**to_row(point.id, point.vectors), "payload": dict(point.payload)} for point in points]


def to_row(id: str, vectors: Mapping[str, Vector]) -> Json:
    """Convert a point's named vectors."""
    return {"id": id, "vector": {name: to_vector(name, vector) for name, vector in vectors.items()}}


def to_vector(name: str, vector: Vector) -> Any:
    """Convert a vector to numpy arrays for orjson to write."""
    if isinstance(vector, Sparse):
        arrays = sparse_arrays(name, vector)
        return {"indices": arrays.indices, "values": arrays.values}
    return dense_array(name, vector)


def from_vectors(vectors: Any) -> dict[str, Vector]:
    """Convert Qdrant's named vectors to arrays."""
    return {name: _from_vector(vector) for name, vector in (vectors or {}).items()}


def _from_vector(vector: Any) -> Vector:
    if isinstance(vector, list):
        return np.array(vector, dtype=np.float32)
    sparse = dict(vector)
    return Sparse(np.array(sparse["indices"], dtype=np.uint32), np.array(sparse["values"], dtype=np.float32))


def from_record(record: Json) -> Point:
    """Convert a stored point: JSON, or qdrant-client's own as a dict."""
    return Point(str(record["id"]), from_vectors(record.get("vector")), record.get("payload") or {})


def from_scored(found: Json, by: Nearest | OrderBy) -> Scored:
    """Convert a found point."""
    score = similarity_from_score(found["score"], by.distance) if isinstance(by, Nearest) else found["order_value"]
    return Scored(str(found["id"]), float(score), found.get("payload") or {}, from_vectors(found.get("vector")))


def to_query(query: Query) -> Json:
    """Convert one query of a batch."""
    return {
        **to_by(query.by),
        "filter": to_filter(query.filter),
        "with_payload": selected(query.payload),
        "with_vector": selected(query.vectors),
        "limit": query.limit,
    }


def to_by(by: Nearest | OrderBy) -> Json:
    """Convert what a query orders by."""
    if isinstance(by, OrderBy):
        direction = "desc" if by.descending else "asc"
        return {"query": {"order_by": {"key": by.field, "direction": direction}}}
    return {"query": {"nearest": to_vector(by.using, by.vector)}, "using": by.using}


def to_filter_model(filter: Filter) -> models.Filter | None:
    """Convert a filter for qdrant-client; None where it matches everything."""
    body = to_filter(filter)
    return None if body is None else models.Filter.model_validate(body)


def to_filter(filter: Filter) -> Json | None:
    """Convert a filter; None where it matches everything."""
    if not filter.must and not filter.must_not:
        return None
    return {
        "must": [_to_condition(condition) for condition in filter.must],
        "must_not": [_to_condition(condition) for condition in filter.must_not],
    }


def _to_condition(condition: Condition) -> Json:
    match condition:
        case Match():
            matches = _to_matches(condition)
            if not matches:
                return {"has_id": []}
            return matches[0] if len(matches) == 1 else {"should": matches}
        case Range(field):
            return {"key": field, "range": bounds(condition)}
        case HasId(ids):
            return {"has_id": list(ids)}
        case IsEmpty(field):
            return {"is_empty": {"key": field}}


def _to_matches(match: Match) -> list[Json]:
    return [
        {"key": match.field, "match": {"value": values} if isinstance(values, bool) else {"any": values}}
        for values in of_one_type(match)
    ]
