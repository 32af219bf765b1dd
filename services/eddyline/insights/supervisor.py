"""The worker's process: started, started again when it ends, and stopped.

A thread of the insights role starts the process and waits for its end; `stop` and `check` are called from others. A
crash of the worker loses nothing: it starts again from its last plan. Should this process die, the worker sees its
standard input end, and ends too.
"""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress

import structlog

from eddyline.adapters.telemetry import Metrics
from eddyline.errors import Unavailable
from eddyline.insights.worker_config import WorkerConfig

COMMAND = (sys.executable, "-m", "eddyline", "insights-worker")
FIRST_PAUSE_SECONDS, MAX_PAUSE_SECONDS = 1.0, 30.0
STEADY_SECONDS = 60.0
"""Having run for so long, it is started again at once when it ends."""
STOP_SECONDS = 5.0

log = structlog.get_logger("insights")


class Supervisor:
    """Keeps one worker running. It is a process of its own, so that nothing that befalls it touches the answers."""

    def __init__(self, config: WorkerConfig, metrics: Metrics, command: Sequence[str] = COMMAND) -> None:
        self._config, self._metrics, self._command = config, metrics, tuple(command)
        self._process: subprocess.Popen[bytes] | None = None
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="insights-worker", daemon=True)

    @property
    def pid(self) -> int | None:
        """The process id of the running worker."""
        return None if self._process is None or self._process.poll() is not None else self._process.pid

    def start(self) -> None:
        """Start the worker, and from now on whenever it has ended."""
        self._thread.start()

    def check(self) -> None:
        """Raise `Unavailable` where the worker doesn't run."""
        if self.pid is None:
            raise Unavailable("the insights worker has ended; it will be restarted soon")

    def stop(self) -> None:
        """End the worker."""
        self._over.set()
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        pause = FIRST_PAUSE_SECONDS
        while not self._over.is_set():
            began = time.monotonic()
            try:
                status: int | str = self._once()
            except OSError as error:  # no process can be had: there may be one soon
                status = str(error)
            if self._over.is_set():
                return
            if time.monotonic() - began > STEADY_SECONDS:
                pause = FIRST_PAUSE_SECONDS
            self._metrics.insights_restarts.inc()
            log.warning("the insights worker has ended; restarting it", status=status, in_seconds=pause)
            self._over.wait(pause)
            pause = min(2 * pause, MAX_PAUSE_SECONDS)

    def _once(self) -> int:
        # A session of its own: Ctrl-C is for us, and we end it once it has finished.
        process = subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, start_new_session=True
        )
        self._process = process
        if self._over.is_set():  # too late for `stop` to see it
            process.terminate()
        assert process.stdin is not None
        with suppress(BrokenPipeError):  # it has ended already
            process.stdin.write(self._config.model_dump_json().encode() + b"\n")
            process.stdin.flush()
        try:
            return process.wait()
        finally:
            with suppress(BrokenPipeError):
                process.stdin.close()
