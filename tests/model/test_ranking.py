"""Ranking: what weighs, and that it holds at every size."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from eddyline.model.decay import DAY, add_to_decayed_count
from eddyline.model.ids import Person, item_dimension
from eddyline.model.offsets import LogPosition
from eddyline.model.profile import Profile, TimeConstants, WeightedInteraction
from eddyline.model.ranking import (
    AffinityQuery,
    Candidates,
    Hit,
    RankedItem,
    RankOptions,
    RetrievalPlan,
    ScoreBoost,
    freshness,
    merge_candidates,
    plan_retrieval,
    rank,
)
from eddyline.model.ranking.terms import EVIDENCE_POWER
from eddyline.model.trends import trend_tau
from eddyline.settings import STRATEGIES, ProfileSettings, RankingSettings, StrategySettings

NOW = 1_790_000_000.0
SETTINGS = ProfileSettings()
TAUS = TimeConstants.from_settings(SETTINGS)
RANKING = RankingSettings()
NOTHING = {"affinity": 0.0, "people": 0.0, "popularity": 0.0, "trending": 0.0, "freshness": 0.0}
EVERYONE = RetrievalPlan({}, NOTHING | {"popularity": 1.0, "freshness": 1.0})
DEFAULT = STRATEGIES["eddyline"]
CONTENT = STRATEGIES["content"]


def found(item: str, score: float = 0.0, popularity: float = 0, listed_at: float | None = None, **meta: Any) -> Hit:
    payload: dict[str, Any] = {"meta": meta}
    if listed_at is not None:
        payload["listed_at"] = listed_at
    if popularity:
        payload["trend"] = {
            "quarter": add_to_decayed_count(None, float(popularity), NOW, trend_tau("quarter")),
            "count": popularity,
        }
    return Hit(item, score, payload)


def table(*items: Hit, depth: int = 100, **lists: list[Hit]) -> Candidates:
    return merge_candidates({"freshness": list(items), **lists}, depth, unscored=("freshness",))


def options(limit: int = 10, **more: Any) -> RankOptions:
    return RankOptions(now=NOW, settings=RANKING, limit=limit, **more)


def ids(candidates: Candidates, person: RetrievalPlan = EVERYONE, **more: Any) -> list[str]:
    return [place.item_id for place in rank(candidates, person, options(**more))]


def person_with(*deeds: tuple[list[float], float, float]) -> Profile:
    profile = Profile(Person("u", "ada"), SETTINGS)
    for number, (vector, weight, time) in enumerate(deeds):
        profile.fold(WeightedInteraction(f"i{number}", "click", np.array(vector), weight, time), TAUS)
    return profile


def planned(
    profile: Profile | None, now: float = NOW, strategy: StrategySettings = CONTENT, **more: Any
) -> RetrievalPlan:
    return plan_retrieval(profile, now, TAUS, RANKING.model_copy(update=more), strategy)


# -- the list --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [0, 1, 2, 5, 50])
@pytest.mark.parametrize(
    "how", [{}, {"rotation": 0.3}, {"explore": 0.5}, {"diversity": 0.5}, {"per_category": 1}, {"min_score": 0.1}]
)
def test_it_works_at_any_size(count: int, how: dict[str, Any]) -> None:
    items = [found(f"i{n:02}", popularity=n, category=f"c{n % 3}") for n in range(count)]
    ranked = ids(table(*items), limit=10, **how)
    assert len(ranked) == len(set(ranked)) <= min(10, count)
    if not how:
        assert ranked == [f"i{n:02}" for n in reversed(range(count))][:10]


def test_a_stranger_gets_what_is_popular_and_new() -> None:
    person = planned(None, strategy=StrategySettings(popularity=0.25, freshness=0.1))
    assert person.is_cold
    assert not planned(person_with(([1.0, 0.0], 1.0, NOW)), strategy=StrategySettings(popularity=1.0)).is_cold
    assert planned(Profile(Person("u", "ada"), SETTINGS)).is_cold
    assert ids(table(found("old"), found("hit", popularity=9), found("new", listed_at=NOW)), person) == [
        "hit",
        "new",
        "old",
    ]


def test_equal_scores_are_in_the_order_of_their_ids() -> None:
    assert ids(table(found("b"), found("a"), found("c"))) == ["a", "b", "c"]


def test_excluded_items_and_items_of_earlier_pages_are_left_out() -> None:
    items = table(*(found(name) for name in "abcd"))
    assert ids(items, exclude={"a"}, excluded=lambda item: item == "c") == ["b", "d"]


def test_scores_go_on_from_page_to_page() -> None:
    person = RetrievalPlan({"taste": np.ones(2)}, NOTHING | {"taste": 1.0, "popularity": 0.4})
    items = table(taste=[found(f"i{n}", 0.9 - 0.1 * n, popularity=9 - n) for n in range(6)])
    whole = rank(items, person, options(limit=6))
    served = {place.item_id for place in whole[:3]}
    assert rank(items, person, options(limit=3, excluded=served.__contains__)) == whole[3:]
    assert rank(items, person, options(limit=3, excluded=lambda _: True)) == []


def test_terms_add_up_to_the_score_and_name_the_reason() -> None:
    person = RetrievalPlan({"session": np.ones(2)}, NOTHING | {"session": 1.0, "popularity": 0.2, "freshness": 0.1})
    items = table(session=[found("a", 0.9, popularity=3), found("b", 0.1)])
    boost = ScoreBoost(lambda payload: "trend" in payload, 1.5)
    best = rank(items, person, options(boosts=[boost], fatigue={"a": 2.0}))[0]
    assert best.item_id == "a"
    assert set(best.terms) == {"session", "popularity", "freshness", "boost", "fatigue"}
    assert sum(best.terms.values()) == pytest.approx(best.score, abs=1e-6)
    popular = 0.2 * np.log(4) / np.log(11)
    assert best.score == pytest.approx((1.0 + popular) * 1.5 * 2 ** (-2.0 / RANKING.fatigue_exposures), abs=1e-5)
    assert best.reasons[0] == "session"


def test_an_item_that_a_source_did_not_list_gets_nothing_from_it() -> None:
    person = RetrievalPlan({"taste": np.ones(2)}, NOTHING | {"taste": 1.0})
    items = table(found("not"), taste=[found("best", 0.9), found("listed", 0.5), found("last", 0.4)], depth=3)
    scores = {place.item_id: place.score for place in rank(items, person, options())}
    assert scores == {"best": 1.0, "listed": pytest.approx(0.2), "last": 0.0, "not": 0.0}


def test_the_end_of_a_full_list_is_zero_even_when_it_is_excluded() -> None:
    person = RetrievalPlan({"taste": np.ones(2)}, NOTHING | {"taste": 1.0})
    items = table(taste=[found("best", 0.9), found("listed", 0.5), found("last", 0.4)], depth=3)
    assert rank(items, person, options(exclude={"last"}))[1].score == pytest.approx(0.2)


def test_affinity_is_over_the_largest_and_nothing_is_nothing() -> None:
    query = AffinityQuery(np.array([1], dtype=np.uint32), np.ones(1, dtype=np.float32))
    person = RetrievalPlan({}, NOTHING | {"affinity": 2.0}, {"affinity": query})
    items = table(found("none"), affinity=[found(f"i{n:02}", 25.0 - n, popularity=3) for n in range(25)])
    scores = {place.item_id: place.score for place in rank(items, person, options(limit=50))}
    assert scores["i00"] == 2.0
    assert scores["i05"] == pytest.approx(2.0 * (20 / 25) ** EVIDENCE_POWER, abs=1e-6)
    assert scores["none"] == 0.0


def test_what_affinity_cannot_use_goes_to_content() -> None:
    query = AffinityQuery(np.array([1], dtype=np.uint32), np.ones(1, dtype=np.float32))
    person = RetrievalPlan({"taste": np.ones(2)}, NOTHING | {"affinity": 1.0, "taste": 0.2}, {"affinity": query})
    few = table(
        affinity=[found("a", 3.0, popularity=3), found("hearsay", 2.0, popularity=2)],
        taste=[found("b", 0.9), found("c", 0.1)],
    )
    scores = {place.item_id: place.score for place in rank(few, person, options())}
    assert scores["a"] == pytest.approx(1 / 25)
    assert scores["b"] == pytest.approx(0.2 + 24 / 25)
    nobody = RetrievalPlan({"taste": np.ones(2)}, NOTHING | {"taste": 0.2}, unused_affinity=1.0)
    assert rank(table(taste=[found("b", 0.9), found("c", 0.1)]), nobody, options())[0].score == pytest.approx(1.2)


def test_only_what_scores_enough_is_listed() -> None:
    items = table(found("low", popularity=1), found("high", popularity=99))
    assert ids(items, min_score=0.5) == ["high"]


def test_a_category_has_its_cap_and_the_rest_moves_up() -> None:
    items = table(*(found(f"a{n}", popularity=9 - n, category="a") for n in range(5)), found("b", category="b"))
    assert ids(items, per_category=2) == ["a0", "a1", "b"]


def test_items_without_a_category_are_not_capped_together() -> None:
    assert len(ids(table(*(found(f"i{n}") for n in range(5))), per_category=1)) == 5


# -- chance ----------------------------------------------------------------------------------------------------------


def many(count: int = 60) -> Candidates:
    return table(*(found(f"i{n:02}", popularity=count - n, category=f"c{n % 4}") for n in range(count)))


def test_one_seed_gives_one_list_and_another_gives_another() -> None:
    lists = {seed: tuple(ids(many(), rotation=0.2, seed=seed)) for seed in range(20)}
    assert all(tuple(ids(many(), rotation=0.2, seed=seed)) == each for seed, each in lists.items())
    assert len(set(lists.values())) == 20


def test_a_rotated_list_goes_on_over_pages_without_repeats() -> None:
    whole = ids(many(), rotation=0.3, seed=5, limit=30)
    first = ids(many(), rotation=0.3, seed=5, limit=10)
    rest = ids(many(), rotation=0.3, seed=5, limit=20, exclude=set(first))
    assert whole[:10] == first
    assert sorted(whole) != sorted(ids(many(), limit=30))
    assert not set(first) & set(rest)


def test_the_better_comes_first_more_often() -> None:
    items = table(found("half", popularity=9), found("whole", popularity=99))
    firsts = [ids(items, rotation=0.3, seed=seed)[0] for seed in range(2000)]
    assert firsts.count("half") / 2000 == pytest.approx(1 / (1 + 2 ** (1 / 0.3)), abs=0.025)


def test_exploration_tries_what_few_have_chosen_and_leaves_the_first_two_places() -> None:
    plain = ids(many())
    tried: set[str] = set()
    for seed in range(30):
        places = rank(many(), EVERYONE, options(explore=0.3, seed=seed))
        assert [place.item_id for place in places[:2]] == plain[:2]
        explored = [place.item_id for place in places if place.explored]
        tried |= set(explored)
        kept = [place.item_id for place in places if not place.explored]
        assert kept == [item for item in plain if item in kept]
    shares = [sum(place.explored for place in rank(many(), EVERYONE, options(explore=0.3, seed=s))) for s in range(200)]
    assert np.mean(shares) == pytest.approx(0.3 * 8, abs=0.3)
    assert len(tried - set(plain)) > 12


# -- diversity -------------------------------------------------------------------------------------------------------


def clusters() -> Candidates:
    """Five like a, five like b, the a's more popular."""
    a, b = np.array([1.0, 0.0]), np.array([0.0, 1.0])
    listed = [found(f"a{n}", popularity=20 - n)._replace(vector=a) for n in range(5)]
    listed += [found(f"b{n}", popularity=10 - n)._replace(vector=b) for n in range(5)]
    return table(*listed)


def test_diversity_mixes_what_is_alike() -> None:
    assert ids(clusters(), limit=5) == [f"a{n}" for n in range(5)]
    mixed = ids(clusters(), limit=4, diversity=0.7)
    assert mixed[0] == "a0"
    assert {item[0] for item in mixed[:2]} == {"a", "b"}


def test_more_diversity_is_never_more_alike() -> None:
    def likeness(diversity: float) -> float:
        listed = ids(clusters(), limit=5, diversity=diversity)
        return sum(one[0] == other[0] for one in listed for other in listed)

    steps = [likeness(step / 10) for step in range(11)]
    assert steps == sorted(steps, reverse=True)
    assert steps[0] > steps[-1]


# -- what weighs for whom --------------------------------------------------------------------------------------------


def test_the_session_weighs_more_with_every_click_and_fades() -> None:
    one = planned(person_with(([1, 0], 1.0, NOW))).weights["session"]
    two = planned(person_with(([1, 0], 1.0, NOW), ([1, 0], 1.0, NOW))).weights["session"]
    later = planned(person_with(([1, 0], 1.0, NOW)), NOW + 3600).weights["session"]
    assert later < one < two < CONTENT.session
    assert "session" not in planned(person_with(([1, 0], 1.0, NOW)), NOW + DAY).dense


def test_someone_back_after_ninety_days_is_still_known() -> None:
    old = [([1.0, 0.0], 5.0, NOW - 90 * DAY - n) for n in range(20)]
    person = planned(person_with(*old, ([0.0, 1.0], 1.0, NOW)))
    assert person.weights["lifetime"] > person.weights["taste"]
    assert person.dense["lifetime"][0] > 0.9


def test_to_someone_new_the_recent_taste_is_all_there_is() -> None:
    person = planned(person_with(([1.0, 0.0], 1.0, NOW)))
    assert person.weights["taste"] > 0.99 * CONTENT.taste
    assert person.weights.get("lifetime", 0.0) < 0.01


def test_what_hardly_weighs_is_not_searched_for() -> None:
    newcomer = planned(person_with(([1.0, 0.0], 1.0, NOW - 60)))
    assert newcomer.dense.keys() == {"taste", "session"}, "their lifetime is their taste"
    assert newcomer.weights["taste"] == pytest.approx(CONTENT.weights(newcomer.session_activity)["taste"])
    assert planned(person_with(([1.0, 0.0], 1.0, NOW - 30 * DAY))).dense.keys() == {"taste", "lifetime"}


def test_answers_count_until_behaviour_speaks() -> None:
    profile = Profile(Person("u", "ada"), SETTINGS)
    profile.onboard(np.array([0.0, 1.0]), LogPosition("log", 0, 0), None, {})
    first = planned(profile)
    assert first.weights["onboarding"] == CONTENT.taste
    assert not first.is_cold
    for number in range(20):
        profile.fold(WeightedInteraction(f"i{number}", "like", np.array([1.0, 0.0]), 3.0, NOW), TAUS)
    later = planned(profile)
    assert later.weights["onboarding"] < 0.1 < later.weights["taste"]


def test_in_a_visit_the_last_item_counts_most_and_at_its_start_all_of_them() -> None:
    profile = person_with(*(([1.0, 0.0], 1.0, NOW - 60 + n) for n in range(30)))

    def share(now: float) -> float:
        weights = list(planned(profile, now, DEFAULT).recents.values())
        return weights[0] / sum(weights)

    assert share(NOW) > 0.15
    assert share(NOW + DAY) < 0.06


def test_what_all_choose_says_less() -> None:
    profile = Profile(Person("u", "ada"), SETTINGS)
    for name, popularity in (("rare", 0.0), ("hit", 999.0)):
        profile.fold(WeightedInteraction(name, "click", np.array([1.0, 0.0]), 1.0, NOW, popularity), TAUS)
    damped = planned(profile, strategy=DEFAULT).recents
    plain = planned(profile, strategy=DEFAULT, popularity_damping=0.0).recents
    assert damped["rare"] == plain["rare"]
    assert plain["hit"] / damped["hit"] == pytest.approx(1000**RANKING.popularity_damping)


def test_the_affinity_query_has_the_recents_dimensions() -> None:
    person = planned(person_with(([1.0, 0.0], 1.0, NOW)), strategy=DEFAULT)
    assert "affinity" in person.rows
    assert person.rows["affinity"].indices.tolist() == [item_dimension("i0")]
    assert person.rows["affinity"].values.sum() == pytest.approx(1.0)


def test_at_the_start_of_a_visit_its_own_weights_hold_and_then_give_way() -> None:
    profile = person_with(([1.0, 0.0], 1.0, NOW))
    strategy = StrategySettings(popularity=0.1, affinity=1.0, session_start={"popularity": 0.5})
    at_once, later, next_day = (
        planned(profile, NOW + gap, strategy).weights["popularity"] for gap in (0.0, 15 * 60.0, DAY)
    )
    assert [at_once, later, next_day] == pytest.approx([0.1, 0.3, 0.5])


def test_a_situation_can_change_the_weights() -> None:
    person = plan_retrieval(None, NOW, TAUS, RANKING, StrategySettings(popularity=0.5), {"popularity": 2.0})
    assert person.weights["popularity"] == 1.0


def test_freshness_halves_with_every_half_life() -> None:
    times = np.array([NOW, NOW - DAY, NOW + DAY, -np.inf])
    assert freshness(times, NOW, DAY).tolist() == [1.0, 0.5, 1.0, 0.0]


def test_an_empty_list_has_no_reason() -> None:
    assert RankedItem("a", 0.0).reasons == []


def test_chance_is_no_reason() -> None:
    assert RankedItem("a", 1.5, terms={"affinity": 0.5, "rotation": 1.0, "fatigue": -0.2}).reasons == ["affinity"]
