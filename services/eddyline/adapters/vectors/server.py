"""A store on a Qdrant server or cluster: qdrant-client, and REST by hand where speed counts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import chain
from typing import Any
from urllib.parse import quote

from qdrant_client import models

from eddyline.adapters.vectors import rest_values as values
from eddyline.adapters.vectors.aliases import with_changes
from eddyline.adapters.vectors.contract import CollectionSpec, Payload, Point, Query, Scored, Vector
from eddyline.adapters.vectors.rest import QdrantError, QdrantNotFound, Rest
from eddyline.adapters.vectors.stored import Lacking, Stored, lacking
from eddyline.adapters.vectors.values import in_batches, in_one_batch, json_path, selected
from eddyline.errors import Misconfigured
from eddyline.model.filters import Filter

_WRITE_BATCH = 200
_READ_BATCH = 500


class ServerStore:
    """`VectorStore` on a Qdrant server. Every write waits until it is durable there.

    `prefix` comes before each collection's name, so that two deployments can share a cluster.
    """

    def __init__(self, url: str, api_key: str | None = None, timeout_seconds: float = 5.0, prefix: str = "") -> None:
        """Raises `Misconfigured` for a URL that isn't http(s); it doesn't connect yet."""
        self._rest = Rest(url, api_key, timeout_seconds)
        self._prefix = prefix

    def ensure(self, spec: CollectionSpec) -> None:
        """Create the collection, or add what it lacks; raises `Misconfigured` where it disagrees with `spec`.

        Several processes may do so at once.
        """
        stored = self._describe(spec.name) or self._create(spec)
        self._add(spec.name, lacking(spec, stored))

    def collections(self) -> list[str]:
        """The names of the collections that have our prefix, without it."""
        with self._rest.qdrant() as qdrant:
            found = [each.name for each in qdrant.get_collections().collections]
        return sorted(self._ours(name) for name in found if name.startswith(self._prefix))

    def drop(self, collection: str) -> None:
        """Delete a collection, its points and its aliases."""
        with suppress(QdrantNotFound), self._rest.qdrant() as qdrant:
            qdrant.delete_collection(self._prefix + collection)

    def aliases(self) -> dict[str, str]:
        """The aliases that have our prefix, without it: name → collection."""
        with self._rest.qdrant() as qdrant:
            found = qdrant.get_aliases().aliases
        return {
            self._ours(each.alias_name): self._ours(each.collection_name)
            for each in found
            if each.alias_name.startswith(self._prefix)
        }

    def set_aliases(self, changes: Mapping[str, str | None]) -> None:
        """Point these aliases at these collections, or remove them, all at once."""
        # Qdrant applies what comes before an action that it refuses: so look first.
        with_changes({}, changes, self.collections())
        operations = [
            values.to_alias_operation(self._prefix + alias, None if to is None else self._prefix + to)
            for alias, to in changes.items()
        ]
        with self._rest.qdrant() as qdrant:
            qdrant.update_collection_aliases(operations)

    def upsert(
        self,
        collection: str,
        points: Sequence[Point],
        *,
        insert_only: bool = False,
        condition: Filter | None = None,
    ) -> None:
        """Write whole points: a request for each set of named vectors among them, and each 200 points."""
        terms: values.Json = {"update_mode": "insert_only"} if insert_only else {}
        if condition is not None:
            terms["update_filter"] = values.to_filter(condition)
        for alike in _by_vectors(points):
            for batch in in_batches(alike, _WRITE_BATCH):
                # Columns need at least one: points without any vector go row by row.
                body = {"batch": values.to_batch(batch)} if batch[0].vectors else {"points": values.to_rows(batch)}
                with self._existing(collection):
                    self._call("PUT", collection, "?wait=true", {**body, **terms})

    def update_vectors(self, collection: str, vectors: Mapping[str, Mapping[str, Vector]]) -> None:
        """Set named vectors of existing points."""
        rows = {each: values.to_row(each, named) for each, named in vectors.items() if named}

        def write(ids: Sequence[str]) -> None:
            self._call("PUT", collection, "/vectors?wait=true", {"points": [rows[each] for each in ids]})

        self._write_existing(collection, list(rows), write)

    def set_payload(self, collection: str, payloads: Mapping[str, Payload]) -> None:
        """Set top-level payload keys of existing points."""

        def write(ids: Sequence[str]) -> None:
            settings = [{"points": [each], "payload": dict(payloads[each])} for each in ids]
            body = {"operations": [{"set_payload": setting} for setting in settings]}
            self._call("POST", collection, "/batch?wait=true", body)

        self._write_existing(collection, list(payloads), write)

    def delete_payload(self, collection: str, ids: Sequence[str], keys: Sequence[str]) -> None:
        """Remove top-level payload keys of existing points."""
        paths = [json_path(key) for key in keys]

        def write(ids: Sequence[str]) -> None:
            with self._rest.qdrant() as qdrant:
                qdrant.delete_payload(self._prefix + collection, paths, list(ids))

        self._write_existing(collection, ids if keys else (), write)

    def delete(self, collection: str, ids: Sequence[str]) -> None:
        """Delete points."""
        for batch in in_batches(ids, _READ_BATCH):
            with self._existing(collection), self._rest.qdrant() as qdrant:
                qdrant.delete(self._prefix + collection, list(batch))

    def delete_matching(self, collection: str, filter: Filter) -> None:
        """Delete all points that match."""
        matching = values.to_filter_model(filter) or models.Filter()
        with self._existing(collection), self._rest.qdrant() as qdrant:
            qdrant.delete(self._prefix + collection, models.FilterSelector(filter=matching))

    def retrieve(
        self,
        collection: str,
        ids: Sequence[str],
        *,
        payload: tuple[str, ...] | None = None,
        vectors: tuple[str, ...] = (),
    ) -> dict[str, Point]:
        """The points that exist, by id."""
        selection = {"with_payload": selected(payload), "with_vector": selected(vectors)}
        with self._existing(collection):
            batches = [
                self._call("POST", collection, "", {"ids": list(batch), **selection})
                for batch in in_batches(ids, _READ_BATCH)
            ]
        points = [values.from_record(record) for record in chain.from_iterable(batches)]
        return {point.id: point for point in points}

    def query(self, collection: str, queries: Sequence[Query]) -> list[list[Scored]]:
        """Run the queries as one batch."""

        def search(asked: list[Query]) -> Iterator[Any]:
            body = {"searches": [values.to_query(query) for query in asked]}
            with self._existing(collection):
                answers = self._call("POST", collection, "/query/batch", body)
            return (answer["points"] for answer in answers)

        return in_one_batch(queries, search, values.from_scored)

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
        with self._existing(collection), self._rest.qdrant() as qdrant:
            records, following = qdrant.scroll(
                self._prefix + collection,
                scroll_filter=values.to_filter_model(filter),
                limit=limit,
                offset=after,
                with_payload=selected(payload),
                with_vectors=selected(vectors),
            )
        return [values.from_record(dict(record)) for record in records], None if following is None else str(following)

    def count(self, collection: str, filter: Filter = Filter()) -> int:
        """How many points match."""
        with self._existing(collection), self._rest.qdrant() as qdrant:
            return qdrant.count(self._prefix + collection, values.to_filter_model(filter)).count

    def check(self) -> None:
        """Raise `Unavailable` unless the server is ready."""
        self._rest.check()

    def flush(self) -> None:
        """Nothing to do: every write has waited."""

    def close(self) -> None:
        """Close the connections."""
        self._rest.close()

    def _write_existing(self, collection: str, ids: Sequence[str], write: Callable[[Sequence[str]], None]) -> None:
        """Write to those of `ids` that exist.

        Qdrant applies a part of a request that names a missing point, and refuses it: so look which are
        there, and write again to those alone. Writes are idempotent.
        """
        for batch in in_batches(ids, _WRITE_BATCH):
            remaining = batch
            while remaining:
                try:
                    write(remaining)
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
            return values.from_collection(qdrant.get_collection(self._prefix + collection))
        return None

    def _create(self, spec: CollectionSpec) -> Stored:
        try:
            with self._rest.qdrant() as qdrant:
                qdrant.create_collection(self._prefix + spec.name, **values.to_collection(spec))
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
            for vector, config in values.to_added_vectors(needed).items():
                try:
                    qdrant.create_vector_name(name, vector, config)
                except QdrantError as refusal:
                    if refusal.status not in {404, 405}:
                        raise
                    raise Misconfigured(
                        f"collection `{name}` lacks the vector `{vector}`, and only Qdrant 1.18 or newer can add one: "
                        "upgrade it, or run `eddyline reembed`"
                    ) from refusal
                if vector in needed.dense and not needed.dense[vector].indexed:
                    no_graph = models.VectorParamsDiff(hnsw_config=values.NO_GRAPH)
                    qdrant.update_collection(name, vectors_config={vector: no_graph})
            for path, kind in needed.indexes.items():
                qdrant.create_payload_index(name, path, models.PayloadSchemaType(kind))


def _by_vectors(points: Iterable[Point]) -> Iterable[list[Point]]:
    """The points grouped by which named vectors they have."""
    groups: dict[frozenset[str], list[Point]] = {}
    for point in points:
        groups.setdefault(frozenset(point.vectors), []).append(point)
    return groups.values()
