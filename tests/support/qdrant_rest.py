"""A stand-in for Qdrant's REST API, over real HTTP, on qdrant-client's `:memory:`.

It is no substitute for a server. It holds two things that `:memory:` alone can't show: that our requests are
spelt as Qdrant's own models want them (each body is validated by them, unknown fields refused), and that we
understand Qdrant's refusals (a missing collection, a missing point, a bad body, a key). Speed, durability,
indexes and the engine itself are tested on a server alone.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import orjson
import uvicorn
from pydantic import TypeAdapter, ValidationError
from qdrant_client import QdrantClient, models
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

T = TypeVar("T")
Endpoint = Callable[[Request], Awaitable[Any]]
_RANGES = {"float", "integer", "datetime"}
_Insert: TypeAdapter[models.PointsBatch | models.PointsList] = TypeAdapter(models.PointInsertOperations)
_Delete: TypeAdapter[models.PointIdsList | models.FilterSelector] = TypeAdapter(models.PointsSelector)
_VectorName: TypeAdapter[models.VectorNameConfig] = TypeAdapter(models.VectorNameConfig)


class _RefusalError(Exception):
    def __init__(self, status: int, reason: str) -> None:
        self.status = status
        super().__init__(reason)


@dataclass(frozen=True, slots=True)
class Seen:
    """A request as it came."""

    method: str
    path: str
    parameters: dict[str, str]
    headers: dict[str, str]
    body: bytes


@dataclass
class QdrantRest:
    """The stand-in. One thread serves it, since `:memory:` bears no more.

    `api_key`: refuse requests without it. `fail_with`: answer all with this status. `max_bytes`: refuse larger bodies.
    `hang`: don't answer. `directory`:
    keep what is written there, so that another process can go on with it. `port`: 0 for any.
    """

    api_key: str | None = None
    fail_with: int | None = None
    max_bytes: int = 2**25
    hang: bool = False
    directory: Path | None = None
    port: int = 0
    seen: list[Seen] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._client = _client(self.directory)
        self._indexes: dict[str, dict[str, str]] = {each: {} for each in self._collections()}
        self._socket = socket.create_server(("127.0.0.1", self.port))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        config = uvicorn.Config(self._app(), log_level="error", lifespan="off", ws="none", access_log=False)
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, args=([self._socket],), daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop serving."""
        self.hang = False
        self._server.should_exit = True
        self._thread.join(10)
        self._socket.close()
        self._client.close()

    def _collections(self) -> list[str]:
        return [each.name for each in self._client.get_collections().collections]

    def _app(self) -> Starlette:
        one = "/collections/{collection}"
        routes: list[tuple[str, str, Endpoint]] = [
            ("GET", "/readyz", self._ready),
            ("GET", "/collections", self._list),
            ("GET", "/aliases", self._list_aliases),
            ("POST", "/collections/aliases", self._change_aliases),
            ("GET", one, self._info),
            ("PUT", one, self._create),
            ("PATCH", one, self._update),
            ("DELETE", one, self._drop),
            ("PUT", f"{one}/index", self._index),
            ("PUT", f"{one}/vectors/{{name}}", self._add_vector),
            ("PUT", f"{one}/points", self._upsert),
            ("POST", f"{one}/points", self._retrieve),
            ("PUT", f"{one}/points/vectors", self._update_vectors),
            ("POST", f"{one}/points/batch", self._batch),
            ("POST", f"{one}/points/payload/delete", self._delete_payload),
            ("POST", f"{one}/points/delete", self._delete),
            ("POST", f"{one}/points/query/batch", self._query),
            ("POST", f"{one}/points/scroll", self._scroll),
            ("POST", f"{one}/points/count", self._count),
        ]
        return Starlette(routes=[Route(path, self._answering(do), methods=[method]) for method, path, do in routes])

    def _answering(self, endpoint: Endpoint) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            await self._note(request)
            try:
                self._admit(request)
                result = await endpoint(request)
            except _RefusalError as refusal:
                return _error(refusal.status, str(refusal))
            except ValidationError as error:
                return _error(400, f"Format error in JSON body: {error}")
            except KeyError as error:
                return _error(404, f"Not found: No point with id {error} found")
            except ValueError as error:
                return _error(400, f"Wrong input: {error}")
            if isinstance(result, Response):
                return result
            body = orjson.dumps({"result": result, "status": "ok", "time": 0.0}, option=orjson.OPT_SERIALIZE_NUMPY)
            return Response(body, media_type="application/json")

        return answer

    async def _note(self, request: Request) -> None:
        body = await request.body()
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.seen.append(Seen(request.method, request.url.path, dict(request.query_params), headers, body))
        while self.hang:
            await asyncio.sleep(0.01)

    def _admit(self, request: Request) -> None:
        if int(request.headers.get("content-length", 0)) > self.max_bytes:
            raise _RefusalError(413, f"Payload Too Large: JSON payload is larger than allowed ({self.max_bytes} bytes)")
        if self.fail_with is not None:
            raise _RefusalError(self.fail_with, "Service internal error: asked to fail")
        if self.api_key is not None and request.headers.get("api-key") != self.api_key:
            raise _RefusalError(401, "Must provide an API key or an Authorization bearer token")

    def _existing(self, request: Request) -> str:
        """The collection that the path names, itself or by an alias."""
        name: str = request.path_params["collection"]
        if not self._client.collection_exists(name):
            raise _RefusalError(404, f"Not found: Collection `{name}` doesn't exist!")
        return self._aliases().get(name, name)

    def _aliases(self) -> dict[str, str]:
        return {each.alias_name: each.collection_name for each in self._client.get_aliases().aliases}

    async def _ready(self, request: Request) -> Response:
        return PlainTextResponse("all shards are ready")

    async def _list(self, request: Request) -> Any:
        return _dump(self._client.get_collections())

    async def _list_aliases(self, request: Request) -> Any:
        return _dump(self._client.get_aliases())

    async def _change_aliases(self, request: Request) -> bool:
        asked = models.ChangeAliasesOperation.model_validate_json(await request.body())
        # As Qdrant: one after another, so that what precedes a refused one stays.
        for action in asked.actions:
            to = action.create_alias.collection_name if isinstance(action, models.CreateAliasOperation) else None
            if to is not None and to not in self._indexes:
                raise _RefusalError(404, f"Not found: Collection `{to}` doesn't exist!")
            self._client.update_collection_aliases([action])
        return True

    async def _info(self, request: Request) -> Any:
        name = self._existing(request)
        schema = {path: {"data_type": kind, "points": 0} for path, kind in self._indexes[name].items()}
        return {**_dump(self._client.get_collection(name)), "payload_schema": schema}

    async def _create(self, request: Request) -> bool:
        asked = models.CreateCollection.model_validate_json(await request.body())
        name = request.path_params["collection"]
        if name in self._aliases():
            raise _RefusalError(400, f"Wrong input: Can't create collection with name {name}. Alias has that name")
        if self._client.collection_exists(name):
            raise _RefusalError(409, f"Wrong input: Collection `{name}` already exists!")
        self._client.create_collection(name, vectors_config=asked.vectors, sparse_vectors_config=asked.sparse_vectors)
        self._indexes[name] = {}
        return True

    async def _update(self, request: Request) -> bool:
        asked = models.UpdateCollection.model_validate_json(await request.body())
        return self._client.update_collection(self._existing(request), vectors_config=asked.vectors)

    async def _drop(self, request: Request) -> bool:
        # As Qdrant: an alias is no collection here, one that isn't there is no error, and its aliases go with it.
        name: str = request.path_params["collection"]
        self._indexes.pop(name, None)
        return self._client.delete_collection(name)

    async def _index(self, request: Request) -> Any:
        asked = models.CreateFieldIndex.model_validate_json(await request.body())
        if not isinstance(asked.field_schema, models.PayloadSchemaType):
            raise _RefusalError(400, "the stand-in knows plain index types alone")
        self._indexes[self._existing(request)][asked.field_name] = asked.field_schema.value
        return _COMPLETED

    async def _add_vector(self, request: Request) -> Any:
        asked = _VectorName.validate_json(await request.body())
        self._client.create_vector_name(self._existing(request), request.path_params["name"], asked)
        return _COMPLETED

    async def _upsert(self, request: Request) -> Any:
        asked = _Insert.validate_json(await request.body())
        points: Any = asked.batch if isinstance(asked, models.PointsBatch) else asked.points
        self._client.upsert(
            self._existing(request),
            points,
            update_filter=asked.update_filter,
            update_mode=asked.update_mode,
        )
        return _COMPLETED

    async def _retrieve(self, request: Request) -> Any:
        asked = models.PointRequest.model_validate_json(await request.body())
        records = self._client.retrieve(
            self._existing(request),
            asked.ids,
            with_payload=True if asked.with_payload is None else asked.with_payload,
            with_vectors=asked.with_vector or False,
        )
        return [_dump_point(record) for record in records]

    async def _update_vectors(self, request: Request) -> Any:
        asked = models.UpdateVectors.model_validate_json(await request.body())
        name = self._existing(request)
        # As Qdrant: a part is applied before the first missing point is noticed.
        for point in asked.points:
            self._client.update_vectors(name, [point])
        return _COMPLETED

    async def _batch(self, request: Request) -> Any:
        asked = models.UpdateOperations.model_validate_json(await request.body())
        self._client.batch_update_points(self._existing(request), asked.operations)
        return [_COMPLETED for _ in asked.operations]

    async def _delete_payload(self, request: Request) -> Any:
        asked = models.DeletePayload.model_validate_json(await request.body())
        self._client.delete_payload(self._existing(request), keys=asked.keys, points=asked.points or [])
        return _COMPLETED

    async def _delete(self, request: Request) -> Any:
        asked = _Delete.validate_json(await request.body())
        self._client.delete(self._existing(request), asked)
        return _COMPLETED

    async def _query(self, request: Request) -> Any:
        asked = models.QueryRequestBatch.model_validate_json(await request.body())
        name = self._existing(request)
        for search in asked.searches:
            self._needs_range_index(name, search.query)
            self._needs_size(name, search)
            if search.limit is not None and search.limit < 1:
                raise _RefusalError(422, "Validation error in JSON body: [searches[0].limit: must be at least 1]")
        answers = self._client.query_batch_points(name, asked.searches)
        return [{"points": [_dump_point(point) for point in answer.points]} for answer in answers]

    def _needs_range_index(self, collection: str, query: Any) -> None:
        if not isinstance(query, models.OrderByQuery):
            return
        key = query.order_by if isinstance(query.order_by, str) else query.order_by.key
        if self._indexes[collection].get(key) not in _RANGES:
            raise _RefusalError(400, f"Bad request: No range index for `order_by` key: `{key}`.")

    def _needs_size(self, collection: str, search: models.QueryRequest) -> None:
        if not isinstance(search.query, models.NearestQuery | list):
            return
        vector = search.query.nearest if isinstance(search.query, models.NearestQuery) else search.query
        dense = self._client.get_collection(collection).config.params.vectors
        if isinstance(vector, list) and isinstance(dense, dict) and search.using in dense:
            size = dense[search.using].size
            if len(vector) != size:
                raise _RefusalError(
                    400, f"Wrong input: Vector dimension error: expected dim: {size}, got {len(vector)}"
                )

    async def _scroll(self, request: Request) -> Any:
        asked = models.ScrollRequest.model_validate_json(await request.body())
        records, following = self._client.scroll(
            self._existing(request),
            scroll_filter=asked.filter,
            limit=asked.limit or 10,
            offset=asked.offset,
            with_payload=True if asked.with_payload is None else asked.with_payload,
            with_vectors=asked.with_vector or False,
        )
        return {"points": [_dump_point(record) for record in records], "next_page_offset": following}

    async def _count(self, request: Request) -> Any:
        asked = models.CountRequest.model_validate_json(await request.body())
        return _dump(self._client.count(self._existing(request), count_filter=asked.filter))


def _client(directory: Path | None) -> QdrantClient:
    if directory is None:
        return QdrantClient(":memory:")
    return QdrantClient(path=str(directory), force_disable_check_same_thread=True)


_COMPLETED = {"operation_id": 0, "status": "completed"}


def _dump(model: Any) -> Any:
    return model.model_dump(mode="json", exclude_none=True)


def _dump_point(point: models.Record | models.ScoredPoint) -> Any:
    """Vectors and scores are float32, and written with as many digits as that takes."""
    dumped = _dump(point)
    if "score" in dumped:
        dumped["score"] = np.float32(dumped["score"])
    if isinstance(dumped.get("vector"), dict):
        dumped["vector"] = {name: _narrow(vector) for name, vector in dumped["vector"].items()}
    return dumped


def _narrow(vector: Any) -> Any:
    if isinstance(vector, dict):
        return {**vector, "values": np.asarray(vector["values"], np.float32)}
    return np.asarray(vector, np.float32)


def _error(status: int, reason: str) -> Response:
    return JSONResponse({"status": {"error": reason}, "time": 0.0}, status_code=status)
