"""Positions in logs: a topic that was recreated is another log, and its offsets count from its start."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, TypeAlias

Offsets: TypeAlias = Mapping[str, Mapping[int, int]]
"""Log identity → partition → offset."""


class LogPosition(NamedTuple):
    """Where a record is: `log` is the identity of its topic's log."""

    log: str
    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.log}:{self.partition}:{self.offset}"

    @classmethod
    def parse(cls, text: str) -> LogPosition:
        """Invert `str`. Raises ValueError."""
        log, partition, offset = text.rsplit(":", 2)
        return cls(log, int(partition), int(offset))


def stored_offset(fields: Mapping[str, Any], position: LogPosition) -> int | None:
    """Return the offset of a position stored as fields, where it is in the same log and partition; else None."""
    same = fields.get("log") == position.log and fields.get("partition") == position.partition
    return fields["offset"] if same else None


def advance_offset(offsets: Offsets, position: LogPosition) -> Offsets:
    """Return the offsets with the partition's at least at this position; other logs, which are gone, are dropped."""
    known = offsets.get(position.log, {})
    return {position.log: {**known, position.partition: max(position.offset, known.get(position.partition, -1))}}


def lowest_offsets(one: Offsets, other: Offsets) -> Offsets:
    """Return the lower offset of each partition. Of logs that are gone one is kept: it shows that not all is there."""
    found = {log: dict(offsets) for log, offsets in one.items()}
    for log, offsets in other.items():
        known = found.setdefault(log, {})
        for partition, offset in offsets.items():
            known[partition] = min(offset, known.get(partition, offset))
    logs = list(found)
    return {log: found[log] for log in (*logs[:1], *logs[1:][-1:])}


def offsets_to_json(offsets: Offsets) -> dict[str, dict[str, int]]:
    """Return the offsets with keys that JSON can hold."""
    return {log: {str(partition): offset for partition, offset in each.items()} for log, each in offsets.items()}


def offsets_from_json(offsets: Mapping[str, Mapping[str, int]]) -> Offsets:
    """Invert `offsets_to_json`."""
    return {log: {int(partition): offset for partition, offset in each.items()} for log, each in offsets.items()}
