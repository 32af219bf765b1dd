"""The measures: what is summed, what is divided by what, and what nothing can be said of."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eddyline.insights.kpis import (
    GROUPS,
    CellTotals,
    Group,
    Kpis,
    compute_kpis,
    group_cells,
    percentile,
)
from eddyline.insights.rows import DAY, LATENCIES_MS, MILLIONTHS, Cell, CellKey, Dimensions, Size, Sketch, window_start

START = 1_790_000_000 // DAY * DAY
LATER = START + 30 * DAY


def cell(people: int = 0, items: int = 0, **counts: int) -> Cell:
    found = Cell(Counter(counts))
    found.people.add(f"p{number}" for number in range(people))
    found.items.add(f"i{number}" for number in range(items))
    return found


def key(start: int = START, size: Size = "hour", **dimensions: str) -> CellKey:
    return CellKey(size, start, Dimensions(**dimensions))


def measured(
    *cells: tuple[CellKey, Cell], known_until: float = LATER, by: Sequence[str] = (), catalogue: int | None = None
) -> Kpis:
    found = group_cells(cells, (), known_until)
    return compute_kpis(found.get((), CellTotals()), by, catalogue)


def test_ratios_are_of_the_sums_not_means_of_ratios() -> None:
    found = measured(
        (key(surface="home"), cell(requests=1, impressions=10, clicks=5, dwells=1, dwell_ms=100, new_items=1)),
        (key(surface="home", category="x"), cell(impressions=90, clicks=5, dwells=3, dwell_ms=700, new_items=1)),
    )
    assert found.ctr == pytest.approx(10 / 100)
    assert found.dwell_ms == pytest.approx(800 / 4)
    assert found.new_share == pytest.approx(2 / 100)
    assert found.requests == 1


def test_money_is_in_the_units_of_the_events() -> None:
    found = measured((key(), cell(impressions=400, clicks=20, conversions=5, revenue=round(12.5 * MILLIONTHS))))
    assert found.revenue == 12.5
    assert found.revenue_per_mille == pytest.approx(31.25)
    assert found.conversion_rate == pytest.approx(0.25)


def test_ratios_of_nothing_are_null() -> None:
    found = measured()
    nothing = {name for name, value in found.model_dump().items() if value is None}
    assert nothing == {
        "ctr",
        "dwell_ms",
        "conversion_rate",
        "revenue_per_mille",
        "coverage",
        "new_share",
        "empty_share",
        "degraded_share",
        "latency_p50",
        "latency_p95",
        "latency_p99",
        "visitors",
        "returned_1",
        "returned_7",
    }
    assert (found.requests, found.clicks, found.revenue) == (0, 0, 0.0)


def test_shares_of_lists_are_of_all_lists() -> None:
    found = measured((key(), cell(requests=8, empty=2, degraded=1)))
    assert (found.empty_share, found.degraded_share) == (0.25, 0.125)


def test_the_same_people_in_several_cells_are_counted_once() -> None:
    found = measured((key(surface="home"), cell(people=20, items=6)), (key(surface="mail"), cell(people=12, items=9)))
    assert found.people == pytest.approx(20, abs=0.1)
    assert found.items == pytest.approx(9, abs=0.1)


def test_coverage_is_of_the_catalogue_and_at_most_whole() -> None:
    assert measured((key(), cell(items=9)), catalogue=36).coverage == pytest.approx(0.25, abs=0.001)
    assert measured((key(), cell(items=9)), catalogue=5).coverage == 1.0
    assert measured((key(), cell(items=9)), catalogue=0).coverage is None


def test_what_belongs_to_a_list_is_not_said_of_a_category() -> None:
    found = measured(
        (key(category="x"), cell(impressions=10, clicks=1, items=3, people=2)),
        by=["category"],
        catalogue=10,
    )
    assert found.ctr == 0.1
    assert found.people == pytest.approx(2, abs=0.1)
    for name in ("requests", "empty_share", "degraded_share", "latency_p50", "visitors", "returned_1", "coverage"):
        assert getattr(found, name) is None, name


def test_organic_clicks_belong_to_no_surface() -> None:
    cells = [(key(), cell(organic_clicks=3, organic_revenue=MILLIONTHS)), (key(surface="home"), cell(requests=2))]
    assert measured(*cells).organic_clicks == 3
    assert measured(*cells).organic_revenue == 1.0
    assert measured(*cells, by=["surface"]).organic_clicks is None
    by_surface, by_time = group_cells(cells, ["surface"], LATER), group_cells(cells, ["time"], LATER)
    assert list(by_surface) == [("home",)]
    assert list(by_time) == [(START,)]


# -- who comes back -----------------------------------------------------------------------------------------------


def day(number: int, **counts: int) -> tuple[CellKey, Cell]:
    return key(START + number * DAY, "day"), cell(**counts)


def test_returning_people_are_a_share_of_those_days_of_which_it_is_known() -> None:
    days = [
        day(0, visitors=10, returned_1=4, returned_7=1),
        day(1, visitors=20, returned_1=5),
        day(2, visitors=70, returned_1=7),
    ]
    found = measured(*days, known_until=START + 3 * DAY + 1)
    assert found.visitors == 100
    assert found.returned_1 == pytest.approx(9 / 30)
    assert found.returned_7 is None
    assert measured(*days, known_until=START + 8 * DAY).returned_7 == pytest.approx(1 / 10)
    assert measured(*days, known_until=START + 8 * DAY - 1).returned_7 is None


def test_windows_of_less_than_a_day_count_no_visitors() -> None:
    assert measured((key(size="hour"), cell(requests=5))).visitors is None


# -- latency ------------------------------------------------------------------------------------------------------


def test_a_percentile_is_interpolated_in_its_bucket() -> None:
    took = Counter({1: 50, 2: 50})  # 5–10 ms and 10–20 ms
    assert percentile(took, 0.25) == pytest.approx(7.5)
    assert percentile(took, 0.5) == pytest.approx(10.0)
    assert percentile(took, 0.95) == pytest.approx(19.0)
    assert percentile(Counter({0: 10}), 0.5) == pytest.approx(2.5)


def test_beyond_the_last_bound_a_percentile_says_at_least() -> None:
    assert percentile(Counter({len(LATENCIES_MS): 3}), 0.5) == LATENCIES_MS[-1]


@given(st.dictionaries(st.integers(0, len(LATENCIES_MS)), st.integers(1, 1000), min_size=1))
def test_percentiles_rise_and_stay_in_the_buckets_that_hold_them(took: dict[int, int]) -> None:
    bounds = (0.0, *LATENCIES_MS, LATENCIES_MS[-1])
    found = [percentile(Counter(took), share) or 0.0 for share in (0.01, 0.5, 0.95, 0.99)]
    assert found == sorted(found)
    assert found[0] >= bounds[min(took)]
    assert found[-1] <= bounds[max(took) + 1]


def test_positions_are_told_one_by_one() -> None:
    one = Cell(shown=Counter({1: 10, 2: 8}), clicked=Counter({1: 5}))
    first, second = measured((key(), one)).positions
    assert (first.rank, first.impressions, first.clicks, first.ctr) == (1, 10, 5, 0.5)
    assert (second.rank, second.ctr) == (2, 0.0)


# -- groups -------------------------------------------------------------------------------------------------------


def test_groups_have_the_order_and_the_names_that_were_asked_for() -> None:
    cells = [
        (key(START + 3600, variant="b", surface="home"), cell(requests=1)),
        (key(START, variant="a", surface="home"), cell(requests=2)),
        (key(START, variant="b", surface="mail"), cell(requests=4)),
    ]
    assert [
        (label, one.cell.counts["requests"]) for label, one in group_cells(cells, ("variant", "time"), 0).items()
    ] == [
        (("a", START), 2),
        (("b", START), 4),
        (("b", START + 3600), 1),
    ]


@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.sampled_from("ab"), st.sampled_from("xy"), st.integers(0, 50)), max_size=20
    ),
    st.lists(st.sampled_from(GROUPS), unique=True),
)
def test_the_groups_add_up_to_the_whole(given_cells: list[tuple[int, str, str, int]], by: list[Group]) -> None:
    cells = [
        (key(START + 3600 * hour, surface=surface, category=category), cell(impressions=count, clicks=count // 2))
        for hour, surface, category, count in given_cells
    ]
    found = group_cells(cells, by, LATER).values()
    assert sum(one.cell.counts["impressions"] for one in found) == sum(count for *_, count in given_cells)
    assert sum(one.cell.counts["clicks"] for one in found) == sum(count // 2 for *_, count in given_cells)


def test_adding_up_leaves_the_cells_as_they_were() -> None:
    one = cell(requests=1, people=1)
    before = one.to_bytes()
    group_cells([(key(), one), (key(surface="home"), cell(requests=2, people=5))], (), LATER)
    assert one.to_bytes() == before
    assert Sketch().estimate == 0.0


def test_windows_begin_at_multiples_of_their_size() -> None:
    assert window_start(START + 3661.5, "minute") == START + 3660
    assert window_start(START + 3661.5, "hour") == START + 3600
    assert window_start(START + 3661.5, "day") == START


def test_every_measure_says_its_formula() -> None:
    assert all(field.description for field in Kpis.model_fields.values())
