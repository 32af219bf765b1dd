"""Profiles: the fold as a whole, its bounds, its stored form."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eddyline.model.ids import Person, item_dimension
from eddyline.model.offsets import LogPosition
from eddyline.model.placed_time import place_of
from eddyline.model.profile import (
    SETS,
    PendingInteraction,
    Profile,
    TimeConstants,
    WeightedInteraction,
    decode_profile,
    encode_payload,
    pack_profile,
    unpack_profile,
)
from eddyline.model.profile.erasure import erase
from eddyline.model.profile.identity import FirstSeen
from eddyline.model.profile.merge import absorb
from eddyline.model.profile.seen_items import RECENT_HALF_LIFE
from eddyline.settings import ProfileSettings

NOW = 1_790_000_000.0
SMALL = ProfileSettings(recents=3, seen=4, event_ids=5)
TAUS = TimeConstants.from_settings(SMALL)
ADA = Person("u", "ada")


def unit(seed: int) -> np.ndarray:
    vector = np.random.default_rng(seed).normal(size=4)
    return np.asarray(vector / np.linalg.norm(vector))


def interaction(item: int, type: str = "click", weight: float = 1.0, time: float = NOW) -> WeightedInteraction:
    return WeightedInteraction(f"i{item}", type, unit(item), weight, time)


def placed(partition: int) -> Callable[[list[WeightedInteraction]], list[WeightedInteraction]]:
    """Give each a place in a partition, in their order."""
    return lambda all_of_them: [
        replace(one, place=place_of(partition, offset)) for offset, one in enumerate(all_of_them)
    ]


unplaced = st.lists(
    st.builds(
        interaction,
        item=st.integers(0, 7),
        type=st.sampled_from(["click", "purchase", "like", "dislike"]),
        # Many at the same time, as in an order, or whatever has its times in whole minutes.
        time=st.one_of(st.integers(-2, 0).map(lambda m: NOW + 60 * m), st.integers(-90 * 86_400, 0).map(NOW.__add__)),
    ).map(lambda one: replace(one, weight=-3.0 if one.type == "dislike" else 2.0)),
    min_size=1,
    max_size=15,
)
interactions, of_another = unplaced.map(placed(1)), unplaced.map(placed(0))


def profile_of(folded: list[WeightedInteraction]) -> Profile:
    profile = Profile(ADA, SMALL)
    for one in folded:
        profile.fold(one, TAUS)
    return profile


def merge_profiles(one: Profile, other: Profile) -> Profile:
    merged = one.copy()
    absorb(merged, other, TAUS)
    return merged


def same(one: Profile, other: Profile) -> None:
    for a, b in zip(one.taste.sums, other.taste.sums, strict=True):
        assert a.sum is not None
        assert b.sum is not None
        np.testing.assert_allclose(a.sum, b.sum, rtol=1e-6, atol=1e-9)
        assert a.weight == pytest.approx(b.weight, rel=1e-9)
    assert all(getattr(one.seen, name) == getattr(other.seen, name) for name in SETS)
    assert all(getattr(one.seen, name).newest_first() == getattr(other.seen, name).newest_first() for name in SETS)
    assert one.taste.evidence == pytest.approx(other.taste.evidence)
    assert (one.events, one.last_seen) == (other.events, other.last_seen)


@given(interactions, st.randoms(use_true_random=False))
def test_late_events_make_the_same_profile(folded: list[WeightedInteraction], random: object) -> None:
    shuffled = list(folded)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    same(profile_of(folded), profile_of(shuffled))


@given(interactions, of_another)
def test_merging_two_profiles_equals_folding_all_events_into_one(
    one: list[WeightedInteraction], two: list[WeightedInteraction]
) -> None:
    both = profile_of(one + two)
    same(merge_profiles(profile_of(one), profile_of(two)), both)
    same(merge_profiles(profile_of(two), profile_of(one)), both)


@given(interactions, of_another, unplaced.map(placed(2)))
def test_profiles_may_be_merged_in_any_grouping(
    ones: list[WeightedInteraction], twos: list[WeightedInteraction], threes: list[WeightedInteraction]
) -> None:
    one, two, three = profile_of(ones), profile_of(twos), profile_of(threes)
    left, right = merge_profiles(merge_profiles(one, two), three), merge_profiles(one, merge_profiles(two, three))
    same(left, right)
    for name in SETS:
        merged = getattr(left.seen, name)
        assert merged.union(getattr(right.seen, name)) == merged, "what is there twice is there once"


@given(interactions, st.integers(1, 5), st.randoms(use_true_random=False))
def test_what_has_one_time_is_in_the_order_of_the_log(
    folded: list[WeightedInteraction], size: int, random: object
) -> None:
    last = {one.item_id: one.place for one in folded if one.type != "impression"}
    at_once = [replace(one, time=NOW) for one in folded]
    random.shuffle(at_once)  # type: ignore[attr-defined]
    profile = Profile(ADA, ProfileSettings(seen=size))
    for one in at_once:
        profile.fold(one, TAUS)
    assert profile.seen.viewed.newest_first() == sorted(last, key=last.__getitem__, reverse=True)[:size]


@given(interactions)
def test_the_stored_form_is_the_profile(folded: list[WeightedInteraction]) -> None:
    profile = profile_of(folded)
    profile.require_space("space")
    profile.delivery.advance(LogPosition("log", 2, 17))
    profile.delivery.remember("e1")
    profile.delivery.pending = (PendingInteraction("x", "{}", "interactions", 2, 18, "log", 1, NOW, (("h", "\xff"),)),)
    profile.onboard(unit(9), LogPosition("users-log", 0, 3), "premium", {"age": 30})
    loaded = decode_profile(ADA, encode_payload(profile, 2), {}, SMALL)
    same(loaded, profile)
    assert encode_payload(loaded, 2) == encode_payload(profile, 2)
    assert loaded.delivery.pending == profile.delivery.pending
    assert loaded.delivery.has_folded(LogPosition("log", 2, 17))
    assert not loaded.delivery.has_folded(LogPosition("log", 2, 18))
    assert not loaded.delivery.has_folded(LogPosition("another log", 2, 17))
    assert loaded.delivery.is_repeat("e1")


def test_a_copy_can_be_folded_into_without_changing_the_original() -> None:
    original = profile_of([interaction(1)])
    stored = encode_payload(original, 2)
    copy = original.copy()
    copy.fold(interaction(2), TAUS)
    copy.delivery.advance(LogPosition("log", 0, 5))
    copy.delivery.remember("e")
    copy.seen.count_once_per_hour("i2", NOW)
    assert encode_payload(original, 2) == stored
    assert encode_payload(copy, 2) != stored


def test_sets_keep_only_the_newest_items() -> None:
    profile = profile_of([interaction(n, time=NOW + n) for n in range(6)])
    assert profile.seen.recents.newest_first() == ["i5", "i4", "i3"]
    assert set(profile.seen.viewed.times) == {"i2", "i3", "i4", "i5"}


def test_what_was_bought_seen_or_disliked_is_hidden_as_asked() -> None:
    profile = profile_of([interaction(1), interaction(2, "purchase", 5.0), interaction(3, "dislike", -3.0)])
    assert profile.seen.hidden(["viewed"]).keys() == {"i1", "i2", "i3"}
    assert profile.seen.hidden(["purchased"]).keys() == {"i2"}
    assert profile.seen.hidden(["disliked"]).keys() == {"i3"}
    assert not profile.seen.hidden([])


def test_a_later_like_lifts_a_dislike_and_an_earlier_one_does_not() -> None:
    dislike = interaction(3, "dislike", -3.0, NOW)
    assert not profile_of([dislike, interaction(3, "like", 3.0, NOW + 1)]).seen.hidden(["disliked"])
    assert profile_of([dislike, interaction(3, "like", 3.0, NOW - 1)]).seen.hidden(["disliked"]).keys() == {"i3"}
    at_once = [dislike, interaction(3, "like", 3.0, NOW)]
    assert not profile_of(placed(0)(at_once)).seen.hidden(["disliked"])
    assert profile_of(placed(0)(at_once[::-1])).seen.hidden(["disliked"]).keys() == {"i3"}


def test_an_erased_person_stays_forgotten_when_late_events_come() -> None:
    profile = profile_of([interaction(1, time=NOW)])
    profile.delivery.advance(LogPosition("log", 1, 9))
    profile.delivery.epoch = 7
    erase(profile, NOW + 10, LogPosition("users-log", 0, 1))
    profile.fold(interaction(2, time=NOW + 10), TAUS)
    assert profile.events == 0
    assert "vectors" not in encode_payload(profile, 2)
    assert profile.delivery.has_folded(LogPosition("log", 1, 9))
    assert profile.delivery.epoch == 7
    profile.fold(interaction(3, time=NOW + 11), TAUS)
    assert profile.seen.recents.newest_first() == ["i3"]


def test_history_has_unit_length_and_weighs_the_newest_most() -> None:
    profile = profile_of([interaction(n, time=NOW + n) for n in range(3)])
    indices, values = profile.seen.history()
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
    profile.fold(interaction(2, time=NOW + 3610), TAUS)
    half_life = profile.settings.exposure_half_life_days * 86_400.0
    faded = {"i1": 0.5 + 0.5 ** (1 + 3600 / half_life)}
    assert profile.fatigue(NOW + 3600 + half_life) == pytest.approx(faded, rel=1e-3)
    assert profile.fatigue(NOW + 3600, until=NOW) == {}
    assert profile.fatigue(NOW, until=NOW + 3600) == pytest.approx({"i1": 1.0}, rel=1e-3)


def test_an_impression_of_the_apps_own_settles_nothing() -> None:
    profile = shown_to((["i1"], NOW))
    profile.fold(interaction(1, "impression", 0.0, NOW + 60), TAUS)
    assert profile.fatigue(NOW + 60).keys() == {"i1"}


def test_what_was_shown_is_no_event_and_no_taste() -> None:
    profile = shown_to((["i1"], NOW))
    assert (profile.events, profile.last_seen, profile.taste.evidence) == (0, 0.0, 0.0)
    assert "vectors" not in encode_payload(profile, 2)
    assert not profile.seen.hidden(["viewed", "purchased", "disliked"])
    assert profile.is_unknown


@given(interactions, st.lists(st.tuples(st.lists(st.sampled_from(["i1", "i2", "i8"])), st.just(NOW)), max_size=5))
def test_merging_adds_what_was_shown(folded: list[WeightedInteraction], lists: list[tuple[list[str], float]]) -> None:
    later = [(items, time + 600 * n) for n, (items, time) in enumerate(lists)]
    one, two, both = profile_of(folded), shown_to(*later), profile_of(folded)
    for items, time in later:
        both.show(items, time)
    merged = merge_profiles(one, two)
    assert merged.seen.shown.minutes == both.seen.shown.minutes
    assert merged.fatigue(NOW + 9000) == both.fatigue(NOW + 9000)


def test_an_erasure_covers_what_was_shown_until_then() -> None:
    profile = shown_to((["i1"], NOW))
    erase(profile, NOW + 10, LogPosition("users-log", 0, 1))
    profile.show(["i2"], NOW + 10)
    assert profile.fatigue(NOW + 100) == {}
    assert profile.is_blank
    profile.show(["i3"], NOW + 70)
    assert profile.fatigue(NOW + 100).keys() == {"i3"}
    assert (profile.is_blank, profile.is_unknown) == (False, True)


def test_what_was_shown_and_how_popular_it_was_are_stored() -> None:
    profile = shown_to((["i1", "i2"], NOW), (["i1"], NOW + 60))
    profile.fold(replace(interaction(1, time=NOW - 60), popularity=12.5), TAUS)
    loaded = decode_profile(ADA, encode_payload(profile, 2), {}, SMALL)
    assert loaded.seen.shown.minutes == profile.seen.shown.minutes
    assert loaded.seen.popularity == {"i1": 12.5}
    assert loaded.fatigue(NOW + 60) == profile.fatigue(NOW + 60) != {}


def test_popularity_is_the_highest_seen_of_each_recent_item_alone() -> None:
    profile = profile_of(
        [
            replace(interaction(1, time=NOW), popularity=3.0),
            replace(interaction(2, time=NOW + 1), popularity=9.0),
            replace(interaction(2, time=NOW + 2), popularity=8.0),
            replace(interaction(7, "dislike", -3.0, NOW + 3), popularity=5.0),
        ]
    )
    assert profile.seen.popularity == {"i1": 3.0, "i2": 9.0}
    other = profile_of(
        [replace(interaction(2, time=NOW - 9), popularity=20.0), replace(interaction(3, time=NOW + 9), popularity=1.0)]
    )
    assert merge_profiles(profile, other).seen.popularity == {"i1": 3.0, "i2": 20.0, "i3": 1.0}
    profile.fold(interaction(3, time=NOW + 10), TAUS)
    profile.fold(interaction(4, time=NOW + 11), TAUS)
    assert profile.seen.recents.newest_first() == ["i4", "i3", "i2"]
    assert profile.seen.popularity == {"i2": 9.0}


def test_a_profile_shrinks_until_nothing_is_left() -> None:
    profile = shown_to(([f"i{n}" for n in range(40)], NOW))
    profile.fold(replace(interaction(1), popularity=2.0), TAUS)
    assert profile.seen.drop_older_half()
    assert len(profile.seen.shown) == 20
    while profile.seen.drop_older_half():
        pass
    assert (len(profile.seen.shown), profile.seen.recents.times, profile.seen.popularity) == (0, {}, {})


def test_someone_who_was_only_shown_lists_is_kept_for_a_while_and_named() -> None:
    profile = shown_to((["i1"], NOW))
    profile.identity.tombstone_since = NOW
    payload = encode_payload(profile, 0)
    assert (payload["person"], payload["stub_since"]) == ("u:ada", NOW)
    profile.fold(interaction(1), TAUS)
    assert "stub_since" not in encode_payload(profile, 0)


# -- the id under which someone was first seen, by which experiments assign ------------------------------------------

COOKIE = Person("a", "cookie")
Seen = list[tuple[float, str]]

seen = st.lists(st.tuples(st.integers(0, 50).map(float), st.sampled_from(["u:ada", "a:cookie", "a:phone"])), max_size=8)


def first_seen_as(all_seen: Seen, person: Person = ADA) -> Profile:
    profile = Profile(person, SMALL)
    for time, key in all_seen:
        profile.identity.note_first_seen(time, key)
    return profile


def first(*profiles: Profile) -> FirstSeen | None:
    """Of the profiles, merged from the left."""
    merged, *others = profiles
    for other in others:
        merged = merge_profiles(merged, other)
    return merged.identity.first_seen


@given(seen, st.randoms(use_true_random=False))
def test_the_order_in_which_things_are_heard_does_not_matter(all_seen: Seen, random: object) -> None:
    shuffled = list(all_seen)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert first(first_seen_as(all_seen)) == first(first_seen_as(shuffled)) == min(all_seen, default=None)


@given(seen, seen)
def test_merging_is_hearing_all_of_it_and_commutes(one: Seen, two: Seen) -> None:
    ada, cookie = first_seen_as(one), first_seen_as(two, COOKIE)
    assert first(ada, cookie) == first(cookie, ada) == first(first_seen_as(one + two))
    assert (first(ada), first(cookie)) == (min(one, default=None), min(two, default=None)), "neither is changed"


@given(seen, seen, seen)
def test_merging_is_associative(one: Seen, two: Seen, three: Seen) -> None:
    a, b, c = first_seen_as(one), first_seen_as(two), first_seen_as(three)
    assert first(a, b, c) == first(a, merge_profiles(b, c))


@pytest.mark.parametrize("all_seen", [[], [(7.25, "a:cookie"), (9.0, "u:ada")]])
def test_it_is_stored_and_travels(all_seen: Seen) -> None:
    profile = first_seen_as(all_seen)
    assert first(decode_profile(ADA, encode_payload(profile, 0), {}, SMALL)) == first(profile)
    assert first(unpack_profile(ADA, *pack_profile(profile, 0), SMALL)) == first(profile)


def test_an_event_of_a_request_alone_says_nothing_of_who_they_are() -> None:
    profile = first_seen_as([(9.0, "a:cookie")])
    profile.fold(interaction(1, time=1.0), TAUS)
    assert first(profile) == (9.0, "a:cookie")
