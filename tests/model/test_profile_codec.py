"""The stored form of a profile: what it keeps, how large it is, and the form of before."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from runpy import run_path
from statistics import median
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.model.test_profile import ADA, NOW, SMALL, TAUS, first_seen_as, interaction, profile_of, shown_to, unit
from tests.support.stored_profile import open_payload, open_state, open_vectors

from eddyline.errors import Misconfigured
from eddyline.model.decay import MINUTE
from eddyline.model.ids import fingerprint
from eddyline.model.offsets import LogPosition
from eddyline.model.placed_time import LAST_PLACE, UNPLACED
from eddyline.model.profile import (
    VECTORS,
    PendingInteraction,
    Profile,
    decode_profile,
    encode_payload,
    former_vectors,
    pack_profile,
    stored_recents,
    translate_state,
    unpack_profile,
)
from eddyline.settings import ProfileSettings

FORMER = {
    version: orjson.loads((Path(__file__).parent / "stored" / f"profile-{version}.json").read_bytes())
    for version in (1, 2, 3)
}
"""A point's payload and vectors, and a transfer's vectors, by the version of the state. In each, `taste` was a named
vector. Before the third, events had no places; in the first, states were JSON, and all vectors named ones."""
BEFORE = FORMER[1]
STATE = orjson.loads(BEFORE["payload"]["state"])
made_profile = run_path(str(Path(__file__).parents[2] / "benchmarks" / "profiles.py"))["made_profile"]


def again(profile: Profile) -> Profile:
    """Stored, and read."""
    return decode_profile(profile.person, encode_payload(profile, 0), {}, profile.settings)


def same_but_for_rounding(one: Profile, other: Profile) -> None:
    assert open_payload(encode_payload(one, 0)) == open_payload(encode_payload(other, 0))


# -- what is kept -----------------------------------------------------------------------------------------------------

times = st.one_of(st.integers(0, 4 * 10**9).map(float), st.floats(-1e300, 1e300), st.sampled_from([NOW + 0.123, -0.5]))
places = st.one_of(st.just(UNPLACED), st.integers(0, 3), st.integers(0, LAST_PLACE))
sets = st.dictionaries(st.text(min_size=1, max_size=5), st.tuples(times, places), max_size=6)


@given(
    st.lists(sets, min_size=6, max_size=6), st.dictionaries(st.text(min_size=1), st.sets(st.integers(0, 9), min_size=1))
)
def test_every_time_and_place_of_every_set_is_kept_exactly(
    found: list[dict[str, tuple[float, int]]], shown: dict[str, set[int]]
) -> None:
    profile = Profile(ADA, ProfileSettings())
    names = ("recents", "viewed", "purchased", "disliked", "liked")
    for name, items in zip(names, found, strict=False):
        for item, (time, place) in items.items():
            setattr(profile.seen, name, getattr(profile.seen, name).add(item, time, place))
    profile.seen.counted = {item: time for item, (time, _) in found[5].items()}
    for item, minutes in shown.items():
        for minute in minutes:
            profile.show([item], minute * MINUTE)
    read = again(profile)
    for name in names:
        assert getattr(read.seen, name) == getattr(profile.seen, name)
        assert getattr(read.seen, name).newest_first() == getattr(profile.seen, name).newest_first()
    assert read.seen.counted == profile.seen.counted
    assert read.seen.shown == profile.seen.shown
    opened = open_state(encode_payload(profile, 0)["state"])
    entries = {name: getattr(profile.seen, name).entries for name in names}
    assert {name: opened[name] for name in names} == {
        name: {item: time for item, (time, _) in each.items()} for name, each in entries.items()
    }
    assert {name: opened["places"][name] for name in names} == {
        name: {item: place for item, (_, place) in each.items()} for name, each in entries.items()
    }
    assert opened["shown"] == {item: sorted(minutes) for item, minutes in shown.items()}


def test_vectors_are_in_the_payload_as_float32() -> None:
    profile = profile_of([interaction(1), interaction(2, time=NOW - 5e6)])
    profile.onboard(unit(9), LogPosition("users-log", 0, 3), None, {})
    packed = open_vectors(encode_payload(profile, 0))
    assert packed.keys() == {*VECTORS, "onboarding"}
    for name in VECTORS:
        total = getattr(profile.taste.sums, name).sum
        np.testing.assert_array_equal(np.array(packed[name], dtype=np.float32), total.astype(np.float32))
    read = again(profile)
    for name in VECTORS:
        one, other = getattr(read.taste.sums, name), getattr(profile.taste.sums, name)
        np.testing.assert_array_equal(one.sum, other.sum.astype(np.float32))
        assert (one.weight, one.time) == (other.weight, other.time)


def test_a_transfer_has_every_vector_once_and_unrounded() -> None:
    profile = profile_of([interaction(1), interaction(2, time=NOW - 5e6)])
    payload, vectors = pack_profile(profile, 0)
    assert vectors.keys() == {"taste", "session", "lifetime"}
    assert "vectors" not in payload
    read = unpack_profile(ADA, payload, vectors, SMALL)
    for one, other in zip(read.taste.sums, profile.taste.sums, strict=True):
        np.testing.assert_array_equal(one.sum, other.sum)


def test_settings_that_allow_less_keep_the_newest() -> None:
    profile = profile_of([interaction(n, time=NOW + n) for n in range(3)])
    profile.show(["i1", "i2"], NOW)
    fewer = ProfileSettings(recents=2, seen=1, exposures=1)
    read = decode_profile(ADA, encode_payload(profile, 0), {}, fewer)
    assert (read.seen.recents.newest_first(), set(read.seen.viewed.times)) == (["i2", "i1"], {"i2"})
    assert len(read.seen.shown) == 1


def test_event_ids_stay_in_their_order() -> None:
    profile = Profile(ADA, SMALL)
    for name in "abcdefg":
        profile.delivery.remember(name)
    assert again(profile).delivery.event_ids == tuple(map(fingerprint, "cdefg"))


def test_recents_are_read_without_the_rest() -> None:
    profile = profile_of([interaction(n, time=NOW - n) for n in range(3)] + [interaction(9, "dislike", -1.0)])
    assert stored_recents(encode_payload(profile, 0)) == ["i0", "i1", "i2"]
    assert [stored_recents(former["payload"]) for former in FORMER.values()] == [["i1", "i2"]] * len(FORMER)


# -- how large it is --------------------------------------------------------------------------------------------------


def test_the_state_of_someone_with_a_hundred_events_is_small() -> None:
    sizes = []
    for seed in range(15):
        payload = encode_payload(made_profile(100, seed=seed), 0)
        packed = payload.pop("vectors")
        sizes.append(len(orjson.dumps(payload)))
        assert len(orjson.dumps(packed)) <= 4 * (4 * 384 * 4 / 3 + 20)
    assert median(sizes) <= 2500, sizes


def test_what_was_shown_takes_about_as_much_as_its_ids_deflated() -> None:
    without, shown = (encode_payload(made_profile(100, lists), 0)["state"] for lists in (0, 13))
    exposures = len(made_profile(100, 13).seen.shown)
    assert exposures > 100
    assert len(shown) - len(without) < 8 * exposures


# -- the form of before -----------------------------------------------------------------------------------------------


def expected() -> Profile:
    """The profile of `BEFORE`, folded anew."""
    profile = profile_of(
        [
            interaction(1, "view", 1.0, NOW - 86_400.5),
            interaction(2, "purchase", 5.0, NOW - 60.25),
            interaction(3, "dislike", -3.0, NOW - 30.125),
            interaction(1, "like", 3.0, NOW),
        ]
    )
    profile.seen.popularity = {"i2": 12.5, "i1": 0.7}
    profile.require_space("space")
    profile.seen.count_once_per_hour("i1", NOW - 86_400.5)
    profile.seen.count_once_per_hour("i2", NOW - 60.25)
    profile.show(["i1", "i8"], NOW - 120)
    profile.show(["i8"], NOW - 60)
    profile.delivery.epoch = 1_789_999_990_000.0
    profile.delivery.advance(LogPosition("log", 2, 17))
    profile.delivery.remember("e1")
    profile.delivery.remember("e2")
    profile.delivery.origins = {"log": {1: 5}}
    headers = (("h", "\xff"),)
    profile.delivery.pending = (PendingInteraction("x", "{}", "interactions", 2, 18, "log", 1, NOW, headers, "u:ada"),)
    profile.onboard(np.array([0.5, 0.5, -0.5, 0.5]), LogPosition("users-log", 0, 3), "premium", {"age": 30})
    profile.identity.note_first_seen(NOW - 86_400.5, "a:cookie")
    profile.identity.link("cookie")
    return profile


def read_before(payload: dict[str, Any] | None = None, version: int = 1) -> Profile:
    former = FORMER[version]
    return decode_profile(ADA, payload or former["payload"], former["vectors"], SMALL)


each_version = pytest.mark.parametrize("version", FORMER)


@each_version
def test_a_point_of_before_is_read(version: int) -> None:
    assert set(former_vectors(FORMER[version]["payload"])) == FORMER[version]["vectors"].keys()
    read = read_before(version=version)
    same_but_for_rounding(read, expected())
    assert read.delivery == expected().delivery
    assert read.taste.onboarding is not None


@each_version
def test_it_is_written_in_the_new_form(version: int) -> None:
    payload = encode_payload(read_before(version=version), 2)
    assert not former_vectors(payload)
    assert open_vectors(payload).keys() == {"taste", "session", "lifetime", "onboarding"}
    same_but_for_rounding(again(read_before(version=version)), expected())


def test_what_has_no_place_comes_before_all_others_of_its_time() -> None:
    read = read_before(version=2)
    read.fold(replace(interaction(7, time=NOW), place=0), TAUS)
    read.fold(replace(interaction(8, time=NOW), place=1), TAUS)
    assert again(read).seen.recents.newest_first() == ["i8", "i7", "i1"]


@each_version
def test_a_transfer_of_before_is_read_as_exactly_as_it_was_written(version: int) -> None:
    former = FORMER[version]
    read = unpack_profile(ADA, former["payload"], former["transfer"], SMALL)
    for one, other in zip(read.taste.sums, expected().taste.sums, strict=True):
        # To the last bit or two of a double: this machine may add up in another order than the one that wrote it.
        assert one.sum is not None
        assert other.sum is not None
        np.testing.assert_allclose(one.sum, other.sum, rtol=1e-14, atol=1e-14)
    assert read.delivery == expected().delivery


@each_version
def test_in_a_state_fields_can_be_others_and_the_rest_stays(version: int) -> None:
    payload = FORMER[version]["payload"]

    def elsewhere(fields: dict[str, Any]) -> dict[str, Any]:
        return {**fields, "watermarks": {"another": fields["watermarks"]["log"]}}

    moved = decode_profile(ADA, payload | {"state": translate_state(payload["state"], elsewhere)}, {}, SMALL)
    assert moved.delivery.watermarks == {"another": {2: 17}}
    moved.delivery.watermarks = expected().delivery.watermarks
    assert moved.delivery == expected().delivery
    assert moved.seen == decode_profile(ADA, payload, {}, SMALL).seen


def changed(**fields: Any) -> dict[str, Any]:
    """The payload of before with other fields in its state; None drops one."""
    state = {name: value for name, value in {**STATE, **fields}.items() if value is not None}
    return {**BEFORE["payload"], "state": orjson.dumps(state).decode()}


def test_a_state_from_before_showings_were_kept_loads_without() -> None:
    read = read_before(changed(shown=None, popularity=None))
    assert (read.fatigue(NOW), read.seen.popularity) == ({}, {})
    assert read.seen.viewed == expected().seen.viewed


def test_who_was_known_before_it_was_kept_stays_who_they_are() -> None:
    read = read_before(changed(unit=None))
    assert read.identity.first_seen == (0.0, "u:ada")
    read.identity.note_first_seen(5.0, "a:cookie")
    assert read.identity.first_seen == (0.0, "u:ada")
    stranger = changed(unit=None, shown={}, twins=[]) | {"events": 0}
    assert read_before(stranger).identity.first_seen is None


def test_a_state_of_a_later_version_is_refused_with_the_way_out() -> None:
    with pytest.raises(Misconfigured, match=r"u:ada.*eddyline replay"):
        read_before(BEFORE["payload"] | {"state": "4.AAAA"})


# -- what isn't a profile ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "state",
    [7, None, "", "nonsense", "2", "2.AAAA..", "2.eJwDAAAAAAE=..", "3", "3.AAAA...", "3.eJwDAAAAAAE=...", "{}", "[]"],
)
def test_rubbish_in_a_transfer_is_none(state: Any) -> None:
    with pytest.raises((ValueError, KeyError, TypeError)):
        unpack_profile(ADA, BEFORE["payload"] | {"state": state}, {}, SMALL)


def test_a_state_that_is_cut_short_is_none() -> None:
    profile = first_seen_as([(9.0, "a:cookie")])
    profile.seen = shown_to((["i1", "i2"], NOW)).seen
    profile.fold(interaction(1), TAUS)
    profile.delivery.remember("e1")
    payload, vectors = pack_profile(profile, 0)
    parts = payload["state"].split(".")
    for part in range(1, 5):
        cut = [each[:-4] if place == part else each for place, each in enumerate(parts)]
        with pytest.raises((ValueError, KeyError, TypeError)):
            unpack_profile(ADA, payload | {"state": ".".join(cut)}, vectors, SMALL)


@pytest.mark.parametrize("wrong", [["soon", "a:cookie"], [1.0], 7])
def test_a_first_time_that_is_none_is_refused(wrong: Any) -> None:
    with pytest.raises((ValueError, TypeError)):
        unpack_profile(ADA, changed(unit=wrong), BEFORE["transfer"], SMALL)
