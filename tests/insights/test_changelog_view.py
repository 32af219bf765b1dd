"""The view: it follows the changelog of insights, whatever is in it."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any

import orjson
import pytest
from tests.support.fakes import NOW, Clock, record
from tests.support.rows import ROWS, cell, cell_row, moments, progress_row, variant_row

from eddyline.adapters.kafka import Record
from eddyline.insights.changelog_view import CellQuery, ChangelogView
from eddyline.insights.moments import Moments
from eddyline.insights.rows import (
    PROGRESS_KEY,
    SECONDS,
    Cell,
    CellKey,
    Dimensions,
    PartitionProgress,
    Size,
    VariantKey,
)
from eddyline.settings import InsightsSettings

MINUTE = int(NOW // 60) * 60


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def view(clock: Clock) -> ChangelogView:
    return ChangelogView(InsightsSettings(), clock)


def row(requests: int, start: float = MINUTE, size: Size = "minute", **rest: Any) -> Record:
    return cell_row(size, start, cell(requests=requests), **rest)


def tombstone(partition: int = 0) -> Record:
    return replace(row(0, partition=partition), value=None)


def requests(view: ChangelogView, size: Size = "minute", start: float = 0, end: float = NOW * 2, **where: str) -> int:
    wanted = CellQuery(size, start, end, {name: frozenset([value]) for name, value in where.items()})
    return sum(cell.counts["requests"] for _, cell in view.cells(wanted))


def test_the_newest_row_of_a_key_holds_and_partitions_add_up(view: ChangelogView) -> None:
    view.apply(row(1))
    view.apply(row(5))
    view.apply(row(20, partition=3))
    assert requests(view) == 25


def test_a_tombstone_removes_the_row_of_its_partition_alone(view: ChangelogView) -> None:
    view.apply(row(1))
    view.apply(row(2, partition=1))
    view.apply(tombstone())
    assert requests(view) == 2
    view.apply(tombstone())
    view.apply(tombstone(partition=1))
    assert requests(view) == 0


def test_cells_are_chosen_by_size_time_and_dimension(view: ChangelogView) -> None:
    view.apply(row(1, surface="home", variant="a"))
    view.apply(row(2, surface="home", variant="b"))
    view.apply(row(4, start=MINUTE - 60, surface="mail"))
    view.apply(row(100, start=MINUTE // 3600 * 3600, size="hour"))
    assert requests(view, surface="home") == 3
    assert requests(view, surface="home", variant="b") == 2
    assert requests(view, variant="") == 4
    assert requests(view, start=MINUTE) == 3
    assert requests(view, end=MINUTE) == 4
    assert requests(view, size="hour") == 100


def test_the_newest_windows_are_told_first(view: ChangelogView) -> None:
    for minutes, partition in ((5, 0), (0, 0), (3, 1), (0, 1), (5, 1)):
        view.apply(row(1, start=MINUTE - 60 * minutes, partition=partition))
    minutes_ago = [(MINUTE - key.start) // 60 for key, _ in view.cells(CellQuery("minute", 0, NOW * 2, {}))]
    assert minutes_ago == [0, 0, 3, 5, 5]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (None, b"{}"),
        (b"", b"{}"),
        (b"rubbish", b"{}"),
        (b"{}", b"{}"),
        (b'["week",0,"","","","",""]', Cell().to_bytes()),
        (b'["minute","noon","","","","",""]', Cell().to_bytes()),
        (b'["minute",0,"",1,"","",""]', Cell().to_bytes()),
        (b'["minute",0,"","","","","","",""]', Cell().to_bytes()),
        (CellKey("minute", MINUTE, Dimensions()).to_bytes(), b"rubbish"),
        (CellKey("minute", MINUTE, Dimensions()).to_bytes(), b"{}"),
        (CellKey("minute", MINUTE, Dimensions()).to_bytes(), b"\xff\x00"),
        (
            CellKey("minute", MINUTE, Dimensions()).to_bytes(),
            Cell().to_bytes().replace(b'"counts":{}', b'"counts":{"requests":"many"}'),
        ),
        (VariantKey("e", "r", "a").to_bytes(), b"{}"),
        (VariantKey("e", "r", "a").to_bytes(), orjson.dumps(orjson.loads(Moments().to_bytes()) | {"sums": [1]})),
        (b'["variant","e"]', Moments().to_bytes()),
        (PROGRESS_KEY, b"[]"),
    ],
)
def test_what_is_no_row_is_counted_and_changes_nothing(view: ChangelogView, key: bytes | None, value: bytes) -> None:
    view.apply(row(7))
    view.apply(record(ROWS, key, value))
    assert view.unreadable == 1
    assert requests(view) == 7
    assert view.variants() == {}
    assert view.progress() == {}


def test_a_topic_made_anew_leaves_nothing_of_the_old_one(view: ChangelogView) -> None:
    view.apply(row(1))
    view.apply(progress_row(NOW, partition=1))
    view.apply(variant_row("e", "r", "a", Moments(people=1)))
    view.apply(row(2, partition=2, log="log-2"))
    assert requests(view) == 2
    assert view.progress() == {}
    assert view.variants() == {}


@pytest.mark.parametrize(("size", "kept"), [("minute", 6 * 3600), ("hour", 14 * 86_400), ("day", 400 * 86_400)])
def test_windows_that_the_table_no_longer_keeps_are_left_out(
    clock: Clock, view: ChangelogView, size: Size, kept: int
) -> None:
    start = int(NOW // SECONDS[size]) * SECONDS[size]
    view.apply(row(1, start=start, size=size))
    clock.now = start + SECONDS[size] + kept
    assert requests(view, size=size) == 1
    clock.forward(1)
    assert requests(view, size=size, end=clock.now) == 0
    clock.now = NOW
    assert requests(view, size=size) == 1, "it was only hidden"


def test_memory_holds_no_expired_window_even_without_tombstones(clock: Clock, view: ChangelogView) -> None:
    for number in range(2 * 6 * 60):
        clock.now = NOW + 60 * number
        view.apply(row(1, start=MINUTE + 60 * number))
    clock.now = NOW  # so that nothing is hidden
    assert 6 * 60 <= requests(view, end=NOW * 2) <= 6 * 60 + 2
    clock.now = NOW + 60 * 2000
    view.apply(row(1, start=MINUTE))
    clock.now = NOW
    assert requests(view) == 0


def test_a_variants_people_of_all_partitions_add_up(view: ChangelogView) -> None:
    one, other = VariantKey("e", "r1", "a"), VariantKey("e", "r2", "a")
    view.apply(variant_row(*one, moments([{"clicks": 3.0}])))
    view.apply(variant_row(*one, moments([{"clicks": 4.0}]), partition=1))
    view.apply(variant_row(*other, moments([{"clicks": 1.0}])))
    found = view.variants()
    assert (found[one].people, found[one].total("clicks"), found[one].product("clicks", "clicks")) == (2, 7.0, 25.0)
    assert found[other].people == 1
    view.apply(record(ROWS, other.to_bytes(), None))
    assert list(view.variants()) == [one]


def test_progress_is_told_by_partition(view: ChangelogView) -> None:
    view.apply(
        record(ROWS, PROGRESS_KEY, PartitionProgress(NOW, NOW - 5, {"late": 2}, read=NOW).to_bytes(), partition=2)
    )
    assert view.progress() == {2: PartitionProgress(NOW, NOW - 5, {"late": 2}, read=NOW)}


def test_what_was_read_stays_read(view: ChangelogView) -> None:
    view.apply(progress_row(NOW, NOW - 9))
    view.apply(record(ROWS, PROGRESS_KEY, PartitionProgress(NOW + 1, NOW, {}).to_bytes()))
    assert view.progress() == {0: PartitionProgress(NOW + 1, NOW, {}, read=NOW - 9)}


def test_it_may_be_asked_while_it_is_fed(view: ChangelogView) -> None:
    failures: list[BaseException] = []

    def feed() -> None:
        try:
            for number in range(500):
                view.apply(row(1, start=MINUTE - 60 * (number % 50), variant=str(number)))
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=feed)
    thread.start()
    seen = []
    while thread.is_alive():
        seen.append(requests(view))
    thread.join()
    assert failures == []
    assert seen == sorted(seen)
    assert requests(view) == 500
