"""The last evaluation, as its files have it: read strictly, since somebody may have written into them."""

from __future__ import annotations

import csv
import math
from io import StringIO
from pathlib import Path
from typing import Any, Final

import orjson

from eddyline.errors import Misconfigured

METRICS_FILE, RUN_FILE = "metrics.csv", "run.json"
METRIC_COLUMNS = (
    "slice",
    "strategy",
    "requests",
    "people",
    "metric",
    "k",
    "value",
    "low",
    "high",
    "difference",
    "difference_low",
    "difference_high",
)
_COUNTS, _TEXTS = ("requests", "people", "k"), ("slice", "strategy", "metric")
MAX_BYTES: Final = 4_000_000
MAX_TEXT: Final = 200


def read_evaluation(folder: Path) -> dict[str, Any] | None:
    """Read what `eddyline evaluate --output` wrote into a folder: `rows` of its metrics, None where a cell is empty,
    and `run`, what they depend on. None where there is no evaluation.

    Raises `Misconfigured` naming the file and line that isn't as it was written.
    """
    metrics = _read(folder / METRICS_FILE)
    if metrics is None:
        return None
    run = _read(folder / RUN_FILE)
    facts = {} if run is None else _facts(folder / RUN_FILE, run)
    return {"rows": _rows(folder / METRICS_FILE, metrics), "run": facts}


def _read(file: Path) -> str | None:
    try:
        if file.stat().st_size > MAX_BYTES:
            raise Misconfigured(f"{file} is larger than an evaluation's: run eddyline evaluate --output again")
        return file.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise Misconfigured(f"{file} can't be read: {error}") from None


def _facts(file: Path, text: str) -> dict[str, Any]:
    try:
        facts = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise Misconfigured(f"{file} is not JSON: {error}") from None
    if not isinstance(facts, dict):
        raise Misconfigured(f"{file} is no JSON object")
    return facts


def _rows(file: Path, text: str) -> list[dict[str, Any]]:
    lines = csv.reader(StringIO(text, newline=""))
    try:
        header = tuple(next(lines, []))
        if header != METRIC_COLUMNS:
            raise ValueError("has other columns than this version writes: run eddyline evaluate --output again")
        return [_row(line) for line in lines]
    except (ValueError, csv.Error) as error:
        raise Misconfigured(f"{file}, line {lines.line_num}: {error}") from None


def _row(line: list[str]) -> dict[str, Any]:
    if len(line) != len(METRIC_COLUMNS):
        raise ValueError(f"has {len(line)} cells instead of {len(METRIC_COLUMNS)}")
    return {name: _cell(name, cell) for name, cell in zip(METRIC_COLUMNS, line, strict=True)}


def _cell(name: str, cell: str) -> str | int | float | None:
    if name in _TEXTS:
        return cell[:MAX_TEXT]
    if name in _COUNTS:
        return int(cell)
    value = float(cell) if cell else None
    if value is not None and not math.isfinite(value):
        raise ValueError(f"{name} is {cell!r}, no finite number")
    return value
