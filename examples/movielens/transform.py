"""Makes this folder's sample from MovieLens' `ml-latest-small`: `python transform.py SOURCE [DESTINATION]`.

The same source always gives the same bytes. NOTICE.md says what is kept and why.
"""

from __future__ import annotations

import csv
import shutil
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

FILMS = 1_500
RATINGS = 30_000
FEWEST_PER_PERSON = 20
MOST_PER_PERSON = 200

Row = Mapping[str, str]


def most_rated_films(ratings: Iterable[Row], count: int) -> set[str]:
    """The ids of the `count` most rated films; of equals, those with the lower id."""
    times = Counter(row["movieId"] for row in ratings)
    ranked = sorted(times, key=lambda film: (-times[film], int(film)))
    return set(ranked[:count])


def newest_of_each_person(ratings: Iterable[Row], most: int) -> dict[str, list[Row]]:
    """The `most` newest ratings of every person, newest first; of equals, the lower film id first."""
    by_person: dict[str, list[Row]] = defaultdict(list)
    for row in ratings:
        by_person[row["userId"]].append(row)
    return {
        person: sorted(rows, key=lambda row: (-int(row["timestamp"]), int(row["movieId"])))[:most]
        for person, rows in by_person.items()
    }


def most_recently_active(histories: Mapping[str, Sequence[Row]], fewest: int, enough: int) -> list[Row]:
    """Whole histories, the most recently active person first, until there are `enough` ratings.

    A person with fewer than `fewest` ratings is left out.
    """
    chosen: list[Row] = []
    known = (person for person, rows in histories.items() if len(rows) >= fewest)
    for person in sorted(known, key=lambda person: (-int(histories[person][0]["timestamp"]), int(person))):
        if len(chosen) >= enough:
            break
        chosen.extend(histories[person])
    return chosen


def transform(source: Path, destination: Path) -> None:
    """Write `movies.csv`, `ratings.csv`, `tags.csv` and `README.txt` into `destination`."""
    ratings = read(source / "ratings.csv")
    films = most_rated_films(ratings, FILMS)
    histories = newest_of_each_person((row for row in ratings if row["movieId"] in films), MOST_PER_PERSON)
    kept = most_recently_active(histories, FEWEST_PER_PERSON, RATINGS)
    write(destination / "movies.csv", [row for row in read(source / "movies.csv") if row["movieId"] in films])
    kept.sort(key=lambda row: (int(row["userId"]), int(row["movieId"])))
    write(destination / "ratings.csv", kept)
    write(destination / "tags.csv", [row for row in read(source / "tags.csv") if row["movieId"] in films])
    shutil.copyfile(source / "README.txt", destination / "README.txt")


def read(path: Path) -> list[Row]:
    """All rows of a CSV file with a header."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def write(path: Path, rows: Sequence[Row]) -> None:
    """Write rows under the first one's header, with plain newlines."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    if len(sys.argv) not in {2, 3}:
        sys.exit("usage: python transform.py SOURCE [DESTINATION], SOURCE being MovieLens' ml-latest-small")
    transform(Path(sys.argv[1]), Path(sys.argv[2] if len(sys.argv) == 3 else Path(__file__).parent))
