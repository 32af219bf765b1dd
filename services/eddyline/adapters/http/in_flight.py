"""How much has been taken in and not been acknowledged yet: bounded, so that a slow broker can't fill the memory."""

from __future__ import annotations

import threading

from eddyline.errors import Overloaded


class InFlightLimit:
    """Counts bytes: of bodies while they are read, and of records until the broker has them. Thread-safe.

    `limit` is in bytes. What comes alone may exceed it, so that nothing is refused for ever.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._bytes = 0

    @property
    def bytes(self) -> int:
        """How many there are now."""
        return self._bytes

    def take(self, size: int) -> None:
        """`size` more; each must be given back. Raises `Overloaded` when they don't fit beside what is there."""
        with self._lock:
            if self._bytes and self._bytes + size > self._limit:
                raise Overloaded(
                    f"{self._bytes:,} bytes wait for the broker; {size:,} more would exceed the limit of "
                    f"{self._limit:,} (server.max_in_flight_bytes)"
                )
            self._bytes += size

    def give(self, size: int) -> None:
        """So many are acknowledged, or given up."""
        with self._lock:
            self._bytes -= size
