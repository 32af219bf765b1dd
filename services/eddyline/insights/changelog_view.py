"""The rows of insights in memory, followed from the changelog of their table.

The consumer thread of the changelog applies records while request threads, the guardrails and the gauges read: a lock
guards what they share. Nothing here is durable; after a restart the changelog is read from its beginning.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

import structlog

from eddyline.adapters.kafka import Record
from eddyline.insights.moments import Moments
from eddyline.insights.retention import oldest_start
from eddyline.insights.rows import (
    Cell,
    CellKey,
    Dimensions,
    PartitionProgress,
    ProgressKey,
    RowKey,
    Size,
    VariantKey,
    parse_row,
    parse_row_key,
)
from eddyline.settings import InsightsSettings

log = structlog.get_logger("insights")

MINUTE = 60.0
Key = TypeVar("Key")
Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class CellQuery:
    """Selects cells: windows of a size that begin in [start, end) (epoch seconds), and for each named dimension any of
    these values."""

    size: Size
    start: float
    end: float
    where: Mapping[str, frozenset[str]]

    def matches(self, dimensions: Dimensions) -> bool:
        """Whether a cell of these is selected."""
        return all(getattr(dimensions, name) in values for name, values in self.where.items())


class ChangelogView:
    """Every row of the table that hasn't expired, by partition. Thread-safe.

    Cells are kept as the bytes they came as, since they take several times as much room once they are read. A window
    that the table no longer keeps is left out, whether its tombstone comes or not.
    """

    def __init__(self, settings: InsightsSettings, clock: Callable[[], float]) -> None:
        """`clock`: epoch seconds."""
        self._settings = settings
        self._clock = clock
        self._lock = threading.Lock()
        self._log: str | None = None
        self._cells: dict[tuple[Size, int], dict[tuple[int, Dimensions], bytes]] = {}
        self._variants: dict[tuple[int, VariantKey], Moments] = {}
        self._progress: dict[int, PartitionProgress] = {}
        self._unreadable = 0
        self._swept_at = clock()

    @property
    def unreadable(self) -> int:
        """How many records were no rows, and were left out."""
        return self._unreadable

    def apply(self, record: Record) -> None:
        """Apply one record of the changelog. One that can't be parsed is counted; the row stays as it was."""
        try:
            if record.key is None:
                raise ValueError("a row has a key")
            key = parse_row_key(record.key)
            row = None if record.value is None else parse_row(key, record.value)
        except Exception as error:  # whatever is in it: a row of rubbish must not hide the others
            self._unreadable += 1
            log.warning(
                "skipped an invalid row",
                partition=record.partition,
                offset=record.offset,
                error=repr(error),
            )
            return
        with self._lock:
            self._follow(record.log)
            self._sweep()
            self._put(record.partition, key, row, record.value)

    def cells(self, query: CellQuery) -> Iterator[tuple[CellKey, Cell]]:
        """Yield the selected cells, one for each partition that has it: window by window, the newest first.

        Each is parsed when it is its turn. However many there are, no more need be held than what they are added up to;
        and a caller that has enough leaves the rest unparsed.
        """
        for start in self._starts(query):
            with self._lock:
                found = [
                    (dimensions, value)
                    for (_, dimensions), value in self._cells.get((query.size, start), {}).items()
                    if query.matches(dimensions)
                ]
            for dimensions, value in found:
                yield CellKey(query.size, start, dimensions), Cell.from_bytes(value)

    def variants(self) -> dict[VariantKey, Moments]:
        """The moments of the people of every variant, of all revisions."""
        summed: dict[VariantKey, Moments] = {}
        with self._lock:
            for (_, key), moments in self._variants.items():
                summed[key] = summed.get(key, Moments()) + moments
        return summed

    def progress(self) -> dict[int, PartitionProgress]:
        """How far each partition is measured."""
        with self._lock:
            return dict(sorted(self._progress.items()))

    def oldest(self, size: Size) -> float:
        """The earliest start of a window of this size that is kept, in epoch seconds."""
        return oldest_start(size, self._settings, self._clock())

    def _starts(self, query: CellQuery) -> list[int]:
        """The starts of the selected windows, the newest first."""
        first = max(query.start, self.oldest(query.size))
        with self._lock:
            known = [start for size, start in self._cells if size == query.size]
        return sorted((start for start in known if first <= start < query.end), reverse=True)

    def _follow(self, identity: str) -> None:
        """Forget everything where the topic was recreated."""
        if identity == self._log:
            return
        self._log = identity
        self._cells, self._variants, self._progress = {}, {}, {}

    def _sweep(self) -> None:
        """Once a minute, drop the windows that have expired."""
        now = self._clock()
        if now - self._swept_at < MINUTE:
            return
        self._swept_at = now
        for size, start in list(self._cells):
            if start < self.oldest(size):
                del self._cells[size, start]

    def _put(
        self, partition: int, key: RowKey, row: Cell | Moments | PartitionProgress | None, value: bytes | None
    ) -> None:
        match key:
            case CellKey(size, start, dimensions):
                self._put_cell(size, start, (partition, dimensions), value)
            case VariantKey():
                _set_or_drop(self._variants, (partition, key), row if isinstance(row, Moments) else None)
            case ProgressKey():
                self._put_progress(partition, row if isinstance(row, PartitionProgress) else None)

    def _put_progress(self, partition: int, row: PartitionProgress | None) -> None:
        """What was read stays read, also where a later row doesn't say how far that is."""
        before = self._progress.get(partition)
        if row is not None and row.read is None and before is not None:
            row = replace(row, read=before.read)
        _set_or_drop(self._progress, partition, row)

    def _put_cell(self, size: Size, start: int, place: tuple[int, Dimensions], value: bytes | None) -> None:
        if value is not None and start < self.oldest(size):
            return
        cells = self._cells.setdefault((size, start), {})
        _set_or_drop(cells, place, value)
        if not cells:
            del self._cells[size, start]


def _set_or_drop(rows: dict[Key, Value], key: Key, row: Value | None) -> None:
    if row is None:
        rows.pop(key, None)
    else:
        rows[key] = row
