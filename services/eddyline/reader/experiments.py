"""What a reader knows of experiments: the file as it is now, and which variants are stopped."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeAlias

import structlog

from eddyline.adapters.experiments_file import load_experiments
from eddyline.adapters.kafka import Record
from eddyline.adapters.telemetry import Metrics
from eddyline.errors import InvalidEvent, Misconfigured
from eddyline.model.experiments.assignment import NONE_STOPPED, Stopped
from eddyline.model.experiments.verdicts import Verdict, parse_verdict
from eddyline.reader.assignment import ActiveExperiments
from eddyline.settings import Settings

LOOK_SECONDS = 1.0
Stamp: TypeAlias = tuple[int, int, int] | None
"""What tells one state of a file from another: its inode, size and time in nanoseconds; None where there is none."""

log = structlog.get_logger("reader")


class StoppedVariants:
    """Which variants are stopped, as the topic `verdicts` tells it: the latest record of each. One thread writes."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._verdicts: dict[tuple[str, str], tuple[bytes | None, Verdict]] = {}
        """By experiment and variant, each with its record's key."""
        self._log: str | None = None
        self._stopped: Stopped = NONE_STOPPED

    def stopped(self) -> Stopped:
        """(experiment, revision, variant) of each."""
        return self._stopped

    def take(self, record: Record) -> None:
        """A record of the topic; a tombstone takes back what is under its key, and what can't be read is counted."""
        if record.log != self._log:  # the topic was created anew
            self._log, self._verdicts = record.log, {}
        if record.value is None:
            self._verdicts = {what: kept for what, kept in self._verdicts.items() if kept[0] != record.key}
        else:
            try:
                verdict = parse_verdict(record.value)
            except InvalidEvent:
                self._metrics.verdicts_ignored.inc()
            else:
                self._verdicts[verdict.experiment, verdict.variant] = (record.key, verdict)
        stopped = frozenset((one.experiment, one.revision, one.variant) for _, one in self._verdicts.values())
        for experiment, revision, variant in stopped - self._stopped:
            log.warning("variant stopped", experiment=experiment, revision=revision, variant=variant)
        self._stopped = stopped


class ExperimentsWatcher:
    """The experiments of the settings' file, read again when it changes. A changed file that is wrong is refused as a
    whole: what was in force stays so.

    `stopped` tells which variants get no traffic. The caller must `close` it.
    """

    def __init__(
        self, settings: Settings, metrics: Metrics, stopped: Callable[[], Stopped] = lambda: NONE_STOPPED
    ) -> None:
        """Reads the file. Raises `Misconfigured` for a wrong one."""
        self._settings, self._metrics, self._stopped = settings, metrics, stopped
        self._path = settings.experiments_file
        self._read = self._seen = self._stamp()
        self._experiments = load_experiments(self._path, settings)
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None

    def now(self) -> ActiveExperiments:
        """What is in force."""
        return ActiveExperiments(self._experiments, self._stopped())

    def look(self) -> None:
        """Read the file if it has changed since it was read, and no more since the last look: not while it is being
        written."""
        stamp, before = self._stamp(), self._seen
        self._seen = stamp
        if stamp == self._read or stamp != before:
            return
        self._read = stamp
        try:
            self._experiments = load_experiments(self._path, self._settings)
        except Misconfigured as error:
            self._metrics.experiments_refused.set(1)
            log.error("the changed experiments are refused; those before stay in force", reason=str(error))
        else:
            self._metrics.experiments_refused.set(0)
            log.info("experiments reloaded", file=str(self._path), experiments=len(self._experiments))

    def start(self) -> None:
        """Look about every second."""
        self._thread = threading.Thread(target=self._run, name="reader-experiments", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Look no more."""
        self._closing.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while not self._closing.wait(LOOK_SECONDS):
            try:
                self.look()
            except Exception:  # a mistake of ours must not end the looking
                log.exception("couldn't check the experiments file")

    def _stamp(self) -> Stamp:
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_ino, found.st_size, found.st_mtime_ns
