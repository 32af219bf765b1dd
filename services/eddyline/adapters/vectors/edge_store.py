"""The embedded store: Qdrant Edge, in this process, on disk."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from eddyline.adapters.vectors.collection_check import Lacking, Stored, lacking, with_changes, without_collection
from eddyline.adapters.vectors.contract import CollectionSpec, Fields, Payload, Point, Query, Scored, Vector
from eddyline.adapters.vectors.conversion import in_one_batch, json_path, selected
from eddyline.adapters.vectors.flusher import Flusher
from eddyline.errors import EddylineError, Misconfigured, NotStorable, Unavailable
from eddyline.model.filters import Filter
from eddyline.settings import AttributeKind

try:
    import qdrant_edge as edge

    from eddyline.adapters.vectors import edge_conversion as conversion
    from eddyline.adapters.vectors.edge_directory import EdgeDirectory
except ImportError as error:
    raise Misconfigured("the embedded store needs qdrant-edge-py: install eddyline[edge]") from error

_UNPROCESSABLE = "dimension error"
_FULL_DISK = ("No space left", "StorageFull", "os error 28")


@dataclass(frozen=True, slots=True)
class _Collection:
    """An open shard. Writers hold `lock`, so that a point found to exist still does when it is written."""

    name: str
    shard: edge.EdgeShard
    lock: threading.Lock = field(default_factory=threading.Lock)


class EdgeStore:
    """The `VectorStore` on Qdrant Edge: exact search, no server, one process.

    Writes survive a killed process at once (write-ahead log), a power failure from the next flush on. Calls
    hold the GIL, so threads take turns. It never optimises: that freezes the process for seconds.
    """

    def __init__(self, directory: Path, *, flush_every_seconds: float = 3.0) -> None:
        """Raises `AlreadyRunning` where another process holds `directory`."""
        self._directory = EdgeDirectory(directory)
        self._sync_closed()  # what a killed process left to the system
        self._aliases = self._directory.aliases()
        self._collections: dict[str, _Collection] = {}
        self._opening = threading.RLock()
        self._closed = False
        self._flushed: Callable[[], Callable[[], None]] = lambda: lambda: None
        self._flusher = Flusher(self._flush_shards, flush_every_seconds)

    def on_flush(self, begin: Callable[[], Callable[[], None]]) -> None:
        self._flushed = begin

    def ensure(self, spec: CollectionSpec) -> None:
        spec = replace(spec, name=self._aliases.get(spec.name, spec.name))
        with self._opening, _translate_errors(spec.name):
            self._stay_open()
            if not self._directory.has(spec.name):
                self._directory.create(spec)
            collection = self._open(spec.name)
            dense, sparse = self._directory.vectors(spec.name)
            stored = Stored(
                dense={name: (each.size, each.distance) for name, each in dense.items()},
                sparse=frozenset(sparse),
                indexes=self._indexes(collection),
            )
            needed = lacking(spec, stored)
            with collection.lock:
                _add(collection.shard, needed)
            if needed.dense or needed.sparse:
                collection.shard.flush()
                self._directory.record(spec.name, {**dense, **needed.dense}, (*sparse, *needed.sparse))

    def spec(self, collection: str) -> CollectionSpec:
        """Return what a collection was made with."""
        dense, sparse = self._directory.vectors(collection)
        indexes = self._indexes(self._open(collection))
        ours = {path: kind for path, kind in indexes.items() if isinstance(kind, AttributeKind)}
        return CollectionSpec(collection, dense, sparse, ours)

    def collections(self) -> list[str]:
        return self._directory.collections()

    def drop(self, collection: str) -> None:
        with self._opening, _translate_errors(collection):
            self._stay_open()
            if not self._directory.has(collection):
                return
            self._point(without_collection(self._aliases, collection))
            opened = self._collections.pop(collection, None)
            if opened is not None:
                with opened.lock:
                    opened.shard.close()
            self._directory.drop(collection)

    def aliases(self) -> dict[str, str]:
        return dict(self._aliases)

    def set_aliases(self, changes: Mapping[str, str | None]) -> None:
        with self._opening, _translate_errors(", ".join(changes)):
            self._stay_open()
            self._point(with_changes(self._aliases, changes, self.collections()))

    def upsert(
        self, collection: str, points: Sequence[Point], *, insert_only: bool = False, condition: Filter | None = None
    ) -> None:
        if not points:
            return
        operation = edge.UpdateOperation.upsert_points(
            [conversion.to_point(point) for point in points],
            condition=conversion.to_filter(condition) if condition else None,
            update_mode=edge.UpdateMode.InsertOnly if insert_only else None,
        )
        with self._writing(collection) as shard:
            shard.update(operation)

    def update_vectors(self, collection: str, vectors: Mapping[str, Mapping[str, Vector]]) -> None:
        with self._writing(collection) as shard:
            there = _existing(shard, vectors)
            if there:
                points = [edge.PointVectors(each, conversion.to_vectors(vectors[each])) for each in there]
                shard.update(edge.UpdateOperation.update_vectors(points))

    def set_payload(self, collection: str, payloads: Mapping[str, Payload]) -> None:
        with self._writing(collection) as shard:
            for each in _existing(shard, payloads):
                shard.update(edge.UpdateOperation.set_payload([each], dict(payloads[each])))

    def delete_payload(self, collection: str, ids: Sequence[str], keys: Sequence[str]) -> None:
        with self._writing(collection) as shard:
            there = _existing(shard, ids)
            if there and keys:
                shard.update(edge.UpdateOperation.delete_payload(list(there), [json_path(key) for key in keys]))

    def delete(self, collection: str, ids: Sequence[str]) -> None:
        with self._writing(collection) as shard:
            if ids:
                shard.update(edge.UpdateOperation.delete_points(list(ids)))

    def delete_matching(self, collection: str, filter: Filter) -> None:
        with self._writing(collection) as shard:
            shard.update(edge.UpdateOperation.delete_points_by_filter(conversion.to_filter(filter) or edge.Filter()))

    def retrieve(
        self, collection: str, ids: Sequence[str], *, payload: Fields | None = None, vectors: Fields = ()
    ) -> dict[str, Point]:
        with self._reading(collection) as shard:
            records = shard.retrieve(list(ids), selected(payload), selected(vectors))
        points = [conversion.from_record(record) for record in records]
        return {point.id: point for point in points}

    def query(self, collection: str, queries: Sequence[Query]) -> list[list[Scored]]:
        def search(sent: list[Query]) -> list[list[edge.ScoredPoint]]:
            with self._reading(collection) as shard:
                return shard.query_batch(edge.QueryBatchRequest([conversion.to_query(query) for query in sent]))

        return in_one_batch(queries, search, conversion.from_scored)

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
        request = edge.ScrollRequest(
            offset=after,
            limit=limit,
            filter=conversion.to_filter(filter),
            with_payload=selected(payload),
            with_vector=selected(vectors),
        )
        with self._reading(collection) as shard:
            records, following = shard.scroll(request)
        points = [conversion.from_record(record) for record in records]
        return points, None if following is None else str(following)

    def count(self, collection: str, filter: Filter = Filter()) -> int:
        with self._reading(collection) as shard:
            return shard.count(edge.CountRequest(exact=True, filter=conversion.to_filter(filter)))

    def check(self) -> None:
        """Raise `Unavailable` when it is closed or the last flush failed (a full disk, mostly)."""
        if self._closed:
            raise Unavailable(f"the vector store in {self._directory.path} is closed")
        if self._flusher.failure is not None:
            raise Unavailable(f"the vector store in {self._directory.path} can't flush: {self._flusher.failure}")

    def flush(self) -> None:
        with self._opening:
            self._stay_open()
            self._flush_shards()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Write nothing until this ends: the files are as a killed process leaves them. Searches go on."""
        self.flush()
        with self._opening, ExitStack() as stack:
            self._stay_open()
            for collection in self._collections.values():
                stack.enter_context(collection.lock)
            yield

    def close(self) -> None:
        """Flush and release the directory. A second call does nothing."""
        with self._opening:
            if self._closed:
                return
            self._closed = True
        self._flusher.close()
        flushed = self._flushed()
        try:
            for collection in self._collections.values():
                with collection.lock:
                    collection.shard.flush()
                    collection.shard.close()
            self._sync_closed()
            flushed()
        finally:
            self._collections.clear()
            self._directory.close()

    def _flush_shards(self) -> None:
        flushed = self._flushed()
        for collection in list(self._collections.values()):
            # Under the lock, since one that was dropped can't be flushed, nor one synchronised that is being written.
            with collection.lock, _translate_errors(collection.name):
                if self._collections.get(collection.name) is collection:
                    collection.shard.flush()
                    self._directory.sync(collection.name)
        self._directory.sync_names()
        flushed()

    def _sync_closed(self) -> None:
        for name in self._directory.collections():
            self._directory.sync(name)
        self._directory.sync_names()

    @staticmethod
    def _indexes(collection: _Collection) -> dict[str, AttributeKind | str]:
        schema = collection.shard.info().payload_schema
        return {path: conversion.index_kind(index.data_type) for path, index in schema.items()}

    def _point(self, aliases: dict[str, str]) -> None:
        self._directory.set_aliases(aliases)
        self._aliases = aliases

    @contextmanager
    def _reading(self, name: str) -> Iterator[edge.EdgeShard]:
        with _translate_errors(name):
            yield self._open(name).shard

    @contextmanager
    def _writing(self, name: str) -> Iterator[edge.EdgeShard]:
        collection = self._open(name)
        with collection.lock, _translate_errors(name):
            yield collection.shard
        self._flusher.wrote()

    def _open(self, name: str) -> _Collection:
        name = self._aliases.get(name, name)
        opened = self._collections.get(name)
        if opened is not None:
            return opened
        with self._opening:
            self._stay_open()
            if name not in self._collections:
                if not self._directory.has(name):
                    raise Misconfigured(
                        f"there is no collection `{name}` in {self._directory.path}: run `eddyline init`"
                    )
                self._collections[name] = _Collection(name, self._directory.load(name))
            return self._collections[name]

    def _stay_open(self) -> None:
        if self._closed:
            raise EddylineError(f"the vector store in {self._directory.path} is closed")


def _add(shard: edge.EdgeShard, needed: Lacking) -> None:
    for name, dense in needed.dense.items():
        shard.update(edge.UpdateOperation.create_dense_vector(name, dense.size, conversion.DISTANCES[dense.distance]))
    for name in needed.sparse:
        shard.update(edge.UpdateOperation.create_sparse_vector(name))
    for path, kind in needed.indexes.items():
        shard.update(edge.UpdateOperation.create_field_index(path, conversion.INDEXES[kind]))


def _existing(shard: edge.EdgeShard, ids: Iterable[str]) -> tuple[str, ...]:
    """Those that exist: Edge applies a part of what names a missing point, then raises."""
    records = shard.retrieve(list(ids), with_payload=False, with_vector=False)
    return tuple(str(record.id) for record in records)


@contextmanager
def _translate_errors(collection: str) -> Iterator[None]:
    """Turn the bare `Exception`s that Edge raises into ours."""
    try:
        yield
    except EddylineError:
        raise
    except Exception as error:
        if any(sign in str(error) for sign in _FULL_DISK):
            raise Unavailable(f"collection `{collection}`: the disk is full ({error})") from error
        kind = NotStorable if _UNPROCESSABLE in str(error) else EddylineError
        raise kind(f"collection `{collection}`: {error}") from error
