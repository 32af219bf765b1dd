"""An imager with everything around it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tests.support.fakes import NOW, Clock, FakeProducer, FakeStore, TinyEncoder, feed, record

from eddyline.adapters.kafka import Record, TopicPartition
from eddyline.adapters.telemetry import Metrics
from eddyline.adapters.vectors import ITEMS, Point
from eddyline.embedder.handler import Embedder
from eddyline.errors import ImageRefused
from eddyline.imaging import ImageEmbedder
from eddyline.imaging.handler import PROBE_IMAGE
from eddyline.imaging.pending_uploads import PendingUploads
from eddyline.model.ids import item_point_id
from eddyline.runtime.collection_setup import ensure_image_vectors
from eddyline.settings import ImageSettings

COLOURS = {"red": (1.0, 0.1, 0.1), "green": (0.1, 1.0, 0.1), "blue": (0.1, 0.1, 1.0)}


class ColourEncoder:
    """An image (here a colour's name) and a text that names the colour are the same vector."""

    dimension = 3

    def __init__(self, space: str = "colours-1") -> None:
        self.space = space

    def encode_images(self, images: Sequence[Any]) -> NDArray[np.float32]:
        rows = [np.asarray(COLOURS[image]) / np.linalg.norm(COLOURS[image]) for image in images]
        return np.asarray(rows, dtype=np.float32).reshape(-1, 3)

    def encode_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        return self.encode_images([next(name for name in COLOURS if name in text) for text in texts])


class Held(Executor):
    """Runs at once; or, while `holding`, when it is told to."""

    def __init__(self) -> None:
        self.holding = False
        self._waiting: list[tuple[Future[Any], Callable[..., Any], tuple[Any, ...]]] = []

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        self._waiting.append((future, fn, args))
        if not self.holding:
            self.go()
        return future

    def go(self) -> None:
        for future, fn, args in self._waiting:
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(fn(*args))
                except Exception as error:
                    future.set_exception(error)
        self._waiting = []


class Imaging:
    """`pictures`: by URL, a colour or what fetching raises. A picture's bytes are its colour's name. Everything is done
    in the test's own thread.

    `log`: what can be read again of `content`, by partition and offset; or what reading it raises.
    """

    def __init__(self, **settings: Any) -> None:
        self.store = FakeStore()
        ensure_image_vectors(self.store, ColourEncoder.dimension)
        self.pictures: dict[str, str | Exception] = {}
        self.fetched: list[str] = []
        self.decoded: list[bytes] = []
        self.log: dict[tuple[int, int], Record | Exception] = {}
        self.recalled: list[tuple[int, int]] = []
        self.clock, self.pool, self.metrics = Clock(), Held(), Metrics()
        self.settings = ImageSettings(enabled=True, attempts=3, **settings)
        self.embedder = Embedder(self.store, TinyEncoder(), FakeProducer(), Metrics(), self.clock)
        self.start()

    def start(
        self,
        space: str = "colours-1",
        partitions: Sequence[int] = (0,),
        items: str = ITEMS,
        memory: int = 1_000_000,
        uploads: PendingUploads | None = None,
    ) -> None:
        """Another imager, as after a restart. `memory`: for uploaded pictures, in bytes. `uploads`: of one before."""
        self.imager = ImageEmbedder(
            self.store,
            ColourEncoder(space),
            self._fetch,
            self._decode,
            self._find,
            self.pool,
            self.settings,
            self.metrics,
            self.clock,
            items,
            PendingUploads(memory) if uploads is None else uploads,
        )
        self.imager.assigned({TopicPartition("content", partition): 1 for partition in partitions})

    def _fetch(self, url: str) -> bytes:
        self.fetched.append(url)
        found = self.pictures[url]
        if isinstance(found, Exception):
            raise found
        return found.encode()

    def _decode(self, body: bytes) -> Any:
        if body == PROBE_IMAGE:
            return "blue"
        self.decoded.append(body)
        if body.decode() not in COLOURS:
            raise ImageRefused("damaged", "give an image")
        return body.decode()

    def _find(self, topic: str, partition: int, offset: int, log: str) -> Record | None:
        assert (topic, log) == ("content", "log-1")
        self.recalled.append((partition, offset))
        found = self.log.get((partition, offset))
        if isinstance(found, Exception):
            raise found
        return found if found is not None and found.log == log else None

    def put(self, offset: int, url: str | None, item: str = "a", **more: Any) -> Record:
        """Embedded and noted; its image comes with the next tick."""
        said = content(offset, url, item, **more)
        feed(self.embedder, said)
        feed(self.imager, said)
        return said

    def settle(self) -> None:
        """Two ticks: one begins, the next writes."""
        self.imager.tick()
        self.imager.tick()

    def point(self, item: str = "a") -> Point:
        point_id = item_point_id(item)
        return self.store.retrieve(ITEMS, [point_id], vectors=("content", "image"))[point_id]

    def state(self, item: str = "a") -> dict[str, Any]:
        return dict(self.point(item).payload.get("image") or {})


def content(offset: int, url: str | None, item: str = "a", **more: Any) -> Record:
    said = {"item_id": item, "title": f"item {item}", **more, **({"image_url": url} if url else {})}
    return record("content", item, said, offset, at=NOW)
