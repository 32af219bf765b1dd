"""`eddyline keys new`, and where Eddyline may listen with and without keys."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from pydantic import SecretStr
from typer.testing import CliRunner

from eddyline.adapters.http.keys import hash_key, load_keys
from eddyline.cli import app
from eddyline.errors import Misconfigured
from eddyline.runtime.access import check_address
from eddyline.settings import EncoderSettings, Scope, ServerSettings, Settings


def make(*options: str) -> tuple[str, str]:
    """A key, and what belongs into the file."""
    answer = CliRunner().invoke(app, ["keys", "new", *options])
    assert answer.exit_code == 0, answer.output
    (key,) = re.findall(r"edk_\S+", answer.stderr)
    assert key not in answer.stdout
    return key, answer.stdout


def test_a_key_is_shown_once_and_its_lines_are_what_the_file_holds(tmp_path: Path) -> None:
    web, lines = make("--name", "web", "--scope", "events")
    backend, more = make("--name", "back-end", "--scope", "people", "--scope", "lists", "--days", "30", "--rate", "50")
    path = tmp_path / "keys.toml"
    path.write_text(lines + more)
    first, second = load_keys(path) or ()
    assert (first.name, first.scopes, first.hash) == ("web", frozenset({Scope.EVENTS}), hash_key(web.encode()).hex())
    assert (first.expires, first.requests_per_second) == (None, None)
    assert (second.scopes, second.requests_per_second) == (frozenset({Scope.LISTS, Scope.PEOPLE}), 50.0)
    assert second.hash == hash_key(backend.encode()).hex()
    assert second.expires is not None
    assert tomllib.loads(more)["keys"][0]["scopes"] == ["lists", "people"]


@pytest.mark.parametrize("options", [("--name", "a b", "--scope", "lists"), ("--name", "a", "--scope", "all")])
def test_a_wrong_name_or_scope_is_refused(options: tuple[str, ...]) -> None:
    assert CliRunner().invoke(app, ["keys", "new", *options]).exit_code != 0


def listening(tmp_path: Path, host: str, keys: bool = False, insecure: bool = False) -> None:
    path = tmp_path / "keys.toml"
    if keys:
        path.write_text(make("--name", "a", "--scope", "lists")[1])
    settings = Settings(keys_file=path, server=ServerSettings(host=host, insecure=insecure))
    check_address(settings, ("collector",))


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_this_machine_alone_needs_no_keys(host: str, tmp_path: Path) -> None:
    listening(tmp_path, host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.7", "", "shop.example"])
def test_elsewhere_keys_are_needed_and_the_refusal_says_how_to_make_one(host: str, tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match=r"eddyline keys new.*--insecure"):
        listening(tmp_path, host)
    listening(tmp_path, host, insecure=True)
    listening(tmp_path, host, keys=True)


def test_an_encoders_own_key_will_do_for_it_alone(tmp_path: Path) -> None:
    settings = Settings(
        keys_file=tmp_path / "none",
        server=ServerSettings(host="0.0.0.0"),
        encoder=EncoderSettings(serving_key=SecretStr("between-us")),
    )
    check_address(settings, ("encoder",))
    with pytest.raises(Misconfigured):
        check_address(settings, ("collector",))
