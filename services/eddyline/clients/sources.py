"""Sources of items, users and events in files: what the HTTP API takes, with where each line came from for messages."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import starmap
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import orjson

from eddyline.clients import movielens
from eddyline.clients.csv_files import read_csv
from eddyline.errors import InvalidInput
from eddyline.model.events import parse_timestamp

Json: TypeAlias = dict[str, Any]


class SourceLine(NamedTuple):
    """A value to import and where it stands, e.g. ratings.csv:17."""

    where: str
    value: Json


@dataclass(frozen=True, slots=True)
class Source:
    """A source of items, users and events. Each call reads the files again, in the same order."""

    name: str
    fingerprint: str
    """Changes when the files do."""
    items: Callable[[], Iterator[SourceLine]]
    users: Callable[[], Iterator[SourceLine]]
    events: Callable[[], Iterator[SourceLine]]


def open_source(path: Path) -> Source:
    """Recognise a MovieLens folder (either layout), a folder of .jsonl and .csv files, or one such file.

    Raises `InvalidInput` saying what is there and what is needed.
    """
    if not path.exists():
        raise InvalidInput(f"{path} doesn't exist", "path")
    if path.is_dir() and (path / "movies.csv").exists() and (path / "ratings.csv").exists():
        return _movielens("MovieLens", path, "movies.csv", movielens.movies, "ratings.csv", movielens.ratings)
    if path.is_dir() and (path / "u.item").exists() and (path / "u.data").exists():
        return _movielens("MovieLens 100k", path, "u.item", movielens.movies_100k, "u.data", movielens.ratings_100k)
    files = sorted(f for f in path.iterdir() if f.suffix in (".jsonl", ".csv")) if path.is_dir() else [path]
    if not files or any(file.suffix not in (".jsonl", ".csv") for file in files):
        raise InvalidInput(
            f"{path} is neither a .jsonl or .csv file, nor a folder of such, nor a MovieLens folder "
            "(movies.csv + ratings.csv, or u.item + u.data)",
            "path",
        )

    def lines(kind: str) -> Iterator[SourceLine]:
        return (line for line in _lines(files) if _kind(line) == kind)

    return Source(str(path), _fingerprint(files), lambda: lines("item"), lambda: lines("user"), lambda: lines("event"))


def _movielens(
    name: str,
    folder: Path,
    items: str,
    read_items: Callable[[Path], Iterable[tuple[str, Json]]],
    ratings: str,
    read_ratings: Callable[[Path], Iterable[tuple[str, Json]]],
) -> Source:
    return Source(
        f"{name} folder {folder}",
        _fingerprint([folder / items, folder / ratings]),
        lambda: starmap(SourceLine, read_items(folder)),
        lambda: iter(()),
        lambda: starmap(SourceLine, read_ratings(folder / ratings)),
    )


def _fingerprint(files: list[Path]) -> str:
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.name.encode() + b"\0")
        with file.open("rb") as opened:
            digest.update(hashlib.file_digest(opened, "sha256").digest())
    return digest.hexdigest()[:32]


def _kind(line: SourceLine) -> str:
    if "type" in line.value:
        return "event"
    if "title" in line.value:
        return "item"
    if "user_id" in line.value:
        return "user"
    raise InvalidInput(f"{line.where} is no event (type), no item (title) and no user (user_id)", "type")


def _lines(files: list[Path]) -> Iterator[SourceLine]:
    for file in files:
        yield from _jsonl(file) if file.suffix == ".jsonl" else starmap(SourceLine, read_csv(file))


def _jsonl(file: Path) -> Iterator[SourceLine]:
    with file.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            where = f"{file.name}:{number}"
            try:
                value = orjson.loads(line)
            except orjson.JSONDecodeError as error:
                raise InvalidInput(f"{where} is not valid JSON: {error}", "path") from None
            if not isinstance(value, dict):
                raise InvalidInput(f"{where} is not a JSON object", "path")
            yield SourceLine(where, value)


def latest_time(source: Source) -> float | None:
    """Find the time of the newest event, in epoch seconds; None where no event has one."""
    newest: float | None = None
    for line in source.events():
        if "timestamp" in line.value:
            try:
                at = parse_timestamp(line.value["timestamp"])
            except ValueError as error:
                raise InvalidInput(f"{line.where}: {error}", "timestamp") from None
            newest = at if newest is None else max(newest, at)
    return newest
