"""Which variants are stopped, and since when others go on again, followed from the topic `verdicts`."""

from __future__ import annotations

import threading

import structlog

from eddyline.adapters.kafka import Record
from eddyline.errors import InvalidEvent
from eddyline.model.experiments.definitions import Experiment
from eddyline.model.experiments.verdicts import Verdict, parse_verdict

log = structlog.get_logger("insights")


class VerdictView:
    """The verdicts in force. Thread-safe: the topic's consumer applies records while others read."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._log: str | None = None
        self._verdicts: dict[str, Verdict] = {}
        self._lifted: dict[str, float] = {}

    def apply(self, record: Record) -> None:
        """Apply one record of the topic; a tombstone lets a variant go on."""
        key = (record.key or b"").decode(errors="replace")
        try:
            verdict = None if record.value is None else parse_verdict(record.value)
        except InvalidEvent as error:
            log.warning("skipped an invalid verdict", key=key, offset=record.offset, reason=str(error))
            return
        with self._lock:
            if record.log != self._log:
                self._log, self._verdicts, self._lifted = record.log, {}, {}
            if verdict is None:
                self._verdicts.pop(key, None)
                self._lifted[key] = record.timestamp / 1000
            else:
                self._verdicts[verdict.key] = verdict

    def note(self, verdict: Verdict) -> None:
        """Add a verdict that was just written."""
        with self._lock:
            self._verdicts[verdict.key] = verdict

    def find(self, experiment: Experiment, variant: str) -> Verdict | None:
        """Return the verdict that stops a variant of the present definition."""
        with self._lock:
            found = self._verdicts.get(f"{experiment.name}/{variant}")
        return found if found is not None and found.revision == experiment.revision else None

    def lifted_at(self, experiment: str, variant: str) -> float:
        """When a variant was let go on, in epoch seconds; 0 where it wasn't."""
        with self._lock:
            return self._lifted.get(f"{experiment}/{variant}", 0.0)

    def all(self) -> list[Verdict]:
        """Return every verdict, of present and of earlier definitions."""
        with self._lock:
            return [self._verdicts[key] for key in sorted(self._verdicts)]
