"""`eddyline recommend`: lists for many people at once."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any

import orjson
import typer

from eddyline.cli.shared_options import (
    ConfigFile,
    DataDir,
    ListLength,
    ReaderUrl,
    Strategy,
    api_key,
    load_settings,
    opened_store,
)
from eddyline.cli.terminal_output import ProgressBars, errors, print_line
from eddyline.errors import EddylineError, InvalidInput, Misconfigured
from eddyline.settings import Settings

if TYPE_CHECKING:
    from eddyline.adapters.vectors import VectorStore
    from eddyline.clients.list_export import Ask, IdList
    from eddyline.reader import Reader

TIMEOUT_SECONDS = 30.0
PAGE = 512
"""Profiles that are read at once."""


def recommend(
    output: Annotated[
        Path, typer.Option("--output", help="File of JSON lines, one per person; a stopped run resumes.")
    ],
    users: Annotated[
        Path | None, typer.Argument(help="Whom to make lists for: user ids, one per line, or JSON lines with user_id.")
    ] = None,
    everyone: Annotated[bool, typer.Option("--all", help="Make lists for every user with a profile.")] = False,
    limit: ListLength = 5,
    strategy: Strategy = None,
    filter_: Annotated[str | None, typer.Option("--filter", help="Filter as JSON, as the API takes it.")] = None,
    pool: Annotated[
        Path | None,
        typer.Option("--pool", help="Recommend only these items: ids, one per line, or JSON lines with item_id."),
    ] = None,
    surface: Annotated[str | None, typer.Option("--surface", help="Surface on which the lists will be shown.")] = None,
    url: ReaderUrl = None,
    concurrency: Annotated[int, typer.Option("--concurrency", min=1, max=64, help="Lists made concurrently.")] = 4,
    config: ConfigFile = None,
    data_dir: DataDir = None,
) -> None:
    """Make lists for many people, say for a newsletter, as JSON lines; a stopped run resumes where it was."""
    from eddyline.clients.list_export import WHOM, ListExport, ListFile, read_ids

    if (users is None) is not everyone:
        raise Misconfigured("name a file of user ids, or --all")
    body = _body(limit, strategy, filter_, pool, surface)
    settings, console = load_settings(config, data_dir), errors()
    named = None if users is None else read_ids(users, "user_id")
    with _open(settings, url, everyone) as (ask, store):
        if named is None:
            assert store is not None
            named = stored_users(store)
        with ListFile(output, {WHOM: named.source, **body}) as file, ProgressBars(console) as bars:
            work = ListExport(ask, file, body, concurrency, bars)
            try:
                with _interrupting(work.stop):
                    report = work.run(named.ids)
            except KeyboardInterrupt:
                bars.report(f"stopped; the same command resumes where this one was, in {output}")
                raise
    if report.finished_before:
        what = f"{output} is complete ({report.earlier:,} lists): name another file for new lists."
    else:
        earlier = f"; {report.earlier:,} were there from an earlier run" if report.earlier else ""
        what = f"{report.written:,} lists written to {output}{earlier}."
    print_line(console, what)
    if report.failed:
        raise EddylineError(f"{report.failed:,} people have no list: their lines in {output} have an error")


@contextmanager
def _interrupting(stop: Callable[[], None]) -> Iterator[None]:
    """Ctrl-C also calls `stop`: Python drops a `KeyboardInterrupt` that is raised where an object is being freed."""

    def interrupted(number: int, frame: FrameType | None) -> None:
        stop()
        signal.default_int_handler(number, frame)

    before = signal.signal(signal.SIGINT, interrupted)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _body(
    limit: int, strategy: str | None, filter_: str | None, pool: Path | None, surface: str | None
) -> dict[str, Any]:
    """Build what all requests share, of what is given."""
    from eddyline.clients.list_export import read_ids

    given = {
        "limit": limit,
        "strategy": strategy,
        "filter": None if filter_ is None else _object(filter_),
        "candidates": None if pool is None else list(read_ids(pool, "item_id").ids),
        "surface": surface,
    }
    return {name: value for name, value in given.items() if value is not None}


def _object(text: str) -> dict[str, Any]:
    try:
        given = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise InvalidInput(f"is not JSON: {error}", "--filter") from None
    if not isinstance(given, dict):
        raise InvalidInput('must be a JSON object, e.g. {"category": "film"}', "--filter")
    return given


@contextmanager
def _open(settings: Settings, url: str | None, everyone: bool) -> Iterator[tuple[Ask, VectorStore | None]]:
    """Open whom to ask, and the store where it is needed.

    A reader in this process has the experiments of the file, and knows of no stopped variant; where Kafka is set, it
    reports its lists to the measures, as a running one does by itself. Raises `Misconfigured` for wrong experiments,
    and `AlreadyRunning` where another process holds the store.
    """
    from eddyline.adapters.experiments_file import load_experiments
    from eddyline.adapters.telemetry import Metrics
    from eddyline.clients import Client
    from eddyline.clients.list_export import over_http
    from eddyline.reader import ActiveExperiments, Reader
    from eddyline.runtime.resources import open_served_list_log

    if url is not None and everyone and not settings.qdrant.url:
        raise Misconfigured(
            "--all reads the users from the vector store, which the running process holds: name a file of user ids, "
            "or stop it and leave --url out"
        )
    with ExitStack() as stack:
        if url is not None:
            store = stack.enter_context(opened_store(settings)) if everyone else None
            yield over_http(stack.enter_context(Client(url, TIMEOUT_SECONDS, api_key=api_key(settings)))), store
            return
        active, metrics = ActiveExperiments(load_experiments(settings.experiments_file, settings)), Metrics()
        store = stack.enter_context(opened_store(settings))
        served_lists = stack.enter_context(open_served_list_log(settings, metrics))
        reader = Reader(store, settings, metrics, served_lists=served_lists, experiments=lambda: active)
        stack.callback(reader.close)
        yield directly(reader), store


def directly(reader: Reader) -> Ask:
    """Ask a reader in this process."""
    from eddyline.adapters.http import validate_input
    from eddyline.reader.schemas import RecommendationRequest

    def ask(body: Mapping[str, Any]) -> Mapping[str, Any]:
        return reader.recommend(validate_input(RecommendationRequest, body))

    return ask


def stored_users(store: VectorStore) -> IdList:
    """List everyone with a profile who is signed in; nobody who was erased. Raises `Unavailable`."""
    from eddyline.adapters.vectors import PROFILES, Filter, IsEmpty, scroll_pages
    from eddyline.clients.list_export import IdList
    from eddyline.model.ids import Person

    known = Filter(must=(IsEmpty("stub_since"),), must_not=(IsEmpty("person"),))
    people = (
        Person.from_key(str(point.payload["person"]))
        for page in scroll_pages(store, PROFILES, filter=known, payload=("person",), limit=PAGE)
        for point in page
    )
    return IdList([person.id for person in people if person.kind == "u"], "all")
