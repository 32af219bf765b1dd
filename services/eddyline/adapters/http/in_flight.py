"""Limit what was taken in and isn't acknowledged yet, so that a slow broker can't fill the memory."""

from __future__ import annotations

import threading

from eddyline.errors import Overloaded


class InFlightLimit:
    """Counts bytes: of bodies while they are read, and of records until the broker has them. Thread-safe.

    `limit` is in bytes. A single body may exceed it, so that nothing is refused for ever.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._bytes = 0

    @property
    def bytes(self) -> int:
        """How many are in flight now."""
        return self._bytes

    def reserve(self, size: int) -> None:
        """Count `size` more bytes; each must be released. Raises `Overloaded` when they don't fit beside the others."""
        with self._lock:
            if self._bytes and self._bytes + size > self._limit:
                raise Overloaded(
                    f"{self._bytes:,} bytes wait for the broker; {size:,} more would exceed the limit of "
                    f"{self._limit:,} (server.max_in_flight_bytes)"
                )
            self._bytes += size

    def release(self, size: int) -> None:
        """Count so many fewer: they are acknowledged, or dropped."""
        with self._lock:
            self._bytes -= size
