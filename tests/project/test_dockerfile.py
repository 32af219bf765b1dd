"""deploy/Dockerfile: its stages, who it runs as, and that what it installs exists."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
TARGETS = {"slim", "insights", "embedder", "all"}

Stage = list[tuple[str, str]]


@pytest.fixture(scope="module")
def stages() -> dict[str, Stage]:
    """Each stage's instructions by its name; what is before the first FROM is under the empty name."""
    text = (ROOT / "deploy" / "Dockerfile").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    found: dict[str, Stage] = {"": []}
    name = ""
    for line in filter(None, joined.splitlines()):
        instruction, _, rest = line.partition(" ")
        if instruction == "FROM":
            base, name = re.fullmatch(r"(\S+) AS (\S+)", rest).groups()  # type: ignore[union-attr]
            found[name] = [("FROM", base)]
        else:
            found[name].append((instruction, rest.strip()))
    return found


def _values(stage: Stage, instruction: str) -> list[str]:
    return [rest for name, rest in stage if name == instruction]


def test_there_is_a_target_for_each_size(stages: dict[str, Stage]) -> None:
    for target in TARGETS:
        assert _values(stages[target], "FROM") == ["runtime"]
        assert _values(stages[target], "COPY") == [f"--from=build-{target} /opt/eddyline /opt/eddyline"]


def test_bases_are_pinned(stages: dict[str, Stage]) -> None:
    assert re.fullmatch(r"PYTHON_IMAGE=python:3\.1[123]\.\d+-slim-\w+", _values(stages[""], "ARG")[0])
    for name, stage in stages.items():
        for base in _values(stage, "FROM"):
            assert base == "${PYTHON_IMAGE}" or base in stages, f"{name} is from {base}"
    assert not any("latest" in rest for stage in stages.values() for _, rest in stage)


def test_uv_is_the_version_that_make_brings(stages: dict[str, Stage]) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    version = re.search(r"^UV_VERSION := (\S+)$", makefile, re.MULTILINE)
    assert version is not None
    assert _values(stages["uv"], "ARG") == [f"UV_VERSION={version[1]}"]


def test_it_runs_as_nobody_special_and_gets_sigterm_itself(stages: dict[str, Stage]) -> None:
    runtime = stages["runtime"]
    assert _values(runtime, "USER") == ["10001:10001"]
    assert json.loads(_values(runtime, "ENTRYPOINT")[0]) == ["eddyline"]
    assert isinstance(json.loads(_values(runtime, "CMD")[0]), list)
    assert "/readyz" in _values(runtime, "HEALTHCHECK")[0]
    for target in TARGETS:
        assert {name for name, _ in stages[target]} == {"FROM", "COPY"}


def test_a_new_volume_on_its_data_belongs_to_whom_it_runs_as(stages: dict[str, Stage]) -> None:
    runtime = stages["runtime"]
    data = re.search(r"\bEDDYLINE_DATA_DIR=(\S+)", _values(runtime, "ENV")[0])
    assert data is not None
    owner, group = _values(runtime, "USER")[0].split(":")
    made = f"install --directory --owner={owner} --group={group} {data[1]}"
    assert made in [command.strip() for run in _values(runtime, "RUN") for command in run.split("&&")]


def test_its_version_is_the_projects(stages: dict[str, Stage]) -> None:
    assert _values(stages["runtime"], "ARG") == [f"VERSION={_pyproject()['version']}"]


def test_it_installs_from_the_lock_and_only_extras_that_exist(stages: dict[str, Stage]) -> None:
    extras = set(_pyproject()["optional-dependencies"])
    for target in TARGETS:
        syncs = [run for run in _values(stages[f"build-{target}"], "RUN") if "uv sync" in run]
        assert len(syncs) == 2
        for sync in syncs:
            assert "--frozen" in sync
            assert "--no-dev" in sync
            assert set(re.findall(r"--extra (\S+)", sync)) <= extras


def test_the_slim_target_has_no_torch(stages: dict[str, Stage]) -> None:
    syncs = [run for run in _values(stages["build-slim"], "RUN") if "uv sync" in run]
    assert syncs
    heavy = _reaching("torch", _locked())
    for sync in syncs:
        assert "--all-extras" not in sync
        chosen = set(re.findall(r"--extra (\S+)", sync))
        project = _pyproject()
        requirements = [
            *project["dependencies"],
            *(r for extra in chosen for r in project["optional-dependencies"][extra]),
        ]
        names = {re.split(r"[<>=!\[; ]", requirement)[0] for requirement in requirements}
        assert not names & heavy


def test_what_it_copies_is_not_kept_out_of_its_context(stages: dict[str, Stage]) -> None:
    ignore = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    assert "*" in ignore
    copied = {
        source
        for stage in stages.values()
        for rest in _values(stage, "COPY")
        if not rest.startswith("--from")
        for source in rest.split()[:-1]
    }
    assert copied >= {"pyproject.toml", "uv.lock", "services"}
    assert {f"!{source}" for source in copied} <= set(ignore)


def _pyproject() -> dict[str, Any]:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    project: dict[str, Any] = tomllib.loads(text)["project"]
    return project


def _locked() -> dict[str, set[str]]:
    lock = tomllib.loads((ROOT / "uv.lock").read_text(encoding="utf-8"))
    return {
        package["name"]: {dependency["name"] for dependency in package.get("dependencies", [])}
        for package in lock["package"]
        if package["name"] != "eddyline"
    }


def _reaching(goal: str, requires: dict[str, set[str]]) -> set[str]:
    """The locked packages that need `goal`, directly or through others."""
    reaching = {goal}
    while more := {name for name, needs in requires.items() if needs & reaching} - reaching:
        reaching |= more
    return reaching
