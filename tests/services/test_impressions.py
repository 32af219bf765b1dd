"""Impressions: every list of somebody is told as it was served, in the background, and no answer depends on it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import Future
from typing import Any

import pytest
from tests.services.reading import DAY, Shop, ids, stocked
from tests.services.reports import ADA, VISITOR, ServedReports, served_list
from tests.support.fakes import NOW, FakeProducer

from eddyline.adapters.kafka import EmbeddedBroker, KafkaProducer, LogReader, Outgoing, RecordMetadata, partition_of
from eddyline.errors import Unavailable
from eddyline.model.events import ServedList, parse_impression
from eddyline.model.ids import Person
from eddyline.reader import ServedListLog
from eddyline.reader.schemas import RecommendationRequest

WAIT = 30.0


class Serving:
    """A shop whose reader tells what it serves."""

    def __init__(self) -> None:
        self.reports = ServedReports()
        self.shop = stocked()
        self.shop.reader = self.reader = self.shop.new_reader(served_lists=self.reports.log)

    def serve(self, **asked: Any) -> dict[str, Any]:
        return self.reader.recommend(RecommendationRequest(limit=5, **asked))

    def told(self) -> list[ServedList]:
        return self.reports.told()


@pytest.fixture(scope="module")
def _serving() -> Serving:
    return Serving()


@pytest.fixture
def it(_serving: Serving) -> Iterator[Serving]:
    yield _serving
    _serving.reports.send()
    _serving.reports.producer.sent.clear()


@pytest.fixture
def broker() -> Iterator[EmbeddedBroker]:
    broker = EmbeddedBroker()
    yield broker
    broker.close()


def agree(told: ServedList, answer: dict[str, Any]) -> None:
    """Fail unless an impression says exactly what the response said."""
    for name in ("request_id", "variant", "strategy", "degraded"):
        assert getattr(told, name) == answer[name]
    for name in ("item_id", "rank", "score", "category"):
        assert [getattr(one, name) for one in told.items] == [one[name] for one in answer["items"]]


# -- what is told ------------------------------------------------------------------------------------------------------


def test_an_impression_says_what_the_response_said(it: Serving) -> None:
    answer = it.serve(user_id="ada", session_id="s1", surface="home", explain=True)
    (told,) = it.told()
    agree(told, answer)
    assert (told.user_id, told.anonymous_id, told.session_id, told.surface) == ("ada", None, "s1", "home")
    assert (told.batch, told.forced, told.timestamp) == (False, False, it.shop.clock())
    (sent,) = it.reports.producer.sent
    assert (sent.topic, sent.key) == ("impressions", b"u:ada")
    headers = dict(sent.headers)
    assert (headers["ce_type"], headers["ce_source"]) == (b"io.eddyline.impression.v1", b"/eddyline/reader")


def test_an_item_says_since_when_it_is_there(it: Serving) -> None:
    it.serve(user_id="ada", candidates=["space3", "kitchen3"])
    (told,) = it.told()
    assert {one.item_id: one.published_at for one in told.items} == {
        "space3": NOW - 3 * DAY,
        "kitchen3": NOW - 3.5 * DAY,
    }


def test_the_time_that_the_answer_took_is_told(it: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    looked_up = it.reader.profiles.load

    def slow(person: Person | None) -> Any:
        it.shop.monotonic.forward(0.0425)
        return looked_up(person)

    monkeypatch.setattr(it.reader.profiles, "load", slow)
    it.serve(user_id="ada")
    (told,) = it.told()
    assert told.took_ms == pytest.approx(42.5)


def test_a_page_is_a_list_of_its_own_whose_ranks_go_on(it: Serving) -> None:
    first = it.serve(anonymous_id="cookie")
    second = it.serve(anonymous_id="cookie", next=first["next"])
    one, two = it.told()
    agree(one, first)
    agree(two, second)
    assert one.request_id != two.request_id
    assert (one.person, two.person) == (VISITOR, VISITOR)
    assert [place.rank for place in two.items] == [6, 7, 8, 9, 10]


def test_an_empty_list_is_told_too(it: Serving) -> None:
    answer = it.serve(user_id="ada", filter={"category": "nothing of that"})
    assert answer["reason"]
    (told,) = it.told()
    agree(told, answer)
    assert told.items == []


def test_nobodys_lists_are_not_told(it: Serving) -> None:
    it.serve()
    assert it.told() == []


def test_who_was_erased_is_not_told_of(it: Serving) -> None:
    it.shop.user("gone", {"interests": ["galaxy"]})
    it.shop.user("gone", None)
    it.serve(user_id="gone")
    assert it.told() == []


def test_an_answer_from_the_cache_is_told_as_such() -> None:
    it = Serving()
    it.shop.did("bob", "space1")
    it.serve(user_id="ada")
    it.shop.store.down = {"all"}
    answer = it.serve(user_id="ada")
    _, told = it.told()
    assert answer["variant"] == "degraded"
    assert answer["items"]
    agree(told, answer)
    assert told.degraded


def test_a_list_from_the_cache_names_nobody_since_they_may_have_been_erased() -> None:
    it = Serving()
    it.shop.did("bob", "space1")
    it.serve(user_id="bob")
    it.shop.user("gone", {"interests": ["galaxy"]})
    it.shop.user("gone", None)
    it.shop.store.down = {"all"}
    answers = [it.serve(**who, session_id="s1") for who in ({"user_id": "gone"}, {"anonymous_id": "cookie"})]
    _, *told = it.told()
    assert [one.person for one in told] == [Person("a", answer["request_id"]) for answer in answers]
    assert [one.session_id for one in told] == [None, None]
    for record, one in zip(it.reports.producer.sent[1:], told, strict=True):
        assert record.key == one.person.key.encode()
        assert b"gone" not in (record.value or b"")
        assert b"cookie" not in (record.value or b"")


def test_a_list_made_ahead_says_so_over_both_routes(it: Serving) -> None:
    with it.shop.open() as shop:
        shop.recommend("ada", batch="true")
        shop.asked(user_id="ada", batch=True)
        shop.asked(user_id="ada")
    assert [one.batch for one in it.told()] == [True, True, False]


def test_a_surface_without_a_name_is_none(it: Serving) -> None:
    it.serve(user_id="ada", surface="")
    assert [one.surface for one in it.told()] == [None]


def test_a_record_on_the_topic_is_what_was_answered(broker: EmbeddedBroker) -> None:
    it, shop = ServedReports(KafkaProducer(broker.options)), stocked()
    reader = shop.new_reader(served_lists=it.log)
    it.log.start()
    served = [
        reader.recommend(RecommendationRequest(user_id="ada", surface="home", limit=limit)) for limit in (3, 5, 7)
    ]
    it.log.close()
    it.producer.close()
    home = partition_of(ADA.key.encode(), broker.options.partitions)
    topic = LogReader(broker.options)
    try:
        records = list(topic.read("impressions", home, 0, 3))
    finally:
        topic.close()
    assert [record.key for record in records] == [b"u:ada"] * 3
    for record, answer in zip(records, served, strict=True):
        told = parse_impression(record.value)
        assert isinstance(told, ServedList)
        agree(told, answer)
    assert (it.counted(), it.counted("broker"), it.counted("full")) == (3, 0, 0)


# -- answers don't depend on it ----------------------------------------------------------------------------------------


class Blocking(FakeProducer):
    """Hangs in `send` until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.entered, self.leave = threading.Event(), threading.Event()

    def send(self, record: Outgoing) -> Future[RecordMetadata]:
        self.entered.set()
        assert self.leave.wait(WAIT)
        return super().send(record)


def answers(shop: Shop, log: ServedListLog | None) -> list[dict[str, Any]]:
    """Of a fresh reader, without what differs from one answer to the next anyway."""
    reader = shop.new_reader(served_lists=log)
    said = [reader.recommend(RecommendationRequest(user_id=user, limit=5)) for user in ("ada", "bob", "ada")]
    return [{name: value for name, value in one.items() if name != "request_id"} for one in said]


def test_answers_are_the_same_while_impressions_are_refused() -> None:
    shop, it = stocked(), ServedReports()
    it.producer.refuse = Unavailable("the broker is away")
    usual = answers(shop, None)
    assert ids(usual[0])
    assert answers(shop, it.log) == usual
    it.log.send_due()
    assert (it.counted(), it.counted("broker")) == (0, 3)


def test_answers_do_not_wait_for_a_producer_that_hangs() -> None:
    shop, producer = stocked(), Blocking()
    it = ServedReports(producer, max_items=12)
    usual = answers(shop, None)
    it.log.start()
    it.log.note(served_list("r0", 5))
    assert producer.entered.wait(WAIT)
    assert answers(shop, it.log) == usual, "answered while the producer hangs"
    assert it.counted("full") == 2
    producer.leave.set()
    it.log.close()
    assert it.counted() == 2
