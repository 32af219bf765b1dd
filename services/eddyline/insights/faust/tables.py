"""Faust's tables, as a partition's handler sees them."""

from __future__ import annotations

import asyncio
import contextlib
import weakref
from collections.abc import Iterator, Mapping
from types import SimpleNamespace
from typing import Any

from faust.streams import _current_event

WRITE_SECONDS = 60.0
"""A write to a changelog that takes longer has failed."""


class PartitionContext:
    """Stands in for an event of a partition, since Faust's tables go by the event at hand."""

    def __init__(self, partition: int) -> None:
        self.message = SimpleNamespace(partition=partition, topic=None)


class FaustTables:
    """The rows of one partition in Faust's tables. What is put is on its way to the changelogs until `flush`."""

    def __init__(self, tables: Mapping[str, Any], partition: int) -> None:
        self._tables, self._partition, self._context = tables, partition, PartitionContext(partition)
        self._sent: list[Any] = []

    def get(self, table: str, key: bytes) -> bytes | None:
        """Return a row's value."""
        with self._in_partition():
            value: bytes | None = self._tables[table].data.get(key)
        return value

    def put(self, table: str, key: bytes, value: bytes | None) -> None:
        """Write a row, or drop it."""
        # Faust's own assignment does the same two things, but keeps the future to itself; its flush neither tells what
        # failed nor waits for longer than a tenth of a second.
        self._sent.append(self._tables[table].send_changelog(self._partition, key, value, value_serializer="raw"))
        with self._in_partition():
            rows = self._tables[table].data
            if value is not None:
                rows[key] = value
            elif key in rows:
                del rows[key]

    def keys(self, table: str) -> list[bytes]:
        """Return the keys of all rows, as they are now."""
        store = self._tables[table].data
        rows = store._db_for_partition(self._partition)
        return [key for key in rows.keys() if key != store.offset_key]  # noqa: SIM118  # a database, not a mapping

    async def flush(self) -> None:
        """Wait until the changelogs have all that was put. Raises what kept one from it, or `TimeoutError`."""
        sent, self._sent = self._sent, []
        await asyncio.wait_for(asyncio.gather(*sent), WRITE_SECONDS)

    @contextlib.contextmanager
    def _in_partition(self) -> Iterator[None]:
        token = _current_event.set(weakref.ref(self._context))  # type: ignore[arg-type]
        try:
            yield
        finally:
            _current_event.reset(token)
