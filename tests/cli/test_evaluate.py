"""`eddyline evaluate`, as it is typed: tables, files, settings to paste, and what it says when it can't."""

from __future__ import annotations

import csv
import io
import json
import random
import re
import sys
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from rich.console import Console
from tests.support.fakes import TinyEncoder
from typer.testing import CliRunner, Result

from eddyline.adapters import encoders
from eddyline.cli import app
from eddyline.cli import evaluation_views as views
from eddyline.errors import EddylineError, Misconfigured
from eddyline.evaluation.baselines.popularity_window import WINDOWS
from eddyline.evaluation.interaction_log import InteractionLog
from eddyline.evaluation.metrics import StrategyLists, measure
from eddyline.evaluation.strategy_comparison import Evaluation
from eddyline.settings import STRATEGIES, Settings

FIRST = 1_400_000_000
PEOPLE, ITEMS, EVENTS = 12, 24, 288


@pytest.fixture(autouse=True)
def small_encoder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[TinyEncoder]:
    """An encoder that needs no weights, and a cache of the test's own."""
    made: list[TinyEncoder] = []

    def make(*_: Any) -> TinyEncoder:
        made.append(TinyEncoder())
        return made[-1]

    monkeypatch.setattr(encoders, "create_text_encoder", make)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return made


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """A JSONL log: people go from one item to the next, with pauses; some events are on items that it doesn't have."""
    drawn = random.Random(3)
    lines: list[dict[str, Any]] = [
        {"item_id": f"i{number}", "title": f"film {number % 7} about {number % 5}", "category": f"c{number % 3}"}
        for number in range(ITEMS)
    ]
    lines.append({"user_id": "p0", "interests": ["film 3"]})
    for step in range(EVENTS):
        person, at = step % PEOPLE, FIRST + 600 * step
        item = (step // PEOPLE + drawn.randrange(3)) % (ITEMS + 1)
        lines.append({"type": "like", "user_id": f"p{person}", "item_id": f"i{item}", "timestamp": at})
    folder = tmp_path / "log"
    folder.mkdir()
    (folder / "log.jsonl").write_bytes(b"\n".join(orjson.dumps(line) for line in lines))
    return folder


def evaluate(*arguments: object) -> Result:
    result = CliRunner().invoke(app, ["evaluate", *map(str, arguments)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def rows(file: Path) -> list[dict[str, str]]:
    with file.open(encoding="utf-8", newline="") as opened:
        return list(csv.DictReader(opened))


@pytest.mark.slow(20)
def test_all_strategies_are_compared_by_their_shipped_weights_the_default_first(log: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    shown = evaluate(log, "--output", output)
    assert shown.exit_code == 0
    found = rows(output / "metrics.csv")
    usual = Settings().ranking.strategy
    others = [name for name in STRATEGIES if name != usual]
    assert list(dict.fromkeys(row["strategy"] for row in found)) == [usual, *others, "popularity"]
    assert {row["slice"] for row in found} == {
        "all",
        "positive",
        "new people",
        "new items",
        "after a pause",
        "first of its moment",
        "first after the split",
        "last of a person",
        "shuffled",
    }
    assert {row["metric"] for row in found} == {"hr", "ndcg", "mrr", "coverage", "diversity", "divergence", "novelty"}
    assert {row["k"] for row in found} == {"10"}
    ran = json.loads((output / "run.json").read_text())
    for name, strategy in STRATEGIES.items():
        assert ran["contenders"][name]["strategy"] == strategy.model_dump(mode="json")
        assert ran["contenders"][name]["ranking"] == Settings().ranking.model_dump(mode="json")
    assert ran["log"]["left_out"] == {"on unknown items": sum(ran["log"]["left_out"].values())}
    assert ran["log"]["events"] + ran["log"]["left_out"]["on unknown items"] == EVENTS
    assert "left out" in shown.stderr
    assert "requests/s" in shown.stdout


def test_the_table_and_the_file_say_the_same(log: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    shown = evaluate(log, "--strategy", "affinity", "--strategy", "trending", "--no-shuffled", "--output", output)
    found = {(row["slice"], row["strategy"], row["metric"]): row for row in rows(output / "metrics.csv")}
    value = float(found["all", "affinity", "hr"]["value"])
    first = re.search(r"affinity\s+(\S+) ±", shown.stdout)
    assert first is not None
    assert float(first[1]) == pytest.approx(value, abs=0.0005)
    other = found["all", "trending", "hr"]
    assert float(other["difference"]) == pytest.approx(float(other["value"]) - value, abs=2e-6)
    assert float(other["difference_low"]) <= float(other["difference"]) <= float(other["difference_high"])
    assert found["all", "affinity", "hr"]["difference"] == ""
    assert "shuffled" not in shown.stdout


@pytest.mark.slow(10)
def test_the_same_seed_writes_the_same_file(log: Path, tmp_path: Path) -> None:
    for name, seed in (("one", 4), ("two", 4), ("three", 5)):
        evaluate(log, "--strategy", "eddyline", "--seed", seed, "--no-plot", "--output", tmp_path / name)
    one, two, three = ((tmp_path / name / "metrics.csv").read_bytes() for name in ("one", "two", "three"))
    assert one == two
    assert one != three


def test_every_list_can_be_written(log: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    evaluate(log, "--strategy", "affinity", "--k", 4, "--stride", 2, "--requests", "--no-plot", "--output", output)
    found = rows(output / "requests.csv")
    assert {row["log"] for row in found} == {"as it was", "shuffled"}
    hits = 0
    for row in found:
        listed = json.loads(row["recommended"])
        assert len(listed) <= 4
        hits += row["item_id"] in listed
        assert row["rank"] == (str(listed.index(row["item_id"]) + 1) if row["item_id"] in listed else "")
    assert hits > 0
    assert not (output / "quality.png").exists()


def test_the_plot_is_a_picture(log: Path, tmp_path: Path) -> None:
    evaluate(log, "--strategy", "eddyline", "--strategy", "trending", "--output", tmp_path / "out")
    assert (tmp_path / "out" / "quality.png").read_bytes().startswith(b"\x89PNG")


def test_without_matplotlib_the_extra_is_named_before_anything_runs(
    log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small_encoder: list[TinyEncoder]
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(Misconfigured, match=r"eddyline\[evaluate\]"):
        evaluate(log, "--output", tmp_path / "out")
    assert not small_encoder
    assert evaluate(log, "--strategy", "trending", "--no-plot", "--output", tmp_path / "out").exit_code == 0


def test_texts_are_encoded_once(log: Path, small_encoder: list[TinyEncoder]) -> None:
    for _ in range(2):
        evaluate(log, "--strategy", "trending", "--no-shuffled")
    first, second = small_encoder
    assert len(first.texts) == len(set(first.texts)) > 1
    assert second.texts == []


@pytest.mark.slow(10)
def test_tuning_prints_settings_and_never_sees_the_last_part(
    log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[InteractionLog] = []

    def watched(self: Evaluation, asked: Any, begin: int, progress: Any, what: str = "events", *more: Any) -> Any:
        if what == "tuning":
            seen.append(self.log)
        return run(self, asked, begin, progress, what, *more)

    run = Evaluation.run_with
    monkeypatch.setattr(Evaluation, "run_with", watched)
    output = tmp_path / "out"
    shown = evaluate(
        log,
        "--strategy",
        "content",
        "--tune",
        "--no-shuffled",
        "--no-plot",
        "--requests",
        "--output",
        output,
    )
    asked = {row["event_id"] for row in rows(output / "requests.csv")}
    assert asked
    assert seen
    for part in seen:
        assert asked.isdisjoint(event.event_id for event in part.events)
    table = shown.stdout[shown.stdout.index("[strategies.content]") : shown.stdout.index("All: people")]
    pasted = Settings(**tomllib.loads(table))
    ran = json.loads((output / "run.json").read_text())
    assert list(ran["contenders"]) == ["content", "content (tuned)"]
    assert ran["contenders"]["content (tuned)"]["strategy"] == pasted.strategies["content"].model_dump(mode="json")


@pytest.mark.parametrize("width", [80, 120])
def test_no_figure_is_cut_off(width: int) -> None:
    some = StrategyLists(
        np.asarray([[0, 1]] * 9), np.asarray([1, 0, 2] * 3), np.full(9, 0.25), np.full(9, 12.5), np.zeros(9)
    )
    none = StrategyLists(
        np.asarray([[1, -1]] * 9), np.zeros(9, dtype=np.int32), np.full(9, np.nan), np.full(9, 9.5), np.zeros(9)
    )
    found = measure("all", np.arange(9), {"eddyline": some, "eddyline (tuned)": none}, items=7, seed=1)
    console = Console(width=width, file=io.StringIO(), record=True)
    views.show(found, 10, console)
    shown = console.export_text()
    assert "…" not in shown
    assert ".667 ±" in shown
    assert "-.667 ±" in shown
    assert ("12.50" in shown) == (width == 120)


@pytest.mark.slow(10)
def test_baselines_are_in_the_same_tables_on_the_same_requests(log: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    against = ("--against", "vsknn", "--against", "ease", "--against", "popularity-window")
    evaluate(log, "--strategy", "affinity", *against, "--repeats", "--requests", "--no-plot", "--output", output)
    found = rows(output / "metrics.csv")
    names = ["affinity", "vsknn", "ease (frozen)", "ease (refitted)", *(f"popularity of a {one}" for one in WINDOWS)]
    assert list(dict.fromkeys(row["strategy"] for row in found)) == names
    assert {row["slice"] for row in found} >= {"all", "repeats", "shuffled"}
    of_all = [row["difference"] for row in found if (row["slice"], row["metric"]) == ("all", "hr")]
    assert of_all[0] == ""
    assert all(of_all[1:])
    asked = rows(output / "requests.csv")
    of_each = [[row["event_id"] for row in asked if row["strategy"] == name] for name in names]
    assert all(one == of_each[0] for one in of_each)
    assert json.loads((output / "run.json").read_text())["against"] == ["vsknn", "ease", "popularity-window"]


def test_own_strategies_of_the_settings_can_be_compared(log: Path, tmp_path: Path) -> None:
    config = tmp_path / "my.toml"
    config.write_text("[strategies.mine]\naffinity = 2.0\n")
    shown = evaluate(log, "--config", config, "--strategy", "mine", "--no-shuffled")
    assert "mine" in shown.stdout


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--strategy", "best"], r"no strategy best: there are eddyline, .*\[strategies.NAME\]"),
        (["--against", "bert"], "no baseline bert: there are sasrec, "),
        (["--min-events", "1000", "--share", "0.01"], "too small"),
    ],
)
def test_what_cannot_be_evaluated_is_said(log: Path, arguments: list[str], reason: str) -> None:
    with pytest.raises(EddylineError, match=reason):
        evaluate(log, *arguments)


def test_options_that_contradict_each_other_are_refused(log: Path) -> None:
    assert "--share below 0.5" in evaluate(log, "--tune", "--share", 0.6).output
    assert evaluate(log, "--requests").exit_code == 2
