"""Points of a batch's way at which a worker can be made to die, or to stop: wrappers around its ports, none in the
product.

| point | what is done then |
|---|---|
| claimed | the epoch is committed, nothing is folded |
| before activity | the batch is folded, nothing is sent |
| some activity | half of what must be sent is acknowledged |
| activity acknowledged | all of it is; no profile is written |
| half upserted | half of the profiles of one epoch are written |
| upserted | the profiles of one epoch are written |
| handled | everything is written; nothing is committed |
| committed | the offsets are committed |
| before rows | affinity has learnt from a batch, no row is written |
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tests.support.poison import BREAKS

from eddyline.adapters.kafka import (
    Acknowledgements,
    Message,
    Outgoing,
    Producer,
    Record,
    RecordMetadata,
    TopicPartition,
)
from eddyline.adapters.vectors import Filter, Point, VectorStore
from eddyline.profiler import ParsedEvent, Profiler

POINTS = (
    "claimed",
    "before activity",
    "some activity",
    "activity acknowledged",
    "half upserted",
    "upserted",
    "handled",
    "committed",
    "before rows",
)


class FailPoint:
    """Does `act` when `name` is reached for the `on`th time (from 1); None: never."""

    def __init__(self, name: str | None, on: int, act: Callable[[], None]) -> None:
        assert name is None or name in POINTS, name
        self._name, self._left, self._act = name, on, act

    def due(self, name: str) -> bool:
        """Whether it is this point's turn: then the caller must `fire`."""
        if name != self._name:
            return False
        self._left -= 1
        return self._left == 0

    def fire(self) -> None:
        """Do it."""
        self._act()

    def reach(self, name: str) -> None:
        """Do it if it is due."""
        if self.due(name):
            self.fire()


class FailingProducer:
    """A producer with the points before, amid and after what must be acknowledged; all else is the inner one's."""

    def __init__(self, inner: Producer, point: FailPoint) -> None:
        self._inner, self._point = inner, point

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def begin_all(self, records: Sequence[Outgoing]) -> Acknowledgements:
        self._point.reach("before activity")
        half = len(records) // 2
        if half and self._point.due("some activity"):
            first = self._inner.send_all(records[:half])
            self._point.fire()
            rest = self._inner.begin_all(records[half:])
            return lambda: first + rest()
        acknowledged = self._inner.begin_all(records)

        def wait() -> list[RecordMetadata]:
            sent = acknowledged()
            self._point.reach("activity acknowledged")
            return sent

        return wait


class FailingStore:
    """A store with the points amid and after an upsert; all else is the inner one's."""

    def __init__(self, inner: VectorStore, point: FailPoint) -> None:
        self._inner, self._point = inner, point

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def upsert(
        self,
        collection: str,
        points: Sequence[Point],
        *,
        insert_only: bool = False,
        condition: Filter | None = None,
    ) -> None:
        half = len(points) // 2
        if half and self._point.due("half upserted"):
            self._inner.upsert(collection, points[:half], insert_only=insert_only, condition=condition)
            self._point.fire()
            points = points[half:]
        self._inner.upsert(collection, points, insert_only=insert_only, condition=condition)
        self._point.reach("upserted")


class FailingRowStore:
    """Affinity's store, with the point before an upsert; all else is the inner one's."""

    def __init__(self, inner: VectorStore, point: FailPoint) -> None:
        self._inner, self._point = inner, point

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def upsert(self, collection: str, points: Sequence[Point], **rest: Any) -> None:
        self._point.reach("before rows")
        self._inner.upsert(collection, points, **rest)


class BreakingHandler:
    """A handler that fails by itself at each batch with a record that has the header `BREAKS`."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def handle(self, batch: Sequence[Message[Any]]) -> None:
        if any(name == BREAKS for message in batch for name, _ in message.record.headers):
            raise RuntimeError("a mistake that this record has brought to light")
        self._inner.handle(batch)


class FailingHandler:
    """A profiler with the points after the claim, after a batch, and after its commit."""

    topics = Profiler.topics

    def __init__(self, inner: Any, point: FailPoint) -> None:
        self._inner, self._point = inner, point
        self._handled = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def parse(self, record: Record) -> ParsedEvent:
        self._after_commit()
        parsed: ParsedEvent = self._inner.parse(record)
        return parsed

    def handle(self, batch: Sequence[Message[ParsedEvent]]) -> None:
        self._inner.handle(batch)
        self._point.reach("handled")
        self._handled = True

    def assigned(self, epochs: Mapping[TopicPartition, int]) -> None:
        self._inner.assigned(epochs)
        self._point.reach("claimed")

    def tick(self) -> None:
        self._after_commit()
        self._inner.tick()

    def _after_commit(self) -> None:
        """The loop ticks, and reads more, when it has committed what was handled."""
        if self._handled:
            self._handled = False
            self._point.reach("committed")
