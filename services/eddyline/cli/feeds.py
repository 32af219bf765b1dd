"""`eddyline feeds`: the service that reads feeds, and a look at one."""

from __future__ import annotations

import time
from typing import Annotated

import orjson
import typer
from rich.console import Console

from eddyline.cli.shared_options import ConfigFile, Host, Insecure, Port, load_settings
from eddyline.cli.terminal_output import print_line
from eddyline.errors import EddylineError

feeds = typer.Typer(name="feeds", help="Run the service that reads feeds; `check` shows what one would bring in.")
SHOWN = 10


@feeds.callback(invoke_without_command=True)
def run_service(
    context: typer.Context,
    config: ConfigFile = None,
    host: Host = None,
    port: Port = None,
    insecure: Insecure = False,
) -> None:
    """Run the service that reads feeds: what is new in them becomes items."""
    if context.invoked_subcommand is None:
        from eddyline.cli.commands import serve_roles

        serve_roles(load_settings(config, None, host, port, insecure), ["feeds"])


@feeds.command()
def check(
    url: Annotated[str, typer.Argument(help="Address of the feed.")],
    form: Annotated[str, typer.Option("--format", help="As `format` of a [[feed]]; by default recognised.")] = "auto",
    config: ConfigFile = None,
) -> None:
    """Fetch a feed and show the first items that it would bring in; nothing is written."""
    from eddyline.adapters.web import GuardedFetcher
    from eddyline.feeds.feed_reader import FeedReader
    from eddyline.feeds.feed_state import FeedStatus
    from eddyline.runtime.roles import fetch_limits
    from eddyline.settings import FeedSettings

    loaded = load_settings(config)
    try:
        feed = FeedSettings.model_validate({"name": "feed", "url": url, "format": form})
    except ValueError as error:
        raise EddylineError(f"no feed can be read so: {error}") from None
    reader = FeedReader(
        GuardedFetcher(fetch_limits(loaded.feeds)).get, loaded.feeds.max_bytes, time.time, loaded.attributes
    )
    document = reader.read(feed, FeedStatus())
    out, err = Console(), Console(stderr=True)
    for item in list(document.items.values())[:SHOWN]:
        print_line(out, orjson.dumps(item.model_dump(mode="json", exclude_none=True, exclude={"v"})).decode())
    for reason in document.refused[:SHOWN]:
        print_line(err, f"refused: {reason}")
    err.print(
        f"{document.status.format}, a {document.kind} feed of {document.entries:,} entries: {len(document.items):,} "
        f"items, {len(document.refused):,} refused, {len(document.left_out):,} values left out. Nothing was written."
    )
