"""Importing: nothing is lost or doubled on the way, whatever the collector answers and wherever it stops."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from eddyline.clients import WHILE_BUSY, Client
from eddyline.clients.columns import Columns
from eddyline.clients.importer import Importer, ImportReport
from eddyline.clients.progress import ProgressListener
from eddyline.clients.sources import open_source
from eddyline.errors import EddylineError, InvalidInput, Unavailable
from eddyline.model.events import parse_timestamp

NOW = 1_790_000_000.0
ITEM = {"item_id": "i", "title": "T"}


class FakeApi:
    """A collector and a reader in memory, which keep events by id; `before` and `read` may answer in their stead."""

    def __init__(self) -> None:
        self.items: Counter[str] = Counter()
        self.users: Counter[str] = Counter()
        self.events: dict[str, dict[str, Any]] = {}
        self.order: list[str] = []
        self.posts = 0
        self.read_items: list[str] = []
        self.slept: list[float] = []
        self.before: Callable[[httpx.Request], httpx.Response | None] = lambda request: None
        self.read: Callable[[], int] = lambda: 200
        self.detail = "there is no item"
        self.installation: str | None = "one"

    def run(
        self,
        source: Path,
        state: Path | None = None,
        ends_now: bool = False,
        now: float = NOW,
        columns: Columns = Columns(),
    ) -> ImportReport:
        transport, sleep = httpx.MockTransport(self._answer), self.slept.append
        with Client("http://eddyline.test", retries=WHILE_BUSY, transport=transport, sleep=sleep) as client:
            importer = Importer(client, open_source(source, columns), state, ProgressListener(), sleep, lambda: now)
            return importer.run(ends_now)

    def stop_after(self, posts: int) -> None:
        """Refuse all connections after so many more posts."""
        until = self.posts + posts

        def before(request: httpx.Request) -> None:
            if self.posts > until:
                raise httpx.ConnectError("connection refused")

        self.before = before

    def go_on(self) -> None:
        self.before = lambda request: None

    def _answer(self, request: httpx.Request) -> httpx.Response:
        if request.url.path == "/healthz":
            return httpx.Response(200, json={"status": "ok", "installation": self.installation})
        if request.method == "GET":
            self.read_items.append(request.url.path.rsplit("/", 1)[1])
            return httpx.Response(self.read(), json={"detail": self.detail})
        self.posts += 1
        return self.before(request) or self.take(request)

    def take(self, request: httpx.Request) -> httpx.Response:
        body = orjson.loads(request.content)
        if request.url.path.startswith("/v1/users/"):
            self.users[body["user_id"]] += 1
            self.order.append("user")
            return httpx.Response(202, json={"accepted": 1, "rejected": [], "ids": [body["user_id"]]})
        batch = body.get("items") or body.get("events")
        rejected = []
        for index, one in enumerate(batch):
            if one.get("title") == "bad":
                rejected.append({"index": index, "field": "title", "reason": "is bad"})
            elif "item_id" not in one:
                rejected.append({"index": index, "field": "item_id", "reason": "is needed"})
            elif "title" in one:
                self.items[one["item_id"]] += 1
                self.order.append("item")
            else:
                self.events[one["event_id"]] = one
                self.order.append("event")
        status = 422 if len(rejected) == len(batch) else 202
        return httpx.Response(status, json={"accepted": len(batch) - len(rejected), "rejected": rejected})


@pytest.fixture
def api() -> FakeApi:
    return FakeApi()


def jsonl(path: Path, *values: dict[str, Any]) -> Path:
    path.write_bytes(b"\n".join(orjson.dumps(value) for value in values) + b"\n\n")
    return path


def event(number: int) -> dict[str, Any]:
    return {
        "type": "click",
        "item_id": "i",
        "user_id": "u",
        "event_id": f"e{number}",
        "timestamp": NOW - 1000 * 86_400 + number,
    }


def clicks(count: int) -> list[dict[str, Any]]:
    """Events without ids."""
    return [{"type": "click", "item_id": "i", "user_id": f"u{n % 3}"} for n in range(count)]


def test_items_go_before_people_and_people_before_events(api: FakeApi, tmp_path: Path) -> None:
    path = jsonl(tmp_path / "a.jsonl", event(1), {"user_id": "u", "goals": ["g"]}, {"item_id": "i", "title": "T"})
    report = api.run(path)
    assert api.order == ["item", "user", "event"]
    assert report.sent == {"items": 1, "users": 1, "events": 1}


def test_a_stopped_import_goes_on_where_it_was_and_nothing_counts_twice(api: FakeApi, tmp_path: Path) -> None:
    path = jsonl(tmp_path / "a.jsonl", {"item_id": "i", "title": "T"}, *(event(n) for n in range(1200)))
    state = tmp_path / "state.json"
    api.stop_after(2)
    with pytest.raises(Unavailable, match="goes on where this one stopped"):
        api.run(path, state)
    assert len(api.events) == 500
    api.go_on()
    report = api.run(path, state)
    assert report.skipped == {"items": 1, "users": 0, "events": 500}
    assert report.sent == {"items": 0, "users": 0, "events": 700}
    assert list(api.events) == [f"e{n}" for n in range(1200)]
    assert api.items == {"i": 1}


def test_another_file_is_imported_from_its_start(api: FakeApi, tmp_path: Path) -> None:
    state = tmp_path / "state.json"
    api.run(jsonl(tmp_path / "a.jsonl", event(1)), state)
    report = api.run(jsonl(tmp_path / "a.jsonl", event(2), event(3)), state)
    assert report.sent["events"] == 2


def test_a_damaged_state_file_says_what_to_do(api: FakeApi, tmp_path: Path) -> None:
    state = tmp_path / "state.json"
    state.write_text("{")
    with pytest.raises(InvalidInput, match="delete it to import from the start"):
        api.run(jsonl(tmp_path / "a.jsonl", event(1)), state)


def test_a_batch_that_is_too_large_is_sent_in_parts(api: FakeApi, tmp_path: Path) -> None:
    def before(request: httpx.Request) -> httpx.Response | None:
        batch = orjson.loads(request.content)["events"]
        return httpx.Response(413, json={"detail": "too large"}) if len(batch) > 70 else None

    api.before = before
    path = jsonl(tmp_path / "a.jsonl", *(event(n) for n in range(300)))
    report = api.run(path)
    assert report.sent["events"] == len(api.events) == 300
    assert list(api.events) == [f"e{n}" for n in range(300)], "in the order of the file"


def test_what_is_refused_is_reported_with_its_line_and_the_rest_is_taken(api: FakeApi, tmp_path: Path) -> None:
    path = jsonl(tmp_path / "a.jsonl", {"item_id": "a", "title": "good"}, {"item_id": "b", "title": "bad"})
    report = api.run(path)
    assert list(map(str, report.refused)) == ["a.jsonl:2: title: is bad"]
    assert report.sent["items"] == 1
    assert set(api.items) == {"a"}


def test_events_are_moved_alike_so_that_the_newest_happens_now_also_after_a_stop(api: FakeApi, tmp_path: Path) -> None:
    path = jsonl(tmp_path / "a.jsonl", *(event(n) for n in range(600)))
    state = tmp_path / "state.json"
    api.stop_after(1)
    with pytest.raises(Unavailable):
        api.run(path, state, ends_now=True)
    api.go_on()
    api.run(path, state, ends_now=True, now=NOW + 999)
    times = [parse_timestamp(api.events[f"e{n}"]["timestamp"]) for n in range(600)]
    assert times[-1] == pytest.approx(NOW)
    assert [round(later - earlier, 3) for earlier, later in pairwise(times)] == [1.0] * 599


def test_events_of_which_the_newest_never_happens_are_moved_no_further_than_there_is_time(
    api: FakeApi, tmp_path: Path
) -> None:
    events = [
        {"type": "click", "item_id": "i", "user_id": "u", "timestamp": f"{year}-12-31T00:00:00Z"}
        for year in (2024, 9999)
    ]
    file = tmp_path / "events.jsonl"
    file.write_bytes(b"\n".join(map(orjson.dumps, events)))
    api.run(file, ends_now=True)
    assert sorted(parse_timestamp(one["timestamp"]) for one in api.events.values()) == [0.0, NOW]


def test_without_a_reader_at_the_address_events_are_sent_at_once(api: FakeApi, tmp_path: Path) -> None:
    api.read, api.detail = lambda: 404, "there is nothing at /v1/items/i"
    path = jsonl(tmp_path / "a.jsonl", {"item_id": "i", "title": "T"}, event(1))
    api.run(path)
    assert api.order == ["item", "event"]


def test_items_that_never_become_searchable_stop_the_import_with_a_hint(
    api: FakeApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    api.read = lambda: 404
    ticks = iter(range(0, 10_000, 100))
    monkeypatch.setattr("eddyline.clients.importer.time.monotonic", lambda: float(next(ticks)))
    path = jsonl(tmp_path / "a.jsonl", {"item_id": "i", "title": "T"}, event(1))
    with pytest.raises(EddylineError, match="is the embedder running"):
        api.run(path)
    assert api.events == {}


def test_events_without_an_id_count_once_however_often_they_are_sent(api: FakeApi, tmp_path: Path) -> None:
    path, state = jsonl(tmp_path / "a.jsonl", *clicks(700)), tmp_path / "state.json"

    def fail_after_taking(request: httpx.Request) -> httpx.Response | None:
        if api.posts == 2:
            api.go_on()
            api.take(request)  # it arrived, and the answer was lost
            raise httpx.ReadTimeout("timed out")
        return None

    api.before = fail_after_taking
    with pytest.raises(Unavailable):
        api.run(path, state)
    api.run(path, state)
    assert len(api.events) == 700
    api.run(path)
    assert len(api.events) == 700, "a second import of the same file changes nothing"


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
    api: FakeApi, answer: httpx.Response, reason: str, tmp_path: Path
) -> None:
    path, state = jsonl(tmp_path / "a.jsonl", *clicks(600)), tmp_path / "state.json"
    api.before = lambda request: answer
    with pytest.raises(Unavailable) as stopped:
        api.run(path, state)
    assert reason in str(stopped.value)
    assert "a.jsonl:1" in str(stopped.value)
    api.go_on()
    assert api.run(path, state).sent["events"] == 600


@pytest.mark.parametrize(
    ("retry_after", "waited"), [("2", 2.0), ("3", 3.0), ("Wed, 21 Oct 2026 07:28:00 GMT", 1.0), ("0", 0.1), (None, 1.0)]
)
def test_a_busy_answer_is_waited_for_whatever_it_says(
    api: FakeApi, retry_after: str | None, waited: float, tmp_path: Path
) -> None:
    headers = {} if retry_after is None else {"Retry-After": retry_after}
    api.before = lambda request: httpx.Response(503, headers=headers) if api.posts < 3 else None
    api.run(jsonl(tmp_path / "a.jsonl", *clicks(1)))
    assert api.slept == [waited] * 2
    assert len(api.events) == 1


def test_one_event_that_is_too_large_is_reported_and_the_rest_is_taken(api: FakeApi, tmp_path: Path) -> None:
    path = jsonl(tmp_path / "a.jsonl", *clicks(3), {**clicks(1)[0], "context": {"huge": "x"}}, *clicks(2))
    too_large = httpx.Response(413, json={"detail": "body: is over the limit"})
    api.before = lambda request: too_large if b"huge" in request.content else None
    report = api.run(path)
    assert list(map(str, report.refused)) == ["a.jsonl:4: body: is over the limit"]
    assert len(api.events) == report.sent["events"] == 5


def test_events_wait_for_the_items_also_when_the_import_was_stopped_in_between(api: FakeApi, tmp_path: Path) -> None:
    path, state = jsonl(tmp_path / "a.jsonl", ITEM, *clicks(1)), tmp_path / "state.json"

    def gone() -> int:
        raise httpx.ConnectError("connection refused")

    api.read = gone
    with pytest.raises(Unavailable, match="connection refused"):
        api.run(path, state)
    assert api.events == {}
    answers = iter([404, 404, 200])
    api.read = lambda: next(answers)
    api.read_items.clear()
    api.run(path, state)
    assert api.read_items == ["i"] * 3
    assert len(api.events) == 1


def test_a_refused_item_is_not_waited_for(api: FakeApi, tmp_path: Path) -> None:
    path, state = jsonl(tmp_path / "a.jsonl", {"title": "no id"}, ITEM, *clicks(600)), tmp_path / "state.json"
    api.before = lambda request: httpx.Response(500) if api.posts == 3 else None
    with pytest.raises(Unavailable):
        api.run(path, state)
    assert set(api.read_items) == {"i"}
    api.read_items.clear()
    assert api.run(path, state).skipped == {"items": 1, "users": 0, "events": 500}, "what was refused isn't there"
    assert set(api.read_items) == {"i"}


def test_a_finished_import_asks_nothing(api: FakeApi, tmp_path: Path) -> None:
    path, state = jsonl(tmp_path / "a.jsonl", ITEM, *clicks(5)), tmp_path / "state.json"
    api.run(path, state)
    api.read_items.clear()
    posts = api.posts
    assert api.run(path, state).skipped == {"items": 1, "users": 0, "events": 5}
    assert (api.read_items, api.posts) == ([], posts)


def test_a_log_that_has_grown_imports_what_is_new(api: FakeApi, tmp_path: Path) -> None:
    path, state = tmp_path / "logs", tmp_path / "state.json"
    path.mkdir()
    first = jsonl(path / "a.jsonl", ITEM, *clicks(7))
    jsonl(path / "b.jsonl", *(event(n) for n in range(3)))
    api.run(path, state)
    assert (len(api.events), api.items) == (10, {"i": 1})
    posts = api.posts
    with first.open("ab") as log:
        log.write(b"\n".join(map(orjson.dumps, clicks(2))) + b"\n")
    jsonl(path / "c.jsonl", event(99))
    report = api.run(path, state)
    assert report.sent == {"items": 0, "users": 0, "events": 3}
    assert (len(api.events), api.items, api.posts) == (13, {"i": 1}, posts + 1)
    assert api.run(path, state).sent["events"] == 0


def test_a_grown_log_whose_position_is_lost_counts_nothing_twice(api: FakeApi, tmp_path: Path) -> None:
    path = jsonl(tmp_path / "a.jsonl", *clicks(7))
    api.run(path)
    path.rename(tmp_path / "renamed.jsonl")
    path = jsonl(tmp_path / "b.jsonl", {"type": "click", "item_id": "i", "user_id": "new"}, *clicks(8))
    api.run(path)
    assert len(api.events) == 9, "equal lines are told apart by their order, new ones are new"


def test_a_position_is_of_one_installation(api: FakeApi, tmp_path: Path) -> None:
    path, state = jsonl(tmp_path / "a.jsonl", ITEM, *clicks(2)), tmp_path / "state.json"
    api.run(path, state)
    api.installation = "another"
    assert api.run(path, state).sent == {"items": 1, "users": 0, "events": 2}
    assert api.run(path, state).sent == {"items": 0, "users": 0, "events": 0}
    api.installation = None
    assert api.run(path, state).sent == {"items": 0, "users": 0, "events": 0}, "it doesn't say"
    api.installation = "one"
    assert api.run(path, state).sent["items"] == 1


def test_lines_that_cannot_be_read_or_sent_stop_nothing(api: FakeApi, tmp_path: Path) -> None:
    path, state = tmp_path / "a.jsonl", tmp_path / "state.json"
    lines = [
        orjson.dumps(ITEM),
        b'{"item_id": ',
        b'{"type": "click", "timestamp": 2024, "item_id": "i", "user_id": "u"}',
        orjson.dumps({"user_id": "", "goals": ["g"]}),
        orjson.dumps({"user_id": "x" * 600, "goals": ["g"]}),
        orjson.dumps({"user_id": 7, "goals": ["g"]}),
        orjson.dumps({"user_id": "..", "goals": ["g"]}),
        *map(orjson.dumps, clicks(1)),
    ]
    path.write_bytes(b"\n".join(lines))
    report = api.run(path, state, ends_now=True)
    assert report.sent == {"items": 1, "users": 1, "events": 1}
    assert [(one.line, one.field) for one in report.refused] == [
        (2, None),
        (3, "timestamp"),
        (4, "user_id"),
        (5, "user_id"),
        (6, "user_id"),
    ]
    assert report.refused[0].given == '{"item_id":'
    assert api.users == {"..": 1}


def test_what_was_refused_is_sent_again_and_nothing_else(api: FakeApi, tmp_path: Path) -> None:
    path, state = jsonl(tmp_path / "a.jsonl", ITEM, {"item_id": "b", "title": "bad"}, *clicks(2)), tmp_path / "state"
    for _ in range(2):
        assert list(map(str, api.run(path, state).refused)) == ["a.jsonl:2: title: is bad"]
    api.before = lambda request: httpx.Response(202, json={"accepted": 1, "rejected": []})  # it takes it by now
    posts = api.posts
    assert api.run(path, state).sent == {"items": 1, "users": 0, "events": 0}
    assert api.run(path, state).skipped == {"items": 2, "users": 0, "events": 2}
    assert api.posts == posts + 1


def test_items_are_sent_again_where_their_columns_are_read_otherwise_but_not_events(
    api: FakeApi, tmp_path: Path
) -> None:
    (tmp_path / "a.csv").write_text("item_id,title,brand\ni,T,Tarp\n")
    jsonl(tmp_path / "b.jsonl", *clicks(2))
    state = tmp_path / "state.json"
    api.run(tmp_path, state, columns=Columns({"brand": ""}))
    report = api.run(tmp_path, state, columns=Columns({"brand": "attributes.brand"}))
    assert report.sent == {"items": 1, "users": 0, "events": 0}
