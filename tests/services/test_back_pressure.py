"""What a collector does when the broker is slower than the intake: it holds a bounded part, and refuses the rest."""

from __future__ import annotations

import socket
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import httpx
import orjson
import pytest
from structlog.testing import capture_logs
from tests.kafka.loops import QUICK, RecordingDeadLetters, RecordingHandler, a_loop, running
from tests.services.profiling import Profiling
from tests.services.serving import problem, served
from tests.support.fakes import FakeProducer
from tests.support.kafka import KafkaForTest, wait_until

from eddyline.adapters.kafka import (
    Acknowledgements,
    ConsumeLoop,
    EmbeddedBroker,
    KafkaProducer,
    Outgoing,
    Producer,
    RecordMetadata,
)
from eddyline.adapters.telemetry import Metrics
from eddyline.collector.api import Collector
from eddyline.errors import Unavailable
from eddyline.settings import EventSettings, ServerSettings

LIMIT, BODY = 300_000, 100_000


class Holding:
    """A producer whose records are in the log at once, and whose acknowledgements are held back until `release`."""

    def __init__(self, producer: Producer) -> None:
        self._producer, self._lock = producer, threading.Lock()
        self._held: list[tuple[Future[RecordMetadata], Future[RecordMetadata]]] = []
        self._holds = True

    def send(self, record: Outgoing) -> Future[RecordMetadata]:
        sent, answer = self._producer.send(record), Future[RecordMetadata]()
        with self._lock:
            if not self._holds:
                return sent
            self._held.append((sent, answer))
        return answer

    @property
    def held(self) -> int:
        return len(self._held)

    def release(self) -> None:
        with self._lock:
            self._holds = False
        for sent, answer in self._held:
            answer.set_result(sent.result(10))
        self._held.clear()

    def send_all(self, records: Sequence[Outgoing]) -> list[RecordMetadata]:
        return self.begin_all(records)()

    def begin_all(self, records: Sequence[Outgoing]) -> Acknowledgements:
        sent = [self.send(record) for record in records]
        return lambda: [each.result() for each in sent]

    def check(self) -> None: ...

    def close(self) -> None: ...


class Intake:
    """A collector with little room, what it wrote to, and its clients."""

    def __init__(self, client: httpx.Client, metrics: Metrics) -> None:
        self.client, self.metrics = client, metrics

    def post(self, *events: dict[str, Any], key: str | None = None) -> httpx.Response:
        headers = {} if key is None else {"idempotency-key": key}
        return self.client.post("/v1/events", content=orjson.dumps({"events": events}), headers=headers)

    @property
    def in_flight(self) -> int:
        return int(self.metrics.registry.get_sample_value("eddyline_collector_in_flight_bytes") or 0)

    @property
    def unfinished(self) -> int:
        return int(self.metrics.registry.get_sample_value("eddyline_http_unfinished_bytes") or 0)


@contextmanager
def intake(producer: Producer, limit: int = LIMIT, body: int = BODY) -> Iterator[Intake]:
    metrics = Metrics()
    server = ServerSettings(max_in_flight_bytes=limit, max_body_bytes=body)
    router = Collector(producer, EventSettings(), server, metrics).router()
    with served(router, metrics=metrics, settings=server) as client:
        yield Intake(client, metrics)


@pytest.fixture
def broker() -> Iterator[EmbeddedBroker]:
    it = EmbeddedBroker()
    yield it
    it.close()


@pytest.fixture
def producer(broker: EmbeddedBroker) -> Iterator[KafkaProducer]:
    it = KafkaProducer(broker.options)
    yield it
    it.close()


def click(user: str, item: str, **more: Any) -> dict[str, Any]:
    return {"type": "click", "item_id": item, "user_id": user, **more}


def test_beyond_its_bound_it_refuses_and_what_it_acknowledged_is_there_once(
    broker: EmbeddedBroker, producer: KafkaProducer
) -> None:
    holding = Holding(producer)
    batches = [[click(f"p{n}", "a", event_id=f"e{n}-{m}") for m in range(50)] for n in range(30)]
    with intake(holding) as it, ThreadPoolExecutor(len(batches)) as clients:
        answers = [clients.submit(it.post, *batch) for batch in batches]
        wait_until(lambda: sum(a.done() for a in answers) + holding.held // 50 == 30, "each is held or refused")
        refused = [batch for batch, answer in zip(batches, answers, strict=True) if answer.done()]
        assert LIMIT * 0.8 < it.in_flight <= LIMIT, "it is full, and not over-full"
        assert 0 < holding.held // 50 < 30
        for answer in (answer.result() for answer in answers if answer.done()):
            said = problem(answer, 503)
            assert answer.headers["retry-after"] == "1"
            assert (said["accepted"], said["acknowledged"]) == (0, [])
            assert "server.max_in_flight_bytes" in said["detail"]
        holding.release()
        taken = [answer.result() for answer in answers if answer.result().status_code == 202]
        assert len(taken) + len(refused) == 30
        assert it.in_flight == 0
        again = [it.post(*batch) for batch in refused]
        assert {answer.status_code for answer in again} == {202}, "there is room again"
    acknowledged = Counter(name for answer in (*taken, *again) for name in answer.json()["ids"])
    sent = {event["event_id"] for batch in batches for event in batch}
    assert acknowledged == Counter(dict.fromkeys(sent, 1))
    log = RecordingHandler()
    with running(a_loop(KafkaForTest("in-process", broker.options), log)):
        wait_until(lambda: len(log.handled) >= len(sent), "all are read")
    assert Counter(orjson.loads(value)["event_id"] for value in log.values) == acknowledged


def test_a_client_that_sends_again_after_a_refusal_counts_once(broker: EmbeddedBroker, producer: KafkaProducer) -> None:
    """With its own event ids or under an Idempotency-Key, whether the first try was refused or only its answer late."""
    holding, profiling = Holding(producer), Profiling(partitions=4)
    profiling.add_items(*(f"i{n}" for n in range(40)))
    own = [click("own", f"i{n}", event_id=f"e{n}") for n in range(40)]
    derived = [click("derived", f"i{n}") for n in range(40)]
    loop: ConsumeLoop[Any] = ConsumeLoop(
        broker.options,
        QUICK,
        "profiler",
        ("interactions",),
        profiling.profiler,
        RecordingDeadLetters(),
    )
    with intake(holding) as it, ThreadPoolExecutor(50) as clients, running(loop):
        first = [clients.submit(it.post, *own), clients.submit(it.post, *derived, key="k1")]
        wait_until(lambda: holding.held == 80, "their answers are late")
        others = [clients.submit(it.post, *[click("other", "i1")] * 20) for _ in range(48)]
        wait_until(lambda: any(answer.done() for answer in others), "it is full")
        assert {it.post(*own).status_code, it.post(*derived, key="k1").status_code} == {503}
        holding.release()
        assert {answer.result().status_code for answer in first} == {202}
        assert {it.post(*own).status_code, it.post(*derived, key="k1").status_code} == {202}
        wait_until(
            lambda: profiling.metric("eddyline_profiler_repeated_total", by="event_id") == 80, "the repeats are seen"
        )
    assert (profiling.stored("u:own").events, profiling.stored("u:derived").events) == (40, 40)


def test_bodies_that_are_not_whole_take_no_room_from_others(producer: KafkaProducer) -> None:
    with capture_logs() as logged, intake(producer, limit=BODY) as it:
        with socket.create_connection((it.client.base_url.host, it.client.base_url.port or 0), timeout=10) as slow:
            head = f"POST /v1/events HTTP/1.1\r\nHost: x\r\nContent-Length: {BODY}\r\n\r\n"
            slow.sendall(head.encode() + b'{"type": "' + b"x" * (BODY - 1_000))
            wait_until(lambda: it.unfinished >= BODY - 1_000, "most of it is read")
            assert it.in_flight == 0
            assert it.post(*[click("ada", "i1")] * 30).status_code == 202
        wait_until(lambda: it.unfinished == 0, "the client is gone, and so is what it sent")
    assert logged == [], "a client that goes away is no fault of ours"


def test_what_the_broker_did_not_take_is_given_up(producer: KafkaProducer) -> None:
    fake = FakeProducer()
    with intake(fake) as it:
        fake.delivery = Unavailable("no broker")
        assert it.post(click("ada", "i1")).status_code == 503
        fake.delivery, fake.refuse = None, Unavailable("the producer is closed")
        assert it.post(click("ada", "i1")).status_code == 503
        assert it.in_flight == 0


def test_a_batch_that_comes_alone_is_taken_whatever_its_records_need() -> None:
    with intake(FakeProducer(), limit=2_000, body=2_000) as it:
        answer = it.post(*[click("ada", "i1")] * 20)
        assert (answer.status_code, answer.json()["accepted"]) == (202, 20)
