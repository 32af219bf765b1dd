"""The laws of affinity rows: the order of events doesn't matter, weights fade, the largest stay, seeds drown."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eddyline.model import affinity
from eddyline.model.affinity import NO_ROW, AffinityRow
from eddyline.model.ids import item_dimension
from eddyline.settings import AffinitySettings

DAY = 86_400.0
NOW = 1_790_000_000.0
SETTINGS = AffinitySettings(smoothing=5, popularity_damping=0.5, half_life_days=90)
"""Numbers that these tests can say, whatever the defaults are."""

Event = tuple[list[str], float]
names = st.sampled_from([f"item {n}" for n in range(30)])
recents = st.lists(names, max_size=12, unique=True)
times = st.floats(NOW - 400 * DAY, NOW)
events = st.lists(st.tuples(recents, times), min_size=1, max_size=15)


def lesson(recents: Sequence[str], time: float) -> AffinityRow:
    """What an item learns when it comes after these."""
    return affinity.forward_update(np.array([item_dimension(recent) for recent in recents], np.uint32), time)


def learnt(
    all_events: Sequence[Event], settings: AffinitySettings = SETTINGS, row: AffinityRow = NO_ROW
) -> AffinityRow:
    """One event at a time."""
    for recents, time in all_events:
        row = affinity.fold(row, [lesson(recents, time)], settings)
    return row


def entries(row: AffinityRow) -> dict[int, float]:
    return dict(zip(row.indices.tolist(), row.weights.tolist(), strict=True))


def same(one: AffinityRow, other: AffinityRow, relative: float = 1e-9) -> None:
    assert sorted(one.indices) == sorted(other.indices)
    assert entries(one) == pytest.approx(entries(other), rel=relative, abs=1e-300)
    assert one.count == pytest.approx(other.count, rel=relative)
    assert one.time == other.time


# -- events ------------------------------------------------------------------------------------------------------------


@given(events, st.randoms(use_true_random=False))
def test_the_order_of_events_does_not_matter(all_events: list[Event], random: object) -> None:
    shuffled = list(all_events)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    same(learnt(all_events), learnt(shuffled))


@pytest.mark.slow(10)
@given(events, events, events)
def test_merging_is_associative_and_commutative(one: list[Event], two: list[Event], three: list[Event]) -> None:
    a, b, c = learnt(one), learnt(two), learnt(three)
    left = affinity.merge([affinity.merge([a, b], SETTINGS), c], SETTINGS)
    right = affinity.merge([c, affinity.merge([b, a], SETTINGS)], SETTINGS)
    same(left, right)
    same(left, affinity.merge([a, b, c], SETTINGS))


@given(events)
def test_a_batch_teaches_what_its_events_do_one_by_one(all_events: list[Event]) -> None:
    lessons = [lesson(recents, time) for recents, time in all_events]
    same(affinity.fold(NO_ROW, lessons, SETTINGS), learnt(all_events))


@given(events)
def test_no_event_leaves_a_row_as_it_is(all_events: list[Event]) -> None:
    row = learnt(all_events)
    same(affinity.fold(row, [], SETTINGS), row)
    same(affinity.fold(row, [NO_ROW], SETTINGS), row)


def test_a_recent_item_weighs_by_how_recent_it_is() -> None:
    row = lesson(["a", "b", "c", "d"], NOW)
    by_position = [entries(row)[item_dimension(name)] for name in "abcd"]
    assert by_position == pytest.approx([0.5 ** (k / 3) + 0.7 * 0.5 ** (k / 20) for k in range(4)])
    assert (row.count, row.time) == (1.0, NOW)


def right_before(dimension: int) -> int:
    """The dimension that stands for what came right before."""
    return int(affinity.next_dimensions(np.array([dimension], np.uint32))[0])


def test_what_came_right_before_is_learnt_apart() -> None:
    row = learnt([(["a", "b"], NOW), (["a"], NOW)])
    assert entries(row)[right_before(item_dimension("a"))] == pytest.approx(2.0)
    assert right_before(item_dimension("b")) not in entries(row)
    some = np.random.default_rng(1).integers(2**32, size=10_000, dtype=np.uint32)
    assert len(np.unique(affinity.next_dimensions(some))) == len(np.unique(some))


def test_items_that_share_a_dimension_are_summed() -> None:
    lessons = [affinity.forward_update(np.array(dimensions, np.uint32), NOW) for dimensions in ([7, 9, 7], [7])]
    row = affinity.fold(NO_ROW, lessons, SETTINGS)
    first, second, third = affinity.positional_weights(3)
    assert entries(row) == pytest.approx({7: 2 * first + third, 9: second, right_before(7): 2.0})


def test_someone_without_a_past_raises_only_the_count() -> None:
    row = learnt([(["a"], NOW), ([], NOW)])
    assert row.count == 2
    assert entries(row) == entries(lesson(["a"], NOW))


# -- fading ------------------------------------------------------------------------------------------------------------


def test_an_event_weighs_half_after_the_half_life() -> None:
    row = learnt([(["a"], NOW - 90 * DAY), (["b"], NOW)])
    assert entries(row)[item_dimension("a")] == pytest.approx(entries(row)[item_dimension("b")] / 2)
    assert row.count == pytest.approx(1.5)


def test_a_late_event_weighs_what_it_would_had_it_come_in_time() -> None:
    late = learnt([(["b"], NOW), (["a"], NOW - 90 * DAY)])
    same(late, learnt([(["a"], NOW - 90 * DAY), (["b"], NOW)]))
    assert late.time == NOW


@given(events, st.floats(0, 1000))
def test_fading_keeps_the_shape(all_events: list[Event], days: float) -> None:
    row = learnt(all_events)
    later = affinity.merge([row, AffinityRow.from_weights({}, 0.0, row.time + days * DAY)], SETTINGS)
    share = affinity.decay_factor(days * DAY, SETTINGS)
    np.testing.assert_allclose(later.weights, row.weights * share, rtol=1e-6)
    assert later.count == pytest.approx(row.count * share, rel=1e-6)


# -- size --------------------------------------------------------------------------------------------------------------


@given(st.integers(1, 20), st.integers(0, 20), st.lists(st.floats(0.001, 10), min_size=1, max_size=60))
def test_a_row_grows_and_is_then_cut_to_the_largest(kept: int, more: int, weights: list[float]) -> None:
    settings = AffinitySettings(pruned_row_entries=kept, max_row_entries=kept + more)
    row = affinity.prune(AffinityRow.from_weights(dict(enumerate(weights)), 3.0, NOW), settings)
    if len(weights) <= kept + more:
        assert entries(row) == dict(enumerate(weights))
    else:
        assert sorted(row.weights) == sorted(weights)[-kept:]
    assert all(weights[index] == weight for index, weight in entries(row).items())
    assert (row.count, row.time) == (3.0, NOW)


def test_which_of_equals_stay_is_always_the_same() -> None:
    settings = AffinitySettings(pruned_row_entries=2, max_row_entries=2)
    assert sorted(entries(affinity.prune(AffinityRow.from_weights({9: 1.0, 3: 1.0, 5: 1.0}), settings))) == [3, 5]
    assert sorted(entries(affinity.prune(AffinityRow.from_weights({5: 1.0, 9: 1.0, 3: 1.0}), settings))) == [3, 5]


def test_a_newcomer_can_outgrow_what_was_there() -> None:
    settings = AffinitySettings(pruned_row_entries=4, max_row_entries=8)
    row = learnt([(["a", "b", "c", "d"], NOW)], settings)
    for _ in range(5):
        row = learnt([(["new"], NOW)], settings, row)
    row = learnt([([f"other {n}" for n in range(8)], NOW)], settings, row)
    assert len(row.indices) == 4
    assert item_dimension("new") in entries(row)


# -- the stored form ---------------------------------------------------------------------------------------------------


@given(events, st.floats(0.5, 50), st.floats(0, 1))
def test_a_row_is_recovered_from_what_is_stored(all_events: list[Event], smoothing: float, damping: float) -> None:
    settings = AffinitySettings(smoothing=smoothing, popularity_damping=damping)
    row = learnt(all_events, settings)
    back = affinity.restore_row(
        row.indices, row.stored(settings), affinity.divisor(row.count, settings), row.count, row.time
    )
    np.testing.assert_allclose(back.weights, row.weights, rtol=1e-6, atol=1e-40)
    assert (back.count, back.time) == (row.count, row.time)


@pytest.mark.parametrize("seconds", [1, 60, 600, 3600, 86_400])
def test_a_thousand_writes_round_no_more_than_some_hundred_thousandths(seconds: float) -> None:
    row = exact = learnt([([f"item {n}" for n in range(20)], NOW)])
    for n in range(1000):
        event = [([f"item {n % 20}"], NOW + n * seconds)]
        exact = learnt(event, row=exact)
        written = learnt(event, row=row)
        parts = written.stored(SETTINGS), affinity.divisor(written.count, SETTINGS)
        row = affinity.restore_row(written.indices, *parts, written.count, written.time)
    np.testing.assert_allclose(row.weights, exact.weights, rtol=2e-5)


def test_of_two_equal_rows_the_one_that_came_more_often_is_divided_by_more() -> None:
    rare, popular = AffinityRow.from_weights({1: 4.0}, 4.0, NOW), AffinityRow.from_weights({1: 4.0}, 95.0, NOW)
    assert float(rare.stored(SETTINGS)[0]) == pytest.approx(math.log1p(4 / math.sqrt(9) / affinity.EVIDENCE_UNIT))
    assert float(popular.stored(SETTINGS)[0]) == pytest.approx(math.log1p(4 / math.sqrt(100) / affinity.EVIDENCE_UNIT))


def test_what_two_recents_lead_to_comes_before_what_one_leads_to_as_often_in_all() -> None:
    both = learnt([(["a"], NOW), (["b"], NOW), *[(["x"], NOW)] * 2])
    one = learnt([*[(["a"], NOW)] * 2, *[(["x"], NOW)] * 2])
    asked = {item_dimension(name) for name in "ab"}

    def score(row: AffinityRow) -> float:
        values = zip(row.indices.tolist(), row.stored(SETTINGS).tolist(), strict=True)
        return math.fsum(value for dimension, value in values if dimension in asked)

    assert sum(entries(both)[d] for d in asked) == pytest.approx(entries(one)[item_dimension("a")])
    assert score(both) > 1.1 * score(one)


def test_a_row_of_before_holds_no_logarithms() -> None:
    row = learnt([(["a", "b"], NOW)])
    linear = (row.weights / affinity.divisor(row.count, SETTINGS)).astype(np.float32)
    back = affinity.restore_row(
        row.indices, linear, affinity.divisor(row.count, SETTINGS), row.count, row.time, unit=None
    )
    np.testing.assert_allclose(back.weights, row.weights, rtol=1e-6)
    np.testing.assert_allclose(affinity.scaled(linear), row.stored(SETTINGS), rtol=1e-6)


# -- the other way round -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("position", [0, 1, 5])
def test_a_recent_item_learns_what_followed_it_and_its_count_stays(position: int) -> None:
    row = affinity.fold(
        learnt([(["a"], NOW)]), [affinity.backward_update(item_dimension("next"), position, NOW)], SETTINGS
    )
    expected = 0.8 * affinity.positional_weights(10)[position]
    assert entries(row)[item_dimension("next")] == pytest.approx(expected)
    assert row.count == 1


# -- beginnings --------------------------------------------------------------------------------------------------------


def neighbour(name: str, events: int, count_to: float = NOW) -> AffinityRow:
    return learnt([([name, "shared"], count_to)] * events)


def test_a_seed_is_what_its_neighbours_learn_from_an_event_in_the_mean() -> None:
    seed = affinity.seed_row([(neighbour("a", 1), 1.0), (neighbour("b", 50), 0.5)], SETTINGS)
    first, second = affinity.positional_weights(2)
    assert entries(seed) == pytest.approx(
        {
            item_dimension("a"): 1 / 2 * first,
            item_dimension("b"): 1 / 2 * 0.5 * first,
            item_dimension("shared"): 1 / 2 * 1.5 * second,
            right_before(item_dimension("a")): 1 / 2,
            right_before(item_dimension("b")): 1 / 2 * 0.5,
        }
    )
    assert (seed.count, seed.time) == (0.0, 0.0)


@pytest.mark.parametrize("events", [1, 9, 99])
def test_a_seed_drowns_in_real_events(events: int) -> None:
    seed = affinity.seed_row([(neighbour("a", 30), 0.9)], SETTINGS)
    row = learnt([(["real", "shared"], NOW)] * events, row=seed)
    planted, real = entries(row)[item_dimension("a")], entries(row)[item_dimension("real")]
    assert planted / (planted + real) == pytest.approx(0.9 / (0.9 + events))
    assert row.count == events


def test_a_seed_begins_to_fade_with_the_first_event_however_old_that_is() -> None:
    seed = affinity.seed_row([(neighbour("a", 1), 1.0)], SETTINGS)
    planted = entries(seed)[item_dimension("a")]
    old = learnt([(["real"], NOW - 3000 * DAY)], row=seed)
    assert entries(old)[item_dimension("a")] == planted
    assert old.time == NOW - 3000 * DAY
    later = learnt([(["real"], NOW - 2910 * DAY)], row=old)
    assert entries(later)[item_dimension("a")] == pytest.approx(planted / 2)


def test_nothing_grows_from_seeds_or_from_what_is_unlike() -> None:
    seed = affinity.seed_row([(neighbour("a", 1), 1.0)], SETTINGS)
    assert not len(affinity.seed_row([(seed, 1.0), (NO_ROW, 1.0)], SETTINGS).indices)
    assert not len(affinity.seed_row([(neighbour("a", 1), -0.4)], SETTINGS).indices)


def test_a_seed_is_cut_as_any_row() -> None:
    rows = [(learnt([([f"{n} {k}" for k in range(12)], NOW)]), 0.5) for n in range(10)]
    assert len(affinity.seed_row(rows, AffinitySettings(pruned_row_entries=16, max_row_entries=32)).indices) == 16
