"""Records to bury, and what comes out of a box."""

from __future__ import annotations

from eddyline.adapters.kafka import DeadLetter, DeadLetterLog, DeadLetterStore, Headers, Record, UnreadableDeadLetter

ARRIVED = 1_700_000_000_000
BURIED = 1_700_000_500.25


def a_record(
    offset: int,
    *,
    topic: str = "users",
    partition: int = 2,
    key: bytes | None = b"\xffk",
    value: bytes | None = b"\x00v",
    headers: Headers = (("h", b"\xfe"), ("h", b"")),
    log: str = "cluster/log",
) -> Record:
    return Record(topic, partition, offset, key, value, ARRIVED, log, headers)


def found(box: DeadLetterStore, topic: str | None = None) -> list[DeadLetter | UnreadableDeadLetter]:
    return [each for log in box.logs(topic) for each in log.read()]


def letters(box: DeadLetterStore) -> list[DeadLetter]:
    return [each for each in found(box) if isinstance(each, DeadLetter)]


def offsets(box: DeadLetterStore) -> list[int]:
    return [letter.record.offset for letter in letters(box)]


def remove(log: DeadLetterLog, *gone: int) -> None:
    """By the offsets in their source."""
    named = {each.identity for each in log.read() if isinstance(each, DeadLetter) and each.record.offset in gone}
    log.remove(named)
