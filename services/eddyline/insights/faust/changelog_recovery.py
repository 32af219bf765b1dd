"""What is done where the tables on disk have outlived their changelogs: the embedded mode had those in memory before it
had a journal. Runs once, before the worker's event loop."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import cast

import orjson
from rocksdict import AccessType, Options, Rdict

from eddyline.adapters.kafka import Outgoing, Producer
from eddyline.adapters.private_files import make_private
from eddyline.insights.write_plan import WINDOWS
from eddyline.topics import changelog_topic

_OFFSET_KEY = b"__faust\0offset__"
"""Where Faust keeps the changelog offset up to which a partition's rows are on disk."""
_BATCH = 200


def recover_changelogs(directory: Path, changelogs: Mapping[str, str], producer: Producer | None) -> None:
    """Forget the offsets in the changelogs (their identities, by topic) where they aren't those that the tables were
    written with. With a `producer`, for the embedded broker alone, write the windows to the new one, for those who
    read it; a cluster's has been written by whoever owned the partition last."""
    marker = directory / "changelogs.json"
    known = orjson.loads(marker.read_bytes()) if marker.exists() else None
    if known is not None and known != dict(changelogs):
        for path in sorted(directory.glob("v*/tables/*.db")):
            _recover_table(path, producer)
    make_private(directory)
    fresh = marker.with_suffix(".new")
    fresh.write_bytes(orjson.dumps(dict(changelogs)))
    fresh.replace(marker)


def _recover_table(path: Path, producer: Producer | None) -> None:
    table, _, partition = path.stem.rpartition("-")
    database = Rdict(str(path), Options(raw_mode=True), access_type=AccessType.read_write())
    try:
        if _OFFSET_KEY in database:
            del database[_OFFSET_KEY]
        if table == WINDOWS and producer is not None:
            topic = changelog_topic(WINDOWS)
            for rows in _batches(database):
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
