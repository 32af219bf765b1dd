"""Who someone is: an anonymous visitor who signs in, and someone who wants to be forgotten."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from tests.services.profiling import Profiling, click, erased, long_item_ids, onboarded, same_sums
from tests.support.fakes import NOW, Clock, record
from tests.support.stored_profile import open_payload

from eddyline.adapters.kafka import Record, partition_of
from eddyline.errors import InvalidEvent
from eddyline.model.events.wire import CONTEXT_BYTES
from eddyline.model.ids import Person
from eddyline.model.placed_time import place_of
from eddyline.model.profile import SETS, Profile
from eddyline.settings import EventSettings, ProfileSettings

PARTITIONS = 4
ANONYMOUS, USER = "cookie", "ada"
HERE = partition_of(f"a:{ANONYMOUS}".encode(), PARTITIONS)
THERE = partition_of(f"u:{USER}".encode(), PARTITIONS)


@pytest.fixture
def it() -> Profiling:
    it = Profiling(partitions=PARTITIONS)
    it.add_items("a", "b", "c", "d")
    return it


def anonymous(offset: int, item: str, *, visitor: str = ANONYMOUS, **more: Any) -> Record:
    key = f"a:{visitor}"
    more = {"user": None, "partition": partition_of(key.encode(), PARTITIONS)} | more
    return click(offset, item, key=key, anonymous_id=visitor, **more)


def signed_in(offset: int, item: str, *, user: str = USER, **more: Any) -> Record:
    return click(offset, item, user=user, partition=partition_of(f"u:{user}".encode(), PARTITIONS), **more)


def identify(offset: int, *, visitor: str = ANONYMOUS, user: str = USER, at: float = NOW, **more: Any) -> Record:
    key = f"a:{visitor}"
    value = {"type": "identify", "anonymous_id": visitor, "user_id": user, "timestamp": at, **more}
    return record("interactions", key, value, offset, partition=partition_of(key.encode(), PARTITIONS), at=at)


def erasure(offset: int, *, user: str = USER, at: float, source: int = 0) -> Record:
    told = erased(offset, user=user, at=at, source=source)
    partition = partition_of(f"u:{user}".encode(), PARTITIONS)
    return Record(told.topic, partition, offset, told.key, told.value, told.timestamp, told.log)


def same(one: Profile, other: Profile) -> None:
    """As far as ranking can tell."""
    same_sums(one, other, 1e-5)
    for name in SETS:
        there, should = getattr(one.seen, name), getattr(other.seen, name)
        assert (there.times, there.newest_first()) == (should.times, should.newest_first()), name
    assert (one.events, one.taste.evidence, one.last_seen) == (other.events, other.taste.evidence, other.last_seen)


def expected(*records: Record) -> Profile:
    """The profile of someone who did all this signed in."""
    it = Profiling(partitions=PARTITIONS)
    it.add_items("a", "b", "c", "d")
    it.feed(*records)
    return it.stored()


# -- from anonymous to known -------------------------------------------------------------------------------------------


def test_what_was_done_anonymously_becomes_the_users_exactly(it: Profiling) -> None:
    it.feed(anonymous(0, "a", at=NOW - 500), anonymous(1, "b", type="purchase", at=NOW - 50))
    it.feed(signed_in(0, "c", at=NOW - 300))
    it.feed(identify(2))
    it.deliver()
    all_of_it = expected(
        signed_in(0, "a", at=NOW - 500),
        signed_in(1, "c", at=NOW - 300),
        signed_in(2, "b", type="purchase", at=NOW - 50),
    )
    same(it.stored(), all_of_it)


def test_the_anonymous_profile_keeps_nothing_but_where_to_forward(it: Profiling) -> None:
    it.feed(anonymous(0, "a"), identify(1))
    point = it.point(f"a:{ANONYMOUS}")
    stub = it.stored(f"a:{ANONYMOUS}")
    assert point.vectors == {}
    assert (stub.identity.merged_into, stub.events, stub.seen.recents.times) == (Person("u", "ada"), 0, {})


@pytest.mark.parametrize("again", ["the same event", "another event"])
def test_an_identification_that_comes_twice_counts_once(it: Profiling, again: str) -> None:
    it.feed(anonymous(0, "a"), identify(1, event_id="login"))
    it.feed(identify(2, event_id="login" if again == "the same event" else "login-2"))
    it.deliver()
    assert it.stored().events == 1


def test_what_is_done_under_the_anonymous_id_later_follows(it: Profiling) -> None:
    it.feed(anonymous(0, "a"), identify(1), anonymous(2, "b", at=NOW + 60, event_id="late"))
    it.feed(anonymous(3, "c", at=NOW + 120, timestamp=None))
    it.clock.forward(1000)
    it.deliver()
    same(it.stored(), expected(signed_in(0, "a"), signed_in(1, "b", at=NOW + 60), signed_in(2, "c", at=NOW + 120)))


@pytest.mark.parametrize("where", ["right", "wrong"])
def test_what_was_done_at_one_moment_keeps_its_order_across_the_identification(it: Profiling, where: str) -> None:
    """However often it is forwarded: from the partition where an app put it to the visitor's, and to the user's."""
    partition = HERE if where == "right" else (HERE + 1) % PARTITIONS
    seen = len(it.producer.to("interactions"))
    it.feed(anonymous(0, "d", partition=partition), anonymous(1, "b", partition=partition))
    it.deliver(seen)
    seen = len(it.producer.to("interactions"))
    it.feed(identify(100_000))
    it.deliver(seen)
    seen = len(it.producer.to("interactions"))
    it.passed_on[HERE] = 200_000
    it.feed(anonymous(200_000, "c", partition=partition), anonymous(200_001, "a", partition=partition))
    it.deliver(seen)
    recents = it.stored().seen.recents
    assert recents.newest_first() == ["a", "c", "b", "d"]
    offsets = [0, 1, 200_000, 200_001]
    assert [place for _, place in recents.entries.values()] == [place_of(partition, offset) for offset in offsets]


def test_an_event_that_was_counted_before_the_identification_does_not_follow_again(it: Profiling) -> None:
    it.feed(anonymous(0, "a", event_id="e"), identify(1), anonymous(2, "a", event_id="e"))
    it.deliver()
    assert it.stored().events == 1


@pytest.mark.parametrize("crash", ["before the stub is written", "after the stub is written"])
def test_a_crash_of_the_anonymous_side_hands_over_once(it: Profiling, crash: str) -> None:
    it.feed(anonymous(0, "a"))
    batch = [anonymous(1, "b"), identify(2), anonymous(3, "c")]
    if crash == "before the stub is written":
        with it.store.failing("upsert"):
            it.feed(*batch)
    else:
        it.feed(*batch)
    it.restart()
    it.feed(*batch)
    it.deliver()
    same(it.stored(), expected(signed_in(0, "a"), signed_in(1, "b"), signed_in(2, "c")))


def test_a_crash_of_the_users_side_takes_it_in_once(it: Profiling) -> None:
    it.feed(anonymous(0, "a"), identify(1), anonymous(2, "b"))
    it.deliver()
    before = it.store.dump()
    it.restart()
    it.passed_on.clear()  # read again from the start
    it.deliver()
    assert it.store.dump().keys() == before.keys()
    assert it.stored().events == 2


def test_very_many_events_that_are_passed_on_twice_count_once() -> None:
    """More than the event ids remembered: the origin's order tells them apart, not their ids."""
    it = Profiling(ProfileSettings(event_ids=2), partitions=PARTITIONS)
    it.add_items("a")
    many = [identify(0), *(anonymous(n, "a", at=NOW + n, event_id=f"e{n}") for n in range(1, 30))]
    with it.store.failing("upsert"):
        it.feed(*many)
    it.restart()
    it.feed(*many)
    it.deliver()
    assert len(it.producer.to("interactions")) == 60
    assert it.stored().events == 29


def test_what_comes_through_a_gap_waits_for_its_forerunner(it: Profiling) -> None:
    """The producer lost the first of two and delivered the second; then it sends both again."""
    batch = [anonymous(0, "a"), identify(1), anonymous(2, "b")]
    it.feed(*batch)
    transfer, forwarded = it.producer.to("interactions")
    it.producer.sent[:] = [forwarded]
    it.deliver()
    assert not it.knows("u:ada") or it.stored().events == 0
    it.producer.sent[:] = [transfer, forwarded]
    it.deliver()
    assert it.stored().events == 2


def test_a_second_user_gets_only_what_came_since(it: Profiling) -> None:
    it.feed(anonymous(0, "a"), identify(1), anonymous(2, "b"))
    it.feed(identify(3, user="bob"), anonymous(4, "c"))
    it.deliver()
    assert it.stored("u:ada").seen.recents.times.keys() == {"a", "b"}
    assert it.stored("u:bob").seen.recents.times.keys() == {"c"}


def test_several_anonymous_ids_become_one_user(it: Profiling) -> None:
    visitors = [f"cookie-{n}" for n in range(12)]
    for n, visitor in enumerate(visitors):
        it.feed(anonymous(2 * n, "a", visitor=visitor, at=NOW + n), identify(2 * n + 1, visitor=visitor))
    it.deliver()
    assert it.stored().events == 12
    assert it.stored().identity.linked_anonymous_ids == tuple(visitors)


def test_someone_who_only_signed_in_has_their_events_followed(it: Profiling) -> None:
    it.feed(identify(0), anonymous(1, "a"))
    it.deliver()
    assert it.stored().events == 1


def test_what_waits_for_its_item_is_handed_over_waiting(it: Profiling) -> None:
    it.feed(anonymous(0, "a"), anonymous(1, "late", type="like"), identify(2))
    it.deliver()
    assert len(it.stored().delivery.pending) == 1
    it.restart()  # found again by the user's owner
    it.add_items("late")
    it.profiler.tick()
    same(it.stored(), _with_late())
    assert it.dead_letters.letters == []


def _with_late() -> Profile:
    it = Profiling(partitions=PARTITIONS)
    it.add_items("a", "late")
    it.feed(signed_in(0, "a"), signed_in(1, "late", type="like"))
    return it.stored()


def test_a_giant_profile_is_handed_over_without_its_oldest_seen_items() -> None:
    it = Profiling(ProfileSettings(seen=2000), partitions=PARTITIONS)
    names = long_item_ids(2000)
    it.add_items(*names)
    it.feed(*(anonymous(n, name, at=NOW + n, type="purchase") for n, name in enumerate(names)))
    it.feed(identify(2000, at=NOW + 2000))
    (transfer,) = it.producer.to("interactions")
    assert transfer.value is not None
    assert len(transfer.value) < 1_000_000
    it.deliver()
    profile = it.stored()
    assert profile.events == 2000
    assert names[-1] in profile.seen.purchased.times
    assert names[0] not in profile.seen.purchased.times


def test_a_transfer_that_is_none_is_refused(it: Profiling) -> None:
    value = {"type": "transfer", "user_id": "ada", "anonymous_id": "x", "timestamp": NOW, "payload": {"state": "{}"}}
    with pytest.raises(InvalidEvent, match="payload"):
        it.profiler.parse(record("interactions", "u:ada", value))


@pytest.mark.parametrize(
    "headers",
    [
        {"eddyline-origin": b"nonsense"},
        {"eddyline-origin": b"log-1:1:-5"},
        {"eddyline-origin": b"log-1:1:5", "eddyline-after": b"x"},
        {"eddyline-origin": b"log-1:1:5", "eddyline-authored": b"log-1:99999:0"},
        {"eddyline-origin": b"log-1:1:5", "eddyline-authored": b"log-1:0:281474976710656"},
    ],
)
def test_a_passage_that_is_none_is_refused(it: Profiling, headers: dict[str, bytes]) -> None:
    stray = signed_in(0, "a", headers=tuple(headers.items()))
    with pytest.raises(InvalidEvent, match="eddyline-origin"):
        it.profiler.parse(stray)


def test_stubs_are_swept_when_they_have_been_of_no_use_for_long() -> None:
    it = Profiling(ProfileSettings(tombstone_days=90), partitions=PARTITIONS)
    it.add_items("a")
    it.feed(anonymous(0, "a"), identify(1))
    it.feed(erasure(0, user="bob", at=NOW))
    it.deliver()
    _after(it, days=60)
    it.feed(anonymous(2, "a", at=it.clock()))  # still in use
    _after(it, days=60)
    assert it.knows(f"a:{ANONYMOUS}")
    assert not it.knows("u:bob")
    _after(it, days=60)
    assert not it.knows(f"a:{ANONYMOUS}")
    assert it.knows("u:ada")


def test_anonymous_profiles_end_and_users_do_not() -> None:
    it = Profiling(ProfileSettings(anonymous_days=180), partitions=PARTITIONS)
    it.add_items("a", "b")
    it.feed(anonymous(0, "a", visitor="idle"), anonymous(0, "a", at=NOW), signed_in(0, "a"))
    _after(it, days=100)
    it.feed(anonymous(1, "b", at=it.clock()))
    _after(it, days=100)
    assert not it.knows("a:idle")
    assert it.stored(f"a:{ANONYMOUS}").events == 2
    assert it.knows(f"u:{USER}")


def test_history_that_is_imported_does_not_end_an_anonymous_profile() -> None:
    it = Profiling(ProfileSettings(anonymous_days=180), partitions=PARTITIONS)
    it.add_items("a", "b")
    long_ago = NOW - 400 * 86_400
    it.feed(anonymous(0, "a", at=long_ago, arrived=NOW))
    it.profiler.tick()
    it.feed(anonymous(1, "b", at=long_ago + 60, arrived=NOW))
    assert it.stored(f"a:{ANONYMOUS}").events == 2


def test_who_comes_back_after_their_profile_ended_is_a_stranger_whether_it_was_removed_or_not() -> None:
    it = Profiling(ProfileSettings(anonymous_days=180), partitions=PARTITIONS)
    it.add_items("a", "b")
    it.feed(anonymous(0, "a"))
    it.clock.forward(181 * 86_400)
    it.feed(anonymous(1, "b", at=it.clock()))
    profile = it.stored(f"a:{ANONYMOUS}")
    assert (profile.events, list(profile.seen.viewed.times)) == (1, ["b"])


# -- erasing an anonymous id -------------------------------------------------------------------------------------------


def erasure_of_anonymous(offset: int, at: float, visitor: str = ANONYMOUS) -> Record:
    key = f"a:{visitor}"
    value = {"type": "erased", "anonymous_id": visitor, "timestamp": at}
    return record("interactions", key, value, offset, partition=partition_of(key.encode(), PARTITIONS), at=at)


def test_an_anonymous_id_that_is_nobodys_is_erased_and_late_events_stay_out(it: Profiling) -> None:
    it.feed(anonymous(0, "a", at=NOW - 50), anonymous(1, "never-made", at=NOW - 40))
    it.feed(erasure_of_anonymous(2, at=NOW))
    assert it.stored(f"a:{ANONYMOUS}").is_blank
    assert "person" not in it.point(f"a:{ANONYMOUS}").payload
    it.feed(anonymous(3, "b", at=NOW - 10, arrived=NOW + 10))
    assert it.stored(f"a:{ANONYMOUS}").is_blank
    it.feed(anonymous(4, "c", at=NOW + 20))
    assert it.stored(f"a:{ANONYMOUS}").events == 1


def test_an_anonymous_id_that_is_a_users_by_now_goes_on_forwarding(it: Profiling) -> None:
    it.feed(anonymous(0, "a", at=NOW - 50), identify(1))
    it.deliver()
    it.feed(erasure_of_anonymous(2, at=NOW + 1))
    assert it.stored(f"a:{ANONYMOUS}").identity.merged_into == Person("u", USER)
    assert it.stored().events == 1


def test_an_erasure_reaches_the_anonymous_ids_that_a_profile_no_longer_names(
    it: Profiling, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("eddyline.model.profile.identity.MAX_LINKED_IDS", 2)
    visitors = [f"visitor {n}" for n in range(5)]
    for visitor in visitors:
        it.feed(anonymous(0, "a", visitor=visitor), identify(1, visitor=visitor))
    it.deliver()
    assert len(it.stored().identity.linked_anonymous_ids) == 2
    sent = len(it.producer.to("interactions"))
    it.feed(erasure(20_000, at=NOW + 1))
    it.deliver(sent)
    for visitor in visitors:
        assert it.stored(f"a:{visitor}").identity.merged_into is None
        assert "person" not in it.point(f"a:{visitor}").payload


def _after(it: Profiling, days: float) -> None:
    assert isinstance(it.clock, Clock)
    it.clock.forward(days * 86_400)
    it.profiler.tick()


# -- whom experiments take them for ------------------------------------------------------------------------------------


def unit_of(it: Profiling, key: str = f"u:{USER}") -> tuple[float, str] | None:
    return it.stored(key).identity.first_seen


def test_who_signs_in_stays_who_they_were(it: Profiling) -> None:
    it.feed(anonymous(0, "a", at=NOW - 500))
    assert unit_of(it, f"a:{ANONYMOUS}") == (NOW - 500, f"a:{ANONYMOUS}")
    it.feed(signed_in(0, "c", at=NOW - 300), identify(1))
    it.deliver()
    assert unit_of(it) == (NOW - 500, f"a:{ANONYMOUS}")


def test_a_user_who_was_there_before_stays_who_they_were(it: Profiling) -> None:
    it.feed(signed_in(0, "c", at=NOW - 900), anonymous(0, "a", at=NOW - 500), identify(1))
    it.deliver()
    assert unit_of(it) == (NOW - 900, f"u:{USER}")


def test_who_was_only_shown_lists_before_they_signed_in_stays_who_they_were(it: Profiling) -> None:
    shown = {"type": "shown", "anonymous_id": ANONYMOUS, "timestamp": NOW - 500, "items": ["a"]}
    it.feed(record("interactions", f"a:{ANONYMOUS}", shown, 0, partition=HERE, at=NOW), identify(1))
    it.deliver()
    assert unit_of(it) == (NOW - 500, f"a:{ANONYMOUS}")


def test_who_did_nothing_before_they_signed_in_stays_who_they_were(it: Profiling) -> None:
    it.feed(identify(0, at=NOW - 500), signed_in(0, "c", at=NOW - 300))
    it.deliver()
    assert unit_of(it) == (NOW - 500, f"a:{ANONYMOUS}")


@pytest.mark.parametrize("late", [True, False], ids=["comes late", "comes in time"])
def test_it_does_not_matter_whether_an_anonymous_event_comes_late(it: Profiling, late: bool) -> None:
    early = [anonymous(5 if late else 0, "a", at=NOW - 900, arrived=NOW)]
    it.feed(*([] if late else early), anonymous(1, "b", at=NOW - 500), signed_in(0, "c", at=NOW - 700), identify(2))
    it.deliver()
    it.feed(*(early if late else []))
    it.deliver(1)
    assert unit_of(it) == (NOW - 900, f"a:{ANONYMOUS}")


def test_an_event_with_both_ids_says_who_they_were_before(it: Profiling) -> None:
    it.feed(signed_in(0, "c", anonymous_id=ANONYMOUS))
    assert unit_of(it) == (NOW, f"a:{ANONYMOUS}")


def test_an_erasure_forgets_under_which_id_they_came_first(it: Profiling) -> None:
    it.feed(anonymous(0, "a", at=NOW - 500), identify(1))
    it.deliver()
    it.feed(erasure(20_000, at=NOW))
    assert unit_of(it) is None
    assert ANONYMOUS not in str(open_payload(it.point().payload))
    it.feed(signed_in(20_001, "b", at=NOW - 10))
    assert unit_of(it) is None, "what was before the erasure doesn't bring it back"
    it.feed(signed_in(20_002, "b", at=NOW + 10))
    assert unit_of(it) == (NOW + 10, f"u:{USER}")


# -- erasure -----------------------------------------------------------------------------------------------------------


def everything(it: Profiling) -> str:
    return repr(it.store.dump())


def test_an_erased_user_leaves_no_trace_nor_do_their_anonymous_ids(it: Profiling) -> None:
    it.feed(anonymous(0, "a"), identify(1), anonymous(2, "b"))
    it.feed(signed_in(0, "c"))
    it.deliver()
    sent = len(it.producer.to("interactions"))
    it.feed(erasure(20_000, at=NOW + 100))
    it.deliver(sent)
    left = everything(it)
    assert USER not in left
    assert ANONYMOUS not in left
    assert it.stored("u:ada").is_blank
    assert it.stored(f"a:{ANONYMOUS}").is_blank


def test_late_events_do_not_bring_an_erased_user_back_under_either_id(it: Profiling) -> None:
    it.feed(anonymous(0, "a"), identify(1))
    it.deliver()
    sent = len(it.producer.to("interactions"))
    it.feed(erasure(20_000, at=NOW + 100))
    it.deliver(sent)
    it.feed(anonymous(30_000, "b", at=NOW + 50, arrived=NOW + 200))
    it.feed(signed_in(30_000, "b", at=NOW + 99, arrived=NOW + 200))
    it.feed(identify(30_001, at=NOW + 90))
    assert it.stored("u:ada").is_blank
    assert it.stored(f"a:{ANONYMOUS}").is_blank


def test_after_the_erasure_the_anonymous_id_is_a_strangers(it: Profiling) -> None:
    it.feed(anonymous(0, "a"), identify(1))
    it.deliver()
    sent = len(it.producer.to("interactions"))
    it.feed(erasure(20_000, at=NOW + 100))
    it.deliver(sent)
    it.feed(anonymous(30_000, "b", at=NOW + 200))
    assert it.stored(f"a:{ANONYMOUS}").seen.recents.times.keys() == {"b"}
    assert it.stored("u:ada").is_blank


def test_someone_identified_before_the_erasure_whose_transfer_comes_after_it_is_erased_too(it: Profiling) -> None:
    it.feed(anonymous(0, "a"), identify(1))
    it.feed(erasure(0, at=NOW + 100))
    it.deliver()
    assert it.stored("u:ada").is_blank
    assert it.stored(f"a:{ANONYMOUS}").is_blank


def test_an_anonymous_id_that_is_someone_elses_by_now_is_left_to_them(it: Profiling) -> None:
    it.feed(anonymous(0, "a"), identify(1), identify(2, user="bob"))
    it.deliver()
    sent = len(it.producer.to("interactions"))
    it.feed(erasure(20_000, at=NOW + 100))
    it.deliver(sent)
    stub = it.stored(f"a:{ANONYMOUS}")
    assert stub.identity.merged_into == Person("u", "bob")


def test_an_erasure_that_crashes_halfway_is_finished_by_the_next_owner(it: Profiling) -> None:
    it.feed(anonymous(0, "a"), identify(1))
    it.deliver()
    sent = len(it.producer.to("interactions"))
    with it.store.failing("upsert"):
        it.feed(erasure(20_000, at=NOW + 100))
    it.restart()
    it.feed(erasure(20_000, at=NOW + 100))
    it.deliver(sent)
    assert it.stored(f"a:{ANONYMOUS}").is_blank
    assert it.stored("u:ada").is_blank


def test_answers_given_anew_after_an_erasure_are_kept(it: Profiling) -> None:
    it.feed(erasure(0, at=NOW, source=1))
    answers = onboarded(1, source=2)
    it.feed(Record(answers.topic, THERE, 1, answers.key, answers.value, answers.timestamp, answers.log))
    assert it.stored("u:ada").taste.onboarding is not None
    assert it.point("u:ada").payload["person"] == "u:ada"


# -- dead letters ------------------------------------------------------------------------------------------------------


def test_an_interaction_that_was_given_up_counts_when_it_is_sent_again(it: Profiling) -> None:
    it.feed(signed_in(0, "late", event_id="e"))
    it.clock.forward(1000)
    it.profiler.tick()
    ((letter, _, _),) = it.dead_letters.letters
    it.add_items("late")
    again = Record(letter.topic, letter.partition, 1, letter.key, letter.value, letter.timestamp, letter.log)
    it.feed(again)
    assert it.stored().events == 1


def test_waiting_interactions_are_bounded_in_bytes_too(it: Profiling) -> None:
    words = {f"k{n}": "x" * 1000 for n in range(7)}
    it.feed(*(signed_in(n, f"late-{n}", context=words) for n in range(60)))
    pending = it.stored().delivery.pending
    assert 0 < len(pending) < 60
    assert [letter.offset for letter, _, _ in it.dead_letters.letters] == list(range(60 - len(pending))), "the oldest"


@pytest.mark.parametrize("character", ["x", "🎬", '"', "\\", "\x01", "ü"])
def test_whatever_waits_can_be_handed_over(it: Profiling, character: str) -> None:
    """JSON within JSON escapes twice, and characters are not bytes."""
    room = CONTEXT_BYTES // len(orjson.dumps(character)[1:-1]) - 400
    words = {f"k{n}": character * min(1024, room - n * 1024) for n in range(31) if room > n * 1024}
    header = (("trace", bytes(range(256)) * 30),)
    it.feed(*(anonymous(n, f"late-{n}", context=words, headers=header) for n in range(100)), identify(100))
    it.deliver()
    assert it.stored(f"a:{ANONYMOUS}").identity.merged_into == Person("u", USER)
    pending = it.stored().delivery.pending
    assert pending, "and the newest wait on"
    assert len(it.dead_letters.letters) + len(pending) == 100, "none is lost"
    assert {reason for _, reason, _ in it.dead_letters.letters} == {"unknown_item"}


def test_a_profile_that_no_record_holds_sheds_what_it_saw_first_and_then_what_waits() -> None:
    it = Profiling(ProfileSettings(seen=3000, exposures=3000, recents=1000), PARTITIONS)
    names = long_item_ids(3000)
    it.add_items(*names)
    it.feed(*(anonymous(n, name, type="like") for n, name in enumerate(names)))
    words = {f"k{n}": "x" * 1000 for n in range(7)}
    it.feed(*(anonymous(3000 + n, f"late-{n}", context=words) for n in range(20)), identify(3100))
    it.deliver()
    stored = it.stored()
    assert 0 < len(stored.seen.liked.times) < 3000
    assert names[-1] in stored.seen.liked.times
    assert it.metric("eddyline_profiler_shed_total", what="seen") > 0
    assert len(stored.delivery.pending) == 20, "what waits goes last"
    assert it.metric("eddyline_profiler_shed_total", what="pending") == 0


def test_events_astray_and_events_that_follow_are_passed_on_in_the_order_they_came(it: Profiling) -> None:
    """Both go from the same partition to the same user: out of order, one would seem a repeat of the other."""
    assert HERE != THERE
    it.feed(identify(0))
    it.feed(anonymous(1, "a"), click(2, "b", partition=HERE), anonymous(3, "c"))
    it.deliver()
    assert it.stored().events == 3


def test_a_passage_that_the_receiver_cannot_read_is_a_dead_letter_and_holds_nothing_back(it: Profiling) -> None:
    """As while settings are being changed: the sender knows a type that the receiver doesn't."""
    it.events = EventSettings(weights={"wink": 2.0})
    it.restart()
    it.feed(identify(0), anonymous(1, "a"), anonymous(2, "b", type="wink"), anonymous(3, "c"))
    it.restart(epoch=3, events=EventSettings())
    it.deliver()
    assert it.stored().seen.recents.times.keys() == {"a", "c"}
    ((letter, reason, detail),) = it.dead_letters.letters
    assert (letter.key, reason) == (b"u:ada", "invalid_event")
    assert "wink" in detail
