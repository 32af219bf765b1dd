"""Distances: what is searched with, and how near things are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.fakes import near

from eddyline.model.decay import Accumulator, Vector
from eddyline.model.distance import (
    Distance,
    cosine_similarity,
    distance_of,
    interest_vector,
    normalise_rows,
    query_vector,
    similarities,
    similarity_from_score,
    space_of,
)
from eddyline.model.fusion import InterestVectors, rerank_by_interest
from eddyline.model.ids import Person
from eddyline.model.profile import DecayedSums, Profile, TimeConstants, WeightedInteraction
from eddyline.model.profile.taste import Taste
from eddyline.model.ranking import Candidates, Hit, RankOptions, plan_retrieval, rank
from eddyline.settings import ProfileSettings, RankingSettings, StrategySettings

NOW = 1_790_000_000.0
SOMEWHERE = np.array([3.0, 4.0])


@pytest.mark.parametrize("distance", Distance)
def test_a_space_says_its_distance(distance: Distance) -> None:
    assert distance_of(space_of(distance, "my-dot-model.2-t1")) is distance
    assert Distance.named(distance.lower()) is distance


def test_a_space_of_before_is_of_the_cosine() -> None:
    assert space_of(Distance.COSINE, "53aa-t1") == "53aa-t1"
    assert distance_of("53aa-t1") is distance_of(None) is Distance.COSINE


def test_an_interest_is_a_direction_or_by_euclid_a_point() -> None:
    liked = Accumulator(2.0 * SOMEWHERE, 2.0, NOW)
    near(interest_vector(liked, Distance.COSINE), [0.6, 0.8])
    near(interest_vector(liked, Distance.DOT), [0.6, 0.8])
    near(interest_vector(liked, Distance.EUCLID), [3.0, 4.0])
    for distance in Distance:
        assert interest_vector(Accumulator(), distance) is None
    assert interest_vector(Accumulator(np.zeros(2), 2.0, NOW), Distance.DOT) is None, "a like and an equal dislike"
    near(interest_vector(Accumulator(np.zeros(2), 2.0, NOW), Distance.EUCLID), [0.0, 0.0])


PLACES = st.lists(st.tuples(st.floats(-100, 100), st.floats(-100, 100), st.floats(-3, 3)), min_size=1, max_size=8)


@given(PLACES, st.tuples(st.floats(-1e3, 1e3), st.floats(-1e3, 1e3)))
def test_by_euclid_moving_everything_moves_what_is_searched_for(
    places: list[tuple[float, float, float]], by: tuple[float, float]
) -> None:
    found = [_chosen(places, offset) for offset in ((0.0, 0.0), by)]
    if all(weight <= 1e-3 for *_, weight in places):
        return  # nothing that one could be near to
    assert found[0] is not None
    near(found[1], found[0] + np.asarray(by), absolute=1e-6)


def test_by_euclid_a_dislike_moves_nothing() -> None:
    near(_chosen([(100.0, 100.0, 3.0), (100.0, 90.0, -1.0)], (0.0, 0.0)), [100.0, 100.0])
    assert _chosen([(100.0, 90.0, -1.0)], (0.0, 0.0)) is None


def _chosen(places: Sequence[tuple[float, float, float]], by: tuple[float, float]) -> Vector | None:
    """What someone is searched for by who did things of these weights at these places."""
    settings = ProfileSettings()
    profile = Profile(Person("u", "ada"), settings)
    profile.require_space("euclid+model-t1")
    for number, (x, y, weight) in enumerate(places):
        kind = "like" if weight > 0 else "dislike"
        place = np.asarray([x, y]) + np.asarray(by)
        profile.fold(
            WeightedInteraction(f"item {number}", kind, place, weight, NOW + number),
            TimeConstants.from_settings(settings),
        )
    return interest_vector(profile.taste.sums.lifetime, Distance.EUCLID)


def test_a_query_keeps_its_length_by_euclid_alone() -> None:
    near(query_vector(SOMEWHERE, Distance.DOT), [0.6, 0.8])
    near(query_vector(SOMEWHERE, Distance.EUCLID), SOMEWHERE)
    near(query_vector(np.zeros(2), Distance.COSINE), np.zeros(2))


def test_similarities_are_larger_the_closer() -> None:
    rows = np.array([[3.0, 4.0], [30.0, 40.0], [0.0, 1.0]])
    near(similarities(SOMEWHERE, rows, Distance.EUCLID), [1.0, 1 / 46, 1 / (1 + 18**0.5)])
    near(similarities(np.array([0.6, 0.8]), rows, Distance.DOT), [5.0, 50.0, 0.8])
    assert similarity_from_score(45.0, Distance.EUCLID) == pytest.approx(1 / 46)
    assert similarity_from_score(0.3, Distance.COSINE) == 0.3


def test_likeness_goes_by_direction() -> None:
    assert cosine_similarity(SOMEWHERE, 10 * SOMEWHERE) == pytest.approx(1.0)
    assert cosine_similarity(SOMEWHERE, np.zeros(2)) == 0.0
    near(normalise_rows(np.array([[3.0, 4.0], [0.0, 0.0]])), [[0.6, 0.8], [0.0, 0.0]])


@pytest.mark.parametrize(
    ("distance", "taste", "answers"),
    [(Distance.DOT, [1.0, 0.0], [0.0, 1.0]), (Distance.EUCLID, [7.0, 0.0], [0.0, 5.0])],
)
def test_a_plan_searches_by_the_distance_of_the_profiles_space(
    distance: Distance, taste: list[float], answers: list[float]
) -> None:
    settings = ProfileSettings()
    profile = Profile(Person("u", "ada"), settings, last_seen=NOW)
    chosen = Accumulator(np.array([21.0, 0.0]), 3.0, NOW)
    space, sums = space_of(distance, "model-t1"), DecayedSums(chosen, chosen, chosen)
    profile.taste = Taste(space, sums, evidence=3.0, onboarding=np.array([0.0, 5.0]))
    strategy = StrategySettings(taste=1.0, session=1.0)
    planned = plan_retrieval(profile, NOW, TimeConstants.from_settings(settings), RankingSettings(), strategy)
    assert planned.distance is distance
    near(planned.dense["session"], taste)
    near(planned.dense["taste"], taste)
    near(planned.dense["onboarding"], answers)


def test_a_person_has_a_say_in_the_unit_of_the_distance() -> None:
    rows = np.array([[1.0, 0.0], [5.0, 0.0]])
    person = InterestVectors({"taste": np.array([5.0, 0.0])}, {"taste": 1.0}, Distance.EUCLID)
    hits = [Hit("close", 0.5, {}, rows[0]), Hit("far", 0.5, {}, rows[1])]
    first, second = rerank_by_interest(hits, person, 0.5)
    assert (first.item_id, first.terms) == ("far", {"relevance": 0.25, "taste": 0.5})
    assert second.terms["taste"] == pytest.approx(0.1)


def test_what_is_a_little_nearer_comes_first_however_far_everything_is() -> None:
    rows = np.array([[2001.0, 0.0], [2000.0, 0.0]])
    person = InterestVectors({"taste": np.zeros(2)}, {"taste": 1.0}, Distance.EUCLID)
    relevance = similarities(np.zeros(2), rows, Distance.EUCLID).tolist()
    hits = [Hit(item_id, score, {}, row) for item_id, score, row in zip("ab", relevance, rows, strict=True)]
    assert [item.item_id for item in rerank_by_interest(hits, person, 0.3)] == ["b", "a"]


def test_diversity_goes_by_direction_whatever_the_lengths() -> None:
    vectors = [np.array([1.0, 0.0]), np.array([9.0, 0.0]), np.array([0.0, 0.1])]
    candidates = Candidates(
        ["a", "b", "c"], [{}, {}, {}], {"taste": np.array([1.0, 0.9, 0.8])}, {"taste": 0.0}, vectors
    )
    settings = ProfileSettings()
    profile = Profile(Person("u", "ada"), settings, last_seen=NOW)
    chosen = Accumulator(np.array([1.0, 0.0]), 1.0, NOW)
    profile.taste.sums = DecayedSums(taste=chosen, lifetime=chosen)
    planned = plan_retrieval(
        profile, NOW, TimeConstants.from_settings(settings), RankingSettings(), StrategySettings(taste=1.0)
    )
    for diversity, expected in ((0.0, ["a", "b", "c"]), (0.5, ["a", "c", "b"])):
        listed = rank(candidates, planned, RankOptions(NOW, RankingSettings(), 3, diversity=diversity))
        assert [one.item_id for one in listed] == expected
