"""`eddyline insights`: what came of the lists, which variant does better, and how many people it takes to know."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import orjson
import typer

from eddyline.cli.shared_options import RUNNING, Url, api_key
from eddyline.cli.terminal_output import errors, output, print_json, print_line
from eddyline.clients import Client
from eddyline.errors import EddylineError, InvalidInput, Misconfigured, Unavailable, UnexpectedResponse

USUAL_GROUPS = "surface,strategy"

insights = typer.Typer(
    name="insights",
    help="Measure served lists: metrics, experiments, and how many people an experiment takes.",
    no_args_is_help=True,
)


@insights.command()
def report(
    url: Url = RUNNING,
    experiment: Annotated[
        str | None,
        typer.Option("--experiment", help="Only this experiment; by default the measures and all running experiments."),
    ] = None,
    last: Annotated[str, typer.Option("--last", help="Only lists served within this time, e.g. 30m, 24h, 7d.")] = "24h",
    size: Annotated[str | None, typer.Option("--size", help="Size of the windows: minute, hour or day.")] = None,
    by: Annotated[
        str,
        typer.Option("--by", help="Group by: surface, strategy, experiment, variant, category, time."),
    ] = USUAL_GROUPS,
    as_json: Annotated[bool, typer.Option("--json", help="Print the API's answers as one JSON object.")] = False,
    folder: Annotated[
        Path | None, typer.Option("--output", help="Folder for report.json and the plots, one for each experiment.")
    ] = None,
    no_plot: Annotated[bool, typer.Option("--no-plot", help="Skip the plots.")] = False,
) -> None:
    """Report how lists and experiments are doing."""
    from eddyline.cli import insights_plot as plot
    from eddyline.cli import insights_views as views

    if folder is not None and not no_plot:
        plot.check()
    console = output()
    with _open(url) as client:
        window = {"last": last, **({} if size is None else {"size": size})}
        only = {} if experiment is None else {"experiment": experiment}
        if experiment is not None and by == USUAL_GROUPS:  # one experiment is reported by its variants
            by = "variant"
        answers: dict[str, Any] = {
            "experiments": [client.experiment(name) for name in _names(client, experiment)],
            "kpis": client.kpis({**window, **only, "by": by}),
            "strategies": _strategies(client),
        }
        series = {} if folder is None or no_plot else _series(client, window, answers["experiments"])
    if as_json:
        print_json(answers)
    else:
        views.show_kpis(answers["kpis"], console)
        views.show_learning(answers["strategies"], console)
        for one in answers["experiments"]:
            views.show_experiment(one, console)
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "report.json").write_bytes(orjson.dumps(answers, option=orjson.OPT_INDENT_2) + b"\n")
        for name, drawn in series.items():
            plot.draw(folder / f"{quote(name, safe='')}.png", drawn)
        print_line(errors(), f"Written to {folder}.")


@insights.command()
def plan(
    lift: Annotated[float, typer.Option("--lift", help="Relative lift to detect: 0.1 for 10 % more.")],
    ctr: Annotated[float | None, typer.Option("--ctr", help="The control's click-through rate, e.g. 0.05.")] = None,
    metric: Annotated[
        str, typer.Option("--metric", help="ctr, clicks, conversions, revenue or dwell; with --baseline.")
    ] = "ctr",
    baseline: Annotated[float | None, typer.Option("--baseline", help="The control's value of the metric.")] = None,
    per_person: Annotated[
        float | None,
        typer.Option("--per-person", help="Impressions (ctr), conversions (revenue) or dwells per person, on average."),
    ] = None,
    variants: Annotated[int, typer.Option("--variants", help="Number of variants, including the control.")] = 2,
    a_day: Annotated[
        float | None,
        typer.Option("--people-a-day", help="New people in the experiment per day; prints how long it takes."),
    ] = None,
    alpha: Annotated[
        float, typer.Option("--alpha", help="Highest rate of false alarms, over all looks together.")
    ] = 0.05,
    power: Annotated[float, typer.Option("--power", help="Probability of detecting the lift.")] = 0.8,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Compute how many people an experiment takes (its `planned_people`), however often it is looked at."""
    from dataclasses import asdict

    from eddyline.cli import insights_views as views

    if (ctr is None) == (baseline is None):
        raise Misconfigured("give the control's click-through rate with --ctr, or --metric and --baseline")
    if ctr is not None and metric != "ctr":
        raise Misconfigured(f"--ctr isn't for the metric {metric}: give its value with --baseline")
    value = baseline if ctr is None else ctr
    assert value is not None
    try:
        from eddyline.insights import statistics
    except ImportError:
        raise Misconfigured("planning needs: pip install 'eddyline[insights]'") from None
    found = statistics.plan_sample_size(
        metric=metric,
        baseline=value,
        lift=lift,
        per_person=per_person,
        variants=variants,
        alpha=alpha,
        power=power,
    )
    if a_day is not None and not a_day > 0:
        raise InvalidInput("must be over 0", "--people-a-day")
    if as_json:
        print_json(asdict(found))
    else:
        views.show_plan(found, a_day, output())


def _names(client: Client, experiment: str | None) -> list[str]:
    """Name the given experiment, or all that aren't over."""
    if experiment is not None:
        return [experiment]
    return [
        one["name"]
        for one in client.experiments()
        if one["state"] == "running" or (one["state"] == "not defined" and one["people"])
    ]


def _strategies(client: Client) -> list[dict[str, Any]]:
    """Read how lists are ranked; nothing where this process makes none."""
    try:
        strategies: list[dict[str, Any]] = client.strategies()["strategies"]
    except UnexpectedResponse as error:
        if error.status != 404:
            raise
        return []
    return strategies


def _series(client: Client, window: Mapping[str, str], experiments: list[dict[str, Any]]) -> dict[str, Any]:
    """Fetch what is plotted, by the plots' names: every experiment's variants, or else the strategies."""
    from eddyline.cli.insights_plot import CtrPlotData

    kinds: list[tuple[str, str, dict[str, str]]] = [
        (one["name"], "variant", {"experiment": one["name"]}) for one in experiments
    ] or [("strategies", "strategy", {})]
    return {
        name: CtrPlotData(
            name,
            by,
            client.kpis({**window, **where, "by": f"time,{by}"})["rows"],
            client.kpis({**window, **where, "by": by})["rows"],
        )
        for name, by, where in kinds
    }


@contextmanager
def _open(url: str) -> Iterator[Client]:
    """Open a client of insights, whose errors say what to start."""
    with Client(url, api_key=api_key()) as client:
        try:
            yield client
        except Unavailable as error:
            raise Unavailable(f"{error}; is Eddyline running? (--url)") from None
        except UnexpectedResponse as error:
            if error.status != 404:
                raise
            raise EddylineError(
                f"{url} doesn't run insights: start it with the role `insights`, or `eddyline up`"
            ) from None
