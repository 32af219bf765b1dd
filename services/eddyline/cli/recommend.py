"""`eddyline recommend`: lists for many people at once."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any

import orjson
import typer
from rich.console import Console

from eddyline.cli.options import ConfigFile, DataDir, load_settings
from eddyline.errors import AlreadyRunning, EddylineError, InvalidInput, Misconfigured
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
    limit: Annotated[int, typer.Option("--limit", min=1, max=100, help="Items per list.")] = 5,
    strategy: Annotated[
        str | None, typer.Option("--strategy", help="Rank by this strategy instead of the default.")
    ] = None,
    wanted: Annotated[str | None, typer.Option("--filter", help="Filter as JSON, as the API takes it.")] = None,
    pool: Annotated[
        Path | None,
        typer.Option("--pool", help="Recommend only these items: ids, one per line, or JSON lines with item_id."),
    ] = None,
    surface: Annotated[str | None, typer.Option("--surface", help="Surface on which the lists will be shown.")] = None,
    url: Annotated[
        str | None,
        typer.Option("--url", help="URL of a running reader; without it, the vector store is opened directly."),
    ] = None,
    concurrency: Annotated[int, typer.Option("--concurrency", min=1, max=64, help="Lists made concurrently.")] = 4,
    config: ConfigFile = None,
    data_dir: DataDir = None,
) -> None:
    """Make lists for many people, say for a newsletter, as JSON lines; a stopped run resumes where it was."""
    from eddyline.cli.data import ProgressBars
    from eddyline.clients.list_export import WHOM, ListExport, ListFile, read_ids

    if (users is None) is not everyone:
        raise Misconfigured("name a file of user ids, or --all")
    body = _body(limit, strategy, wanted, pool, surface)
    settings, console = load_settings(config, data_dir), Console(stderr=True)
    named = None if users is None else read_ids(users, "user_id")
    with _open(settings, url, everyone) as (ask, store):
        whom = named or stored_users(store)
        bars = ProgressBars(console)
        with ListFile(output, {WHOM: whom.source, **body}) as file, bars.progress:
            work = ListExport(ask, file, body, concurrency, bars)
            try:
                with _interrupting(work.stop):
                    report = work.run(whom.ids)
            except KeyboardInterrupt:
                bars.say(f"stopped; the same command resumes where this one was, in {output}")
                raise
    if report.finished_before:
        what = f"{output} is complete ({report.earlier:,} lists): name another file for new lists."
    else:
        earlier = f"; {report.earlier:,} were there from an earlier run" if report.earlier else ""
        what = f"{report.written:,} lists written to {output}{earlier}."
    console.print(what, markup=False, highlight=False, soft_wrap=True)
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
    limit: int, strategy: str | None, wanted: str | None, pool: Path | None, surface: str | None
) -> dict[str, Any]:
    """What every request says; what isn't given isn't said."""
    from eddyline.clients.list_export import read_ids

    given = {
        "limit": limit,
        "strategy": strategy,
        "filter": None if wanted is None else _object(wanted),
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
def _open(settings: Settings, url: str | None, everyone: bool) -> Iterator[tuple[Any, Any]]:
    """Whom to ask, and the store, where it is needed. Where Kafka is set, a reader in this process tells the measures,
    as a running one does by itself; it has the experiments of the file, and knows of no stopped variant.

    Raises `Misconfigured` where another process holds the store, and for wrong experiments.
    """
    from eddyline.adapters.experiments_file import load_experiments
    from eddyline.adapters.telemetry import Metrics
    from eddyline.clients import Client
    from eddyline.clients.list_export import over_http
    from eddyline.model.experiments.definitions import NO_EXPERIMENTS
    from eddyline.reader import ActiveExperiments, Reader
    from eddyline.runtime.collection_setup import check_collections
    from eddyline.runtime.connections import open_store
    from eddyline.runtime.process import open_impression_log

    if url is not None and everyone and not settings.qdrant.url:
        raise Misconfigured(
            "--all reads the users from the vector store, which the running process holds: name a file of user ids, "
            "or stop it and leave --url out"
        )
    running = ActiveExperiments(
        load_experiments(settings.experiments_file, settings) if url is None else NO_EXPERIMENTS
    )
    store = None
    try:
        if url is None or everyone:
            store = open_store(settings)
            check_collections(store)
        if url is None:
            assert store is not None
            metrics = Metrics()
            with open_impression_log(settings, metrics) as impressions:
                reader = Reader(store, settings, metrics, impressions=impressions, experiments=lambda: running)
                yield directly(reader), store
        else:
            with Client(url, TIMEOUT_SECONDS) as client:
                yield over_http(client), store
    except AlreadyRunning as error:
        raise AlreadyRunning(f"{error}; or ask the running one: --url http://127.0.0.1:8000") from None
    finally:
        if store is not None:
            store.close()


def directly(reader: Reader) -> Ask:
    """Ask a reader in this process."""
    from pydantic import ValidationError

    from eddyline.model.events import explain_validation_error
    from eddyline.reader.schemas import RecommendationRequest

    def ask(body: Mapping[str, Any]) -> Mapping[str, Any]:
        try:
            request = RecommendationRequest.model_validate(body)
        except ValidationError as error:
            raise InvalidInput(*explain_validation_error(error)) from None
        return reader.recommend(request)

    return ask


def stored_users(store: VectorStore) -> IdList:
    """List everyone with a profile who is signed in; nobody who was erased. Raises `Unavailable`."""
    from eddyline.adapters.vectors import PROFILES, Filter, IsEmpty
    from eddyline.clients.list_export import IdList
    from eddyline.model.ids import Person

    ids: list[str] = []
    there = Filter(must=(IsEmpty("stub_since"),), must_not=(IsEmpty("person"),))
    after: str | None = None
    while True:
        page, after = store.scroll(PROFILES, filter=there, limit=PAGE, after=after, payload=("person",))
        people = (Person.from_key(str(point.payload["person"])) for point in page)
        ids += [person.id for person in people if person.kind == "u"]
        if after is None:
            return IdList(ids, "all")
