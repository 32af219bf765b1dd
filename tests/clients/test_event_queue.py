"""Events in the background: sent at once and in batches, again with the same ids, and at the end of the program."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from typing import Any

import httpx
import orjson
import pytest
from tests.services.serving import served
from tests.support.fakes import FakeProducer
from tests.support.system import wait_until

from eddyline.adapters.telemetry import Metrics
from eddyline.clients import AsyncClient, Client
from eddyline.clients.event_queue import EventQueue
from eddyline.clients.requests import Fields
from eddyline.clients.responses import Rejections
from eddyline.clients.retries import Retries
from eddyline.collector.api import Collector
from eddyline.errors import EddylineError, Overloaded, Unavailable
from eddyline.settings import EventSettings, ServerSettings

CLICK = {"type": "click", "item_id": "i1", "user_id": "ada"}


class Api:
    """A transport that keeps the events it gets, and answers as it is told."""

    def __init__(self) -> None:
        self.batches: list[list[dict[str, Any]]] = []
        self.answers: list[httpx.Response | Exception] = []
        self.is_open = threading.Event()
        self.is_open.set()

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.is_open.wait(10)
        self.batches.append(orjson.loads(request.content)["events"])
        answer = self.answers.pop(0) if self.answers else httpx.Response(202, json={"accepted": 1, "rejected": []})
        if isinstance(answer, Exception):
            raise answer
        return answer

    def client(self, **options: Any) -> Client:
        return Client("http://eddyline.test", transport=httpx.MockTransport(self), **options)


def test_an_event_is_sent_at_once_with_an_id_and_its_time() -> None:
    api = Api()
    with api.client() as client:
        event_id = client.track(CLICK)
        assert client.flush(10)
    ((sent,),) = api.batches
    assert sent == {**CLICK, "event_id": event_id, "timestamp": sent["timestamp"]}
    assert sent["timestamp"] > 1.7e9


def test_what_comes_while_a_batch_is_under_way_goes_together_in_the_order_in_which_it_came() -> None:
    api = Api()
    api.is_open.clear()
    with api.client() as client:
        ids = [client.track({**CLICK, "item_id": f"i{number}"}) for number in range(1200)]
        api.is_open.set()
        assert client.flush(10)
    assert [one["event_id"] for batch in api.batches for one in batch] == ids
    assert len(api.batches) <= 5
    assert max(map(len, api.batches)) == 500


def test_it_is_sent_again_with_the_same_id_until_somebody_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eddyline.clients.event_queue.PAUSES", (0.001,))
    api = Api()
    api.answers = [httpx.ConnectError("gone"), httpx.Response(503, headers={"Retry-After": "0"}), httpx.Response(502)]
    with api.client() as client:
        event_id = client.track(CLICK)
        assert client.flush(10)
    assert [batch[0]["event_id"] for batch in api.batches] == [event_id] * 4


def test_what_is_refused_for_good_is_told_and_the_rest_goes_on() -> None:
    api, refused = Api(), list[tuple[Fields, EddylineError]]()
    rejected = {"index": 0, "field": "type", "reason": "unknown type"}
    api.answers = [httpx.Response(422, json={"rejected": [rejected]}), httpx.Response(401), httpx.Response(500)]
    with api.client(on_refused=lambda *one: refused.append(one)) as client:
        for _ in range(4):
            client.track(CLICK)
            assert client.flush(10)
    assert [str(error).split(" (")[0] for _, error in refused] == [
        "type: unknown type",
        "http://eddyline.test/v1/events answered 401",
        "http://eddyline.test/v1/events answered 500",
    ]
    assert len(api.batches) == 4


def test_what_json_has_no_place_for_is_refused_at_once_and_spoils_nothing() -> None:
    api = Api()
    with api.client() as client:
        with pytest.raises(TypeError):
            client.track({**CLICK, "context": {"when": object()}})
        client.track(CLICK)
        assert client.flush(10)
    assert [len(batch) for batch in api.batches] == [1]


def test_a_callback_that_fails_stops_nothing(caplog: pytest.LogCaptureFixture) -> None:
    def fail(_event: Fields, _error: EddylineError) -> None:
        raise ValueError("oops")

    api = Api()
    api.answers = [httpx.Response(401)]
    with api.client(on_refused=fail) as client:
        client.track(CLICK)
        assert client.flush(10)
        client.track(CLICK)
        assert client.flush(10)
    assert len(api.batches) == 2
    assert "nobody was told of a refused event" in caplog.text


def queue(send: Callable[..., Rejections], **options: Any) -> EventQueue:
    return EventQueue(send, **options)


def test_when_too_many_wait_it_says_so_and_after_the_end_too() -> None:
    go, begun = threading.Event(), threading.Event()

    def send(events: Sequence[Fields], _retries: Retries, _sleep: Callable[[float], object]) -> Rejections:
        begun.set()
        go.wait(10)
        return {}

    it = queue(send, max_pending=3)
    it.put(CLICK)
    assert begun.wait(10)
    for _ in range(3):
        it.put(CLICK)
    with pytest.raises(Overloaded):
        it.put(CLICK)
    assert not it.flush(0)
    go.set()
    assert it.flush(10)
    assert it.close() == 0
    with pytest.raises(Overloaded):
        it.put(CLICK)


def test_the_end_does_not_wait_for_ever_and_counts_what_is_lost() -> None:
    def send(events: Sequence[Fields], retries: Retries, sleep: Callable[[float], object]) -> Rejections:
        sleep(3600)
        raise AssertionError("it went on")

    it = queue(send)
    it.put(CLICK)
    it.put(CLICK)
    assert it.close(0.01) == 2


def test_nothing_is_started_for_who_tracks_nothing() -> None:
    before = {thread.ident for thread in threading.enumerate() if thread.name == "eddyline-events"}
    with Client("http://eddyline.test"):
        after = {thread.ident for thread in threading.enumerate() if thread.name == "eddyline-events"}
    assert after <= before


@pytest.mark.process
@pytest.mark.slow(15)
def test_the_end_of_the_program_sends_what_is_left() -> None:
    producer = FakeProducer()
    collector = Collector(producer, EventSettings(), ServerSettings(), Metrics())
    with served(collector.router()) as api:
        program = (
            "from eddyline.clients import Client\n"
            f"client = Client({str(api.base_url)!r})\n"
            "for number in range(3):\n"
            "    client.track({'type': 'click', 'user_id': 'ada', 'item_id': f'i{number}'})\n"
        )
        ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stderr == ""
    assert [one["item_id"] for one in producer.values("interactions")] == ["i0", "i1", "i2"]


def test_the_asynchronous_client_tracks_without_waiting() -> None:
    producer = FakeProducer()
    collector = Collector(producer, EventSettings(), ServerSettings(), Metrics())

    async def visit(url: str) -> None:
        async with AsyncClient(url) as client:
            client.track(CLICK)
            assert await client.flush(10)
            client.track(CLICK)

    with served(collector.router()) as api:
        asyncio.run(visit(str(api.base_url)))
    assert len(producer.values("interactions")) == 2


def test_an_unanswered_batch_ends_with_the_client() -> None:
    api = Api()
    api.answers = [httpx.ConnectError("gone")] * 100
    client = api.client()
    client.track(CLICK)
    wait_until(lambda: api.batches, "the first attempt")
    assert client._queue.close(0.01) == 1
    with pytest.raises(Overloaded):
        client.track(CLICK)
    client.close()
    assert not isinstance(api.answers[0], Unavailable)
