"""The files of an evaluation's results: metrics.csv, requests.csv, run.json."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from eddyline.evaluation.interaction_log import InteractionLog
from eddyline.evaluation.metrics import METRICS, Estimate, SliceMetrics
from eddyline.evaluation.prequential import EvaluationRun
from eddyline.evaluation.stored_evaluation import METRIC_COLUMNS
from eddyline.model.events import format_timestamp

DIGITS = 6

REQUEST_COLUMNS = ("log", "event_id", "person", "time", "item_id", "slices", "strategy", "rank", "recommended")


def write_metrics(file: Path, found: Iterable[SliceMetrics], k: int) -> None:
    """Write a line for each slice, strategy and metric; what couldn't be measured is empty."""
    _write(file, METRIC_COLUMNS, (row for one in found for row in _metric_rows(one, k)))


def write_requests(file: Path, runs: Mapping[str, tuple[InteractionLog, EvaluationRun]]) -> None:
    """Write a line for each request and strategy; `runs` by the name of their log (`as it was`, `shuffled`)."""
    _write(file, REQUEST_COLUMNS, (row for name, run in runs.items() for row in _request_rows(name, *run)))


def write_run(file: Path, facts: Mapping[str, Any]) -> None:
    """Write what the figures depend on, as JSON."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(orjson.dumps(facts, option=orjson.OPT_INDENT_2 | orjson.OPT_SERIALIZE_NUMPY) + b"\n")


def _metric_rows(one: SliceMetrics, k: int) -> Iterator[tuple[object, ...]]:
    for metric in METRICS:
        difference = None if one.differences is None else one.differences[metric]
        yield (
            *(one.slice, one.strategy, one.requests, one.people, metric, k),
            *_cells(one.metrics[metric]),
            *(("", "", "") if difference is None else _cells(difference)),
        )


def _cells(estimate: Estimate) -> tuple[object, ...]:
    values = (estimate.value, estimate.low, estimate.high)
    return tuple("" if math.isnan(value) else round(value, DIGITS) for value in values)


def _request_rows(name: str, log: InteractionLog, answered: EvaluationRun) -> Iterator[tuple[object, ...]]:
    for row, place in enumerate(answered.event.tolist()):
        event = log.events[place]
        slices = " | ".join(slice_ for slice_, mask in answered.slices.items() if mask[row])
        about = (name, event.event_id, log.people[event.person].key, format_timestamp(event.time))
        for strategy, lists in answered.lists.items():
            listed = [log.items[item].item_id for item in lists.items[row].tolist() if item >= 0]
            rank = int(lists.rank[row])
            yield (
                *about,
                log.items[event.item].item_id,
                slices,
                strategy,
                rank or "",
                orjson.dumps(listed).decode(),
            )


def _write(file: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w", encoding="utf-8", newline="") as opened:
        writer = csv.writer(opened, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)
