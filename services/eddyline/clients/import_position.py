"""How far an import got: counts of lines by file, while files only grow and the installation is the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import orjson

from eddyline.clients.sources import Source
from eddyline.clients.text_files import digest_content
from eddyline.errors import InvalidInput


class ImportPosition:
    """Kept in `file`, where there is one. Raises `InvalidInput` where that is damaged.

    `installation`: which one is imported into, None where that is unknown. A position in another one is forgotten.
    """

    def __init__(self, file: Path | None, source: Source, installation: str | None) -> None:
        self._file = file
        state = self._load()
        self.is_of_another_installation = None not in (installation, state.get("installation")) and (
            installation != state["installation"]
        )
        if self.is_of_another_installation:
            state = {}
        self._files: dict[str, Any] = {}
        unchanged = {path.name for path in source.files if self._note(path, state, source.is_in_file_order)}
        self._installation = installation or state.get("installation")
        self._reading = source.reading
        # What replaces itself is sent again where the same files are read otherwise; events would count twice.
        kept = ("items", "users", "events") if state.get("reading") == source.reading else ("events",)
        done, refused = state.get("done", {}), state.get("refused", {})
        self._done = {
            what: Counter({name: count for name, count in done.get(what, {}).items() if name in unchanged})
            for what in kept
        }
        self._refused = {
            what: {where for where in refused.get(what, ()) if where.rpartition(":")[0] in unchanged} for what in kept
        }
        self.shift: float | None = state.get("shift")
        """Seconds by which events are moved."""

    def done(self, what: str) -> Mapping[str, int]:
        """Return how many lines of each file were sent: of items, users or events."""
        return self._done.get(what, {})

    def refused(self, what: str) -> frozenset[str]:
        """Return the places of the lines that were sent and refused: the next run sends them again."""
        return frozenset(self._refused.get(what, ()))

    def advance(self, what: str, files: Counter[str], accepted: Iterable[str], refused: Iterable[str]) -> None:
        """Count lines that were sent for the first time, note what became of all, by their places, and keep that."""
        self._done.setdefault(what, Counter()).update(files)
        now = self._refused.setdefault(what, set())
        now.difference_update(accepted)
        now.update(refused)
        self.write()

    def write(self) -> None:
        """Keep the position."""
        if self._file is None:
            return
        self._file.parent.mkdir(parents=True, exist_ok=True)
        state = {
            "installation": self._installation,
            "files": self._files,
            "done": self._done,
            "reading": self._reading,
            "shift": self.shift,
            "refused": {what: sorted(places) for what, places in self._refused.items()},
        }
        new = self._file.with_suffix(".new")
        new.write_bytes(orjson.dumps(state))
        new.replace(self._file)

    def _note(self, path: Path, state: Mapping[str, Any], is_in_file_order: bool) -> bool:
        """Note what a file holds; tell whether it still begins with all that it held."""
        known = state.get("files", {}).get(path.name)
        content, beginning = digest_content(path, 0 if known is None else int(known["bytes"]))
        self._files[path.name] = content._asdict()
        if known is None:
            return False
        return bool(known == content._asdict() or (is_in_file_order and beginning == known["digest"]))

    def _load(self) -> dict[str, Any]:
        if self._file is None or not self._file.exists():
            return {}
        try:
            state = dict(orjson.loads(self._file.read_bytes()))
        except (orjson.JSONDecodeError, TypeError, ValueError):
            raise InvalidInput(f"{self._file} is damaged; delete it to import from the start", "state") from None
        return state if "files" in state else {}
