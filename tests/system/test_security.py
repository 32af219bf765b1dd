"""Keys, and who may read what is kept: the command and HTTP only, from outside."""

from __future__ import annotations

import re
from pathlib import Path

import httpx
import pytest
from tests.support.system import eddyline, run, wait_until

pytestmark = [pytest.mark.system, pytest.mark.slow(60)]

SCOPES = ("events", "catalogue", "lists")


def make_key(path: Path, name: str, *scopes: str) -> str:
    """A new key, which alone the file then has."""
    options = [option for scope in scopes for option in ("--scope", scope)]
    made = run("keys", "new", "--name", name, *options)
    assert made.returncode == 0, made.stderr
    path.write_text(made.stdout)
    (key,) = re.findall(r"edk_\S+", made.stderr)
    return str(key)


def test_without_keys_it_listens_nowhere_else(lean: dict[str, str], tmp_path: Path) -> None:
    env = lean | {"EDDYLINE_KEYS_FILE": str(tmp_path / "none")}
    refused = run("up", "--host", "0.0.0.0", "--port", "0", "--data-dir", str(tmp_path / "data"), env=env)
    assert refused.returncode == 2
    assert "eddyline keys new" in refused.stderr
    assert not (tmp_path / "data").exists()


def test_eddyline_up_asks_for_keys_takes_new_ones_while_it_runs_and_keeps_its_files_to_itself(
    lean: dict[str, str], tmp_path: Path
) -> None:
    path, data = tmp_path / "keys.toml", tmp_path / "data"
    old = make_key(path, "old", *SCOPES)
    env = lean | {"EDDYLINE_KEYS_FILE": str(path)}
    with eddyline("up", "--data-dir", str(data), log=tmp_path / "log.txt", env=env) as it:

        def status(key: str) -> int:
            return httpx.get(f"{it.url}/v1/trending", headers={"Authorization": f"Bearer {key}"}).status_code

        assert httpx.get(f"{it.url}/readyz").json() == {"status": "ready"}
        assert (status("edk_guessed"), status(old)) == (401, 200)
        items = tmp_path / "items.jsonl"
        items.write_text('{"item_id": "a", "title": "An item"}\n')
        command = ("import", str(items), "--url", it.url, "--state", str(tmp_path / "state.json"))
        missing = run(*command)
        assert missing.returncode == 1
        assert "EDDYLINE_API_KEY" in missing.stderr
        done = run(*command, env={"EDDYLINE_API_KEY": old})
        assert done.returncode == 0, done.stderr
        new = make_key(path, "new", "lists")
        wait_until(lambda: status(new) == 200, "the new key is known")
        assert status(old) == 401
        assert not {old, new} & set(it.log.split())
        readable = [one for one in (data, *data.rglob("*")) if one.stat().st_mode & 0o077]
        assert readable == []
        assert len(list(data.rglob("*"))) > 10


def test_a_data_directory_of_before_is_closed_to_others(lean: dict[str, str], tmp_path: Path) -> None:
    vectors = tmp_path / "data" / "vectors"
    vectors.mkdir(parents=True)
    vectors.chmod(0o755)
    with eddyline("up", "--data-dir", str(tmp_path / "data"), log=tmp_path / "log.txt", env=lean):
        assert vectors.stat().st_mode & 0o077 == 0
