"""Convert our terms to Qdrant Edge's, and results back."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Any, cast

import numpy as np
import qdrant_edge as edge

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

_NOTHING: Mapping[str, Any] = MappingProxyType({})
DISTANCES = {
    Distance.COSINE: edge.Distance.Cosine,
    Distance.DOT: edge.Distance.Dot,
    Distance.EUCLID: edge.Distance.Euclid,
}
INDEXES = {
    AttributeKind.KEYWORD: edge.PayloadSchemaType.Keyword,
    AttributeKind.INTEGER: edge.PayloadSchemaType.Integer,
    AttributeKind.FLOAT: edge.PayloadSchemaType.Float,
    AttributeKind.BOOL: edge.PayloadSchemaType.Bool,
}


def to_config(spec: CollectionSpec) -> edge.EdgeConfig:
    """Convert a spec to a shard's configuration."""
    return edge.EdgeConfig(
        vectors={
            name: edge.EdgeVectorParams(size=each.size, distance=DISTANCES[each.distance])
            for name, each in spec.dense.items()
        },
        sparse_vectors={name: edge.EdgeSparseVectorParams() for name in spec.sparse},
    )


def index_kind(data_type: edge.PayloadSchemaType) -> AttributeKind | str:
    """Convert an index's type; Edge's own name where we have none."""
    return next((kind for kind, theirs in INDEXES.items() if theirs == data_type), str(data_type))


def to_vectors(vectors: Mapping[str, Vector]) -> dict[str, Any]:
    """Convert named vectors, to lists, which Edge reads a third faster than numpy's arrays."""
    return {name: _to_vector(name, vector) for name, vector in vectors.items()}


def _to_vector(name: str, vector: Vector) -> Any:
    if isinstance(vector, Sparse):
        arrays = sparse_arrays(name, vector)
        return edge.SparseVector(arrays.indices.tolist(), arrays.values.tolist())
    return dense_array(name, vector).tolist()


def from_vectors(vectors: Any) -> dict[str, Vector]:
    """Convert Edge's named vectors to arrays."""
    return {name: _from_vector(vector) for name, vector in (vectors or {}).items()}


def _from_vector(vector: Any) -> Vector:
    if isinstance(vector, edge.SparseVector):
        return Sparse(np.array(vector.indices, dtype=np.uint32), np.array(vector.values, dtype=np.float32))
    return np.array(vector, dtype=np.float32)


def to_point(point: Point) -> edge.Point:
    """Convert a whole point."""
    return edge.Point(point.id, to_vectors(point.vectors), dict(point.payload))


def from_record(record: edge.Record) -> Point:
    """Convert a stored point."""
    return Point(str(record.id), from_vectors(record.vector), record.payload or {})


def from_scored(found: edge.ScoredPoint, by: Nearest | OrderBy) -> Scored:
    """Convert a found point."""
    score = similarity_from_score(found.score, by.distance) if isinstance(by, Nearest) else found.order_value
    vectors = from_vectors(found.vector) if found.vector else _NOTHING
    return Scored(str(found.id), float(score or 0), found.payload or _NOTHING, vectors)


def to_query(query: Query) -> edge.QueryRequest:
    """Convert one query of a batch."""
    return edge.QueryRequest(
        limit=query.limit,
        query=_to_by(query.by),
        filter=to_filter(query.filter),
        with_payload=selected(query.payload),
        with_vector=selected(query.vectors),
    )


def _to_by(by: Nearest | OrderBy) -> Any:
    if isinstance(by, OrderBy):
        return edge.OrderBy(by.field, edge.Direction.Desc if by.descending else edge.Direction.Asc)
    return edge.Query.Nearest(_to_vector(by.using, by.vector), using=by.using)


def to_filter(filter: Filter) -> edge.Filter | None:
    """Convert a filter; None where it matches everything."""
    if not filter.must and not filter.must_not:
        return None
    return edge.Filter(
        must=[_to_condition(condition) for condition in filter.must],
        must_not=[_to_condition(condition) for condition in filter.must_not],
    )


def _to_condition(condition: Condition) -> Any:
    match condition:
        case Match():
            matches = _to_matches(condition)
            if not matches:
                return edge.HasIdCondition(set())
            return matches[0] if len(matches) == 1 else edge.Filter(should=matches)
        case Range(field):
            return edge.FieldCondition(field, range=edge.RangeFloat(**bounds(condition)))
        case HasId(ids):
            return _has_id(ids)
        case IsEmpty(field):
            return edge.IsEmptyCondition(field)


# A batch of queries leaves out the same hundreds of items in each: 1 µs an item to convert.
@lru_cache(maxsize=8)
def _has_id(ids: tuple[str, ...]) -> edge.HasIdCondition:
    return edge.HasIdCondition(set(ids))


def _to_matches(match: Match) -> list[Any]:
    # Edge's binding reads Python's True as the integer 1; numpy's it reads as a boolean.
    return [
        edge.FieldCondition(
            match.field,
            match=edge.MatchValue(cast(bool, np.bool_(values))) if isinstance(values, bool) else edge.MatchAny(values),
        )
        for values in of_one_type(match)
    ]
