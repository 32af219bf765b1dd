"""Sources: what is read from files, and how a wrong one is refused."""

from __future__ import annotations

import gzip
from collections import Counter
from pathlib import Path
from typing import Any

import orjson
import pytest
from backports import zstd

from eddyline.clients.columns import Columns
from eddyline.clients.sources import open_source
from eddyline.errors import InvalidInput
from eddyline.settings import AttributeKind

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
        ({"a.csv": "item_id,title,rating.value\n1,t,good\n"}, "a.csv:2: rating.value: 'good' is not a number"),
        ({"a.csv": "item_id,title,rating.count\n1,t,3.5\n"}, "a.csv:2: rating.count: '3.5' is not a whole number"),
        ({"a.jsonl": '{"title": "t"}\n{"title": '}, "a.jsonl:2: is not valid JSON"),
        ({"a.jsonl": "[1]\n"}, "a.jsonl:1: is not a JSON object"),
        ({"a.jsonl": '{"colour": "red"}\n'}, "a.jsonl:1: is neither an event"),
        ({"a.csv": "item_id,title\n1\n"}, "a.csv:2: has more or fewer cells"),
        ({"a.csv": "item_id,title,price\n1,t,cheap\n"}, "a.csv:2: price: 'cheap' is not a number"),
        ({"a.csv": "item_id,title,available\n1,t,maybe\n"}, "'maybe' is neither true nor false"),
        (
            {"movies.csv": MOVIES, "ratings.csv": "userId,movieId,rating\n1,1,3\n"},
            "ratings.csv lacks the column timestamp",
        ),
        ({"u.item": f"1|A|||{GENRES}\n\noops\n", "u.data": ""}, "u.item:3: is not a film"),
        ({"u.item": f"1{GENRES}\n", "u.data": ""}, "u.item:1: is not a film"),
        ({"u.item": "", "u.data": "1\t2\t3\t4\n\n1\t2\t3\n"}, "u.data:3: is not a rating"),
        ({"u.item": "", "u.data": "1\t2\t3\tnow\n"}, "u.data:1: timestamp: 'now' is not a number"),
        ({"u.item": "", "u.data": "1\t2\tgood\t4\n"}, "u.data:1: rating: 'good' is not a number"),
        ({"u.item": "", "u.data": b"1\t2\t3\t\xff\n"}, "u.data:1: is not a rating"),
        ({"movies.csv": MOVIES, "ratings.csv": RATINGS + "1,2,x,4\n"}, "ratings.csv:2: rating: 'x'"),
        ({"movies.csv": MOVIES, "ratings.csv": RATINGS + "1,2,3,x\n"}, "ratings.csv:2: timestamp: 'x'"),
        ({"movies.csv": MOVIES, "ratings.csv": RATINGS + "1,2,nan,4\n"}, "ratings.csv:2: rating: 'nan'"),
        ({"a.csv": "item_id,title,price\n1,t,nan\n"}, "a.csv:2: price: 'nan' is not a number"),
        ({"a.csv": "type,item_id,user_id,timestamp\nclick,1,2,inf\n"}, "a.csv:2: timestamp: 'inf' is not a time"),
        ({"a.csv": b"item_id,title\n1,\xff\n"}, "a.csv:2: is not valid UTF-8"),
        ({"a.csv": "item_id,title\n1,t,x\n"}, "a.csv:2: has more or fewer cells"),
        ({"a.csv": "colour,size\nred,1\n"}, "a.csv: no column says that it holds an event"),
        ({"a.csv": "item_id,title,title\n1,t,u\n"}, "a.csv: a.csv has several columns title"),
        ({"a.csv": "item_id,title,published_at\n1,t,2024\n"}, "published_at: '2024' is not a time but a year"),
        ({"a.csv": "item_id,title,published_at\n1,t,45296\n"}, "spreadsheet's number of a day (2024-01-05)"),
        ({"a.csv": "item_id,title,published_at\n1,t,202401051230\n"}, "'202401051230' has no offset"),
        ({"a.jsonl": '{"item_id": "1", "title": "t", "published_at": 2024}\n'}, "is not a time but a year"),
        ({"a.csv": 'item_id,title,price\n1,t,"1,234"\n'}, "price: '1,234' could mean two numbers"),
        ({"a.csv": "item_id;title;price\n1;t;1.234\n"}, "price: '1.234' could mean two numbers"),
        ({"a.csv": 'item_id,title\n1,"open\n'}, "a.csv:2: can't be read as CSV: unexpected end of data"),
        ({"a.jsonl.gz": b"plain"}, "a.jsonl.gz: can't be read any further: Not a gzipped file"),
        ({}, "MovieLens folder"),
    ],
)
def test_a_wrong_file_is_refused_with_its_line(files: dict[str, str | bytes], reason: str, tmp_path: Path) -> None:
    for name, text in files.items():
        (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    try:
        refused = list(map(str, open_source(tmp_path).refused()))
    except InvalidInput as error:
        refused = [str(error)]
    assert any(reason in one for one in refused), refused


@pytest.mark.parametrize(
    ("written", "price"),
    [
        ("1234.5", 1234.5),
        ("1.234,50", 1234.5),
        ("1,234.50", 1234.5),
        ("1 234,50 €", 1234.5),
        ("1\u202f234\u202f567,5", 1_234_567.5),
        ("1'234.50", 1234.5),
        ("1,234,567", 1_234_567.0),
        ("12,5", 12.5),
        ("0,125", 0.125),
        ("19.99 USD", 19.99),
        ("$19.99", 19.99),
        ("EUR 12000.0", 12_000.0),
        ("1.125", 1.125),
        ("1,23,456", None),
        ("USD", None),
        ("12%", None),
    ],
)
def test_prices_are_read_as_spreadsheets_write_them(written: str, price: float | None, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(f'item_id,title,price\ni,Title,"{written}"\n', encoding="utf-8")
    source = open_source(tmp_path)
    assert [line.value["price"] for line in source.items()] == ([] if price is None else [price])
    assert [(one.field, one.line) for one in source.refused()] == ([("price", 2)] if price is None else [])


@pytest.mark.parametrize(
    ("written", "time"),
    [
        ("20240105", "2024-01-05T00:00:00Z"),
        ("2024-01-05", "2024-01-05T00:00:00Z"),
        ("1704412800", 1_704_412_800.0),
        ("1704412800000", 1_704_412_800_000.0),
        ("-86400", -86_400.0),
        ("infinity", "infinity"),
        ("2024-01-05T12:00:00+01:00", "2024-01-05T12:00:00+01:00"),
    ],
)
def test_a_day_is_a_time_and_so_is_an_epoch_number(written: str, time: str | float, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(f"item_id,title,published_at\ni,Title,{written}\n")
    (tmp_path / "b.jsonl").write_bytes(orjson.dumps({"item_id": "j", "title": "T", "published_at": written}))
    assert [line.value["published_at"] for line in open_source(tmp_path).items()] == [time] * 2


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_separators_and_marks_of_an_encoding_are_recognised(separator: str, encoding: str, tmp_path: Path) -> None:
    rows = [["item_id", "title", "tags"], ["i", "Größe", "a, b"], ["", " ", ""], ["j", "Plain", "c"]]
    text = "".join(separator.join(f'"{cell}"' for cell in row) + "\r\n" for row in rows)
    (tmp_path / "a.csv").write_text(text, encoding=encoding, newline="")
    source = open_source(tmp_path)
    assert [(line.where, line.value) for line in source.items()] == [
        ("a.csv:2", {"item_id": "i", "title": "Größe", "tags": ["a", "b"]}),
        ("a.csv:4", {"item_id": "j", "title": "Plain", "tags": ["c"]}),
    ]
    assert list(source.refused()) == [], "a blank row is none"


def test_a_spreadsheet_says_its_separator_in_a_line_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("sep=;\nitem_id;title\ni;One, two, three\n")
    assert [(line.where, line.value["title"]) for line in open_source(tmp_path).items()] == [
        ("a.csv:3", "One, two, three")
    ]


def test_packed_files_are_read_and_a_cut_one_up_to_there(tmp_path: Path) -> None:
    lines = [orjson.dumps({"item_id": f"{n:x}", "title": f"Title {n * n}"}) for n in range(20_000)]
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(lines[0]))
    (tmp_path / "b.csv.zst").write_bytes(zstd.compress(b"item_id,title\nz,Title\n"))
    (tmp_path / "c.ndjson.gz").write_bytes(gzip.compress(b"\n".join(lines))[:-20_000])
    source = open_source(tmp_path)
    read = Counter(line.file for line in source.items())
    assert (read["a.jsonl.gz"], read["b.csv.zst"]) == (1, 1)
    assert 5_000 < read["c.ndjson.gz"] < 20_000
    assert [(one.file, one.line) for one in source.refused()] == [("c.ndjson.gz", None)]


def test_a_wrong_line_costs_no_other(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(
        b'item_id,title,price\n1,Good,1\n2,"5" pipe",2\n3,"Two\nlines",3\n4,\xff,4\n5,"never closed,5\n6,Last,6\n'
    )
    source = open_source(tmp_path)
    assert [(line.where, line.value["title"]) for line in source.items()] == [
        ("a.csv:2", "Good"),
        ("a.csv:4", "Two\nlines"),
        ("a.csv:8", "Last"),
    ]
    assert [one.line for one in source.refused()] == [3, 6, 7]


def test_columns_of_attributes_are_read_by_their_declared_type(tmp_path: Path) -> None:
    declared = {
        "brand": AttributeKind.KEYWORD,
        "pages": AttributeKind.INTEGER,
        "weight": AttributeKind.FLOAT,
        "new": AttributeKind.BOOL,
    }
    (tmp_path / "a.csv").write_text(
        "item_id,title,brand,pages,attributes.weight,new,attributes.shade\n"
        '1,A,Tarp|Co,320.0,"1,5",yes,07\n2,B,,many,,,\n'
    )
    (tmp_path / "b.jsonl").write_text('{"item_id": "3", "title": "C", "pages": 12, "attributes": {"brand": "X"}}')
    source = open_source(tmp_path, Columns(attributes=declared))
    assert [line.value["attributes"] for line in source.items()] == [
        {"brand": ["Tarp", "Co"], "pages": 320, "weight": 1.5, "new": True, "shade": "07"},
        {"pages": 12, "brand": "X"},
    ]
    assert list(map(str, source.refused())) == ["a.csv:3: attributes.pages: 'many' is not a number"]


def test_names_of_others_are_mapped_and_their_other_columns_left_out(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(",SKU,Name,title,Vendor,Notes\n0,i,A tent,old,Tarp & Co,x\n")
    columns = Columns.from_options(["SKU=item_id", "Name=title", "Vendor=attributes.vendor", "Notes="], {})
    assert [line.value for line in open_source(tmp_path, columns).items()] == [
        {"item_id": "i", "title": "A tent", "attributes": {"vendor": "Tarp & Co"}}
    ]


@pytest.mark.parametrize(
    ("option", "reason"), [("sku", "isn't theirs=ours"), ("sku=id", "there is no field 'id'"), ("=title", "isn't")]
)
def test_a_mapping_to_nothing_that_there_is_is_refused(option: str, reason: str) -> None:
    with pytest.raises(InvalidInput, match=reason):
        Columns.from_options([option], {})


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("hello")
    with pytest.raises(InvalidInput, match=r"is neither a file of rows \(\.csv"):
        open_source(tmp_path / "a.txt")


INVOICES = (
    "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\n"
    "536365,85123A,WHITE HOLDER,6,2010-12-01 08:26:00,2.55,17850.0,United Kingdom\n"
    "536365,71053,WHITE LANTERN,6,2010-12-01 08:26:00,3.39,17850.0,United Kingdom\n"
    "C536379,D,Discount,-1,2010-12-01 09:41:00,27.5,14527.0,United Kingdom\n"
    "536370,POST,POSTAGE,3,2010-12-01 08:45:00,18,12583.0,France\n"
    "536414,22139,,56,2010-12-01 11:52:00,0,,United Kingdom\n"
    "536500,85123A,damaged?,1,2010-12-02 08:26:00,2.55,17850.0,United Kingdom\n"
)
OF_INVOICES: dict[str, list[str]] = {
    "renamed": [
        *("StockCode=item_id", "Description=title", "UnitPrice=price", "InvoiceDate=timestamp"),
        *("CustomerID=user_id", "InvoiceNo=session_id", "Quantity=", "Country="),
    ],
    "constants": ["type=purchase"],
    "skipped": ["InvoiceNo=C*", "CustomerID=", "StockCode=[!0-9]*"],
}


def test_lines_that_are_an_event_and_an_item_and_what_is_left_out_by_name(tmp_path: Path) -> None:
    (tmp_path / "retail.csv").write_text(INVOICES)
    columns = Columns.from_options(OF_INVOICES["renamed"], {}, OF_INVOICES["constants"], OF_INVOICES["skipped"], "UTC")
    source = open_source(tmp_path / "retail.csv", columns)
    assert [line.value for line in source.items()] == [
        {"item_id": "85123A", "title": "WHITE HOLDER", "price": 2.55},
        {"item_id": "71053", "title": "WHITE LANTERN", "price": 3.39},
    ], "the first line of an item describes it"
    first, _, last = [line.value for line in source.events()]
    assert first == {
        "type": "purchase",
        "item_id": "85123A",
        "user_id": "17850.0",
        "session_id": "536365",
        "timestamp": "2010-12-01T08:26:00+00:00",
    }
    assert (last["item_id"], last["timestamp"]) == ("85123A", "2010-12-02T08:26:00+00:00")
    assert source.skipped() == {"InvoiceNo=C*": 1, "CustomerID=": 1, "StockCode=[!0-9]*": 1}
    assert list(source.refused()) == []
    [refused, *_] = open_source(
        tmp_path / "retail.csv", Columns.from_options(OF_INVOICES["renamed"], {}, OF_INVOICES["constants"])
    ).events()
    assert refused.value["timestamp"] == "2010-12-01 08:26:00", "of no zone: the collector says so"


@pytest.mark.parametrize(
    ("written", "time"),
    [
        ("2024-07-05", "2024-07-05T00:00:00+02:00"),
        ("20240705", "2024-07-05T00:00:00+02:00"),
        ("2024-01-05 12:30", "2024-01-05T12:30:00+01:00"),
        ("2024-01-05T12:30:00Z", "2024-01-05T12:30:00Z"),
        ("1701010112", 1701010112.0),
    ],
)
def test_times_without_an_offset_are_of_the_zone_that_is_named(written: str, time: object, tmp_path: Path) -> None:
    (tmp_path / "e.csv").write_text(f"type,item_id,user_id,timestamp\nclick,a,u,{written}\n")
    [line] = open_source(tmp_path / "e.csv", Columns.from_options([], {}, zone="Europe/Ljubljana")).events()
    assert line.value["timestamp"] == time


def test_ratings_of_a_declared_scale_come_to_our_own(tmp_path: Path) -> None:
    (tmp_path / "r.csv").write_text(
        "type,item_id,user_id,value\n" + "".join(f"rating,a,u,{value}\n" for value in ("1", "5.5", "10", "11"))
    )
    source = open_source(tmp_path / "r.csv", Columns.from_options([], {}, rating_scale="1:10"))
    assert [line.value["value"] for line in source.events()] == [0.5, 2.75, 5.0]
    assert [str(one) for one in source.refused()] == ["r.csv:5: value: 11 isn't on the scale from 1 to 10"]
    reviewed = {"type": "track", "event": "Product Reviewed", "messageId": "m", "userId": "u"}
    thumbs = [{**reviewed, "properties": {"product_id": "a", "rating": up}} for up in (0, 1)]
    (tmp_path / "a.jsonl").write_bytes(b"\n".join(map(orjson.dumps, thumbs)))
    source = open_source(tmp_path / "a.jsonl", Columns.from_options([], {}, rating_scale="0:1"))
    assert [line.value["value"] for line in source.events()] == [0.5, 5.0]


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"constants": ["type"]}, "'type' isn't ours=value"),
        ({"constants": ["kind=a"]}, "there is no field 'kind'"),
        ({"skipped": ["=C*"]}, r"isn't theirs=pattern, e.g. InvoiceNo=C\*"),
        ({"zone": "Mars/Base"}, "there is no time zone 'Mars/Base'"),
        ({"zone": "../etc"}, "there is no time zone"),
        ({"rating_scale": "10"}, "isn't worst:best, e.g. 1:10"),
        ({"rating_scale": "5:1"}, "isn't worst:best"),
        ({"rating_scale": "0:inf"}, "isn't worst:best"),
    ],
)
def test_a_wrong_option_is_refused_with_how_to_write_it(options: dict[str, Any], reason: str) -> None:
    with pytest.raises(InvalidInput, match=reason):
        Columns.from_options([], {}, **options)
