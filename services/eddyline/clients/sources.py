"""Readers of files: each yields what the HTTP API takes, with where it came from for error messages."""

from __future__ import annotations

import csv
import hashlib
import math
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import orjson

from eddyline.errors import InvalidInput
from eddyline.model.events import parse_timestamp

Json: TypeAlias = dict[str, Any]
LISTS = {"tags", "interests", "goals"}
NUMBERS = {"price", "value", "dwell_ms"}
RATING = {"rating.value", "rating.scale", "rating.least", "rating.count"}
"""Columns that make an item's rating."""
BOOLEANS = {"available": {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}}
USER_TAGS = 5
CELL_CHARACTERS = 1_000_000
"""Most of a cell of a CSV file: an item's picture may be in it. The library's own limit is an eighth of it."""
_YEAR = re.compile(r"\s*\((\d{4})\)\s*$")


class SourceLine(NamedTuple):
    """A value to import and where it stands, e.g. ratings.csv:17."""

    where: str
    value: Json


@dataclass(frozen=True, slots=True)
class Source:
    """A source of items, users and events. Each call reads the files anew, in the same order."""

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
        files = [path / "movies.csv", path / "ratings.csv"]
        items, events = (lambda: _movies(path)), (lambda: _ratings(path / "ratings.csv"))
        return Source(f"MovieLens folder {path}", _fingerprint(files), items, lambda: iter(()), events)
    if path.is_dir() and (path / "u.item").exists() and (path / "u.data").exists():
        files = [path / "u.item", path / "u.data"]
        items, events = (lambda: _movies_100k(path)), (lambda: _ratings_100k(path / "u.data"))
        return Source(f"MovieLens 100k folder {path}", _fingerprint(files), items, lambda: iter(()), events)
    files = sorted(f for f in path.iterdir() if f.suffix in (".jsonl", ".csv")) if path.is_dir() else [path]
    if not files or any(file.suffix not in (".jsonl", ".csv") for file in files):
        raise InvalidInput(
            f"{path} is neither a .jsonl or .csv file, nor a folder of such, nor a MovieLens folder "
            "(movies.csv + ratings.csv, or u.item + u.data)",
            "path",
        )
    return Source(
        str(path),
        _fingerprint(files),
        lambda: (line for line in _lines(files) if _kind(line) == "item"),
        lambda: (line for line in _lines(files) if _kind(line) == "user"),
        lambda: (line for line in _lines(files) if _kind(line) == "event"),
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
        yield from _jsonl(file) if file.suffix == ".jsonl" else _csv(file)


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


def _csv(file: Path) -> Iterator[SourceLine]:
    """The header names the fields; empty cells are left out; `a|b` is a list in tags, interests and goals.

    The columns `rating.value`, `.count`, `.scale` and `.least` make one field."""
    for number, row in _rows(file, ()):
        where = f"{file.name}:{number}"
        cells = {name: _cell(where, name, text) for name, text in row.items() if text}
        rating = {name.removeprefix("rating."): cells.pop(name) for name in sorted(RATING & cells.keys())}
        yield SourceLine(where, cells | ({"rating": rating} if rating else {}))


def _cell(where: str, name: str, text: str) -> Any:
    if name in LISTS:
        return [part.strip() for part in text.split("|") if part.strip()]
    if name in BOOLEANS:
        if text.lower() not in BOOLEANS[name]:
            raise InvalidInput(f"{where}: {text!r} is neither true nor false", name)
        return BOOLEANS[name][text.lower()]
    if name == "rating.count":
        return _whole(where, name, text)
    if name in NUMBERS | RATING or (name in ("timestamp", "published_at", "expires_at") and _is_number(text)):
        return _number(where, name, text)
    return text


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _number(where: str, name: str, text: str) -> float:
    number = float(text) if _is_number(text) else math.nan
    if not math.isfinite(number):
        raise InvalidInput(f"{where}: {text!r} is not a number", name)
    return number


def _whole(where: str, name: str, text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise InvalidInput(f"{where}: {text!r} is not a whole number", name) from None


def _rows(file: Path, needed: tuple[str, ...]) -> Iterator[tuple[int, dict[str, str]]]:
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


# -- MovieLens -----------------------------------------------------------------------------------------------------


def _movies(folder: Path) -> Iterator[SourceLine]:
    tags = _user_tags(folder / "tags.csv")
    for number, row in _rows(folder / "movies.csv", ("movieId", "title", "genres")):
        genres = [genre for genre in row["genres"].split("|") if genre and not genre.startswith("(")]
        yield SourceLine(
            f"movies.csv:{number}", _movie(row["movieId"], row["title"], genres, tags.get(row["movieId"], []))
        )


def _movie(movie_id: str, title: str, genres: list[str], tags: list[str]) -> Json:
    """The year leaves the title and becomes the publication date; the first genre is the category."""
    movie: Json = {"item_id": movie_id, "title": _natural(_YEAR.sub("", title)) or title}
    year = _YEAR.search(title)
    if year:
        movie["published_at"] = datetime(int(year[1]), 1, 1, tzinfo=UTC).isoformat()
    if genres:
        movie["category"] = genres[0]
    listed = list(dict.fromkeys([*genres, *tags]))
    return movie | ({"tags": listed} if listed else {})


def _natural(title: str) -> str:
    """`Matrix, The` as people say it."""
    match = re.fullmatch(r"(.+), (The|A|An)", title.strip())
    return f"{match[2]} {match[1]}" if match else title.strip()


def _user_tags(file: Path) -> dict[str, list[str]]:
    """The tags that most people gave each film."""
    counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
    if file.exists():
        for _, row in _rows(file, ("movieId", "tag")):
            tag = row["tag"].strip().lower()
            if 1 <= len(tag) <= 40:
                counts[row["movieId"]][tag] += 1
    return {
        movie: [tag for tag, _ in sorted(tags.items(), key=lambda pair: (-pair[1], pair[0]))[:USER_TAGS]]
        for movie, tags in counts.items()
    }


def _ratings(file: Path) -> Iterator[SourceLine]:
    """In the order of their times."""
    rows = [
        _rated(file, number, row["userId"], row["movieId"], row["rating"], row["timestamp"])
        for number, row in _rows(file, ("userId", "movieId", "rating", "timestamp"))
    ]
    for timestamp, user, movie, rating, number in sorted(rows):
        yield SourceLine(f"{file.name}:{number}", _rating(user, movie, rating, timestamp))


def _rated(
    file: Path, number: int, user: str, movie: str, rating: str, timestamp: str
) -> tuple[int, str, str, float, int]:
    """A rating, ready to be sorted by its time."""
    where = f"{file.name}:{number}"
    return _whole(where, "timestamp", timestamp), user, movie, _number(where, "rating", rating), number


def _rating(user: str, movie: str, rating: float, timestamp: int) -> Json:
    return {
        "type": "rating",
        "event_id": f"movielens:{user}:{movie}:{timestamp}",
        "user_id": user,
        "item_id": movie,
        "value": rating,
        "timestamp": timestamp,
    }


_GENRES_100K = [
    "unknown",
    "Action",
    "Adventure",
    "Animation",
    "Children",
    "Comedy",
    "Crime",
    "Documentary",
    "Drama",
    "Fantasy",
    "Film-Noir",
    "Horror",
    "Musical",
    "Mystery",
    "Romance",
    "Sci-Fi",
    "Thriller",
    "War",
    "Western",
]


def _movies_100k(folder: Path) -> Iterator[SourceLine]:
    for number, line in _plain_lines(folder / "u.item", "latin-1"):
        movie, *rest = line.split("|")
        flags = rest[-len(_GENRES_100K) :]
        if len(rest) <= len(flags):
            raise InvalidInput(f"u.item:{number} is not a film: an id, a title, … and 19 genres between bars", "path")
        genres = [genre for genre, flag in zip(_GENRES_100K, flags, strict=True) if flag == "1"]
        yield SourceLine(f"u.item:{number}", _movie(movie, rest[0], [g for g in genres if g != "unknown"], []))


def _ratings_100k(file: Path) -> Iterator[SourceLine]:
    rows = []
    for number, line in _plain_lines(file, "utf-8"):
        cells = line.split("\t")
        if len(cells) != 4:
            raise InvalidInput(f"{file.name}:{number} is not a rating: user, item, rating, time between tabs", "path")
        rows.append(_rated(file, number, *cells))
    for timestamp, user, movie, value, number in sorted(rows):
        yield SourceLine(f"{file.name}:{number}", _rating(user, movie, value, timestamp))


def _plain_lines(file: Path, encoding: str) -> Iterator[tuple[int, str]]:
    """The lines that hold something, numbered from 1."""
    try:
        with file.open(encoding=encoding) as lines:
            yield from ((number, line.rstrip("\n")) for number, line in enumerate(lines, start=1) if line.strip())
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{file.name} is not {encoding}: {error}", "path") from None


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
