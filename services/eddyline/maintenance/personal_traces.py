"""Where something of a person may still be once they are erased: topics, and the files of the embedded mode."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from eddyline.adapters.kafka import LogReader, partition_of
from eddyline.model.ids import Person
from eddyline.topics import IMPRESSIONS, INTERACTIONS, TOPIC_SPECS, USERS, changelog_topic

CHUNK_BYTES = 4 * 2**20
DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True)
class PersonalTrace:
    """What was found of a person in one place: records, or files. `until`: when it goes, in words."""

    place: str
    found: int
    noun: str
    until: str


def traces_in_topics(log: LogReader, person: Person) -> Iterator[PersonalTrace]:
    """Count the records under a person's key. Raises `Unavailable`."""
    topics = {INTERACTIONS: person.key, IMPRESSIONS: person.key, changelog_topic("people"): person.key}
    for topic, key in {**topics, USERS: person.id}.items() if person.kind == "u" else topics.items():
        retention = TOPIC_SPECS[topic].retention_ms
        until = "until Kafka compacts it" if retention is None else f"{retention // DAY_MS} days after each record"
        yield PersonalTrace(f"topic {topic}", _count(log, topic, key.encode()), "record", until)


def _count(log: LogReader, topic: str, key: bytes) -> int:
    bounds = log.bounds(topic)
    partition = partition_of(key, len(bounds))
    low, high = bounds[partition]
    return sum(record.key == key and record.value is not None for record in log.read(topic, partition, low, high))


def traces_in_files(directory: Path, person: Person) -> Iterator[PersonalTrace]:
    """Count the files in which a person's key is, in each folder of a data directory. It may be a longer key's
    beginning."""
    key = person.key.encode()
    for entry in sorted(directory.iterdir()) if directory.is_dir() else ():
        files = [entry] if entry.is_file() else [path for path in sorted(entry.rglob("*")) if path.is_file()]
        found = sum(_holds(path, key) for path in files)
        place = f"{entry} ({len(files):,} {'file' if len(files) == 1 else 'files'})"
        yield PersonalTrace(place, found, "file", "until what is deleted is overwritten")


def _holds(path: Path, key: bytes) -> bool:
    end = b""
    try:
        with path.open("rb") as file:
            while chunk := file.read(CHUNK_BYTES):
                if key in end + chunk:
                    return True
                end = chunk[-len(key) :]
    except FileNotFoundError:  # a running store has removed it
        pass
    return False
