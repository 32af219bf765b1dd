"""What an evaluation reads: every layout, in the order of times, saying what it leaves out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest

from eddyline.clients.sources import open_source
from eddyline.errors import InvalidInput
from eddyline.evaluation.interaction_log import (
    UNKNOWN_ITEM,
    VISIT_GAP,
    InteractionLog,
    LoggedInteraction,
    PriorCounts,
    read,
)
from eddyline.model.ids import Person
from eddyline.settings import EventSettings

FIRST = 1_000_000_000


def jsonl(folder: Path, *lines: dict[str, Any]) -> Path:
    file = folder / "log.jsonl"
    file.write_bytes(b"\n".join(orjson.dumps(line) for line in lines))
    return file


def item(item_id: str, **more: Any) -> dict[str, Any]:
    return {"item_id": item_id, "title": f"Title {item_id}", **more}


def event(person: str, item_id: str, at: float, **more: Any) -> dict[str, Any]:
    return {"type": "like", "user_id": person, "item_id": item_id, "timestamp": FIRST + at, **more}


def log_of(path: Path) -> InteractionLog:
    return read(open_source(path), EventSettings())


def deeds(log: InteractionLog) -> list[tuple[str, str, float, float]]:
    return [(log.people[e.person].key, log.items[e.item].item_id, e.weight, e.time - FIRST) for e in log.events]


def test_a_movielens_folder_with_headers_is_read_in_the_order_of_its_times(tmp_path: Path) -> None:
    (tmp_path / "movies.csv").write_text("movieId,title,genres\n1,Toy Story (1995),Animation\n2,Heat (1995),Crime\n")
    (tmp_path / "ratings.csv").write_text(f"userId,movieId,rating,timestamp\n7,1,4.75,{FIRST + 9}\n8,2,0.75,{FIRST}\n")
    assert deeds(log_of(tmp_path)) == [("u:8", "2", -3.0, 0), ("u:7", "1", 3.0, 9)]


def test_a_movielens_100k_folder_is_read_the_same(tmp_path: Path) -> None:
    flags = "|".join("0" * 19)
    (tmp_path / "u.item").write_text(f"1|Toy Story (1995)|01-Jan-1995||url|{flags}\n2|Heat (1995)|x||url|{flags}\n")
    (tmp_path / "u.data").write_text(f"7\t1\t4.75\t{FIRST + 9}\n8\t2\t0.75\t{FIRST}\n")
    assert deeds(log_of(tmp_path)) == [("u:8", "2", -3.0, 0), ("u:7", "1", 3.0, 9)]


def test_jsonl_with_events_of_all_types_weighs_them_as_the_services_do(tmp_path: Path) -> None:
    lines = [
        item("a"),
        event("ada", "a", 0, type="purchase"),
        event("ada", "a", 1, type="view", dwell_ms=30_000),
        {"type": "hide", "anonymous_id": "v", "item_id": "a", "timestamp": FIRST + 2},
    ]
    assert deeds(log_of(jsonl(tmp_path, *lines))) == [
        ("u:ada", "a", 5.0, 0),
        ("u:ada", "a", 2.0, 1),
        ("a:v", "a", -3.0, 2),
    ]


def test_events_at_the_same_moment_stay_in_the_order_of_the_file(tmp_path: Path) -> None:
    log = log_of(jsonl(tmp_path, item("a"), item("b"), event("x", "b", 5), event("y", "a", 5), event("z", "a", 1)))
    assert [person for person, *_ in deeds(log)] == ["u:z", "u:x", "u:y"]


def test_what_is_left_out_is_counted(tmp_path: Path) -> None:
    log = log_of(
        jsonl(
            tmp_path,
            item("a"),
            event("x", "a", 0, event_id="1"),
            event("x", "a", 1, event_id="1"),
            event("x", "gone", 2),
            {"type": "identify", "anonymous_id": "v", "user_id": "x", "timestamp": FIRST},
        )
    )
    assert len(log.events) == 1
    assert sorted(log.left_out.values()) == [1, 1, 1]
    assert log.left_out[UNKNOWN_ITEM] == 1


def test_the_last_state_of_an_item_counts(tmp_path: Path) -> None:
    log = log_of(jsonl(tmp_path, item("a"), item("a", title="New"), event("x", "a", 0)))
    assert [one.title for one in log.items] == ["New"]


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        ([event("x", "a", 0)], "no items"),
        ([item("a")], "no events"),
        ([item("a"), event("x", "b", 0)], r"no events to evaluate \(1 are on items it doesn't have\)"),
        ([item("a"), event("x", "a", 0, type="gaze")], r"log\.jsonl:2: unknown type 'gaze'"),
        ([item("a"), {"type": "like", "user_id": "x", "item_id": "a"}], r"log\.jsonl:2: is needed: .* times"),
        ([item("a", published_at="soon"), event("x", "a", 0)], r"published_at: log\.jsonl:1: "),
    ],
)
def test_a_log_that_cannot_be_evaluated_says_what_it_lacks(
    tmp_path: Path, lines: list[dict[str, Any]], reason: str
) -> None:
    with pytest.raises(InvalidInput, match=reason):
        log_of(jsonl(tmp_path, *lines))


def of(*rows: tuple[int, int, float]) -> InteractionLog:
    events = tuple(
        LoggedInteraction(person, item, "like", 1.0, time, f"e{place}")
        for place, (person, item, time) in enumerate(rows)
    )
    people = tuple(Person("u", str(number)) for number in range(1 + max(event.person for event in events)))
    return InteractionLog("test", "0", (), people, events)


def test_a_visit_ends_with_a_pause_of_an_hour() -> None:
    log = of((0, 1, 0.0), (1, 1, 5.0), (0, 2, VISIT_GAP - 1), (0, 3, 2 * VISIT_GAP - 1), (0, 4, 2 * VISIT_GAP))
    assert log.visits() == [[0, 2], [1], [3, 4]]


def test_shuffling_moves_what_was_done_within_its_visit_and_nothing_else() -> None:
    rows = [
        (person, item, 10.0 * item + person + (person + 1) * (item // 20) * 9_000)
        for item in range(40)
        for person in (0, 1)
    ]
    log = of(*sorted(rows, key=lambda row: row[2]))
    shuffled = log.shuffled(3)
    assert [(e.person, e.time) for e in shuffled.events] == [(e.person, e.time) for e in log.events]
    assert [e.item for e in shuffled.events] != [e.item for e in log.events]
    for visit in log.visits():
        assert len(visit) == 20
        assert {shuffled.events[place].event_id for place in visit} == {log.events[place].event_id for place in visit}
    assert log.shuffled(3) == shuffled
    assert log.shuffled(4) != shuffled


def test_what_was_there_before_an_event_is_counted_without_impressions() -> None:
    log = of((0, 1, 0.0), (0, 1, 10.0), (1, 1, 20.0), (0, 2, 30.0))
    seen = log.events[0]._replace(type="impression", weight=0.0, item=2, time=5.0)
    before = PriorCounts.before_each([log.events[0], seen, *log.events[1:]])
    assert before.of_person.tolist() == [0, 1, 1, 0, 2]
    assert before.of_item.tolist() == [0, 0, 1, 2, 0]
    assert before.pause.tolist() == [np.inf, 5.0, 10.0, np.inf, 20.0]
    assert before.is_repeat.tolist() == [False, False, True, False, False]


def test_the_first_part_of_a_log_does_not_hold_what_comes_later() -> None:
    log = of(*((0, item, float(item)) for item in range(10)))
    assert log.position(0.8) == 8
    assert log.first(log.position(0.8)).events == log.events[:8]
