"""The secrets of compose.yaml: random ones by themselves, one's own from .env, each for whom it concerns."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.support.compose import (
    SECRETS,
    compose_file,
    compose_variables,
    mounted_secrets,
    start_container,
    started_environment,
)

VOLUMES = {
    "qdrant-key": "EDDYLINE_QDRANT__API_KEY",
    "kafka-admin-password": "KAFKA_ADMIN_PASSWORD",
    "kafka-services-password": "KAFKA_SERVICES_PASSWORD",
    "kafka-apps-password": "KAFKA_APPS_PASSWORD",
    "record-signing": "EDDYLINE_KAFKA__SIGNING_SECRETS",
}
LONG_RUNNING = ("api", "embedder", "profiler", "affinity", "insights", "feeds")
READERS = ("qdrant", "kafka-users", "init", *LONG_RUNNING)
EXPECTED = {
    "qdrant": {"EDDYLINE_QDRANT__API_KEY"},
    "kafka-users": {"KAFKA_ADMIN_PASSWORD", "KAFKA_SERVICES_PASSWORD", "KAFKA_APPS_PASSWORD"},
    "init": {"EDDYLINE_QDRANT__API_KEY", "KAFKA_ADMIN_PASSWORD", "EDDYLINE_KAFKA__SIGNING_SECRETS"},
    **{
        name: {"EDDYLINE_QDRANT__API_KEY", "KAFKA_SERVICES_PASSWORD", "EDDYLINE_KAFKA__SIGNING_SECRETS"}
        for name in LONG_RUNNING
    },
}
"""The secrets that each may have."""

pytestmark = pytest.mark.skipif(shutil.which("sh") is None, reason="no sh on this machine")


def made_secrets(folder: Path) -> Path:
    """The volumes after the service `secrets` is done."""
    answer = start_container(compose_file()["services"]["secrets"], folder / "made", folder / "volumes")
    assert answer.returncode == 0, answer.stderr
    return folder / "volumes"


def secrets_in(volumes: Path) -> dict[str, str]:
    found = {folder.name: (folder / "secret").read_text() for folder in volumes.iterdir()}
    found["record-signing"] = json.dumps([found["record-signing"].removesuffix("\n")])
    return {variable: found.pop(volume).removesuffix("\n") for volume, variable in VOLUMES.items()} | found


def secrets_of(name: str, environment: Mapping[str, str]) -> dict[str, str]:
    """Those that a container's program gets, by their name in .env."""
    if name == "qdrant":
        return {"EDDYLINE_QDRANT__API_KEY": environment["QDRANT__SERVICE__API_KEY"]}
    if name == "kafka-users":
        return {variable: value for variable, value in environment.items() if variable in SECRETS}
    client = json.loads(environment["EDDYLINE_KAFKA__CLIENT"])
    return {
        "EDDYLINE_QDRANT__API_KEY": environment["EDDYLINE_QDRANT__API_KEY"],
        "EDDYLINE_KAFKA__SIGNING_SECRETS": environment["EDDYLINE_KAFKA__SIGNING_SECRETS"],
        f"KAFKA_{client['sasl.username'].upper()}_PASSWORD": client["sasl.password"],
    }


def test_secrets_are_random_and_made_where_there_are_none(tmp_path: Path) -> None:
    made = secrets_in(made_secrets(tmp_path / "one"))
    assert set(made) == set(SECRETS)
    assert all(re.fullmatch(r'[0-9a-f]{64}|\["[0-9a-f]{64}"\]', secret) for secret in made.values())
    others = secrets_in(made_secrets(tmp_path / "two"))
    assert len({*made.values(), *others.values()}) == 2 * len(SECRETS)


def test_secrets_stay_and_only_what_is_missing_or_empty_is_made_again(tmp_path: Path) -> None:
    volumes = made_secrets(tmp_path)
    before = secrets_in(volumes)
    (volumes / "qdrant-key" / "secret").unlink()
    (volumes / "kafka-apps-password" / "secret").write_text("")
    (volumes / "kafka-apps-password" / "unfinished").write_text("abc")
    shutil.rmtree(tmp_path / "made")
    after = secrets_in(made_secrets(tmp_path))
    assert {name for name in SECRETS if before[name] != after[name]} == {
        "EDDYLINE_QDRANT__API_KEY",
        "KAFKA_APPS_PASSWORD",
    }
    assert all(re.fullmatch(r'[0-9a-f]{64}|\["[0-9a-f]{64}"\]', secret) for secret in after.values())


@pytest.mark.parametrize("name", READERS)
def test_a_container_starts_with_the_secrets_that_were_made(name: str, tmp_path: Path) -> None:
    volumes = made_secrets(tmp_path)
    found = secrets_of(name, started_environment(compose_file()["services"][name], tmp_path / name, volumes))
    assert set(found) == EXPECTED[name]
    assert found.items() <= secrets_in(volumes).items()


@pytest.mark.parametrize("name", READERS)
def test_ones_own_secrets_win(name: str, tmp_path: Path) -> None:
    assert compose_variables() == set(SECRETS)
    service = compose_file(SECRETS)["services"][name]
    found = secrets_of(name, started_environment(service, tmp_path / name, made_secrets(tmp_path)))
    assert found == {variable: SECRETS[variable] for variable in EXPECTED[name]}
    (tmp_path / "nothing").mkdir()
    assert found == secrets_of(name, started_environment(service, tmp_path / "again", tmp_path / "nothing"))


@pytest.mark.parametrize("content", [None, ""], ids=["missing", "empty"])
@pytest.mark.parametrize("name", ["qdrant", "kafka-users", "init", "api"])
def test_without_a_secret_nothing_starts(name: str, content: str | None, tmp_path: Path) -> None:
    service = compose_file()["services"][name]
    for number, (volume, _, _) in enumerate(mounted_secrets(service)):
        volumes = made_secrets(tmp_path / str(number))
        (volumes / volume / "secret").unlink()
        if content is not None:
            (volumes / volume / "secret").write_text(content)
        answer = start_container(service, tmp_path / f"{name}-{number}", volumes)
        assert answer.returncode != 0
        assert not answer.stdout


def test_only_those_that_need_a_secret_mount_it_and_only_who_makes_them_writes() -> None:
    compose: dict[str, Any] = compose_file()
    mounts = {name: set(mounted_secrets(service)) for name, service in compose["services"].items()}
    assert {volume for volume, _, writes in mounts.pop("secrets") if writes} == set(VOLUMES) <= set(compose["volumes"])
    for name, mounted in mounts.items():
        assert not any(writes for _, _, writes in mounted), name
        assert {VOLUMES[volume] for volume, _, _ in mounted} == EXPECTED.get(name, set())


def test_who_makes_the_secrets_is_on_no_network() -> None:
    secrets = compose_file()["services"]["secrets"]
    assert secrets["network_mode"] == "none"
    assert secrets["user"] == "0", "new volumes belong to root, and it has no capability to write where it may not"
