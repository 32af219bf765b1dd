"""What an audit of everyone takes: `python benchmarks/audit.py [events]`.

Clicks of people with fifty events each are audited, none of whom has a profile: all that is missing is comparing. The
floor is parsing the same records and keeping nothing. Memory is the most that the process has held beyond the records.
"""

from __future__ import annotations

import random
import resource
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Generator
from pathlib import Path

import numpy as np
import orjson

from eddyline.adapters.kafka import LogReader, OffsetAndMetadata, Record, Watermarks, partition_of
from eddyline.adapters.vectors import ITEMS, Distance, EdgeStore, Point
from eddyline.maintenance.audit import audit
from eddyline.model.events import parse_person_event
from eddyline.model.ids import item_point_id
from eddyline.runtime.collection_setup import create_collections
from eddyline.settings import Settings

PARTITIONS, EVENTS_EACH, ITEM_COUNT, SIZE = 4, 50, 5_000, 384
START = 1_790_000_000


class Log(LogReader):
    """The records of each partition, all of them committed."""

    def __init__(self, count: int) -> None:
        self.partitions: list[list[Record]] = [[] for _ in range(PARTITIONS)]
        for record in _records(count):
            self.partitions[record.partition].append(record)

    def bounds(self, topic: str) -> dict[int, Watermarks]:  # noqa: ARG002
        """From the first record to the last."""
        return {number: Watermarks(0, len(records)) for number, records in enumerate(self.partitions)}

    def read(self, topic: str, partition: int, start: int, end: int) -> Generator[Record, None, None]:  # noqa: ARG002
        """These records."""
        yield from self.partitions[partition][start:end]

    def committed(self, group: str, topic: str) -> dict[int, OffsetAndMetadata | None]:  # noqa: ARG002
        """All of them."""
        return {number: OffsetAndMetadata(bounds.high, "") for number, bounds in self.bounds(topic).items()}


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    log = Log(count)
    floor = _timed(lambda: _parse(log))
    with tempfile.TemporaryDirectory() as directory:
        store = _store(Path(directory))
        held = _memory()
        taken = _timed(lambda: audit(log, store, Settings()))
        store.close()
    print(f"parsing alone   {floor / count * 1e6:6.0f} s per million events")
    print(f"audited         {taken / count * 1e6:6.0f} s")
    print(f"memory          {(_memory() - held) / count * EVENTS_EACH:6.0f} kB per person")


def _records(count: int) -> Generator[Record, None, None]:
    chance, offsets = random.Random(1), [0] * PARTITIONS
    for n in range(count):
        user = f"user-{chance.randrange(count // EVENTS_EACH)}"
        partition = partition_of(f"u:{user}".encode(), PARTITIONS)
        value = {
            "type": "click",
            "item_id": f"item-{chance.randrange(ITEM_COUNT)}",
            "user_id": user,
            "event_id": str(uuid.UUID(int=chance.getrandbits(128))),
            "timestamp": START + n,
        }
        millis = (START + n) * 1000
        yield Record("interactions", partition, offsets[partition], None, orjson.dumps(value), millis, "log")
        offsets[partition] += 1


def _store(directory: Path) -> EdgeStore:
    store = EdgeStore(directory)
    create_collections(store, Settings(), SIZE, Distance.COSINE)
    vectors = np.random.default_rng(1).normal(size=(ITEM_COUNT, SIZE)).astype(np.float32)
    for start in range(0, ITEM_COUNT, 500):
        names = [f"item-{n}" for n in range(start, start + 500)]
        store.upsert(
            ITEMS,
            [
                Point(item_point_id(name), {"content": vector}, {"item_id": name, "space": "s"})
                for name, vector in zip(names, vectors[start:], strict=False)
            ],
        )
    return store


def _parse(log: Log) -> None:
    for records in log.partitions:
        for record in records:
            parse_person_event(record.value)


def _memory() -> int:
    """The most that this process has held so far, in kB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
