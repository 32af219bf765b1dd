"""`eddyline backup` and `eddyline restore`: copies of an embedded installation."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from eddyline.cli.shared_options import ConfigFile, DataDir, load_settings
from eddyline.cli.terminal_output import counted
from eddyline.errors import Misconfigured

if TYPE_CHECKING:
    from eddyline.maintenance.backups import Backup
    from eddyline.settings import Settings


def backup(
    target: Annotated[Path, typer.Argument(metavar="DIR", help="Where to put the backup: a directory that is new.")],
    config: ConfigFile = None,
    data_dir: DataDir = None,
) -> None:
    """Copy the data directory of the embedded mode, consistently, while Eddyline runs on it or not."""
    from eddyline.maintenance.backups import make_backup

    settings = load_settings(config, data_dir)
    _check_embedded(settings)
    began = time.monotonic()
    os.umask(0o077)  # it is about people
    made = make_backup(settings.data_dir, target)
    print(f"{target} holds {_contents(made)}; it took {time.monotonic() - began:.1f} s")


def restore(
    source: Annotated[Path, typer.Argument(metavar="DIR", help="What `eddyline backup` made.")],
    config: ConfigFile = None,
    data_dir: DataDir = None,
) -> None:
    """Put a backup into an empty data directory; `eddyline up` goes on with it."""
    from eddyline.maintenance.backups import restore_backup

    settings = load_settings(config, data_dir)
    os.umask(0o077)  # it is about people
    made = restore_backup(source, settings.data_dir)
    when = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(made.made_at))
    print(f"{settings.data_dir} holds {_contents(made)}, as of {when}")
    print(f"Go on with it: eddyline up --data-dir {settings.data_dir}")


def _check_embedded(settings: Settings) -> None:
    if settings.kafka.bootstrap_servers or settings.qdrant.url:
        raise Misconfigured(
            "the settings name a Kafka cluster or a Qdrant server, whose own tools back them up (docs/operations.md): "
            "`eddyline backup` is for a data directory that holds both log and store"
        )


def _contents(made: Backup) -> str:
    from eddyline.adapters.vectors import ITEMS, PROFILES

    items, profiles = (
        sum(count for name, count in made.points.items() if name.startswith(f"{kind}-")) for kind in (ITEMS, PROFILES)
    )
    return (
        f"{counted(items, 'item')}, {counted(profiles, 'profile')} and {counted(sum(made.records.values()), 'record')} "
        "of the log"
    )
