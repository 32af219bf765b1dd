"""examples/movielens: the documented shape, and the same bytes as its transformation makes."""

from __future__ import annotations

import csv
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / "examples" / "movielens"
SOURCE = ROOT.parent / "shared" / "data" / "ml-latest-small"
DATA = ("movies.csv", "ratings.csv", "tags.csv")


def _rows(name: str) -> list[dict[str, str]]:
    with (SAMPLE / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_it_has_movielens_own_columns() -> None:
    assert list(_rows("movies.csv")[0]) == ["movieId", "title", "genres"]
    assert list(_rows("ratings.csv")[0]) == ["userId", "movieId", "rating", "timestamp"]
    assert list(_rows("tags.csv")[0]) == ["userId", "movieId", "tag", "timestamp"]


def test_it_has_1500_different_films() -> None:
    films = _rows("movies.csv")
    assert len(films) == len({film["movieId"] for film in films}) == 1500
    assert all(film["title"] and film["genres"] for film in films)


def test_people_come_with_20_to_200_ratings_of_films_that_are_there() -> None:
    films = {film["movieId"] for film in _rows("movies.csv")}
    ratings = _rows("ratings.csv")
    assert 30_000 <= len(ratings) < 30_200
    assert {rating["movieId"] for rating in ratings} <= films
    assert len({(rating["userId"], rating["movieId"]) for rating in ratings}) == len(ratings)
    assert all(0.5 <= float(rating["rating"]) <= 5 for rating in ratings)
    times = Counter(rating["userId"] for rating in ratings)
    assert min(times.values()) >= 20
    assert max(times.values()) <= 200


def test_tags_are_of_films_that_are_there() -> None:
    films = {film["movieId"] for film in _rows("movies.csv")}
    tags = _rows("tags.csv")
    assert tags
    assert {tag["movieId"] for tag in tags} <= films


def test_the_notice_gives_the_right_numbers() -> None:
    notice = (SAMPLE / "NOTICE.md").read_text(encoding="utf-8")
    ratings = _rows("ratings.csv")
    people = len({rating["userId"] for rating in ratings})
    assert f"the {len(_rows('movies.csv')):,} most rated" in notice
    assert f"{len(ratings):,} ratings of those films by {people} people" in notice
    assert f"the {len(_rows('tags.csv')):,} given to those films" in notice


def test_the_licence_is_there() -> None:
    licence = (SAMPLE / "README.txt").read_text(encoding="utf-8")
    assert "Usage License" in licence
    assert "redistribute the data set, including transformations" in licence


def test_the_transformation_makes_the_same_bytes_again(tmp_path: Path) -> None:
    if not SOURCE.is_dir():
        pytest.skip(f"MovieLens' ml-latest-small isn't at {SOURCE}")
    subprocess.run([sys.executable, SAMPLE / "transform.py", SOURCE, tmp_path], check=True)
    for name in (*DATA, "README.txt"):
        assert (tmp_path / name).read_bytes() == (SAMPLE / name).read_bytes(), name
    assert (SAMPLE / "README.txt").read_bytes() == (SOURCE / "README.txt").read_bytes()
