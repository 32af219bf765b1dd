"""The HTTP door itself: what a declared route reads of a request, how it is counted, and where it runs."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from typing import Annotated, Any

import httpx
import pytest
from fastapi import APIRouter, Header, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field
from structlog.testing import capture_logs
from tests.services.serving import problem, served

from eddyline.adapters.http import WorkerThreads, create_app, json_response, open_to
from eddyline.adapters.kafka import RecordMetadata
from eddyline.adapters.telemetry import Metrics
from eddyline.collector.acknowledgements import Acknowledgements
from eddyline.errors import NotFound, Unavailable


class Wanted(BaseModel):
    model_config = ConfigDict(extra="forbid")

    limit: Annotated[int, Field(ge=1)] = 10
    tag: list[str] = []
    hide: list[str] | None = None
    since: Annotated[str, Field(alias="from")] = "ever"


def router() -> APIRouter:
    routes = APIRouter(tags=["testing"])

    @routes.get("/things/{thing_id}/parts", openapi_extra=open_to())
    async def parts(
        request: Request,
        thing_id: str,
        query: Annotated[Wanted, Query()],
        key: Annotated[str | None, Header(max_length=5)] = None,
        own_name: Annotated[str, Header(alias="X-Name")] = "none",
    ) -> Response:
        said = {"method": request.method, "thing": thing_id, "key": key, "name": own_name}
        return json_response(said | query.model_dump())

    @routes.get("/fail/{how}", openapi_extra=open_to())
    async def fail(how: str) -> Response:
        raise {"gone": NotFound("it is gone"), "down": Unavailable("no store")}.get(how, ZeroDivisionError("a secret"))

    return routes


METRICS = Metrics()


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    with served(router(), metrics=METRICS) as client:
        yield client


def counted(**labels: str) -> float:
    return METRICS.registry.get_sample_value("eddyline_http_requests_total", {"key": "", **labels}) or 0.0


# -- parameters --------------------------------------------------------------------------------------------------------


def test_a_handler_gets_what_its_signature_names(client: httpx.Client) -> None:
    answer = client.get("/things/a%2Fb/parts?tag=x&limit=3&tag=&from=now", headers={"key": "k1", "x-name": "ada"})
    assert answer.json() == {
        "method": "GET",
        "thing": "a%2Fb",
        "key": "k1",
        "name": "ada",
        "limit": 3,
        "tag": ["x", ""],
        "hide": None,
        "since": "now",
    }


def test_what_is_left_out_has_its_default(client: httpx.Client) -> None:
    said = client.get("/things/a/parts?limit=2&hide=").json()
    assert (said["limit"], said["tag"], said["hide"], said["since"]) == (2, [], [""], "ever")
    assert (said["key"], said["name"]) == (None, "none")


@pytest.mark.parametrize(
    ("query", "headers", "field", "reason"),
    [
        ("limit=0", {}, "limit", "greater than or equal to 1 (it is '0')"),
        ("limit=", {}, "limit", "integer"),
        ("since=now", {}, "since", "there is no such field"),
        ("colour=red", {}, "colour", "there is no such field"),
        ("limit=1&limit=2", {}, "limit", "is given twice"),
        ("from=a&tag=b&from=a", {}, "from", "is given twice"),
        ("colour=red&colour=blue", {}, "colour", "is given twice"),
        ("", {"key": "123456"}, "key", "at most 5 characters"),
        ("limit=0", {"key": "123456"}, "limit", "1"),
    ],
)
def test_a_wrong_parameter_is_refused_by_its_name(
    client: httpx.Client, query: str, headers: dict[str, str], field: str, reason: str
) -> None:
    said = problem(client.get(f"/things/a/parts?{query}", headers=headers), 422)
    assert said["field"] == field
    assert said["detail"].startswith(f"{field}: ")
    assert reason in said["detail"]


def test_an_error_quotes_no_more_than_some_hundred_characters(client: httpx.Client) -> None:
    for path in (f"/things/a/parts?{'x' * 20_000}=1", f"/things/a/parts?limit={'9' * 20_000}", "/" + "x" * 20_000):
        assert len(client.get(path).text) < 1500


def test_a_parameter_from_nowhere_is_noticed_when_the_application_is_built() -> None:
    routes = APIRouter()

    @routes.get("/things", openapi_extra=open_to())
    async def things(_limit: int = 10) -> Response:
        return json_response([])

    with pytest.raises(TypeError, match="_limit"):
        create_app([routes], {}, Metrics())


def test_a_route_that_does_not_say_who_may_call_it_is_noticed_when_the_application_is_built() -> None:
    routes = APIRouter()

    @routes.get("/things")
    async def things() -> Response:
        return json_response([])

    with pytest.raises(TypeError, match="/things: nothing says who may call it"):
        create_app([routes], {}, Metrics())


# -- errors and metrics ------------------------------------------------------------------------------------------------


def test_requests_are_counted_by_the_template_of_their_route_and_their_status(client: httpx.Client) -> None:
    for thing in "abc":
        client.get(f"/things/{thing}/parts")
    client.get("/things/a/parts?limit=0")
    client.get("/things")
    assert counted(method="GET", route="/things/{thing_id}/parts", status="200") >= 3
    assert counted(method="GET", route="/things/{thing_id}/parts", status="422") >= 1
    assert counted(method="GET", route="other", status="404") >= 1


def test_every_error_is_a_problem_and_a_fault_is_logged_and_shown_to_nobody(client: httpx.Client) -> None:
    with capture_logs() as logged:
        assert problem(client.get("/fail/gone"), 404)["detail"] == "it is gone"
        down = client.get("/fail/down")
        assert (problem(down, 503)["detail"], down.headers["retry-after"]) == ("no store", "1")
        assert logged == []
        assert "secret" not in str(problem(client.get("/fail/otherwise"), 500))
    assert [(line["event"], line["path"]) for line in logged] == [("request failed", "/fail/otherwise")]
    assert counted(method="GET", route="/fail/{how}", status="500") == 1
    assert problem(client.post("/fail/gone"), 405)["detail"] == "/fail/gone doesn't take POST"
    assert client.post("/fail/gone").headers["allow"] == "GET"


# -- threads -----------------------------------------------------------------------------------------------------------


def test_a_call_in_a_thread_returns_or_raises_what_it_does() -> None:
    threads = WorkerThreads("testing", 2)

    def fail() -> None:
        raise NotFound("it is gone")

    async def run() -> None:
        assert await threads.run(lambda a, b: (a + b, threading.current_thread().name), 1, 2) == (3, "testing")
        for _ in range(3):
            with pytest.raises(NotFound, match="gone"):
                await threads.run(fail)

    asyncio.run(run())


def test_more_calls_than_threads_wait_and_the_event_loop_goes_on() -> None:
    threads, gate, running = WorkerThreads("testing", 2), threading.Event(), []

    def call(number: int) -> int:
        running.append(number)
        assert gate.wait(10)
        return number

    async def run() -> None:
        calls = [asyncio.create_task(threads.run(call, number)) for number in range(5)]
        while len(running) < 2:
            await asyncio.sleep(0.001)
        cancelled = calls.pop()
        cancelled.cancel()
        assert running == [0, 1]
        gate.set()
        assert await asyncio.gather(*calls) == [0, 1, 2, 3]
        with pytest.raises(asyncio.CancelledError):
            await cancelled
        assert await threads.run(call, 5) == 5

    asyncio.run(run())


# -- acknowledgements --------------------------------------------------------------------------------------------------


def test_outcomes_of_any_thread_are_awaited_together() -> None:
    def settle(sent: Future[RecordMetadata], error: Exception | None) -> None:
        if error is None:
            sent.set_result(RecordMetadata("interactions", 0, 1))
        else:
            sent.set_exception(error)

    async def run() -> dict[int, Any]:
        acknowledgements, failure = Acknowledgements(), Unavailable("no broker")
        assert not acknowledgements
        futures: list[Future[RecordMetadata]] = [Future() for _ in range(4)]
        settle(futures[0], failure)  # before it is added
        for place, sent in zip((0, 2, 5, 6), futures, strict=True):
            acknowledgements.add(place, sent)
        assert acknowledgements
        waiting = asyncio.create_task(acknowledgements.wait())
        threads = [threading.Thread(target=settle, args=(sent, None)) for sent in futures[1:3]]
        for thread in threads:
            thread.start()
            thread.join()
        await asyncio.sleep(0)
        assert not waiting.done()
        settle(futures[3], failure)
        return await waiting

    outcomes = asyncio.run(run())
    assert {place: str(error) for place, error in outcomes.items()} == {
        0: "no broker",
        2: "None",
        5: "None",
        6: "no broker",
    }
