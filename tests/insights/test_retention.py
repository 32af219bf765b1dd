"""How long rows are kept, and the sweep that drops those that are over."""

from __future__ import annotations

import pytest
from tests.support.fakes import NOW
from tests.support.rows import MemoryTables

from eddyline.insights import retention
from eddyline.insights.moments import Moments
from eddyline.insights.person_log import PersonLog
from eddyline.insights.retention import RetentionSweep
from eddyline.insights.rows import (
    DAY,
    PROGRESS_KEY,
    SECONDS,
    Cell,
    CellKey,
    Dimensions,
    PartitionProgress,
    Size,
    VariantKey,
)
from eddyline.insights.write_plan import PEOPLE, WINDOWS
from eddyline.settings import InsightsSettings

KEPT: dict[Size, int] = {"minute": 6 * 3600, "hour": 14 * DAY, "day": 400 * DAY}


def swept(tables: MemoryTables, now: float = NOW, times: int = 1) -> MemoryTables:
    sweep = RetentionSweep(InsightsSettings())
    for _ in range(times):
        sweep.drop_some(tables, 0, now)
    return tables


@pytest.mark.parametrize("size", SECONDS)
def test_a_window_is_dropped_once_its_time_is_over(size: Size) -> None:
    tables, start = MemoryTables(), int(NOW // SECONDS[size]) * SECONDS[size]
    tables.put(WINDOWS, CellKey(size, start, Dimensions()).to_bytes(), Cell().to_bytes())
    over = start + SECONDS[size] + KEPT[size]
    assert len(swept(tables, over - 1).keys(WINDOWS)) == 1
    assert swept(tables, over).keys(WINDOWS) == []


def test_moments_and_progress_are_kept_and_rubbish_is_dropped() -> None:
    tables = MemoryTables()
    tables.put(WINDOWS, VariantKey("e", "r", "a").to_bytes(), Moments().to_bytes())
    tables.put(WINDOWS, PROGRESS_KEY, PartitionProgress(NOW, NOW, {}).to_bytes())
    tables.put(WINDOWS, b"{rubbish", b"{}")
    tables.put(PEOPLE, b"u:ann", b"{rubbish")
    assert len(swept(tables, NOW + 500 * DAY).keys(WINDOWS)) == 2
    assert tables.keys(PEOPLE) == []


def test_a_person_is_dropped_when_nothing_of_them_is_of_use_any_more() -> None:
    tables = MemoryTables()
    tables.put(PEOPLE, b"u:ann", PersonLog(newest=NOW).to_bytes())
    tables.put(PEOPLE, b"u:bob", PersonLog(newest=NOW, totals={VariantKey("e", "r", "a"): (1.0,)}).to_bytes())
    assert len(swept(tables, NOW + 9 * DAY).keys(PEOPLE)) == 2
    assert swept(tables, NOW + 10 * DAY).keys(PEOPLE) == [b"u:bob"]
    assert swept(tables, NOW + 401 * DAY).keys(PEOPLE) == []


def test_the_row_of_someone_erased_goes_once_nothing_late_is_taken_any_more() -> None:
    tables = MemoryTables()
    erased = PersonLog(newest=NOW, totals={VariantKey("e", "r", "a"): (1.0,)})
    erased.erase(NOW)
    tables.put(PEOPLE, b"u:ann", erased.to_bytes())
    assert swept(tables, NOW + 2 * 3600 - 1).keys(PEOPLE) == [b"u:ann"]
    assert swept(tables, NOW + 2 * 3600 + 1).keys(PEOPLE) == []


def test_the_sweep_goes_on_where_it_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "BATCH", 4)
    tables = MemoryTables()
    for minute in range(10):
        tables.put(WINDOWS, CellKey("minute", 60 * minute, Dimensions()).to_bytes(), Cell().to_bytes())
    assert len(swept(tables).keys(WINDOWS)) == 6
    assert swept(tables, times=2).keys(WINDOWS) == []
