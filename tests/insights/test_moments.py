"""The laws of the sums over people. Totals are whole numbers here, so that equal means equal."""

from __future__ import annotations

from functools import reduce
from itertools import combinations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from tests.support.crowd import moments

from eddyline.insights.moments import NOBODY, PAIRS, TOTALS, Moments

Totals = tuple[float, ...]
totals = st.tuples(*[st.integers(0, 1000).map(float) for _ in TOTALS])
times = st.integers(1_790_000_000, 1_790_086_400).map(float)
changes = st.lists(st.tuples(st.integers(0, 3), totals, times), max_size=8)
"""(person, their new totals, time of the list). Those of even numbers are units."""


def folded(all_changes: list[tuple[int, Totals, float]]) -> tuple[Moments, dict[int, Totals]]:
    """One change after the other, and what everybody has in the end."""
    found, known = Moments(), dict[int, Totals]()
    for person, after, at in all_changes:
        found = found.moved(known.get(person), after, at, is_unit=person % 2 == 0)
        known[person] = after
    return found, known


def recomputed(people: list[Totals]) -> Moments:
    columns = {name: np.array([person[i] for person in people]) for i, name in enumerate(TOTALS)}
    return moments(len(people), **columns) if people else Moments()


def numbers(found: Moments) -> tuple[int, Totals, Totals]:
    return found.people, found.sums, found.products


@given(changes)
def test_moving_people_one_by_one_is_recomputing_from_what_they_have_in_the_end(
    all_changes: list[tuple[int, Totals, float]],
) -> None:
    found, known = folded(all_changes)
    assert numbers(found) == numbers(recomputed(list(known.values())))
    assert found.units == sum(person % 2 == 0 for person in known)
    at = [time for _, _, time in all_changes]
    assert (found.since, found.until) == ((min(at), max(at)) if at else (None, None))


@given(changes, st.randoms(use_true_random=False))
def test_the_order_of_different_people_does_not_matter(
    all_changes: list[tuple[int, Totals, float]], random: object
) -> None:
    _, known = folded(all_changes)
    once = [(person, after, 1.0) for person, after in known.items()]
    shuffled = list(once)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert folded(once)[0] == folded(shuffled)[0]


@given(changes, changes, changes)
def test_adding_is_commutative_and_associative_and_nobody_changes_nothing(
    one: list[tuple[int, Totals, float]],
    two: list[tuple[int, Totals, float]],
    three: list[tuple[int, Totals, float]],
) -> None:
    a, b, c = (folded(part)[0] for part in (one, two, three))
    assert a + b == b + a
    assert (a + b) + c == a + (b + c)
    assert a + Moments() == a


@given(st.lists(st.lists(totals, max_size=4), max_size=4))
def test_the_moments_of_partitions_add_up_to_those_of_all_people(partitions: list[list[Totals]]) -> None:
    added = reduce(Moments.__add__, (recomputed(part) for part in partitions), Moments())
    assert numbers(added) == numbers(recomputed([person for part in partitions for person in part]))


@given(changes)
def test_they_survive_being_written_as_json(all_changes: list[tuple[int, Totals, float]]) -> None:
    found, _ = folded(all_changes)
    assert Moments.from_bytes(found.to_bytes()) == found


def test_someone_who_was_assigned_under_another_name_is_a_person_and_no_unit() -> None:
    found = Moments().moved(None, NOBODY, 5.0).moved(None, NOBODY, 6.0, is_unit=False)
    assert (found.people, found.units) == (2, 1)
    assert found.moved(NOBODY, NOBODY, 7.0).units == 1, "once known, nobody is counted again"
    assert ((found + found).people, (found + found).units) == (4, 2)


def test_totals_and_products_are_found_by_name_in_either_order() -> None:
    person = tuple(float(value) for value in range(2, 2 + len(TOTALS)))
    found = Moments().moved(None, person, 0.0)
    for (i, one), (j, other) in combinations(enumerate(TOTALS), 2):
        assert found.total(one) == person[i]
        assert found.product(one, other) == found.product(other, one) == person[i] * person[j]
        assert found.product(one, one) == person[i] ** 2
    assert len(found.products) == len(PAIRS)


def test_someone_who_comes_without_having_done_anything_is_counted() -> None:
    found = Moments().moved(None, NOBODY, 5.0)
    assert numbers(found) == (1, NOBODY, (0.0,) * len(PAIRS))
    assert found.moved(NOBODY, NOBODY, 7.0).people == 1
