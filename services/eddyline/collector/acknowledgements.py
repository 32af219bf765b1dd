"""The outcomes of one request's records, awaited together."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future
from contextlib import suppress

from eddyline.adapters.kafka import RecordMetadata


class Acknowledgements:
    """Wakes the event loop once, when the last outcome is there, however many there are. For the loop's thread alone;
    outcomes may come on any."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._complete: asyncio.Future[None] = self._loop.create_future()
        self._sent: dict[int, Future[RecordMetadata]] = {}
        self._lock = threading.Lock()
        self._missing = 1
        """How many are to come; one more until somebody waits."""

    def __bool__(self) -> bool:
        return bool(self._sent)

    def add(self, index: int, sent: Future[RecordMetadata]) -> None:
        """Expect the outcome of one more record; `index`: its place in the request."""
        self._sent[index] = sent
        with self._lock:
            self._missing += 1
        sent.add_done_callback(self._settle)

    async def wait(self) -> dict[int, BaseException | None]:
        """Return the outcome of each once all are there: None where it was acknowledged."""
        self._settle()
        await self._complete
        return {index: sent.exception() for index, sent in self._sent.items()}

    def _settle(self, _sent: Future[RecordMetadata] | None = None) -> None:
        with self._lock:
            self._missing -= 1
            if self._missing:
                return
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(self._wake)

    def _wake(self) -> None:
        if not self._complete.done():  # whoever waited may have been cancelled
            self._complete.set_result(None)
