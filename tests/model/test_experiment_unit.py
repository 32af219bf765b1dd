"""Whom experiments take someone for: the id under which they were heard of first, whatever the order."""

from __future__ import annotations

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.model.test_profile import deed

from eddyline.model.ids import Person
from eddyline.model.profile import Profile, TimeConstants, WeightedInteraction, merge_profiles
from eddyline.settings import ProfileSettings

SETTINGS = ProfileSettings()
TAUS = TimeConstants.of(SETTINGS)
ADA, COOKIE = Person("u", "ada"), Person("a", "cookie")
Heard = list[tuple[float, str]]

heard = st.lists(
    st.tuples(st.integers(0, 50).map(float), st.sampled_from(["u:ada", "a:cookie", "a:phone"])), max_size=8
)


def profile_of(all_heard: Heard, person: Person = ADA) -> Profile:
    profile = Profile(person, SETTINGS)
    for time, key in all_heard:
        profile.note_first_seen(time, key)
    return profile


@given(heard, st.randoms(use_true_random=False))
def test_the_order_in_which_things_are_heard_does_not_matter(all_heard: Heard, random: object) -> None:
    shuffled = list(all_heard)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert profile_of(all_heard).unit == profile_of(shuffled).unit == min(all_heard, default=None)


@given(heard, heard)
def test_merging_is_hearing_all_of_it_and_commutes(one: Heard, two: Heard) -> None:
    ada, cookie = profile_of(one), profile_of(two, COOKIE)
    there, back = merge_profiles(ada, cookie, TAUS).unit, merge_profiles(cookie, ada, TAUS).unit
    assert there == back == profile_of(one + two).unit
    assert (ada.unit, cookie.unit) == (min(one, default=None), min(two, default=None)), "neither is changed"


@given(heard, heard, heard)
def test_merging_is_associative(one: Heard, two: Heard, three: Heard) -> None:
    a, b, c = profile_of(one), profile_of(two), profile_of(three)
    assert (
        merge_profiles(merge_profiles(a, b, TAUS), c, TAUS).unit
        == merge_profiles(a, merge_profiles(b, c, TAUS), TAUS).unit
    )


@pytest.mark.parametrize("all_heard", [[], [(7.25, "a:cookie"), (9.0, "u:ada")]])
def test_it_is_stored_and_travels(all_heard: Heard) -> None:
    profile = profile_of(all_heard)
    assert Profile.load(ADA, profile.payload(0), {}, SETTINGS).unit == profile.unit
    assert Profile.unpack(ADA, *profile.packed(0), SETTINGS).unit == profile.unit


def before(profile: Profile) -> Profile:
    """As an Eddyline that didn't keep it yet would have stored it."""
    payload = profile.payload(0)
    state = orjson.loads(payload["state"])
    del state["unit"]
    return Profile.load(profile.person, payload | {"state": orjson.dumps(state)}, profile.dense(), SETTINGS)


def test_who_was_known_before_it_was_kept_stays_who_they_are() -> None:
    old = Profile(ADA, SETTINGS)
    old.fold(deed(1), TAUS)
    loaded = before(old)
    assert loaded.unit == (0.0, "u:ada")
    loaded.note_first_seen(5.0, "a:cookie")
    assert loaded.unit == (0.0, "u:ada")
    assert before(Profile(ADA, SETTINGS)).unit is None


def test_an_event_of_a_request_alone_says_nothing_of_who_they_are() -> None:
    profile = profile_of([(9.0, "a:cookie")])
    profile.fold(WeightedInteraction("x", "click", deed(1).vector, 1.0, 1.0, "e"), TAUS)
    assert profile.unit == (9.0, "a:cookie")


def test_rubbish_in_a_transfer_is_none() -> None:
    payload, vectors = profile_of([(9.0, "a:cookie")]).packed(0)
    for wrong in (["soon", "a:cookie"], [1.0], 7):
        state = orjson.loads(payload["state"]) | {"unit": wrong}
        with pytest.raises((ValueError, TypeError)):
            Profile.unpack(ADA, payload | {"state": orjson.dumps(state).decode()}, vectors, SETTINGS)
