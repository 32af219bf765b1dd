"""Profiles: the fold as a whole, its bounds, its stored form."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eddyline.errors import Misconfigured
from eddyline.model.ids import Person, item_dimension
from eddyline.model.profile import PendingInteraction, Profile, TimeConstants, WeightedInteraction, merge_profiles
from eddyline.model.profile.state import RECENT_HALF_LIFE
from eddyline.settings import ProfileSettings

NOW = 1_790_000_000.0
SMALL = ProfileSettings(recents=3, seen=4, event_ids=5)
TAUS = TimeConstants.of(SMALL)
ADA = Person("u", "ada")


def unit(seed: int) -> np.ndarray:
    vector = np.random.default_rng(seed).normal(size=4)
    return np.asarray(vector / np.linalg.norm(vector))


def deed(
    item: int, type: str = "click", weight: float = 1.0, time: float = NOW, event: str | None = None
) -> WeightedInteraction:
    return WeightedInteraction(f"i{item}", type, unit(item), weight, time, event or f"e{item}@{time}")


deeds = st.lists(
    st.builds(
        deed,
        item=st.integers(0, 7),
        type=st.sampled_from(["click", "purchase", "like", "dislike"]),
        time=st.integers(-90 * 86_400, 0).map(lambda s: NOW + s),
    ).map(
        lambda d: WeightedInteraction(
            d.item_id, d.type, d.vector, -3.0 if d.type == "dislike" else 2.0, d.time, d.event_id
        )
    ),
    min_size=1,
    max_size=15,
)


def profile_of(all_deeds: list[WeightedInteraction]) -> Profile:
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
def test_late_events_make_the_same_profile(all_deeds: list[WeightedInteraction], random: object) -> None:
    shuffled = list(all_deeds)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    same(profile_of(all_deeds), profile_of(shuffled))


@given(deeds, deeds)
def test_merging_two_profiles_equals_folding_all_events_into_one(
    one: list[WeightedInteraction], two: list[WeightedInteraction]
) -> None:
    same(merge_profiles(profile_of(one), profile_of(two), TAUS), profile_of(one + two))


@given(deeds)
def test_the_stored_form_is_the_profile(all_deeds: list[WeightedInteraction]) -> None:
    profile = profile_of(all_deeds)
    profile.require_space("space")
    profile.advance("log", 2, 17)
    profile.remember("e1")
    profile.pending = (PendingInteraction("x", "{}", "interactions", 2, 18, "log", 1, NOW, (("h", "\xff"),)),)
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
    copy.count_once_per_hour("i2", NOW)
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
    assert profile.count_once_per_hour("a", NOW)
    assert not profile.count_once_per_hour("a", NOW + 3599)
    assert profile.count_once_per_hour("b", NOW)
    assert profile.count_once_per_hour("a", NOW + 3600)


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
    profile.require_space("one")
    with pytest.raises(Misconfigured, match="reembed"):
        profile.require_space("two")


def test_history_has_unit_length_and_weighs_the_newest_most() -> None:
    profile = profile_of([deed(n, time=NOW + n) for n in range(3)])
    indices, values = profile.history()
    by_dimension = dict(zip(indices.tolist(), values.tolist(), strict=True))
    assert float(np.linalg.norm(values)) == pytest.approx(1.0, abs=1e-6)
    weights = [by_dimension[item_dimension(f"i{n}")] for n in (2, 1, 0)]
    assert weights == sorted(weights, reverse=True)
    assert weights[1] / weights[0] == pytest.approx(0.5 ** (1 / RECENT_HALF_LIFE), rel=1e-5)


def shown_to(*lists: tuple[list[str], float]) -> Profile:
    profile = Profile(ADA, SMALL)
    for items, time in lists:
        profile.show(items, time)
    return profile


def test_what_was_shown_and_left_alone_tires_and_what_was_chosen_does_not() -> None:
    profile = shown_to((["i1", "i2"], NOW), (["i1", "i2"], NOW + 3600))
    profile.fold(deed(2, time=NOW + 3610), TAUS)
    half_life = profile.settings.exposure_half_life_days * 86_400.0
    faded = {"i1": 0.5 + 0.5 ** (1 + 3600 / half_life)}
    assert profile.fatigue(NOW + 3600 + half_life) == pytest.approx(faded, rel=1e-3)
    assert profile.fatigue(NOW + 3600, until=NOW) == {}
    assert profile.fatigue(NOW, until=NOW + 3600) == pytest.approx({"i1": 1.0}, rel=1e-3)


def test_an_impression_of_the_apps_own_settles_nothing() -> None:
    profile = shown_to((["i1"], NOW))
    profile.fold(deed(1, "impression", 0.0, NOW + 60), TAUS)
    assert profile.fatigue(NOW + 60).keys() == {"i1"}


def test_what_was_shown_is_no_event_and_no_taste() -> None:
    profile = shown_to((["i1"], NOW))
    assert (profile.events, profile.last_seen, profile.evidence) == (0, 0.0, 0.0)
    assert profile.dense() == {}
    assert profile.hidden(["viewed", "purchased", "disliked"]) == set()
    assert profile.is_unknown


@given(deeds, st.lists(st.tuples(st.lists(st.sampled_from(["i1", "i2", "i8"])), st.just(NOW)), max_size=5))
def test_merging_adds_what_was_shown(
    all_deeds: list[WeightedInteraction], lists: list[tuple[list[str], float]]
) -> None:
    later = [(items, time + 600 * n) for n, (items, time) in enumerate(lists)]
    one, two, both = profile_of(all_deeds), shown_to(*later), profile_of(all_deeds)
    for items, time in later:
        both.show(items, time)
    merged = merge_profiles(one, two, TAUS)
    assert merged.shown.to_plain() == both.shown.to_plain()
    assert merged.fatigue(NOW + 9000) == both.fatigue(NOW + 9000)


def test_an_erasure_covers_what_was_shown_until_then() -> None:
    profile = shown_to((["i1"], NOW))
    profile.erase(NOW + 10, ("users-log", 0, 1))
    profile.show(["i2"], NOW + 10)
    assert profile.fatigue(NOW + 100) == {}
    assert profile.is_blank
    profile.show(["i3"], NOW + 70)
    assert profile.fatigue(NOW + 100).keys() == {"i3"}
    assert (profile.is_blank, profile.is_unknown) == (False, True)


def test_what_was_shown_and_how_popular_it_was_are_stored() -> None:
    profile = shown_to((["i1", "i2"], NOW), (["i1"], NOW + 60))
    profile.fold(replace(deed(1, time=NOW - 60), popularity=12.5), TAUS)
    loaded = Profile.load(ADA, profile.payload(2), profile.dense(), SMALL)
    assert loaded.shown.to_plain() == profile.shown.to_plain()
    assert loaded.popularity == {"i1": 12.5}
    assert loaded.fatigue(NOW + 60) == profile.fatigue(NOW + 60) != {}


def test_a_state_from_before_showings_were_kept_loads_without() -> None:
    profile = profile_of([deed(1)])
    payload = profile.payload(0)
    state = orjson.loads(payload["state"])
    del state["shown"], state["popularity"]
    loaded = Profile.load(ADA, {**payload, "state": orjson.dumps(state).decode()}, profile.dense(), SMALL)
    assert (loaded.fatigue(NOW), loaded.popularity) == ({}, {})
    same(loaded, profile)


def test_popularity_is_the_highest_seen_of_each_recent_item_alone() -> None:
    profile = profile_of(
        [
            replace(deed(1, time=NOW), popularity=3.0),
            replace(deed(2, time=NOW + 1), popularity=9.0),
            replace(deed(2, time=NOW + 2), popularity=8.0),
            replace(deed(7, "dislike", -3.0, NOW + 3), popularity=5.0),
        ]
    )
    assert profile.popularity == {"i1": 3.0, "i2": 9.0}
    other = profile_of(
        [replace(deed(2, time=NOW - 9), popularity=20.0), replace(deed(3, time=NOW + 9), popularity=1.0)]
    )
    assert merge_profiles(profile, other, TAUS).popularity == {"i1": 3.0, "i2": 20.0, "i3": 1.0}
    profile.fold(deed(3, time=NOW + 10), TAUS)
    profile.fold(deed(4, time=NOW + 11), TAUS)
    assert profile.recents.newest_first() == ["i4", "i3", "i2"]
    assert profile.popularity == {"i2": 9.0}


def test_a_profile_shrinks_until_nothing_is_left() -> None:
    profile = shown_to(([f"i{n}" for n in range(40)], NOW))
    profile.fold(replace(deed(1), popularity=2.0), TAUS)
    assert profile.shrink()
    assert len(profile.shown) == 20
    while profile.shrink():
        pass
    assert (len(profile.shown), profile.recents.times, profile.popularity) == (0, {}, {})


def test_someone_who_was_only_shown_lists_is_kept_for_a_while_and_named() -> None:
    profile = shown_to((["i1"], NOW))
    profile.stub_since = NOW
    payload = profile.payload(0)
    assert (payload["person"], payload["stub_since"]) == ("u:ada", NOW)
    profile.fold(deed(1), TAUS)
    assert "stub_since" not in profile.payload(0)
