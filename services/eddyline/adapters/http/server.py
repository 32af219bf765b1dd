"""Run an application, in the main thread or in one of its own.

It handles no signals: whoever runs the process does, and calls `stop`, which any thread may. Requests under way are
finished, for up to ten seconds.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator

import uvicorn
from starlette.types import ASGIApp

from eddyline.adapters.http.limits import RequestLimits
from eddyline.adapters.http.protocol import ConnectionLimits
from eddyline.adapters.telemetry import Metrics
from eddyline.errors import Misconfigured
from eddyline.settings import ServerSettings

BACKLOG = 1024
"""Connections that wait to be accepted."""


class _Server(uvicorn.Server):
    """Leaves the signals to the process, which has more to stop than this."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class HttpServer:
    """An HTTP server on the addresses of these listeners, which it closes."""

    def __init__(
        self,
        app: ASGIApp,
        *listeners: socket.socket,
        settings: ServerSettings = ServerSettings(),
        metrics: Metrics | None = None,
    ) -> None:
        """`settings`: the limits of connections and requests; `metrics`: where what exceeds them is counted."""
        self._listeners = listeners
        metrics = metrics or Metrics()
        self._server = _Server(
            ConnectionLimits(
                RequestLimits(app, settings, metrics),
                settings,
                metrics,
                log_config=None,
                log_level="error",  # whoever sends rubbish writes no log: it is counted
                access_log=False,
                server_header=False,
                timeout_graceful_shutdown=10,
                timeout_keep_alive=75,
                ws="none",
            )
        )
        self._thread = threading.Thread(target=self.run, name="http", daemon=True)

    @property
    def url(self) -> str:
        """Where it listens, first of all, e.g. http://127.0.0.1:8000."""
        return url_of(self._listeners[0])

    def run(self) -> None:
        """Serve until `stop`; requests under way are finished."""
        self._server.run(sockets=list(self._listeners))

    def start(self) -> None:
        """Serve from a thread of its own."""
        self._thread.start()

    def stop(self) -> None:
        """Ask it to stop. Returns at once; safe in a signal handler."""
        self._server.should_exit = True

    def join(self, timeout: float = 15.0) -> None:
        """Wait until the thread of `start` has ended."""
        if self._thread.is_alive():
            self._thread.join(timeout)


def listen(host: str, port: int) -> socket.socket:
    """Listen on `host`:`port` (0: any free port). Raises `Misconfigured` when the address can't be had."""
    listener = _bind(host, port)
    listener.listen(BACKLOG)
    return listener


def listen_together(host: str, port: int, count: int) -> list[socket.socket]:
    """Listen on one address with so many sockets, over which the kernel spreads connections.

    Raises `Misconfigured` when the address can't be had, or another process listens there.
    """
    with _bind(host, port) as alone:  # as long as it isn't shared, only one can have it
        port = alone.getsockname()[1]
    listeners = [_bind(host, port, socket.SO_REUSEPORT) for _ in range(count)]
    for listener in listeners:
        listener.listen(BACKLOG)
    return listeners


def url_of(listener: socket.socket) -> str:
    """Return the address of a listener, e.g. http://127.0.0.1:8000."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _bind(host: str, port: int, *options: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    for option in (socket.SO_REUSEADDR, *options):
        listener.setsockopt(socket.SOL_SOCKET, option, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise Misconfigured(
            f"can't listen on {host}:{port}: {error.strerror or error}; choose another with --port, or "
            "EDDYLINE_SERVER__PORT"
        ) from None
    listener.set_inheritable(False)
    return listener
