"""What a simulation prints: a line while it runs, tables at its end."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table

from eddyline.cli.terminal_output import NONE, add_columns, print_line, titled_table
from eddyline.clients.simulator.simulation_report import GroupTotals, SimulationReport, percentile

MAX_RANKS = 10
COLUMNS = ("lists", "people", "seen", "clicks", "CTR", "a list", "dwell", "bought", "revenue", "liking")
NARROW = ("lists", "seen", "clicks", "CTR", "liking")
WIDE = 110
"""Columns of a terminal from which on the table has all of its own."""


def line(report: SimulationReport, elapsed: float) -> str:
    """Write the live line. `elapsed`: seconds since the command began."""
    clock = f"{int(elapsed) // 60}:{int(elapsed) % 60:02d}"
    if not report.lists:
        return f"{clock}  no list yet  {report.errors:,} errors"
    rate = report.lists / report.seconds if report.seconds else 0.0
    ctr = report.clicks / report.seen if report.seen else 0.0
    p95 = percentile(report.recent, 95) or 0.0
    return (
        f"{clock}  {report.lists:,} lists  {rate:,.1f}/s  {report.clicks:,} clicks  CTR {ctr:.1%}  "
        f"p95 {1000 * p95:,.0f} ms  {report.errors:,} errors"
    )


def show(report: SimulationReport, out: Console) -> None:
    """Print what people saw and did, by experiment, variant and strategy; by position; and how fast it was."""
    out.print(_results(report, out.width))
    out.print(_positions(report))
    for text in _lines(report):
        print_line(out, text)


def _results(report: SimulationReport, width: int) -> Table:
    table = titled_table("What people saw and did")
    table.pad_edge, table.padding = True, (0, 1, 0, 0)
    columns = [name for name in COLUMNS if width >= WIDE or name in NARROW]
    add_columns(table, "variant", "strategy", right=columns)
    for group in report.sorted_groups():
        figures = _figures(report.groups[group])
        name = group.variant if group.experiment is None else f"{group.experiment}/{group.variant}"
        table.add_row(name, group.strategy, *(figures[column] for column in columns))
    if len(report.groups) > 1:
        table.add_section()
        figures = _figures(report.total)
        table.add_row("all", "", *(figures[name] for name in columns))
    return table


def _figures(totals: GroupTotals) -> dict[str, str]:
    means = totals.as_json()
    values = (
        f"{totals.lists:,}",
        f"{len(totals.people):,}",
        f"{totals.seen:,}",
        f"{totals.clicks:,}",
        _or_dash(means["ctr"], "{:.2%}"),
        _or_dash(means["clicks_per_list"], "{:.2f}"),
        _or_dash(means["mean_dwell_seconds"], "{:.0f} s"),
        f"{totals.conversions:,}",
        f"{totals.revenue:,.2f}",
        _or_dash(means["liking_served"], "{:+.3f}"),
    )
    return dict(zip(COLUMNS, values, strict=True))


def _positions(report: SimulationReport) -> Table:
    ranks = sorted(report.shown_at)[:MAX_RANKS]
    table = titled_table("CTR by position")
    add_columns(table, right=[str(rank) for rank in ranks])
    table.add_row(*(f"{report.clicked_at[rank] / report.shown_at[rank]:.1%}" for rank in ranks))
    return table


def _lines(report: SimulationReport) -> list[str]:
    figures = report.as_json()
    took, people, errors = figures["latency_ms"], figures["people"], figures["errors"]
    lines = [
        f"{report.lists:,} lists in {report.seconds:,.1f} s, {figures['lists_per_second'] or 0:,.1f}/s; "
        f"answered in {took['p50']:.1f} ms (p50), {took['p95']:.1f} (p95), {took['p99']:.1f} (p99)",
        f"{sum(report.events.values()):,} events taken, {report.late:,} of them late",
        f"{people['visits']:,} visits in {people['simulated_hours']:,.0f} hours of the people's time: "
        f"{people['came']:,} came, {people['left']:,} left for good, {people['identified']:,} signed in, "
        f"{people['taste_changes']:,} tastes changed",
        f"{report.errors:,} errors: {errors['busy']:,} busy, {errors['unreachable']:,} unreachable, "
        f"{sum(report.failed.values()):,} failed, {sum(report.refused.values()):,} events refused",
    ]
    if report.new_items.items:
        lines.insert(2, _new_items(figures["new_items"]))
    for kind in ("failed", "refused"):
        lines += [f"  {kind} {count:,} times: {reason}" for reason, count in errors[kind].items()]
    return lines if not report.is_interrupted else [*lines, "interrupted"]


def _new_items(figures: dict[str, Any]) -> str:
    good = figures["good"]
    line = (
        f"{figures['published']:,} new items: {figures['clicks']:,} clicks on {figures['impressions']:,} seen; of "
        f"{good['published']:,} good ones, {good['reached']:,} reached {good['milestone']:,} clicks"
    )
    if good["median_lists"] is None:
        return line
    return (
        f"{line}, in {good['median_seconds']:,.0f} s (median), {good['median_lists']:,.0f} lists, seen "
        f"{good['median_showings']:,.0f} times"
    )


def _or_dash(value: float | None, written: str) -> str:
    return NONE if value is None else written.format(value)
