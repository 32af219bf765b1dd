"""Sends a stream to Kafka as applications would, and puts the late items; remembers what it did."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from confluent_kafka import Producer
from tests.chaos.stream import SIGNER, Event, Put, Stream

from eddyline.adapters.kafka import Headers, KafkaOptions, LogReader, Record
from eddyline.errors import Unavailable
from eddyline.model.events import Erased, RecordOrigin, cloud_event_headers
from eddyline.model.forwarding import ORIGIN

NUMBER = "chaos-number"
"""The header that says which event a record is."""
TOPIC = "interactions"
BROKER_SECONDS = 120.0
"""How long a record may take to be acknowledged: a broker may be restarting."""


@dataclass(frozen=True)
class Size:
    """How long a scenario runs (`seconds`), at how many events a second."""

    seconds: float
    rate: float


class Load:
    """A running stream until `stop`; for the first half of its time there are items that come late, or never."""

    def __init__(self, options: KafkaOptions, stream: Stream, size: Size, put: Callable[[str], None]) -> None:
        """`put` has an item put into the store; `Unavailable` is tried again."""
        self._options, self._stream, self._size, self._put = options, stream, size, put
        self._producer = Producer(
            {
                "bootstrap.servers": options.bootstrap_servers,
                "enable.idempotence": True,
                "max.in.flight.requests.per.connection": 1,  # else it may take for written what was refused
                "partitioner": "murmur2_random",
                "linger.ms": 1,
                "delivery.timeout.ms": int(BROKER_SECONDS * 1000),
                "reconnect.backoff.max.ms": 500,
                "log_level": 0,
            }
        )
        self.events: list[Event] = []
        self.put_at: dict[str, float] = {}
        self._wanted: queue.Queue[str | None] = queue.Queue()
        self._ending = threading.Event()
        self._newest = 0.0  # arrival
        self._failure: BaseException | None = None
        self._threads = [threading.Thread(target=self._guarded, args=(work,)) for work in (self._send, self._put_late)]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Send what is still to come, and wait until all is acknowledged."""
        self.abandon()
        if self._failure is not None:
            raise self._failure

    def abandon(self) -> None:
        """Stop, whatever is left."""
        self._ending.set()
        for thread in self._threads:
            thread.join()

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:
            self._failure = self._failure or error
            self._ending.set()

    # -- sending ------------------------------------------------------------------------------------------------

    def _send(self) -> None:
        began = time.monotonic()
        try:
            while not self._ending.wait(max(0.0, began + len(self.events) / self._size.rate - time.monotonic())):
                is_early = time.monotonic() < began + self._size.seconds / 2
                self._do(self._stream.step(time.time(), unknown_items=is_early))
            self._do(self._stream.finish())
            self._flush()
        finally:
            self._wanted.put(None)

    def _do(self, actions: Iterator[Event | Put]) -> None:
        for action in actions:
            if isinstance(action, Put):
                self._wanted.put(action.item)
                continue
            headers: Headers = ((NUMBER, str(action.number).encode()),)
            if action.kind == "erased":
                headers += self._erase(action)
            headers = SIGNER.signed(action.key.encode(), action.value, headers)
            action.sent = time.time()
            self.events.append(action)
            self._producer.produce(
                self._options.prefix + TOPIC,
                key=action.key.encode(),
                value=action.value,
                headers=list(headers),
                partition=-1 if action.partition is None else action.partition,
                on_delivery=partial(self._delivered, action),
            )
            self._producer.poll(0)

    def _erase(self, event: Event) -> Headers:
        """As the embedder tells of a tombstone: all before it is in the log, and happened before it."""
        self._flush()
        at = round(max(time.time(), self._newest), 3)
        origin = RecordOrigin(log="users", partition=0, offset=event.number)
        erased = Erased(user_id=event.key.removeprefix("u:"), timestamp=at, origin=origin)
        event.timestamp, event.value = at, erased.to_bytes()
        return cloud_event_headers(erased, f"users:0:{event.number}", "embedder")

    def _flush(self) -> None:
        assert self._producer.flush(BROKER_SECONDS) == 0, "Kafka acknowledged not all of the events"

    def _delivered(self, event: Event, error: object, message: Any) -> None:
        if error is not None:
            self._failure = self._failure or AssertionError(f"an event was not taken: {error}")
            self._ending.set()
        else:
            event.partition, event.offset, event.arrived = (
                message.partition(),
                message.offset(),
                message.timestamp()[1] / 1000,
            )
            self._newest = max(self._newest, event.arrived)

    # -- late items ---------------------------------------------------------------------------------------------

    def _put_late(self) -> None:
        while (item := self._wanted.get()) is not None:
            self._insist(item)
            self.put_at[item] = time.time()

    def _insist(self, item: str) -> None:
        while True:
            try:
                self._put(item)
                return
            except Unavailable:
                time.sleep(0.02)


def read(log: LogReader, topic: str) -> Iterator[Record]:
    """Everything in a topic."""
    for partition, (low, high) in log.bounds(topic).items():
        yield from log.read(topic, partition, low, high)


def locate(log: LogReader, events: Sequence[Event]) -> None:
    """Note where each event is, and when it got there: from the log, since a repeated request's isn't reported."""
    sent = {event.number: event for event in events}
    for record in read(log, TOPIC):
        headers = dict(record.headers)
        if ORIGIN in headers or NUMBER not in headers:
            continue  # a profiler's: passed on with the headers of the original, or an erasure of an anonymous id
        event = sent.pop(int(headers[NUMBER]))
        assert event.partition in (None, record.partition)
        event.partition, event.offset, event.arrived = record.partition, record.offset, record.timestamp / 1000
    assert not sent, f"acknowledged, and not in the log: {list(sent.values())[:10]}"
