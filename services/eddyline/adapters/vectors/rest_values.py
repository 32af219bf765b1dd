"""Our words in Qdrant's JSON, and its answers in ours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from eddyline.adapters.vectors.contract import (
    CollectionSpec,
    Condition,
    DenseSpec,
    Distance,
    Filter,
    HasId,
    IndexKind,
    Match,
    Missing,
    Nearest,
    OrderBy,
    Point,
    Query,
    Range,
    Scored,
    Sparse,
    Vector,
)
from eddyline.adapters.vectors.stored import Stored
from eddyline.adapters.vectors.values import bounds, dense_array, of_one_type, sparse_arrays
from eddyline.model.distance import similarity

Json = dict[str, Any]


def to_collection(spec: CollectionSpec) -> Json:
    """The body that creates the collection."""
    body: Json = {
        "vectors": {name: _dense_params(dense) for name, dense in spec.dense.items()},
        "sparse_vectors": {name: {} for name in spec.sparse},
    }
    if not any(dense.indexed for dense in spec.dense.values()):
        body["optimizers_config"] = {"indexing_threshold": 0}
    return body


def _dense_params(dense: DenseSpec) -> Json:
    params: Json = {"size": dense.size, "distance": str(dense.distance)}
    if not dense.indexed:
        params["hnsw_config"] = {"m": 0}
    return params


def from_collection(info: Json) -> Stored:
    """What Qdrant says of a collection."""
    params = info["config"]["params"]
    return Stored(
        dense={name: (each["size"], _known(Distance, each["distance"])) for name, each in _named(params).items()},
        sparse=frozenset(params.get("sparse_vectors") or {}),
        indexes={path: _known(IndexKind, index["data_type"]) for path, index in info["payload_schema"].items()},
    )


def _named(params: Json) -> Json:
    """The dense vectors by name; a collection with a single one, not ours, has it under the empty name."""
    vectors: Json = params.get("vectors") or {}
    return {"": vectors} if "size" in vectors else vectors


def _known(kind: type[Distance] | type[IndexKind], name: str) -> Any:
    return kind(name) if name in {str(each) for each in kind} else name


def to_alias_action(prefix: str, alias: str, collection: str | None) -> Json:
    """What points an alias at a collection, or removes it (None)."""
    if collection is None:
        return {"delete_alias": {"alias_name": prefix + alias}}
    return {"create_alias": {"alias_name": prefix + alias, "collection_name": prefix + collection}}


def to_batch(points: Sequence[Point]) -> Json:
    """Points in columns, the fastest for Qdrant to read. All must have the same named vectors."""
    names = points[0].vectors
    return {
        "ids": [point.id for point in points],
        "payloads": [dict(point.payload) for point in points],
        "vectors": {name: [to_vector(name, point.vectors[name]) for point in points] for name in names},
    }


def to_rows(points: Sequence[Point]) -> list[Json]:
    """Points one by one."""
    return [{**to_row(point.id, point.vectors), "payload": dict(point.payload)} for point in points]


def to_row(id: str, vectors: Mapping[str, Vector]) -> Json:
    """A point's named vectors."""
    return {"id": id, "vector": {name: to_vector(name, vector) for name, vector in vectors.items()}}


def to_vector(name: str, vector: Vector) -> Any:
    """One vector, as numpy arrays for orjson to write."""
    if isinstance(vector, Sparse):
        arrays = sparse_arrays(name, vector)
        return {"indices": arrays.indices, "values": arrays.values}
    return dense_array(name, vector)


def from_vectors(vectors: Any) -> dict[str, Vector]:
    """Qdrant's named vectors as arrays."""
    return {name: _from_vector(vector) for name, vector in (vectors or {}).items()}


def _from_vector(vector: Any) -> Vector:
    if isinstance(vector, dict):
        return Sparse(np.array(vector["indices"], dtype=np.uint32), np.array(vector["values"], dtype=np.float32))
    return np.array(vector, dtype=np.float32)


def from_record(record: Json) -> Point:
    """A stored point."""
    return Point(record["id"], from_vectors(record.get("vector")), record.get("payload") or {})


def from_scored(found: Json, by: Nearest | OrderBy) -> Scored:
    """A found point."""
    score = similarity(found["score"], by.distance) if isinstance(by, Nearest) else found["order_value"]
    return Scored(found["id"], float(score), found.get("payload") or {}, from_vectors(found.get("vector")))


def to_selection(payload: tuple[str, ...] | None, vectors: tuple[str, ...]) -> Json:
    """Which payload keys and vectors come back."""
    return {
        "with_payload": True if payload is None else list(payload) or False,
        "with_vector": list(vectors) or False,
    }


def to_query(query: Query) -> Json:
    """One search of a batch."""
    return {
        **to_by(query.by),
        **to_filter(query.filter),
        **to_selection(query.payload, query.vectors),
        "limit": query.limit,
    }


def to_by(by: Nearest | OrderBy) -> Json:
    """What a search orders by."""
    if isinstance(by, OrderBy):
        direction = "desc" if by.descending else "asc"
        return {"query": {"order_by": {"key": by.field, "direction": direction}}}
    return {"query": {"nearest": to_vector(by.using, by.vector)}, "using": by.using}


def to_filter(filter: Filter | None, key: str = "filter") -> Json:
    """The filter under `key`; nothing where it matches everything."""
    if filter is None or not (filter.must or filter.must_not):
        return {}
    return {
        key: {
            "must": [_to_condition(condition) for condition in filter.must],
            "must_not": [_to_condition(condition) for condition in filter.must_not],
        }
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
        case Missing(field):
            return {"is_empty": {"key": field}}


def _to_matches(match: Match) -> list[Json]:
    return [
        {"key": match.field, "match": {"value": values} if isinstance(values, bool) else {"any": values}}
        for values in of_one_type(match)
    ]
