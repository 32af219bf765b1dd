"""Records to bury, and what comes out of a box."""

from __future__ import annotations

from eddyline.adapters.kafka import DeadLetterBox, Headers, Letter, LetterLog, Record, Unreadable

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


def found(box: DeadLetterBox, topic: str | None = None) -> list[Letter | Unreadable]:
    return [each for log in box.logs(topic) for each in log.read()]


def letters(box: DeadLetterBox) -> list[Letter]:
    return [each for each in found(box) if isinstance(each, Letter)]


def offsets(box: DeadLetterBox) -> list[int]:
    return [letter.record.offset for letter in letters(box)]


def remove(log: LetterLog, *gone: int) -> None:
    """By the offsets in their source."""
    named = {each.identity for each in log.read() if isinstance(each, Letter) and each.record.offset in gone}
    log.remove(named)
