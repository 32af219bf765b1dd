"""Offsets of partitions, kept for each log: a topic that was created anew is another log, and counts from its start."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

Offsets: TypeAlias = Mapping[str, Mapping[int, int]]
"""Log identity → partition → offset."""


def advance_offset(marks: Offsets, log: str, partition: int, offset: int) -> Offsets:
    """With the partition's offset at least this; other logs, which are gone, are dropped."""
    known = marks.get(log, {})
    return {log: {**known, partition: max(offset, known.get(partition, -1))}}


def lowest_offsets(one: Offsets, other: Offsets) -> Offsets:
    """The lower offset of each partition. Of logs that are gone one is enough: it says that not all can be had."""
    found = {log: dict(marks) for log, marks in one.items()}
    for log, marks in other.items():
        known = found.setdefault(log, {})
        for partition, offset in marks.items():
            known[partition] = min(offset, known.get(partition, offset))
    logs = list(found)
    return {log: found[log] for log in (*logs[:1], *logs[1:][-1:])}


def offsets_to_json(marks: Offsets) -> dict[str, dict[str, int]]:
    """As JSON can say it."""
    return {log: {str(partition): offset for partition, offset in each.items()} for log, each in marks.items()}


def offsets_from_json(marks: Mapping[str, Mapping[str, int]]) -> Offsets:
    """The inverse of `offsets_to_json`."""
    return {log: {int(partition): offset for partition, offset in each.items()} for log, each in marks.items()}
