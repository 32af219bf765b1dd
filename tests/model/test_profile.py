"""Profiles: the fold as a whole, its bounds, its stored form."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eddyline.errors import Misconfigured
from eddyline.model.ids import Person, dimension_of
from eddyline.model.profile import Deed, Pending, Profile, TimeConstants, merge
from eddyline.settings import Profile as ProfileSettings

NOW = 1_790_000_000.0
SMALL = ProfileSettings(recents=3, seen=4, event_ids=5)
TAUS = TimeConstants.of(SMALL)
ADA = Person("u", "ada")


def unit(seed: int) -> np.ndarray:
    vector = np.random.default_rng(seed).normal(size=4)
    return np.asarray(vector / np.linalg.norm(vector))


def deed(item: int, type: str = "click", weight: float = 1.0, time: float = NOW, event: str | None = None) -> Deed:
    return Deed(f"i{item}", type, unit(item), weight, time, event or f"e{item}@{time}")


deeds = st.lists(
    st.builds(
        deed,
        item=st.integers(0, 7),
        type=st.sampled_from(["click", "purchase", "like", "dislike"]),
        time=st.integers(-90 * 86_400, 0).map(lambda s: NOW + s),
    ).map(lambda d: Deed(d.item_id, d.type, d.vector, -3.0 if d.type == "dislike" else 2.0, d.time, d.event_id)),
    min_size=1,
    max_size=15,
)


def profile_of(all_deeds: list[Deed]) -> Profile:
    profile = Profile(ADA, SMALL)
    for one in all_deeds:
        profile.fold(one, TAUS)
    return profile


def same(one: Profile, other: Profile) -> None:
    for name in ("taste", "session", "lifetime"):
        a, b = getattr(one, name), getattr(other, name)
        np.testing.assert_allclose(a.sum, b.sum, rtol=1e-6, atol=1e-9)
        assert a.weight == pytest.approx(b.weight, rel=1e-9)
    for name in ("recents", "viewed", "purchased", "disliked", "liked"):
        assert getattr(one, name) == getattr(other, name)
    assert one.evidence == pytest.approx(other.evidence)
    assert (one.events, one.last_seen) == (other.events, other.last_seen)


@given(deeds, st.randoms(use_true_random=False))
def test_late_events_make_the_same_profile(all_deeds: list[Deed], random: object) -> None:
    shuffled = list(all_deeds)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    same(profile_of(all_deeds), profile_of(shuffled))


@given(deeds, deeds)
def test_merging_two_profiles_equals_folding_all_events_into_one(one: list[Deed], two: list[Deed]) -> None:
    same(merge(profile_of(one), profile_of(two), TAUS), profile_of(one + two))


@given(deeds)
def test_the_stored_form_is_the_profile(all_deeds: list[Deed]) -> None:
    profile = profile_of(all_deeds)
    profile.accepts("space")
    profile.advance("log", 2, 17)
    profile.remember("e1")
    profile.pending = (Pending("x", "{}", "interactions", 2, 18, "log", 1, NOW, (("h", "\xff"),)),)
    profile.onboard(unit(9), ("users-log", 0, 3), "premium", {"age": 30})
    loaded = Profile.load(ADA, profile.payload(2), profile.dense(), SMALL)
    same(loaded, profile)
    assert loaded.payload(2) == profile.payload(2)
    assert loaded.pending == profile.pending
    assert loaded.has_folded("log", 2, 17)
    assert not loaded.has_folded("log", 2, 18)
    assert not loaded.has_folded("another log", 2, 17)
    assert loaded.is_repeat("e1")


def test_a_copy_can_be_folded_into_without_changing_the_original() -> None:
    original = profile_of([deed(1)])
    stored = original.payload(2)
    copy = original.copy()
    copy.fold(deed(2), TAUS)
    copy.advance("log", 0, 5)
    copy.remember("e")
    copy.counts("i2", NOW)
    assert original.payload(2) == stored
    assert copy.payload(2) != stored


def test_sets_keep_only_the_newest_items() -> None:
    profile = profile_of([deed(n, time=NOW + n) for n in range(6)])
    assert profile.recents.newest_first() == ["i5", "i4", "i3"]
    assert set(profile.viewed.times) == {"i2", "i3", "i4", "i5"}


def test_what_was_bought_seen_or_disliked_is_hidden_as_asked() -> None:
    profile = profile_of([deed(1), deed(2, "purchase", 5.0), deed(3, "dislike", -3.0)])
    assert profile.hidden(["viewed"]) == {"i1", "i2", "i3"}
    assert profile.hidden(["purchased"]) == {"i2"}
    assert profile.hidden(["disliked"]) == {"i3"}
    assert profile.hidden([]) == set()


def test_a_later_like_lifts_a_dislike_and_an_earlier_one_does_not() -> None:
    dislike = deed(3, "dislike", -3.0, NOW)
    assert profile_of([dislike, deed(3, "like", 3.0, NOW + 1)]).hidden(["disliked"]) == set()
    assert profile_of([dislike, deed(3, "like", 3.0, NOW - 1)]).hidden(["disliked"]) == {"i3"}


def test_a_person_counts_once_an_hour_for_an_item() -> None:
    profile = Profile(ADA, SMALL)
    assert profile.counts("a", NOW)
    assert not profile.counts("a", NOW + 3599)
    assert profile.counts("b", NOW)
    assert profile.counts("a", NOW + 3600)


def test_an_erased_person_stays_forgotten_when_late_events_come() -> None:
    profile = profile_of([deed(1, time=NOW)])
    profile.advance("log", 1, 9)
    profile.epoch = 7
    profile.erase(NOW + 10, ("users-log", 0, 1))
    profile.fold(deed(2, time=NOW + 10), TAUS)
    assert profile.events == 0
    assert profile.dense() == {}
    assert profile.has_folded("log", 1, 9)
    assert profile.epoch == 7
    profile.fold(deed(3, time=NOW + 11), TAUS)
    assert profile.recents.newest_first() == ["i3"]


def test_older_answers_never_replace_newer_ones() -> None:
    profile = Profile(ADA, SMALL)
    profile.onboard(unit(1), ("log", 0, 5), "new", {})
    profile.onboard(unit(2), ("log", 0, 4), "old", {})
    assert profile.segment == "new"


def test_vectors_of_two_spaces_are_refused_with_the_way_out() -> None:
    profile = Profile(ADA, SMALL)
    profile.accepts("one")
    with pytest.raises(Misconfigured, match="reembed"):
        profile.accepts("two")


def test_history_has_unit_length_and_weighs_the_newest_most() -> None:
    profile = profile_of([deed(n, time=NOW + n) for n in range(3)])
    indices, values = profile.history()
    by_dimension = dict(zip(indices.tolist(), values.tolist(), strict=True))
    assert float(np.linalg.norm(values)) == pytest.approx(1.0, abs=1e-6)
    weights = [by_dimension[dimension_of(f"i{n}")] for n in (2, 1, 0)]
    assert weights == sorted(weights, reverse=True)
    assert weights[1] / weights[0] == pytest.approx(0.5 ** (1 / SMALL.recents_half_life), rel=1e-5)
