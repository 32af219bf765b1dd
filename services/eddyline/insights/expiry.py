"""Drops rows that are over, a few at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import structlog

from eddyline.insights.event_fold import PEOPLE, WINDOWS, PartitionTables
from eddyline.model.insights.person_log import PersonLog
from eddyline.model.insights.row_updates import is_expired
from eddyline.model.insights.rows import CellKey, parse_row_key
from eddyline.settings import InsightsSettings

ROWS = 500
"""Looked at in one go."""

log = structlog.get_logger("insights")


class ExpirySweep:
    """Goes round and round over the rows of each partition."""

    def __init__(self, settings: InsightsSettings) -> None:
        self._settings = settings
        self._left: dict[tuple[str, int], Iterator[bytes]] = {}

    def some(self, tables: PartitionTables, faust_tables: Mapping[str, Any], partition: int, now: float) -> None:
        """Look at the next rows of a partition's people and windows, and drop those that are over at `now` (epoch
        seconds)."""
        for table in (PEOPLE, WINDOWS):
            keys = self._left.get((table, partition))
            if keys is None:
                keys = iter(_keys(faust_tables[table], partition))
            for _ in range(ROWS):
                key = next(keys, None)
                if key is None:
                    self._left.pop((table, partition), None)
                    break
                if self._is_over(table, key, tables, now):
                    tables.put(table, key, None)
            else:
                self._left[table, partition] = keys

    def _is_over(self, table: str, key: bytes, tables: PartitionTables, now: float) -> bool:
        """Or is no row at all: anybody who may write to a changelog can put rubbish there."""
        try:
            if table == PEOPLE:
                data = tables.get(PEOPLE, key)
                return data is not None and PersonLog.from_bytes(data).is_done(now, self._settings)
            name = parse_row_key(key)
        except Exception as error:
            log.warning("dropped an invalid row", table=table, key=repr(key[:100]), error=repr(error))
            return True
        return isinstance(name, CellKey) and is_expired(name, self._settings, now)


def _keys(table: Any, partition: int) -> list[bytes]:
    """All keys of a partition's rows, as they are now."""
    store = table.data
    rows = store._db_for_partition(partition)
    return [key for key in rows.keys() if key != store.offset_key]  # noqa: SIM118  # a database, not a mapping
