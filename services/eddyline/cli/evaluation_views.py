"""What an evaluation prints."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import groupby

from rich.console import Console

from eddyline.cli.terminal_output import NONE, add_columns, counted, titled_table
from eddyline.evaluation.interaction_log import InteractionLog
from eddyline.evaluation.metrics import METRICS, Estimate, SliceMetrics
from eddyline.evaluation.prequential import FEW_EVENTS, FIRST_EVENTS, EvaluationRun

TITLES = {
    "all": "All: people with enough events before",
    "positive": "Of these, events of positive weight",
    "new people": f"New people: the first {FIRST_EVENTS} events of a person",
    "new items": f"New items: fewer than {FEW_EVENTS} events before",
    "after a pause": "The first event after a pause of an hour",
    "first of its moment": "Events at another time than the person's one before",
    "first after the split": "Each person's first event after the split",
    "last of a person": "Each person's last event in the log (leave one out)",
    "repeats": "Repeats: of an item that the person had met",
    "shuffled": "All, in a log that is shuffled inside each visit",
}
NAMES = {
    "hr": "HR",
    "ndcg": "nDCG",
    "mrr": "MRR",
    "coverage": "coverage",
    "diversity": "diversity",
    "divergence": "divergence",
    "novelty": "novelty",
}
ROUNDING = 1e-9
"""What sums of the same values in another order may differ by."""
AT_K = ("hr", "ndcg", "mrr")
WIDE = 110
"""Columns that a table with all metrics takes; in narrower terminals there are those at k alone."""


def about(log: InteractionLog, share: float) -> Iterator[str]:
    """Describe the log, and what of it is left out."""
    requests = len(log.events) - log.position(1.0 - share)
    yield (
        f"{log.name}: {len(log.events):,} events of {len(log.people):,} people on {len(log.items):,} items; "
        f"recommending for the last {requests:,}"
    )
    for reason, count in log.left_out.items():
        yield f"left out: {counted(count, 'event')} {reason}"


def show(found: Sequence[SliceMetrics], k: int, console: Console) -> None:
    """Print a table for each slice: values with their intervals, and the differences to the first strategy."""
    metrics = METRICS if console.width >= WIDE else AT_K
    for name, group in groupby(found, key=lambda one: one.slice):
        strategies = list(group)
        requests, people = strategies[0].requests, strategies[0].people
        if requests == 0:
            console.print(f"{TITLES[name]}: no requests\n", highlight=False)
            continue
        table = titled_table(f"{TITLES[name]} ({requests:,} requests of {people:,} people)")
        headers = [f"{NAMES[metric]}@{k}" if metric in AT_K else NAMES[metric] for metric in metrics]
        add_columns(table, "strategy", right=headers)
        for one in strategies:
            table.add_row(one.strategy, *(_value(one.metrics[metric], metric) for metric in metrics))
            if one.differences is not None:
                table.add_row(
                    f"[dim]  - {strategies[0].strategy}[/]",
                    *(_difference(one.differences[metric], metric) for metric in metrics),
                )
        console.print(table)
        console.print()
    first = found[0].strategy
    console.print(
        f"±: half of the 95 % interval, by resampling people. “- {first}”: the difference to {first} on the same "
        "requests; * where its interval excludes 0.",
        highlight=False,
    )
    if metrics != METRICS:
        console.print(
            "A wider terminal, or metrics.csv, has coverage, diversity, divergence and novelty too.", highlight=False
        )


def speed(answered: EvaluationRun, seconds: float) -> Iterator[str]:
    """Describe how fast it went."""
    took, count = sum(answered.seconds.values()), len(answered.event)
    lists = count * len(answered.seconds)
    each = ", ".join(f"{name} {1000 * spent / count:.2f} ms" for name, spent in answered.seconds.items())
    yield f"{lists / took:,.0f} requests/s ({each}; shared searches are the first one's), {seconds:.0f} s in all"


def _value(estimate: Estimate, metric: str) -> str:
    if math.isnan(estimate.value):
        return NONE
    digits = _digits(metric)
    return f"{_plain(estimate.value, digits)} [dim]±{_plain(_half(estimate), digits)}[/]"


def _difference(estimate: Estimate, metric: str) -> str:
    if math.isnan(estimate.value):
        return NONE
    digits = _digits(metric)
    sure = estimate.low > ROUNDING or estimate.high < -ROUNDING
    colour = "dim" if not sure else "green" if estimate.value > 0 else "red"
    value, half = _plain(estimate.value, digits, sign=True), _plain(_half(estimate), digits)
    return f"[{colour}]{value} ±{half}[/]{'*' if sure else ' '}"


def _half(estimate: Estimate) -> float:
    return (estimate.high - estimate.low) / 2


def _digits(metric: str) -> int:
    return 2 if metric == "novelty" else 3


def _plain(value: float, digits: int, sign: bool = False) -> str:
    """Write a number without the zero before the point, as in tables of shares."""
    text = f"{value:+.{digits}f}" if sign else f"{value:.{digits}f}"
    return text.replace("0.", ".", 1) if abs(value) < 1 else text
