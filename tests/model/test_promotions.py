"""Promotions in a list: evenly spaced or pinned, never twice, never more than their share."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eddyline.model.rules import ActivePromotion, SlotAssignment, place_promotions

OWN = [f"r{n}" for n in range(40)]


def share(value: float, name: str = "sale") -> ActivePromotion:
    return ActivePromotion(name, share=value)


def pin(*positions: int, name: str = "pick") -> ActivePromotion:
    return ActivePromotion(name, positions=positions)


def shown(places: list[SlotAssignment]) -> str:
    """The ids, promoted ones in capitals."""
    return " ".join(place.item_id.upper() if place.promotion else place.item_id for place in places)


def test_without_promotions_the_list_is_as_it_was() -> None:
    assert place_promotions(OWN, [], 3) == [SlotAssignment("r0"), SlotAssignment("r1"), SlotAssignment("r2")]
    assert place_promotions([], [(share(1.0), []), (pin(1), [])], 3) == []


def test_promoted_items_are_evenly_spaced() -> None:
    assert shown(place_promotions(OWN, [(share(0.25), ["a", "b", "c"])], 9)) == "r0 r1 r2 A r3 r4 r5 B r6"


def test_a_list_too_short_for_a_share_has_none() -> None:
    assert shown(place_promotions(OWN, [(share(0.25), ["a"])], 3)) == "r0 r1 r2"


def test_every_page_goes_on_with_the_same_places() -> None:
    campaign = share(0.25)
    whole = [place.promotion for place in place_promotions(OWN, [(campaign, [f"a{n}" for n in range(9)])], 20)]
    for first in range(1, 19):
        page = place_promotions(OWN, [(campaign, [f"a{n}" for n in range(9)])], 3, first)
        assert [place.promotion for place in page] == whole[first - 1 : first + 2]


def test_an_item_that_ranks_better_by_itself_stays_there() -> None:
    assert shown(place_promotions(OWN, [(share(0.25), ["r1", "a"])], 5)) == "r0 r1 r2 A r3"


def test_an_item_comes_up_to_a_promoted_place_and_leaves_its_own() -> None:
    assert shown(place_promotions(OWN[:6], [(share(0.5), ["r4"])], 6)) == "r0 R4 r1 r2 r3 r5"


def test_a_pin_is_at_its_exact_place() -> None:
    assert shown(place_promotions(OWN, [(pin(1, 4), ["a", "r0"])], 5)) == "A r1 r2 R0 r3"


def test_a_pin_is_on_the_page_that_has_its_place() -> None:
    assert shown(place_promotions(OWN, [(pin(4), ["a"])], 3)) == "r0 r1 r2"
    assert shown(place_promotions(OWN, [(pin(4), ["a"])], 3, first=4)) == "A r0 r1"


def test_a_pin_beyond_the_end_closes_the_list() -> None:
    assert shown(place_promotions(OWN[:2], [(pin(4), ["a"])], 5)) == "r0 r1 A"


def test_who_was_set_first_has_the_place_and_the_other_the_next() -> None:
    both = [(share(0.5, "one"), ["a", "b"]), (share(0.5, "two"), ["x", "y"])]
    assert shown(place_promotions(OWN, both, 6)) == "r0 A X B Y r1"
    pins = [(pin(1, name="one"), ["a"]), (pin(1, 2, name="two"), ["a", "b"])]
    assert place_promotions(OWN, pins, 3) == [
        SlotAssignment("a", "one"),
        SlotAssignment("b", "two"),
        SlotAssignment("r0"),
    ]


def test_a_pin_goes_before_a_share() -> None:
    assert shown(place_promotions(OWN, [(share(0.5), ["a", "b"]), (pin(2), ["b"])], 4)) == "r0 B A r1"


def test_a_share_is_counted_in_decimals() -> None:
    places = place_promotions(
        OWN * 3 + [f"s{n}" for n in range(99)], [(share(0.29), [f"a{n}" for n in range(99)])], 100
    )
    assert sum(place.promotion is not None for place in places) == 29


_ids = st.lists(st.sampled_from([f"i{n}" for n in range(25)]), unique=True)
_promotions = st.lists(
    st.tuples(
        st.one_of(
            st.sampled_from([0.05, 0.1, 0.2, 0.29, 0.5, 1.0]).map(share),
            st.lists(st.integers(1, 30), min_size=1, max_size=4, unique=True).map(lambda places: pin(*places)),
        ),
        _ids,
    ),
    max_size=3,
)


@given(ranked=_ids, promoted=_promotions, limit=st.integers(1, 30), first=st.integers(1, 12))
def test_the_laws_of_a_list(
    ranked: list[str], promoted: list[tuple[ActivePromotion, list[str]]], limit: int, first: int
) -> None:
    named = [
        (ActivePromotion(f"p{index}", share=one.share, positions=one.positions), items)
        for index, (one, items) in enumerate(promoted)
    ]
    places = place_promotions(ranked, named, limit, first)
    ids = [place.item_id for place in places]
    assert len(ids) == len(set(ids)) <= limit
    assert len(ids) >= min(limit, len(ranked)), "a promotion never makes a list shorter"
    own = [place.item_id for place in places if place.promotion is None]
    assert own == [item for item in ranked if item in own], "the others keep their order"
    for promotion, items in named:
        at = [first + index for index, place in enumerate(places) if place.promotion == promotion.name]
        assert {places[position - first].item_id for position in at} <= set(items)
        if promotion.share is not None:
            exact = Fraction(str(promotion.share))
            for end in range(first, first + limit):
                most = math.floor(end * exact) - math.floor((first - 1) * exact)
                assert sum(position <= end for position in at) <= most
        elif len(places) == limit:
            assert set(at) <= set(promotion.positions)


@pytest.mark.parametrize("value", [0.1, 0.2, 0.25, 0.5, 1.0])
def test_a_share_is_used_up_where_there_are_items_for_it(value: float) -> None:
    places = place_promotions(OWN, [(share(value), [f"a{n}" for n in range(20)])], 20)
    assert sum(place.promotion is not None for place in places) == 20 * value
