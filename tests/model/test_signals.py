"""Ratings, prices and pictures as terms: what each is worth, and to whom nothing of it applies."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eddyline.model.ids import Person
from eddyline.model.profile import Profile, TimeConstants, WeightedInteraction
from eddyline.model.ranking import (
    Hit,
    RankedItem,
    RankOptions,
    RecentItemDetails,
    RetrievalPlan,
    merge_candidates,
    plan_retrieval,
    rank,
    with_recent_items,
)
from eddyline.model.ranking.recent_items import (
    MIN_PRICE_RATIO,
    NEUTRAL,
    PRICE_EVIDENCE,
    WIDE_PRICE_RATIO,
    PricePreference,
    image_preference,
    price_preference,
)
from eddyline.model.ranking.terms import RATING_PRIOR_COUNT
from eddyline.settings import STRATEGIES, ProfileSettings, RankingSettings, StrategySettings

NOW = 1_790_000_000.0
SETTINGS, RANKING = ProfileSettings(), RankingSettings()
TAUS = TimeConstants.from_settings(SETTINGS)


def item(item_id: str, score: float = 0.0, price: float | None = None, **rating: float) -> Hit:
    offer = {} if price is None else {"offer": {"price": price}}
    meta = {"meta": {"rating": {"scale": 5.0, "least": 0.0, **rating}}} if rating else {}
    return Hit(item_id, score, {**offer, **meta})


def person(*items: str) -> Profile:
    """Who chose these, the last one now."""
    profile = Profile(Person("u", "ada"), SETTINGS)
    for number, item_id in enumerate(items):
        at = NOW - 60.0 * (len(items) - 1 - number)
        profile.fold(WeightedInteraction(item_id, "click", np.array([1.0, 0.0]), 1.0, at), TAUS)
    return profile


def planned(profile: Profile | None, settings: RankingSettings = RANKING, **weights: float) -> RetrievalPlan:
    return plan_retrieval(profile, NOW, TAUS, settings, StrategySettings(**weights))


def ranked(
    asked: RetrievalPlan, *found: Hit, settings: RankingSettings = RANKING, **lists: list[Hit]
) -> dict[str, RankedItem]:
    """By id, in the list's order."""
    table = merge_candidates({"freshness": list(found), **lists}, 100, unscored=("freshness",))
    return {one.item_id: one for one in rank(table, asked, RankOptions(NOW, settings, 100))}


def prices(*known: float) -> PricePreference:
    """Of items that weigh the same."""
    names = [str(number) for number in range(len(known))]
    details = {name: RecentItemDetails(price) for name, price in zip(names, known, strict=True)}
    found = price_preference(dict.fromkeys(names, 0.3), details)
    assert found is not None
    return found


def fits(range_: PricePreference, *asked: float) -> list[float]:
    return [float(fit) for fit in range_.fit(np.array(asked))]


# -- ratings -----------------------------------------------------------------------------------------------------------


def test_a_rating_counts_by_how_many_gave_it() -> None:
    """One perfect mark is less than four out of five of a thousand."""
    stranger = planned(None, rating=1.0)
    marked = [
        item("thousand", value=4.0, count=1000),
        item("one", value=5.0, count=1),
        item("none"),
        item("poor", value=1.0, count=50),
    ]
    listed = ranked(stranger, *marked)
    assert list(listed) == ["thousand", "one", "none", "poor"]
    prior, weight = RANKING.rating_prior, RATING_PRIOR_COUNT
    assert listed["one"].score == pytest.approx((1.0 + weight * prior) / (1 + weight), abs=1e-6)
    assert listed["none"].score == prior


def test_a_rating_of_as_many_as_the_prior_counts_for_is_half_way() -> None:
    settings = RankingSettings(rating_prior=0.4)
    listed = ranked(planned(None, rating=2.0), item("a", value=4.0, count=20), settings=settings)
    assert listed["a"].terms["rating"] == pytest.approx(2.0 * (0.8 + 0.4) / 2)


@pytest.mark.parametrize(
    ("rating", "part"),
    [
        ({"value": 7.9, "scale": 10.0}, 0.79),
        ({"value": 10.0, "scale": 10.0}, 1.0),
        ({"value": 1.0, "least": 1.0}, 0.0),
        ({"value": 3.0, "least": 1.0}, 0.5),
        ({"value": -20.0, "scale": 100.0, "least": -100.0}, 0.4),
    ],
)
def test_ratings_of_any_scale_lie_between_its_ends(rating: dict[str, float], part: float) -> None:
    listed = ranked(planned(None, rating=1.0), item("a", count=2**53, **rating))
    assert listed["a"].score == pytest.approx(part)


def test_a_rating_that_nobody_gave_is_none() -> None:
    listed = ranked(planned(None, rating=1.0), item("a", value=0.0, count=0))
    assert listed["a"].score == RANKING.rating_prior


# -- prices ------------------------------------------------------------------------------------------------------------


def test_what_costs_what_the_person_chose_fits_best_and_ratios_count() -> None:
    spends = prices(20, 20, 20)
    dear, cheap, same = fits(spends, 40, 10, 20)
    assert same == pytest.approx(1.0)
    assert dear == pytest.approx(cheap)
    assert 0.0 < fits(spends, 2000)[0] < dear < same


def test_one_known_price_says_less_than_many() -> None:
    few, many = prices(20), prices(*[20] * 12)
    assert fits(few, 60) > fits(many, 60)
    wide, evidence = math.log(WIDE_PRICE_RATIO), PRICE_EVIDENCE
    assert few.deviation == pytest.approx(math.sqrt(evidence * wide**2 / (1 + evidence)))
    assert prices(*[20] * 100_000).deviation == math.log(MIN_PRICE_RATIO)


def test_who_spends_widely_is_offered_widely() -> None:
    assert fits(prices(*[5, 500] * 10), 400)[0] > 2 * fits(prices(*[50, 50] * 10), 400)[0]


def test_newer_choices_weigh_more() -> None:
    details = {
        "new": RecentItemDetails(10.0),
        "old": RecentItemDetails(1000.0),
        "free": RecentItemDetails(0.0),
        "unknown": RecentItemDetails(),
    }
    weights = {"new": 1.0, "free": 0.9, "unknown": 0.8, "old": 0.25, "gone": 0.1}
    found = price_preference(weights, details)
    assert found is not None
    assert found.mean == pytest.approx(0.8 * math.log(10) + 0.2 * math.log(1000))


@pytest.mark.parametrize(
    "details", [{}, {"a": RecentItemDetails()}, {"a": RecentItemDetails(0.0)}, {"b": RecentItemDetails(3.0)}], ids=str
)
def test_without_a_known_price_there_is_no_range(details: dict[str, RecentItemDetails]) -> None:
    assert price_preference({"a": 1.0}, details) is None


def test_an_item_without_a_price_or_for_free_is_neither_better_nor_worse() -> None:
    assert fits(prices(20), math.nan, 0.0) == [NEUTRAL, NEUTRAL]


PRICES = st.lists(st.floats(0.01, 1e6), min_size=1, max_size=10)


@given(PRICES, st.floats(0.01, 1e6), st.floats(1e-3, 1e3))
def test_a_currency_changes_nothing(known: list[float], asked: float, rate: float) -> None:
    ours, theirs = prices(*known), prices(*(rate * price for price in known))
    assert fits(ours, asked)[0] == pytest.approx(fits(theirs, rate * asked)[0], abs=1e-6)
    assert 0.0 <= fits(ours, asked)[0] <= 1.0


def test_the_price_reranks_what_others_found_for_whom_prices_are_known() -> None:
    asked = planned(person("mug"), price=1.0)
    assert asked.needs_recent_details
    knowing = with_recent_items(asked, {"mug": RecentItemDetails(8.0)})
    listed = ranked(knowing, item("sofa", price=900.0), item("cup", price=9.0), item("unpriced"))
    assert list(listed) == ["cup", "unpriced", "sofa"]
    assert listed["unpriced"].terms["price"] == NEUTRAL
    unknowing = with_recent_items(asked, {"mug": RecentItemDetails()})
    assert unknowing.weights["price"] == 0.0
    assert "price" not in ranked(unknowing, item("cup", price=9.0))["cup"].terms


# -- pictures ----------------------------------------------------------------------------------------------------------

RED, BLUE = np.array([2.0, 0.0]), np.array([0.0, 1.0])


def test_pictures_count_as_directions_and_by_their_weights() -> None:
    found = image_preference(
        {"a": 3.0, "b": 1.0}, {"a": RecentItemDetails(None, RED, "s"), "b": RecentItemDetails(None, BLUE, "s")}
    )
    assert found is not None
    assert np.linalg.norm(found.vector) == pytest.approx(1.0)
    assert found.vector[0] / found.vector[1] == pytest.approx(3.0)


def test_pictures_of_another_model_are_left_out() -> None:
    details = {
        "newest": RecentItemDetails(),
        "new": RecentItemDetails(None, RED, "s2"),
        "old": RecentItemDetails(None, BLUE, "s1"),
    }
    found = image_preference({"newest": 1.0, "new": 0.5, "old": 9.0}, details)
    assert found is not None
    assert found.space == "s2"
    assert found.vector.tolist() == [1.0, 0.0]


def test_pictures_that_point_nowhere_are_not_gone_by() -> None:
    assert image_preference({"a": 1.0}, {"a": RecentItemDetails(3.0)}) is None
    opposite = {"a": RecentItemDetails(None, RED, "s"), "b": RecentItemDetails(None, -RED, "s")}
    assert image_preference({"a": 1.0, "b": 1.0}, opposite) is None
    assert with_recent_items(planned(person("a", "b"), image=1.0), {}).weights["image"] == 0.0


def test_likeness_of_pictures_is_brought_to_one_by_its_list() -> None:
    asked = with_recent_items(planned(person("a"), image=2.0), {"a": RecentItemDetails(None, RED, "s")})
    listed = ranked(asked, item("no picture"), image=[item("x", 0.9), item("y", 0.8), item("z", 0.7)])
    assert {name: one.score for name, one in listed.items()} == pytest.approx(
        {"x": 2.0, "y": 1.0, "z": 0.0, "no picture": 0.0}
    )


# -- who doesn't ask ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", STRATEGIES)
@pytest.mark.parametrize("who", [None, person("a", "b")])
def test_no_shipped_strategy_asks_for_any_of_it(name: str, who: Profile | None) -> None:
    asked = plan_retrieval(who, NOW, TAUS, RANKING, STRATEGIES[name])
    assert not asked.needs_recent_details
    assert with_recent_items(asked, {}) == asked


def test_affinity_is_asked_for_alike_beside_the_others() -> None:
    who = person("a", "b", "c")
    alone, beside = planned(who, affinity=1.0), planned(who, affinity=1.0, price=1.0, image=1.0, rating=1.0)
    assert alone.recents == beside.recents
    assert "affinity" in alone.rows
    assert "affinity" in beside.rows
    assert alone.rows["affinity"].values.tolist() == beside.rows["affinity"].values.tolist()
    without = planned(who, price=1.0)
    assert "affinity" not in without.rows
    assert (without.unused_affinity, without.weights["affinity"]) == (0.0, 0.0)


@pytest.mark.parametrize("who", [None, Profile(Person("u", "new"), SETTINGS)])
def test_to_a_stranger_only_ratings_apply(who: Profile | None) -> None:
    asked = with_recent_items(planned(who, rating=1.0, price=1.0, image=1.0), {})
    assert not asked.needs_recent_details
    assert (asked.weights["rating"], asked.weights["price"], asked.weights["image"]) == (1.0, 0.0, 0.0)


def test_a_situation_changes_these_weights_like_the_others() -> None:
    factors: dict[str, Any] = {"price": 0.0, "rating": 3.0}
    asked = plan_retrieval(person("a"), NOW, TAUS, RANKING, StrategySettings(price=1.0, rating=0.1), factors)
    assert not asked.needs_recent_details
    assert asked.weights["rating"] == pytest.approx(0.3)


def test_the_first_reason_is_the_largest_term() -> None:
    assert RankedItem("a", 1.0, terms={"rating": 0.7, "price": 0.9, "freshness": 0.0}).reasons == ["price", "rating"]
