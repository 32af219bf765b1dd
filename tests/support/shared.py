"""What all workers of a run share: each server is started once, by whoever needs it first, and ended with the run."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

SERVERS = "servers"


def run_directory(config: pytest.Config) -> Path:
    """The run's own temporary directory: the same in the controller and in every worker."""
    base: Path = config._tmp_path_factory.getbasetemp()  # type: ignore[attr-defined]
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


def shared(config: pytest.Config, name: str, start: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Return what `start` returned, whichever process of this run called it first.

    `start` must leave the server running when its process ends, and say how to end it: `pid`, `container` or nothing,
    and a `directory` to remove.
    """
    folder = run_directory(config) / SERVERS
    folder.mkdir(exist_ok=True)
    told = folder / f"{name}.json"
    with (folder / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # held while it starts: the others wait for it
        if not told.exists():
            told.write_text(json.dumps(start()))
    found: dict[str, Any] = json.loads(told.read_text())
    return found


def started(config: pytest.Config, name: str) -> dict[str, Any] | None:
    """Return what a server's start returned; None where nobody has needed it."""
    told = run_directory(config) / SERVERS / f"{name}.json"
    return json.loads(told.read_text()) if told.exists() else None


def end_shared(config: pytest.Config) -> None:
    """End what was started. For the controller, or the only process."""
    for told in (run_directory(config) / SERVERS).glob("*.json"):
        server = json.loads(told.read_text())
        told.unlink()
        if server.get("pid"):
            with suppress(ProcessLookupError):
                os.kill(server["pid"], signal.SIGKILL)
        if server.get("container"):
            import docker  # type: ignore[import-untyped]

            docker.from_env().containers.get(server["container"]).remove(force=True)
        if server.get("directory"):
            shutil.rmtree(server["directory"], ignore_errors=True)


def pytest_unconfigure(config: pytest.Config) -> None:
    """End the servers once every worker has ended."""
    if "PYTEST_XDIST_WORKER" not in os.environ and hasattr(config, "_tmp_path_factory"):
        end_shared(config)
