"""What the console asks of a process: bounded, costing nothing while nobody looks, and showing people to who may."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from fastapi import APIRouter, Request, Response
from tests.services.serving import problem, served
from tests.support.browser import Browser, Page, needs_chromium
from tests.support.fakes import NOW, Clock, FakeProducer
from tests.support.system import wait_until

from eddyline import console
from eddyline.adapters.event_tap import MAX_WAITING, MAX_WATCHERS, EventTap
from eddyline.adapters.http import AccessControl, KeyRing, json_response, open_to, pages
from eddyline.adapters.http.keys import hash_key
from eddyline.adapters.kafka import EmbeddedBroker, KafkaProducer, Record, TopicDeadLetterStore, TopicDeadLetterWriter
from eddyline.adapters.telemetry import Metrics
from eddyline.collector.api import Collector
from eddyline.console.dead_letters import DeadLetterDesk
from eddyline.console.filter_counts import FilterQuery
from eddyline.console.known import why_not_servable
from eddyline.console.overview import KEPT, MetricsHistory
from eddyline.console.quality import LastEvaluation
from eddyline.errors import Overloaded, Unavailable
from eddyline.model.ids import Person
from eddyline.settings import EventSettings, Scope, ServerSettings, Settings

CLICK = {"type": "click", "item_id": "i1", "user_id": "ada"}


class Nobody:
    """What is known, while the store doesn't answer."""

    def describe(self, _asked: Person | str) -> dict[str, Any]:
        raise Unavailable("the vector store doesn't answer")

    def count(self, _query: FilterQuery, _person: Person | None = None) -> dict[str, Any]:
        raise Unavailable("the vector store doesn't answer")


HOSTILE = '<img src=x onerror="window.harmed = 1">'
EXPERIMENT = {
    "name": "move",
    "state": "running",
    "surface": "home",
    "metric": "ctr",
    "people": 1200,
    "planned_people": 5000,
    "days_left": 3.5,
    "as_of": "2026-12-01T00:00:00Z",
    "notes": [HOSTILE],
    "sample_ratio": {"expected": {}, "seen": {}, "p_value": 0.0001, "is_mismatch": True, "left_out": []},
}
EFFECT = {"relative": 0.1, "low": -0.05, "high": 0.27}
VARIANT = {"name": "a", "is_control": True, "state": "running", "people": 600, "values": {"ctr": 0.12}, "effects": None}
REPORTS = [
    {**VARIANT, "sentence": None, "guardrails": []},
    {
        **VARIANT,
        "name": "b",
        "is_control": False,
        "effects": {"ctr": EFFECT},
        "sentence": "b is between 5 % worse and 27 % better",
        "guardrails": [{"metric": "ctr", "state": "ok"}],
    },
    {
        **VARIANT,
        "name": "c",
        "is_control": False,
        "state": "stopped",
        "values": {"ctr": None},
        "effects": {"ctr": {"relative": None, "low": None, "high": None}},
        "sentence": HOSTILE,
        "guardrails": [{"metric": "ctr", "state": "stopped"}],
    },
]


def insights() -> APIRouter:
    """What is measured: one experiment."""
    routes = APIRouter()

    @routes.get("/v1/insights/experiments", openapi_extra=open_to(Scope.OPERATE))
    async def experiments() -> Response:
        return json_response({"experiments": [EXPERIMENT], "as_of": EXPERIMENT["as_of"]})

    @routes.get("/v1/insights/experiments/{name}", openapi_extra=open_to(Scope.OPERATE))
    async def experiment(name: str) -> Response:
        history = [{"at": "2026-11-30T00:00:00Z", "effects": {"b": {**EFFECT, "low": -0.4, "high": 0.9}}}]
        return json_response({**EXPERIMENT, "reports": REPORTS, "history": history})

    return routes


class Counts:
    """A catalogue of twelve items."""

    def count(self, _query: FilterQuery, _person: Person | None = None) -> dict[str, Any]:
        return {"items": 12, "taken": [{"why": "expired", "items": 2}], "left": 10}


def lists_by_strategy() -> APIRouter:
    """A reader with two strategies, of which one has learnt; each has a list of its own."""
    routes, lists = APIRouter(), open_to(Scope.LISTS)
    learnt = {"learned": True, "choices": 7, "loss": 4.5, "shipped_loss": 4.625}
    strategies = [
        {"name": "learned", "weights": {"running": {"affinity": 2.0}, "first_list": {}}, **learnt},
        {"name": "content", "weights": {"running": {"taste": 1.0}, "first_list": {}}, "learned": False},
    ]
    scored = {
        "learned": {"both": {"affinity": 3.0, "taste": 1.0}, "mine": {"affinity": 1.0}},
        "content": {"theirs": {"taste": 1.0}, "both": {"affinity": 0.1, "taste": 0.3}},
    }

    @routes.get("/v1/strategies", openapi_extra=lists)
    async def named() -> Response:
        return json_response({"usual": "learned", "strategies": strategies})

    @routes.post("/v1/recommendations", openapi_extra=lists)
    async def recommendations(request: Request) -> Response:
        name = (await request.json())["strategy"]
        items = [
            {"item_id": item, "rank": rank, "score": sum(scores.values()), "title": item, "scores": scores}
            for rank, (item, scores) in enumerate(scored[name].items(), start=1)
        ]
        return json_response({"strategy": name, "items": items, "cold_start": False, "degraded": False})

    return routes


def lists_while_down() -> APIRouter:
    """The reader, whose store doesn't answer."""
    routes = APIRouter()

    @routes.get("/v1/strategies", openapi_extra=open_to(Scope.LISTS))
    @routes.get("/v1/latest", openapi_extra=open_to(Scope.LISTS))
    async def nothing() -> Response:
        raise Unavailable("the vector store doesn't answer")

    return routes


@contextmanager
def running(
    tmp_path: Path,
    access: AccessControl | None = None,
    is_alone: bool = False,
    metrics: Metrics | None = None,
    lists: APIRouter | None = None,
) -> Iterator[tuple[httpx.Client, EventTap, FakeProducer]]:
    """A collector with a console, and a reader, whose store doesn't answer unless it is given."""
    metrics, producer, tap = metrics or Metrics(), FakeProducer(), EventTap(Clock())
    collector = Collector(producer, EventSettings(), ServerSettings(), metrics, tap=tap)
    nobody: Any = Nobody()
    stops: list[bool] = []
    page = pages.router(playground=False, console=True)
    with ExitStack() as stack:
        desk = None if is_alone else DeadLetterDesk(stack.enter_context(_dead_letters(tmp_path)), producer)
        history = MetricsHistory(metrics, Clock())
        history.note()
        counts: Any = nobody if lists is None else Counts()
        shown = console.Console(
            history,
            people=nobody,
            items=nobody,
            filters=counts,
            quality=LastEvaluation(Settings(data_dir=tmp_path)),
            variants=lambda: {"variants": [], "fault": None},
            tap=None if is_alone else tap,
            dead_letters=desk,
            is_stopping=lambda: bool(stops),
        )
        routers = collector.router(), console.router(shown, 1_000_000), page, insights(), lists or lists_while_down()
        client = stack.enter_context(served(*routers, metrics=metrics, access=access))
        stack.callback(stops.append, True)
        yield client, tap, producer


@contextmanager
def _dead_letters(directory: Path) -> Iterator[TopicDeadLetterStore]:
    with (
        closing(EmbeddedBroker(directory / "journal")) as broker,
        closing(KafkaProducer(broker.options)) as producer,
        closing(TopicDeadLetterStore(broker.options, producer)) as store,
    ):
        yield store


def messages(response: httpx.Response, number: int) -> list[dict[str, Any]]:
    found = []
    for line in response.iter_lines():
        if line.startswith("data: "):
            found.append(orjson.loads(line.removeprefix("data: ")))
        if len(found) == number:
            break
    return found


# -- what comes in -----------------------------------------------------------------------------------------------------


def test_who_watches_sees_each_event_with_what_is_wrong_with_it(tmp_path: Path) -> None:
    with running(tmp_path) as (client, tap, _), client.stream("GET", "/console/api/events") as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        wait_until(lambda: tap.is_watched, "it watches")
        with httpx.Client(base_url=client.base_url) as other:
            other.post("/v1/events", json={"events": [CLICK, {**CLICK, "type": "nothing"}, "no event"]})
        _, good, bad, odd = messages(stream, 4)
    assert good == {"at": NOW, "key": "", "event": CLICK, "fault": None}
    assert bad["fault"]["field"] == "type"
    assert "unknown type" in bad["fault"]["reason"]
    assert odd["event"] == {}
    assert odd["fault"] is not None


def test_nothing_is_done_or_kept_while_nobody_watches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise AssertionError("it was handed on")

    monkeypatch.setattr(EventTap, "note", fail)
    with running(tmp_path) as (client, tap, producer):
        assert client.post("/v1/events", json=CLICK).status_code == 202
        assert not tap.is_watched
        assert len(producer.sent) == 1


def test_what_waits_for_who_is_slow_is_bounded_and_so_are_those_who_watch() -> None:
    tap = EventTap(Clock())
    with tap.watch() as waiting:
        for number in range(2 * MAX_WAITING):
            tap.note({**CLICK, "item_id": "x" * 5000, "positions": list(range(999))}, "key", None)
            assert len(waiting) <= MAX_WAITING, number
        assert len(waiting[-1].event["item_id"]) <= 200
        assert len(waiting[-1].event["positions"]) == 20
    assert not tap.is_watched
    others = [tap.watch() for _ in range(MAX_WATCHERS)]
    for one in others:
        one.__enter__()
    with pytest.raises(Overloaded), tap.watch():
        pass
    for one in others:
        one.__exit__(None, None, None)


def test_a_stream_ends_when_the_process_stops() -> None:
    stops = iter([False, True])
    nothing: Any = None
    shown = console.Console(
        MetricsHistory(Metrics()),
        nothing,
        nothing,
        nothing,
        nothing,
        nothing,
        tap=None,
        dead_letters=None,
        is_stopping=lambda: next(stops),
    )

    async def read() -> list[bytes]:
        from eddyline.console.api import _figures

        stream: AsyncIterator[bytes] = _figures(shown)
        return [one async for one in stream]

    assert len(asyncio.run(read())) == 1


# -- figures -----------------------------------------------------------------------------------------------------------


def test_readings_are_totals_and_no_more_than_an_hour_is_kept() -> None:
    metrics, clock = Metrics(), Clock()
    history = MetricsHistory(metrics, clock)
    metrics.accepted.labels("interactions").inc(3)
    metrics.recommendations.labels("False", "True").inc()
    metrics.recommendations.labels("False", "False").inc()
    metrics.visible_seconds.observe(0.03)
    metrics.request_seconds.labels("POST", "/v1/recommendations").observe(0.3)
    metrics.request_seconds.labels("POST", "/v1/events").observe(0.3)
    metrics.lag.labels("profiler", "interactions", "0").set(7)
    metrics.feeds_read.labels("failed").inc()
    for _ in range(KEPT + 5):
        clock.forward(10)
        history.note()
    readings = history.readings()
    assert len(readings) == KEPT
    now = readings[-1]
    assert (now["events"], now["lists"], now["degraded"], now["lag"]) == (3, 2, 1, 7)
    assert now["visible"][-1] == (None, 1)
    assert dict(now["visible"])[0.02] == 0
    assert dict(now["visible"])[0.05] == 1
    assert now["list_seconds"][-1] == (None, 1)
    assert history.details()["feeds"] == {"failed": 1}
    assert history.details()["lag"] == [
        {"group": "profiler", "topic": "interactions", "partition": "0", "records": 7.0}
    ]


# -- items -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stored", "has_vector", "fault"),
    [
        ({"meta": {"title": "t"}}, True, None),
        ({"meta": {"title": "t"}}, False, "no vector yet"),
        ({"offer": {"price": 1}}, False, "only its price or stock"),
        ({"meta": {}, "offer": {"available": False}}, True, "isn't available"),
        ({"meta": {}, "servable_until": NOW - 1}, True, "it expired on"),
        ({"meta": {}, "servable_from": NOW + 1}, True, "it is published on"),
    ],
)
def test_why_an_item_is_in_no_list(stored: dict[str, Any], has_vector: bool, fault: str | None) -> None:
    faults = why_not_servable(stored, NOW, has_vector)
    assert faults == [] if fault is None else fault in faults[0]


# -- dead letters ------------------------------------------------------------------------------------------------------


def bury(directory: Path, *keys: str, reason: str = "item_never_came") -> None:
    with closing(EmbeddedBroker(directory / "journal")) as broker, closing(KafkaProducer(broker.options)) as producer:
        writer = TopicDeadLetterWriter(producer)
        for offset, key in enumerate(keys):
            value = orjson.dumps({**CLICK, "user_id": key, "event_id": f"e{offset}"})
            record = Record("interactions", 0, offset, f"u:{key}".encode(), value, 1000, "log", ())
            writer.put(record, reason, "it never came", 1)


def test_dead_letters_are_counted_opened_sent_again_and_dropped(tmp_path: Path) -> None:
    bury(tmp_path, "ada", "bob", "carl")
    with running(tmp_path) as (client, _, producer):
        found = client.get("/console/api/dead-letters").json()
        assert found["counts"] == [{"topic": "interactions", "reason": "item_never_came", "count": 3}]
        newest = found["letters"][0]
        assert {"key", "value", "headers", "detail"} <= newest.keys()
        by_key = {one["key"]: one["id"] for one in found["letters"]}
        sent = client.post("/console/api/dead-letters/replay", json={"ids": [by_key["u:ada"]]}).json()
        assert sent == {"accepted": 1, "refused": []}
        assert [one["user_id"] for one in producer.values("interactions")] == ["ada"]
        dropped = client.post("/console/api/dead-letters/drop", json={"ids": [by_key["u:bob"]]}).json()
        assert dropped == {"dropped": 1}
        left = client.get("/console/api/dead-letters", params={"topic": "interactions"}).json()["letters"]
        assert [one["key"] for one in left] == ["u:carl"]


@pytest.mark.parametrize("body", [{}, {"ids": []}, {"ids": "all"}, {"all": True}, [], {"ids": [1]}])
def test_nothing_is_dropped_unless_it_is_named(tmp_path: Path, body: Any) -> None:
    bury(tmp_path, "ada")
    with running(tmp_path) as (client, _, _producer):
        problem(client.post("/console/api/dead-letters/drop", json=body), 422)
        assert client.get("/console/api/dead-letters").json()["total"] == 1


def test_what_is_not_in_this_process_is_said_to_be_elsewhere(tmp_path: Path) -> None:
    with running(tmp_path, is_alone=True) as (client, _, _producer):
        assert "collector" in problem(client.get("/console/api/events"), 501)["detail"]
        assert "broker" in problem(client.get("/console/api/dead-letters"), 501)["detail"]
    with served(pages.router(playground=False)) as client:
        assert "role reader" in problem(client.get("/console"), 501)["detail"]
        assert "/console" not in client.get("/").text


# -- who may -----------------------------------------------------------------------------------------------------------


def test_who_may_operate_sees_nobody_and_with_people_everybody(tmp_path: Path) -> None:
    path = tmp_path / "keys.toml"
    scopes = {"operator": [Scope.OPERATE], "both": [Scope.OPERATE, Scope.PEOPLE], "lists": [Scope.LISTS]}
    path.write_text(
        "".join(
            f'[[keys]]\nname = "{name}"\nscopes = {[one.value for one in given]}\n'
            f'hash = "{hash_key(name.encode()).hex()}"\n'
            for name, given in scopes.items()
        )
    )
    bury(tmp_path / "letters", "ada")
    with running(tmp_path / "letters", AccessControl(KeyRing(path, Metrics()))) as (client, _, _producer):

        def ask(name: str, what: str) -> httpx.Response:
            return client.get(f"/console/api/{what}", headers={"Authorization": f"Bearer {name}"})

        assert client.get("/console").status_code == 200, "the page itself holds nothing"
        for what in ("history", "figures", "events", "dead-letters", "items/i1"):
            problem(client.get(f"/console/api/{what}"), 401)
            problem(ask("lists", what), 403)
        problem(ask("operator", "people/u/ada"), 403)
        assert ask("both", "people/u/ada").status_code == 503
        (hidden,), (shown,) = (ask(name, "dead-letters").json()["letters"] for name in ("operator", "both"))
        assert (hidden["key"], hidden["value"], hidden["headers"]) == (None, None, [])
        assert hidden["reason"] == "item_never_came"
        assert shown["key"] == "u:ada"
        with client.stream("GET", "/console/api/events", headers={"Authorization": "Bearer operator"}) as stream:
            assert messages(stream, 1) == [{"watching": True, "with_people": False}]


# -- the page, when something is wrong ---------------------------------------------------------------------------------


@needs_chromium
@pytest.mark.process
@pytest.mark.slow(30)
@pytest.mark.xdist_group("pages")
def test_the_console_says_that_the_store_is_down_and_has_no_spinner_for_ever(browser: Browser, tmp_path: Path) -> None:
    with running(tmp_path) as (client, _, _producer), browser.page() as page:
        for path in ("person/u/ada", "item/i1", "lists/u/ada", "catalogue"):
            visit(page, client, path)
            page.await_text("#alert", "the vector store doesn't answer")
        needs_no_store = {
            "overview": "Events a second",
            "live": "Nothing has come yet",
            "experiments": "move",
            "quality": "No evaluation yet",
            "dead-letters": "No dead letters",
        }
        for path, shown in needs_no_store.items():
            visit(page, client, path)
            page.await_text("#view", shown)
            assert page.text("#alert") == ""
        assert not page.errors


@needs_chromium
@pytest.mark.process
@pytest.mark.slow(30)
@pytest.mark.xdist_group("pages")
def test_what_differs_between_two_lists_is_told_by_the_shares_of_their_terms(browser: Browser, tmp_path: Path) -> None:
    metrics = Metrics()
    metrics.blend_weight.labels("learned", "running", "affinity").set(2)
    with (
        running(tmp_path, metrics=metrics, lists=lists_by_strategy()) as (client, _, _producer),
        browser.page() as page,
    ):
        visit(page, client, "lists")
        page.await_text("#view", "The difference")
        assert "1 of 2 items are in both, 0 of them in the same place." in page.text("#view")
        rows = "[...document.querySelectorAll('#view tbody tr')]"
        found = page.evaluate(f"{rows}.map((one) => [...one.cells].map((cell) => cell.innerText))")
        assert ["both", "1", "2", "4", "0.4", "affinity −50 %, taste +50 %"] in found
        assert ["mine", "2", "–", "1", "–", "in one list alone"] in found
        assert ["theirs", "–", "1", "–", "1", "in one list alone"] in found
        assert ["expired", "− 2"] in found
        assert ["left for ranking", "10"] in found
        assert "learnt from 7 choices, a loss of 4.5 nats where the shipped weights had 4.625" in page.text("#view")
        assert page.texts(".plot-legend li") == ["affinity 2"], "the weights over time"
        assert not page.errors


@needs_chromium
@pytest.mark.process
@pytest.mark.slow(30)
@pytest.mark.xdist_group("pages")
def test_a_page_that_is_not_looked_at_watches_nothing(browser: Browser, tmp_path: Path) -> None:
    hidden = "Object.defineProperty(document, 'hidden', {get: () => !window.looked, configurable: true})"
    with running(tmp_path) as (client, tap, _producer), browser.page() as page:
        page.send("Page.addScriptToEvaluateOnNewDocument", source=hidden)
        visit(page, client, "live")
        page.await_text("#view", "Nothing has come yet")
        asked = "performance.getEntriesByType('resource').some((one) => one.name.endsWith('/console/api/events'))"
        assert not page.evaluate(asked)
        assert not tap.is_watched
        page.evaluate("window.looked = true; document.dispatchEvent(new Event('visibilitychange'))")
        wait_until(lambda: tap.is_watched, "it watches")
        page.evaluate("window.looked = false")
        client.post("/v1/events", json={"events": [CLICK]})
        wait_until(lambda: not tap.is_watched, "it has let go")
        assert not page.errors


def visit(page: Page, client: httpx.Client, path: str) -> None:
    page.open("about:blank")
    page.open(f"{str(client.base_url).rstrip('/')}/console#/{path}")


@needs_chromium
@pytest.mark.process
@pytest.mark.slow(30)
@pytest.mark.xdist_group("pages")
def test_an_experiment_is_shown_with_its_bounds_and_whether_it_can_be_trusted(browser: Browser, tmp_path: Path) -> None:
    with running(tmp_path) as (client, _, _producer), browser.page() as page:
        visit(page, client, "experiments")
        page.await_text("#view", "move")
        text = page.text("#view")
        for shown in (
            "1,200 of 5,000 planned",
            "not as the weights say (p < 0.001)",
            "-5 % … +27 %",
            "27 % better",
            "stopped",
        ):
            assert shown in text, shown
        assert text.count(HOSTILE) == 2
        drawn = "document.querySelector('.plot[aria-label*=\\'over time\\']').getAttribute('aria-label')"
        assert "Effects on ctr over time, from -40 % to +90 %" in page.evaluate(drawn)
        assert page.evaluate("window.harmed") is None
        assert not page.errors
