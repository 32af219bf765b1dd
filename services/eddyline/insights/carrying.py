"""What the tables hold on disk outlives the in-process broker, whose changelogs begin anew each time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import cast

import orjson
from rocksdict import AccessType, Options, Rdict

from eddyline.adapters.kafka import Outgoing, Producer
from eddyline.insights.folding import WINDOWS

_OFFSET_KEY = b"__faust\0offset__"
"""Where Faust keeps the changelog offset up to which a partition's rows are on disk."""
_BATCH = 200


def carry_over(directory: Path, logs: Mapping[str, str], producer: Producer) -> None:
    """Where the log isn't the one that the tables were written with: forget their places in the old changelogs, and
    write the windows to the new one, for those who read it."""
    marker = directory / "log.json"
    known = orjson.loads(marker.read_bytes()) if marker.exists() else None
    if known is not None and known != dict(logs):
        for path in sorted(directory.glob("v*/tables/*.db")):
            _carry(path, producer)
    directory.mkdir(parents=True, exist_ok=True)
    fresh = marker.with_suffix(".new")
    fresh.write_bytes(orjson.dumps(dict(logs)))
    fresh.replace(marker)


def _carry(path: Path, producer: Producer) -> None:
    table, _, partition = path.stem.rpartition("-")
    options = Options(raw_mode=True)
    database = Rdict(str(path), options, access_type=AccessType.read_write())
    try:
        if _OFFSET_KEY in database:
            del database[_OFFSET_KEY]
        if table == WINDOWS:
            for rows in _batches(database):
                topic = f"insights-{WINDOWS}-changelog"
                producer.send_all([Outgoing(topic, key, value, partition=int(partition)) for key, value in rows])
    finally:
        database.close()


def _batches(database: Rdict) -> Iterator[list[tuple[bytes, bytes]]]:
    batch: list[tuple[bytes, bytes]] = []
    for key, value in database.items():
        batch.append((cast(bytes, key), value))
        if len(batch) == _BATCH:
            yield batch
            batch = []
    if batch:
        yield batch
