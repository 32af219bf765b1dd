"""What `eddyline insights` prints."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape

from eddyline.cli.terminal_output import NONE, add_columns, counted, print_line, titled_table

if TYPE_CHECKING:
    from eddyline.insights.statistics import SampleSizePlan

RISES = "*"
COLUMNS = {
    "requests": "lists",
    "impressions": "seen",
    "clicks": "clicks",
    "ctr": "CTR",
    "dwell_ms": "dwell",
    "conversions": "conv.",
    "revenue": "revenue",
    "people": "people",
    "empty_share": "empty",
    "latency_p95": "p95 ms",
}
"""The measures of the table, and how their columns are called."""
FACTS = {
    "coverage": "coverage",
    "new_share": "new items",
    "degraded_share": "degraded",
    "returned_1": "back the next day",
    "returned_7": "back on the seventh",
    "conversion_rate": "conversions a click",
}
WRONG = {
    "late": "came too late",
    "unreadable": "could not be read",
    "failed": "could not be measured",
    "missed": "had been dropped by the log",
    "cut": "exceeded what is kept of a person",
}
PARTS = ("weights", "shipped")
"""Of a learned strategy: what it weighs by now, and what it began with."""


def show_kpis(answer: Mapping[str, Any], console: Console) -> None:
    """Print the measures: a row for each group, and all together."""
    groups, article = list(answer["by"]), "an" if answer["size"] == "hour" else "a"
    title = f"{_minute(answer['from'])} to {_minute(answer['to'])} UTC, in windows of {article} {answer['size']}"
    table = titled_table(title)
    add_columns(table, *(groups or [""]), right=tuple(COLUMNS.values()))
    for row in answer["rows"]:
        table.add_row(*(_group(row, name) for name in groups), *_measures(row))
    names = ["all", *[""] * (len(groups) - 1)]
    table.add_row(*names, *_measures(answer["total"]), style="bold")
    console.print(table)
    facts = [
        f"{words} {_share(answer['total'][name])}" for name, words in FACTS.items() if answer["total"][name] is not None
    ]
    if facts:
        console.print(f"In all: {', '.join(facts)}.", highlight=False)
    if not answer["total"]["is_settled"]:
        console.print(f"{RISES} clicks may still come in for the newest lists.", highlight=False, style="dim")
    for line in _warnings(answer):
        console.print(escape(line), style="yellow", highlight=False)
    console.print()


def show_learning(strategies: Iterable[Mapping[str, Any]], console: Console) -> None:
    """Print what learned strategies have learnt, where they have."""
    for one in strategies:
        if not one.get("choices"):
            continue
        title = (
            f"{one['name']}: learnt from {one['choices']:,} choices; loss {one['loss']:.3f} nats a choice of late, "
            f"{one['shipped_loss']:.3f} by the shipped weights"
        )
        table = titled_table(title)
        add_columns(table, "term", right=("running visit", "shipped", "first list", "shipped"))
        for term in one["shipped"]["running"]:
            cells = (one[part][visit].get(term, 0.0) for visit in ("running", "first_list") for part in PARTS)
            table.add_row(term, *(f"{weight:.2f}" for weight in cells))
        console.print(table)
        console.print()


def show_experiment(answer: Mapping[str, Any], console: Console) -> None:
    """Print an experiment: its variants, what they show, and what should be known."""
    metric = answer["metric"]
    head = f"{answer['name']}: {answer['state']}, revision {answer['revision'] or NONE}, {answer['people']:,} people"
    if answer["planned_people"] is not None:
        head += f" of {answer['planned_people']:,} planned"
    table = titled_table(head)
    add_columns(table, "variant", right=("people", metric, f"{metric} against control", "between", "p"))
    for one in answer["reports"]:
        stopped = " (stopped)" if one["state"] == "stopped" else ""
        effect = (one["effects"] or {}).get(metric)
        table.add_row(
            escape(one["name"]) + stopped,
            f"{one['people']:,}",
            _value(one["values"][metric], metric),
            *_effect(effect),
        )
    console.print(table)
    for one in answer["reports"]:
        if one["sentence"]:
            print_line(console, f"{one['sentence'][0].upper()}{one['sentence'][1:]}.")
        for guardrail in one["guardrails"]:
            print_line(console, f"  {_guardrail(one['name'], guardrail)}")
    split = answer["sample_ratio"]
    if split is not None and split["is_mismatch"]:
        seen = ", ".join(
            f"{name} {count:,} (of {split['expected'][name]:,.0f})" for name, count in split["seen"].items()
        )
        console.print(escape(f"SAMPLE RATIO MISMATCH (p = {split['p_value']:.2g}): {seen}"), style="bold red")
    for note in answer["notes"]:
        console.print(escape(f"Note: {note}."), style="yellow", highlight=False, soft_wrap=True)
    console.print()


def show_plan(plan: SampleSizePlan, a_day: float | None, console: Console) -> None:
    """Print how many people an experiment takes."""
    print_line(
        console,
        f"{plan.people:,} people ({plan.each:,} in each of {plan.variants} variants) find a lift of "
        f"{plan.lift:+.1%} on a {plan.metric} of {plan.baseline:g} with a probability of {plan.power:.0%}, however "
        f"often one looks; without any, at most {plan.alpha:.0%} of experiments say that there is one.",
    )
    print_line(console, f"A test that may be looked at only once takes {plan.fixed:,} in each.")
    if a_day is not None:
        days = math.ceil(plan.people / a_day)
        print_line(console, f"At {a_day:,.0f} new people a day: {counted(days, 'day')}.")
    for assumption in plan.assumptions:
        print_line(console, f"  assumed: {assumption}")
    print_line(console, f"In the experiments file: planned_people = {plan.people}")


def _warnings(answer: Mapping[str, Any]) -> Iterable[str]:
    if not answer["complete"]:
        yield "The rows are still being read: numbers are too low until that is done."
    if answer["as_of"] is None:
        yield "Nothing was measured yet: is the insights service running, and does the reader serve lists?"
        return
    wrong = [f"{answer['progress'][name]:,} {words}" for name, words in WRONG.items() if answer["progress"][name]]
    if wrong:
        yield f"Not measured, since the beginning: {', '.join(wrong)}."


def _group(row: Mapping[str, Any], name: str) -> str:
    value = row[name]
    return _minute(value) if name == "time" else escape(value) if value else NONE


def _measures(row: Mapping[str, Any]) -> Iterable[str]:
    for name in COLUMNS:
        value = row[name]
        rises = RISES if name == "ctr" and value is not None and not row["is_settled"] else ""
        yield NONE if value is None else _measure(name, value) + rises


def _measure(name: str, value: float) -> str:
    if name in ("ctr", "empty_share"):
        return _share(value)
    if name == "dwell_ms":
        return f"{value / 1000:,.1f} s"
    if name == "revenue":
        return f"{value:,.2f}"
    return f"{value:,.1f}" if name == "latency_p95" else f"{round(value):,}"


def _value(value: float | None, metric: str) -> str:
    if value is None:
        return NONE
    if metric == "ctr":
        return _share(value)
    return f"{value / 1000:,.2f} s" if metric == "dwell" else f"{value:,.4g}"


def _effect(effect: Mapping[str, Any] | None) -> tuple[str, str, str]:
    if effect is None:
        return NONE, NONE, NONE
    colour = "dim" if not effect["is_decided"] else "green" if effect["absolute"] > 0 else "red"
    relative = NONE if effect["relative"] is None else f"[{colour}]{effect['relative']:+.1%}[/]"
    low, high = effect["low"], effect["high"]
    between = NONE if low is None and high is None else f"{_bound(low)} … {_bound(high)}"
    return relative, between, f"{effect['p_value']:.3g}"


def _bound(value: float | None) -> str:
    return "?" if value is None else f"{value:+.1%}"


def _guardrail(variant: str, one: Mapping[str, Any]) -> str:
    bound = f"at least {one['min']:g}" if one["min"] is not None else f"at most {one['max']:g}"
    if one["value"] is None:
        seen = f"{one['lists']:,} of {one['least']:,} lists"
    else:
        seen = f"{one['value']:.4g} in {one['lists']:,} lists" if one["state"] != "stopped" else f"{one['value']:.4g}"
    return f"guardrail of {variant}: {one['metric']} {bound}: {one['state']} ({seen})"


def _share(value: float) -> str:
    return f"{value:.2%}"


def _minute(text: str) -> str:
    return f"{text[:10]} {text[11:16]}"
