"""CSV files: a header that names the fields, and cells that become the values of the HTTP API."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from eddyline.errors import InvalidInput

LISTS = {"tags", "interests", "goals"}
NUMBERS = {"price", "value", "dwell_ms"}
RATING = {"rating.value", "rating.scale", "rating.least", "rating.count"}
"""Columns that make an item's rating."""
TIMES = {"timestamp", "published_at", "expires_at"}
BOOLEANS = {"available": {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}}
CELL_CHARACTERS = 1_000_000
"""Most of a cell of a CSV file: an item's picture may be in it. The library's own limit is an eighth of it."""


def read_csv(file: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Read a file: each row's place, e.g. items.csv:17, and its fields, which the header names.

    Empty cells are left out; `a|b` is a list in tags, interests and goals; the columns `rating.value`, `.count`,
    `.scale` and `.least` make one field. Raises `InvalidInput` naming the line.
    """
    for line, row in rows_of(file):
        where = f"{file.name}:{line}"
        cells = {name: _cell(where, name, text) for name, text in row.items() if text}
        rating = {name.removeprefix("rating."): cells.pop(name) for name in sorted(RATING & cells.keys())}
        yield where, cells | ({"rating": rating} if rating else {})


def _cell(where: str, name: str, text: str) -> Any:
    if name in LISTS:
        return [part.strip() for part in text.split("|") if part.strip()]
    if name in BOOLEANS:
        if text.lower() not in BOOLEANS[name]:
            raise InvalidInput(f"{where}: {text!r} is neither true nor false", name)
        return BOOLEANS[name][text.lower()]
    if name == "rating.count":
        return parse_whole_number(where, name, text)
    if name in NUMBERS | RATING or (name in TIMES and _is_number(text)):
        return parse_number(where, name, text)
    return text


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def parse_number(where: str, name: str, text: str) -> float:
    """Parse a finite number. Raises `InvalidInput` naming the place."""
    value = float(text) if _is_number(text) else math.nan
    if not math.isfinite(value):
        raise InvalidInput(f"{where}: {text!r} is not a number", name)
    return value


def parse_whole_number(where: str, name: str, text: str) -> int:
    """Parse a whole number. Raises `InvalidInput` naming the place."""
    try:
        return int(text)
    except ValueError:
        raise InvalidInput(f"{where}: {text!r} is not a whole number", name) from None


def rows_of(file: Path, *needed: str) -> Iterator[tuple[int, dict[str, str]]]:
    """Read rows of cells by column, each with its line's number. Raises `InvalidInput`, also for a missing column."""
    csv.field_size_limit(CELL_CHARACTERS)
    try:
        with file.open(encoding="utf-8-sig", newline="") as opened:
            reader = csv.DictReader(opened, strict=True)
            missing = [name for name in needed if name not in (reader.fieldnames or ())]
            if missing:
                raise InvalidInput(f"{file.name} lacks the column {', '.join(missing)}", "path")
            for row in reader:
                if None in row or None in row.values():
                    raise InvalidInput(f"{file.name}:{reader.line_num} has more or fewer cells than the header", "path")
                yield reader.line_num, row
    except (UnicodeDecodeError, csv.Error) as error:
        raise InvalidInput(f"{file.name} can't be read as CSV in UTF-8: {error}", "path") from None
