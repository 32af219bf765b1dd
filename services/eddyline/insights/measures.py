"""Answers the question what was served and what came of it: the measures, over a time and by groups."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from eddyline.errors import InvalidInput, Unavailable
from eddyline.insights.changelog_view import CellQuery, ChangelogView
from eddyline.insights.guardrails import fully_read_until
from eddyline.insights.kpis import (
    SKETCH_ERROR,
    CellTotals,
    Group,
    Label,
    add_to_total,
    compute_kpis,
    group_cells,
)
from eddyline.insights.retention import retention_seconds
from eddyline.insights.rows import SECONDS, Size, window_start
from eddyline.insights.schemas import KpiQuery, KpiReport, KpiRow, MeasuringProgress
from eddyline.model.events import format_timestamp, parse_duration, parse_timestamp_text
from eddyline.settings import InsightsSettings

USUAL_SPAN = "24h"
MAX_SPANS: Mapping[Size, float] = {"minute": 3 * 3600.0, "hour": 3 * 86_400.0, "day": math.inf}
"""The longest time (seconds) for which windows of a size are chosen."""
MAX_ROWS = 5_000
"""Groups in a report, at most."""
COUNTED = ("records", "late", "unreadable", "failed", "missed", "cut")


class Measures:
    """Reports the measures. `caught_up`: whether the view has read what there was when it started; `catalogue`: how
    many items there are, and may raise `Unavailable`; `clock`: epoch seconds. Thread-safe."""

    def __init__(
        self,
        view: ChangelogView,
        settings: InsightsSettings,
        caught_up: Callable[[], bool],
        catalogue: Callable[[], int | None],
        clock: Callable[[], float],
    ) -> None:
        self._view, self._settings = view, settings
        self._caught_up, self._catalogue, self._clock = caught_up, catalogue, clock
        self._late = settings.lateness_minutes * 60
        self._settles = settings.attribution_hours * 3600 + self._late

    def kpis(self, query: KpiQuery) -> KpiReport:
        """Report the measures. Raises `InvalidInput` where they aren't kept, or are too many."""
        now = self._clock()
        selected = self._select(query, now)
        by = query.groups
        known_until, total = now - self._late, CellTotals()
        cells = add_to_total(self._view.cells(selected), total, known_until)
        groups = group_cells(cells, by, known_until, MAX_ROWS)
        catalogue = self._catalogue_size()

        def row(totals: CellTotals, by: Sequence[str], end: float, names: Mapping[str, str]) -> KpiRow:
            measured = dict(compute_kpis(totals, [*query.where, *by], catalogue))
            return KpiRow(**names, **measured, is_open=end > now, is_settled=end + self._settles <= now)

        return KpiReport(
            from_=format_timestamp(selected.start),
            to=format_timestamp(selected.end),
            size=selected.size,
            by=list(by),
            as_of=self.as_of,
            complete=self.complete,
            sketch_error=round(SKETCH_ERROR, 4),
            total=row(total, (), selected.end, {}),
            rows=[
                row(totals, by, _group_end(by, label, selected), _group_names(by, label))
                for label, totals in groups.items()
                if by
            ],
            progress=self._progress(),
        )

    @property
    def as_of(self) -> str | None:
        """When a row was last written."""
        return format_optional_timestamp(max((one.at for one in self._view.progress().values()), default=None))

    @property
    def complete(self) -> bool:
        """Whether the view has read what there was when it started."""
        return self._caught_up()

    def _select(self, query: KpiQuery, now: float) -> CellQuery:
        end = now if query.to is None else min(parse_timestamp_text(query.to), now + SECONDS["day"])
        start = (
            end - parse_duration(query.last or USUAL_SPAN) if query.from_ is None else parse_timestamp_text(query.from_)
        )
        if start >= end:
            raise InvalidInput(f"must be before the end, {format_timestamp(end)}", "from")
        size = query.size or self._choose_size(end - start, start)
        first = window_start(start, size)
        if first < self._view.oldest(size):
            kept = _days(retention_seconds(size, self._settings))
            earliest = format_timestamp(window_start(self._view.oldest(size), size) + SECONDS[size])
            raise InvalidInput(
                f"windows of {_article(size)} are kept for {kept}, from {earliest} on: ask for a later time"
                + ("" if size == "day" else ", or larger windows (size)"),
                "last" if query.from_ is None else "from",
            )
        last = math.ceil(end / SECONDS[size]) * SECONDS[size]
        return CellQuery(size, first, last, query.where)

    def _choose_size(self, seconds: float, start: float) -> Size:
        """The smallest windows that suit a span and are kept for it; else the largest."""
        sizes = [size for size in SECONDS if seconds <= MAX_SPANS[size]]
        return next((size for size in sizes if window_start(start, size) >= self._view.oldest(size)), "day")

    def _catalogue_size(self) -> int | None:
        try:
            return self._catalogue()
        except Unavailable:
            return None

    def _progress(self) -> MeasuringProgress:
        partitions = self._view.progress().values()
        return MeasuringProgress(
            partitions=len(partitions),
            read_until=format_optional_timestamp(fully_read_until(partitions)),
            rows_unreadable=self._view.unreadable,
            **{name: sum(partition.counts.get(name, 0) for partition in partitions) for name in COUNTED},
        )


def format_optional_timestamp(seconds: float | None) -> str | None:
    """Format epoch seconds as RFC 3339; None stays None."""
    return None if seconds is None else format_timestamp(seconds)


def _group_names(by: tuple[Group, ...], label: Label) -> dict[str, str]:
    return {
        group: format_timestamp(value) if isinstance(value, int) else value
        for group, value in zip(by, label, strict=True)
    }


def _group_end(by: tuple[Group, ...], label: Label, selected: CellQuery) -> float:
    """The end of the time that a group is of."""
    if "time" in by:
        return float(label[by.index("time")]) + SECONDS[selected.size]
    return selected.end


def _article(size: Size) -> str:
    return "an hour" if size == "hour" else f"a {size}"


def _days(seconds: float) -> str:
    return f"{seconds / 86_400:g} days" if seconds >= 2 * 86_400 else f"{seconds / 3600:g} hours"
