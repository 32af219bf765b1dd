"""A consumer that gets nowhere is not ready."""

from __future__ import annotations

from tests.support.fakes import Clock

from eddyline.runtime.progress_watch import ProgressWatch


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
