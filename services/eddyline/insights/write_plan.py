"""What makes the write of several rows happen as a whole: the plan, one record that holds them all.

The tables' writes aren't atomic. So what a batch comes to is first written as one record, with the offsets up to which
it goes. It holds every row as it will be. Once the plan is durable, the rows are written, and then the offsets are
committed. A worker that takes over writes the rows of the last plan again (they are what they are, not changes), and
skips what that plan has.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

import orjson
import structlog

from eddyline.insights.rows import PROGRESS_KEY, PartitionProgress

PEOPLE, WINDOWS, PLANS = "people", "windows", "progress"
"""The tables."""
PLAN_KEY = b"plan"

Value = TypeVar("Value")

log = structlog.get_logger("insights")


class PartitionTables(Protocol):
    """The rows of one partition, by table and key."""

    def get(self, table: str, key: bytes) -> bytes | None:
        """Return a row's value."""

    def put(self, table: str, key: bytes, value: bytes | None) -> None:
        """Write a row, or drop it."""

    def keys(self, table: str) -> Iterable[bytes]:
        """Return the keys of all rows, as they are now."""


@dataclass(frozen=True, slots=True)
class WritePlan:
    """What a batch comes to. `offsets`: the last one handled by topic, in the log of this identity (`logs`). `rows`: by
    table and key; None: dropped."""

    logs: Mapping[str, str]
    offsets: Mapping[str, int]
    progress: PartitionProgress
    rows: Mapping[str, Mapping[bytes, bytes | None]] = field(default_factory=dict)

    def to_bytes(self) -> bytes:
        """Serialize the value of the plan's row."""
        rows = {
            table: {key.decode(): None if value is None else value.decode() for key, value in rows.items()}
            for table, rows in self.rows.items()
        }
        return orjson.dumps(
            {"logs": self.logs, "offsets": self.offsets, "progress": self.progress.to_bytes().decode(), "rows": rows}
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> WritePlan:
        """Parse what `to_bytes` wrote. Raises something for what is no plan."""
        plain = orjson.loads(data)
        rows = {
            table: {key.encode(): None if value is None else value.encode() for key, value in rows.items()}
            for table, rows in plain["rows"].items()
        }
        progress = PartitionProgress.from_bytes(plain["progress"].encode())
        numbers = [*plain["offsets"].values(), *progress.counts.values()]
        if not (all(isinstance(number, int) for number in numbers) and rows.keys() <= {PEOPLE, WINDOWS}):
            raise ValueError("a plan has offsets, counts and rows")
        return cls(plain["logs"], plain["offsets"], progress, rows)

    def write(self, tables: PartitionTables) -> None:
        """Write the rows, and how far the partition is measured."""
        for table, rows in self.rows.items():
            for key, value in rows.items():
                tables.put(table, key, value)
        tables.put(WINDOWS, PROGRESS_KEY, self.progress.to_bytes())


def last_plan(tables: PartitionTables) -> WritePlan | None:
    """Return the plan that a partition's tables hold."""
    return load_row(tables, PLANS, PLAN_KEY, WritePlan.from_bytes)


def load_row(tables: PartitionTables, table: str, key: bytes, parse: Callable[[bytes], Value]) -> Value | None:
    """Return a row; None also where it can't be parsed: rubbish must stop nobody."""
    data = tables.get(table, key)
    if data is None:
        return None
    try:
        return parse(data)
    except Exception as error:
        log.warning("skipped an invalid row", table=table, key=repr(key[:100]), error=repr(error))
        return None
