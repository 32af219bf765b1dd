"""Importing: what is read from files, and that nothing is lost or doubled on the way."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from eddyline.clients import WHILE_BUSY, Client
from eddyline.clients.importer import Importer
from eddyline.clients.progress import SilentProgress
from eddyline.clients.sources import Source, open_source
from eddyline.errors import EddylineError, InvalidInput, Unavailable
from eddyline.model.events import parse_timestamp

NOW = 1_790_000_000.0


class Server:
    """A collector and a reader in memory, with faults to order."""

    def __init__(self) -> None:
        self.items: Counter[str] = Counter()
        self.users: Counter[str] = Counter()
        self.events: dict[str, dict[str, Any]] = {}
        self.order: list[str] = []
        self.busy = 0
        self.fail_after: int | None = None
        self.most = 10_000
        self.embeds = True
        self.reads = True

    def client(self, sleep: Callable[[float], None] = lambda _: None) -> Client:
        transport = httpx.MockTransport(self._answer)
        return Client("http://eddyline.test", retries=WHILE_BUSY, transport=transport, sleep=sleep)

    def _answer(self, request: httpx.Request) -> httpx.Response:
        if request.method == "GET":
            return self._read(request.url.path)
        if self.fail_after is not None:
            if self.fail_after == 0:
                raise httpx.ConnectError("connection refused")
            self.fail_after -= 1
        if self.busy:
            self.busy -= 1
            return httpx.Response(503, headers={"Retry-After": "2"}, json={"detail": "busy"})
        body = orjson.loads(request.content)
        if request.url.path.startswith("/v1/users/"):
            self.users[body["user_id"]] += 1
            self.order.append("user")
            return httpx.Response(202, json={"accepted": 1, "rejected": [], "ids": [body["user_id"]]})
        batch = body.get("items") or body.get("events")
        if len(batch) > self.most:
            return httpx.Response(413, json={"detail": "too large"})
        rejected = []
        for index, one in enumerate(batch):
            if one.get("title") == "bad":
                rejected.append({"index": index, "field": "title", "reason": "is bad"})
            elif "title" in one:
                self.items[one["item_id"]] += 1
                self.order.append("item")
            else:
                self.events[one.get("event_id", str(len(self.events)))] = one
                self.order.append("event")
        status = 422 if len(rejected) == len(batch) else 202
        return httpx.Response(status, json={"accepted": len(batch) - len(rejected), "rejected": rejected})

    def _read(self, path: str) -> httpx.Response:
        if not self.reads:
            return httpx.Response(404, json={"detail": f"there is nothing at {path}"})
        known = path.removeprefix("/v1/items/") in self.items and self.embeds
        return httpx.Response(200 if known else 404, json={"detail": "there is no item"})


@pytest.fixture
def server() -> Server:
    return Server()


def importer(server: Server, source: Source, state: Path | None = None, slept: list[float] | None = None) -> Importer:
    naps = slept if slept is not None else []
    return Importer(server.client(naps.append), source, state, SilentProgress(), sleep=naps.append, clock=lambda: NOW)


def jsonl(path: Path, *values: dict[str, Any]) -> Path:
    path.write_bytes(b"\n".join(orjson.dumps(value) for value in values) + b"\n\n")
    return path


def event(number: int) -> dict[str, Any]:
    return {
        "type": "click",
        "item_id": "i",
        "user_id": "u",
        "event_id": f"e{number}",
        "timestamp": NOW - 1000 * 86_400 + number,
    }


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


def test_json_lines_and_csv_are_told_apart_by_their_fields(tmp_path: Path) -> None:
    jsonl(tmp_path / "a.jsonl", event(1), {"item_id": "i", "title": "T"}, {"user_id": "u", "interests": ["x"]})
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
    ("name", "text", "reason"),
    [
        ("a.csv", "item_id,title,rating.value\n1,t,good\n", "a.csv:2: 'good' is not a number"),
        ("a.csv", "item_id,title,rating.count\n1,t,3.5\n", "a.csv:2: '3.5' is not a whole number"),
        ("a.jsonl", '{"title": "t"}\n{"title": ', "a.jsonl:2 is not valid JSON"),
        ("a.jsonl", "[1]\n", "a.jsonl:1 is not a JSON object"),
        ("a.jsonl", '{"colour": "red"}\n', "a.jsonl:1 is no event"),
        ("a.csv", "item_id,title\n1\n", "a.csv:2 has more or fewer cells"),
        ("a.csv", "item_id,title,price\n1,t,cheap\n", "a.csv:2: 'cheap' is not a number"),
        ("a.csv", "item_id,title,available\n1,t,maybe\n", "'maybe' is neither true nor false"),
        ("a.txt", "hello", "is neither a .jsonl or .csv file"),
    ],
)
def test_a_file_that_cannot_be_read_says_where_and_why(name: str, text: str, reason: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(InvalidInput) as refused:
        list(open_source(tmp_path / name).items())
    assert reason in str(refused.value)


def test_a_movielens_file_without_a_column_says_which(tmp_path: Path) -> None:
    folder = movielens(tmp_path / "ml")
    (folder / "ratings.csv").write_text("userId,movieId,rating\n1,1,3\n")
    with pytest.raises(InvalidInput, match=r"ratings\.csv lacks the column timestamp"):
        list(open_source(folder).events())


def test_items_go_before_people_and_people_before_events(server: Server, tmp_path: Path) -> None:
    path = jsonl(tmp_path / "a.jsonl", event(1), {"user_id": "u", "goals": ["g"]}, {"item_id": "i", "title": "T"})
    report = importer(server, open_source(path)).run()
    assert server.order == ["item", "user", "event"]
    assert report.sent == {"items": 1, "users": 1, "events": 1}


def test_a_stopped_import_goes_on_where_it_was_and_nothing_counts_twice(server: Server, tmp_path: Path) -> None:
    path = jsonl(tmp_path / "a.jsonl", {"item_id": "i", "title": "T"}, *(event(n) for n in range(1200)))
    state = tmp_path / "state.json"
    server.fail_after = 2
    with pytest.raises(Unavailable, match="goes on where this one stopped"):
        importer(server, open_source(path), state).run()
    assert len(server.events) == 500
    server.fail_after = None
    report = importer(server, open_source(path), state).run()
    assert report.skipped == {"items": 1, "users": 0, "events": 500}
    assert report.sent == {"items": 0, "users": 0, "events": 700}
    assert set(server.events) == {f"e{n}" for n in range(1200)}
    assert server.items == {"i": 1}


def test_another_file_is_imported_from_its_start(server: Server, tmp_path: Path) -> None:
    state = tmp_path / "state.json"
    importer(server, open_source(jsonl(tmp_path / "a.jsonl", event(1))), state).run()
    report = importer(server, open_source(jsonl(tmp_path / "a.jsonl", event(2), event(3))), state).run()
    assert report.sent["events"] == 2


def test_a_damaged_state_file_says_what_to_do(server: Server, tmp_path: Path) -> None:
    state = tmp_path / "state.json"
    state.write_text("{")
    with pytest.raises(InvalidInput, match="delete it to import from the start"):
        importer(server, open_source(jsonl(tmp_path / "a.jsonl", event(1))), state)


def test_a_busy_collector_is_waited_for_as_long_as_it_asks(server: Server, tmp_path: Path) -> None:
    server.busy = 2
    slept: list[float] = []
    importer(server, open_source(jsonl(tmp_path / "a.jsonl", event(1))), slept=slept).run()
    assert slept == [2.0, 2.0]
    assert set(server.events) == {"e1"}


def test_a_batch_that_is_too_large_is_sent_in_parts(server: Server, tmp_path: Path) -> None:
    server.most = 70
    path = jsonl(tmp_path / "a.jsonl", *(event(n) for n in range(300)))
    report = importer(server, open_source(path)).run()
    assert report.sent["events"] == len(server.events) == 300


def test_what_is_refused_is_reported_with_its_line_and_the_rest_is_taken(server: Server, tmp_path: Path) -> None:
    path = jsonl(tmp_path / "a.jsonl", {"item_id": "a", "title": "good"}, {"item_id": "b", "title": "bad"})
    report = importer(server, open_source(path)).run()
    assert report.rejected == ["a.jsonl:2: title: is bad"]
    assert report.sent["items"] == 1
    assert set(server.items) == {"a"}


def test_events_are_moved_alike_so_that_the_newest_happens_now_also_after_a_stop(
    server: Server, tmp_path: Path
) -> None:
    path = jsonl(tmp_path / "a.jsonl", *(event(n) for n in range(600)))
    state = tmp_path / "state.json"
    server.fail_after = 1
    with pytest.raises(Unavailable):
        importer(server, open_source(path), state).run(ends_now=True)
    server.fail_after = None
    later = Importer(
        server.client(), open_source(path), state, SilentProgress(), sleep=lambda _: None, clock=lambda: NOW + 999
    )
    later.run(ends_now=True)
    times = [parse_timestamp(server.events[f"e{n}"]["timestamp"]) for n in range(600)]
    assert times[-1] == pytest.approx(NOW)
    assert [round(later - earlier, 3) for earlier, later in pairwise(times)] == [1.0] * 599


def test_without_a_reader_at_the_address_events_are_sent_at_once(server: Server, tmp_path: Path) -> None:
    server.reads = False
    path = jsonl(tmp_path / "a.jsonl", {"item_id": "i", "title": "T"}, event(1))
    importer(server, open_source(path)).run()
    assert server.order == ["item", "event"]


def test_items_that_never_become_searchable_stop_the_import_with_a_hint(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.embeds = False
    ticks = iter(range(0, 10_000, 100))
    monkeypatch.setattr("eddyline.clients.importer.time.monotonic", lambda: float(next(ticks)))
    path = jsonl(tmp_path / "a.jsonl", {"item_id": "i", "title": "T"}, event(1))
    with pytest.raises(EddylineError, match="is the embedder running"):
        importer(server, open_source(path)).run()
    assert server.events == {}
