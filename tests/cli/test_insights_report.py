"""`eddyline insights`, as it is typed: tables, sentences, plots, plans, and what it says when it can't."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.responses import Response
from tests.services.serving import served
from tests.support.fakes import NOW
from tests.support.rows import Desk, cell, cell_rows, clickers, moments, progress_row, variant_row
from typer.testing import CliRunner, Result

from eddyline.adapters.http import json_response, open_to
from eddyline.cli import app
from eddyline.cli.insights_plot import CtrPlotData, wilson
from eddyline.errors import EddylineError, InvalidInput, Misconfigured, Unavailable
from eddyline.insights.api import router
from eddyline.settings import Scope

FILE = """
[[experiment]]
name = "over"
ends = 2020-01-01T00:00:00Z
[[experiment.variant]]
name = "a"
[[experiment.variant]]
name = "b"
[[experiment]]
name = "diversity"
planned_people = 4000
[[experiment.variant]]
name = "control"
[[experiment.variant]]
name = "diverse"
diversity = 0.5
[[experiment.guardrail]]
metric = "ctr"
min = 0.01
least = 10
"""
HOUR = 3600


@pytest.fixture
def desk() -> Desk:
    """A day of lists; diverse is twice as good as control."""
    desk = Desk(FILE)
    for hours in range(24):
        for variant, clicks in (("control", 5), ("diverse", 10)):
            found = cell(["a", "b"], ["x", "y"], {3: 2, 4: 1}, requests=20, impressions=100, clicks=clicks, served=100)
            found.shown, found.clicked = Counter({1: 50, 2: 50}), Counter({1: clicks - 1, 2: 1})
            at = NOW - hours * HOUR
            desk.feed(
                *cell_rows(at, found, surface="home", strategy="eddyline", experiment="diversity", variant=variant)
            )
    desk.feed(progress_row(NOW, late=3, records=100))
    for variant, rate in (("control", 0.05), ("diverse", 0.10)):
        people = moments(clickers(1500, rate, seed=1), NOW - 86_400, NOW)
        desk.feed(variant_row("diversity", desk.revision("diversity"), variant, people))
    return desk


@pytest.fixture
def url(desk: Desk) -> Iterator[str]:
    with served(router(desk.measures, desk.comparison)) as client:
        yield str(client.base_url)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["insights", *arguments])


def printed(*arguments: str) -> str:
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    return " ".join(result.output.split())


def refused(error: type[EddylineError], *arguments: str) -> str:
    result = run(*arguments)
    assert isinstance(result.exception, error), result.output
    return str(result.exception)


def test_a_report_has_the_measures_and_every_running_experiment(url: str) -> None:
    said = printed("report", "--url", url)
    assert "home eddyline 960 4,800 360 7.50%* " in said
    assert "all 960 4,800 360" in said
    assert "diversity: running, revision" in said
    assert "3,000 people of 4,000 planned" in said
    assert "Diverse clicks" in said
    assert "more than control" in said
    assert "guardrail of diverse: ctr at least 0.01: ok (0.1 in 20 lists)" in said
    assert "3 came too late" in said
    assert "over" not in said.split("diversity: running")[0]
    assert "a against" not in said, "what is over isn't reported unasked"


def test_groups_and_windows_are_as_asked_for(url: str) -> None:
    said = printed("report", "--url", url, "--by", "variant", "--last", "1h", "--size", "hour")
    assert "control 40 200 10" in said
    assert "windows of an hour" in said


def test_one_experiment_is_told_by_its_variants(url: str) -> None:
    said = printed("report", "--url", url, "--experiment", "diversity")
    assert "diverse 480 2,400 240" in said
    assert "over" in printed("report", "--url", url, "--experiment", "over")


def test_what_strategies_have_learnt_is_reported(desk: Desk) -> None:
    routes = router(desk.measures, desk.comparison)
    shipped = {"running": {"affinity": 3.0, "next": 0.5}, "first_list": {"affinity": 3.0, "next": 0.5}}
    weights = {"running": {"affinity": 2.25, "next": 1.75}, "first_list": {"affinity": 3.0}}
    learned = {"name": "learned", "learned": True, "weights": weights, "shipped": shipped}
    fresh = {**learned, "name": "fresh", "weights": shipped, "choices": 0, "loss": None, "shipped_loss": None}

    @routes.get("/v1/strategies", openapi_extra=open_to(Scope.OPERATE))
    async def strategies() -> Response:
        one = {**learned, "choices": 1234, "loss": 4.125, "shipped_loss": 4.5}
        content = {"name": "content", "learned": False, "weights": shipped}
        return json_response({"usual": "learned", "strategies": [content, fresh, one]})

    with served(routes) as client:
        said = printed("report", "--url", str(client.base_url))
    assert "learned: learnt from 1,234 choices; loss 4.125 nats a choice of late, 4.500 by the shipped weights" in said
    assert "affinity 2.25 3.00 3.00 3.00" in said
    assert "next 1.75 0.50 0.00 0.50" in said
    assert not any(name in said for name in ("fresh", "content"))


def test_json_is_what_the_api_says(url: str) -> None:
    said: dict[str, Any] = json.loads(run("report", "--url", url, "--json").stdout)
    assert said["kpis"]["total"]["clicks"] == 360
    assert [one["name"] for one in said["experiments"]] == ["diversity"]


@pytest.mark.slow(20)
def test_plots_and_the_answers_are_written(url: str, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    assert "Written to" in run("report", "--url", url, "--output", str(folder)).output
    assert sorted(file.name for file in folder.iterdir()) == ["diversity.png", "report.json"]
    assert (folder / "diversity.png").read_bytes().startswith(b"\x89PNG")
    assert json.loads((folder / "report.json").read_text())["kpis"]["size"] == "hour"


def test_the_plots_can_be_left_out(url: str, tmp_path: Path) -> None:
    run("report", "--url", url, "--experiment", "diversity", "--output", str(tmp_path / "one"), "--no-plot")
    assert [file.name for file in (tmp_path / "one").iterdir()] == ["report.json"]


def test_an_empty_eddyline_has_a_report_too(tmp_path: Path) -> None:
    desk = Desk()
    with served(router(desk.measures, desk.comparison)) as client:
        said = printed("report", "--url", str(client.base_url), "--output", str(tmp_path))
    assert "Nothing was measured yet" in said
    assert (tmp_path / "strategies.png").exists()


def test_names_are_no_markup(desk: Desk, url: str) -> None:
    desk.feed(*cell_rows(NOW, cell(requests=1), surface="[red]x[/]", strategy="[/]"))
    assert "[red]x[/] [/]" in printed("report", "--url", url)


def test_a_skewed_split_is_said_loudly(desk: Desk, url: str) -> None:
    revision = desk.revision("diversity")
    desk.feed(variant_row("diversity", revision, "diverse", moments([{"impressions": 1.0}] * 1000), partition=1))
    assert "SAMPLE RATIO MISMATCH" in printed("report", "--url", url)


def test_what_cannot_be_had_is_said(url: str) -> None:
    assert "there are over, diversity" in refused(EddylineError, "report", "--url", url, "--experiment", "x")
    assert "can't group by colour" in refused(EddylineError, "report", "--url", url, "--by", "colour")
    assert "is Eddyline running?" in refused(Unavailable, "report", "--url", "http://127.0.0.1:1")


def test_a_process_without_insights_is_told_from_a_wrong_name() -> None:
    with served() as client:
        assert "doesn't run insights" in refused(EddylineError, "report", "--url", str(client.base_url))


def test_a_plan_says_how_many_people_it_takes() -> None:
    said = printed("plan", "--ctr", "0.05", "--lift", "0.1", "--people-a-day", "1000")
    plan = json.loads(run("plan", "--ctr", "0.05", "--lift", "0.1", "--json").stdout)
    assert f"{plan['people']:,} people ({plan['each']:,} in each of 2 variants)" in said
    assert f"planned_people = {plan['people']}" in said
    assert f"{-(-plan['people'] // 1000)} days" in said
    assert plan["people"] == 2 * plan["each"]
    assert plan["each"] > plan["fixed"]


def test_a_plan_takes_any_metric() -> None:
    few = json.loads(run("plan", "--metric", "clicks", "--baseline", "2", "--lift", "0.2", "--json").stdout)
    many = json.loads(run("plan", "--metric", "clicks", "--baseline", "2", "--lift", "0.1", "--json").stdout)
    assert few["metric"] == "clicks"
    assert few["people"] < many["people"]


def test_a_plan_that_makes_no_sense_is_refused() -> None:
    assert "--ctr" in refused(Misconfigured, "plan", "--lift", "0.1")
    assert "--baseline" in refused(Misconfigured, "plan", "--lift", "0.1", "--ctr", "0.1", "--metric", "clicks")
    assert "lift" in refused(InvalidInput, "plan", "--lift", "0", "--ctr", "0.1")
    assert "--people-a-day" in refused(InvalidInput, "plan", "--lift", "0.1", "--ctr", "0.1", "--people-a-day", "0")


def test_the_bands_of_the_plot_are_those_of_wilson() -> None:
    assert wilson(10, 100) == pytest.approx((0.0552, 0.1744), abs=1e-4)
    assert wilson(0, 0) == (0.0, 1.0)
    assert wilson(0, 10)[0] == 0.0


def test_the_plot_leaves_out_what_nobody_saw() -> None:
    rows = [{"variant": "a", "impressions": 0}, {"variant": "c", "impressions": 5}, {"variant": "b", "impressions": 9}]
    assert CtrPlotData("e", "variant", [], rows).lines() == ["b", "c"]
