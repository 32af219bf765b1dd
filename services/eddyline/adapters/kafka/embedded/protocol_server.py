"""The sockets of the embedded broker: frames in, frames out, on a thread with an event loop of its own.

A connection's requests are answered one after another, as Kafka does; those that may wait for others (a join, a fetch)
hold up their own connection alone.
"""

from __future__ import annotations

import asyncio
import struct
import threading
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

import structlog
from confluent_kafka import KafkaError

from eddyline.adapters.kafka.embedded.api import Api, Request
from eddyline.adapters.kafka.embedded.group_coordinator import GroupCoordinator
from eddyline.adapters.kafka.embedded.wire import MalformedRequest, RequestReader, ResponseWriter

log = structlog.get_logger("eddyline.journal")

HOST = "127.0.0.1"
_API_VERSIONS = 18
_MAX_FRAME = 128 * 1024 * 1024
_READ_AHEAD = 256
"""Requests of one connection that wait for their turn."""
_EXPIRE_SECONDS = 0.1


class ProtocolServer:
    """Listens on a free port of this machine alone. The caller must `close` it."""

    def __init__(self, groups: GroupCoordinator) -> None:
        self._groups = groups
        self.apis: Mapping[int, Api] = {}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="broker", daemon=True)
        self._thread.start()
        self._server = self._call(asyncio.start_server(self._serve, HOST, 0, limit=_MAX_FRAME))
        self._call(self._start_expiry())
        self.address: tuple[str, int] = self._server.sockets[0].getsockname()[:2]

    def serve(self, apis: Iterable[Api]) -> None:
        """Answer these kinds of requests from now on."""
        self.apis = {api.key: api for api in apis}

    def close(self) -> None:
        """Stop, and drop all connections."""
        if self._loop.is_closed():
            return
        self._call(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _call(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    async def _start_expiry(self) -> None:
        self._expiry = asyncio.create_task(self._expire())

    async def _expire(self) -> None:
        while True:
            await asyncio.sleep(_EXPIRE_SECONDS)
            self._groups.expire()

    async def _stop(self) -> None:
        self._server.close()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answers: asyncio.Queue[asyncio.Task[bytes | None]] = asyncio.Queue(_READ_AHEAD)
        sending = asyncio.create_task(_send(answers, writer))
        ended = asyncio.Event()
        try:
            while True:
                size = struct.unpack(">i", await reader.readexactly(4))[0]
                if not 0 < size <= _MAX_FRAME:
                    return
                frame = await reader.readexactly(size)
                # Begun in order, so that what is produced is appended in order; answered in order, too.
                await answers.put(asyncio.create_task(self._answer(frame, ended)))
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            ended.set()
            sending.cancel()
            while not answers.empty():
                answers.get_nowait().cancel()
            with suppress(Exception):
                writer.close()

    async def _answer(self, frame: bytes, ended: asyncio.Event) -> bytes | None:
        body = RequestReader(frame)
        key, version, correlation = body.int16(), body.int16(), body.int32()
        client_id = body.classic_string() or ""
        head = struct.pack(">i", correlation)
        api = self.apis.get(key)
        if api is None or not 0 <= version <= api.max_version:
            if key != _API_VERSIONS:
                raise MalformedRequest(f"request {key}, version {version}")
            return head + struct.pack(">hi", KafkaError.UNSUPPORTED_VERSION, 0)
        is_flexible = version >= api.flexible_from
        body.flexible = is_flexible
        body.tagged_fields()
        response = await api.handle(Request(version, client_id, body, ResponseWriter(is_flexible), ended))
        if response is None:
            return None
        # Its header has tagged fields in flexible versions, too, but where versions aren't known yet.
        return head + (b"\0" if is_flexible and key != _API_VERSIONS else b"") + response.to_bytes()


async def _send(answers: asyncio.Queue[asyncio.Task[bytes | None]], writer: asyncio.StreamWriter) -> None:
    """Send each answer in its turn; close the connection at the first that is none."""
    current: asyncio.Task[bytes | None] | None = None
    try:
        while True:
            current = await answers.get()
            answer = await current
            if answer is not None:
                writer.write(struct.pack(">i", len(answer)) + answer)
                await writer.drain()
    except MalformedRequest as error:
        log.warning("dropped a connection to the embedded broker", reason=str(error))
    except ConnectionError:
        pass
    except Exception:
        log.exception("dropped a connection to the embedded broker")
    finally:
        if current is not None:
            current.cancel()
        with suppress(Exception):
            writer.close()
