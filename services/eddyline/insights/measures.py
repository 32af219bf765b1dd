"""Answers to what was served and what came of it: the measures, over a time and by groups."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from eddyline.errors import InvalidInput, Unavailable
from eddyline.insights.changelog_view import CellQuery, ChangelogView
from eddyline.insights.schemas import KpiQuery, parse_duration
from eddyline.model.events import format_timestamp, parse_timestamp_text
from eddyline.model.insights.judgement import fully_read_until
from eddyline.model.insights.kpis import (
    SKETCH_ERROR,
    CellTotals,
    Group,
    KpiScope,
    Label,
    add_to_total,
    compute_kpis,
    group_cells,
    window_start,
)
from eddyline.model.insights.rows import SECONDS, Size, retention_seconds
from eddyline.settings import InsightsSettings

USUAL_SPAN = "24h"
SUITS: Mapping[Size, float] = {"minute": 3 * 3600.0, "hour": 3 * 86_400.0, "day": math.inf}
"""The longest time (seconds) for which windows of a size are taken where none is asked for."""
MOST_ROWS = 5_000
"""Most groups in an answer."""
COUNTED = ("records", "late", "unreadable", "failed", "missed", "cut")


class Measures:
    """Answers about the measures. `caught_up`: whether the view has read what there was when it started; `catalogue`:
    how many items there are, and may raise `Unavailable`; `clock`: epoch seconds. Thread-safe."""

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
        self._settles = settings.attribution_hours * 3600 + settings.lateness_minutes * 60
        self._late = settings.lateness_minutes * 60

    def kpis(self, query: KpiQuery) -> dict[str, Any]:
        """The measures that are asked for. Raises `InvalidInput` where they aren't kept, or are too many."""
        now = self._clock()
        wanted = self._wanted(query, now)
        by = query.groups
        known_until, total = now - self._late, CellTotals()
        cells = add_to_total(self._view.cells(wanted), total, known_until)
        found = group_cells(cells, by, known_until, MOST_ROWS)
        dimensions = list(query.where)
        catalogue = self._known_catalogue()
        span = (wanted.start, wanted.end)
        scope = KpiScope.of([*dimensions, *by])
        return {
            "from": format_timestamp(wanted.start),
            "to": format_timestamp(wanted.end),
            "size": wanted.size,
            "by": list(by),
            "as_of": self.as_of,
            "complete": self._caught_up(),
            "sketch_error": round(SKETCH_ERROR, 4),
            "total": self._row(total, KpiScope.of(dimensions), span, now, catalogue),
            "rows": [
                _group_fields(by, label) | self._row(tally, scope, _group_span(by, label, wanted), now, catalogue)
                for label, tally in found.items()
                if by
            ],
            "progress": self._progress(),
        }

    @property
    def as_of(self) -> str | None:
        """When a row was last written."""
        return format_optional_timestamp(max((one.at for one in self._view.progress().values()), default=None))

    @property
    def complete(self) -> bool:
        """Whether the view has read what there was when it started."""
        return self._caught_up()

    def _wanted(self, query: KpiQuery, now: float) -> CellQuery:
        end = now if query.to is None else min(parse_timestamp_text(query.to), now + SECONDS["day"])
        start = (
            end - parse_duration(query.last or USUAL_SPAN) if query.from_ is None else parse_timestamp_text(query.from_)
        )
        if start >= end:
            raise InvalidInput(f"must be before the end, {format_timestamp(end)}", "from")
        size = query.size or self._suiting(end - start, start)
        first = window_start(start, size)
        if first < self._view.oldest(size):
            kept = _days(retention_seconds(self._settings)[size])
            earliest = format_timestamp(window_start(self._view.oldest(size), size) + SECONDS[size])
            raise InvalidInput(
                f"windows of {_article(size)} are kept for {kept}, from {earliest} on: ask for a later time"
                + ("" if size == "day" else ", or larger windows (size)"),
                "last" if query.from_ is None else "from",
            )
        last = math.ceil(end / SECONDS[size]) * SECONDS[size]
        return CellQuery(size, first, last, query.where)

    def _suiting(self, seconds: float, start: float) -> Size:
        """The smallest windows that suit a time and are kept for it; else the largest."""
        sizes = [size for size in SECONDS if seconds <= SUITS[size]]
        return next((size for size in sizes if window_start(start, size) >= self._view.oldest(size)), "day")

    def _row(
        self, tally: CellTotals, scope: KpiScope, span: tuple[float, float], now: float, catalogue: int | None
    ) -> dict[str, Any]:
        over = span[1]
        return {
            "is_open": over > now,
            "is_settled": over + self._settles <= now,
            **compute_kpis(tally, scope, catalogue).model_dump(),
        }

    def _known_catalogue(self) -> int | None:
        try:
            return self._catalogue()
        except Unavailable:
            return None

    def _progress(self) -> dict[str, Any]:
        told = self._view.progress().values()
        return {
            "partitions": len(told),
            "read_until": format_optional_timestamp(fully_read_until(told)),
            **{name: sum(one.counts.get(name, 0) for one in told) for name in COUNTED},
            "rows_unreadable": self._view.unreadable,
        }


def format_optional_timestamp(seconds: float | None) -> str | None:
    """RFC 3339, or None."""
    return None if seconds is None else format_timestamp(seconds)


def _group_fields(by: tuple[Group, ...], label: Label) -> dict[str, str]:
    return {
        group: format_timestamp(value) if isinstance(value, int) else value
        for group, value in zip(by, label, strict=True)
    }


def _group_span(by: tuple[Group, ...], label: Label, wanted: CellQuery) -> tuple[float, float]:
    """The time that a group is of."""
    for group, value in zip(by, label, strict=True):
        if group == "time":
            return float(value), float(value) + SECONDS[wanted.size]
    return wanted.start, wanted.end


def _article(size: Size) -> str:
    return "an hour" if size == "hour" else f"a {size}"


def _days(seconds: float) -> str:
    return f"{seconds / 86_400:g} days" if seconds >= 2 * 86_400 else f"{seconds / 3600:g} hours"
