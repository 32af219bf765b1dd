"""Blending lists: terms in one unit that add up, and a person's say in what is relevant."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eddyline.model.decay import Accumulator
from eddyline.model.fusion import InterestVectors, fuse_lists, interest_vectors, rerank_by_interest
from eddyline.model.ids import Person
from eddyline.model.profile import DecayedSums, Profile, TimeConstants
from eddyline.model.ranking import Hit, RankedItem
from eddyline.settings import ProfileSettings

NOW = 1_790_000_000.0
TAUS = TimeConstants.from_settings(ProfileSettings())
X, Y = np.asarray([1.0, 0.0]), np.asarray([0.0, 1.0])
HALVES = {"content": 0.5, "affinity": 0.5}
DEPTH = 100


def fused(
    lists: dict[str, dict[str, float]], floors: dict[str, float], weights: dict[str, float] = HALVES
) -> list[RankedItem]:
    hits = {name: [Hit(item_id, score, {}) for item_id, score in scores.items()] for name, scores in lists.items()}
    return fuse_lists(hits, weights, DEPTH, floors)


def test_the_best_of_every_list_is_worth_its_lists_weight() -> None:
    places = fused({"content": {"a": 0.8, "b": 0.6, "c": 0.4}, "affinity": {"a": 30.0, "b": 10.0}}, {})
    assert [(place.item_id, place.score) for place in places] == [("a", 1.0), ("b", 0.25), ("c", 0.0)]
    assert places[0].terms == {"content": 0.5, "affinity": 0.5}


def test_a_floor_counts_as_zero() -> None:
    places = fused({"affinity": {"a": 4.0, "b": 1.0}}, {"affinity": 0.0})
    assert [(place.item_id, place.score) for place in places] == [("a", 0.5), ("b", 0.125)]


def test_whoever_is_on_one_list_alone_has_nothing_of_the_other() -> None:
    places = fused({"content": {"a": 0.9, "b": 0.1}, "affinity": {"c": 2.0}}, {"affinity": 0.0})
    assert {place.item_id: place.terms for place in places}["c"] == {"content": 0.0, "affinity": 0.5}


def test_no_list_and_empty_lists_are_no_places() -> None:
    assert fused({}, {}) == []
    assert fused({"content": {}, "affinity": {}}, {"content": 0.5}) == []


SCORES = st.dictionaries(st.sampled_from("abcdefgh"), st.floats(-5, 500), max_size=8)


@given(SCORES, SCORES, st.floats(0.01, 0.99))
def test_terms_are_within_their_weights_and_add_up(one: dict[str, float], two: dict[str, float], share: float) -> None:
    weights = {"content": 1 - share, "affinity": share}
    places = fused({"content": one, "affinity": two}, {"affinity": 0.0}, weights)
    assert {place.item_id for place in places} == {*one, *two}
    assert [place.score for place in places] == sorted((place.score for place in places), reverse=True)
    for place in places:
        assert place.score == pytest.approx(sum(place.terms.values()), abs=1e-6)
        assert all(-1e-6 <= term <= weights[name] + 1e-6 for name, term in place.terms.items())


def test_a_persons_share_moves_what_is_as_relevant() -> None:
    person = InterestVectors({"taste": X}, {"taste": 1.0})

    def order(y: float, share: float) -> list[str]:
        hits = [Hit("x", 0.5, {}, X), Hit("y", y, {}, Y)]
        return [item.item_id for item in rerank_by_interest(hits, person, share)]

    assert (order(0.5, 0.2), order(0.9, 0.2), order(0.9, 0.5)) == (["x", "y"], ["y", "x"], ["x", "y"])
    (first, _) = rerank_by_interest([Hit("x", 0.5, {}, X), Hit("y", 0.5, {}, Y)], person, 0.2)
    assert first.terms == {"relevance": 0.4, "taste": 0.2}


def person_with(**vectors: Accumulator) -> Profile:
    profile = Profile(Person("u", "ada"), ProfileSettings())
    profile.taste.sums = DecayedSums(**vectors)
    return profile


def test_a_session_weighs_as_much_as_the_taste_at_most_and_fades() -> None:
    profile = person_with(session=Accumulator(Y * 1000, 1000.0, NOW), lifetime=Accumulator(X * 5, 5.0, NOW))
    now = interest_vectors(profile, NOW, TAUS)
    assert now is not None
    assert 0.49 < now.weights["session"] < 0.5
    assert sum(now.weights.values()) == pytest.approx(1.0)
    tomorrow = interest_vectors(profile, NOW + 86_400, TAUS)
    assert tomorrow is not None
    assert tomorrow.weights.get("session", 0.0) < 0.01


def test_answers_count_while_there_is_nothing_else() -> None:
    profile = person_with()
    assert interest_vectors(profile, NOW, TAUS) is None
    profile.taste.onboarding = Y
    told = interest_vectors(profile, NOW, TAUS)
    assert told is not None
    np.testing.assert_array_equal(told.vectors["taste"], Y)
    profile.taste.sums = DecayedSums(lifetime=Accumulator(X * 3, 3.0, NOW))
    known = interest_vectors(profile, NOW, TAUS)
    assert known is not None
    np.testing.assert_array_equal(known.vectors["taste"], X)
