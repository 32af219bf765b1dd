"""What was shown: the laws of a bounded set, and how much of it weighs against an item."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eddyline.model.decay import MINUTE, time_constant
from eddyline.model.exposures import ExposureHistory

DAY = 86_400.0
TAU = time_constant(DAY)
NOON = 1_790_000_040.0
"""Epoch seconds; the beginning of a minute."""

lists = st.lists(
    st.tuples(
        st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=4),
        st.integers(0, 30).map(lambda minutes: NOON + 20.0 * minutes),
    ),
    max_size=12,
)
sizes = st.integers(1, 40)
Lists = list[tuple[list[str], float]]


def showings(size: int, *shown: tuple[list[str], float]) -> ExposureHistory:
    found = ExposureHistory(size)
    for items, time in shown:
        found = found.add(items, time)
    return found


def same(one: ExposureHistory, other: ExposureHistory) -> None:
    assert one.minutes == other.minutes


@given(lists, sizes, st.randoms(use_true_random=False))
def test_late_lists_make_the_same_set_within_its_bound(all_lists: Lists, size: int, random: object) -> None:
    shuffled = list(all_lists)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    same(showings(size, *all_lists), showings(size, *shuffled))


@given(lists, lists, sizes)
def test_the_union_of_two_sets_is_the_set_of_all_lists(one: Lists, two: Lists, size: int) -> None:
    same(showings(size, *one).union(showings(size, *two)), showings(size, *one, *two))


@given(lists, sizes)
def test_a_list_that_is_told_twice_counts_once(all_lists: Lists, size: int) -> None:
    same(showings(size, *all_lists), showings(size, *all_lists, *all_lists))


@given(lists, sizes)
def test_no_more_than_the_bound_is_kept_and_those_are_the_newest(all_lists: Lists, size: int) -> None:
    found = showings(size, *all_lists)
    everything = sorted({(int(time // MINUTE), item) for items, time in all_lists for item in items})
    assert (
        sorted((minute, item) for item, minutes in found.minutes.items() for minute in minutes) == (everything[-size:])
    )
    assert len(found) == min(size, len(everything))


@given(lists, sizes)
def test_the_stored_form_is_the_set(all_lists: Lists, size: int) -> None:
    found = showings(size, *all_lists)
    same(ExposureHistory.from_minutes(size, dict(found.minutes)), found)
    same(ExposureHistory.from_minutes(3, found.minutes), found.newest(3))


def test_a_list_within_the_same_minute_is_the_same_showing() -> None:
    assert len(showings(10, (["a"], NOON), (["a", "b"], NOON + 59.9))) == 2
    assert len(showings(10, (["a"], NOON), (["a", "b"], NOON + 60.0))) == 3


def test_adding_leaves_the_set_as_it_was() -> None:
    before = showings(10, (["a"], NOON))
    before.add(["a", "b"], NOON + 60)
    assert before.minutes == {"a": (int(NOON // MINUTE),)}


def test_every_showing_weighs_half_as_much_a_half_life_later() -> None:
    shown = showings(10, (["a", "b"], NOON), (["a"], NOON + DAY))
    found = shown.fatigue(NOON + DAY, TAU, {})
    assert found == pytest.approx({"a": 1.5, "b": 0.5})
    later = shown.fatigue(NOON + 2 * DAY, TAU, {})
    assert later == pytest.approx({"a": 0.75, "b": 0.25})


def test_what_was_done_with_an_item_settles_its_showings_until_then() -> None:
    shown = showings(10, (["a", "b"], NOON), (["a", "b"], NOON + 60), (["a"], NOON + 120))
    assert shown.fatigue(NOON + 120, math.inf, {"a": NOON + 60, "b": NOON + 75}) == {"a": 1.0}
    assert shown.fatigue(NOON + 120, math.inf, {"b": NOON - 1}) == {"a": 3.0, "b": 2.0}


def test_a_click_in_the_minute_of_the_list_settles_it() -> None:
    shown = showings(10, (["a"], NOON + 30))
    assert shown.fatigue(NOON + 60, TAU, {"a": NOON + 35}) == {}


def test_only_what_was_shown_before_a_visit_counts_for_it() -> None:
    visit = NOON + 90
    shown = showings(10, (["a"], NOON), (["a", "b"], visit))
    assert shown.fatigue(NOON + 600, math.inf, {}, until=visit) == {"a": 1.0}


def test_a_clock_ahead_does_not_inflate_a_showing() -> None:
    assert showings(10, (["a"], NOON + DAY)).fatigue(NOON, TAU, {}) == {"a": 1.0}
