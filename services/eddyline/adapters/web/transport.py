"""Connections that go to the very address that was checked, and that end by a deadline whatever the other side does."""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable, Iterable
from typing import Any

import httpcore

from eddyline.adapters.web.addresses import AddressPolicy, ResolveHost


class Deadline:
    """Time left in all, and for a single step."""

    def __init__(self, seconds: float, step: float, monotonic: Callable[[], float] = time.monotonic) -> None:
        """`seconds` in all, at most `step` for one read, write, look-up or connection."""
        self._ends, self._step, self._monotonic = monotonic() + seconds, step, monotonic

    def step(self) -> float:
        """Return the seconds that the next step may take. Raises `httpcore.ReadTimeout` when none are left."""
        left = self._ends - self._monotonic()
        if left <= 0:
            raise httpcore.ReadTimeout("the total time limit has passed")
        return min(left, self._step)


class PinnedBackend(httpcore.NetworkBackend):
    """Resolves a name once, checks all of its addresses and connects to one of those.

    HTTP and TLS go on to use the name: the `Host` header, SNI and the certificate's check are as ever.
    """

    def __init__(self, policy: AddressPolicy, resolve: ResolveHost, deadline: Deadline) -> None:
        self._policy, self._resolve, self._deadline = policy, resolve, deadline
        self._network = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ARG002
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        """Connect to the first address that answers. Raises `FetchRefused`, `FetchUnavailable`, httpcore's errors."""
        addresses = self._resolve(host, port, self._deadline.step())
        self._policy.check(host, addresses)
        failure: Exception = httpcore.ConnectError(f"{host} has no address")
        for address in addresses:
            try:
                stream = self._network.connect_tcp(
                    str(address), port, self._deadline.step(), local_address, socket_options
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
            else:
                return _TimedStream(stream, self._deadline)
        raise failure


class _TimedStream(httpcore.NetworkStream):
    """A stream whose every step is bounded by the deadline: a byte now and then doesn't keep it open."""

    def __init__(self, stream: httpcore.NetworkStream, deadline: Deadline) -> None:
        self._stream, self._deadline = stream, deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ARG002
        return self._stream.read(max_bytes, self._deadline.step())

    def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ARG002
        self._stream.write(buffer, self._deadline.step())

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ARG002
    ) -> httpcore.NetworkStream:
        return _TimedStream(self._stream.start_tls(ssl_context, server_hostname, self._deadline.step()), self._deadline)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)
