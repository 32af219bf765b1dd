"""Rows against the log of `activity`: each has counted what the log holds up to its watermark, once.

Only what the log still holds can be compared: it keeps a day.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from eddyline.adapters.kafka import LogReader, Record, partition_of
from eddyline.adapters.vectors import VectorStore, scroll_pages
from eddyline.affinity import SOURCES, parse_record
from eddyline.errors import InvalidEvent
from eddyline.maintenance.audit.audit_report import AuditReport, Difference
from eddyline.model.events import Activity, Listing
from eddyline.model.ids import item_point_id
from eddyline.topics import ACTIVITY

GROUP = "affinity"
PAGE = 1000
_KEYS = ("item_id", "row.log", "row.offset", "row.first", "row.first_count", "trend.count")


@dataclass(slots=True)
class _Row:
    """A stored row's account, and what the log says of it."""

    log: str | None
    offset: int
    first: int | None
    counted: int
    """How often the item came since `first`."""
    expected: int = 0
    last: int = -1
    """The newest record of the log that it must have applied."""
    missed: int = 0
    """Records above its watermark that affinity has committed as handled."""
    sources: deque[str] = field(default_factory=lambda: deque(maxlen=SOURCES))

    def apply(self, event: Activity | Listing, offset: int) -> None:
        """Count a record as affinity does."""
        self.last = offset
        if isinstance(event, Activity) and event.source not in self.sources:
            self.sources.append(event.source)
            self.expected += event.position is None


def audit_rows(log: LogReader, store: VectorStore, rows: str, report: AuditReport) -> None:
    """Compare the rows with `activity`, as far as affinity has handled it, and note what differs.

    Affinity may go on meanwhile. Raises `Unavailable`.
    """
    committed = {partition: 0 if at is None else at.offset for partition, at in log.committed(GROUP, ACTIVITY).items()}
    stored = _read_rows(store, rows)
    listed: dict[str, int] = {}
    compared: set[str] = set()
    bounds = log.bounds(ACTIVITY)

    def home_of(item_id: str) -> int:
        return partition_of(item_id.encode(), len(bounds))

    for partition, (low, high) in bounds.items():
        for record, event in _events(log, partition, low, high, home_of):
            if record.offset < committed.get(partition, 0):
                _note_listing(event, record.offset, listed)
            row = stored.get(event.item_id)
            if row is None or row.log != f"{record.log}:{partition}" or row.first is None or row.first < low:
                continue
            compared.add(event.item_id)
            if row.first <= record.offset <= row.offset:
                row.apply(event, record.offset)
            elif row.offset < record.offset < committed.get(partition, 0):
                row.missed += 1
    report.rows_compared = len(compared)
    report.rows_older = len(stored) - len(compared)
    report.row_differences += [
        difference for item_id in sorted(compared) for difference in _differences(item_id, stored[item_id])
    ]
    report.row_differences += _missing(store, rows, [item_id for item_id in listed if item_id not in stored])


def _read_rows(store: VectorStore, rows: str) -> dict[str, _Row]:
    found: dict[str, _Row] = {}
    for page in scroll_pages(store, rows, payload=_KEYS, limit=PAGE):
        for point in page:
            row: Mapping[str, Any] = point.payload.get("row") or {}
            count = (point.payload.get("trend") or {}).get("count", 0) - row.get("first_count", 0)
            account = _Row(row.get("log"), row.get("offset", -1), row.get("first"), count)
            found[str(point.payload["item_id"])] = account
    return found


def _events(
    log: LogReader, partition: int, low: int, high: int, home_of: Callable[[str], int]
) -> Iterator[tuple[Record, Activity | Listing]]:
    for record in log.read(ACTIVITY, partition, low, high):
        try:
            yield record, parse_record(record, home_of)
        except InvalidEvent:
            continue  # a dead letter


def _note_listing(event: Activity | Listing, offset: int, listed: dict[str, int]) -> None:
    if isinstance(event, Listing) and event.gone:
        listed.pop(event.item_id, None)
    elif isinstance(event, Listing) and event.fields is not None:
        listed[event.item_id] = offset


def _differences(item_id: str, row: _Row) -> Iterator[Difference]:
    if row.counted != row.expected:
        by = abs(row.counted - row.expected)
        yield Difference(f"item {item_id}", "times chosen", row.counted, row.expected, by)
    if row.missed:
        yield Difference(f"item {item_id}", "records not applied", row.missed, 0, row.missed)
    if row.last != row.offset:
        yield Difference(f"item {item_id}", "watermark", row.offset, row.last, abs(row.offset - row.last))


def _missing(store: VectorStore, rows: str, item_ids: list[str]) -> Iterator[Difference]:
    """Note the items that were listed, and have no row even now."""
    points = {item_point_id(item_id): item_id for item_id in item_ids}
    there = store.retrieve(rows, list(points), payload=()) if points else {}
    for point_id, item_id in points.items():
        if point_id not in there:
            yield Difference(f"item {item_id}", "row", None, "a row", 1)
