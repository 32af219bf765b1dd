"""Importing when things go wrong: odd files, odd answers, and stops in the worst places."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from eddyline.clients import WHILE_BUSY, Client
from eddyline.clients.importer import Importer
from eddyline.clients.progress import SilentProgress
from eddyline.clients.sources import open_source
from eddyline.errors import InvalidInput, Unavailable

GENRES = "|0" * 19
MOVIES, RATINGS = "movieId,title,genres\n", "userId,movieId,rating,timestamp\n"
ITEM = {"item_id": "i", "title": "T"}


class Collector:
    """Takes everything, and keeps it by id as a profiler would; `before` may answer in its stead."""

    def __init__(self) -> None:
        self.events: dict[str, Any] = {}
        self.posts = 0
        self.asked: list[str] = []
        self.slept: list[float] = []
        self.before: Callable[[httpx.Request], httpx.Response | None] = lambda request: None
        self.read: Callable[[], int] = lambda: 200

    def run(self, source: Path, state: Path | None = None) -> Any:
        transport, sleep = httpx.MockTransport(self._answer), self.slept.append
        with Client("http://eddyline.test", retries=WHILE_BUSY, transport=transport, sleep=sleep) as client:
            return Importer(client, open_source(source), state, SilentProgress(), sleep).run()

    def _answer(self, request: httpx.Request) -> httpx.Response:
        if request.method == "GET":
            self.asked.append(request.url.path.rsplit("/", 1)[1])
            return httpx.Response(self.read(), json={"detail": "there is no item"})
        self.posts += 1
        answer = self.before(request)
        if answer is not None:
            return answer
        body = orjson.loads(request.content)
        rejected = []
        for index, one in enumerate(body.get("events") or body.get("items") or []):
            if "item_id" not in one:
                rejected.append({"index": index, "field": "item_id", "reason": "is needed"})
            elif "type" in one:
                self.events[one["event_id"]] = one
        return httpx.Response(202, json={"accepted": 1, "rejected": rejected})


@pytest.fixture
def collector() -> Collector:
    return Collector()


def jsonl(path: Path, *values: dict[str, Any]) -> Path:
    path.write_bytes(b"\n".join(orjson.dumps(value) for value in values))
    return path


def clicks(count: int) -> list[dict[str, Any]]:
    return [{"type": "click", "item_id": "i", "user_id": f"u{n % 3}"} for n in range(count)]


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({"u.item": f"1|A|||{GENRES}\n\noops\n", "u.data": ""}, "u.item:3 is not a film"),
        ({"u.item": f"1{GENRES}\n", "u.data": ""}, "u.item:1 is not a film"),
        ({"u.item": "", "u.data": "1\t2\t3\t4\n\n1\t2\t3\n"}, "u.data:3 is not a rating"),
        ({"u.item": "", "u.data": "1\t2\t3\tnow\n"}, "u.data:1: 'now' is not a whole number"),
        ({"u.item": "", "u.data": "1\t2\tgood\t4\n"}, "u.data:1: 'good' is not a number"),
        ({"u.item": "", "u.data": b"1\t2\t3\t\xff\n"}, "u.data is not utf-8"),
        ({"movies.csv": MOVIES, "ratings.csv": RATINGS + "1,2,x,4\n"}, "ratings.csv:2: 'x'"),
        ({"movies.csv": MOVIES, "ratings.csv": RATINGS + "1,2,3,x\n"}, "ratings.csv:2: 'x'"),
        ({"movies.csv": MOVIES, "ratings.csv": RATINGS + "1,2,nan,4\n"}, "ratings.csv:2: 'nan'"),
        ({"a.csv": "item_id,title,price\n1,t,nan\n"}, "a.csv:2: 'nan' is not a number"),
        ({"a.csv": "type,item_id,user_id,timestamp\nclick,1,2,inf\n"}, "a.csv:2: 'inf' is not a number"),
        ({"a.csv": b"item_id,title\n1,\xff\n"}, "a.csv can't be read as CSV in UTF-8"),
        ({}, "MovieLens folder"),
    ],
)
def test_a_wrong_file_is_refused_with_its_line(files: dict[str, str | bytes], reason: str, tmp_path: Path) -> None:
    for name, text in files.items():
        (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(InvalidInput) as refused:
        _read_all(tmp_path)
    assert reason in str(refused.value)


def _read_all(path: Path) -> None:
    source = open_source(path)
    for lines in (source.items, source.users, source.events):
        list(lines())


def test_events_without_an_id_count_once_however_often_they_are_sent(collector: Collector, tmp_path: Path) -> None:
    path, state = jsonl(tmp_path / "a.jsonl", *clicks(700)), tmp_path / "state.json"

    def fail_after_taking(request: httpx.Request) -> httpx.Response | None:
        if collector.posts == 2:
            collector.before = lambda request: None
            collector._answer(request)  # it arrived, and the answer was lost
            raise httpx.ReadTimeout("timed out")
        return None

    collector.before = fail_after_taking
    with pytest.raises(Unavailable):
        collector.run(path, state)
    collector.run(path, state)
    assert len(collector.events) == 700
    collector.run(path)
    assert len(collector.events) == 700, "a second import of the same file changes nothing"


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (httpx.Response(500, json={"detail": "something went wrong"}), "answered 500 (something went wrong)"),
        (httpx.Response(502, text="<html>Bad gateway</html>"), "answered 502 (<html>Bad gateway</html>)"),
        (httpx.Response(404, json={"detail": "there is nothing at /v1/events"}), "answered 404 (there is nothing"),
        (httpx.Response(401, json=["no"]), "answered 401"),
    ],
)
def test_an_answer_that_is_no_verdict_stops_the_import_and_loses_nothing(
    collector: Collector, answer: httpx.Response, reason: str, tmp_path: Path
) -> None:
    path, state = jsonl(tmp_path / "a.jsonl", *clicks(600)), tmp_path / "state.json"
    collector.before = lambda request: answer
    with pytest.raises(Unavailable) as stopped:
        collector.run(path, state)
    assert reason in str(stopped.value)
    assert "a.jsonl:1" in str(stopped.value)
    collector.before = lambda request: None
    assert collector.run(path, state).sent["events"] == 600


@pytest.mark.parametrize(
    ("said", "waited"), [("3", 3.0), ("Wed, 21 Oct 2026 07:28:00 GMT", 1.0), ("0", 0.1), (None, 1.0)]
)
def test_a_busy_answer_is_waited_for_whatever_it_says(
    collector: Collector, said: str | None, waited: float, tmp_path: Path
) -> None:
    headers = {} if said is None else {"Retry-After": said}
    collector.before = lambda request: httpx.Response(503, headers=headers) if collector.posts < 3 else None
    collector.run(jsonl(tmp_path / "a.jsonl", *clicks(1)))
    assert collector.slept == [waited] * 2


def test_one_event_that_is_too_large_is_reported_and_the_rest_is_taken(collector: Collector, tmp_path: Path) -> None:
    path = jsonl(tmp_path / "a.jsonl", *clicks(3), {**clicks(1)[0], "context": {"huge": "x"}}, *clicks(2))
    too_large = httpx.Response(413, json={"detail": "body: is over the limit"})
    collector.before = lambda request: too_large if b"huge" in request.content else None
    report = collector.run(path)
    assert report.rejected == ["a.jsonl:4: body: is over the limit"]
    assert len(collector.events) == report.sent["events"] == 5


def test_events_wait_for_the_items_also_when_the_import_was_stopped_in_between(
    collector: Collector, tmp_path: Path
) -> None:
    path, state = jsonl(tmp_path / "a.jsonl", ITEM, *clicks(1)), tmp_path / "state.json"

    def gone() -> int:
        raise httpx.ConnectError("connection refused")

    collector.read = gone
    with pytest.raises(Unavailable, match="connection refused"):
        collector.run(path, state)
    assert collector.events == {}
    answers = iter([404, 404, 200])
    collector.read = lambda: next(answers)
    collector.asked.clear()
    collector.run(path, state)
    assert collector.asked == ["i"] * 3
    assert len(collector.events) == 1


def test_a_refused_item_is_not_waited_for(collector: Collector, tmp_path: Path) -> None:
    path, state = jsonl(tmp_path / "a.jsonl", {"title": "no id"}, ITEM, *clicks(600)), tmp_path / "state.json"
    collector.before = lambda request: httpx.Response(500) if collector.posts == 3 else None
    with pytest.raises(Unavailable):
        collector.run(path, state)
    assert set(collector.asked) == {"i"}
    collector.asked.clear()
    assert collector.run(path, state).skipped == {"items": 2, "users": 0, "events": 500}
    assert set(collector.asked) == {"i"}


def test_a_finished_import_asks_nothing(collector: Collector, tmp_path: Path) -> None:
    path, state = jsonl(tmp_path / "a.jsonl", ITEM, *clicks(5)), tmp_path / "state.json"
    collector.run(path, state)
    collector.asked.clear()
    posts = collector.posts
    assert collector.run(path, state).skipped == {"items": 1, "users": 0, "events": 5}
    assert (collector.asked, collector.posts) == ([], posts)
