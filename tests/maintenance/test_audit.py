"""The audit: clean for whatever the profiler was put through, and naming exactly who and what is wrong."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from tests.kafka.loops import QUICK, running
from tests.maintenance.auditing import PARTITIONS, Auditing
from tests.maintenance.histories import History
from tests.services.profiling import SPACE, Profiling
from tests.support.fakes import NOW, text_vector
from tests.support.kafka import KafkaForTest, wait_until
from typer.testing import CliRunner

from eddyline.adapters.kafka import ConsumeLoop, LogReader, Outgoing, partition_of
from eddyline.adapters.telemetry import Metrics
from eddyline.adapters.vectors import ITEMS, PROFILES, Distance, Point
from eddyline.cli.audit import lines
from eddyline.cli.commands import app
from eddyline.errors import AlreadyRunning, Misconfigured, Unavailable
from eddyline.maintenance.audit import AuditReport, Everyone, Sample, audit
from eddyline.model.ids import Person, item_point_id, person_point_id
from eddyline.model.newest_items import NewestItems
from eddyline.model.offsets import LogPosition
from eddyline.model.placed_time import UNPLACED
from eddyline.model.profile import Profile, TimeConstants, WeightedInteraction, encode_payload
from eddyline.profiler import Profiler
from eddyline.profiler.profile_updater import ProfileUpdater
from eddyline.runtime.collection_setup import create_collections
from eddyline.settings import EventSettings, ProfileSettings, Settings

ADA, VISITOR = "u:ada", "a:cookie"


@pytest.fixture
def it() -> Auditing:
    it = Auditing()
    it.add_items("a", "b", "c", "d")
    return it


def a_day(it: Auditing) -> None:
    """Ada looks around, signs in, goes on; Bob does something, too."""
    it.say(VISITOR, item_id="a", type="like")
    it.identify("cookie", "ada")
    it.say(VISITOR, item_id="b")
    it.say(ADA, item_id="c", type="purchase", event_id="e")
    it.say("u:bob", item_id="d")


def one_more(it: Auditing) -> None:
    """Ada does something, and it is handled."""
    it.say(ADA, item_id="d")
    it.work()


def found(report: AuditReport) -> dict[str, set[str]]:
    """Who differs, in what."""
    return {
        person: {difference.field for difference in report.differences if difference.person == person}
        for person in report.differing
    }


# -- clean -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(24))
def test_it_is_clean_after_whatever_people_and_crashes_do(seed: int) -> None:
    history = History(seed)
    report = history.live(80).audit()
    assert report.differences == [], f"seed {seed}"
    assert report.compared > len(report.apart)
    assert report.records == sum(map(len, history.a.log.partitions))
    assert report.largest < 0.1


def test_what_cannot_be_read_is_counted_apart(it: Auditing) -> None:
    a_day(it)
    it.log.append(ADA, b"{", it.it.clock())
    it.say(ADA, item_id="a", type="unheard of")
    it.work()
    report = it.audit()
    assert (report.invalid, report.is_clean) == (2, True)


def test_a_record_that_the_profiler_fails_at_is_counted_with_them(
    it: Auditing, monkeypatch: pytest.MonkeyPatch
) -> None:
    a_day(it)
    it.work()
    it.say("u:eve", item_id="a")
    apply = ProfileUpdater.apply

    def fail(self: ProfileUpdater, profile: Profile, *rest: Any) -> None:
        if profile.person.id == "eve":
            raise ZeroDivisionError("a bug")
        apply(self, profile, *rest)

    monkeypatch.setattr(ProfileUpdater, "apply", fail)
    it.log.handled = {n: len(records) for n, records in enumerate(it.log.partitions)}
    assert it.audit().is_clean


def test_what_the_group_has_not_committed_is_not_asked_of_it(it: Auditing) -> None:
    a_day(it)
    it.work()
    a_day(it)
    assert it.audit().is_clean
    it.log.handled = {n: len(records) for n, records in enumerate(it.log.partitions)}
    assert found(it.audit()).keys() == {ADA, VISITOR, "u:bob"}


def test_what_is_durable_and_not_committed_is_compared_all_the_same(it: Auditing) -> None:
    a_day(it)
    it.work()
    record = it.say("u:bob", item_id="a")
    it.fold([record])
    assert it.audit().is_clean
    it.tamper("u:bob", lambda profile: setattr(profile, "events", 1))
    assert found(it.audit()) == {"u:bob": {"events"}}


def test_what_waits_for_its_item_is_compared_waiting_and_then_folded(it: Auditing) -> None:
    it.say(ADA, item_id="a")
    it.say(ADA, item_id="late", type="like")
    it.work()
    assert it.audit().compared == 1
    it.it.clock.forward(100)
    it.add_items("late")
    assert it.audit().is_clean  # the profiler hasn't seen it yet
    it.tick()
    report = it.audit()
    assert (report.compared, report.is_clean, it.stored(ADA).events) == (1, True, 2)


def test_what_was_given_up_counts_for_nobody_even_if_its_item_comes_later(it: Auditing) -> None:
    it.say(ADA, item_id="a")
    it.say(ADA, item_id="late")
    it.work()
    it.it.clock.forward(1000)
    it.tick()
    assert it.stored(ADA).events == 1
    assert it.audit().compared == 1
    it.add_items("late")
    assert it.audit().compared == 1
    it.tamper(ADA, lambda profile: setattr(profile, "events", 7))
    report = it.audit()
    assert [(apart.person, "given up" in apart.why[0]) for apart in report.apart] == [(ADA, True)]


@pytest.mark.parametrize("other", ["one read before", "the same"])
def test_how_long_it_waited_is_counted_from_its_own_arrival(other: str) -> None:
    """Whatever came later on any partition."""
    it = Auditing(ProfileSettings(pending_seconds=10))
    homes = {f"u:{name}": partition_of(f"u:{name}".encode(), PARTITIONS) for name in map(str, range(20))}
    first = min(homes, key=lambda key: homes[key])
    waits = max(homes, key=lambda key: homes[key])
    it.add_items("a")
    it.say(waits, item_id="never")
    it.work()
    it.it.clock.forward(30)
    it.say(waits if other == "the same" else first, item_id="a")
    it.work()
    it.tick()
    assert not it.stored(waits).delivery.pending
    it.it.clock.forward(1)
    report = it.audit()
    assert (report.differences, report.apart) == ([], [])


def test_what_was_given_up_and_sent_again_counts_once(it: Auditing) -> None:
    it.say(ADA, item_id="a")
    it.say(ADA, item_id="late", timestamp=NOW, event_id="e")
    it.work()
    it.it.clock.forward(1000)
    it.tick()
    it.say(ADA, item_id="late", timestamp=NOW, event_id="e")
    it.say("u:bob", item_id="late", event_id="f")
    it.work()
    assert len(it.stored(ADA).delivery.pending) == 1
    assert it.audit().compared == 2
    it.add_items("late")
    it.tick()
    assert it.stored(ADA).events == 2
    report = it.audit()
    assert (report.compared, report.differences, report.apart) == (2, [], [])


def test_answers_in_the_space_of_an_earlier_model_are_no_hindrance(it: Auditing) -> None:
    it.say(ADA, item_id="a")
    answered = it.answer("ada", 1, vector=[1.0] * 16, space=SPACE, segment="new")
    it.work()
    value = (answered.value or b"").replace(SPACE.encode(), b"another")
    it.log.partitions[answered.partition][answered.offset] = replace(answered, value=value)
    report = it.audit()
    assert (report.compared, report.differences) == (1, [])


# -- wrong -------------------------------------------------------------------------------------------------------------

SUMS = {"taste", "session", "lifetime"}
WEIGHTS = {f"{name} weight" for name in SUMS}
A_CLICK = SUMS | WEIGHTS | {"evidence", "events", "recents", "viewed", "last_seen", "watermark"}
"""Where a click that is missing shows."""


def test_an_event_that_was_not_folded_is_found(it: Auditing) -> None:
    a_day(it)
    it.work()
    it.it.clock.forward(10)
    missed = it.say(ADA, item_id="a")
    it.log.handled[missed.partition] = missed.offset + 1
    (person,) = found(it.audit()).items()
    assert person == (ADA, A_CLICK)


def test_an_event_that_was_folded_twice_is_found(it: Auditing) -> None:
    a_day(it)
    it.work()
    again = WeightedInteraction("c", "purchase", text_vector("c"), 5.0, NOW)
    it.tamper(ADA, lambda profile: profile.fold(again, TimeConstants.from_settings(it.settings.profile)))
    assert found(it.audit()) == {ADA: SUMS | WEIGHTS | {"evidence", "events"}}


def test_an_event_that_was_folded_for_someone_else_is_found(it: Auditing) -> None:
    a_day(it)
    bobs = it.say("u:bob", item_id="a")
    it.log.partitions[bobs.partition][bobs.offset] = replace(bobs, value=(bobs.value or b"").replace(b"bob", b"cyd"))
    it.work()
    it.log.partitions[bobs.partition][bobs.offset] = bobs
    assert {"u:bob", "u:cyd"} >= found(it.audit()).keys() >= {"u:bob"}


def test_someone_who_is_taken_for_another_by_experiments_is_found(it: Auditing) -> None:
    a_day(it)
    it.work()
    assert it.stored(ADA).identity.first_seen == (NOW, VISITOR)
    it.tamper(ADA, lambda profile: setattr(profile.identity, "first_seen", (NOW, ADA)))
    assert found(it.audit()) == {ADA: {"unit"}}
    it.tamper(ADA, lambda profile: setattr(profile.identity, "first_seen", None))
    assert found(it.audit()) == {ADA: {"unit"}}


@pytest.mark.parametrize("kind", ["transfer", "click", "shown", "purchase", "erased"])
def test_what_was_passed_on_and_lost_on_its_way_is_found(it: Auditing, kind: str) -> None:
    a_day(it)
    it.say(VISITOR, type="shown", timestamp=NOW, items=["a"])
    it.say(ADA, item_id="b", type="purchase", partition=(partition_of(ADA.encode(), PARTITIONS) + 1) % PARTITIONS)
    it.lose = lambda one: orjson.loads(one.value or b"{}")["type"] == kind
    it.work()
    it.erase("ada", it.it.clock(), 1)
    it.work()
    for who in (Everyone(), Person("u", "ada")):
        (lost,) = it.audit(who).differences
        assert (lost.person, lost.field, str(lost.expected).split()[0]) == (ADA, "passed on", kind)


def test_a_list_that_was_shown_and_not_noted_is_found(it: Auditing) -> None:
    a_day(it)
    it.work()
    missed = it.say("u:bob", type="shown", timestamp=NOW, items=["a", "d"])
    it.log.handled[missed.partition] = missed.offset + 1
    assert found(it.audit()) == {"u:bob": {"shown", "watermark"}}


def test_someone_who_was_not_erased_is_found(it: Auditing) -> None:
    a_day(it)
    it.work()
    it.erase("bob", it.it.clock(), 1)
    it.log.handled = {n: len(records) for n, records in enumerate(it.log.partitions)}
    assert {"erased_at", "onboarded", "events", "viewed"} <= found(it.audit())["u:bob"]


def _heavier(profile: Profile) -> None:
    sums = profile.taste.sums
    profile.taste.sums = sums._replace(session=replace(sums.session, weight=sums.session.weight * 1.001))


def _beyond_the_log(profile: Profile) -> None:
    profile.delivery.advance(LogPosition("log-1", partition_of(b"u:ada", PARTITIONS), 10**6))


def _nudged(profile: Profile) -> None:
    sums = profile.taste.sums
    assert sums.lifetime.sum is not None
    moved = sums.lifetime.sum.copy()
    moved[3] += 1e-3
    profile.taste.sums = sums._replace(lifetime=replace(sums.lifetime, sum=moved))


def _other_order(profile: Profile) -> None:
    """What was done at one time, the other way round."""
    viewed = profile.seen.viewed
    places = sorted((place for _, place in viewed.entries.values()), reverse=True)
    entries = {item: (NOW, place) for item, place in zip(viewed.newest_first()[::-1], places, strict=True)}
    assert set(viewed.times.values()) == {NOW}
    profile.seen.viewed = NewestItems.from_entries(viewed.size, entries)


def test_what_was_folded_before_places_were_kept_is_right_without_them() -> None:
    it = Auditing(ProfileSettings(seen=3))
    it.add_items("a", "b", "c", "d")
    for item in "dabc":
        it.say(ADA, item_id=item)
    it.work()

    def forget_places(profile: Profile) -> None:
        """As it was: of one time, the ones whose ids are last were kept."""
        assert profile.seen.viewed.newest_first() == ["c", "b", "a"]
        profile.seen.viewed = NewestItems(3, dict.fromkeys("bcd", (NOW, UNPLACED)))

    it.tamper(ADA, forget_places)
    assert found(it.audit()) == {}


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (_heavier, "session weight"),
        (_nudged, "lifetime"),
        (lambda profile: setattr(profile.taste, "evidence", profile.taste.evidence + 1), "evidence"),
        (lambda profile: setattr(profile, "last_seen", profile.last_seen + 1), "last_seen"),
        (lambda profile: setattr(profile.seen, "purchased", profile.seen.viewed), "purchased"),
        (lambda profile: setattr(profile.seen, "disliked", profile.seen.disliked.add("a", NOW)), "disliked"),
        (lambda profile: setattr(profile.seen, "recents", profile.seen.recents.add("a", NOW + 1)), "recents"),
        (_other_order, "order of viewed"),
        (lambda profile: setattr(profile.identity, "merged_into", Person("u", "bob")), "forward"),
        (lambda profile: setattr(profile.identity, "linked_anonymous_ids", ()), "twins"),
        (lambda profile: setattr(profile.identity, "segment", "new"), "answers"),
        (lambda profile: setattr(profile.identity, "erased_at", 1.0), "erased_at"),
        (_beyond_the_log, "watermark"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_one_thing_that_is_wrong_is_named(it: Auditing, change: Callable[[Profile], Any], field: str) -> None:
    a_day(it)
    it.work()
    it.tamper(ADA, change)
    report = it.audit()
    assert found(report) == {ADA: {field}}
    assert all(difference.by > difference.tolerance for difference in report.differences)


def test_a_profile_that_is_missing_is_found(it: Auditing) -> None:
    a_day(it)
    it.work()
    it.remove("u:bob")
    assert found(it.audit()) == {"u:bob": {"profile"}}


def test_a_profile_of_someone_of_whom_the_log_says_nothing_is_found(it: Auditing) -> None:
    a_day(it)
    it.work()
    bob = it.stored("u:bob")
    bob.person = Person("u", "zoe")
    it.put(bob)
    assert "events" in found(it.audit())["u:zoe"]


def test_an_older_state_that_a_zombie_wrote_is_found(it: Auditing) -> None:
    a_day(it)
    it.work()
    before = it.stored("u:bob")
    it.say("u:bob", item_id="a")
    it.work()
    it.put(before)
    assert {"events", "viewed"} <= found(it.audit())["u:bob"]


def test_a_stale_state_that_differs_in_nothing_else_is_found(it: Auditing) -> None:
    a_day(it)
    it.work()
    before = it.stored(ADA)
    it.say(ADA, item_id="c", type="purchase", event_id="e")
    it.work()
    it.put(before)
    assert found(it.audit()) == {ADA: {"watermark"}}


# -- what can't be told ------------------------------------------------------------------------------------------------


def test_people_who_touched_an_item_that_was_re_embedded_are_listed_apart(it: Auditing) -> None:
    a_day(it)
    it.work()
    it.it.clock.forward(100)
    it.add_items("d", embeddings=2)
    assert it.audit().apart == []  # the vector is as it was
    it.add_items("d", embeddings=2, text="something else")
    report = it.audit()
    assert [(apart.person, apart.why) for apart in report.apart] == [("u:bob", ("touched 'd', re-embedded since",))]
    assert report.is_clean
    it.it.clock.forward(100)
    it.say("u:cyd", item_id="d")
    it.restart(2)
    it.work()
    it.tamper("u:cyd", lambda profile: setattr(profile, "events", 9))
    report = it.audit()
    assert [apart.person for apart in report.apart] == ["u:bob"]
    assert found(report) == {"u:cyd": {"events"}}


def test_an_item_that_is_re_embedded_while_the_audit_runs_is_seen(it: Auditing) -> None:
    a_day(it)
    it.work()
    it.during = [lambda: it.add_items("d", embeddings=2, text="something else")]
    assert [apart.person for apart in it.audit().apart] == ["u:bob"]


def test_people_who_touched_an_item_that_is_gone_are_listed_apart(it: Auditing) -> None:
    a_day(it)
    it.work()
    it.remove_item("d")
    report = it.audit()
    assert [apart.person for apart in report.apart] == ["u:bob"]
    assert "isn't there" in report.apart[0].why[0]


def test_people_whose_first_event_the_log_has_lost_are_counted(it: Auditing) -> None:
    a_day(it)
    it.work()
    home = partition_of(b"u:bob", PARTITIONS)
    it.log.lows[home] = len(it.log.partitions[home])
    it.tamper("u:bob", lambda profile: setattr(profile, "events", 9))
    report = it.audit()
    assert report.is_clean
    assert report.older >= 1
    assert it.audit(Person("u", "bob")).older == 1


def test_a_profile_of_a_topic_that_was_made_anew_is_older_than_the_log(it: Auditing) -> None:
    a_day(it)
    it.work()
    it.log.partitions = [[replace(record, log="log-2") for record in records] for records in it.log.partitions]
    assert it.audit().older == 3
    it.log.partitions = [[] for _ in it.log.partitions]
    assert it.audit().older == 3


def test_people_from_before_the_number_of_partitions_was_changed_are_listed_apart(it: Auditing) -> None:
    a_day(it)
    it.work()

    def elsewhere(profile: Profile) -> None:
        profile.delivery.first = {"log-1": {(partition_of(b"u:bob", PARTITIONS) + 1) % PARTITIONS: 0}}
        profile.events = 5

    it.tamper("u:bob", elsewhere)
    (apart,) = it.audit().apart
    assert (apart.person, "partitions" in apart.why[0]) == ("u:bob", True)


def test_stubs_that_were_swept_are_not_missed_and_others_are() -> None:
    it = Auditing(ProfileSettings(tombstone_days=1))
    it.add_items("a")
    it.say(VISITOR, item_id="a")
    it.identify("cookie", "ada")
    it.erase("bob", it.it.clock(), 1)
    it.work()
    it.remove(VISITOR)
    it.remove("u:bob")
    assert found(it.audit()) == {VISITOR: {"profile"}, "u:bob": {"profile"}}
    it.it.clock.forward(2 * 86_400)
    assert it.audit().is_clean


def test_a_stub_whose_owner_the_log_has_forgotten_is_older_than_it(it: Auditing) -> None:
    it.erase("bob", it.it.clock(), 1)
    it.say(ADA, item_id="a")
    it.work()
    home = partition_of(b"u:bob", PARTITIONS)
    it.log.lows[home] = len(it.log.partitions[home])
    assert it.audit().older >= 1
    it.log.lows[home], it.log.partitions[home][0] = 0, replace(it.log.partitions[home][0], value=b"{")
    (difference,) = it.audit().differences
    assert difference.person.startswith("(erased: point ")


# -- while things go on ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("times", [1, 5])
def test_what_comes_while_the_audit_reads_is_taken_into_account(it: Auditing, times: int) -> None:
    a_day(it)
    it.work()
    it.during = [lambda: one_more(it)] * times
    report = it.audit()
    assert (report.is_clean, report.compared, it.stored(ADA).events) == (True, 3, 3 + times)
    it.tamper(ADA, lambda profile: setattr(profile, "events", 30))
    it.restart(2)
    it.during = [lambda: one_more(it)] * times
    assert found(it.audit()) == {ADA: {"events"}}


def test_an_item_that_comes_between_reading_it_and_the_profile_makes_no_difference(it: Auditing) -> None:
    it.say(ADA, item_id="late")
    it.work()
    it.it.clock.forward(5)

    def comes() -> None:
        it.add_items("late")
        it.tick()

    it.during = [comes]
    assert it.audit().compared == 1
    assert it.stored(ADA).events == 1


# -- whom --------------------------------------------------------------------------------------------------------------


def test_one_person_is_audited_with_their_anonymous_ids_and_nobody_else(it: Auditing) -> None:
    a_day(it)
    it.work()
    it.tamper("u:bob", lambda profile: setattr(profile, "events", 9))
    report = it.audit(Person("u", "ada"))
    assert (report.compared, report.is_clean) == (1, True)
    it.tamper(ADA, lambda profile: setattr(profile, "events", 9))
    assert found(it.audit(Person("u", "ada"))) == {ADA: {"events"}}
    assert it.audit(Person("a", "cookie")).compared == 1
    assert it.audit(Person("u", "nobody")) == AuditReport(records=7)


def test_a_sample_is_the_same_every_time_and_another_for_another_seed(it: Auditing) -> None:
    for n in range(40):
        it.say(f"u:{n}", item_id="a")
    it.work()
    it.spoil_everyone()
    samples = [set(it.audit(Sample(10, seed)).differing) for seed in (0, 0, 1)]
    assert samples[0] == samples[1] != samples[2]
    assert [len(each) for each in samples] == [10, 10, 10]
    assert len(it.audit(Sample(1000)).differing) == 40


@pytest.mark.parametrize("seed", range(3))
def test_a_sample_is_judged_as_it_is_among_everyone(seed: int) -> None:
    a = History(100 + seed).live(80)
    a.spoil_everyone()
    everyone = a.audit()
    for number in range(3):
        sample = a.audit(Sample(3, number))
        assert sample.compared + len(sample.apart) == 3
        chosen = {difference.person for difference in sample.differences}
        assert [d for d in everyone.differences if d.person in chosen] == sorted(
            sample.differences, key=everyone.differences.index
        )


def test_more_people_than_are_held_at_once_are_judged_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    a = History(7).live(80)
    a.spoil_everyone()
    everyone = a.audit()
    monkeypatch.setattr("eddyline.maintenance.audit.run.PEOPLE", 2)
    assert a.audit() == everyone


# -- the command -------------------------------------------------------------------------------------------------------


def test_the_report_reads_like_one(it: Auditing) -> None:
    a_day(it)
    it.work()
    it.tamper(ADA, lambda profile: setattr(profile, "events", 9))
    it.tamper("u:bob", lambda profile: setattr(profile.taste, "evidence", 9.0))
    text = list(lines(it.audit(), limit=1))
    assert text[:2] == [
        "7 records read, 0 of them dead letters, which count for nobody",
        "3 people compared, 2 of them differ",
    ]
    assert text[-3] == "Different:"
    assert text[-1] == "  … and 1 more"
    assert any("u:bob evidence: 9, expected 1: by 8 (tolerance 9e-05)" in line for line in lines(it.audit(), 5))


def test_nobody_to_compare_is_said(it: Auditing) -> None:
    assert list(lines(it.audit(Person("u", "nobody")), 5))[1].startswith("nobody to compare")


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """Without anyone's settings."""
    for name in os.environ:
        if name.startswith("EDDYLINE_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return monkeypatch


def test_without_a_log_the_command_says_so(bare: pytest.MonkeyPatch, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["audit", "--data-dir", str(tmp_path / "none")])
    assert isinstance(result.exception, Misconfigured)
    assert "`eddyline up` makes one" in str(result.exception)
    assert not (tmp_path / "none").exists()


def test_with_the_data_directory_in_use_the_command_says_so(bare: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from eddyline.adapters.vectors import EdgeStore

    bare.setenv("EDDYLINE_KAFKA__BOOTSTRAP_SERVERS", "127.0.0.1:1")
    store = EdgeStore(tmp_path / "data" / "vectors")
    result = CliRunner().invoke(app, ["audit", "--data-dir", str(tmp_path / "data")])
    assert isinstance(result.exception, AlreadyRunning)
    store.close()


def test_two_ways_of_saying_whom_are_refused(bare: pytest.MonkeyPatch) -> None:
    assert CliRunner().invoke(app, ["audit", "--user", "a", "--sample", "3"]).exit_code == 2


# -- on Kafka ----------------------------------------------------------------------------------------------------------


@pytest.mark.slow(10)
@pytest.mark.topics("interactions", "users", "content", "activity")
def test_a_real_log_is_read_and_compared(kafka: KafkaForTest) -> None:
    it = Profiling(partitions=4)
    it.add_items("a", "b")
    producer = kafka.producer()

    def say(key: str, **value: Any) -> Outgoing:
        names = {"u": "user_id", "a": "anonymous_id"}
        whole = {"type": "click", names[key[0]]: key[2:], **value}
        return Outgoing("interactions", key.encode(), orjson.dumps(whole))

    producer.send_all(
        [
            say(VISITOR, item_id="a"),
            say(VISITOR, type="identify", user_id="ada"),
            say(VISITOR, item_id="b", type="like"),
            *(say(f"u:{n}", item_id="ab"[n % 2]) for n in range(20)),
            Outgoing("interactions", b"u:ada", b"{"),
        ]
    )
    profiler = Profiler(it.store, producer, it.dead_letters, EventSettings(), ProfileSettings(), 4, Metrics())
    loop: ConsumeLoop[Any] = ConsumeLoop(kafka.options, QUICK, "profiler", ("interactions",), profiler, it.dead_letters)
    log = LogReader(kafka.options)

    def handled() -> bool:
        try:
            committed, bounds = log.committed("profiler", "interactions"), log.bounds("interactions")
        except Unavailable:  # a coordinator that is just starting
            return False
        return all((at := committed[n]) is not None and at.offset == bounds[n].high for n in bounds)

    with running(loop):
        wait_until(lambda: handled() and it.knows(ADA) and it.stored(ADA).events == 2, "everything is handled")
    report = audit(log, it.store, Settings(), Everyone())
    assert (report.compared, report.invalid, report.differences) == (22, 1, [])
    it.store.delete(PROFILES, [it.point("u:7").id])
    assert audit(log, it.store, Settings(), Sample(22)).differing == ["u:7"]
    log.close()


@pytest.mark.slow(10)
@pytest.mark.topics("interactions", "activity")
def test_the_command_reads_kafka_and_the_data_directory(
    real_kafka: KafkaForTest, bare: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from eddyline.adapters.vectors import EdgeStore

    click = orjson.dumps({"type": "click", "item_id": "a", "user_id": "ada"})
    (at,) = real_kafka.producer().send_all([Outgoing("interactions", b"u:ada", click)])
    store = EdgeStore(tmp_path / "data" / "vectors")
    create_collections(store, Settings(), 4, Distance.COSINE)
    vector = np.ones(4, dtype=np.float32)
    store.upsert(ITEMS, [Point(item_point_id("a"), {"content": vector}, {"item_id": "a", "space": "s"})])
    profile = Profile(Person("u", "ada"), ProfileSettings(), events=5)
    profile.delivery.advance(LogPosition(real_kafka.log_identity("interactions"), at.partition, at.offset))
    store.upsert(PROFILES, [Point(person_point_id(profile.person), {}, encode_payload(profile, at.partition))])
    store.close()
    bare.setenv("EDDYLINE_KAFKA__BOOTSTRAP_SERVERS", real_kafka.options.bootstrap_servers)
    bare.setenv("EDDYLINE_KAFKA__PREFIX", real_kafka.options.prefix)
    result = CliRunner().invoke(app, ["audit", "--json", "--data-dir", str(tmp_path / "data")])
    assert str(result.exception) == "profiles that differ from the log: 1 of 1"
    report = orjson.loads(result.stdout)
    assert (report["clean"], report["records"], report["apart"]) == (False, 1, [])
    by_field = {one["field"]: (one["stored"], one["expected"]) for one in report["differences"]}
    assert by_field["events"] == (5, 1)
    assert "taste" in by_field
