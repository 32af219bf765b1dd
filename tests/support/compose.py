"""compose.yaml as Compose would read it, as far as tests need it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
SECRETS = {
    "EDDYLINE_QDRANT__API_KEY": "a-key-of-qdrant",
    "KAFKA_ADMIN_PASSWORD": "a-password-of-admin",
    "KAFKA_SERVICES_PASSWORD": "a-password-of-services",
    "KAFKA_APPS_PASSWORD": "a-password-of-apps",
    "EDDYLINE_KAFKA__SIGNING_SECRETS": '["a-secret-that-signs-what-services-write"]',
}
"""What may be in .env, by name."""
MOUNTED = "/run/secrets"
_VARIABLE = re.compile(r"\$\{(\w+):-\}")
_PROGRAM = """#!{python}
import json, os, sys

print(json.dumps({{"arguments": sys.argv[1:], "environment": dict(os.environ)}}))
"""


def compose_file(variables: Mapping[str, str] | None = None) -> dict[str, Any]:
    """compose.yaml with these variables in their places; the others are empty."""
    text = (ROOT / "compose.yaml").read_text(encoding="utf-8")
    loaded: dict[str, Any] = _interpolated(yaml.safe_load(text), variables or {})
    return loaded


def _interpolated(value: Any, variables: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        return {key: _interpolated(inner, variables) for key, inner in value.items()}
    if isinstance(value, list):
        return [_interpolated(inner, variables) for inner in value]
    if isinstance(value, str):
        return _VARIABLE.sub(lambda found: variables.get(found[1], ""), value)
    return value


def compose_variables() -> set[str]:
    """The variables that compose.yaml takes from .env where they are there."""
    return set(_VARIABLE.findall((ROOT / "compose.yaml").read_text(encoding="utf-8")))


def mounted_secrets(service: Mapping[str, Any]) -> Iterator[tuple[str, str, bool]]:
    """Yield each volume of secrets that a service mounts: its name, its folder's, and whether it writes."""
    for volume in service.get("volumes", []):
        name, separator, rest = volume.partition(f":{MOUNTED}/")
        if separator:
            yield name, rest.removesuffix(":ro"), not rest.endswith(":ro")


def start_container(service: Mapping[str, Any], folder: Path, volumes: Path) -> subprocess.CompletedProcess[str]:
    """Run a container's entrypoint and command in `folder`, with its secrets from `volumes`, a folder of folders.

    What it starts in the end prints its arguments and its environment as JSON.
    """
    (folder / "secrets").mkdir(parents=True)
    for name, target, _ in mounted_secrets(service):
        (volumes / name).mkdir(parents=True, exist_ok=True)
        (folder / "secrets" / target).symlink_to(volumes / name)
    for program in ("eddyline", "entrypoint.sh"):
        path = folder / program
        path.write_text(_PROGRAM.format(python=sys.executable), encoding="utf-8")
        path.chmod(0o755)
    words = [*service["entrypoint"], *service.get("command", [])]
    program, *arguments = [word.replace("$$", "$").replace(MOUNTED, str(folder / "secrets")) for word in words]
    return subprocess.run(
        [sys.executable if program == "python" else program, *arguments],
        cwd=folder,
        env={"PATH": f"{folder}:{os.environ['PATH']}"}
        | {name: value for name, value in service.get("environment", {}).items() if value is not None},
        capture_output=True,
        text=True,
        check=False,
    )


def started_environment(service: Mapping[str, Any], folder: Path, volumes: Path) -> dict[str, str]:
    """Return the environment that a container's program gets (see `start_container`)."""
    answer = start_container(service, folder, volumes)
    assert answer.returncode == 0, answer.stderr
    assert not answer.stderr
    program = json.loads(answer.stdout)
    assert program["arguments"] == service.get("command", [])
    found: dict[str, str] = program["environment"]
    return found
