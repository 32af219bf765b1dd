"""Sources: what is read from files, and how a wrong one is refused."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from eddyline.clients.sources import open_source
from eddyline.errors import InvalidInput

GENRES = "|0" * 19
MOVIES, RATINGS = "movieId,title,genres\n", "userId,movieId,rating,timestamp\n"


def movielens(folder: Path) -> Path:
    folder.mkdir()
    (folder / "movies.csv").write_text(
        'movieId,title,genres\n1,Toy Story (1995),Animation|Children\n2,"Matrix, The (1999)",Sci-Fi\n'
        "3,Untitled,(no genres listed)\n"
    )
    (folder / "ratings.csv").write_text("userId,movieId,rating,timestamp\n7,2,4.5,200\n7,1,3.0,100\n")
    (folder / "tags.csv").write_text("userId,movieId,tag,timestamp\n7,1,Pixar,1\n8,1,pixar,2\n8,1,fun,3\n")
    return folder


def test_a_movielens_folder_becomes_items_and_ratings_in_the_order_of_their_times(tmp_path: Path) -> None:
    source = open_source(movielens(tmp_path / "ml"))
    toy_story, matrix, untitled = [line.value for line in source.items()]
    assert toy_story == {
        "item_id": "1",
        "title": "Toy Story",
        "published_at": "1995-01-01T00:00:00+00:00",
        "category": "Animation",
        "tags": ["Animation", "Children", "pixar", "fun"],
    }
    assert (matrix["title"], matrix["category"]) == ("The Matrix", "Sci-Fi")
    assert untitled == {"item_id": "3", "title": "Untitled"}
    assert [(line.value["item_id"], line.value["value"]) for line in source.events()] == [("1", 3.0), ("2", 4.5)]


def test_the_old_movielens_layout_is_read_too(tmp_path: Path) -> None:
    genres = ["0"] * 19
    genres[3] = genres[5] = "1"
    (tmp_path / "u.item").write_bytes(
        ("1|Amélie (2001)|01-Jan-2001||http://x|" + "|".join(genres) + "\n").encode("latin-1")
    )
    (tmp_path / "u.data").write_text("196\t1\t3\t881250949\n22\t1\t1\t878887116\n")
    source = open_source(tmp_path)
    (film,) = [line.value for line in source.items()]
    assert (film["title"], film["tags"]) == ("Amélie", ["Animation", "Comedy"])
    assert [line.value["user_id"] for line in source.events()] == ["22", "196"]


def test_ratings_of_the_same_time_stay_in_the_order_of_their_file(tmp_path: Path) -> None:
    new, old = movielens(tmp_path / "new"), tmp_path / "old"
    old.mkdir()
    rows = [("9", "30", 5, 200), ("9", "4", 1, 200), ("10", "5", 3, 200), ("9", "2", 2, 100)]
    head = "userId,movieId,rating,timestamp\n"
    (new / "ratings.csv").write_text(head + "".join(f"{u},{m},{v},{t}\n" for u, m, v, t in rows))
    (old / "u.item").write_text("")
    (old / "u.data").write_text("".join(f"{u}\t{m}\t{v}\t{t}\n" for u, m, v, t in rows))
    for folder in (new, old):
        assert [line.value["item_id"] for line in open_source(folder).events()] == ["2", "30", "4", "5"]


def test_json_lines_and_csv_are_told_apart_by_their_fields(tmp_path: Path) -> None:
    lines = [{"type": "click", "event_id": "e1"}, {"item_id": "i", "title": "T"}, {"user_id": "u", "interests": ["x"]}]
    (tmp_path / "a.jsonl").write_bytes(b"\n\n".join(orjson.dumps(line) for line in lines))
    (tmp_path / "b.csv").write_text(
        "item_id,title,tags,price,available,published_at\nj,Title,a|b,3.5,false,2026-01-01T00:00:00Z\nk,Other,,,,\n"
    )
    source = open_source(tmp_path)
    assert [line.value["item_id"] for line in source.items()] == ["i", "j", "k"]
    assert list(source.items())[1].value == {
        "item_id": "j",
        "title": "Title",
        "tags": ["a", "b"],
        "price": 3.5,
        "available": False,
        "published_at": "2026-01-01T00:00:00Z",
    }
    assert [line.value["user_id"] for line in source.users()] == ["u"]
    assert [line.value["event_id"] for line in source.events()] == ["e1"]


def test_columns_of_a_rating_make_one_field(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(
        "item_id,title,rating.value,rating.count,rating.scale\nj,Title,7.9,12000,10\nk,Other,4,3,\nl,Unrated,,,\n"
    )
    assert [line.value.get("rating") for line in open_source(tmp_path).items()] == [
        {"value": 7.9, "count": 12_000, "scale": 10.0},
        {"value": 4.0, "count": 3},
        None,
    ]


def test_a_picture_in_a_cell_is_passed_on_as_it_is(tmp_path: Path) -> None:
    address = "data:image/jpeg;base64," + "A" * 349_528
    (tmp_path / "a.csv").write_text(f'item_id,title,image_url\ni,Title,"{address}"\n')
    assert [line.value["image_url"] for line in open_source(tmp_path).items()] == [address]


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({"a.csv": "item_id,title,rating.value\n1,t,good\n"}, "a.csv:2: 'good' is not a number"),
        ({"a.csv": "item_id,title,rating.count\n1,t,3.5\n"}, "a.csv:2: '3.5' is not a whole number"),
        ({"a.jsonl": '{"title": "t"}\n{"title": '}, "a.jsonl:2 is not valid JSON"),
        ({"a.jsonl": "[1]\n"}, "a.jsonl:1 is not a JSON object"),
        ({"a.jsonl": '{"colour": "red"}\n'}, "a.jsonl:1 is no event"),
        ({"a.csv": "item_id,title\n1\n"}, "a.csv:2 has more or fewer cells"),
        ({"a.csv": "item_id,title,price\n1,t,cheap\n"}, "a.csv:2: 'cheap' is not a number"),
        ({"a.csv": "item_id,title,available\n1,t,maybe\n"}, "'maybe' is neither true nor false"),
        (
            {"movies.csv": MOVIES, "ratings.csv": "userId,movieId,rating\n1,1,3\n"},
            "ratings.csv lacks the column timestamp",
        ),
        ({"u.item": f"1|A|||{GENRES}\n\noops\n", "u.data": ""}, "u.item:3 is not a film"),
        ({"u.item": f"1{GENRES}\n", "u.data": ""}, "u.item:1 is not a film"),
        ({"u.item": "", "u.data": "1\t2\t3\t4\n\n1\t2\t3\n"}, "u.data:3 is not a rating"),
        ({"u.item": "", "u.data": "1\t2\t3\tnow\n"}, "u.data:1: 'now' is not a whole number"),
        ({"u.item": "", "u.data": "1\t2\tgood\t4\n"}, "u.data:1: 'good' is not a number"),
        ({"u.item": "", "u.data": b"1\t2\t3\t\xff\n"}, "u.data is not utf-8"),
        ({"movies.csv": MOVIES, "ratings.csv": RATINGS + "1,2,x,4\n"}, "ratings.csv:2: 'x'"),
        ({"movies.csv": MOVIES, "ratings.csv": RATINGS + "1,2,3,x\n"}, "ratings.csv:2: 'x'"),
        ({"movies.csv": MOVIES, "ratings.csv": RATINGS + "1,2,nan,4\n"}, "ratings.csv:2: 'nan'"),
        ({"a.csv": "item_id,title,price\n1,t,nan\n"}, "a.csv:2: 'nan' is not a number"),
        ({"a.csv": "type,item_id,user_id,timestamp\nclick,1,2,inf\n"}, "a.csv:2: 'inf' is not a number"),
        ({"a.csv": b"item_id,title\n1,\xff\n"}, "a.csv can't be read as CSV in UTF-8"),
        ({}, "MovieLens folder"),
    ],
)
def test_a_wrong_file_is_refused_with_its_line(files: dict[str, str | bytes], reason: str, tmp_path: Path) -> None:
    for name, text in files.items():
        (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(InvalidInput) as refused:
        _read_all(tmp_path)
    assert reason in str(refused.value)


def _read_all(path: Path) -> None:
    source = open_source(path)
    for lines in (source.items, source.users, source.events):
        list(lines())


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("hello")
    with pytest.raises(InvalidInput, match=r"is neither a \.jsonl or \.csv file"):
        open_source(tmp_path / "a.txt")
