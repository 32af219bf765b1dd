"""`eddyline erase`: erase a person, and say where was looked."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from eddyline.cli.shared_options import RUNNING, ConfigFile, DataDir, Url, api_key, load_settings
from eddyline.cli.terminal_output import counted
from eddyline.errors import EddylineError, NotFound
from eddyline.topics import IMPRESSIONS, INTERACTIONS, TOPIC_SPECS, USERS

if TYPE_CHECKING:
    from eddyline.clients import Client

DAY_MS = 86_400_000
AWAIT_SECONDS = 60.0
POLL_SECONDS = 0.1


def erase(
    user_id: Annotated[str, typer.Argument(help="The person's user id.")],
    url: Url = RUNNING,
    yes: Annotated[bool, typer.Option("--yes", help="Don't ask.")] = False,
    config: ConfigFile = None,
    data_dir: DataDir = None,
) -> None:
    """Erase a person from a running Eddyline and the dead letters, and say what was found where, and what stays."""
    from eddyline.cli.dead_letter_commands import open_dead_letters
    from eddyline.clients import WHILE_BUSY, Client
    from eddyline.maintenance.dead_letters import DeadLetterSelection, drop

    settings = load_settings(config, data_dir)
    if not yes and not typer.confirm(f"Erase {user_id!r} for good?"):
        raise EddylineError("nothing was erased")
    with Client(url, retries=WHILE_BUSY, api_key=api_key(settings)) as client:
        known = _known(client, user_id)
        client.delete_user(user_id)
        _await_erasure(client, user_id)
    print(f"profile, and those of their anonymous ids: {known}; erased")
    with open_dead_letters(settings) as opened:
        dropped = drop(opened.box.logs(), DeadLetterSelection(user_id=user_id), lambda _: None)
        print(f"dead letters {opened.where}: {counted(dropped, 'dead letter')} removed")
    for line in _remains(opened.producer is None):
        print(line)


def _known(client: Client, user_id: str) -> str:
    try:
        found = client.user(user_id)
    except NotFound:
        return "nothing was known"
    counts = (
        counted(found["events"], "event"),
        counted(len(found["attributes"]), "attribute"),
        f"{found['waiting']:,} waiting for their items",
    )
    return ", ".join((*counts, *(["answers"] if found["onboarded"] else [])))


def _await_erasure(client: Client, user_id: str) -> None:
    """Return once nothing is known of the user. Raises `EddylineError` after a minute."""
    deadline = time.monotonic() + AWAIT_SECONDS
    while time.monotonic() < deadline:
        try:
            client.user(user_id)
        except NotFound:
            return
        time.sleep(POLL_SECONDS)
    raise EddylineError(
        f"the erasure was taken, and the profile is still there after {AWAIT_SECONDS:g} s: are embedder and profiler "
        "running? Run it again, for the dead letters, once they do"
    )


def _remains(is_embedded: bool) -> Iterator[str]:
    """Say where something stays that no longer counts, and for how long."""
    if is_embedded:
        yield "the log, in the process's memory: until it ends"
        return
    for name in (INTERACTIONS, IMPRESSIONS):
        retention = TOPIC_SPECS[name].retention_ms
        assert retention is not None
        yield f"topic {name}: {retention // DAY_MS} days after each record"
    yield f"topic {USERS}: until Kafka compacts it"
