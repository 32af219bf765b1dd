"""CSV files: a header that names the columns, and rows of cells, of which a wrong one costs no other."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from eddyline.clients.lines import RefusedLine
from eddyline.clients.text_files import read_lines
from eddyline.errors import InvalidInput
from eddyline.model.unicode_text import is_unicode

CELL_CHARACTERS: Final = 1_000_000
"""Most of a cell of a CSV file: an item's picture may be in it. The library's own limit is an eighth of it."""
SEPARATORS: Final = ",;\t|"
_NAMED_SEPARATOR: Final = "sep="
"""What spreadsheets put before a header."""
NOT_UTF8: Final = "is not valid UTF-8: save the file as UTF-8"


class Row(NamedTuple):
    """A row's first line, counted from 1, and its cells by column, without those that are blank."""

    line: int
    cells: dict[str, str]


class CsvFile:
    """A file whose header is read. Raises `InvalidInput` where it has none, or lacks a column that is `needed`."""

    def __init__(self, file: Path, *needed: str) -> None:
        csv.field_size_limit(CELL_CHARACTERS)
        self.name = file.name
        self._lines = _RecordLines(read_lines(file))
        self.separator = self._find_separator()
        self._records = csv.reader(self._lines, delimiter=self.separator, strict=True)
        try:
            self.columns = [name.strip() for name in next(self._records, [])]
        except csv.Error as error:
            raise InvalidInput(f"{file.name} has no header that can be read: {error}", "path") from None
        self._lines.end_record()
        named = [name for name in self.columns if name]
        twice = sorted({name for name in named if named.count(name) > 1})
        if twice:
            raise InvalidInput(f"{file.name} has several columns {', '.join(twice)}", "path")
        missing = [name for name in needed if name not in self.columns]
        if missing:
            raise InvalidInput(f"{file.name} lacks the column {', '.join(missing)}", "path")

    def rows(self) -> Iterator[Row | RefusedLine]:
        """Read the rows, once. A quote that isn't closed costs its own line alone; blank rows are skipped."""
        while True:
            reason: str | None = None
            cells: list[str] = []
            try:
                cells = next(self._records)
            except StopIteration:
                return
            except csv.Error as error:
                reason = f"can't be read as CSV: {error}"
                self._lines.keep_first()
            line, text = self._lines.end_record()
            if reason is None and not any(cell.strip() for cell in cells):
                continue
            while len(cells) > len(self.columns) and not cells[-1].strip():
                cells.pop()
            if reason is None and len(cells) != len(self.columns):
                reason = f"has more or fewer cells than the header: {len(cells)}, not {len(self.columns)}"
            if not is_unicode(text):
                reason = NOT_UTF8
            if reason is not None:
                yield RefusedLine(self.name, line, None, reason, _printable(text))
                continue
            named = zip(self.columns, cells, strict=True)
            yield Row(line, {name: cell for name, cell in named if name and cell.strip()})

    def _find_separator(self) -> str:
        """Choose the separator that the first line has most of; a line `sep=;` says it."""
        try:
            first = self._lines.peek()
        except StopIteration:
            return SEPARATORS[0]
        named = first.rstrip("\r\n")
        if named.lower().startswith(_NAMED_SEPARATOR) and len(named) == len(_NAMED_SEPARATOR) + 1:
            self._lines.skip()
            return named[-1]
        outside_quotes = "".join(first.split('"')[::2])
        return max(SEPARATORS, key=outside_quotes.count)


class _RecordLines:
    """Feeds the CSV reader with lines, and knows which the record has that was read last."""

    def __init__(self, lines: Iterator[str]) -> None:
        self._lines, self._ahead, self._taken, self._passed = lines, list[str](), list[str](), 0

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._ahead.pop() if self._ahead else next(self._lines)
        self._taken.append(line)
        return line

    def peek(self) -> str:
        line = next(self._lines)
        self._ahead.append(line)
        return line

    def skip(self) -> None:
        self._ahead.pop()
        self._passed += 1

    def keep_first(self) -> None:
        """Give back all lines of the record but its first."""
        self._ahead.extend(reversed(self._taken[1:]))
        del self._taken[1:]

    def end_record(self) -> tuple[int, str]:
        """Return the number of the record's first line, and its text."""
        line, text = self._passed + 1, "".join(self._taken)
        self._passed += len(self._taken)
        self._taken.clear()
        return line, text


def _printable(text: str) -> str:
    return text.rstrip("\r\n").encode("utf-8", "replace").decode()
