"""A consumer that gets nowhere is not ready."""

from __future__ import annotations

from structlog.testing import capture_logs
from tests.support.fakes import Clock

from eddyline.runtime.progress_watch import BacklogReport, ProgressWatch


def test_no_record_for_too_long_while_some_are_left_is_a_problem() -> None:
    clock = Clock()
    watch = ProgressWatch(60, clock)
    watch.note(5, 10)
    clock.forward(59)
    watch.note(5, 11)
    assert watch.problem is None
    clock.forward(1)
    watch.note(5, 12)
    assert watch.problem == "makes no progress: no record handled for 60 s, 12 are left"


def test_what_goes_on_is_no_problem_any_more() -> None:
    clock = Clock()
    watch = ProgressWatch(60, clock)
    watch.note(5, 10)
    clock.forward(61)
    watch.note(6, 9)
    assert watch.problem is None


def test_a_consumer_with_nothing_to_do_may_rest() -> None:
    clock = Clock()
    watch = ProgressWatch(60, clock)
    watch.note(5, 0)
    clock.forward(600)
    watch.note(5, 0)
    watch.note(5, 1)  # from now on there is something to do
    clock.forward(59)
    assert watch.problem is None


def test_what_came_after_a_rest_counts_from_then() -> None:
    clock = Clock()
    watch = ProgressWatch(60, clock)
    watch.note(5, 0)
    clock.forward(600)
    watch.note(5, 0)
    clock.forward(60)
    watch.note(5, 1)
    assert watch.problem is not None


def test_one_that_is_far_behind_says_how_far_until_it_has_caught_up() -> None:
    clock = Clock()
    report = BacklogReport("profiler", clock)
    with capture_logs() as logged:
        for seconds, left in ((0, 9_999), (1, 5_000_000), (1, 4_990_000), (9, 4_900_000), (1, 1_000), (1, 999), (1, 0)):
            clock.forward(seconds)
            report.note(left)
    said = [(line["event"], line["consumer"], line.get("records_left")) for line in logged]
    assert said == [
        ("catching up", "profiler", 5_000_000),
        ("catching up", "profiler", 4_900_000),
        ("caught up", "profiler", None),
    ]
