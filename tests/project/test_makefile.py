"""The Makefile: what it offers, and what it says where there is no fitting Python."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def _make(*arguments: str, cwd: Path = ROOT, path: str | None = None) -> subprocess.CompletedProcess[str]:
    make = shutil.which("make")
    if make is None:
        pytest.skip("no make on this machine")
    return subprocess.run(
        [make, *arguments],
        cwd=cwd,
        env={"PATH": path or os.environ["PATH"]},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


def test_help_lists_every_target() -> None:
    answer = _make("help")
    assert answer.returncode == 0
    phony = re.findall(r"^\.PHONY: ([\w-]+)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert re.findall(r"make ([\w-]+)", answer.stdout) == [name for name in phony if name != "FORCE"]
    assert {"demo", "test", "lint"} <= set(phony)


@pytest.mark.parametrize("version", ["3.10.13", "3.14.0", None])
def test_a_python_that_does_not_fit_is_refused_with_the_way_out(tmp_path: Path, version: str | None) -> None:
    for name in ("Makefile", "pyproject.toml", "uv.lock"):
        shutil.copy(ROOT / name, tmp_path)
    commands = tmp_path / "bin"
    commands.mkdir()
    for name in ("sh", "sed", "awk", "cut", "mkdir"):
        (commands / name).symlink_to(shutil.which(name) or f"/bin/{name}")
    if version:
        python = commands / "python3"
        python.write_text(f'#!/bin/sh\n[ "$1" = --version ] && echo Python {version} && exit 0\nexit 1\n')
        python.chmod(0o755)
    answer = _make("test", cwd=tmp_path, path=str(commands))
    assert answer.returncode != 0
    assert "Eddyline needs Python 3.11, 3.12 or 3.13" in answer.stderr
    assert (version or "no python3") in answer.stderr
    assert "make PYTHON=" in answer.stderr
    assert not (tmp_path / ".venv").exists()
