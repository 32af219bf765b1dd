"""`eddyline simulate`: people with hidden tastes, for demos, experiments and load."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from eddyline.cli.shared_options import RUNNING, ListLength, Strategy, Url, api_key
from eddyline.cli.terminal_output import errors, output, print_json, print_line
from eddyline.errors import EddylineError
from eddyline.settings import mask_credentials

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from eddyline.clients.simulator import Connection, Habits, SimulationPlan, SimulationReport

DURATION_SECONDS = 60.0
REFRESH_SECONDS = 0.25


def simulate(
    url: Url = RUNNING,
    people: Annotated[int, typer.Option("--people", min=1, help="People around at any time.")] = 200,
    items: Annotated[
        int,
        typer.Option("--items", min=0, help="Items to make up and send first; 0 uses the existing catalogue."),
    ] = 300,
    rate: Annotated[float, typer.Option("--rate", min=0, help="Lists per second; 0: as fast as possible.")] = 20.0,
    duration: Annotated[
        float | None, typer.Option("--duration", min=0.001, help="Seconds; 60 where --lists isn't given either.")
    ] = None,
    lists: Annotated[int | None, typer.Option("--lists", min=1, help="End after this many lists.")] = None,
    seed: Annotated[int, typer.Option("--seed", help="Seed of the people; another seed makes other people.")] = 0,
    surface: Annotated[str, typer.Option("--surface", help="Surface on which the lists are shown.")] = "home",
    strategy: Strategy = None,
    limit: ListLength = 10,
    taste_change: Annotated[
        float,
        typer.Option(
            "--taste-change", min=0, max=1, help="Probability, at each visit, that the person's taste has changed."
        ),
    ] = 0.03,
    arrivals: Annotated[float, typer.Option("--arrivals", min=0, help="New items per minute.")] = 0.0,
    milestone: Annotated[
        int, typer.Option("--milestone", min=1, help="Clicks until which each new item is followed.")
    ] = 100,
    concurrency: Annotated[
        int, typer.Option("--concurrency", min=1, max=256, help="Lists requested concurrently.")
    ] = 16,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Run simulated people with hidden tastes against a running Eddyline, and report what they saw and did."""
    from eddyline.cli import simulation_views as views
    from eddyline.clients.simulator import Habits, SimulationPlan, SimulationReport

    if duration is None and lists is None:
        duration = DURATION_SECONDS
    plan = SimulationPlan(
        people, items, rate, duration, lists, seed, surface or None, strategy, limit, arrivals, milestone, concurrency
    )
    report = SimulationReport()
    try:
        asyncio.run(_run(connect(url, concurrency, report), plan, Habits(taste_change=taste_change), report))
    finally:
        if report.lists:
            if as_json:
                print_json({"url": mask_credentials(url), "seed": seed, **report.as_json()})
            else:
                views.show(report, output())
    if report.is_interrupted:
        raise typer.Exit(130)
    if not report.lists:
        raise EddylineError("no list was answered" + "".join(f"; {reason}" for reason in report.failed))


async def _run(connection: Connection, plan: SimulationPlan, habits: Habits, report: SimulationReport) -> None:
    from eddyline.clients.simulator import Driver

    async with connection, _watched(report, errors()) as report_line:
        await Driver(connection, plan, habits, report, asyncio.sleep, time.time, time.perf_counter, report_line).run()


def connect(url: str, concurrency: int, report: SimulationReport) -> Connection:
    """Connect to a running Eddyline, with a connection for each list that is asked for at once."""
    from eddyline.clients.simulator import Connection

    return Connection(url, concurrency, report, asyncio.sleep, time.perf_counter, api_key=api_key())


@asynccontextmanager
async def _watched(report: SimulationReport, console: Console) -> AsyncIterator[Callable[[str], None]]:
    """Give what prints a line; on a terminal, keep a live one under it meanwhile."""
    from rich.live import Live

    from eddyline.cli import simulation_views as views

    report_line = partial(print_line, console)
    if not console.is_terminal:
        yield report_line
        return
    began = time.perf_counter()
    with Live(console=console, auto_refresh=False, transient=True) as live:

        async def follow() -> None:
            while True:
                live.update(views.line(report, time.perf_counter() - began), refresh=True)
                await asyncio.sleep(REFRESH_SECONDS)

        following = asyncio.create_task(follow())
        try:
            yield report_line
        finally:
            following.cancel()
            with suppress(asyncio.CancelledError):
                await following
