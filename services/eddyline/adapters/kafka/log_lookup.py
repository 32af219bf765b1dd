"""Find single records of a log by their position."""

from __future__ import annotations

import threading
from contextlib import closing

from eddyline.adapters.kafka.client_config import KafkaOptions
from eddyline.adapters.kafka.contract import Record
from eddyline.adapters.kafka.log_reader import LogReader
from eddyline.errors import Unavailable

PATIENCE_SECONDS = 10.0


class LogLookup:
    """Reads one record at a time. Safe from any thread: one reads while the others wait."""

    def __init__(self, options: KafkaOptions, patience_seconds: float = PATIENCE_SECONDS) -> None:
        """Connect at the first look-up. The caller must `close` it."""
        self._options, self._patience = options, patience_seconds
        self._lock = threading.Lock()
        self._reader: LogReader | None = None
        self._closed = False

    def find(self, topic: str, partition: int, offset: int, log: str) -> Record | None:
        """Return the record at that position of that log; None where it is gone: compacted, too old, of an earlier log.

        Raises `Unavailable`, also where the others take too long, and `Misconfigured` for a topic that doesn't exist.
        """
        if not self._lock.acquire(timeout=self._patience):
            raise Unavailable(f"{topic} can't be read in time: others are being read")
        try:
            found = self._read(topic, partition, offset)
            if found is not None and found.log != log:
                self._release()  # it knows the earlier topic
                found = self._read(topic, partition, offset)
            return found if found is not None and found.log == log else None
        finally:
            self._lock.release()

    def close(self) -> None:
        """Release the connections once the current look-up has ended; those that wait for their turn fail."""
        self._closed = True
        with self._lock:
            self._release()

    def _read(self, topic: str, partition: int, offset: int) -> Record | None:
        if self._closed:
            raise Unavailable(f"{topic} isn't read any more: this process is stopping")
        if self._reader is None:
            self._reader = LogReader(self._options, self._patience)
        bounds = self._reader.bounds(topic).get(partition)
        if bounds is None or not bounds.low <= offset < bounds.high:
            return None
        with closing(self._reader.read(topic, partition, offset, offset + 1)) as found:
            return next(found, None)

    def _release(self) -> None:
        if self._reader is not None:
            self._reader.close()
            self._reader = None
