"""How long the rows of insights are kept, and the sweep that drops those that are over, a few at a time."""

from __future__ import annotations

from collections.abc import Iterator

import structlog

from eddyline.insights.person_log import PersonLog
from eddyline.insights.rows import DAY, SECONDS, CellKey, Size, parse_row_key
from eddyline.insights.write_plan import PEOPLE, WINDOWS, PartitionTables
from eddyline.settings import InsightsSettings

BATCH = 500
"""Rows that are looked at in one go."""

log = structlog.get_logger("insights")


def retention_seconds(size: Size, settings: InsightsSettings) -> float:
    """How long windows of a size are kept once they are over."""
    match size:
        case "minute":
            return settings.minute_retention_hours * SECONDS["hour"]
        case "hour":
            return settings.hour_retention_days * DAY
        case "day":
            return settings.day_retention_days * DAY


def oldest_start(size: Size, settings: InsightsSettings, now: float) -> float:
    """The earliest start of a window of a size that is kept at `now`, both in epoch seconds."""
    return now - retention_seconds(size, settings) - SECONDS[size]


def is_expired(key: CellKey, settings: InsightsSettings, now: float) -> bool:
    """Whether a window isn't kept any more at `now` (epoch seconds)."""
    return key.start <= oldest_start(key.size, settings, now)


class RetentionSweep:
    """Goes round and round over the rows of each partition."""

    def __init__(self, settings: InsightsSettings) -> None:
        self._settings = settings
        self._remaining: dict[tuple[str, int], Iterator[bytes]] = {}

    def drop_some(self, tables: PartitionTables, partition: int, now: float) -> None:
        """Look at the next rows of a partition's people and windows, and drop those that are over at `now` (epoch
        seconds)."""
        for table in (PEOPLE, WINDOWS):
            keys = self._remaining.get((table, partition))
            if keys is None:
                keys = iter(tables.keys(table))
            for _ in range(BATCH):
                key = next(keys, None)
                if key is None:
                    self._remaining.pop((table, partition), None)
                    break
                if self._is_over(table, key, tables, now):
                    tables.put(table, key, None)
            else:
                self._remaining[table, partition] = keys

    def _is_over(self, table: str, key: bytes, tables: PartitionTables, now: float) -> bool:
        """Whether a row has expired, or is none at all: anybody who may write to a changelog can put rubbish there."""
        try:
            if table == PEOPLE:
                data = tables.get(PEOPLE, key)
                return data is not None and PersonLog.from_bytes(data).is_expired(now, self._settings)
            name = parse_row_key(key)
        except Exception as error:
            log.warning("dropped an invalid row", table=table, key=repr(key[:100]), error=repr(error))
            return True
        return isinstance(name, CellKey) and is_expired(name, self._settings, now)
