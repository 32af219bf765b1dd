"""MovieLens folders, in both layouts: films become items, ratings become events; a wrong line costs no other."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime
from operator import itemgetter
from pathlib import Path
from typing import TypeAlias

from eddyline.clients.cells import parse_number, parse_whole_number
from eddyline.clients.csv_files import CsvFile, Row
from eddyline.clients.lines import Json, RefusedLine, SourceLine
from eddyline.errors import InvalidInput
from eddyline.model.unicode_text import is_unicode

_Rating: TypeAlias = tuple[int, str, str, float, int]
"""A rating: its time, who gave it to which film, its value, and its line."""
USER_TAGS = 5
_YEAR = re.compile(r"\s*\((\d{4})\)\s*$")


def movies(folder: Path) -> Iterator[SourceLine | RefusedLine]:
    """Read movies.csv, with what most people tagged each film. Raises `InvalidInput` for a missing column."""
    tags = _user_tags(folder / "tags.csv")
    for row in CsvFile(folder / "movies.csv", "movieId", "title", "genres").rows():
        if isinstance(row, RefusedLine):
            yield row
            continue
        genres = [genre for genre in row.cells.get("genres", "").split("|") if genre and not genre.startswith("(")]
        where = f"movies.csv:{row.line}"
        if "movieId" in row.cells and "title" in row.cells:
            movie_id = row.cells["movieId"]
            yield SourceLine(where, _movie(movie_id, row.cells["title"], genres, tags.get(movie_id, [])))
        else:
            yield RefusedLine.at(where, None, "lacks its movieId or its title", row.cells)


def _movie(movie_id: str, title: str, genres: list[str], tags: list[str]) -> Json:
    """Make an item: the year leaves the title and becomes the publication date; the first genre is the category."""
    movie: Json = {"item_id": movie_id, "title": _natural(_YEAR.sub("", title)) or title}
    year = _YEAR.search(title)
    if year:
        movie["published_at"] = datetime(int(year[1]), 1, 1, tzinfo=UTC).isoformat()
    if genres:
        movie["category"] = genres[0]
    listed = list(dict.fromkeys([*genres, *tags]))
    return movie | ({"tags": listed} if listed else {})


def _natural(title: str) -> str:
    """Write `Matrix, The` as people say it."""
    match = re.fullmatch(r"(.+), (The|A|An)", title.strip())
    return f"{match[2]} {match[1]}" if match else title.strip()


def _user_tags(file: Path) -> dict[str, list[str]]:
    """Find the tags that most people gave each film."""
    counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
    if file.exists():
        for row in CsvFile(file, "movieId", "tag").rows():
            tag = row.cells.get("tag", "").strip().lower() if isinstance(row, Row) else ""
            if isinstance(row, Row) and 1 <= len(tag) <= 40 and "movieId" in row.cells:
                counts[row.cells["movieId"]][tag] += 1
    return {
        movie: [tag for tag, _ in sorted(tags.items(), key=lambda pair: (-pair[1], pair[0]))[:USER_TAGS]]
        for movie, tags in counts.items()
    }


def ratings(file: Path) -> Iterator[SourceLine | RefusedLine]:
    """Read ratings.csv, in the order of the times, and of the file where they are equal.

    Raises `InvalidInput` for a missing column.
    """
    columns = ("userId", "movieId", "rating", "timestamp")
    rows: list[_Rating] = []
    for row in CsvFile(file, *columns).rows():
        if isinstance(row, RefusedLine):
            yield row
            continue
        read = _rated(file, row.line, *(row.cells.get(name, "") for name in columns))
        if isinstance(read, RefusedLine):
            yield read
        else:
            rows.append(read)
    yield from _in_order(file, rows)


def _rated(file: Path, number: int, user: str, movie: str, rating: str, timestamp: str) -> _Rating | RefusedLine:
    """Read a rating's cells."""
    try:
        at, value = parse_whole_number("timestamp", timestamp), parse_number("rating", rating)
    except InvalidInput as error:
        given = {"userId": user, "movieId": movie, "rating": rating, "timestamp": timestamp}
        return RefusedLine(file.name, number, error.field, error.reason, given)
    return at, user, movie, value, number


def _in_order(file: Path, rows: list[_Rating]) -> Iterator[SourceLine]:
    for timestamp, user, movie, value, number in sorted(rows, key=itemgetter(0)):
        yield SourceLine(f"{file.name}:{number}", _rating(user, movie, value, timestamp))


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


def movies_100k(folder: Path) -> Iterator[SourceLine | RefusedLine]:
    """Read u.item."""
    for number, line in _plain_lines(folder / "u.item", "latin-1"):
        movie, *rest = line.split("|")
        flags = rest[-len(_GENRES_100K) :]
        if len(rest) <= len(flags):
            reason = "is not a film: an id, a title, … and 19 genres between bars"
            yield RefusedLine("u.item", number, None, reason, line)
            continue
        genres = [genre for genre, flag in zip(_GENRES_100K, flags, strict=True) if flag == "1"]
        yield SourceLine(f"u.item:{number}", _movie(movie, rest[0], [g for g in genres if g != "unknown"], []))


def ratings_100k(file: Path) -> Iterator[SourceLine | RefusedLine]:
    """Read u.data, in the order of the times, and of the file where they are equal."""
    rows: list[_Rating] = []
    for number, line in _plain_lines(file, "utf-8"):
        cells = line.split("\t")
        if len(cells) != 4 or not is_unicode(line):
            reason = "is not a rating: user, item, rating, time between tabs"
            yield RefusedLine(file.name, number, None, reason, line)
            continue
        read = _rated(file, number, *cells)
        if isinstance(read, RefusedLine):
            yield read
        else:
            rows.append(read)
    yield from _in_order(file, rows)


def _plain_lines(file: Path, encoding: str) -> Iterator[tuple[int, str]]:
    """Read the lines that hold something, numbered from 1."""
    with file.open(encoding=encoding, errors="surrogateescape") as lines:
        yield from ((number, line.rstrip("\n")) for number, line in enumerate(lines, start=1) if line.strip())
