"""Options that several commands have, and what they open: the settings, and the store that a reader would read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from eddyline import settings
from eddyline.errors import AlreadyRunning
from eddyline.settings import Settings

if TYPE_CHECKING:
    from eddyline.adapters.vectors import VectorStore

ConfigFile = Annotated[
    Path | None, typer.Option("--config", help="Settings file (TOML); ./eddyline.toml where it exists.")
]
DataDir = Annotated[Path | None, typer.Option("--data-dir", help="Where the embedded mode keeps its data.")]
Host = Annotated[str | None, typer.Option("--host", help="Address to listen on.")]
Port = Annotated[int | None, typer.Option("--port", help="Port to listen on; 0 takes any free one.")]
Insecure = Annotated[
    bool, typer.Option("--insecure", help="Listen elsewhere than on this machine although there are no keys.")
]
RUNNING = "http://127.0.0.1:8000"
"""Where a running Eddyline listens unless it is told otherwise."""
Url = Annotated[str, typer.Option("--url", help="URL of a running Eddyline.")]
Strategy = Annotated[str | None, typer.Option("--strategy", help="Rank by this strategy instead of the default.")]
ListLength = Annotated[int, typer.Option("--limit", min=1, max=100, help="Items per list.")]
Renamed = Annotated[
    list[str] | None,
    typer.Option("--map", metavar="THEIRS=OURS", help="A field's name in Eddyline; nothing after = leaves it out."),
]
Constants = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="OURS=VALUE",
        help="A field of every line that lacks it; with a type, a line that has a title is an item, too.",
    ),
]
Skipped = Annotated[
    list[str] | None,
    typer.Option("--skip", metavar="THEIRS=PATTERN", help="Leave out lines with such a value, e.g. InvoiceNo=C*."),
]
TimeZone = Annotated[
    str | None, typer.Option("--timezone", help="Time zone of times without an offset, e.g. UTC or Europe/Ljubljana.")
]
RatingScale = Annotated[
    str | None,
    typer.Option("--rating-scale", metavar="WORST:BEST", help="Scale of the ratings, e.g. 1:10; by default 0.5:5."),
]
FileFormat = Annotated[
    str,
    typer.Option(
        "--format", help="own, shopify, merchant-xml, merchant-tsv, ga4 or segment; by default it is recognised."
    ),
]
ReaderUrl = Annotated[
    str | None,
    typer.Option("--url", help="URL of a running reader; without it, the vector store is opened directly."),
]


def load_settings(
    config: Path | None,
    data_dir: Path | None = None,
    host: str | None = None,
    port: int | None = None,
    insecure: bool = False,
) -> Settings:
    """Load the settings and check their rules; the command line comes last. Raises `Misconfigured`."""
    from eddyline.model.rules import RuleSet

    loaded = settings.load(config)
    RuleSet.from_settings(loaded)
    given = (("host", host), ("port", port), ("insecure", insecure or None))
    server = {name: value for name, value in given if value is not None}
    changes: dict[str, object] = {"server": loaded.server.model_copy(update=server)}
    if data_dir is not None:
        changes["data_dir"] = data_dir
    return loaded.model_copy(update=changes)


def api_key(settings: Settings | None = None) -> str | None:
    """Return the key to send to a running Eddyline, from the settings given, or those that are found."""
    key = (settings or load_settings(None)).api_key
    return None if key is None else key.get_secret_value()


@contextmanager
def opened_store(settings: Settings) -> Iterator[VectorStore]:
    """Open the store that a reader would read, with its collections.

    Raises `AlreadyRunning` where another process holds it, saying how to ask that one.
    """
    from eddyline.runtime.collection_setup import check_collections
    from eddyline.runtime.connections import open_store

    try:
        store = open_store(settings)
    except AlreadyRunning as error:
        raise AlreadyRunning(f"{error}; or ask the running one: --url {RUNNING}") from None
    with closing(store):
        check_collections(store)
        yield store
