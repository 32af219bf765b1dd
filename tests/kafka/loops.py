"""Handlers and running loops for the tests of the consume loop, and the two Kafkas that they run on."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol

from tests.kafka.scripted import ScriptedKafka
from tests.support.kafka import KafkaForTest, wait_until

from eddyline.adapters.kafka import (
    ConsumeLoop,
    DeadLetterWriter,
    Handler,
    KafkaOptions,
    LoopOptions,
    Message,
    Outgoing,
    Record,
    RecordMetadata,
    TopicPartition,
)
from eddyline.errors import InvalidEvent, Unavailable

QUICK = LoopOptions(backoff_initial=0.02, backoff_cap=0.1, tick_seconds=0.05, request_seconds=3.0)


class RecordingHandler:
    """A handler that records what it is told; `failing` may raise in `handle`."""

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


class Outage(RecordingHandler):
    """A handler whose store is down until `is_over`; `tried` holds the values of each attempt."""

    def __init__(self) -> None:
        super().__init__(self._try)
        self.tried: list[list[str]] = []
        self.is_over = False

    def _try(self, batch: Sequence[Message[str]]) -> None:
        self.tried.append([message.value for message in batch])
        if not self.is_over:
            raise Unavailable("Qdrant doesn't answer")


class RecordingDeadLetters:
    """Dead letters kept in memory."""

    def __init__(self) -> None:
        self.letters: list[tuple[Record, str, str, int]] = []

    def put(self, record: Record, reason: str, detail: str, attempt: int = 1) -> None:
        self.letters.append((record, reason, detail, attempt))

    def put_all(self, records: Sequence[tuple[Record, str, str]]) -> None:
        for letter in records:
            self.put(*letter)


class Running:
    """A loop on a thread of its own."""

    def __init__(self, loop: ConsumeLoop[str], scripted: ScriptedKafka | None = None) -> None:
        self.loop = loop
        self.error: BaseException | None = None
        self._turns = None if scripted is None else scripted.turns
        if self._turns is None:
            self._thread = threading.Thread(target=self._run, daemon=True)
            self._thread.start()
        else:
            self._thread = self._turns.start(self._run)

    def _run(self) -> None:
        try:
            self.loop.run()
        except BaseException as error:
            self.error = error

    def ended(self, seconds: float = 30.0) -> BaseException | None:
        """Wait for its end; what it raised."""
        if self._turns is not None:
            self._turns.give_until_ended(self._thread)
        self._thread.join(seconds)
        assert not self._thread.is_alive(), "the loop goes on"
        return self.error

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()


def a_loop(
    kafka: KafkaForTest,
    handler: RecordingHandler,
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
        dead_letters or RecordingDeadLetters(),
        **rest,
    )


@contextmanager
def running(loop: ConsumeLoop[str], scripted: ScriptedKafka | None = None) -> Iterator[Running]:
    """Runs while the block does, then stops, and raises what `run` did."""
    it = Running(loop, scripted)
    try:
        yield it
    finally:
        loop.stop()
        error = it.ended()
    if error is not None:
        raise error


class Backend(Protocol):
    """A Kafka on which a test of the loop runs: a live one or the scripted one, by the same test body."""

    def send(self, records: Sequence[Outgoing]) -> list[RecordMetadata]:
        """Append records to their partitions."""

    def log_identity(self, topic: str) -> str:
        """The identity of a topic's log."""

    def loop(self, handler: RecordingHandler, **rest: Any) -> ConsumeLoop[str]:
        """See `a_loop`."""

    def running(self, loop: ConsumeLoop[str]) -> AbstractContextManager[Running]:
        """See `running`."""

    def wait_until(self, condition: Callable[[], object], what: str, seconds: float = 20.0) -> None:
        """Return as soon as `condition` holds; fail the test when it doesn't in time."""


class LiveBackend:
    """Apache Kafka, or librdkafka's in-process broker."""

    def __init__(self, kafka: KafkaForTest) -> None:
        self.kafka = kafka

    def send(self, records: Sequence[Outgoing]) -> list[RecordMetadata]:
        return self.kafka.producer().send_all(records)

    def log_identity(self, topic: str) -> str:
        return self.kafka.log_identity(topic)

    def loop(self, handler: RecordingHandler, **rest: Any) -> ConsumeLoop[str]:
        return a_loop(self.kafka, handler, **rest)

    def running(self, loop: ConsumeLoop[str]) -> AbstractContextManager[Running]:
        return running(loop)

    def wait_until(self, condition: Callable[[], object], what: str, seconds: float = 20.0) -> None:
        wait_until(condition, what, seconds)


class ScriptedBackend:
    """The scripted Kafka, whose clock the loops go by."""

    def __init__(self) -> None:
        self.kafka = ScriptedKafka()

    def send(self, records: Sequence[Outgoing]) -> list[RecordMetadata]:
        return self.kafka.send(records)

    def log_identity(self, topic: str) -> str:
        return self.kafka.log_identity(topic)

    def loop(
        self,
        handler: Handler[Any],
        *,
        group: str = "readers",
        dead_letters: DeadLetterWriter | None = None,
        settings: LoopOptions = QUICK,
        **rest: Any,
    ) -> ConsumeLoop[Any]:
        times = {"clock": self.kafka.clock, "monotonic": self.kafka.monotonic, "jitter": lambda: 0.5}
        return ConsumeLoop(
            KafkaOptions(""),
            settings,
            group,
            ("interactions",),
            handler,
            dead_letters or RecordingDeadLetters(),
            join=self.kafka.join,
            **times | rest,
        )

    def running(self, loop: ConsumeLoop[str]) -> AbstractContextManager[Running]:
        return running(loop, self.kafka)

    def start(self, loop: ConsumeLoop[str]) -> Running:
        return Running(loop, self.kafka)

    def run_until(self, loop: ConsumeLoop[str], condition: Callable[[], object]) -> None:
        """Run the loop on this thread, and stop it at the first poll at which `condition` holds."""
        self.kafka.at_poll = lambda: loop.stop() if condition() else None
        loop.run()
        self.kafka.at_poll = None

    def wait_until(self, condition: Callable[[], object], what: str, seconds: float = 20.0) -> None:
        """As the live one, by the script's clock."""
        deadline = self.kafka.now + seconds
        while not condition():
            assert self.kafka.now < deadline, f"{what}: not within {seconds} s"
            assert self.kafka.turns.give(), f"{what}: no loop runs any more"


def joined(
    loop: ConsumeLoop[str], partitions: int = 4, wait: Callable[[Callable[[], object], str], None] = wait_until
) -> None:
    wait(lambda: len(loop.status().assigned) == partitions, f"{partitions} partitions are assigned")


def numbered(count: int, topic: str = "interactions", start: int = 0) -> list[Outgoing]:
    return [Outgoing(topic, f"u:{n % 17}".encode(), f"{n}".encode()) for n in range(start, start + count)]
