"""`eddyline keys`: keys of the HTTP API."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer
from pydantic import ValidationError

from eddyline.errors import Misconfigured
from eddyline.settings import KeySettings, Scope

keys = typer.Typer(name="keys", help="Keys of the HTTP API, with scopes.", no_args_is_help=True)


@keys.callback()
def _group() -> None:
    pass


@keys.command()
def new(
    name: Annotated[str, typer.Option("--name", help="Whose key it is, for logs and metrics.")],
    scope: Annotated[list[Scope], typer.Option("--scope", help="What it may be used for; may be repeated.")],
    days: Annotated[
        float | None, typer.Option("--days", min=0.001, help="Days until it expires; without it, never.")
    ] = None,
    rate: Annotated[
        float | None, typer.Option("--rate", min=0.001, help="Most requests a second, in each process.")
    ] = None,
) -> None:
    """Make a key: it is shown once, on standard error; what belongs in the file of keys goes to standard output.

    `eddyline keys new --name shop --scope lists >> keys.toml` adds it to the keys of a running Eddyline, which reads
    the file again.
    """
    from eddyline.adapters.http.keys import hash_key, new_key

    key = new_key()
    expires = None if days is None else datetime.now(UTC).replace(microsecond=0) + timedelta(days=days)
    try:
        made = KeySettings(
            name=name,
            scopes=frozenset(scope),
            hash=hash_key(key.encode()).hex(),
            expires=expires,
            requests_per_second=rate,
        )
    except ValidationError as error:
        raise Misconfigured(f"--name: {error.errors()[0]['msg']}") from None
    print(f"The key of {name}, shown this once: {key}", file=sys.stderr)
    print("\n".join(_lines(made)))


def _lines(key: KeySettings) -> Iterator[str]:
    """Write a key as the file of keys has it."""
    yield "[[keys]]"
    yield f'name = "{key.name}"'
    yield f"scopes = {json.dumps([scope.value for scope in Scope if scope in key.scopes])}"
    yield f'hash = "{key.hash}"'
    if key.expires is not None:
        yield f"expires = {key.expires.isoformat()}"
    if key.requests_per_second is not None:
        yield f"requests_per_second = {key.requests_per_second}"
