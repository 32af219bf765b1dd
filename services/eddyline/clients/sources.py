"""Sources of items, users and events in files: what the HTTP API takes, with where each line came from for messages."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import orjson

from eddyline.clients import movielens
from eddyline.clients.columns import Columns
from eddyline.clients.csv_files import NOT_UTF8, CsvFile
from eddyline.clients.exports import AUTO, ExportFormat, export_format
from eddyline.clients.lines import Json, RefusedLine, SkippedLine, SourceLine
from eddyline.clients.text_files import PACKED, kind_of, read_lines
from eddyline.errors import InvalidInput
from eddyline.model.events import parse_timestamp
from eddyline.model.unicode_text import is_unicode
from eddyline.settings import EventSettings

TABLES, OBJECTS = (".csv", ".tsv"), (".jsonl", ".ndjson")
DOCUMENTS = (".xml", ".txt", ".json")
"""What only exports of other systems are in."""
_KINDS = "an event (type), an item (title) or a person (user_id)"
_Entries = Iterable[SourceLine | RefusedLine | SkippedLine]


@dataclass(frozen=True, slots=True)
class Source:
    """A source of items, users and events. Each call reads the files again, in the same order."""

    name: str
    fingerprint: str
    """Changes when the files do."""
    items: Callable[[], Iterator[SourceLine]]
    users: Callable[[], Iterator[SourceLine]]
    events: Callable[[], Iterator[SourceLine]]
    refused: Callable[[], Iterator[RefusedLine]]
    """What can't be read."""
    files: tuple[Path, ...]
    is_in_file_order: bool = True
    """Whether lines that are added to a file come after its others."""
    reading: str = ""
    """Changes when the same files are read otherwise."""
    skipped: Callable[[], Counter[str]] = Counter
    """How many lines each option leaves out, by what it says."""


def open_source(
    path: Path, columns: Columns = Columns(), form: str = AUTO, settings: EventSettings = EventSettings()
) -> Source:
    """Recognise a MovieLens folder (either layout), a folder of files of lines or rows, or one such file.

    `form`: one of `exports`, by default recognised; `settings`: what events of other systems mean. Raises
    `InvalidInput` saying what is there and what is needed.
    """
    if not path.exists():
        raise InvalidInput(f"{path} doesn't exist", "path")
    if path.is_dir() and (path / "movies.csv").exists() and (path / "ratings.csv").exists():
        return _movielens("MovieLens", path, "movies.csv", movielens.movies, "ratings.csv", movielens.ratings)
    if path.is_dir() and (path / "u.item").exists() and (path / "u.data").exists():
        return _movielens("MovieLens 100k", path, "u.item", movielens.movies_100k, "u.data", movielens.ratings_100k)
    known = TABLES + OBJECTS + DOCUMENTS
    files = sorted(f for f in path.iterdir() if kind_of(f) in known) if path.is_dir() else [path]
    formats = {file: export_format(form, file) for file in files if kind_of(file) in known}
    if path.is_dir():
        formats = {file: one for file, one in formats.items() if one is not None or kind_of(file) not in DOCUMENTS}
        files = list(formats)
    if not files or any(kind_of(f) not in known or (kind_of(f) in DOCUMENTS and formats[f] is None) for f in files):
        raise InvalidInput(
            f"{path} is neither a file of rows ({', '.join(TABLES)}) or JSON lines ({', '.join(OBJECTS)}), each also "
            f"with {' or '.join(PACKED)}, nor a folder of such, nor a MovieLens folder (movies.csv + ratings.csv, or "
            "u.item + u.data)",
            "path",
        )

    def lines(kind: str) -> Iterator[SourceLine]:
        return (
            one
            for one in _all_lines(formats, columns, settings)
            if isinstance(one, SourceLine) and _kind(one.value) == kind
        )

    return Source(
        str(path),
        _fingerprint(files),
        partial(lines, "item"),
        partial(lines, "user"),
        partial(lines, "event"),
        lambda: _refused(_all_lines(formats, columns, settings)),
        tuple(files),
        reading=columns.digest + ("" if form == AUTO else form),
        skipped=lambda: Counter(
            one.pattern for one in _all_lines(formats, columns, settings) if isinstance(one, SkippedLine)
        ),
    )


def _movielens(
    name: str,
    folder: Path,
    items: str,
    read_items: Callable[[Path], _Entries],
    ratings: str,
    read_ratings: Callable[[Path], _Entries],
) -> Source:
    def refused() -> Iterator[RefusedLine]:
        yield from _refused(read_items(folder))
        yield from _refused(read_ratings(folder / ratings))

    files = (folder / items, folder / ratings)
    return Source(
        f"{name} folder {folder}",
        _fingerprint(files),
        lambda: _readable(read_items(folder)),
        lambda: iter(()),
        lambda: _readable(read_ratings(folder / ratings)),
        refused,
        files,
        is_in_file_order=False,
    )


def _readable(entries: _Entries) -> Iterator[SourceLine]:
    return (one for one in entries if isinstance(one, SourceLine))


def _refused(entries: _Entries) -> Iterator[RefusedLine]:
    return (one for one in entries if isinstance(one, RefusedLine))


def _fingerprint(files: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.name.encode() + b"\0")
        with file.open("rb") as opened:
            digest.update(hashlib.file_digest(opened, "sha256").digest())
    return digest.hexdigest()[:32]


def _kind(value: Json) -> str | None:
    if "type" in value:
        return "event"
    if "title" in value:
        return "item"
    return "user" if "user_id" in value else None


def _all_lines(
    formats: Mapping[Path, ExportFormat | None], columns: Columns, settings: EventSettings
) -> Iterator[SourceLine | RefusedLine | SkippedLine]:
    for file, export in formats.items():
        try:
            if export is not None:
                yield from _rescaled(export.read(file, settings), columns)
                continue
            yield from _csv(file, columns) if kind_of(file) in TABLES else _jsonl(file, columns)
        except InvalidInput as error:
            yield RefusedLine(file.name, None, None, error.reason)


def _rescaled(entries: _Entries, columns: Columns) -> Iterator[SourceLine | RefusedLine | SkippedLine]:
    for entry in entries:
        if not isinstance(entry, SourceLine):
            yield entry
            continue
        try:
            yield SourceLine(entry.where, columns.rescaled(entry.value))
        except InvalidInput as error:
            yield RefusedLine.at(entry.where, error.field, error.reason, entry.value)


def _csv(file: Path, columns: Columns) -> Iterator[SourceLine | RefusedLine | SkippedLine]:
    table = CsvFile(file)
    names = [columns.our_name(name) for name in table.columns if name]
    if not {"type", "title", "user_id"} & {*names, *columns.constants}:
        raise InvalidInput(
            f"no column says that it holds {_KINDS}; there are {', '.join(map(repr, names[:20])) or 'none'}: "
            "name them with --map theirs=ours"
        )
    known_items: set[str] = set()
    for row in table.rows():
        if isinstance(row, RefusedLine):
            yield row
            continue
        where = f"{file.name}:{row.line}"
        yield from _line(where, row.cells, columns, known_items, decimal_comma=table.separator == ";")


def _jsonl(file: Path, columns: Columns) -> Iterator[SourceLine | RefusedLine | SkippedLine]:
    known_items: set[str] = set()
    for number, text in enumerate(read_lines(file), start=1):
        line = text.strip().removeprefix("\ufeff")
        if not line:
            continue
        if not is_unicode(line):
            yield RefusedLine(file.name, number, None, NOT_UTF8, line.encode("utf-8", "replace").decode())
            continue
        try:
            value = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            yield RefusedLine(file.name, number, None, f"is not valid JSON: {error}", line)
            continue
        if isinstance(value, dict):
            yield from _line(f"{file.name}:{number}", value, columns, known_items)
        else:
            yield RefusedLine(file.name, number, None, "is not a JSON object", value)


def _line(
    where: str, given: Json, columns: Columns, known_items: set[str], decimal_comma: bool = False
) -> Iterator[SourceLine | RefusedLine | SkippedLine]:
    """Yield what a line says. `known_items`: those that earlier lines, which are events, too, have described."""
    if columns.skipped and (pattern := columns.skips(given)) is not None:
        yield SkippedLine(pattern)
        return
    try:
        value = columns.rescaled(columns.value(given, decimal_comma))
    except InvalidInput as error:
        yield RefusedLine.at(where, error.field, error.reason, given)
        return
    if _kind(value) is None:
        yield RefusedLine.at(where, None, f"is neither {_KINDS}", given)
        return
    parts = columns.split(value)
    if len(parts) > 1:
        item_id = str(value["item_id"])
        parts = parts[1:] if item_id in known_items else parts
        known_items.add(item_id)
    yield from (SourceLine(where, part) for part in parts)


def latest_time(source: Source) -> float | None:
    """Find the time of the newest event, in epoch seconds; None where no event has one that can be read."""
    newest: float | None = None
    for line in source.events():
        try:
            at = parse_timestamp(line.value.get("timestamp"))
        except ValueError:
            continue
        newest = at if newest is None else max(newest, at)
    return newest
