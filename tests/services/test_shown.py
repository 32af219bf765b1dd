"""What was shown: gathered by the reader, told in the background, kept by the profiler, and held against no click."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from tests.services.profiling import Profiling, click, erased
from tests.services.reading import SETTINGS, ids, stocked
from tests.support.fakes import NOW, Clock, FakeProducer, feed, record, redelivered

from eddyline.adapters.kafka import EmbeddedBroker, KafkaProducer, Record, TopicPartition, partition_of
from eddyline.adapters.kafka.retention import SAFE_BYTES
from eddyline.adapters.telemetry import Metrics
from eddyline.errors import InvalidEvent, Overloaded, Unavailable
from eddyline.model.decay import add_to_decayed_count
from eddyline.model.events import Exposure, parse_event
from eddyline.model.ids import Person, item_point_id
from eddyline.model.trends import POPULARITY, trend_tau
from eddyline.reader import ExposureLog, Reader
from eddyline.reader.exposure_log import ITEMS_A_RECORD
from eddyline.reader.schemas import RecommendationRequest
from eddyline.settings import ProfileSettings

ADA, VISITOR = Person("u", "ada"), Person("a", "cookie")
HOUR, DAY = 3600.0, 86_400.0


class Telling:
    """A log with everything around it; no thread, so it sends when it is told to."""

    def __init__(self, **more: Any) -> None:
        self.producer, self.metrics, self.clock = FakeProducer(), Metrics(), Clock()
        self.shown = ExposureLog(self.producer, self.metrics, self.clock, **more)

    def after(self, seconds: float) -> list[Exposure]:
        """What has been told when so much time has passed."""
        self.clock.forward(seconds)
        self.shown.send_due()
        return self.told()

    def told(self) -> list[Exposure]:
        return [parse_event(Exposure, one.value) for one in self.producer.to("interactions")]

    def counted(self, reason: str | None = None) -> float:
        """Items that were told, or dropped for a reason."""
        name = "eddyline_reader_shown_total" if reason is None else "eddyline_reader_shown_dropped_total"
        labels = {} if reason is None else {"reason": reason}
        return self.metrics.registry.get_sample_value(name, labels) or 0.0


# -- the reader's side -------------------------------------------------------------------------------------------------


def test_a_persons_lists_of_a_minute_are_one_record_under_their_key() -> None:
    it = Telling()
    it.shown.note(ADA, ["a", "b"])
    assert it.after(59) == []
    it.shown.note(ADA, ["b", "c"])
    (told,) = it.after(1)
    assert (told.user_id, told.anonymous_id, told.items) == ("ada", None, ["a", "b", "c"])
    assert told.timestamp == NOW
    (sent,) = it.producer.sent
    assert sent.key == b"u:ada"
    assert dict(sent.headers)["ce_type"] == b"io.eddyline.shown.v1"
    assert it.counted() == 3


def test_a_users_record_names_the_anonymous_id_that_the_first_of_its_lists_came_with() -> None:
    it = Telling()
    it.shown.note(ADA, ["a"], "cookie")
    it.shown.note(ADA, ["b"], "another")
    it.shown.note(VISITOR, ["c"], "cookie")
    it.clock.forward(1)
    it.shown.note(Person("u", "bob"), ["d"])
    it.shown.note(Person("u", "bob"), ["e"], "late")
    told = [(one.user_id, one.anonymous_id, one.items) for one in it.after(60)]
    assert told == [("ada", "cookie", ["a", "b"]), (None, "cookie", ["c"]), ("bob", None, ["d", "e"])]
    assert [sent.key for sent in it.producer.sent] == [b"u:ada", b"a:cookie", b"u:bob"]


def test_a_surprise_costs_one_record_and_not_those_after_it() -> None:
    it = Telling()
    it.producer.refuse = RuntimeError("nobody foresaw this")
    it.shown.note(ADA, ["a", "b"])
    assert it.after(60) == []
    assert it.counted("broker") == 2
    it.producer.refuse, it.producer.room = RuntimeError("nor this"), 1
    it.shown.note(VISITOR, ["c"])
    it.shown.note(ADA, ["d"])
    assert [told.items for told in it.after(60)] == [["c"]]
    assert it.counted("broker") == 3


def test_everyone_has_a_minute_of_their_own() -> None:
    it = Telling()
    it.shown.note(ADA, ["a"])
    it.clock.forward(30)
    it.shown.note(VISITOR, ["b"])
    assert [told.person for told in it.after(30)] == [ADA]
    it.shown.note(ADA, ["c"])
    assert [told.person for told in it.after(30)] == [ADA, VISITOR]
    assert [told.person for told in it.after(30)] == [ADA, VISITOR, ADA]


def test_what_is_gathered_is_told_at_the_end() -> None:
    it = Telling()
    it.shown.note(ADA, ["a"])
    it.shown.start()
    it.shown.close()
    assert [told.items for told in it.told()] == [["a"]]
    it.shown.close()
    it.shown.note(ADA, ["b"])
    assert len(it.told()) == 1
    assert it.counted("full") == 1


def test_more_than_fits_is_dropped_and_counted_and_there_is_room_again_afterwards() -> None:
    it = Telling(most=5)
    it.shown.note(ADA, ["a", "b", "c"])
    it.shown.note(VISITOR, ["a", "b", "c"])
    it.shown.note(Person("u", "late"), ["a", "b"])
    assert it.counted("full") == 3
    assert [told.items for told in it.after(60)] == [["a", "b", "c"], ["a", "b"]]
    it.shown.note(VISITOR, ["d"])
    assert it.after(60)[-1].items == ["d"]
    assert it.counted("full") == 3


def test_a_record_takes_no_more_items_than_it_may_hold() -> None:
    it = Telling()
    it.shown.note(ADA, [f"i{n}" for n in range(ITEMS_A_RECORD + 7)])
    (told,) = it.after(60)
    assert len(told.items) == ITEMS_A_RECORD
    assert it.counted("full") == 7


@pytest.mark.parametrize("error", [Overloaded("no room"), Unavailable("the producer is closed")])
def test_a_broker_that_takes_nothing_costs_the_statistics_and_nothing_else(error: Exception) -> None:
    it = Telling()
    it.producer.refuse, it.producer.room = error, 1
    it.shown.note(VISITOR, ["a"])
    it.shown.note(ADA, ["a", "b"])
    assert len(it.after(60)) == 1
    assert (it.counted(), it.counted("broker")) == (1, 2)
    it.producer.refuse = None
    it.shown.note(ADA, ["c"])
    assert it.after(60)[-1].items == ["c"]


def test_what_is_not_acknowledged_is_counted_as_dropped() -> None:
    it = Telling()
    it.producer.delivery = Unavailable("not in time")
    it.shown.note(ADA, ["a", "b"])
    it.shown.close()
    assert (it.counted(), it.counted("broker")) == (0, 2)


def test_a_full_in_process_broker_is_not_waited_for_and_holds_nothing_of_it() -> None:
    broker = EmbeddedBroker()
    producer = KafkaProducer(broker.options, broker.guard)
    it = Telling()
    it.shown = ExposureLog(producer, it.metrics, it.clock)
    home = TopicPartition("interactions", partition_of(ADA.key.encode(), broker.options.partitions))
    broker.guard.subscribe("profiler", ["interactions"])
    broker.guard.reserve(home, SAFE_BYTES)
    it.shown.note(ADA, ["a", "b"])
    it.after(60)
    assert (it.counted(), it.counted("broker")) == (0, 2)
    broker.guard.release(home, SAFE_BYTES)
    it.shown.note(ADA, ["c"])
    it.shown.close()
    producer.close()
    broker.close()
    assert (it.counted(), it.counted("broker")) == (1, 2)


def test_many_readers_threads_may_note_at_once() -> None:
    it = Telling()

    def note(number: int) -> None:
        for each in range(100):
            it.shown.note(ADA, [f"{number}-{each}"])

    threads = [threading.Thread(target=note, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (told,) = it.after(60)
    assert len(told.items) == 800


# -- the profiler's side -----------------------------------------------------------------------------------------------


def shown(offset: int, *items: str, person: Person = ADA, at: float = NOW, **more: Any) -> Record:
    who = {"user_id" if person.kind == "u" else "anonymous_id": person.id}
    where = {name: more.pop(name) for name in ("partition", "headers", "arrived") if name in more}
    arrived = where.pop("arrived", at)
    value = {"type": "shown", **who, "timestamp": at, "items": list(items), **more}
    return record("interactions", person.key, value, offset, at=arrived, **where)


def to_visitor(offset: int, *items: str, at: float = NOW) -> Record:
    """In a topic of four partitions."""
    return shown(offset, *items, person=VISITOR, at=at, partition=partition_of(VISITOR.key.encode(), 4))


def identify(offset: int, at: float) -> Record:
    """The visitor is Ada, in a topic of four partitions."""
    value = {"type": "identify", "anonymous_id": VISITOR.id, "user_id": "ada", "timestamp": at}
    return record("interactions", VISITOR.key, value, offset, partition=partition_of(VISITOR.key.encode(), 4), at=at)


@pytest.fixture
def it() -> Profiling:
    profiling = Profiling()
    profiling.add_items("a", "b", "c")
    return profiling


def test_what_was_shown_and_left_alone_tires_for_a_while(it: Profiling) -> None:
    it.feed(shown(0, "a", "b", "unheard of"), click(1, "a", at=NOW + 20), shown(2, "b", at=NOW + 60))
    assert it.stored().fatigue(NOW + 60) == pytest.approx({"b": 2.0, "unheard of": 1.0}, rel=2e-3)
    assert it.stored().fatigue(NOW + 60 + 70 * DAY)["b"] < 0.01


def test_what_was_shown_is_no_event(it: Profiling) -> None:
    it.feed(click(0, "a"))
    before = it.stored()
    it.feed(shown(1, "a", "b", at=NOW + HOUR))
    after = it.stored()
    for name in ("taste", "session", "lifetime"):
        assert (getattr(after, name).weight, getattr(after, name).time) == (
            getattr(before, name).weight,
            getattr(before, name).time,
        )
    assert (after.events, after.last_seen, after.viewed, after.event_ids) == (
        before.events,
        before.last_seen,
        before.viewed,
        before.event_ids,
    )
    assert it.metric("eddyline_profiler_folded_total") == 1
    assert len(it.producer.to("activity")) == 1


def test_what_was_shown_counts_once_however_often_it_comes(it: Profiling) -> None:
    it.feed(shown(0, "a"), shown(1, "a"))
    it.feed(shown(0, "a"))
    it.restart()
    it.feed(shown(1, "a"))
    assert it.stored().fatigue(NOW) == pytest.approx({"a": 1.0}, rel=2e-3)


def test_what_was_shown_before_an_erasure_stays_forgotten(it: Profiling) -> None:
    it.feed(shown(0, "a"), erased(1, at=NOW + HOUR), shown(2, "b", at=NOW + 60, arrived=NOW + HOUR))
    assert it.stored().fatigue(NOW + HOUR) == {}
    assert "person" not in it.point().payload
    it.feed(shown(3, "c", at=NOW + 2 * HOUR))
    assert it.stored().fatigue(NOW + 2 * HOUR).keys() == {"c"}


def test_someone_who_is_only_shown_lists_is_forgotten_in_the_end() -> None:
    it = Profiling(ProfileSettings(tombstone_days=90))
    it.add_items("a")
    it.feed(shown(0, "a"), shown(1, "a", person=VISITOR), click(2, "a"))
    it.clock.forward(60 * DAY)
    it.profiler.tick()
    assert it.knows(VISITOR.key)
    it.clock.forward(60 * DAY)
    it.profiler.tick()
    assert not it.knows(VISITOR.key)
    assert it.knows(ADA.key)


def test_what_was_shown_to_an_anonymous_id_follows_the_user() -> None:
    it = Profiling(partitions=4)
    it.add_items("a")
    it.feed(to_visitor(0, "a", "b"), identify(1, NOW + 1), to_visitor(2, "b", at=NOW + HOUR))
    it.clock.forward(HOUR)
    it.deliver()
    assert it.stored().fatigue(NOW + HOUR) == pytest.approx({"a": 1.0, "b": 2.0}, rel=0.05)
    assert it.stored(VISITOR.key).fatigue(NOW + HOUR) == {}


def test_a_record_on_the_wrong_partition_goes_to_its_persons() -> None:
    it = Profiling(partitions=4)
    home = partition_of(ADA.key.encode(), 4)
    it.feed(shown(0, "a", partition=(home + 1) % 4), shown(1, "b", at=NOW + 60, partition=(home + 1) % 4))
    it.deliver()
    assert it.stored().fatigue(NOW + 60).keys() == {"a", "b"}


def test_a_readers_clock_may_be_a_little_ahead_and_not_a_day(it: Profiling) -> None:
    it.feed(shown(0, "a", at=NOW + HOUR, arrived=NOW))
    assert it.stored().shown.to_plain() == {"a": (int(NOW // 60),)}
    with pytest.raises(InvalidEvent, match="24 hours ahead"):
        it.profiler.parse(shown(1, "a", at=NOW + 2 * DAY, arrived=NOW))


@pytest.mark.parametrize(
    "value",
    [
        {"items": ["a"], "timestamp": NOW},
        {"user_id": "ada", "items": [], "timestamp": NOW},
        {"user_id": "ada", "items": ["a"]},
        {"user_id": "ada", "items": ["a"] * 1001, "timestamp": NOW},
    ],
)
def test_what_is_none_is_refused(it: Profiling, value: dict[str, Any]) -> None:
    with pytest.raises(InvalidEvent):
        it.profiler.parse(record("interactions", "u:ada", {"type": "shown", **value}))


def test_a_giant_profile_is_handed_over_without_the_oldest_showings() -> None:
    it = Profiling(ProfileSettings(exposures=5000), partitions=4)
    names = [f"{n:04}-" + "x" * 490 for n in range(2400)]
    lists = [names[n : n + 300] for n in range(0, 2400, 300)]
    it.feed(*(to_visitor(n, *items, at=NOW + 60 * n) for n, items in enumerate(lists)))
    it.feed(identify(99, NOW + HOUR))
    (transfer,) = it.producer.to("interactions")
    assert len(transfer.value or b"") < 1_000_000
    it.deliver()
    tired = it.stored().fatigue(NOW + HOUR)
    assert names[-1] in tired
    assert names[0] not in tired


def test_a_recent_items_popularity_is_read_with_it(it: Profiling) -> None:
    quarter = add_to_decayed_count(None, 7.0, NOW, trend_tau(POPULARITY))
    it.store.set_payload("items", {item_point_id("a"): {"trend": {POPULARITY: quarter, "count": 9}}})
    it.feed(click(0, "a"), click(1, "b"), click(2, "c", type="dislike"))
    assert it.stored().popularity == {"a": 7.0}


# -- both --------------------------------------------------------------------------------------------------------------


class Serving:
    """A shop whose reader tells what it shows."""

    def __init__(self) -> None:
        self.shop, self.telling = stocked(), Telling()
        self.telling.clock = self.shop.clock
        self.telling.shown = ExposureLog(self.telling.producer, Metrics(), self.shop.clock)
        self.reader = Reader(
            self.shop.store, SETTINGS, Metrics(), self.shop.clock, self.shop.monotonic, self.telling.shown
        )
        self._offset = 0

    def serve(self, **asked: Any) -> dict[str, Any]:
        return self.reader.recommend(RecommendationRequest(limit=5, **asked))

    def pass_on(self) -> None:
        """A minute later: the profiler hears of it."""
        self.telling.after(60)
        while self.telling.producer.sent:
            sent = self.telling.producer.sent.pop(0)
            feed(self.shop.profiler, redelivered(sent, self._offset, at=self.shop.clock()))
            self._offset += 1

    def fatigue(self, person: Person = ADA) -> dict[str, float]:
        profile = self.reader.people.profile(person)
        return {} if profile is None else profile.fatigue(self.shop.clock())


def test_what_a_reader_serves_tires_a_person_who_leaves_it_alone() -> None:
    it = Serving()
    served = ids(it.serve(user_id="ada"))
    assert it.fatigue() == {}
    it.pass_on()
    assert it.fatigue() == pytest.approx(dict.fromkeys(served, 1.0), rel=5e-3)
    it.shop.clock.forward(7 * DAY)
    assert it.fatigue() == pytest.approx(dict.fromkeys(served, 0.5), rel=5e-3)
    feed(it.shop.profiler, click(1000, served[0], at=it.shop.clock()))
    assert it.fatigue().keys() == set(served[1:])


def test_further_pages_and_people_without_a_name_are_not_told_of() -> None:
    it = Serving()
    first = it.serve(user_id="ada")
    it.serve(user_id="ada", next=first["next"])
    it.serve()
    it.pass_on()
    assert it.fatigue().keys() == set(ids(first))
    assert not it.shop.store.scroll("profiles")[0][1:]


def test_a_list_made_ahead_tires_nobody() -> None:
    it = Serving()
    assert ids(it.serve(user_id="ada", batch=True))
    it.pass_on()
    assert it.fatigue() == {}


def test_nothing_is_known_of_someone_who_was_only_shown_lists() -> None:
    shop = stocked()
    feed(shop.profiler, shown(0, "space1"))
    with shop.open():
        assert shop.get("/v1/users/ada").status_code == 404
        assert shop.recommend("ada")["cold_start"] is True
