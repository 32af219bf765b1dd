"""MovieLens folders, in both layouts: films become items, ratings become events, each with its place for messages."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime
from operator import itemgetter
from pathlib import Path
from typing import Any, TypeAlias

from eddyline.clients.csv_files import parse_number, parse_whole_number, rows_of
from eddyline.errors import InvalidInput

Json: TypeAlias = dict[str, Any]
USER_TAGS = 5
_YEAR = re.compile(r"\s*\((\d{4})\)\s*$")


def movies(folder: Path) -> Iterator[tuple[str, Json]]:
    """Read movies.csv, with what most people tagged each film."""
    tags = _user_tags(folder / "tags.csv")
    for number, row in rows_of(folder / "movies.csv", "movieId", "title", "genres"):
        genres = [genre for genre in row["genres"].split("|") if genre and not genre.startswith("(")]
        yield f"movies.csv:{number}", _movie(row["movieId"], row["title"], genres, tags.get(row["movieId"], []))


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
        for _, row in rows_of(file, "movieId", "tag"):
            tag = row["tag"].strip().lower()
            if 1 <= len(tag) <= 40:
                counts[row["movieId"]][tag] += 1
    return {
        movie: [tag for tag, _ in sorted(tags.items(), key=lambda pair: (-pair[1], pair[0]))[:USER_TAGS]]
        for movie, tags in counts.items()
    }


def ratings(file: Path) -> Iterator[tuple[str, Json]]:
    """Read ratings.csv, in the order of the times, and of the file where they are equal."""
    rows = [
        _rated(file, number, row["userId"], row["movieId"], row["rating"], row["timestamp"])
        for number, row in rows_of(file, "userId", "movieId", "rating", "timestamp")
    ]
    for timestamp, user, movie, rating, number in sorted(rows, key=itemgetter(0)):
        yield f"{file.name}:{number}", _rating(user, movie, rating, timestamp)


def _rated(
    file: Path, number: int, user: str, movie: str, rating: str, timestamp: str
) -> tuple[int, str, str, float, int]:
    """Make a rating, its time first."""
    where = f"{file.name}:{number}"
    return parse_whole_number(where, "timestamp", timestamp), user, movie, parse_number(where, "rating", rating), number


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


def movies_100k(folder: Path) -> Iterator[tuple[str, Json]]:
    """Read u.item."""
    for number, line in _plain_lines(folder / "u.item", "latin-1"):
        movie, *rest = line.split("|")
        flags = rest[-len(_GENRES_100K) :]
        if len(rest) <= len(flags):
            raise InvalidInput(f"u.item:{number} is not a film: an id, a title, … and 19 genres between bars", "path")
        genres = [genre for genre, flag in zip(_GENRES_100K, flags, strict=True) if flag == "1"]
        yield f"u.item:{number}", _movie(movie, rest[0], [g for g in genres if g != "unknown"], [])


def ratings_100k(file: Path) -> Iterator[tuple[str, Json]]:
    """Read u.data, in the order of the times, and of the file where they are equal."""
    rows = []
    for number, line in _plain_lines(file, "utf-8"):
        cells = line.split("\t")
        if len(cells) != 4:
            raise InvalidInput(f"{file.name}:{number} is not a rating: user, item, rating, time between tabs", "path")
        rows.append(_rated(file, number, *cells))
    for timestamp, user, movie, value, number in sorted(rows, key=itemgetter(0)):
        yield f"{file.name}:{number}", _rating(user, movie, value, timestamp)


def _plain_lines(file: Path, encoding: str) -> Iterator[tuple[int, str]]:
    """Read the lines that hold something, numbered from 1."""
    try:
        with file.open(encoding=encoding) as lines:
            yield from ((number, line.rstrip("\n")) for number, line in enumerate(lines, start=1) if line.strip())
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{file.name} is not {encoding}: {error}", "path") from None
