"""Stand-ins for the services' ports: in memory, deterministic, and failing when told to."""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any

import numpy as np
import orjson
import pytest
from numpy.typing import NDArray
from tests.support.memory_store import MemoryStore
from tests.support.stored_profile import open_payload

from eddyline.adapters.kafka import Acknowledgements, Headers, Message, Outgoing, Record, RecordMetadata
from eddyline.adapters.kafka.producer import check_size
from eddyline.adapters.vectors import ITEMS, PROFILES, ROWS, Distance, Filter, Point, Query, Scored, Vector
from eddyline.errors import Unavailable
from eddyline.model.distance import distance_of
from eddyline.runtime.collection_setup import create_collections
from eddyline.settings import Settings

NOW = 1_790_000_000.0
"""Epoch seconds at which every test begins."""
LOG = "log-1"


class Clock:
    """Stands still until it is moved. Epoch seconds, or monotonic ones: it is the same."""

    def __init__(self, now: float = NOW) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def forward(self, seconds: float) -> None:
        self.now += seconds


class FakeProducer:
    """Acknowledges at once and keeps what was sent; or refuses, as `refuse` says.

    `delivery` makes the futures fail, as when a broker is gone. `room` is how many more records it takes before it
    fails with `refuse`; None for any number.
    """

    def __init__(self, journal: list[str] | None = None) -> None:
        self.sent: list[Outgoing] = []
        self.refuse: Exception | None = None
        self.delivery: Exception | None = None
        self.room: int | None = None
        self._journal = [] if journal is None else journal
        self._lock = threading.Lock()

    def send(self, record: Outgoing) -> Future[RecordMetadata]:
        check_size(record)
        with self._lock:
            if self.refuse is not None and not self.room:
                raise self.refuse
            if self.room is not None:
                self.room -= 1
            future: Future[RecordMetadata] = Future()
            if self.delivery is not None:
                future.set_exception(self.delivery)
                return future
            self._journal.append(f"send {record.topic}")
            self.sent.append(record)
            future.set_result(RecordMetadata(record.topic, 0, len(self.sent) - 1))
            return future

    def send_all(self, records: Sequence[Outgoing]) -> list[RecordMetadata]:
        return self.begin_all(records)()

    def begin_all(self, records: Sequence[Outgoing]) -> Acknowledgements:
        sent = [self.send(record) for record in records]
        return lambda: [each.result() for each in sent]

    def check(self) -> None:
        if self.refuse is not None:
            raise self.refuse

    def close(self) -> None:
        """Nothing to release."""

    def to(self, topic: str) -> list[Outgoing]:
        return [record for record in self.sent if record.topic == topic]

    def values(self, topic: str) -> list[Any]:
        """The decoded values of what was sent to a topic; None for tombstones."""
        return [None if one.value is None else orjson.loads(one.value) for one in self.to(topic)]


class FakeDeadLetters:
    """Keeps dead letters as (record, reason, detail)."""

    def __init__(self, journal: list[str] | None = None) -> None:
        self.letters: list[tuple[Record, str, str]] = []
        self._journal = [] if journal is None else journal

    def put(self, record: Record, reason: str, detail: str, attempt: int = 1) -> None:
        self.put_all([(record, reason, detail)])

    def put_all(self, records: Sequence[tuple[Record, str, str]]) -> None:
        self._journal.append("bury")
        self.letters += records


class TinyEncoder:
    """A text is the sum of its words' hashed directions (numbers count little), at unit length; of 1 to 5 where its
    space is for another distance than the cosine. Notes its texts."""

    dimension = 16

    def __init__(self, space: str = "tiny-t1") -> None:
        self.space = space
        self.model = space.partition("-")[0].rpartition("+")[2]
        self.texts: list[str] = []

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        self.texts += texts
        rows = np.asarray([text_vector(text) for text in texts], dtype=np.float32).reshape(-1, self.dimension)
        if distance_of(self.space) is Distance.COSINE:
            return rows
        return rows * np.asarray([1 + len(text) % 5 for text in texts], dtype=np.float32)[:, np.newaxis]


class WiderEncoder(TinyEncoder):
    """Another model: more dimensions, and every vector turned."""

    dimension = 20

    def __init__(self) -> None:
        super().__init__("wider-t1")

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        self.texts += texts
        rows = np.asarray([text_vector(text) for text in texts]).reshape(-1, 16)
        turned = np.concatenate([rows[:, ::-1], rows[:, :4]], axis=1)
        return np.asarray(turned / np.linalg.norm(turned, axis=1, keepdims=True), dtype=np.float32)


def text_vector(text: str) -> NDArray[np.float64]:
    total = np.sum([_word_vector(word) for word in re.findall(r"\w+", text.lower()) or [""]], axis=0)
    return np.asarray(total / np.linalg.norm(total), dtype=np.float64)


def near(actual: Any, expected: Any, relative: float = 1e-6, absolute: float = 1e-7) -> None:
    """Fail unless two arrays are as good as equal."""
    np.testing.assert_allclose(actual, expected, rtol=relative, atol=absolute)


def _word_vector(word: str) -> NDArray[np.float64]:
    seed = int.from_bytes(hashlib.blake2b(word.encode(), digest_size=8).digest(), "big")
    weight = 0.2 if word.isdigit() else 1.0
    return weight * np.random.default_rng(seed).normal(size=TinyEncoder.dimension)


class FakeStore(MemoryStore):
    """Qdrant's own `:memory:`, for several threads; notes its writes, and fails while told to."""

    def __init__(self, settings: Settings | None = None, journal: list[str] | None = None) -> None:
        super().__init__()
        self._lock = threading.RLock()
        self._journal = [] if journal is None else journal
        self.down: set[str] = set()
        """Calls that raise `Unavailable`, by name; "all" for every one."""
        settings = settings or Settings()
        create_collections(self, settings, TinyEncoder.dimension, Distance.named(settings.encoder.distance))

    @contextmanager
    def failing(self, *calls: str) -> Iterator[None]:
        """What is done within fails with `Unavailable`, since these calls do; "all" for every one."""
        self.down = set(calls)
        with pytest.raises(Unavailable):
            yield
        self.down = set()

    @contextmanager
    def _call(self, name: str, note: str | None = None) -> Iterator[None]:
        with self._lock:
            if self.down & {name, "all"}:
                raise Unavailable("the vector store doesn't answer")
            if note is not None:
                self._journal.append(f"{name} {note}")
            yield

    def upsert(
        self,
        collection: str,
        points: Sequence[Point],
        *,
        insert_only: bool = False,
        condition: Filter | None = None,
    ) -> None:
        with self._call("upsert", f"{collection} {len(points)}"):
            super().upsert(collection, points, insert_only=insert_only, condition=condition)

    def update_vectors(self, collection: str, vectors: Mapping[str, Mapping[str, Vector]]) -> None:
        with self._call("update_vectors", collection):
            super().update_vectors(collection, vectors)

    def set_payload(self, collection: str, payloads: Mapping[str, Mapping[str, Any]]) -> None:
        with self._call("set_payload", collection):
            super().set_payload(collection, payloads)

    def delete(self, collection: str, ids: Sequence[str]) -> None:
        with self._call("delete", collection):
            super().delete(collection, ids)

    def retrieve(
        self,
        collection: str,
        ids: Sequence[str],
        *,
        payload: tuple[str, ...] | None = None,
        vectors: tuple[str, ...] = (),
    ) -> dict[str, Point]:
        with self._call("retrieve"):
            return super().retrieve(collection, ids, payload=payload, vectors=vectors)

    def query(self, collection: str, queries: Sequence[Query]) -> list[list[Scored]]:
        with self._call("query"):
            return super().query(collection, queries)

    def scroll(self, collection: str, **rest: Any) -> tuple[list[Point], str | None]:
        with self._call("scroll"):
            return super().scroll(collection, **rest)

    def check(self) -> None:
        with self._call("check"):
            super().check()

    def dump(self) -> dict[str, Any]:
        """Everything that is stored, in a form that compares."""
        down, self.down = self.down, set()
        stored = {
            f"{collection}/{point.id}": (
                open_payload(point.payload) if collection == PROFILES else dict(point.payload),
                {name: _plain(vector) for name, vector in sorted(point.vectors.items())},
            )
            for collection, names in (
                (ITEMS, ("content",)),
                (ROWS, ("affinity",)),
                (PROFILES, ("history",)),
            )
            for point in self.scroll(collection, limit=100_000, vectors=names)[0]
        }
        self.down = down
        return stored


def _plain(vector: Vector) -> Any:
    if isinstance(vector, np.ndarray):
        return [round(float(x), 5) for x in vector]
    return {int(i): round(float(v), 5) for i, v in zip(vector.indices, vector.values, strict=True)}


def record(
    topic: str,
    key: bytes | str | None,
    value: object,
    offset: int = 0,
    *,
    partition: int = 0,
    at: float = NOW,
    log: str = LOG,
    headers: Headers = (),
) -> Record:
    """A consumed record: `value` is bytes, None for a tombstone, or anything JSON can say; `at` in epoch seconds."""
    return Record(
        topic=topic,
        partition=partition,
        offset=offset,
        key=key.encode() if isinstance(key, str) else key,
        value=value if value is None or isinstance(value, bytes) else orjson.dumps(value),
        timestamp=round(at * 1000),
        log=log,
        headers=headers,
    )


def redelivered(sent: Outgoing, offset: int, **rest: Any) -> Record:
    """What was sent, as its consumer sees it."""
    return record(sent.topic, sent.key, sent.value, offset, headers=sent.headers, **rest)


def feed(handler: Any, *records: Record) -> None:
    """Have a handler parse and handle these as one batch."""
    handler.handle([Message(one, handler.parse(one)) for one in records])
