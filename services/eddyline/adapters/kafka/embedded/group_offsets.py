"""What consumer groups have committed: in the journal's database, and in memory once the disk has it.

`commit`, `store`, `rewind` and `forget` are called in a transaction of the journal's writer; the rest from anywhere.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial

from eddyline.adapters.kafka.embedded.log_state import CommittedOffset, LogPartition

WEEK_MS = 7 * 86_400_000


class GroupOffsets:
    """`known`: as the database has it; `once_on_disk` takes what changes in memory when the transaction is."""

    def __init__(
        self,
        database: sqlite3.Connection,
        known: dict[str, dict[int, CommittedOffset]],
        once_on_disk: Callable[[Callable[[], None]], None],
        clock: Callable[[], float],
    ) -> None:
        self._database, self._once_on_disk, self._clock = database, once_on_disk, clock
        self._committed = known

    def committed(self, group: str) -> Mapping[int, CommittedOffset]:
        """Return what a group has committed, by the partition's id."""
        return self._committed.get(group, {})

    def unstored(self) -> list[tuple[int, str, int]]:
        """Return offset, group and partition of what has been committed since the last `store`."""
        return [
            (one.next_offset, group, partition)
            for group, committed in tuple(self._committed.items())
            for partition, one in committed.items()
            if one.stored != one.next_offset
        ]

    def uncommitted_from(self, partition: LogPartition) -> int:
        """Return the first offset that some group hasn't handled yet; the end, where every one has.

        A group counts while it commits: one that has committed nothing for a week less than others have is gone.
        """
        by_group = {group: dict(offsets) for group, offsets in tuple(self._committed.items())}
        newest = max((one.at for offsets in by_group.values() for one in offsets.values()), default=0)
        positions = [
            min(offsets[partition.id].next_offset, offsets[partition.id].stored)
            for offsets in by_group.values()
            if partition.id in offsets and max(one.at for one in offsets.values()) > newest - WEEK_MS
        ]
        return min(positions, default=partition.high)

    def repeats(self, group: str) -> bool:
        """Tell whether a group has yet to handle again some of what it had committed before a `rewind`."""
        return any(one.next_offset < one.reached for one in self.committed(group).values())

    def commit(self, group: str, offsets: Mapping[LogPartition, tuple[int, str]]) -> None:
        """Keep what a group has committed of each partition: the next offset, and its metadata."""
        at = int(self._clock() * 1000)
        for partition, (offset, metadata) in offsets.items():
            row = (group, partition.id, offset, metadata, at, offset, offset)
            self._database.execute(
                "INSERT INTO committed VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET next = excluded.next, "
                "metadata = excluded.metadata, at = excluded.at, stored = min(stored, excluded.next), "
                "reached = max(reached, excluded.next)",
                row,
            )

        def apply() -> None:
            known = dict(self._committed.get(group, {}))
            for partition, (offset, metadata) in offsets.items():
                before = known.get(partition.id)
                stored, reached = (
                    (offset, offset) if before is None else (min(before.stored, offset), max(before.reached, offset))
                )
                known[partition.id] = CommittedOffset(offset, metadata, at, stored, reached)
            self._committed[group] = known

        self._once_on_disk(apply)

    def store(self, offsets: Sequence[tuple[int, str, int]]) -> None:
        """Keep these as what groups would go on from, had the machine failed."""
        statement = "UPDATE committed SET stored = min(?, next) WHERE name = ? AND partition = ?"
        self._database.executemany(statement, offsets)

        def apply() -> None:
            for offset, group, partition in offsets:
                known = self._committed.get(group, {})
                if (one := known.get(partition)) is not None:
                    self._committed[group] = {**known, partition: replace(one, stored=min(offset, one.next_offset))}

        self._once_on_disk(apply)

    def rewind(self, but: Collection[str]) -> None:
        """Have all groups go on from what is stored, `but` these."""
        groups = [group for group in self._committed if group not in but]
        self._database.executemany("UPDATE committed SET next = stored WHERE name = ?", [(group,) for group in groups])

        def apply() -> None:
            for group in groups:
                known = self._committed[group]
                self._committed[group] = {key: replace(one, next_offset=one.stored) for key, one in known.items()}

        self._once_on_disk(apply)

    def forget(self, group: str) -> None:
        """Drop what a group has committed."""
        self._database.execute("DELETE FROM committed WHERE name = ?", (group,))
        self._once_on_disk(partial(self._drop, group))

    def _drop(self, group: str) -> None:
        self._committed.pop(group, None)
