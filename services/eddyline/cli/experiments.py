"""`eddyline experiments`: check the file, and see who gets which variant."""

from __future__ import annotations

import time
from contextlib import closing
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from eddyline.adapters.experiments_file import load_experiments
from eddyline.cli.shared_options import ConfigFile, DataDir, ReaderUrl, api_key, load_settings, opened_store
from eddyline.errors import Misconfigured
from eddyline.model.experiments.definitions import Experiment, Experiments, Variant
from eddyline.settings import Settings

TIMEOUT_SECONDS = 10.0

experiments = typer.Typer(
    name="experiments", help="Check the experiments file, and see who gets which variant.", no_args_is_help=True
)


@experiments.command()
def check(
    file: Annotated[
        Path | None, typer.Argument(help="Experiments file; by default that of the settings (experiments_file).")
    ] = None,
    config: ConfigFile = None,
) -> None:
    """Check an experiments file, and print what it says."""
    settings = load_settings(config)
    path = file or settings.experiments_file
    if file is not None and not file.exists():
        raise Misconfigured(f"there is no file {file}")
    loaded = load_experiments(path, settings)
    if not len(loaded):
        print(f"{path} has no experiments" if path.exists() else f"there is no file {path}, so no experiments run")
        return
    Console().print(_table(loaded, time.time()))


@experiments.command()
def who(
    user_id: Annotated[str | None, typer.Argument(help="A user.")] = None,
    anonymous_id: Annotated[
        str | None, typer.Option("--anonymous", help="The anonymous_id of someone who isn't signed in.")
    ] = None,
    surface: Annotated[str | None, typer.Option("--surface", help="Surface on which the list would be shown.")] = None,
    url: ReaderUrl = None,
    config: ConfigFile = None,
    data_dir: DataDir = None,
) -> None:
    """Print which variant someone gets. Only a running reader (--url) knows which variants are stopped."""
    if user_id is None and anonymous_id is None:
        raise Misconfigured("name a user, or --anonymous with an id")
    given = (("user_id", user_id), ("anonymous_id", anonymous_id), ("surface", surface))
    query = {name: value for name, value in given if value is not None}
    settings = load_settings(config, data_dir)
    found = _assigned_here(settings, query) if url is None else _assigned_there(url, api_key(settings), query)
    if found["experiment"] is None:
        print("in no experiment: the usual list")
    else:
        by = "; another system makes the list" if found["external"] else ""
        print(f"{found['experiment']}/{found['variant']} (revision {found['revision']}){by}")


def _assigned_here(settings: Settings, query: dict[str, str]) -> dict[str, Any]:
    from eddyline.adapters.telemetry import Metrics
    from eddyline.model.events import check_id
    from eddyline.reader import ActiveExperiments, Reader
    from eddyline.reader.schemas import AssignmentQuery

    for name in ("user_id", "anonymous_id"):
        if name in query:
            check_id(query[name], name)
    running = ActiveExperiments(load_experiments(settings.experiments_file, settings))
    with (
        opened_store(settings) as store,
        closing(Reader(store, settings, Metrics(), experiments=lambda: running)) as reader,
    ):
        return reader.assignment(AssignmentQuery(**query))


def _assigned_there(url: str, key: str | None, query: dict[str, str]) -> dict[str, Any]:
    from eddyline.clients import Client

    with Client(url, TIMEOUT_SECONDS, api_key=key) as client:
        return dict(client.assignment(**query))


def _table(loaded: Experiments, now: float) -> Table:
    table = Table("experiment", "variant", "people", "changes", "when", "surface", "stops at", "revision")
    for experiment in loaded:
        whole = sum(variant.weight for variant in experiment.variants)
        for index, variant in enumerate(experiment.variants):
            first = index == 0
            table.add_row(
                experiment.name if first else "",
                variant.name,
                f"{experiment.share * variant.weight / whole:.1%}",
                _changes(variant),
                _when(experiment, now) if first else "",
                (experiment.surface or "everywhere") if first else "",
                _bounds(experiment) if first else "",
                experiment.revision if first else "",
                end_section=index == len(experiment.variants) - 1,
            )
    return table


def _changes(variant: Variant) -> str:
    if variant.external:
        return "external: another system"
    given = {name: getattr(variant, name) for name in sorted(variant.overrides())}
    weights = given.pop("weights", {})
    words = [f"{name} = {value}" for name, value in (given | dict(weights)).items()]
    return ", ".join(words) or "nothing: the usual list"


def _when(experiment: Experiment, now: float) -> str:
    if experiment.runs(now):
        return "runs" if experiment.ends is None else f"runs until {experiment.ends.isoformat()}"
    if experiment.starts is not None and now < experiment.starts.timestamp():
        return f"starts {experiment.starts.isoformat()}"
    return "is over"


def _bounds(experiment: Experiment) -> str:
    return ", ".join(
        f"{rail.metric} {'<' if rail.max is None else '>'} {rail.bound:g} a {rail.window}"
        for rail in experiment.guardrails
    )
