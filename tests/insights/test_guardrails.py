"""Guardrails: a variant is judged by whole windows, with enough lists, once the clicks have had time to come."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import pytest

from eddyline.insights.guardrails import (
    MAX_WINDOWS,
    Judgement,
    describe_breach,
    fully_read_until,
    judge_guardrail,
    judgeable_until,
)
from eddyline.insights.rows import DAY, LATENCIES_MS, Cell, CellKey, Dimensions, PartitionProgress, Size
from eddyline.model.experiments.definitions import SLOWEST_MS, Guardrail

HOUR = 3600
START = 1_790_000_000 // DAY * DAY
FLOOR = Guardrail(metric="ctr", min=0.05, least=200)


def cell(
    hour: int, size: Size = "hour", took: Mapping[int, int] | None = None, surface: str = "home", **counts: int
) -> tuple[CellKey, Cell]:
    seconds = {"minute": 60, "hour": HOUR, "day": DAY}[size]
    return CellKey(size, START + hour * seconds, Dimensions(surface)), Cell(Counter(counts), Counter(took or {}))


def lists(hour: int, requests: int, clicks: int, **rest: Any) -> tuple[CellKey, Cell]:
    return cell(hour, requests=requests, impressions=10 * requests, clicks=clicks, **rest)


def judged(*cells: tuple[CellKey, Cell], guardrail: Guardrail = FLOOR, since: float = 0, hours: float = 3) -> Judgement:
    newest_first = sorted(cells, key=lambda one: -one[0].start)
    return judge_guardrail(guardrail, newest_first, since, START + hours * HOUR)


def test_a_variant_over_its_floor_is_ok_and_one_under_it_is_not() -> None:
    assert judged(lists(2, 200, 100)) == Judgement("ok", 0.05, 200, START + 2 * HOUR, START + 3 * HOUR)
    broken = judged(lists(2, 200, 99))
    assert broken.state == "broken"
    assert broken.value == pytest.approx(0.0495)


def test_the_window_that_is_still_open_is_not_judged() -> None:
    assert judged(lists(2, 400, 0), hours=2.99).state == "not enough yet"
    assert judged(lists(2, 400, 0), hours=3).state == "broken"


def test_only_the_last_full_window_counts_where_it_has_enough() -> None:
    assert judged(lists(1, 1000, 0), lists(2, 200, 400)).state == "ok"
    assert judged(lists(1, 1000, 900), lists(2, 200, 10)).state == "broken"


def test_a_thin_window_is_judged_together_with_those_before_it() -> None:
    found = judged(lists(0, 100, 0), lists(1, 100, 20), lists(2, 100, 20))
    assert (found.value, found.lists, found.start) == (0.02, 200, START + HOUR)
    assert judged(lists(2, 199, 0)) == Judgement("not enough yet", None, 199)


def test_what_is_not_needed_is_not_read() -> None:
    cells = iter([lists(2, 50, 0), lists(2, 100, 0), lists(1, 60, 0), lists(0, 100, 0), lists(-1, 100, 0)])
    assert judge_guardrail(FLOOR, cells, 0, START + 3 * HOUR).lists == 210
    assert len(list(cells)) == 1, "a window is over once one of the next is seen"


def test_it_looks_only_so_far_back() -> None:
    thin, old = lists(MAX_WINDOWS, 100, 0), lists(0, 100, 0)
    assert judged(old, thin, hours=MAX_WINDOWS + 1).lists == 100
    assert judged(old, thin, hours=MAX_WINDOWS + 1).state == "not enough yet"
    assert judged(lists(1, 100, 0), thin, hours=MAX_WINDOWS + 1).state == "broken"


def test_nothing_from_before_the_revision_counts() -> None:
    assert judged(lists(1, 500, 0), lists(2, 100, 50), since=START + 1.5 * HOUR).state == "not enough yet"
    assert judged(lists(2, 500, 0), since=START + 2.5 * HOUR).state == "not enough yet"


def test_cells_of_all_surfaces_add_up() -> None:
    assert judged(lists(2, 100, 0), lists(2, 100, 100, surface="mail")).value == 0.05


def test_windows_of_another_size_do_not_count() -> None:
    assert judged(cell(2, "minute", requests=500, impressions=500)).state == "not enough yet"


def test_lists_without_items_have_no_click_through_rate() -> None:
    assert judged(cell(2, requests=500, empty=500)).state == "not enough yet"
    most = Guardrail(metric="empty", max=0.1)
    assert judged(cell(2, requests=500, empty=500), guardrail=most).state == "broken"
    assert judged(cell(2, requests=500, empty=50), guardrail=most).state == "ok"


def test_latency_is_the_95th_percentile_of_the_timed_answers() -> None:
    most = Guardrail(metric="latency_ms", max=100, least=100)
    slow = {2: 90, 6: 10}  # a tenth took 200–500 ms
    found = judged(cell(2, requests=100, took=slow), guardrail=most)
    assert found.state == "broken"
    assert found.value == pytest.approx(350.0)
    assert judged(cell(2, requests=100, took={2: 96, 6: 4}), guardrail=most).state == "ok"
    assert judged(cell(2, requests=500, took={6: 99}), guardrail=most).state == "not enough yet"


def test_minutes_and_days_are_windows_too() -> None:
    by_day = Guardrail(metric="ctr", min=0.05, window="day")
    day = lists(0, 300, 0, size="day")
    assert judge_guardrail(by_day, [day], 0, START + DAY - 1).state == "not enough yet"
    assert judge_guardrail(by_day, [day], 0, START + DAY).state == "broken"


def test_clicks_get_time_to_come_and_what_is_unread_is_waited_for() -> None:
    assert judgeable_until("ctr", 1000.0, 600.0) == 400.0
    assert judgeable_until("latency_ms", 1000.0, 600.0) == 1000.0
    told = [PartitionProgress(9.0, 9.0, {}, read=until) for until in (7.0, 5.0, None)]
    assert fully_read_until(told) == 5.0
    assert fully_read_until(told[2:]) is None


def test_a_broken_one_is_told_in_a_sentence() -> None:
    said = describe_breach(FLOOR, "diverse", judged(lists(2, 1200, 120)))
    assert said == "diverse: its click-through rate was 0.01, under 0.05, in 1,200 lists"
    most = Guardrail(metric="latency_ms", max=100, least=1)
    assert ", over 100, in 5 lists" in describe_breach(most, "b", judged(cell(2, took={6: 5}), guardrail=most))


def test_every_bound_on_the_time_to_answer_that_is_taken_can_be_broken() -> None:
    assert LATENCIES_MS[-1] == SLOWEST_MS
    most = Guardrail(metric="latency_ms", max=SLOWEST_MS - 1, least=1)
    assert judged(cell(2, took={len(LATENCIES_MS): 100}), guardrail=most).state == "broken"
