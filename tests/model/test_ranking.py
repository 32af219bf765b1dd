"""Ranking: what weighs, and that it holds at every size."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from eddyline.model.decay import count_in
from eddyline.model.ids import Person
from eddyline.model.profile import DAY, Deed, Profile, TimeConstants
from eddyline.model.ranking import Candidate, RankOptions, Sources, freshness, rank, sources, trend_tau
from eddyline.settings import Profile as ProfileSettings
from eddyline.settings import Ranking

NOW = 1_790_000_000.0
SETTINGS = ProfileSettings()
TAUS = TimeConstants.of(SETTINGS)
RANKING = Ranking()
EVERYONE = Sources({}, {"popularity": 1.0, "freshness": 1.0})


def candidate(item: str, popularity: int = 0, listed_at: float | None = None, **similarity: float) -> Candidate:
    payload: dict[str, object] = {} if listed_at is None else {"listed_at": listed_at}
    if popularity:
        payload["trend"] = {"quarter": count_in(None, float(popularity), NOW, trend_tau("quarter"))}
    return Candidate(item, similarity, payload)


def options(limit: int = 10, **more: Any) -> RankOptions:
    return RankOptions(now=NOW, settings=RANKING, limit=limit, **more)


def ids(candidates: list[Candidate], person: Sources = EVERYONE, **more: Any) -> list[str]:
    return [place.candidate.item_id for place in rank(candidates, person, options(**more))]


def person_with(*deeds: tuple[list[float], float, float]) -> Profile:
    profile = Profile(Person("u", "ada"), SETTINGS)
    for number, (vector, weight, time) in enumerate(deeds):
        profile.fold(Deed(f"i{number}", "click", np.array(vector), weight, time, f"e{number}"), TAUS)
    return profile


@pytest.mark.parametrize("count", [0, 1, 2, 5, 50])
def test_it_works_at_any_size(count: int) -> None:
    ranked = rank([candidate(f"i{n:02}", popularity=n) for n in range(count)], EVERYONE, options(limit=10))
    assert [place.candidate.item_id for place in ranked] == [f"i{n:02}" for n in reversed(range(count))][:10]


def test_a_stranger_gets_what_is_popular_and_new() -> None:
    person = sources(None, NOW, TAUS, RANKING)
    assert person.is_cold
    assert ids([candidate("old"), candidate("hit", popularity=9), candidate("new", listed_at=NOW)], person) == [
        "hit",
        "new",
        "old",
    ]


def test_equal_scores_are_in_the_order_of_their_ids() -> None:
    assert ids([candidate("b"), candidate("a"), candidate("c")]) == ["a", "b", "c"]


def test_excluded_items_and_items_of_earlier_pages_are_left_out() -> None:
    items = [candidate(name) for name in "abcd"]
    assert ids(items, exclude={"a"}, excluded=lambda item: item == "c") == ["b", "d"]


def test_terms_add_up_to_the_score_and_name_the_reason() -> None:
    person = Sources({"session": np.ones(2)}, {"session": 1.0, "popularity": 0.2, "freshness": 0.1})
    best = rank([candidate("a", popularity=3, session=0.9), candidate("b", session=0.1)], person, options())[0]
    assert best.candidate.item_id == "a"
    assert sum(best.terms.values()) == pytest.approx(best.score, abs=1e-6)
    assert best.because == "close to what you are looking at now"


def test_an_item_that_a_source_did_not_list_gets_nothing_from_it() -> None:
    person = Sources({"taste": np.ones(2)}, {"taste": 1.0, "popularity": 0.0, "freshness": 0.0})
    ranked = rank(
        [candidate("listed", taste=0.5), candidate("best", taste=0.9), candidate("not")],
        person,
        options(floors={"taste": 0.4}),
    )
    scores = {place.candidate.item_id: place.score for place in ranked}
    assert scores == {"best": 1.0, "listed": pytest.approx(0.2), "not": 0.0}


def test_the_session_weighs_more_with_every_click_and_fades() -> None:
    one = sources(person_with(([1, 0], 1.0, NOW)), NOW, TAUS, RANKING).weights["session"]
    two = sources(person_with(([1, 0], 1.0, NOW), ([1, 0], 1.0, NOW)), NOW, TAUS, RANKING).weights["session"]
    later = sources(person_with(([1, 0], 1.0, NOW)), NOW + 3600, TAUS, RANKING).weights["session"]
    assert later < one < two < RANKING.session
    assert "session" not in sources(person_with(([1, 0], 1.0, NOW)), NOW + DAY, TAUS, RANKING).queries


def test_someone_back_after_ninety_days_is_still_known() -> None:
    old = [([1.0, 0.0], 5.0, NOW - 90 * DAY - n) for n in range(20)]
    person = sources(person_with(*old, ([0.0, 1.0], 1.0, NOW)), NOW, TAUS, RANKING)
    assert person.weights["lifetime"] > person.weights["taste"]
    assert person.queries["lifetime"][0] > 0.9


def test_to_someone_new_the_recent_taste_is_all_there_is() -> None:
    person = sources(person_with(([1.0, 0.0], 1.0, NOW)), NOW, TAUS, RANKING)
    assert person.weights["taste"] > 0.99 * RANKING.taste
    assert person.weights.get("lifetime", 0.0) < 0.01


def test_answers_count_until_behaviour_speaks() -> None:
    profile = Profile(Person("u", "ada"), SETTINGS)
    profile.onboard(np.array([0.0, 1.0]), ("log", 0, 0), None, {})
    first = sources(profile, NOW, TAUS, RANKING)
    assert first.weights["onboarding"] == RANKING.taste
    assert not first.is_cold
    for number in range(20):
        profile.fold(Deed(f"i{number}", "like", np.array([1.0, 0.0]), 3.0, NOW, f"e{number}"), TAUS)
    later = sources(profile, NOW, TAUS, RANKING)
    assert later.weights["onboarding"] < 0.1 < later.weights["taste"]


def test_freshness_halves_with_every_half_life() -> None:
    assert freshness(NOW, NOW, DAY) == 1.0
    assert freshness(NOW - DAY, NOW, DAY) == 0.5
    assert freshness(NOW + DAY, NOW, DAY) == 1.0
    assert freshness(None, NOW, DAY) == 0.0
