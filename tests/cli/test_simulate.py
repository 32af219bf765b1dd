"""`eddyline simulate`, as it is typed: tables, JSON, a line that lives, and what it says when it can't."""

from __future__ import annotations

import asyncio
import io
import json
import time
from typing import Any

import httpx
import pytest
from rich.console import Console
from tests.clients.simulated import FakeEddyline
from typer.testing import CliRunner, Result

from eddyline.cli import app
from eddyline.cli import simulate as command
from eddyline.cli import simulation_views as views
from eddyline.clients.simulator import Connection, SimulationReport
from eddyline.clients.simulator.simulation_report import Group, GroupTotals
from eddyline.errors import EddylineError, Unavailable


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeEddyline:
    """An Eddyline at any address."""
    fake = FakeEddyline()

    def connect(url: str, concurrency: int, report: SimulationReport) -> Connection:
        transport = httpx.MockTransport(lambda request: fake.answer(request))
        return Connection(url, concurrency, report, asyncio.sleep, time.perf_counter, transport)

    monkeypatch.setattr(command, "connect", connect)
    return fake


def simulate(*arguments: object) -> Result:
    small = ("--people", 20, "--items", 60, "--rate", 0)
    result = CliRunner().invoke(app, ["simulate", *map(str, (*small, *arguments))])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def test_the_report_has_a_row_for_each_variant_and_says_how_fast_it_was(fake: FakeEddyline) -> None:
    fake.has_experiment = True
    shown = simulate("--lists", 200)
    assert shown.exit_code == 0
    assert "learning/learns" in shown.stdout
    assert "learning/chance" in shown.stdout
    assert "CTR by position" in shown.stdout
    assert "200 lists in" in shown.stdout
    assert "(p99)" in shown.stdout
    assert "waiting until they are embedded" in shown.stderr


def test_the_report_says_how_new_items_did(fake: FakeEddyline) -> None:
    shown = simulate("--lists", 300, "--arrivals", 60000, "--milestone", 2)
    (line,) = [line for line in shown.stdout.splitlines() if "new items" in line]
    assert "good ones" in line
    assert "reached 2 clicks" in line
    assert "new items" not in simulate("--lists", 50).stdout


def test_the_report_as_json_is_all_there_is_on_stdout(fake: FakeEddyline) -> None:
    shown = simulate("--lists", 200, "--json", "--seed", 5, "--url", "http://there:81")
    said = json.loads(shown.stdout)
    assert (said["url"], said["seed"], said["all"]["lists"]) == ("http://there:81", 5, 200)
    assert said["all"]["clicks"] == len(fake.of_type("click"))
    (group,) = said["groups"]
    assert (group["experiment"], group["variant"], group["strategy"]) == (None, "usual", "usual")
    assert said["latency_ms"].keys() == {"p50", "p95", "p99"}


def test_the_options_reach_the_lists(fake: FakeEddyline) -> None:
    simulate("--lists", 20, "--surface", "front", "--strategy", "trending", "--limit", 3)
    assert {(asked["surface"], asked["strategy"], int(asked["limit"])) for asked in fake.lists} == {
        ("front", "trending", 3)
    }
    assert len(fake.items) == 60


def test_nobody_there_is_one_line_of_reason(fake: FakeEddyline) -> None:
    def refuse(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("connection refused")

    fake.answer = refuse  # type: ignore[method-assign]
    with pytest.raises(Unavailable, match="can't be reached"):
        simulate("--lists", 5)


def test_what_there_was_is_reported_also_when_it_ends_badly(
    fake: FakeEddyline, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = fake.answer

    def break_down(request: httpx.Request) -> httpx.Response:
        if len(fake.lists) >= 30:
            return httpx.Response(422, json={"detail": "there is no strategy 'magic'"})
        return answer(request)

    fake.answer = break_down  # type: ignore[method-assign]
    result = CliRunner().invoke(app, ["simulate", "--items", "60", "--rate", "0", "--lists", "100"])
    assert isinstance(result.exception, EddylineError)
    assert "no strategy 'magic'" in str(result.exception)
    assert "30 lists in" in result.stdout


def test_no_list_at_all_is_an_error(fake: FakeEddyline) -> None:
    fake.faults = [httpx.Response(500, json={"detail": "a bug"})] * 5
    with pytest.raises(EddylineError, match="no list was answered; a list: 500 a bug"):
        simulate("--lists", 5)


def test_ctrl_c_ends_it_with_the_report(fake: FakeEddyline, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = fake.answer
    tasks: list[asyncio.Task[Any]] = []

    def interrupt(request: httpx.Request) -> httpx.Response:
        if len(fake.lists) == 40 and not tasks:
            tasks.extend(task for task in asyncio.all_tasks() if getattr(task.get_coro(), "__name__", "") == "_run")
            tasks[0].cancel()  # what asyncio does on SIGINT
        return answer(request)

    fake.answer = interrupt  # type: ignore[method-assign]
    shown = simulate("--lists", 100_000)
    assert shown.exit_code == 130
    assert "interrupted" in shown.stdout
    assert "CTR by position" in shown.stdout


@pytest.mark.parametrize("width", [80, 120])
def test_no_figure_is_cut_off(width: int) -> None:
    report = SimulationReport()
    for variant in ("control", "diverse"):
        tally = GroupTotals(
            12_345, 10, 0, 123_450, 98_765, 9_876, 123_456.0, 1_234, 123_456.78, 12_345.0, 9_999.0, {1, 2}
        )
        report.count_list(Group("eddyline", "diversity", variant), tally, 0.05, range(1, 11), [1])
    console = Console(width=width, file=io.StringIO(), record=True)
    views.show(report, console)
    shown = console.export_text()
    assert "…" not in shown
    assert "diversity/diverse" in shown
    assert "10.00%" in shown
    assert ("246,913.56" in shown) == (width == 120)


def test_the_line_says_how_it_goes() -> None:
    report = SimulationReport()
    assert views.line(report, 3.0).startswith("0:03  no list yet")
    report.count_list(
        Group("eddyline", None, "eddyline"), GroupTotals(lists=1, served=10, seen=4, clicks=1), 0.05, [], []
    )
    report.seconds = 0.5
    report.busy = 2
    assert views.line(report, 65.0) == "1:05  1 lists  2.0/s  1 clicks  CTR 25.0%  p95 50 ms  2 errors"


def test_on_a_terminal_there_is_a_live_line(fake: FakeEddyline) -> None:
    terminal = Console(file=io.StringIO(), force_terminal=True, width=100)

    async def watch() -> Any:
        async with command._watched(SimulationReport(), terminal) as say:
            say("sending [1] items")
            await asyncio.sleep(0)

    asyncio.run(watch())
    written = terminal.file.getvalue()  # type: ignore[attr-defined]
    assert "no list yet" in written
    assert "sending [1] items" in written
