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

from eddyline.errors import Misconfigured


class _Server(uvicorn.Server):
    """Leaves the signals to the process, which has more to stop than this."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class HttpServer:
    """An HTTP server on `host`:`port` (0: any free port), bound when constructed.

    Raises `Misconfigured` when the address can't be had.
    """

    def __init__(self, app: ASGIApp, host: str, port: int) -> None:
        self._socket = _bind(host, port)
        self._server = _Server(
            uvicorn.Config(
                app,
                log_config=None,
                access_log=False,
                server_header=False,
                timeout_graceful_shutdown=10,
                timeout_keep_alive=75,
            )
        )
        self._thread = threading.Thread(target=self.run, name="http", daemon=True)

    @property
    def url(self) -> str:
        """Where it listens, e.g. http://127.0.0.1:8000."""
        host, port = self._socket.getsockname()[:2]
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    def run(self) -> None:
        """Serve until `stop`; requests under way are finished."""
        self._server.run(sockets=[self._socket])

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


def _bind(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise Misconfigured(
            f"can't listen on {host}:{port}: {error.strerror or error}; choose another with --port, or "
            "EDDYLINE_SERVER__PORT"
        ) from None
    listener.listen(1024)
    listener.set_inheritable(False)
    return listener
