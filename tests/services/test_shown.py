"""What was shown: reported by the reader, kept by the profiler, and held against no click."""

from __future__ import annotations

from typing import Any

import pytest
from tests.services.profiling import Profiling, click, erased, long_item_ids
from tests.services.reading import ids, stocked
from tests.services.reports import ADA, VISITOR, ExposureReports
from tests.support.fakes import NOW, feed, record, redelivered

from eddyline.adapters.kafka import Record, partition_of
from eddyline.adapters.vectors import Point
from eddyline.errors import InvalidEvent
from eddyline.model.decay import add_to_decayed_count
from eddyline.model.ids import Person, item_point_id
from eddyline.model.trends import POPULARITY, trend_tau
from eddyline.reader.schemas import RecommendationRequest
from eddyline.settings import ProfileSettings

HOUR, DAY = 3600.0, 86_400.0


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
    assert [(total.weight, total.time) for total in after.taste.sums] == [
        (total.weight, total.time) for total in before.taste.sums
    ]
    assert (after.events, after.last_seen, after.seen.viewed, after.delivery.event_ids) == (
        before.events,
        before.last_seen,
        before.seen.viewed,
        before.delivery.event_ids,
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
    assert it.stored().seen.shown.minutes == {"a": (int(NOW // 60),)}
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
    names = long_item_ids(2400)
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
    it.store.upsert("rows", [Point(item_point_id("a"), {}, {"trend": {POPULARITY: quarter, "count": 9}})])
    it.feed(click(0, "a"), click(1, "b"), click(2, "c", type="dislike"))
    assert it.stored().seen.popularity == {"a": 7.0}


# -- both --------------------------------------------------------------------------------------------------------------


class Serving:
    """A shop whose reader tells what it shows."""

    def __init__(self) -> None:
        self.shop = stocked()
        self.reports = ExposureReports(clock=self.shop.clock)
        self.reader = self.shop.new_reader(exposures=self.reports.log)
        self._offset = 0

    def serve(self, **asked: Any) -> dict[str, Any]:
        return self.reader.recommend(RecommendationRequest(limit=5, **asked))

    def pass_on(self) -> None:
        """A minute later: the profiler hears of it."""
        self.reports.send()
        while self.reports.producer.sent:
            sent = self.reports.producer.sent.pop(0)
            feed(self.shop.profiler, redelivered(sent, self._offset, at=self.shop.clock()))
            self._offset += 1

    def fatigue(self, person: Person = ADA) -> dict[str, float]:
        profile = self.reader.profiles.load(person)
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
