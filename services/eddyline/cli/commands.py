"""The commands."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from eddyline import __version__, settings
from eddyline.cli.audit import audit
from eddyline.cli.backup import backup, restore
from eddyline.cli.dead_letters import dlq
from eddyline.cli.erase import erase
from eddyline.cli.evaluate import evaluate
from eddyline.cli.experiments import experiments
from eddyline.cli.feeds import feeds
from eddyline.cli.insights import insights
from eddyline.cli.kafka_users import kafka_users
from eddyline.cli.keys import keys
from eddyline.cli.move_to_cluster import move_to_cluster
from eddyline.cli.recommend import recommend
from eddyline.cli.shared_options import (
    RUNNING,
    ConfigFile,
    Constants,
    DataDir,
    FileFormat,
    Host,
    Insecure,
    Port,
    RatingScale,
    Renamed,
    Skipped,
    TimeZone,
    Url,
    load_settings,
)
from eddyline.cli.simulate import simulate
from eddyline.cli.terminal_output import errors, output, print_json
from eddyline.errors import EddylineError, Misconfigured
from eddyline.settings import Settings

app = typer.Typer(
    help="Eddyline: a streaming recommender. Every click changes the next answer.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)

app.add_typer(dlq)
app.add_typer(insights)
app.add_typer(feeds)
app.add_typer(experiments)
app.add_typer(keys)
app.command()(audit)
app.command()(backup)
app.command()(restore)
app.command()(move_to_cluster)
app.command(name="kafka-users")(kafka_users)
app.command()(recommend)
app.command()(evaluate)
app.command()(erase)
app.command()(simulate)


def main() -> NoReturn:
    """Run the command line: an error of ours is one line, not a stack trace."""
    try:
        code = app(standalone_mode=False)  # typer gives back what an interrupt would exit with
    except (typer.Abort, KeyboardInterrupt):
        _leave(130)
    except typer.Exit as leave:
        _leave(leave.exit_code)
    except EddylineError as error:
        _leave(2 if isinstance(error, Misconfigured) else 1, str(error))
    except Exception as error:
        if hasattr(error, "format_message") and hasattr(error, "exit_code"):  # click's own: a wrong option
            _leave(error.exit_code, error.format_message())
        raise
    _leave(code if isinstance(code, int) else 0)


def _leave(code: int, reason: str | None = None) -> NoReturn:
    """End the process. Everything of ours is closed by now; the libraries' own teardown only prints noise."""
    if reason is not None:
        print(f"eddyline: {settings.mask_credentials(reason)}", file=sys.stderr)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        print(f"eddyline {__version__}")
        raise typer.Exit


@app.command()
def up(
    config: ConfigFile = None,
    data_dir: DataDir = None,
    host: Host = None,
    port: Port = None,
    insecure: Insecure = False,
) -> None:
    """Run everything in this one process, with a broker and a vector store in the data directory.

    Where a Kafka cluster or a Qdrant server is configured, it is used instead of the embedded one.
    """
    from eddyline.cli.startup_messages import WITHOUT_INSIGHTS
    from eddyline.runtime.startup_checks import roles_of_up

    loaded = load_settings(config, data_dir, host, port, insecure)
    roles = roles_of_up(loaded)
    if loaded.insights.enabled and "insights" not in roles:
        print(WITHOUT_INSIGHTS, flush=True)
    serve_roles(loaded, roles)


@app.command()
def serve(
    roles: Annotated[
        str,
        typer.Option(
            "--roles", help="Comma-separated: collector, embedder, imager, profiler, affinity, reader, insights."
        ),
    ],
    workers: Annotated[
        int,
        typer.Option(
            "--workers",
            min=1,
            help="Processes that answer on this port, for collector and reader; metrics on the next.",
        ),
    ] = 1,
    config: ConfigFile = None,
    host: Host = None,
    port: Port = None,
    insecure: Insecure = False,
) -> None:
    """Run several services in this process, against Kafka and Qdrant."""
    loaded = load_settings(config, None, host, port, insecure)
    names = [role.strip() for role in roles.split(",") if role.strip()]
    if workers == 1:
        serve_roles(loaded, names)
    else:
        _serve_in_workers(loaded, names, workers)


def _add_service(role: str, text: str) -> None:
    def command(config: ConfigFile = None, host: Host = None, port: Port = None, insecure: Insecure = False) -> None:
        serve_roles(load_settings(config, None, host, port, insecure), [role])

    app.command(name=role, help=text)(command)


for _role, _text in {
    "collector": "Run a collector: takes items, events and people over HTTP, and writes them to Kafka.",
    "embedder": "Run an embedder: turns content into searchable items.",
    "imager": "Run an imager: turns items' images into vectors.",
    "profiler": "Run a profiler: folds interactions into profiles.",
    "affinity": "Run an affinity service: turns activity into affinity rows and trends.",
    "reader": "Run a reader: answers with recommendations over HTTP.",
    "encoder": 'Run an encoder: turns texts into vectors over HTTP, for processes with `encoder.kind = "http"`.',
}.items():
    _add_service(_role, _text)


@app.command(name="insights-worker", hidden=True)
def insights_worker() -> None:
    """Run the worker of the insights role: its job is on the standard input."""
    from eddyline.insights.faust.worker import run

    run(sys.stdin.buffer)


@app.command()
def init(config: ConfigFile = None) -> None:
    """Create topics and collections, and verify those that exist."""
    from eddyline.runtime.collection_setup import initialise_deployment

    initialise_deployment(load_settings(config), print)


@app.command()
def replay(
    config: ConfigFile = None,
    data_dir: DataDir = None,
    only_log: Annotated[
        bool, typer.Option("--only-log", help="Leave out what the log no longer holds, instead of carrying it over.")
    ] = False,
    drop_old: Annotated[bool, typer.Option("--drop-old", help="Drop the previous generation.")] = False,
    give_up: Annotated[
        bool, typer.Option("--give-up", help="Only undo what a killed run left behind, so that the writers go on.")
    ] = False,
) -> None:
    """Rebuild all profiles from the log in a new generation while the live one serves, then swap."""
    from eddyline.cli import rebuild_commands as rebuild

    loaded, console = load_settings(config, data_dir), errors()
    if give_up:
        rebuild.give_up(loaded, console)
    else:
        rebuild.run_replay(loaded, only_log, drop_old, console)


@app.command()
def reembed(
    config: ConfigFile = None,
    data_dir: DataDir = None,
    force: Annotated[
        bool, typer.Option("--force", help="Re-embed even if the items are already in the encoder's space.")
    ] = False,
    drop_old: Annotated[bool, typer.Option("--drop-old", help="Drop the previous generation.")] = False,
) -> None:
    """Re-embed all items from their stored text, after a change of model, and rebuild the profiles; then swap.

    On a Kafka cluster and a Qdrant server the services keep running. The embedded store belongs to one process: stop
    Eddyline first, and start it afterwards with the same settings.
    """
    from eddyline.cli.rebuild_commands import run_reembed

    run_reembed(load_settings(config, data_dir), force, drop_old, errors())


@app.command(name="config")
def show_config(config: ConfigFile = None) -> None:
    """Print the settings in force as JSON, secrets masked."""
    print_json(settings.effective(load_settings(config)))


@app.command()
def schemas(
    folder: Annotated[Path, typer.Option("--output", help="Folder to write to.")] = Path("schemas"),
    check: Annotated[bool, typer.Option("--check", help="Write nothing; fail where a file has drifted.")] = False,
) -> None:
    """Write JSON Schema, AsyncAPI and OpenAPI documents from the models."""
    from eddyline.runtime import documents

    files = documents.schema_files()
    if check:
        drifted = documents.drifted(files, folder)
        if drifted:
            raise EddylineError(f"{', '.join(drifted)} in {folder} differ from the models: run `eddyline schemas`")
        print(f"{len(files)} files in {folder} match the models")
        return
    changed = documents.write(files, folder)
    print(f"{len(files)} files in {folder}, {len(changed)} changed")


@app.command(name="import")
def import_(
    path: Annotated[
        Path,
        typer.Argument(help="A .csv, .tsv, .jsonl or .ndjson file (also .gz, .zst), a folder of such, or MovieLens."),
    ],
    url: Url = RUNNING,
    state: Annotated[
        Path | None,
        typer.Option("--state", help="File that keeps the position; by default below ./.eddyline/imports."),
    ] = None,
    ends_now: Annotated[
        bool, typer.Option("--ends-now", help="Shift all event times so that the newest is now.")
    ] = False,
    renamed: Renamed = None,
    constants: Constants = None,
    skipped: Skipped = None,
    timezone: TimeZone = None,
    rating_scale: RatingScale = None,
    form: FileFormat = "auto",
    rejects: Annotated[
        Path | None, typer.Option("--rejects", help="File for what is refused: one JSON object a line.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Send nothing; show ten lines as they would go in, and what is wrong.")
    ] = False,
) -> None:
    """Send items, people and events to a running Eddyline; a stopped import resumes where it was.

    A line that is refused costs no other: it is listed, and the exit code is 3.
    """
    from eddyline.cli.import_and_demo import preview_import, run_import
    from eddyline.clients.columns import Columns
    from eddyline.clients.sources import open_source

    settings = load_settings(None)
    columns = Columns.from_options(renamed, settings.attributes, constants, skipped, timezone, rating_scale)
    source = open_source(path, columns, form, settings.events)
    if dry_run:
        code = preview_import(source, rejects, output(), errors())
    else:
        code = run_import(source, path, url, state, ends_now, rejects, errors())
    raise typer.Exit(code)


@app.command()
def demo(
    path: Annotated[Path, typer.Argument(help="What to import.")] = Path("examples/movielens"),
    leave: Annotated[bool, typer.Option("--exit", help="End after the tour.")] = False,
    data_dir: Annotated[Path, typer.Option("--data-dir", help="Where to keep the demo's data.")] = Path(
        ".eddyline/demo"
    ),
    port: Annotated[int, typer.Option("--port", help="Port to listen on; 0 takes any free one.")] = 8000,
    open_playground: Annotated[bool, typer.Option("--open", help="Open the playground in a browser.")] = False,
) -> None:
    """Start everything, import a real log, click once, show what changed, and serve the playground."""
    from eddyline.cli.import_and_demo import run_demo

    run_demo(path, data_dir, port, leave, open_playground)


def _serve_in_workers(loaded: Settings, roles: Sequence[str], count: int) -> None:
    from eddyline.cli.startup_messages import worker_lines
    from eddyline.runtime.workers import WorkerProcesses

    workers = WorkerProcesses(loaded, roles, count)
    for line in worker_lines(workers):
        print(line, flush=True)
    raise typer.Exit(workers.run())


def serve_roles(loaded: Settings, roles: Sequence[str]) -> None:
    """Run services in this process until a signal, or a failure."""
    from eddyline.adapters.telemetry import configure_logging
    from eddyline.cli.startup_messages import startup_lines
    from eddyline.runtime.process import Runtime

    configure_logging(loaded.log_level, loaded.log_format)
    os.umask(0o077)  # what a service keeps on the disk is about people
    runtime = Runtime(loaded, roles)
    for line in startup_lines(runtime, loaded):
        print(line, flush=True)
    runtime.run()
