"""What an audit of everyone takes: `python benchmarks/audit.py [events]`.

Clicks of people with fifty events each are read into the ledger, and everyone's profile is worked out from it; the
floor is parsing the same records and keeping nothing. Memory is what the ledger holds, ids included, when all is read.
"""

from __future__ import annotations

import random
import sys
import time
import tracemalloc
import uuid
from collections.abc import Callable, Iterator

import numpy as np
import orjson

from eddyline.adapters.kafka import Record, partition_of
from eddyline.model.events import parse_person_event
from eddyline.model.profile import TimeConstants
from eddyline.offline.audit.ledger import Ledger
from eddyline.offline.audit.reference import SETS, Reference, decayed, newest
from eddyline.settings import Settings

PARTITIONS, EVENTS_EACH, ITEMS, SIZE = 4, 50, 5_000, 384
START = 1_790_000_000


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    records = list(_records(count))
    floor = _timed(lambda: _parse(records))
    ledger = Ledger(Settings().events, PARTITIONS)
    reading = _timed(lambda: _read(records, ledger))
    working = _timed(lambda: _work_out(ledger))
    print(f"parsing alone     {floor / count * 1e6:6.0f} s per million events")
    print(f"into the ledger   {reading / count * 1e6:6.0f} s")
    print(f"worked out        {working / count * 1e6:6.0f} s")
    print(f"memory            {_size_of_ledger(records) / count:6.0f} MB per million events")


def _records(count: int) -> Iterator[Record]:
    chance, offsets = random.Random(1), [0] * PARTITIONS
    for n in range(count):
        user = f"user-{chance.randrange(count // EVENTS_EACH)}"
        partition = partition_of(f"u:{user}".encode(), PARTITIONS)
        value = {
            "type": "click",
            "item_id": f"item-{chance.randrange(ITEMS)}",
            "user_id": user,
            "event_id": str(uuid.UUID(int=chance.getrandbits(128))),
            "timestamp": START + n,
        }
        millis = (START + n) * 1000
        yield Record("interactions", partition, offsets[partition], None, orjson.dumps(value), millis, "log")
        offsets[partition] += 1


def _parse(records: list[Record]) -> None:
    for record in records:
        parse_person_event(record.value)


def _read(records: list[Record], ledger: Ledger) -> None:
    for record in records:
        ledger.add(record)


def _work_out(ledger: Ledger) -> None:
    settings = Settings().profile
    normal = np.random.default_rng(1).normal(size=(ITEMS, SIZE)).astype(np.float32)
    vectors = {f"item-{n}": normal[n] for n in range(ITEMS)}
    taus = TimeConstants.of(settings)
    reference = Reference(ledger, settings, {}, {})
    for person in ledger.people():
        deeds = reference.life(person).deeds
        now = max((deed.did.time for deed in deeds), default=0.0)
        for tau in (taus.taste, taus.session, taus.lifetime):
            decayed(deeds, vectors, tau, now)
        for belongs in SETS.values():
            newest(deeds, settings.seen, belongs)


def _size_of_ledger(records: list[Record]) -> float:
    """Bytes, of another ledger with the same records."""
    tracemalloc.start()
    ledger = Ledger(Settings().events, PARTITIONS)
    _read(records, ledger)
    ledger.entries(next(ledger.people()))  # which sorts the rows
    size = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    return size


def _timed(work: Callable[[], None]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
