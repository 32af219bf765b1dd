"""A shell that talks to a running Eddyline as a reader of the pages would."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.support.system import environment

WRITTEN = "http://127.0.0.1:8000"
"""The address in the pages."""
STATUS = "http-status "


@dataclass(frozen=True, slots=True)
class Answer:
    """What a block printed, and the statuses of its requests."""

    code: int
    output: str
    errors: str

    @property
    def last_line(self) -> str:
        """The last answer."""
        lines = [line for line in self.output.splitlines() if line.strip()]
        return lines[-1] if lines else ""

    @property
    def statuses(self) -> list[tuple[int, str]]:
        """(status, content type) of every request, in order."""
        told = [line.removeprefix(STATUS).split() for line in self.errors.splitlines() if line.startswith(STATUS)]
        return [(int(status), " ".join(kind)) for status, *kind in told]


@dataclass(frozen=True, slots=True)
class Shell:
    """Runs blocks with bash, in a folder of its own."""

    url: str
    folder: Path

    def run(self, script: str) -> Answer:
        """Run one block to its end."""
        path = os.pathsep.join([str(self.folder / "bin"), str(Path(sys.executable).parent), os.environ["PATH"]])
        done = subprocess.run(
            ["bash", "-eu", "-o", "pipefail", "-c", script.replace(WRITTEN, self.url)],
            cwd=self.folder,
            env=environment({"PATH": path}),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return Answer(done.returncode, done.stdout, done.stderr)
