"""The client of the HTTP API: what it raises, what it tries again, and that it needs none of the heavy parts."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs

import httpx
import orjson
import pytest

from eddyline.clients import (
    FOR_A_MINUTE,
    NO_RETRIES,
    WHILE_BUSY,
    AsyncClient,
    Client,
    Failure,
    Person,
    Retries,
    requests,
)
from eddyline.clients.responses import RecommendationsJson
from eddyline.errors import (
    EddylineError,
    Forbidden,
    InvalidInput,
    NotEnabled,
    NotFound,
    TooLarge,
    Unavailable,
    UnexpectedResponse,
)
from eddyline.runtime.documents import describe_api

Handler = Callable[[httpx.Request], httpx.Response]
URL = "http://eddyline.test"


def client(handler: Handler, retries: Retries = NO_RETRIES, slept: list[float] | None = None) -> Client:
    naps: list[float] = [] if slept is None else slept
    return Client(URL, retries=retries, transport=httpx.MockTransport(handler), sleep=naps.append)


def busy() -> httpx.Response:
    return httpx.Response(503, headers={"Retry-After": "3"}, json={"detail": "busy"})


def in_turn(*answers: httpx.Response | Exception) -> tuple[Handler, list[httpx.Request]]:
    left, requests = list(answers), []

    def answer(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        one = left.pop(0)
        if isinstance(one, Exception):
            raise one
        return one

    return answer, requests


@pytest.mark.parametrize(
    ("status", "body", "error", "text"),
    [
        (400, {"detail": "the body ended early"}, InvalidInput, "the body ended early"),
        (422, {"detail": "limit: is too large", "field": "limit"}, InvalidInput, "limit: is too large"),
        (413, {"detail": "body: is over the limit"}, TooLarge, "body: is over the limit"),
        (404, {"detail": "there is no item 'x'"}, NotFound, "there is no item 'x'"),
        (
            404,
            {"detail": "there is nothing at /v1/items/x; …"},
            UnexpectedResponse,
            "/v1/items/x answered 404 (there",
        ),
        (404, None, UnexpectedResponse, "answered 404"),
        (405, {"detail": "doesn't take GET"}, UnexpectedResponse, "answered 405"),
        (401, None, Forbidden, "answered 401"),
        (403, {"detail": "not your scope"}, Forbidden, "answered 403 (not your scope): EDDYLINE_API_KEY is the key"),
        (418, None, UnexpectedResponse, "answered 418"),
        (429, {"detail": "slow down"}, Unavailable, "answered 429 (slow down)"),
        (500, {"detail": "something went wrong"}, UnexpectedResponse, "answered 500 (something went wrong)"),
        (200, None, UnexpectedResponse, "answered 200"),
        (501, {"detail": "turn it on"}, NotEnabled, "turn it on"),
        (502, None, Unavailable, "answered 502"),
        (503, {"detail": "busy"}, Unavailable, "answered 503 (busy)"),
    ],
)
def test_what_is_no_success_is_an_error_of_ours_in_the_words_of_the_problem(
    status: int, body: Any, error: type[EddylineError], text: str
) -> None:
    content = b"<html>" if body is None else orjson.dumps(body)
    handler, _ = in_turn(httpx.Response(status, content=content))
    with client(handler) as it, pytest.raises(EddylineError) as raised:
        it.item("x")
    assert type(raised.value) is error
    assert text in str(raised.value)
    assert getattr(raised.value, "field", None) == (body or {}).get("field")


@pytest.mark.parametrize("item_id", ["https://a/b?c", "..", "a/similar", "ünï 🎬", "%2F"])
def test_an_id_is_one_part_of_the_path_whatever_it_is(item_id: str) -> None:
    handler, requests = in_turn(httpx.Response(200, json={"item_id": item_id}))
    with client(handler) as it:
        assert it.item(item_id)["item_id"] == item_id
    path = requests[0].url.raw_path.decode()
    assert path.startswith("/v1/items/")
    assert path.count("/") == 3
    assert not {"?", ".."} & set(path.split("/")[-1])


def test_a_request_is_sent_again_as_it_was_for_as_long_as_it_is_refused_for_the_moment() -> None:
    handler, requests = in_turn(*(busy() for _ in range(20)), httpx.Response(202, json={"accepted": 1, "rejected": []}))
    slept: list[float] = []
    with client(handler, WHILE_BUSY, slept) as it:
        assert it.send_events([{"event_id": "e"}]) == {}
    assert slept == [3.0] * 20
    assert len({request.content for request in requests}) == 1


def test_nobody_there_is_not_asked_again_unless_that_is_wanted() -> None:
    gone = httpx.ConnectError("connection refused")
    slept: list[float] = []
    handler, requests = in_turn(gone)
    with (
        client(handler, WHILE_BUSY, slept) as it,
        pytest.raises(Unavailable, match=r"can't be reached .connection ref"),
    ):
        it.user("ada")
    assert (slept, len(requests)) == ([], 1)
    handler, requests = in_turn(*[gone] * 8)
    with client(handler, FOR_A_MINUTE, slept) as it, pytest.raises(Unavailable, match="can't be reached"):
        it.user("ada")
    assert (sum(slept), len(requests)) == (60.5, 8)


def test_what_is_refused_comes_back_by_its_index_also_where_the_batch_is_sent_in_parts() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        events = orjson.loads(request.content)["events"]
        if len(events) > 2 or any("huge" in one for one in events):
            return httpx.Response(413, json={"detail": "body: is over the limit"})
        rejected = [{"index": n, "field": None, "reason": "is bad"} for n, one in enumerate(events) if "bad" in one]
        return httpx.Response(422 if len(rejected) == len(events) else 202, json={"rejected": rejected})

    with client(answer) as it:
        refused = it.send_events([{}, {"bad": 1}, {}, {"bad": 1}, {"huge": 1}, {}, {"bad": 1}])
    assert {index: str(error) for index, error in refused.items()} == {
        1: "body: is bad",
        3: "body: is bad",
        4: "body: is over the limit",
        6: "body: is bad",
    }


def test_the_asynchronous_one_tries_again_tells_of_it_and_times_the_last_attempt_alone() -> None:
    handler, _ = in_turn(busy(), httpx.ReadError("gone"), httpx.Response(200, json={"items": []}))
    slept: list[float] = []
    failures: list[Failure] = []
    ticks = iter(range(100))

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    async def run() -> tuple[RecommendationsJson, float]:
        transport = httpx.MockTransport(handler)
        it = AsyncClient(
            URL,
            retries=FOR_A_MINUTE,
            transport=transport,
            sleep=sleep,
            monotonic=lambda: next(ticks),
            on_retry=failures.append,
        )
        async with it:
            return await it.timed_call(requests.recommend({"user_id": "ada"}))

    assert asyncio.run(run()) == ({"items": []}, 1.0)
    assert slept == [3.0, 1.0]
    assert [isinstance(one, httpx.Response) for one in failures] == [True, False]


def test_pages_are_followed_until_there_are_enough_or_no_more() -> None:
    def page(*ids: str, after: str | None) -> httpx.Response:
        return httpx.Response(200, json={"items": [{"item_id": one} for one in ids], "next": after})

    handler, requests = in_turn(page("a", "b", after="cursor"), page("c", "d", after="more"))

    async def run() -> list[str]:
        async with AsyncClient(URL, transport=httpx.MockTransport(handler)) as it:
            return await it.listed_ids("latest", 3)

    assert asyncio.run(run()) == ["a", "b", "c"]
    assert dict(requests[1].url.params) == {"limit": "3", "next": "cursor"}


@pytest.mark.slow(10)
def test_clients_need_no_model_no_kafka_and_no_store() -> None:
    script = (
        "import sys, eddyline.clients, eddyline.clients.importer, eddyline.clients.list_export, "
        "eddyline.clients.simulator, eddyline.clients.tour\n"
        "heavy = {'torch', 'sentence_transformers', 'onnxruntime', 'confluent_kafka', 'qdrant_client', 'qdrant_edge'}\n"
        "print(sorted(heavy & {name.split('.')[0] for name in sys.modules}))"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ran.stdout == "[]\n"


def test_passwords_of_the_address_are_in_no_error() -> None:
    address = "http://eddy:hunter2@eddyline.test"
    for one in (httpx.ConnectError("nobody"), httpx.Response(401), httpx.Response(503), httpx.Response(500)):
        handler, _ = in_turn(one)
        with Client(address, transport=httpx.MockTransport(handler)) as it, pytest.raises(EddylineError) as raised:
            it.item("x")
        assert "***@eddyline.test" in str(raised.value)
        assert "hunter2" not in str(raised.value)


def test_a_key_is_sent_with_every_request() -> None:
    handler, requests = in_turn(httpx.Response(200, json={"item_id": "x"}))
    with Client(URL, transport=httpx.MockTransport(handler), api_key="edk_x") as it:
        it.item("x")
    assert requests[0].headers["authorization"] == "Bearer edk_x"


def test_it_knows_every_route_of_the_api_in_both_kinds() -> None:
    person = Person("u", "ada")
    samples: dict[str, tuple[Any, ...]] = {
        "send_events": ([],),
        "put_items": ([],),
        "set_availability": ([],),
        "put_item": ("i", {}),
        "delete_item": ("i",),
        "item": ("i",),
        "put_user": ("ada", {}),
        "user": ("ada",),
        "erase": (person,),
        "recommend": ({},),
        "recommend_to_user": ("ada", {}),
        "browse": ("latest", {}),
        "similar": ("i", {}),
        "search": ({},),
        "audience": ("i", {}),
        "assignment": ({},),
        "strategies": (),
        "feeds": (),
        "put_feed": ({},),
        "end_feed": ("e",),
        "kpis": ({},),
        "experiments": (),
        "experiment": ("e",),
    }
    made = [getattr(requests, name)(*given) for name, given in samples.items()]
    made += [requests.erase(Person("a", "x")), requests.browse("trending", {})]
    named = {("i", "item_id"), ("ada", "user_id"), ("x", "anonymous_id"), ("e", "name")}
    known = set()
    for one in made:
        parts = [next((f"{{{name}}}" for value, name in named if value == part), part) for part in one.path.split("/")]
        known.add((one.method, "/".join(parts)))
    described = describe_api().openapi()["paths"]
    routes = {(method.upper(), path) for path, methods in described.items() for method in methods}
    # What other systems' libraries send is theirs.
    ours = {(method, path) for method, path in routes if path.startswith("/v1/") and "/track/" not in path}
    assert known == ours
    both = {name for name in vars(Client) if not name.startswith("_")} - {"close", "is_ready", "installation"}
    assert both <= set(vars(AsyncClient))


@pytest.mark.parametrize("name", ["trending", "latest", "similar", "search", "audience", "user", "assignment"])
def test_parameters_go_by_their_names_and_what_is_none_is_left_out(name: str) -> None:
    handler, sent = in_turn(httpx.Response(200, json={"items": []}))
    given: dict[str, tuple[tuple[Any, ...], dict[str, Any]]] = {
        "trending": (("hour",), {"category": ["a", "b"], "next": None}),
        "similar": (("i",), {"relation": "any", "limit": 3}),
        "search": (("rivers",), {"explain": True}),
        "audience": (("i",), {"segment": ["new"]}),
        "user": (("ada",), {}),
        "assignment": ((), {"user_id": "ada", "surface": None}),
    }
    args, fields = given.get(name, ((), {}))
    with client(handler) as it:
        getattr(it, name)(*args, **fields)
    query = parse_qs(sent[0].url.query.decode())
    assert "next" not in query
    assert "surface" not in query
    expected = {key: value if isinstance(value, list) else [str(value).lower()] for key, value in fields.items()}
    assert {key: value for key, value in expected.items() if value != ["none"]}.items() <= query.items()


def test_events_have_ids_before_they_are_sent() -> None:
    handler, sent = in_turn(httpx.Response(503), httpx.Response(202, json={"rejected": []}))
    with client(handler, Retries(frozenset({503}), pauses=(0.0,))) as it:
        it.send_events([{"type": "click"}, {"type": "click", "event_id": "e"}])
    first, second = (orjson.loads(one.content)["events"] for one in sent)
    assert first == second
    assert first[1]["event_id"] == "e"
    assert len(first[0]["event_id"]) == 36
