"""Several worker processes of the API on one port, for a host with more cores than one process can use.

The main process binds, starts the workers, and waits: it answers nothing itself. The kernel spreads connections over
the workers, each of which also listens on a port of its own for its metrics and health: `server.port` + 1 and on, or
`server.operations_port` and on. A signal goes on to all of them, and each stops in order. One that ends by itself ends
all, as a failure ends any process of Eddyline: whoever runs it starts it again. Workers end with the main process, even
where that is killed.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import sys
import threading
from collections.abc import Sequence
from contextlib import ExitStack
from multiprocessing.connection import wait
from types import FrameType

from eddyline.adapters.http import listen, listen_together, url_of
from eddyline.adapters.telemetry import configure_logging
from eddyline.errors import EddylineError, Misconfigured
from eddyline.runtime.access import check_address
from eddyline.runtime.process import Runtime
from eddyline.runtime.startup_checks import check_workers
from eddyline.settings import Settings


class WorkerProcesses:
    """So many workers with these roles."""

    def __init__(self, settings: Settings, roles: Sequence[str], count: int) -> None:
        """Bind the addresses. Raises `Misconfigured` where one can't be had, or the roles can't run in workers."""
        self.roles = check_workers(settings, roles)
        check_address(settings, self.roles)
        server = settings.server
        with ExitStack() as listening:
            shared = [listening.enter_context(one) for one in listen_together(server.host, server.port, count)]
            host, first = server.host, server.port and server.port + 1
            if server.operations_port is not None:
                host, first = server.operations_host or host, server.operations_port
            own = [listening.enter_context(listen(host, first and first + number)) for number in range(count)]
            self._listening = listening.pop_all()
        self.url, self.urls = url_of(shared[0]), [url_of(listener) for listener in own]
        """The address of all, and of each alone."""
        context = multiprocessing.get_context("spawn")
        self._processes = [
            context.Process(target=_work, args=(settings, self.roles, *pair), name=f"worker-{number}")
            for number, pair in enumerate(zip(shared, own, strict=True), start=1)
        ]
        self._stopping = False

    def run(self) -> int:
        """Run until SIGTERM, SIGINT, or the end of any worker; then stop them all. Return the exit code."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        for process in self._processes:
            process.start()
        self._listening.close()  # the workers' copies alone are left: nothing is queued for one that has ended
        if not self._stopping:
            ended = wait([process.sentinel for process in self._processes])
            for process in self._processes:
                if process.sentinel in ended:
                    process.join()  # its pipe is closed a moment before it can be waited for
        failed = self._exit_codes()
        self._terminate()
        for process in self._processes:
            process.join()
        if self._stopping:  # and those that weren't up yet just ended
            failed = self._exit_codes() - {-signal.SIGTERM}
        return max(1, *failed) if failed else 0

    def _exit_codes(self) -> set[int]:
        """Return the codes of the workers that have failed; negative: by a signal."""
        return {process.exitcode for process in self._processes if process.exitcode}

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self._stopping = True
        self._terminate()

    def _terminate(self) -> None:
        for process in self._processes:
            if process.is_alive():
                process.terminate()


def _work(settings: Settings, roles: Sequence[str], shared: socket.socket, own: socket.socket) -> None:
    """Run one worker, in its process."""
    configure_logging(settings.log_level, settings.log_format)
    threading.Thread(target=_stop_with_main_process, name="main-process", daemon=True).start()
    try:
        if settings.server.operations_port is None:
            runtime = Runtime(settings, roles, (shared, own))
        else:
            runtime = Runtime(settings, roles, (shared,), own)
        runtime.run()
    except EddylineError as error:
        print(f"eddyline: {error}", file=sys.stderr)
        sys.exit(2 if isinstance(error, Misconfigured) else 1)


def _stop_with_main_process() -> None:
    main_process = multiprocessing.parent_process()
    assert main_process is not None
    main_process.join()
    os.kill(os.getpid(), signal.SIGTERM)
