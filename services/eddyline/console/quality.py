"""The last evaluation of the lists, where there is one: what `eddyline evaluate --output` wrote into the folder
`quality` of the data directory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from eddyline.errors import Misconfigured
from eddyline.evaluation.stored_evaluation import METRICS_FILE, read_evaluation
from eddyline.model.events import format_timestamp
from eddyline.settings import Settings

FOLDER = "quality"
RUN = ("eddyline", "log", "space", "share", "seed", "shuffled", "tuned", "against", "protocol")
"""What is shown of what the figures depend on."""


class LastEvaluation:
    """The last evaluation's files, read whenever it is asked for. May be called from any thread."""

    def __init__(self, settings: Settings) -> None:
        self._folder = settings.data_dir / FOLDER

    def describe(self) -> dict[str, Any]:
        """Return its rows and what they depend on; `rows` empty: there is none. `fault`: why it can't be read."""
        try:
            found = read_evaluation(self._folder)
        except Misconfigured as error:
            return {"folder": str(self._folder), "at": None, "rows": [], "run": {}, "fault": str(error)}
        rows, run = ([], {}) if found is None else (found["rows"], found["run"])
        return {
            "folder": str(self._folder),
            "at": _written_at(self._folder / METRICS_FILE),
            "rows": rows,
            "run": {name: run[name] for name in RUN if name in run},
            "fault": None,
        }


def _written_at(file: Path) -> str | None:
    try:
        return format_timestamp(file.stat().st_mtime)
    except OSError:
        return None
