"""Where something of a person may still be once they are erased: topics, and the files of the embedded mode."""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass
from pathlib import Path

from eddyline.adapters.kafka import LogReader, partition_of
from eddyline.model.ids import Person
from eddyline.topics import DAY_MS, IMPRESSIONS, INTERACTIONS, TOPIC_SPECS, USERS, changelog_topic

CHUNK_BYTES = 4 * 2**20


@dataclass(frozen=True, slots=True)
class PersonalTrace:
    """What was found of a person in one place: records, or files. `until`: when it goes, in words."""

    place: str
    found: int
    noun: str
    until: str


def traces_in_topics(log: LogReader, people: Sequence[Person]) -> Iterator[PersonalTrace]:
    """Count the records under the keys of a user and their anonymous ids. Raises `Unavailable`."""
    keys = {person.key.encode() for person in people}
    users = {person.id.encode() for person in people if person.kind == "u"}
    rows = changelog_topic("people")
    for topic, theirs in {INTERACTIONS: keys, IMPRESSIONS: keys, rows: keys, USERS: users}.items():
        retention = TOPIC_SPECS[topic].retention_ms
        until = "until the topic is compacted" if retention is None else f"{retention // DAY_MS} days after each record"
        yield PersonalTrace(f"topic {topic}", _count(log, topic, theirs), "record", until)


def _count(log: LogReader, topic: str, keys: Set[bytes]) -> int:
    bounds = log.bounds(topic)
    partitions = {partition_of(key, len(bounds)) for key in keys}
    return sum(
        record.key in keys and record.value is not None
        for partition in sorted(partitions)
        for record in log.read(topic, partition, *bounds[partition])
    )


def traces_in_files(directory: Path, people: Sequence[Person]) -> Iterator[PersonalTrace]:
    """Count the files that have a key of theirs, in each folder of a data directory. It may be a longer key's
    beginning."""
    keys = [person.key.encode() for person in people]
    for entry in sorted(directory.iterdir()) if directory.is_dir() else ():
        files = [entry] if entry.is_file() else [path for path in sorted(entry.rglob("*")) if path.is_file()]
        found = sum(_holds(path, keys) for path in files)
        place = f"{entry} ({len(files):,} {'file' if len(files) == 1 else 'files'})"
        yield PersonalTrace(place, found, "file", "until what is deleted is overwritten")


def _holds(path: Path, keys: Sequence[bytes]) -> bool:
    longest, end = max(map(len, keys)), b""
    try:
        with path.open("rb") as file:
            while chunk := file.read(CHUNK_BYTES):
                if any(key in end + chunk for key in keys):
                    return True
                end = chunk[-longest:]
    except FileNotFoundError:  # a running store has removed it
        pass
    return False
