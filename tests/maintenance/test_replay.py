"""Profiles rebuilt from the log, while what is live goes on."""

from __future__ import annotations

from collections import Counter

import pytest
from tests.maintenance.rebuilding import Deployment, History, differences, people, wrong_profiles
from tests.support.fakes import near

from eddyline.adapters.vectors import Filter, generations
from eddyline.errors import Misconfigured
from eddyline.settings import Settings

SEEDS = range(6)


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eddyline.maintenance.generations.handover.NEAR", 0)


@pytest.mark.slow(10)
@pytest.mark.parametrize("seed", SEEDS)
def test_the_rebuilt_profiles_are_those_that_were_live(seed: int) -> None:
    it = Deployment()
    History(seed).happen(it, 400)
    it.pump()
    before = {key: it.profile(key) for key in people()}
    replayed = it.replay()
    assert generations.live(it.store) == replayed.collections
    assert replayed.collections.profiles == "profiles-2"
    assert {key: found for key in people() if (found := differences(it.profile(key), before[key]))} == {}


@pytest.mark.slow(30)
@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("seed", [*SEEDS[:2], *(pytest.param(seed, marks=pytest.mark.extended) for seed in SEEDS[2:])])
def test_what_happens_meanwhile_is_neither_lost_nor_repeated(seed: int) -> None:
    it, control = Deployment(), Deployment()
    history, alike = History(seed, erasures=False), History(seed, erasures=False)
    history.happen(it, 300)
    alike.happen(control, 300)
    it.pump()
    control.pump()
    left = [3]

    def meanwhile(count: int) -> None:
        if left[0] and count:
            left[0] -= 1
            history.happen(it, 40, pump=False)
            it.pump(most=25)  # the live profiler lags behind a little

    it.replay(meanwhile)
    alike.happen(control, 40 * (3 - left[0]), pump=False)
    it.start()  # the new generation's profiler, where the replay has handed over
    for one, its in ((it, history), (control, alike)):
        its.happen(one, 60)
        one.pump()
    assert wrong_profiles(it, control) == {}
    assert max(Counter(it.activity()).values()) == 1


def test_what_was_given_up_long_ago_is_not_given_up_anew() -> None:
    it = Deployment(Settings())
    it.log.say("u:p0", {"type": "click", "item_id": "never made", "user_id": "p0"})
    it.log.say("u:p0", {"type": "click", "item_id": "film 1 love", "user_id": "p0"})
    it.pump()
    it.clock.forward(5000)
    it.pump()
    assert len(it.dead_letters.letters) == 1
    it.log.say("u:p0", {"type": "click", "item_id": "to be made", "user_id": "p0"})
    it.pump()
    it.replay()
    it.start()
    it.add_items("to be made")
    it.pump()
    assert len(it.dead_letters.letters) == 1
    profile = it.profile("u:p0")
    assert profile is not None
    assert (profile.events, profile.delivery.pending) == (2, ())


@pytest.mark.slow(10)
def test_a_replay_itself_sends_nothing_again() -> None:
    it = Deployment()
    History(1).happen(it, 300)
    it.pump()
    records = {source: len(held) for source, held in it.log.records.items()}
    letters = len(it.dead_letters.letters)
    it.replay()
    assert {source: len(held) for source, held in it.log.records.items()} == records
    assert len(it.dead_letters.letters) == letters


@pytest.mark.slow(10)
def test_damaged_profiles_are_repaired() -> None:
    it = Deployment()
    History(2).happen(it, 300)
    it.pump()
    right = {key: it.profile(key) for key in people()}
    it.store.delete_matching("profiles-1", Filter())
    it.replay()
    assert {key: found for key in people() if (found := differences(it.profile(key), right[key]))} == {}


def test_people_whose_events_the_log_has_lost_are_taken_over_and_go_on() -> None:
    it = Deployment()
    it.log.say("u:p0", {"type": "like", "item_id": "film 0 war", "user_id": "p0"})
    it.pump()
    it.log.forget("interactions", _partition(it, "u:p0"), 1)
    it.log.say("u:p0", {"type": "click", "item_id": "film 1 love", "user_id": "p0"})
    it.pump()
    before = it.profile("u:p0")
    replayed = it.replay()
    after = it.profile("u:p0")
    assert replayed.counts.carried == 1
    assert before is not None
    assert after is not None
    assert after.events == 2
    near(after.taste.sums.lifetime.sum, before.taste.sums.lifetime.sum, 1e-5)
    it.replay(only_log=True)
    alone = it.profile("u:p0")
    assert alone is not None
    assert alone.events == 1


def test_the_writers_must_stop_before_the_next_generation_is_live(monkeypatch: pytest.MonkeyPatch) -> None:
    it = Deployment()
    History(3).happen(it, 50)
    it.pump()
    it.log.in_group["profiler"] = 1
    monkeypatch.setattr("eddyline.maintenance.generations.handover.LEAVING_SECONDS", 0.0)
    with pytest.raises(Misconfigured, match="1 members of group profiler don't stop"):
        it.replay()
    assert generations.live(it.store).profiles == "profiles-1"
    assert generations.current(it.store).sealed == {}
    assert "profiles-2" not in it.store.collections()


def test_what_a_killed_replay_has_left_is_dropped_by_the_next() -> None:
    it = Deployment()
    History(4).happen(it, 50)
    it.pump()
    it.rebuilding(generations.Collections("items-1", "profiles-2", "rows-1"))
    generations.seal(it.store, ["profiles"])
    replayed = it.replay()
    assert any("dropping profiles-2" in line for line in it.said)
    assert replayed.collections.profiles == "profiles-2"
    assert generations.current(it.store).sealed == {}


def test_a_second_replay_makes_a_third_generation() -> None:
    it = Deployment()
    History(5).happen(it, 100)
    it.pump()
    it.replay()
    it.start()
    assert it.group == "profiler-2"
    right = {key: it.profile(key) for key in people()}
    it.replay()
    assert generations.live(it.store).profiles == "profiles-3"
    assert {key: found for key in people() if (found := differences(it.profile(key), right[key]))} == {}


def _partition(it: Deployment, key: str) -> int:
    return next(source.partition for source, held in it.log.records.items() if any(r.key == key.encode() for r in held))
