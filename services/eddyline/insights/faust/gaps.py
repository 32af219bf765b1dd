"""What Faust didn't bring, from the log itself.

Over a rebalance Faust throws away records that it has read, and counts them as handled: it may commit past them, and
reads on from there. It also empties its queues whenever it resumes, though it may have read meanwhile.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from itertools import islice

from eddyline.adapters.kafka import KafkaOptions, LogReader, Record


class GapReader:
    """Reads what lies between two offsets, for the worker's event loop, one range at a time."""

    def __init__(self, options: KafkaOptions, batch_size: int) -> None:
        self._options, self._batch_size = options, batch_size
        self._reader: LogReader | None = None

    async def records(self, topic: str, partition: int, start: int, end: int) -> AsyncGenerator[list[Record], None]:
        """Read the records at offsets `start` to `end` - 1, oldest first, in batches. Raises `Unavailable`."""
        if self._reader is None:
            self._reader = await asyncio.to_thread(LogReader, self._options)
        read = self._reader.read(topic, partition, start, end)
        try:
            while batch := await asyncio.to_thread(lambda: [*islice(read, self._batch_size)]):
                yield batch
        finally:
            await asyncio.to_thread(read.close)
