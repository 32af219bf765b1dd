"""The profiler: every interaction once, in the right profile, whatever happens in between."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from tests.services.profiling import SPACE, Profiling, click, erased, onboarded, same_sums
from tests.support.fakes import NOW, near, record, redelivered, text_vector

from eddyline.adapters.kafka import Acknowledgements, Outgoing, Record, TopicPartition, partition_of
from eddyline.adapters.vectors import ITEMS, PROFILES, Point
from eddyline.errors import Fenced, InvalidEvent, Misconfigured, Unavailable
from eddyline.model.decay import MINUTE
from eddyline.model.events import pack_dimensions
from eddyline.model.ids import Person, item_point_id, person_point_id
from eddyline.model.placed_time import place_of
from eddyline.model.profile import stored_recents
from eddyline.profiler import profile_store, to_profile_point
from eddyline.profiler.handler import SLICE_PEOPLE
from eddyline.profiler.item_cache import ITEM_CACHE_SECONDS
from eddyline.settings import EventSettings, ProfileSettings

HOUR = 3600.0


@pytest.fixture
def it() -> Profiling:
    profiling = Profiling()
    profiling.add_items("a", "b", "c")
    return profiling


# -- folding -----------------------------------------------------------------------------------------------------------


def test_what_someone_does_moves_their_taste_towards_it(it: Profiling) -> None:
    it.feed(click(0, "a", type="purchase"))
    profile = it.stored()
    near(profile.taste.sums.taste.sum, 5.0 * text_vector("a"))
    assert profile.seen.recents.newest_first() == ["a"]
    assert profile.seen.hidden(["purchased"]).keys() == {"a"}
    assert (profile.events, profile.last_seen, profile.taste.space) == (1, NOW, SPACE)


def test_taste_decays_by_the_articles_formula(it: Profiling) -> None:
    it.feed(click(0, "a", at=NOW - 10 * 86_400, arrived=NOW), click(1, "b", type="like"))
    expected = math.exp(-1) * text_vector("a") + 3.0 * text_vector("b")
    near(it.stored().taste.sums.taste.sum, expected)
    assert it.stored().taste.sums.taste.weight == pytest.approx(math.exp(-1) + 3.0)


def test_a_batch_is_one_write_a_person(it: Profiling) -> None:
    it.feed(*(click(n, "abc"[n % 3], user=("ada", "bob")[n % 2], event_id=f"e{n}") for n in range(20)))
    assert [line for line in it.journal if line.startswith("upsert")] == ["upsert profiles 2"]
    assert it.stored("u:ada").events == it.stored("u:bob").events == 10


def test_anonymous_and_signed_in_people_of_the_same_id_are_two(it: Profiling) -> None:
    it.feed(
        click(0, "a"),
        record("interactions", "a:ada", {"type": "click", "item_id": "b", "anonymous_id": "ada"}, 1),
    )
    assert it.stored("u:ada").seen.recents.newest_first() == ["a"]
    assert it.stored("a:ada").seen.recents.newest_first() == ["b"]


def test_profiles_folded_in_batches_equal_those_folded_one_by_one(it: Profiling) -> None:
    clicks = [click(n, "abc"[n % 3], at=NOW - 60 * n, arrived=NOW) for n in range(9)]
    it.feed(*clicks)
    other = Profiling()
    other.add_items("a", "b", "c")
    for one in clicks:
        other.feed(one)
    assert other.point().payload == it.point().payload


# -- nothing twice -----------------------------------------------------------------------------------------------------


def test_a_replayed_batch_changes_nothing(it: Profiling) -> None:
    batch = [click(n, "abc"[n % 3]) for n in range(6)]
    it.feed(*batch)
    before = it.store.dump()
    it.journal.clear()
    it.feed(*batch)
    it.restart()
    it.feed(*batch)
    assert it.store.dump() == before
    assert it.journal == []


def test_the_new_part_of_a_replayed_batch_is_folded(it: Profiling) -> None:
    it.feed(click(0, "a"), click(1, "b"))
    it.restart()
    it.feed(click(0, "a"), click(1, "b"), click(2, "c"))
    assert it.stored().events == 3


def test_the_same_event_id_twice_changes_nothing(it: Profiling) -> None:
    it.feed(click(0, "a", event_id="e1"))
    vectors = it.point().payload["vectors"]
    it.feed(click(1, "a", event_id="e1"))
    it.restart()
    it.feed(click(2, "a", event_id="e1"))
    assert it.stored().events == 1
    assert it.point().payload["vectors"] == vectors
    assert it.metric("eddyline_profiler_repeated_total", by="event_id") == 1


def test_an_orders_id_may_stand_on_each_of_its_lines(it: Profiling) -> None:
    it.feed(click(0, "a", event_id="order-7"), click(1, "b", event_id="order-7"))
    assert it.stored().events == 2
    it.feed(click(2, "b", event_id="order-7"))
    assert it.stored().events == 2


def test_events_without_an_id_are_told_apart_by_their_place(it: Profiling) -> None:
    it.feed(click(0, "a"), click(1, "a"))
    assert it.stored().events == 2


def test_a_recreated_log_starts_anew(it: Profiling) -> None:
    it.feed(click(0, "a", event_id="e0"), click(1, "b", event_id="e1"))
    it.feed(click(0, "c", event_id="e2", log="log-2"))
    assert it.stored().events == 3
    assert it.stored().delivery.watermarks == {"log-2": {0: 0}}


def test_event_ids_are_remembered_up_to_the_bound() -> None:
    it = Profiling(ProfileSettings(event_ids=5))
    it.add_items("a")
    it.feed(*(click(n, "a", event_id=f"e{n}") for n in range(20)))
    assert len(it.stored().delivery.event_ids) == 5
    it.feed(click(20, "a", event_id="e19"))
    assert it.stored().events == 20


# -- crashes and outages -----------------------------------------------------------------------------------------------


def test_activity_is_acknowledged_before_profiles_are_written(it: Profiling) -> None:
    it.feed(click(0, "a"), click(1, "b"))
    assert it.journal == ["send activity", "send activity", "upsert profiles 1"]


def test_points_are_made_while_activity_is_being_acknowledged(it: Profiling, monkeypatch: pytest.MonkeyPatch) -> None:
    def begin_all(records: Sequence[Outgoing]) -> Acknowledgements:
        it.journal.append("sent")
        return lambda: it.journal.append("acknowledged") or []  # type: ignore[func-returns-value]

    def to_point(*arguments: Any) -> Point:
        it.journal.append("made a point")
        return to_profile_point(*arguments)

    monkeypatch.setattr(it.producer, "begin_all", begin_all)
    monkeypatch.setattr(profile_store, "to_profile_point", to_point)
    it.feed(click(0, "a"))
    assert it.journal == ["sent", "made a point", "acknowledged", "upsert profiles 1"]


def test_a_failed_write_leaves_nothing_behind_and_the_next_attempt_folds_everything(it: Profiling) -> None:
    it.feed(click(0, "a"))
    batch = [click(1, "b"), click(2, "c", user="bob")]
    with it.store.failing("upsert"):
        it.feed(*batch)
    it.feed(*batch)
    assert it.stored("u:ada").seen.recents.times.keys() == {"a", "b"}
    assert it.stored("u:ada").events == 2
    assert it.stored("u:bob").events == 1


def test_a_refused_activity_means_that_no_profile_is_written(it: Profiling) -> None:
    it.producer.delivery = Unavailable("no broker")
    with pytest.raises(Unavailable):
        it.feed(click(0, "a"))
    assert not it.knows("u:ada")
    it.producer.delivery = None
    it.feed(click(0, "a"))
    assert it.stored().events == 1
    assert len(it.producer.to("activity")) == 1


def test_attempts_while_the_store_is_down_send_the_activity_once(it: Profiling) -> None:
    it.feed(click(0, "a"))  # everything needed is cached from here on: an attempt fails in its last step
    it.producer.sent.clear()
    for _ in range(5):
        with it.store.failing("upsert"):
            it.feed(click(1, "a", at=NOW + HOUR))
    it.feed(click(1, "a", at=NOW + HOUR))
    assert len(it.producer.to("activity")) == 1
    assert it.stored().events == 2
    assert it.profiler._outbox._sent == set(), "what is done with is not remembered for ever"


def test_a_crash_between_activity_and_profile_folds_once(it: Profiling) -> None:
    with it.store.failing("upsert"):
        it.feed(click(0, "a"))
    it.restart()
    it.feed(click(0, "a"))
    assert it.stored().events == 1
    # Twice on the topic, under one source id: the affinity service tells them apart.
    assert [one["source"] for one in it.producer.values("activity")] == ["log-1:0:0"] * 2


# -- activity ----------------------------------------------------------------------------------------------------------


def test_activity_names_the_item_and_what_came_before_it(it: Profiling) -> None:
    it.feed(click(0, "a"), click(1, "b", at=NOW + 1), click(2, "c", at=NOW + 2))
    sent = it.producer.to("activity")
    assert [one.key for one in sent] == [b"a", b"b", b"c"]
    assert [one["recents"] for one in it.producer.values("activity")] == list(map(pack_dimensions, ["", "a", "ba"]))
    assert dict(sent[2].headers)["ce_id"] == b"log-1:0:2"


def test_a_late_event_did_not_come_after_what_was_done_since(it: Profiling) -> None:
    it.feed(click(0, "a"), click(1, "b", at=NOW + 2), click(2, "c", at=NOW + 1, arrived=NOW + 3))
    assert [one["recents"] for one in it.producer.values("activity")] == list(map(pack_dimensions, ["", "a", "a"]))
    assert it.stored().seen.recents.newest_first() == ["b", "c", "a"]


def test_what_was_done_at_one_moment_is_in_the_order_in_which_it_was_sent(it: Profiling) -> None:
    it.feed(click(0, "c"), click(1, "a"), click(2, "b"))
    assert [one["recents"] for one in it.producer.values("activity")] == list(map(pack_dimensions, ["", "c", "ac"]))
    assert it.stored().seen.recents.newest_first() == ["b", "a", "c"]
    assert stored_recents(it.point().payload) == ["b", "a", "c"]


def test_what_waited_for_its_item_is_put_where_it_was_sent(it: Profiling) -> None:
    it.feed(click(0, "b"), click(1, "late"), click(2, "a"))
    it.restart()
    it.add_items("late")
    it.profiler.tick()
    assert it.stored().seen.recents.newest_first() == ["a", "late", "b"]
    assert [one["recents"] for one in it.producer.values("activity")] == list(map(pack_dimensions, ["", "b", "b"]))


@pytest.mark.parametrize("kind", ["dislike", "skip", "impression"])
def test_only_positive_events_are_activity(it: Profiling, kind: str) -> None:
    it.feed(click(0, "a", type=kind))
    assert it.producer.to("activity") == []
    assert it.stored().seen.recents.newest_first() == []


def test_a_person_counts_once_an_hour_for_an_item(it: Profiling) -> None:
    times = [0, 60, HOUR - 1, HOUR, HOUR + 60, 2 * HOUR]
    it.feed(*(click(n, "a", at=NOW + at) for n, at in enumerate(times)))
    assert [one["source"] for one in it.producer.values("activity")] == ["log-1:0:0", "log-1:0:3", "log-1:0:5"]
    assert it.stored().events == 6


def test_a_late_event_does_not_make_a_person_count_again_for_the_present_hour(it: Profiling) -> None:
    it.feed(click(0, "a"), click(1, "a", at=NOW - 3 * HOUR, arrived=NOW), click(2, "a", at=NOW + 60))
    assert [one["source"] for one in it.producer.values("activity")] == ["log-1:0:0", "log-1:0:1"]


# -- interactions that wait for their item -----------------------------------------------------------------------------


def test_an_interaction_waits_for_its_item_and_equals_one_folded_in_time(it: Profiling) -> None:
    events = [click(0, "late", type="like"), click(1, "a", at=NOW + 5), click(2, "late", at=NOW + 9, event_id="x")]
    it.feed(*events)
    assert it.stored().seen.recents.newest_first() == ["a"]
    assert len(it.stored().delivery.pending) == 2
    it.profiler.tick()
    assert len(it.stored().delivery.pending) == 2
    it.clock.forward(300)
    it.add_items("late")
    it.profiler.tick()

    in_time = Profiling()
    in_time.add_items("a", "late")
    in_time.feed(*events)
    late, expected = it.stored(), in_time.stored()
    assert late.delivery.pending == ()
    same_sums(late, expected)
    assert late.seen.recents == expected.seen.recents
    assert late.events == expected.events
    assert late.taste.evidence == pytest.approx(expected.taste.evidence)
    assert it.point().payload.get("waiting") is None


def test_of_very_many_waiting_items_each_is_looked_up_in_its_turn(
    it: Profiling, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("eddyline.profiler.handler.LOOKUPS", 2)
    it.feed(*(click(n, f"late{n}") for n in range(5)))
    it.add_items("late4")
    for _ in range(3):
        it.profiler.tick()
    assert it.stored().seen.recents.newest_first() == ["late4"]
    assert len(it.stored().delivery.pending) == 4


def test_what_waits_survives_a_restart(it: Profiling) -> None:
    it.feed(click(0, "late"), click(1, "never", user="bob"))
    it.restart()
    assert it.metric("eddyline_profiler_waiting") == 2
    it.add_items("late")
    it.profiler.tick()
    assert it.stored("u:ada").seen.recents.newest_first() == ["late"]
    assert len(it.stored("u:bob").delivery.pending) == 1
    assert it.metric("eddyline_profiler_waiting") == 1


def test_a_waiting_interaction_is_folded_once_however_often_it_is_replayed(it: Profiling) -> None:
    it.feed(click(0, "late"))
    it.restart()
    it.feed(click(0, "late"), click(1, "late", event_id="log-1:0:0"))
    it.add_items("late")
    it.profiler.tick()
    it.profiler.tick()
    it.feed(click(0, "late"))
    assert it.stored().events == 1


def test_a_failed_tick_is_made_up_for_by_the_next(it: Profiling) -> None:
    it.feed(click(0, "late"))
    it.add_items("late")
    with it.store.failing("upsert"):
        it.profiler.tick()
    it.profiler.tick()
    assert it.stored().events == 1
    assert len(it.producer.to("activity")) == 1


@pytest.mark.parametrize("arrives", [False, True], ids=["never comes", "comes at last"])
def test_what_many_wait_for_stops_the_stream_for_moments_alone(
    it: Profiling, monkeypatch: pytest.MonkeyPatch, arrives: bool
) -> None:
    people = 1000
    it.feed(*(click(n, "late", user=f"user {n}") for n in range(people)))
    if arrives:
        it.add_items("late")
    it.clock.forward(it.settings.pending_seconds + 1)
    write = it.store.upsert

    def slow(collection: str, points: Sequence[Point], **options: Any) -> None:
        it.clock.forward(0.001 * len(points))
        write(collection, points, **options)

    monkeypatch.setattr(it.store, "upsert", slow)
    it.journal.clear()
    stalls = []
    while it.metric("eddyline_profiler_waiting"):
        began = it.clock()
        it.profiler.tick()
        stalls.append(it.clock() - began)
        assert len(stalls) < 100
    assert max(stalls) < 0.5
    letters = [record.offset for record, *_ in it.dead_letters.letters]
    assert sorted(letters) == ([] if arrives else list(range(people))), "each once"
    assert sum(it.stored(f"u:user {n}").events for n in range(people)) == (people if arrives else 0)
    assert it.journal.count("bury") == (0 if arrives else people / SLICE_PEOPLE), "one wait for a slice"


def test_an_item_that_does_not_come_makes_a_dead_letter_of_the_record_as_it_was(it: Profiling) -> None:
    odd = Record(
        "interactions",
        0,
        7,
        b"ada",  # an app's own idea of a key
        b'{ "type":"click",  "item_id":"never","user_id":"ada"}',
        round(NOW * 1000),
        "log-1",
        (("ce_id", b"\xff\x00x"), ("ce_id", b"twice")),
    )
    it.feed(odd)
    it.clock.forward(it.settings.pending_seconds - 1)
    it.profiler.tick()
    assert it.dead_letters.letters == []
    it.restart()
    it.clock.forward(2)
    it.profiler.tick()
    it.profiler.tick()
    [(letter, reason, detail)] = it.dead_letters.letters
    assert letter == odd
    assert reason == "unknown_item"
    assert "never" in detail
    assert "900 s" in detail
    assert it.stored().delivery.pending == ()


def test_too_many_waiting_interactions_make_dead_letters_of_the_oldest() -> None:
    it = Profiling(ProfileSettings(pending=3))
    it.feed(*(click(n, f"new{n}") for n in range(5)))
    assert [letter.offset for letter, _, _ in it.dead_letters.letters] == [0, 1]
    assert "too many" in it.dead_letters.letters[0][2]
    assert [entry.offset for entry in it.stored().delivery.pending] == [2, 3, 4]
    assert it.metric("eddyline_dead_letters_total", group="profiler", topic="interactions", reason="unknown_item") == 2


def test_attempts_while_the_store_is_down_bury_a_dead_letter_once() -> None:
    it = Profiling(ProfileSettings(pending=1))
    it.feed(click(0, "x"))
    for _ in range(3):
        with it.store.failing("upsert"):
            it.feed(click(1, "y"))
    it.feed(click(1, "y"))
    assert [letter.offset for letter, _, _ in it.dead_letters.letters] == [0]


def test_a_type_that_left_the_settings_while_its_event_waited_makes_a_dead_letter(it: Profiling) -> None:
    it.events = EventSettings(weights={"wave": 2.0})
    it.restart(epoch=2)
    it.feed(click(0, "late", type="wave"), click(1, "late"))
    it.restart(epoch=3, events=EventSettings())
    it.add_items("late")
    it.profiler.tick()
    [(letter, reason, detail)] = it.dead_letters.letters
    assert (letter.offset, reason) == (0, "invalid_event")
    assert "wave" in detail
    assert it.stored().events == 1


def test_an_item_whose_point_is_half_made_is_waited_for(it: Profiling) -> None:
    # The embedder writes the vector of an item whose price came first before it writes the space.
    it.add_items("half")
    it.store.delete_payload(ITEMS, [item_point_id("half")], ["space"])
    it.feed(click(0, "half"))
    assert len(it.stored().delivery.pending) == 1
    it.add_items("half")
    it.profiler.tick()
    assert it.stored().events == 1


# -- where records belong ----------------------------------------------------------------------------------------------


def test_a_record_on_the_wrong_partition_goes_to_its_persons_and_counts_once() -> None:
    it = Profiling(partitions=4)
    it.add_items("a")
    right = partition_of(b"u:ada", 4)
    stray = click(5, "a", partition=(right + 1) % 4, key="ada", headers=(("trace", b"1"),), timestamp=None)
    it.feed(stray)
    it.restart()
    it.feed(stray)  # it wasn't committed before the crash
    first, again = it.producer.to("interactions")
    assert first == again
    assert first.key == b"u:ada"
    assert first.headers == (("trace", b"1"), ("eddyline-origin", b"log-1:1:5"))
    assert not it.knows("u:ada")
    for offset, sent in enumerate((first, again)):
        it.feed(redelivered(sent, offset, partition=right, at=NOW + 60))
    assert it.stored().events == 1
    assert it.stored().last_seen == NOW, "it happened when it arrived first"


def test_records_on_the_wrong_partition_keep_their_order() -> None:
    it = Profiling(partitions=4)
    it.add_items("a", "b", "c")
    wrong = (partition_of(b"u:ada", 4) + 1) % 4
    it.feed(*(click(offset, item, partition=wrong, key="ada") for offset, item in enumerate("cab")))
    it.deliver()
    places = [place_of(wrong, offset) for offset in range(3)]
    assert it.stored().seen.recents.entries == dict(zip("cab", [(NOW, place) for place in places], strict=True))
    assert it.stored().seen.recents.newest_first() == ["b", "a", "c"]


def test_people_of_several_partitions_are_written_under_their_own_epochs() -> None:
    it = Profiling(partitions=4)
    it.add_items("a")
    for n in range(4):
        it.profiler.assigned({TopicPartition("interactions", n): 10 + n})
    people = [f"p{n}" for n in range(12)]
    homes = {user: partition_of(f"u:{user}".encode(), 4) for user in people}
    it.feed(*(click(n, "a", user=user, partition=homes[user]) for n, user in enumerate(people)))
    assert {user: it.point(f"u:{user}").payload["epoch"] for user in people} == {u: 10 + p for u, p in homes.items()}
    assert len(set(homes.values())) > 1


# -- ownership ---------------------------------------------------------------------------------------------------------


def test_revoked_partitions_are_forgotten(it: Profiling) -> None:
    it.feed(click(0, "a"), click(1, "late", user="bob"))
    it.profiler.revoked([TopicPartition("interactions", 0)])
    it.add_items("late")
    it.journal.clear()
    it.profiler.tick()
    assert it.journal == []
    # Somebody else goes on; when the partition comes back, what they wrote is read again.
    successor = it.new_profiler(epoch=5)
    successor.handle([])
    it.profiler, mine = successor, it.profiler
    it.feed(click(2, "b"))
    it.profiler = mine
    mine.assigned({TopicPartition("interactions", 0): 6})
    it.feed(click(3, "c"))
    assert it.stored().seen.recents.times.keys() == {"a", "b", "c"}


def test_a_profile_written_by_a_newer_owner_stops_this_one(it: Profiling) -> None:
    it.feed(click(0, "a"))
    it.restart(epoch=9)
    it.feed(click(1, "b"))
    it.restart(epoch=3)
    with pytest.raises(Fenced, match=r"u:ada.*epoch 9.*under 3"):
        it.feed(click(2, "c"))


def test_a_worker_that_lost_its_partition_cannot_overwrite_its_successor(it: Profiling) -> None:
    it.feed(click(0, "a"))
    zombie = it.profiler
    it.restart(epoch=2)
    it.feed(click(1, "b"), click(2, "c"))
    after = it.store.dump()
    it.profiler = zombie  # it has the profile in its cache, and knows of nothing
    it.feed(click(1, "b"))
    assert it.store.dump() == after


def test_a_write_that_was_given_up_on_and_comes_late_changes_nothing(it: Profiling) -> None:
    """The store was slow: it applies the first attempt when the second one, and the next batch, are long written."""
    late: list[tuple[Any, ...]] = []
    upsert = it.store.upsert

    def slow(collection: str, points: Any, **rest: Any) -> None:
        late.append((collection, points, rest))
        raise Unavailable("no answer in time")

    it.store.upsert = slow  # type: ignore[method-assign]
    for _ in range(3):
        with pytest.raises(Unavailable):
            it.feed(click(0, "a"))
    it.store.upsert = upsert  # type: ignore[method-assign]
    it.feed(click(0, "a"))
    it.feed(click(1, "b"))
    after = it.store.dump()
    for collection, points, rest in reversed(late):
        upsert(collection, points, **rest)
    assert it.store.dump() == after
    it.feed(click(2, "c"))
    assert it.stored().events == 3


def test_after_very_many_failures_an_owner_claims_anew(it: Profiling) -> None:
    it.store.down = {"upsert"}
    for _ in range(1023):
        with pytest.raises(Unavailable):
            it.feed(click(0, "a"))
    with pytest.raises(Fenced) as fenced:
        it.feed(click(0, "a"))
    assert fenced.value.epoch == 2


# -- onboarding and erasure --------------------------------------------------------------------------------------------


def test_answers_are_kept_apart_from_behaviour(it: Profiling) -> None:
    it.feed(onboarded(0, segment="new", attributes={"age": 30}), click(1, "a"))
    profile = it.stored()
    near(profile.taste.onboarding, text_vector("space opera"))
    near(profile.taste.sums.taste.sum, text_vector("a"))
    assert (profile.identity.segment, profile.identity.attributes) == ("new", {"age": 30})
    assert it.point().payload["segment"] == "new"


def test_older_answers_never_replace_newer_ones(it: Profiling) -> None:
    it.feed(onboarded(0, source=4, segment="newer"))
    it.feed(onboarded(1, source=3, segment="older"))
    assert it.stored().identity.segment == "newer"
    it.feed(onboarded(2, source=5, vector=None, space=None))
    assert it.stored().taste.onboarding is None


def test_an_erased_person_is_forgotten_and_late_events_stay_out(it: Profiling) -> None:
    it.feed(onboarded(0, segment="new"), click(1, "a"), click(2, "late"))
    it.feed(erased(3, at=NOW + 10, source=1))
    it.feed(click(4, "b", at=NOW + 10), click(5, "late", at=NOW + 9, arrived=NOW + 20))
    profile = it.stored()
    assert (profile.events, profile.delivery.pending) == (0, ())
    assert (profile.identity.segment, profile.taste.onboarding) == (None, None)
    assert it.point().vectors == {}
    assert "ada" not in str({**it.point().payload, "person": ""})
    it.add_items("late")
    it.profiler.tick()
    assert it.stored().events == 0
    it.feed(click(6, "c", at=NOW + 11))
    assert it.stored().seen.recents.newest_first() == ["c"]


def test_an_erasure_told_twice_does_not_take_what_came_after_the_first(it: Profiling) -> None:
    answers, erasure = onboarded(1, source=0, segment="old"), erased(2, at=NOW + 10, source=1)
    it.feed(click(0, "a"), answers, erasure, click(3, "b", at=NOW + 20))
    # The embedder crashed before its commit, and says both again.
    it.feed(onboarded(4, source=0, segment="old"), erased(5, at=NOW + 10, source=1))
    profile = it.stored()
    assert profile.seen.recents.newest_first() == ["b"]
    assert (profile.identity.segment, profile.taste.onboarding) == (None, None)
    it.feed(onboarded(6, source=2, segment="back"))
    assert it.stored().identity.segment == "back"


# -- refusals and bounds -----------------------------------------------------------------------------------------------


def test_vectors_of_two_spaces_are_never_mixed(it: Profiling) -> None:
    it.feed(click(0, "a"))
    it.add_items("alien", space="other-t1")
    with pytest.raises(Misconfigured, match="reembed"):
        it.feed(click(1, "alien"))
    with pytest.raises(Misconfigured, match="reembed"):
        it.feed(onboarded(1, space="other-t1"))
    assert it.stored().events == 1


@pytest.mark.parametrize(
    ("value", "field"),
    [
        (b"\xff", None),
        (b"[]", None),
        (None, None),
        ({"type": "click", "item_id": "a"}, "user_id"),
        ({"type": "wave", "item_id": "a", "user_id": "ada"}, "type"),
        ({"type": ["click"], "item_id": "a", "user_id": "ada"}, "type"),
        ({"type": "click", "item_id": "", "user_id": "ada"}, "item_id"),
        ({"type": "click", "item_id": "a", "user_id": "ada", "timestamp": NOW + 90_000}, "timestamp"),
        ({"type": "click", "item_id": "a", "user_id": "ada", "timestamp": -9.9e10}, "timestamp"),
        ({"type": "click", "item_id": "a", "user_id": "ada", "timestamp": -5}, "timestamp"),
        ({"type": "erased", "user_id": "ada"}, "timestamp"),
    ],
)
def test_what_cannot_be_read_is_refused_with_the_field(it: Profiling, value: object, field: str | None) -> None:
    with pytest.raises(InvalidEvent) as refusal:
        it.profiler.parse(record("interactions", "u:ada", value))
    assert refusal.value.field == field


def test_an_absurd_rating_neither_drowns_nor_breaks_a_profile(it: Profiling) -> None:
    it.feed(click(0, "a", type="rating", value=1e308), click(1, "b", type="rating", value=-1e308))
    assert np.isfinite(np.asarray(it.stored().taste.sums.taste.sum)).all()
    assert it.stored().taste.sums.taste.weight == pytest.approx(200)


def test_the_caches_are_bounded_and_nothing_is_lost_by_it() -> None:
    it = Profiling(ProfileSettings(cached_profiles=3, cached_items=2))
    it.add_items("a", "b", "c", "d")
    offset = 0
    for _ in range(3):
        for n in range(10):
            it.feed(click(offset, "abcd"[n % 4], user=f"p{n}"))
            it.feed(click(offset + 1, f"late{n}", user=f"p{n}"))
            offset += 2
    assert len(it.profiler._profiles._cache) == 3
    assert len(it.profiler._items._items) == 2
    assert all(it.stored(f"u:p{n}").events == 3 for n in range(10))
    it.add_items(*(f"late{n}" for n in range(10)))
    it.profiler.tick()
    assert all(it.stored(f"u:p{n}").events == 6 for n in range(10))
    assert set(it.profiler._profiles._owner) == set(it.profiler._profiles._cache)


def test_a_changed_item_is_read_again_after_a_while(it: Profiling) -> None:
    it.feed(click(0, "a"))
    it.store.update_vectors(ITEMS, {item_point_id("a"): {"content": text_vector("z").astype(np.float32)}})
    it.clock.forward(ITEM_CACHE_SECONDS + 1)
    it.feed(click(1, "a", user="bob"))
    near(it.stored("u:bob").taste.sums.taste.sum, text_vector("z"), 1e-5)


def test_a_session_fades_within_the_hour_and_the_lifetime_does_not(it: Profiling) -> None:
    it.feed(click(0, "a", at=NOW - 60 * MINUTE, arrived=NOW), click(1, "b"))
    profile = it.stored()
    assert profile.taste.sums.session.weight == pytest.approx(1.25)
    assert profile.taste.sums.lifetime.weight == pytest.approx(2.0, abs=1e-3)


def test_profiles_can_be_found_by_what_they_are_indexed_for(it: Profiling) -> None:
    it.feed(click(0, "late"))
    page, _ = it.store.scroll(PROFILES)
    [point] = page
    assert point.id == person_point_id(Person("u", "ada"))
    assert (point.payload["person"], point.payload["waiting"]) == ("u:ada", 0)


@pytest.mark.parametrize("name", ["undefined", " NULL", "[object Object]"])
def test_a_record_that_names_nobody_is_refused_so_that_strangers_do_not_become_one_person(
    name: str, it: Profiling
) -> None:
    said = {"type": "identify", "anonymous_id": "v1", "user_id": name}
    for one in (
        click(0, "a", user=name),
        record("interactions", "a:v1", said, 1),
        record("interactions", f"a:{name}", said | {"anonymous_id": name, "user_id": "ada"}, 2),
        onboarded(3, user=name),
    ):
        with pytest.raises(InvalidEvent, match="names nobody"):
            it.profiler.parse(one)
    it.profiler.parse(erased(4, user=name))


def test_cached_profiles_are_bounded_in_bytes_and_none_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eddyline.profiler.profile_store.CACHED_BYTES", 1_000_000)
    it = Profiling()
    it.add_items("a")
    attributes = {"about": "".join(chr(0x4E00 + n) for n in range(5000))}
    for n in range(60):
        it.feed(onboarded(2 * n, user=f"p{n}", source=n, attributes=attributes), click(2 * n + 1, "a", user=f"p{n}"))
    cached = [n for n in range(60) if it.profiler._profiles.cached(Person("u", f"p{n}")) is not None]
    assert 2 < len(cached) < 20, "people with much take the room of many"
    assert cached == list(range(60 - len(cached), 60))
    it.feed(click(200, "a", user="p0"))
    assert it.stored("u:p0").events == 2
