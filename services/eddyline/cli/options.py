"""Options that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from eddyline import settings
from eddyline.settings import Settings

ConfigFile = Annotated[
    Path | None, typer.Option("--config", help="Settings file (TOML); ./eddyline.toml where it exists.")
]
DataDir = Annotated[Path | None, typer.Option("--data-dir", help="Where the embedded mode keeps its data.")]
Host = Annotated[str | None, typer.Option("--host", help="Address to listen on.")]
Port = Annotated[int | None, typer.Option("--port", help="Port to listen on; 0 takes any free one.")]
Url = Annotated[str, typer.Option("--url", help="URL of a running Eddyline.")]


def load_settings(
    config: Path | None, data_dir: Path | None = None, host: str | None = None, port: int | None = None
) -> Settings:
    """The settings in force, their rules checked too, with what the command line says. Raises `Misconfigured`."""
    from eddyline.model.rules import RuleSet

    loaded = settings.load(config)
    RuleSet.of(loaded)
    server = {name: value for name, value in (("host", host), ("port", port)) if value is not None}
    changes: dict[str, object] = {"server": loaded.server.model_copy(update=server)}
    if data_dir is not None:
        changes["data_dir"] = data_dir
    return loaded.model_copy(update=changes)
