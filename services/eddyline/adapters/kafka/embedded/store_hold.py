"""Has the process that serves a data directory write nothing to its store for a moment, so that others can copy it.

Who wants to asks the embedded broker, on a connection of its own: the store is held until it says so, its connection
ends, or `MAX_SECONDS` are over, and it learns whether the hold lasted. It needs to be told nothing, and copies files
itself: who may not read them gets nothing.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TypeAlias

from eddyline.adapters.kafka.embedded.api import Api, Request
from eddyline.adapters.kafka.embedded.wire import MalformedRequest, RequestReader, ResponseWriter
from eddyline.errors import EddylineError, Unavailable

MAX_SECONDS = 120.0
ADDRESS = "address"
"""The file beside a journal that says where its broker listens."""
_KEY = 20_000  # none of Kafka's
_ANSWER_SECONDS = 60.0
_UNHELD = (
    f"its store is held still for {MAX_SECONDS:.0f} s at most, and copying it took longer: choose a faster disk, or "
    "stop Eddyline for the backup"
)

HoldStore: TypeAlias = "Callable[[], AbstractContextManager[None]]"
"""Lets nothing be written to the store for as long as it lasts."""


class StoreHold:
    """Holds the store for one connection at a time. `hold_store` None: this process has none."""

    def __init__(self) -> None:
        self.hold_store: HoldStore | None = None
        self.apis = (Api(_KEY, 0, self._answer),)
        self._holder: _Holder | None = None
        self._watches: set[asyncio.Task[None]] = set()

    async def _answer(self, request: Request) -> ResponseWriter:
        problem = await (self._begin(request.ended) if request.body.boolean() else self._end())
        request.response.string(problem)
        return request.response

    async def _begin(self, ended: asyncio.Event) -> str | None:
        if self.hold_store is None:
            return "the process that uses the data directory is no running Eddyline: try again when it is done"
        if self._holder is not None and self._holder.is_alive():
            return "another backup is being made"
        self._holder = holder = _Holder(self.hold_store)
        holder.start()
        watch = asyncio.create_task(_release_when(ended, holder))
        self._watches.add(watch)
        watch.add_done_callback(self._watches.discard)
        try:
            await asyncio.wrap_future(holder.begun)
        except EddylineError as error:
            return str(error)
        return None

    async def _end(self) -> str | None:
        holder, self._holder = self._holder, None
        if holder is None:
            return _UNHELD
        holder.over.set()
        await asyncio.to_thread(holder.join)
        return None if holder.lasted else _UNHELD


class _Holder(threading.Thread):
    """Holds the store from `begun` until `over`; `lasted`: not only until its time was up."""

    def __init__(self, hold: HoldStore) -> None:
        super().__init__(name="store-hold", daemon=True)
        self._hold = hold
        self.begun: Future[None] = Future()
        self.over = threading.Event()
        self.lasted = False

    def run(self) -> None:
        try:
            with self._hold():
                self.begun.set_result(None)
                self.lasted = self.over.wait(MAX_SECONDS)
        except Exception as error:
            if not self.begun.done():
                self.begun.set_exception(error)


async def _release_when(ended: asyncio.Event, holder: _Holder) -> None:
    try:
        await ended.wait()
    finally:
        holder.over.set()


@contextmanager
def store_held(directory: Path) -> Iterator[None]:
    """Have the process that has the journal in `directory` write nothing to its store.

    Raises `Unavailable` where it can't, or did not until the end.
    """
    try:
        host, _, port = (directory / ADDRESS).read_text().rpartition(":")
        connection = socket.create_connection((host, int(port)), timeout=_ANSWER_SECONDS)
    except (OSError, ValueError) as error:
        raise Unavailable(
            f"the process that uses {directory.parent} doesn't answer ({error}): it may be starting or stopping; try "
            "again in a moment"
        ) from error
    with connection:
        _request(connection, True)
        yield
        _request(connection, False)


def _request(connection: socket.socket, is_begin: bool) -> None:
    request = ResponseWriter()
    request.int16(_KEY)
    request.int16(0)
    request.int32(0)
    request.string("eddyline")
    request.boolean(is_begin)
    frame = request.to_bytes()
    try:
        connection.sendall(struct.pack(">i", len(frame)) + frame)
        response = RequestReader(_receive(connection, struct.unpack(">i", _receive(connection, 4))[0]))
        response.int32()
        problem = response.classic_string()
    except (OSError, MalformedRequest) as error:
        raise Unavailable(f"the running Eddyline didn't hold its store still ({error}): try again") from error
    if problem is not None:
        raise Unavailable(f"the running Eddyline can't be backed up now: {problem}")


def _receive(connection: socket.socket, size: int) -> bytes:
    received = b""
    while len(received) < size:
        part = connection.recv(size - len(received))
        if not part:
            raise ConnectionError("it closed the connection")
        received += part
    return received
