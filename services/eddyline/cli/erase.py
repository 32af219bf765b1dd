"""`eddyline erase`: erase a person, and say where was looked."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Annotated

import typer

from eddyline.cli.shared_options import RUNNING, ConfigFile, DataDir, Url, api_key, load_settings
from eddyline.cli.terminal_output import counted
from eddyline.errors import EddylineError, NotFound
from eddyline.model.ids import Person
from eddyline.model.proofs import sign_proof
from eddyline.settings import Settings

if TYPE_CHECKING:
    from eddyline.clients import Client
    from eddyline.maintenance.personal_traces import PersonalTrace

AWAIT_SECONDS = 60.0
POLL_SECONDS = 0.1
PROOF_SECONDS = 600


def erase(
    person_id: Annotated[str, typer.Argument(metavar="ID", help="The person's user id.")],
    url: Url = RUNNING,
    anonymous: Annotated[bool, typer.Option("--anonymous", help="It is an anonymous id, and no user's yet.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Don't ask.")] = False,
    config: ConfigFile = None,
    data_dir: DataDir = None,
) -> None:
    """Erase a person from a running Eddyline and the dead letters, and say what was found where, and what stays."""
    from eddyline.cli.dead_letter_commands import open_dead_letters
    from eddyline.clients import WHILE_BUSY, Client
    from eddyline.maintenance.dead_letters import DeadLetterSelection, drop

    settings, person = load_settings(config, data_dir), Person("a" if anonymous else "u", person_id)
    if not yes and not typer.confirm(f"Erase {person_id!r} for good?"):
        raise EddylineError("nothing was erased")
    with Client(url, retries=WHILE_BUSY, api_key=api_key(settings), proof=_proof(settings, person)) as client:
        known, theirs = _known(client, person), [person, *_linked(client, person)]
        client.erase(person)
        _await_erasure(client, person)
    linked = "" if anonymous else f", and those of {counted(len(theirs) - 1, 'anonymous id')}"
    print(f"profile{linked}: {known or 'nothing was known'}; erased")
    with open_dead_letters(settings) as opened:
        dropped = drop(opened.box.logs(), DeadLetterSelection(people=frozenset(theirs)), lambda _: None)
        print(f"dead letters {opened.where}: {counted(dropped, 'dead letter')} removed")
    for trace in _traces(settings, theirs):
        left = f"{counted(trace.found, trace.noun)} of theirs, {trace.until}" if trace.found else "nothing of theirs"
        print(f"{trace.place}: {left}")


def _proof(settings: Settings, person: Person) -> str | None:
    """Prove to be the person, as whoever has the secret can; None where none is asked for."""
    secret = settings.identity.secret
    if secret is None:
        return None
    return sign_proof(secret.get_secret_value().encode(), person, int(time.time()) + PROOF_SECONDS)


def _known(client: Client, person: Person) -> str:
    """Say what is known of them; nothing where nothing is."""
    if person.kind == "a":
        return "" if client.recommend(anonymous_id=person.id, limit=1)["cold_start"] else "somebody was known"
    try:
        found = client.user(person.id)
    except NotFound:
        return ""
    counts = (
        counted(found["events"], "event"),
        counted(len(found["attributes"]), "attribute"),
        f"{found['waiting']:,} waiting for their items",
    )
    return ", ".join((*counts, *(["answers"] if found["onboarded"] else [])))


def _linked(client: Client, person: Person) -> list[Person]:
    """Find the anonymous ids of a user."""
    if person.kind == "a":
        return []
    try:
        return [Person("a", each) for each in client.user(person.id)["anonymous_ids"]]
    except NotFound:
        return []


def _await_erasure(client: Client, person: Person) -> None:
    """Return once nothing is known of them. Raises `EddylineError` after a minute."""
    deadline = time.monotonic() + AWAIT_SECONDS
    while time.monotonic() < deadline:
        if not _known(client, person):
            return
        time.sleep(POLL_SECONDS)
    merged = "; or the anonymous id is a user's by now: erase the user" if person.kind == "a" else ""
    raise EddylineError(
        f"the erasure was taken, and the profile is still there after {AWAIT_SECONDS:g} s: are embedder and profiler "
        f"running? Run it again, for the dead letters, once they do{merged}"
    )


def _traces(settings: Settings, people: Sequence[Person]) -> Iterator[PersonalTrace]:
    """Look where something may stay that no longer counts."""
    from eddyline.adapters.kafka import LogReader
    from eddyline.maintenance.personal_traces import traces_in_files, traces_in_topics
    from eddyline.runtime.connections import open_log

    with open_log(settings) as options, closing(LogReader(options)) as log:
        yield from traces_in_topics(log, people)
    yield from traces_in_files(settings.data_dir, people)
