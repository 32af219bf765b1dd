"""From cells to measures: sums over windows, dimensions and partitions, and their ratios (CTR: clicks / impressions).
Pure."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal, TypeAlias, get_args

from pydantic import BaseModel, ConfigDict, Field

from eddyline.errors import InvalidInput
from eddyline.insights.rows import (
    DAY,
    LATENCIES_MS,
    MILLIONTHS,
    RETURN_DAYS,
    SKETCH_LG_K,
    Cell,
    CellKey,
    Dimensions,
)

Group: TypeAlias = Literal["surface", "strategy", "experiment", "variant", "category", "time"]
GROUPS: tuple[Group, ...] = get_args(Group)
"""What measures can be grouped by."""
Label: TypeAlias = tuple[str | int, ...]
"""The values of a group, in the order in which they were asked for; a time is a window's start in epoch seconds."""
SKETCH_ERROR = 1.04 / 2 ** (SKETCH_LG_K / 2)
"""Relative standard error of `people` and `items`. (Flajolet et al., HyperLogLog, 2007.)"""
PERCENTILES: Mapping[str, float] = {"latency_p50": 0.5, "latency_p95": 0.95, "latency_p99": 0.99}
ROUNDING = 9
"""Decimals of ratios: what is beyond is the binary fraction's, not the measure's."""

Ratio: TypeAlias = Annotated[float, Field(ge=0)] | None


class PositionKpis(BaseModel):
    """The measures of a position in the lists."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    rank: int
    """Counted from 1."""
    impressions: int
    """Items that were seen there."""
    clicks: int
    """The seen items that were clicked."""
    ctr: Ratio
    """clicks / impressions"""


class Kpis(BaseModel):
    """The measures of a group. A ratio of nothing is null, not 0; so is what a group can't have."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    requests: int | None
    """lists that were served; those made ahead count once they are opened. Not by category"""
    served: int
    """items of those lists"""
    impressions: int
    """items that were seen: as the app says it, else all of the list"""
    clicks: int
    """items of a list that were clicked, each once a list"""
    ctr: Ratio
    """clicks / impressions"""
    dwell_ms: Ratio
    """mean of the dwell times on items of lists: their sum / their number"""
    conversions: int
    """conversions of items of lists"""
    conversion_rate: Ratio
    """conversions / clicks; above 1 where people convert without a click, or more than once"""
    revenue: float
    """sum of the conversions' `value`"""
    revenue_per_mille: float | None
    """1000 · revenue / impressions"""
    people: Ratio
    """different people who were served lists: a HyperLogLog, see `sketch_error`"""
    items: Ratio
    """different items that were served: a HyperLogLog, see `sketch_error`"""
    coverage: Ratio
    """items / items in the catalogue now, at most 1; null where the catalogue's size isn't known. Not by category"""
    new_share: Ratio
    """impressions of new items / impressions"""
    empty_share: Ratio
    """lists without any item / requests. Not by category"""
    degraded_share: Ratio
    """lists from a cache, while the vector store didn't answer, / requests. Not by category"""
    latency_p50: Ratio
    """median of the milliseconds to make a list, interpolated in its bucket; 2000: that or more. Not by category"""
    latency_p95: Ratio
    """the same: 95 % took at most that"""
    latency_p99: Ratio
    """the same: 99 % took at most that"""
    visitors: int | None
    """people on a day, counted exactly, and added up over the days, and the surfaces, strategies and variants that they
    had. In windows of a day; not by category"""
    returned_1: Ratio
    """visitors who were there on the next day too / visitors, of days whose next day is over"""
    returned_7: Ratio
    """visitors who were there on the seventh day after / visitors, of days whose seventh day after is over"""
    organic_clicks: int | None
    """clicks on what no list had shown. Of no list's surface, strategy, experiment, variant or category"""
    organic_conversions: int | None
    """conversions of what no list had shown. The same"""
    organic_revenue: float | None
    """sum of their `value`. The same"""
    positions: list[PositionKpis]
    """impressions, clicks and CTR by place"""


@dataclass(slots=True)
class CellTotals:
    """Cells added up. `returning`: by how many days later, the visitors of days of which it is known who came back, and
    how many did."""

    cell: Cell = field(default_factory=Cell)
    visitors: int | None = None
    """None: of windows that don't count them."""
    returning: dict[int, Counter[str]] = field(default_factory=lambda: {days: Counter() for days in RETURN_DAYS})

    def add(self, key: CellKey, cell: Cell, known_until: float) -> None:
        """Add a cell. `known_until`: epoch seconds up to which it is known who was there."""
        self.cell.merge(cell)
        if key.size != "day":
            return
        self.visitors = (self.visitors or 0) + cell.counts["visitors"]
        for days, found in self.returning.items():
            if key.start + (days + 1) * DAY <= known_until:
                found["visitors"] += cell.counts["visitors"]
                found["returned"] += cell.counts[f"returned_{days}"]


def group_cells(
    cells: Iterable[tuple[CellKey, Cell]], by: Collection[Group], known_until: float, max_groups: float = math.inf
) -> dict[Label, CellTotals]:
    """Add up what has the same values of `by`, sorted by them; without any, everything under ().

    Raises `InvalidInput` as soon as there are more than `max_groups`.
    """
    found: dict[Label, CellTotals] = {}
    by_dimension = bool(set(by) & set(Dimensions._fields))
    for key, cell in cells:
        if by_dimension and not _has_lists(cell):
            continue
        label = _label(key, by)
        if label not in found and len(found) >= max_groups:
            raise InvalidInput(
                f"gives more than {max_groups:,} rows, which is the limit: ask for a shorter time, or fewer groups",
                "by",
            )
        found.setdefault(label, CellTotals()).add(key, cell, known_until)
    return dict(sorted(found.items()))


def add_to_total(
    cells: Iterable[tuple[CellKey, Cell]], total: CellTotals, known_until: float
) -> Iterator[tuple[CellKey, Cell]]:
    """Yield the same cells; each is added to `total` as it passes."""
    for key, cell in cells:
        total.add(key, cell, known_until)
        yield key, cell


def compute_kpis(totals: CellTotals, dimensions: Collection[str], catalogue: int | None) -> Kpis:
    """Compute the measures of a group that is formed, or chosen, by these dimensions. By category there is none that
    belongs to a list; by any, none that belongs to no list. `catalogue`: how many items there are, where that is known.
    """
    of_lists, is_organic = "category" not in dimensions, not set(dimensions) & set(Dimensions._fields)
    cell, counts = totals.cell, totals.cell.counts
    impressions, clicks, requests = counts["impressions"], counts["clicks"], counts["requests"]
    items = cell.items.estimate
    revenue = counts["revenue"] / MILLIONTHS
    return Kpis(
        requests=requests if of_lists else None,
        served=counts["served"],
        impressions=impressions,
        clicks=clicks,
        ctr=ratio(clicks, impressions),
        dwell_ms=ratio(counts["dwell_ms"], counts["dwells"]),
        conversions=counts["conversions"],
        conversion_rate=ratio(counts["conversions"], clicks),
        revenue=revenue,
        revenue_per_mille=ratio(1000 * revenue, impressions),
        people=round(cell.people.estimate, 1),
        items=round(items, 1),
        coverage=_coverage(items, catalogue if of_lists else None),
        new_share=ratio(counts["new_items"], impressions),
        empty_share=ratio(counts["empty"], requests) if of_lists else None,
        degraded_share=ratio(counts["degraded"], requests) if of_lists else None,
        **{name: percentile(cell.took, share) if of_lists else None for name, share in PERCENTILES.items()},
        visitors=totals.visitors if of_lists else None,
        returned_1=_returned(totals, 1) if of_lists else None,
        returned_7=_returned(totals, 7) if of_lists else None,
        organic_clicks=counts["organic_clicks"] if is_organic else None,
        organic_conversions=counts["organic_conversions"] if is_organic else None,
        organic_revenue=counts["organic_revenue"] / MILLIONTHS if is_organic else None,
        positions=list(_position_kpis(cell.shown, cell.clicked)),
    )


def ratio(part: float, whole: float) -> float | None:
    """Return part / whole; None where there is nothing to divide by."""
    return round(part / whole, ROUNDING) if whole else None


def percentile(took: Counter[int], share: float) -> float | None:
    """The time in milliseconds that this share of responses took at most; None without any.

    Within a bucket, times are taken to lie evenly, as in PromQL's `histogram_quantile`. In the last one, which has no
    upper bound, the answer is its lower one: "at least".
    """
    total = took.total()
    if not total:
        return None
    before, rank = 0, share * total
    for bucket, upper in enumerate(LATENCIES_MS):
        count = took[bucket]
        if count and before + count >= rank:
            lower = LATENCIES_MS[bucket - 1] if bucket else 0.0
            return round(lower + (upper - lower) * (rank - before) / count, 3)
        before += count
    return LATENCIES_MS[-1]


def _position_kpis(shown: Counter[int], clicked: Counter[int]) -> Iterator[PositionKpis]:
    for rank in sorted(shown.keys() | clicked.keys()):
        yield PositionKpis(
            rank=rank, impressions=shown[rank], clicks=clicked[rank], ctr=ratio(clicked[rank], shown[rank])
        )


def _label(key: CellKey, by: Collection[Group]) -> Label:
    return tuple(key.start if one == "time" else str(getattr(key.dimensions, one)) for one in by)


def _has_lists(cell: Cell) -> bool:
    return any(cell.counts[name] for name in ("requests", "served", "impressions", "clicks", "conversions", "visitors"))


def _coverage(items: float, catalogue: int | None) -> float | None:
    return min(1.0, round(items / catalogue, ROUNDING)) if catalogue else None


def _returned(totals: CellTotals, days: int) -> float | None:
    found = totals.returning[days]
    return ratio(found["returned"], found["visitors"])
