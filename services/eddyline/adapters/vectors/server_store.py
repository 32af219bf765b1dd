"""A store on a Qdrant server or cluster: qdrant-client, and REST by hand where speed counts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import chain
from typing import Any
from urllib.parse import quote

from qdrant_client import models

from eddyline.adapters.vectors import server_conversion as conversion
from eddyline.adapters.vectors.collection_check import Lacking, Stored, lacking, with_changes
from eddyline.adapters.vectors.contract import CollectionSpec, Fields, Payload, Point, Query, Scored, Vector
from eddyline.adapters.vectors.conversion import in_one_batch, json_path, selected
from eddyline.adapters.vectors.request_batches import READ_BATCH_POINTS, WRITE_BATCH_POINTS, in_batches, write_in_halves
from eddyline.adapters.vectors.rest_client import QdrantError, QdrantNotFound, Rest
from eddyline.errors import Misconfigured
from eddyline.model.filters import Filter


class ServerStore:
    """The `VectorStore` of a Qdrant server. Every write waits until it is durable there.

    `prefix` comes before each collection's name, so that two deployments can share a cluster.
    """

    def __init__(self, url: str, api_key: str | None = None, timeout_seconds: float = 5.0, prefix: str = "") -> None:
        """Raises `Misconfigured` for a URL that isn't http(s); it doesn't connect yet."""
        self._rest = Rest(url, api_key, timeout_seconds)
        self._prefix = prefix

    def ensure(self, spec: CollectionSpec) -> None:
        stored = self._describe(spec.name) or self._create(spec)
        self._add(spec.name, lacking(spec, stored))

    def collections(self) -> list[str]:
        with self._rest.qdrant() as qdrant:
            found = [each.name for each in qdrant.get_collections().collections]
        return sorted(self._ours(name) for name in found if name.startswith(self._prefix))

    def drop(self, collection: str) -> None:
        with suppress(QdrantNotFound), self._rest.qdrant() as qdrant:
            qdrant.delete_collection(self._prefix + collection)

    def aliases(self) -> dict[str, str]:
        with self._rest.qdrant() as qdrant:
            found = qdrant.get_aliases().aliases
        return {
            self._ours(each.alias_name): self._ours(each.collection_name)
            for each in found
            if each.alias_name.startswith(self._prefix)
        }

    def set_aliases(self, changes: Mapping[str, str | None]) -> None:
        # Qdrant applies what comes before an action that it refuses: so look first.
        with_changes({}, changes, self.collections())
        operations = [
            conversion.to_alias_operation(self._prefix + alias, None if to is None else self._prefix + to)
            for alias, to in changes.items()
        ]
        with self._rest.qdrant() as qdrant:
            qdrant.update_collection_aliases(operations)

    def upsert(
        self, collection: str, points: Sequence[Point], *, insert_only: bool = False, condition: Filter | None = None
    ) -> None:
        # A request for each set of named vectors among the points, and each `WRITE_BATCH_POINTS`.
        terms: conversion.Json = {"update_mode": "insert_only"} if insert_only else {}
        if condition is not None:
            terms["update_filter"] = conversion.to_filter(condition)

        def write(batch: Sequence[Point]) -> None:
            # Columns need at least one: points without any vector go row by row.
            columns = bool(batch[0].vectors)
            body = {"batch": conversion.to_batch(batch)} if columns else {"points": conversion.to_rows(batch)}
            with self._existing(collection):
                self._call("PUT", collection, "?wait=true", {**body, **terms})

        for alike in _by_vectors(points):
            for batch in in_batches(alike, WRITE_BATCH_POINTS):
                write_in_halves(batch, write)

    def update_vectors(self, collection: str, vectors: Mapping[str, Mapping[str, Vector]]) -> None:
        rows = {each: conversion.to_row(each, named) for each, named in vectors.items() if named}

        def write(ids: Sequence[str]) -> None:
            self._call("PUT", collection, "/vectors?wait=true", {"points": [rows[each] for each in ids]})

        self._write_existing(collection, list(rows), write)

    def set_payload(self, collection: str, payloads: Mapping[str, Payload]) -> None:
        def write(ids: Sequence[str]) -> None:
            settings = [{"points": [each], "payload": dict(payloads[each])} for each in ids]
            body = {"operations": [{"set_payload": setting} for setting in settings]}
            self._call("POST", collection, "/batch?wait=true", body)

        self._write_existing(collection, list(payloads), write)

    def delete_payload(self, collection: str, ids: Sequence[str], keys: Sequence[str]) -> None:
        paths = [json_path(key) for key in keys]

        def write(ids: Sequence[str]) -> None:
            with self._rest.qdrant() as qdrant:
                qdrant.delete_payload(self._prefix + collection, paths, list(ids))

        self._write_existing(collection, ids if keys else (), write)

    def delete(self, collection: str, ids: Sequence[str]) -> None:
        for batch in in_batches(ids, READ_BATCH_POINTS):
            with self._existing(collection), self._rest.qdrant() as qdrant:
                qdrant.delete(self._prefix + collection, list(batch))

    def delete_matching(self, collection: str, filter: Filter) -> None:
        matching = conversion.to_filter_model(filter) or models.Filter()
        with self._existing(collection), self._rest.qdrant() as qdrant:
            qdrant.delete(self._prefix + collection, models.FilterSelector(filter=matching))

    def retrieve(
        self, collection: str, ids: Sequence[str], *, payload: Fields | None = None, vectors: Fields = ()
    ) -> dict[str, Point]:
        selection = {"with_payload": selected(payload), "with_vector": selected(vectors)}
        with self._existing(collection):
            batches = [
                self._call("POST", collection, "", {"ids": list(batch), **selection})
                for batch in in_batches(ids, READ_BATCH_POINTS)
            ]
        points = [conversion.from_record(record) for record in chain.from_iterable(batches)]
        return {point.id: point for point in points}

    def query(self, collection: str, queries: Sequence[Query]) -> list[list[Scored]]:
        def search(sent: list[Query]) -> Iterator[Any]:
            body = {"searches": [conversion.to_query(query) for query in sent]}
            with self._existing(collection):
                answers = self._call("POST", collection, "/query/batch", body)
            return (answer["points"] for answer in answers)

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
        with self._existing(collection), self._rest.qdrant() as qdrant:
            records, following = qdrant.scroll(
                self._prefix + collection,
                scroll_filter=conversion.to_filter_model(filter),
                limit=limit,
                offset=after,
                with_payload=selected(payload),
                with_vectors=selected(vectors),
            )
        points = [conversion.from_record(dict(record)) for record in records]
        return points, None if following is None else str(following)

    def count(self, collection: str, filter: Filter = Filter()) -> int:
        with self._existing(collection), self._rest.qdrant() as qdrant:
            return qdrant.count(self._prefix + collection, conversion.to_filter_model(filter)).count

    def check(self) -> None:
        self._rest.check()

    def on_flush(self, begin: Callable[[], Callable[[], None]]) -> None:
        pass

    def flush(self) -> None:
        """Do nothing: every write has waited until it was durable."""

    def close(self) -> None:
        self._rest.close()

    def _write_existing(self, collection: str, ids: Sequence[str], write: Callable[[Sequence[str]], None]) -> None:
        """Write to those of `ids` that exist.

        Qdrant applies a part of a request that names a missing point, and refuses it: so look which are
        there, and write again to those alone. Writes are idempotent.
        """
        for batch in in_batches(ids, WRITE_BATCH_POINTS):
            remaining = batch
            while remaining:
                try:
                    write_in_halves(remaining, write)
                    break
                except QdrantError:
                    there = self.retrieve(collection, remaining, payload=())
                    if all(each in there for each in remaining):
                        raise
                    remaining = [each for each in remaining if each in there]

    def _call(self, method: str, collection: str, path: str, body: object) -> Any:
        """A call by hand: `path` begins below the collection's points."""
        return self._rest.call(method, f"/collections/{quote(self._prefix + collection, safe='')}/points{path}", body)

    def _ours(self, name: str) -> str:
        return name.removeprefix(self._prefix)

    @contextmanager
    def _existing(self, collection: str) -> Iterator[None]:
        try:
            yield
        except QdrantNotFound as refusal:
            raise Misconfigured(
                f"there is no collection `{self._prefix}{collection}`: run `eddyline init` ({refusal})"
            ) from refusal

    def _describe(self, collection: str) -> Stored | None:
        with suppress(QdrantNotFound), self._rest.qdrant() as qdrant:
            return conversion.from_collection(qdrant.get_collection(self._prefix + collection))
        return None

    def _create(self, spec: CollectionSpec) -> Stored:
        try:
            with self._rest.qdrant() as qdrant:
                qdrant.create_collection(self._prefix + spec.name, **conversion.to_collection(spec))
        except QdrantError:
            # Another process may have been first.
            stored = self._describe(spec.name)
            if stored is None:
                raise
            return stored
        return Stored.bare(spec)

    def _add(self, collection: str, needed: Lacking) -> None:
        name = self._prefix + collection
        with self._rest.qdrant() as qdrant:
            for vector, config in conversion.to_added_vectors(needed).items():
                try:
                    qdrant.create_vector_name(name, vector, config)
                except QdrantError as refusal:
                    if refusal.status not in {404, 405}:
                        raise
                    raise Misconfigured(
                        f"collection `{name}` lacks the vector `{vector}`, and only Qdrant 1.18 or newer can add one: "
                        "upgrade it, or run `eddyline reembed`"
                    ) from refusal
            for path, kind in needed.indexes.items():
                qdrant.create_payload_index(name, path, models.PayloadSchemaType(kind))


def _by_vectors(points: Iterable[Point]) -> Iterable[list[Point]]:
    """The points grouped by which named vectors they have."""
    groups: dict[frozenset[str], list[Point]] = {}
    for point in points:
        groups.setdefault(frozenset(point.vectors), []).append(point)
    return groups.values()
