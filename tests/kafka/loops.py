"""Handlers and running loops for the tests of the consume loop."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from tests.support.kafka import KafkaForTest, wait_until

from eddyline.adapters.kafka import (
    ConsumeLoop,
    DeadLetterWriter,
    LoopOptions,
    Message,
    Outgoing,
    Record,
    TopicPartition,
)
from eddyline.errors import InvalidEvent

QUICK = LoopOptions(backoff_initial=0.02, backoff_cap=0.1, tick_seconds=0.05, request_seconds=3.0)


class Noting:
    """A handler that notes what it is told; `failing` may raise in `handle`."""

    def __init__(self, failing: Callable[[Sequence[Message[str]]], None] = lambda batch: None) -> None:
        self.handled: list[Record] = []
        self.batches: list[tuple[Record, ...]] = []
        self.epochs: list[dict[TopicPartition, int]] = []
        self.gone: list[TopicPartition] = []
        self.ticks = 0
        self.failing = failing

    def parse(self, record: Record) -> str:
        if record.value == b"poison":
            raise InvalidEvent("can't be read", field="value")
        return (record.value or b"").decode()

    def handle(self, batch: Sequence[Message[str]]) -> None:
        self.failing(batch)
        records = tuple(message.record for message in batch)
        self.batches.append(records)
        self.handled += records

    def assigned(self, epochs: Mapping[TopicPartition, int]) -> None:
        self.epochs.append(dict(epochs))

    def revoked(self, partitions: Iterable[TopicPartition]) -> None:
        self.gone += partitions

    def tick(self) -> None:
        self.ticks += 1

    @property
    def values(self) -> list[str]:
        return [(record.value or b"").decode() for record in self.handled]

    @property
    def owned(self) -> set[TopicPartition]:
        return {source for epochs in self.epochs for source in epochs} - set(self.gone)


class Buried:
    """Dead letters kept in memory."""

    def __init__(self) -> None:
        self.letters: list[tuple[Record, str, str, int]] = []

    def put(self, record: Record, reason: str, detail: str, attempt: int = 1) -> None:
        self.letters.append((record, reason, detail, attempt))


class Running:
    """A loop on a thread of its own."""

    def __init__(self, loop: ConsumeLoop[str]) -> None:
        self.loop = loop
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self.loop.run()
        except BaseException as error:
            self.error = error

    def ended(self, seconds: float = 30.0) -> BaseException | None:
        """Wait for its end; what it raised."""
        self._thread.join(seconds)
        assert not self._thread.is_alive(), "the loop goes on"
        return self.error

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()


def a_loop(
    kafka: KafkaForTest,
    handler: Noting,
    *,
    group: str = "readers",
    topics: Sequence[str] = ("interactions",),
    dead_letters: DeadLetterWriter | None = None,
    settings: LoopOptions = QUICK,
    **rest: Any,
) -> ConsumeLoop[str]:
    return ConsumeLoop(
        rest.pop("options", kafka.options),
        settings,
        group,
        topics,
        handler,
        dead_letters or Buried(),
        guard=kafka.guard,
        **rest,
    )


@contextmanager
def running(loop: ConsumeLoop[str]) -> Iterator[Running]:
    """Runs while the block does, then stops, and raises what `run` did."""
    it = Running(loop)
    try:
        yield it
    finally:
        loop.stop()
        error = it.ended()
    if error is not None:
        raise error


def joined(loop: ConsumeLoop[str], partitions: int = 4) -> None:
    wait_until(lambda: len(loop.status().assigned) == partitions, f"{partitions} partitions are assigned")


def numbered(count: int, topic: str = "interactions", start: int = 0) -> list[Outgoing]:
    return [Outgoing(topic, f"u:{n % 17}".encode(), f"{n}".encode()) for n in range(start, start + count)]
