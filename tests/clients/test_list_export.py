"""Lists for many people: everyone has a line, once, in order, whatever happens on the way."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson
import pytest
from tests.services.reading import Shop, stocked
from tests.services.reports import ServedReports
from tests.services.serving import served
from tests.support.fakes import TinyEncoder
from tests.support.system import wait_until
from typer.testing import CliRunner, Result

from eddyline.adapters.kafka import EmbeddedBroker, LogReader
from eddyline.adapters.vectors import ITEMS, PROFILES, Distance, EdgeStore
from eddyline.cli.commands import app
from eddyline.cli.recommend import directly, stored_users
from eddyline.clients import Client
from eddyline.clients.list_export import Ask, ExportReport, ListExport, ListFile, over_http, read_ids
from eddyline.clients.progress import ProgressListener
from eddyline.errors import AlreadyRunning, EddylineError, InvalidInput, Misconfigured, Unavailable
from eddyline.model.events import ServedList, parse_event
from eddyline.reader import router
from eddyline.runtime.collection_setup import create_collections
from eddyline.runtime.connections import vectors_directory
from eddyline.settings import Settings

USERS = [f"user{n}" for n in range(20)]
BODY: dict[str, Any] = {"limit": 5}
WAIT = 60.0


class Reader:
    """Answers with a list of one, and fails as it is told."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self.down_after: int | None = None
        self.busy = 0
        self.degraded = 0
        self.broken: set[str] = set()
        self.refused: dict[str, InvalidInput] = {}
        self.interrupt_at: str | None = None
        self._lock = threading.Lock()

    def __call__(self, body: Mapping[str, Any]) -> Mapping[str, Any]:
        with self._lock:
            user = str(body["user_id"])
            if self.down_after is not None and sum(self.asked.values()) >= self.down_after:
                raise Unavailable("nobody answers")
            if self.busy:
                self.busy -= 1
                raise Unavailable("busy")
            if self.degraded:
                self.degraded -= 1
                return {"items": [], "degraded": True}
            if user == self.interrupt_at:
                raise KeyboardInterrupt
            if user in self.refused:
                raise self.refused[user]
            if user in self.broken:
                raise EddylineError("something went wrong")
            self.asked[user] += 1
        return {"items": [{"item_id": f"for {user}"}], "next": "cursor", "degraded": False}


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "lists.jsonl"


def lists(path: Path) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in path.read_bytes().splitlines()]


def run(
    ask: Ask, path: Path, body: Mapping[str, Any] = BODY, users: list[str] = USERS, at_once: int = 4
) -> ExportReport:
    pauses: list[float] = []
    with ListFile(path, {"users": "these", **body}) as file:
        return ListExport(ask, file, body, at_once, ProgressListener(), pauses.append).run(users)


# -- what is written ---------------------------------------------------------------------------------------------------


def test_everyone_has_a_line_in_the_order_given(output: Path) -> None:
    report = run(Reader(), output)
    assert lists(output) == [{"user_id": user, "items": [{"item_id": f"for {user}"}]} for user in USERS]
    assert report == ExportReport(written=20)


@pytest.fixture(scope="module")
def shop() -> Iterator[Shop]:
    shop = stocked()
    for n, user in enumerate(("ada", "bob")):
        shop.did(user, "kitchen1" if n else "space1", "like")
    with shop.open():
        yield shop


def test_a_line_is_what_a_reader_answers(shop: Shop, output: Path, tmp_path: Path) -> None:
    body = {"limit": 3, "filter": {"category": "space"}, "surface": "newsletter"}
    run(directly(shop.reader), output, body, ["ada", "bob", "nobody"])
    over = tmp_path / "over.jsonl"
    with Client(str(shop.client.base_url)) as client:
        run(over_http(client), over, body, ["ada", "bob", "nobody"])
    for path in (output, over):
        for line, user in zip(lists(path), ("ada", "bob", "nobody"), strict=True):
            answer = shop.asked(user_id=user, **body)
            assert line["user_id"] == user
            assert line["items"] == answer["items"]
            assert len(line["items"]) == 3
            assert line["cold_start"] == (user == "nobody")
            assert "next" not in line


def test_a_line_has_the_request_id_by_which_the_measures_know_the_list(output: Path, tmp_path: Path) -> None:
    shop, reports = stocked(), ServedReports()
    shop.reader = shop.new_reader(served_lists=reports.log)
    over, body = tmp_path / "over.jsonl", {"limit": 3, "surface": "newsletter"}
    run(directly(shop.reader), output, body, ["ada", "bob"], at_once=1)
    with shop.open(), Client(str(shop.client.base_url)) as client:
        run(over_http(client), over, body, ["ada", "bob"], at_once=1)
    told = reports.told()
    written = [*lists(output), *lists(over)]
    assert len({line["request_id"] for line in written}) == 4
    assert [(one.request_id, one.user_id) for one in told] == [(one["request_id"], one["user_id"]) for one in written]
    assert {(one.batch, one.surface) for one in told} == {(True, "newsletter")}
    for one, line in zip(told, written, strict=True):
        assert [place.item_id for place in one.items] == [item["item_id"] for item in line["items"]]


def test_no_more_requests_at_once_than_allowed(output: Path) -> None:
    together, most, lock = 0, 0, threading.Lock()
    full = threading.Barrier(3)

    def ask(body: Mapping[str, Any]) -> Mapping[str, Any]:
        nonlocal together, most
        with lock:
            together += 1
            most = max(most, together)
        full.wait(WAIT)
        with lock:
            together -= 1
        return {"items": []}

    run(ask, output, users=USERS[:18], at_once=3)
    assert most == 3
    assert [line["user_id"] for line in lists(output)] == USERS[:18]


# -- who has no list ---------------------------------------------------------------------------------------------------


def test_someone_who_fails_is_noted_and_the_others_have_their_lists(output: Path) -> None:
    reader = Reader()
    reader.broken = {"user3"}
    reader.refused = {"user7": InvalidInput("is too odd", "user_id")}
    report = run(reader, output)
    assert (report.written, report.failed) == (20, 2)
    assert {line["user_id"]: line["error"] for line in lists(output) if "error" in line} == {
        "user3": "something went wrong",
        "user7": "user_id: is too odd",
    }
    reader.broken = set()
    again = run(reader, output)
    assert (again.written, again.failed, again.finished_before) == (0, 2, True)


def test_parameters_that_are_refused_stop_the_run(shop: Shop, output: Path, tmp_path: Path) -> None:
    body = {"limit": 3, "filter": {"colour": "red"}}
    with Client(str(shop.client.base_url)) as client:
        for ask, path in ((directly(shop.reader), output), (over_http(client), tmp_path / "over.jsonl")):
            with pytest.raises(InvalidInput, match=r"filter\.colour"):
                run(ask, path, body, ["ada", "bob"])
            assert path.read_bytes() == b""
    with pytest.raises(InvalidInput, match="limit"):
        run(directly(shop.reader), output, {"limit": 1000}, ["ada"])


# -- patience ----------------------------------------------------------------------------------------------------------


def test_a_busy_reader_is_asked_again(output: Path) -> None:
    reader = Reader()
    reader.busy = 6
    assert run(reader, output).written == 20
    assert set(reader.asked.values()) == {1}


def test_an_answer_from_a_cache_is_nobodys_newsletter(output: Path) -> None:
    reader = Reader()
    reader.degraded = 3
    run(reader, output)
    assert all(line["items"] for line in lists(output))
    reader = Reader()
    reader.degraded = 10_000
    with pytest.raises(Unavailable, match="cache"):
        run(reader, output.with_name("other.jsonl"))


def test_nobody_at_the_address_is_said_at_once(output: Path) -> None:
    with Client("http://127.0.0.1:9") as client, pytest.raises(Unavailable, match="can't be reached"):
        over_http(client)


# -- going on ----------------------------------------------------------------------------------------------------------


def test_a_run_goes_on_where_an_outage_stopped_it(output: Path) -> None:
    reader = Reader()
    reader.down_after = 9
    with pytest.raises(Unavailable, match="the same command goes on"):
        run(reader, output, at_once=1)
    assert [line["user_id"] for line in lists(output)] == USERS[:9]
    reader.down_after = None
    report = run(reader, output)
    assert (report.written, report.earlier) == (11, 9)
    assert [line["user_id"] for line in lists(output)] == USERS
    assert reader.asked == Counter(USERS)


def test_an_interrupted_run_leaves_whole_lines_and_goes_on(output: Path) -> None:
    reader = Reader()
    reader.interrupt_at = "user11"
    with pytest.raises(KeyboardInterrupt):
        run(reader, output)
    assert [line["user_id"] for line in lists(output)] == USERS[:11]
    reader.interrupt_at = None
    assert run(reader, output).earlier == 11
    assert [line["user_id"] for line in lists(output)] == USERS


def test_a_torn_last_line_is_cut(output: Path) -> None:
    reader = Reader()
    reader.interrupt_at = "user5"
    with pytest.raises(KeyboardInterrupt):
        run(reader, output)
    with output.open("ab") as file:
        file.write(b'{"user_id":"user5","items":[{"item')
    reader.interrupt_at = None
    assert run(reader, output).earlier == 5
    assert [line["user_id"] for line in lists(output)] == USERS
    assert len({orjson.dumps(line["items"]) for line in lists(output)}) == 20


def test_a_complete_run_asks_nothing_more(output: Path) -> None:
    run(Reader(), output)
    before, reader = output.read_bytes(), Reader()
    report = run(reader, output, users=[*USERS, "newcomer"])
    assert (report.finished_before, report.written, report.earlier) == (True, 0, 20)
    assert not reader.asked
    assert output.read_bytes() == before


@pytest.mark.parametrize(
    ("parameters", "reason"),
    [
        ({"users": "these", "limit": 6}, "limit 5, not 6"),
        ({"users": "these", "limit": 5, "strategy": "articles"}, 'strategy none, not "articles"'),
        ({"users": "those", "limit": 5}, "other people"),
        ({"users": "these"}, "limit 5, not none"),
    ],
)
def test_going_on_with_other_parameters_is_refused(output: Path, parameters: dict[str, Any], reason: str) -> None:
    reader = Reader()
    reader.down_after = 3
    with pytest.raises(Unavailable):
        run(reader, output)
    before = output.read_bytes()
    with pytest.raises(InvalidInput, match=reason):
        ListFile(output, parameters)
    assert output.read_bytes() == before
    run(Reader(), output)


def test_a_file_of_someone_elses_is_left_alone(output: Path) -> None:
    output.write_text('{"user_id": "ada"}\n')
    with pytest.raises(InvalidInput, match=r"no lists\.jsonl\.run beside it"):
        run(Reader(), output)
    output.with_name("lists.jsonl.run").write_bytes(orjson.dumps({"parameters": {"users": "these", "limit": 5}}))
    output.write_text('{"user_id": "ada"}\n{"name": "x"}\n')
    with pytest.raises(InvalidInput, match="line 2"):
        run(Reader(), output)
    assert output.read_text() == '{"user_id": "ada"}\n{"name": "x"}\n'


def test_two_runs_never_write_one_file(output: Path) -> None:
    with ListFile(output, BODY), pytest.raises(AlreadyRunning, match="another run"):
        run(Reader(), output)
    assert run(Reader(), output).written == 20


# -- for whom ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "ada\n\n bob \nada\neve",
        '{"user_id": "ada", "mail": "a@b"}\n{"user_id": "bob"}\n{"user_id": "eve"}\n{"user_id": "bob"}\n',
        "\ufeffada\r\nbob\r\neve\r\n",
    ],
)
def test_people_are_named_one_a_line_or_as_json_lines_and_count_once(tmp_path: Path, text: str) -> None:
    path = tmp_path / "users"
    path.write_bytes(text.encode())
    assert read_ids(path, "user_id").ids == ["ada", "bob", "eve"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "names nobody"),
        (b"\n \n", "names nobody"),
        (b"ada\n" + b"x" * 513, "users:2.*user_id"),
        (b'{"user_id": "ada"}\nbob\n', "users:2.*JSON object"),
        (b'{"user": "ada"}\n', "users:1.*user_id"),
        (b'{"user_id": 7}\n', "users:1"),
        (b"\xff", "UTF-8"),
    ],
)
def test_a_wrong_list_of_people_is_refused_with_the_line(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "users"
    path.write_bytes(content)
    with pytest.raises(InvalidInput, match=reason):
        read_ids(path, "user_id")
    with pytest.raises(InvalidInput, match="can't be read"):
        read_ids(tmp_path / "nothing", "user_id")


@pytest.mark.slow(10)
def test_all_are_the_users_who_are_there() -> None:
    shop = stocked()
    for n in range(600):
        shop.user(f"u{n}", {"interests": ["bread"]})
    for user in ("ada", "bob", "a:x7", "a:x8"):
        shop.did(user, "space1")
    shop.user("bob", None)
    shop.identify("x8", "carol")
    assert sorted(stored_users(shop.store).ids) == sorted([*(f"u{n}" for n in range(600)), "ada", "carol"])


# -- the command -------------------------------------------------------------------------------------------------------


def invoke(*arguments: object) -> Result:
    """The command, in this process; what it raises is what its user reads."""
    return CliRunner().invoke(app, ["recommend", *map(str, arguments)])


def start(*arguments: object, cwd: Path) -> subprocess.Popen[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("EDDYLINE_")}
    command = [sys.executable, "-m", "eddyline", "recommend", *map(str, arguments)]
    return subprocess.Popen(
        command, cwd=cwd, env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


class Gate:
    """A reader that answers the first so many people at once, whichever asks first, and the others when it is let."""

    def __init__(self, shop: Shop, most: int) -> None:
        self._recommend = shop.reader.recommend
        self.first, self.opened = frozenset(USERS[:most]), threading.Event()
        self.asked: Counter[str] = Counter()
        shop.reader.recommend = self._answer  # type: ignore[method-assign]

    def _answer(self, request: Any, variant: str | None = None) -> dict[str, Any]:
        if request.user_id not in self.first:
            assert self.opened.wait(WAIT)
        self.asked[request.user_id] += 1
        return self._recommend(request, variant)


@pytest.mark.process
@pytest.mark.slow(10)
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_run_that_is_killed_goes_on(tmp_path: Path, number: signal.Signals) -> None:
    shop, output = stocked(), tmp_path / "lists.jsonl"
    gate = Gate(shop, most=7)
    (tmp_path / "users").write_text("\n".join(USERS))
    with served(router(shop.reader, 100_000)) as client:
        asked = ("users", "--limit", 3, "--output", output, "--url", client.base_url, "--concurrency", 2)
        process = start(*asked, cwd=tmp_path)
        try:
            wait_until(lambda: output.exists() and output.read_bytes().count(b"\n") >= 3, "some lists", WAIT)
            process.send_signal(number)
            if number == signal.SIGKILL:
                process.wait(WAIT)
                gate.opened.set()
            else:
                gate.opened.set()
                assert process.wait(WAIT) == 130
        finally:
            process.kill()
            process.communicate()
        before = output.read_bytes()
        assert before.count(b"\n") < len(USERS)
        again = invoke(tmp_path / "users", *asked[1:])
    assert again.exception is None, again.exception
    assert "from an earlier run" in again.output
    assert output.read_bytes().startswith(before[: before.rfind(b"\n") + 1])
    assert [line["user_id"] for line in lists(output)] == USERS
    assert all(len(line["items"]) == 3 for line in lists(output))


def test_an_interrupt_that_python_drops_ends_it_after_the_line(tmp_path: Path) -> None:
    """As where it is raised while an object is being freed."""
    path = tmp_path / "lists.jsonl"
    with ListFile(path, {"limit": 3}) as file:
        work = ListExport(lambda _: {"items": []}, file, {}, 2, ProgressListener())
        write = file.write

        def stop_and_write(line: Mapping[str, Any]) -> None:
            work.stop()
            write(line)

        file.write = stop_and_write  # type: ignore[method-assign]
        with pytest.raises(KeyboardInterrupt):
            work.run(USERS)
    assert len(lists(path)) == 1


def test_the_exit_code_says_that_someone_failed(tmp_path: Path) -> None:
    shop = stocked()

    def recommend(request: Any, variant: str | None = None) -> dict[str, Any]:
        if request.user_id == "user1":
            raise InvalidInput("is too odd", "user_id")
        return {"items": []}

    shop.reader.recommend = recommend  # type: ignore[method-assign]
    (tmp_path / "users").write_text("user0\nuser1\nuser2\n")
    with served(router(shop.reader, 100_000)) as client:
        ended = invoke(tmp_path / "users", "--output", tmp_path / "lists.jsonl", "--url", client.base_url)
    assert isinstance(ended.exception, EddylineError)
    assert "1 people have no list" in str(ended.exception)
    assert ["error" in line for line in lists(tmp_path / "lists.jsonl")] == [False, True, False]


def on_disk(place: Path) -> tuple[Settings, EdgeStore]:
    """A store with Ada, who likes space, Bob, who likes kitchens, and an anonymous visitor; it is open."""
    shop = stocked()
    shop.did("ada", "space1", "like")
    shop.did("bob", "kitchen1", "like")
    shop.did("a:x7", "kitchen1", "like")
    settings = Settings(data_dir=place / "data")
    edge = EdgeStore(vectors_directory(settings))
    create_collections(edge, settings, TinyEncoder.dimension, Distance.COSINE)
    for collection, vectors in ((ITEMS, ("content",)), (PROFILES, ("taste", "session", "lifetime", "history"))):
        edge.upsert(collection, shop.store.scroll(collection, limit=1000, vectors=vectors)[0])
    return settings, edge


@pytest.mark.slow(10)
def test_the_command_opens_the_store_where_nothing_runs(tmp_path: Path) -> None:
    settings, edge = on_disk(tmp_path)
    output, wanted = tmp_path / "lists.jsonl", '{"category": ["space", "kitchen"]}'
    pool = tmp_path / "pool"
    pool.write_text("\n".join(f"{kind}{n}" for kind in ("space", "kitchen") for n in range(10, 20)))
    asked = ("--all", "--output", output, "--data-dir", settings.data_dir, "--filter", wanted, "--pool", pool)
    held = invoke(*asked)
    assert isinstance(held.exception, AlreadyRunning)
    assert "--url" in str(held.exception)
    edge.close()
    ended = invoke(*asked)
    assert ended.exception is None, ended.exception
    first = {line["user_id"]: line["items"][0]["category"] for line in lists(output)}
    assert first == {"ada": "space", "bob": "kitchen"}
    shown = {item["item_id"] for line in lists(output) for item in line["items"]}
    assert shown
    assert shown <= set(pool.read_text().split())


EXPERIMENTS = """
[[experiment]]
name = "mail"
surface = "newsletter"
[[experiment.variant]]
name = "control"
weight = 0.000001
[[experiment.variant]]
name = "trends"
weight = 1000000
strategy = "trending"
"""


@pytest.mark.slow(10)
def test_the_command_follows_the_experiments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings, edge = on_disk(tmp_path)
    edge.close()
    file, output = tmp_path / "tests.toml", tmp_path / "lists.jsonl"
    file.write_text(EXPERIMENTS)
    monkeypatch.setenv("EDDYLINE_EXPERIMENTS_FILE", str(file))
    asked = ("--all", "--data-dir", settings.data_dir, "--output")
    assert invoke(*asked, output, "--surface", "newsletter").exception is None
    said = [(line["experiment"], line["variant"], line["strategy"]) for line in lists(output)]
    assert said == [("mail", "trends", "trending")] * 2
    assert invoke(*asked, tmp_path / "elsewhere.jsonl").exception is None
    assert [line["experiment"] for line in lists(tmp_path / "elsewhere.jsonl")] == [None, None]


def test_wrong_experiments_stop_the_command_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, edge = on_disk(tmp_path)
    edge.close()
    file, output = tmp_path / "tests.toml", tmp_path / "lists.jsonl"
    file.write_text(EXPERIMENTS.replace("trending", "nope"))
    monkeypatch.setenv("EDDYLINE_EXPERIMENTS_FILE", str(file))
    ended = invoke("--all", "--output", output, "--data-dir", settings.data_dir)
    assert isinstance(ended.exception, Misconfigured)
    assert "'mail', variant 'trends', strategy" in str(ended.exception)
    assert not output.exists()


@pytest.mark.slow(20)
@pytest.mark.parametrize("is_told", [True, False])
def test_the_command_tells_kafka_what_it_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_told: bool) -> None:
    settings, edge = on_disk(tmp_path)
    edge.close()
    broker = EmbeddedBroker()
    monkeypatch.setenv("EDDYLINE_KAFKA__BOOTSTRAP_SERVERS", broker.options.bootstrap_servers)
    monkeypatch.setenv("EDDYLINE_INSIGHTS__REPORT_SERVED_LISTS", str(is_told))
    output = tmp_path / "lists.jsonl"
    ended = invoke("--all", "--output", output, "--data-dir", settings.data_dir, "--surface", "newsletter")
    topic = LogReader(broker.options)
    try:
        ends = {partition: bounds.high for partition, bounds in topic.bounds("impressions").items()}
        records = [one for partition, end in ends.items() for one in topic.read("impressions", partition, 0, end)]
    finally:
        topic.close()
        broker.close()
    assert ended.exception is None, ended.exception
    told = {one.request_id: one for one in (parse_event(ServedList, record.value) for record in records)}
    assert told.keys() == {line["request_id"] for line in lists(output) if is_told}
    assert {(one.batch, one.surface) for one in told.values()} <= {(True, "newsletter")}


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ((), "--all"),
        (("users", "--all"), "--all"),
        (("users", "--filter", "[1]"), "JSON object"),
        (("users", "--filter", "{"), "not JSON"),
        (("--all", "--url", "http://127.0.0.1:9"), "--all"),
    ],
)
def test_a_wrong_command_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], reason: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("users").write_text("ada\n")
    ended = invoke(*arguments, "--output", "lists.jsonl")
    assert isinstance(ended.exception, EddylineError)
    assert reason in str(ended.exception)
    assert not Path("lists.jsonl").exists()
