"""Impressions: every list of somebody is told as it was served, in the background, and no answer depends on it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import Future
from typing import Any

import pytest
from structlog.testing import capture_logs
from tests.services.reading import DAY, SETTINGS, Shop, ids, stocked
from tests.support.fakes import NOW, FakeProducer

from eddyline.adapters.kafka import EmbeddedBroker, KafkaProducer, LogReader, Outgoing, RecordMetadata, partition_of
from eddyline.adapters.telemetry import Metrics
from eddyline.errors import Overloaded, Unavailable
from eddyline.model.events import ServedList, parse_impression
from eddyline.model.ids import Person
from eddyline.reader import Reader, ServedListLog
from eddyline.reader.reporting import QueuedItem, QueuedList
from eddyline.reader.schemas import RecommendationRequest

ADA, VISITOR = Person("u", "ada"), Person("a", "cookie")
WAIT = 30.0


def response(name: str, items: int = 1, person: Person = ADA, **more: Any) -> QueuedList:
    lines = [QueuedItem(f"i{n}", n + 1, 0.5, None, None) for n in range(items)]
    return QueuedList(name, person, NOW, 0.0125, lines, "eddyline", "eddyline", **more)


class Telling:
    """A log with everything around it; no thread, so it sends when it is told to."""

    def __init__(self, **more: Any) -> None:
        self.producer, self.metrics = FakeProducer(), Metrics()
        self.log = ServedListLog(self.producer, self.metrics, **more)

    def told(self) -> list[ServedList]:
        self.log.send_waiting()
        return impressions(self.producer.to("impressions"))

    def counted(self, reason: str | None = None) -> float:
        return counted(self.metrics, reason)


def counted(metrics: Metrics, reason: str | None = None) -> float:
    """Lists that were told, or dropped for a reason."""
    name = "eddyline_reader_impressions_total" if reason is None else "eddyline_reader_impressions_dropped_total"
    return metrics.registry.get_sample_value(name, {} if reason is None else {"reason": reason}) or 0.0


def impressions(records: list[Outgoing]) -> list[ServedList]:
    read = [parse_impression(record.value) for record in records]
    assert all(isinstance(one, ServedList) for one in read)
    return [one for one in read if isinstance(one, ServedList)]


class Serving:
    """A shop whose reader tells what it serves."""

    def __init__(self) -> None:
        self.telling = Telling()
        self.shop = stocked()
        self.shop.reader = self.reader = Reader(
            self.shop.store,
            SETTINGS,
            Metrics(),
            self.shop.clock,
            self.shop.monotonic,
            impressions=self.telling.log,
        )

    def serve(self, **asked: Any) -> dict[str, Any]:
        return self.reader.recommend(RecommendationRequest(limit=5, **asked))

    def told(self) -> list[ServedList]:
        return self.telling.told()


@pytest.fixture(scope="module")
def _serving() -> Serving:
    return Serving()


@pytest.fixture
def it(_serving: Serving) -> Iterator[Serving]:
    yield _serving
    _serving.telling.log.send_waiting()
    _serving.telling.producer.sent.clear()


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
    (sent,) = it.telling.producer.sent
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
    looked_up = it.reader.people.profile

    def slow(person: Person | None) -> Any:
        it.shop.monotonic.forward(0.0425)
        return looked_up(person)

    monkeypatch.setattr(it.reader.people, "profile", slow)
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
    for record, one in zip(it.telling.producer.sent[1:], told, strict=True):
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
    producer, metrics, shop = KafkaProducer(broker.options, broker.guard), Metrics(), stocked()
    log = ServedListLog(producer, metrics)
    reader = Reader(shop.store, SETTINGS, Metrics(), shop.clock, shop.monotonic, impressions=log)
    log.start()
    served = [
        reader.recommend(RecommendationRequest(user_id="ada", surface="home", limit=limit)) for limit in (3, 5, 7)
    ]
    log.close()
    producer.close()
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
    assert (counted(metrics), counted(metrics, "broker"), counted(metrics, "full")) == (3, 0, 0)


# -- what isn't --------------------------------------------------------------------------------------------------------


def test_lists_are_told_in_the_order_in_which_they_were_served() -> None:
    it = Telling()
    for n in range(20):
        it.log.note(response(f"r{n}", n % 3))
    assert [one.request_id for one in it.told()] == [f"r{n}" for n in range(20)]
    assert it.told()[0].took_ms == 12.5
    assert it.counted() == 20


def test_what_waits_is_told_at_the_end_and_nothing_after_it() -> None:
    it = Telling()
    it.log.start()
    it.log.note(response("r1"))
    it.log.close()
    assert [one.request_id for one in impressions(it.producer.sent)] == ["r1"]
    it.log.close()
    it.log.note(response("r2"))
    assert len(it.told()) == 1
    assert it.counted("full") == 1


def test_more_than_fits_is_dropped_and_counted_and_there_is_room_again_afterwards() -> None:
    it = Telling(most=8)
    for name, items in (("r1", 3), ("r2", 3), ("r3", 0), ("r4", 2)):
        it.log.note(response(name, items))
    assert it.counted("full") == 2
    assert [one.request_id for one in it.told()] == ["r1", "r2"]
    it.log.note(response("r5", 7))
    assert it.told()[-1].request_id == "r5"


class Withholding(FakeProducer):
    """Takes everything, and acknowledges it when told to."""

    def __init__(self) -> None:
        super().__init__()
        self.futures: list[Future[RecordMetadata]] = []

    def send(self, record: Outgoing) -> Future[RecordMetadata]:
        super().send(record)
        self.futures.append(Future())
        return self.futures[-1]


def test_what_the_broker_has_not_acknowledged_counts_as_held() -> None:
    it = Telling()
    producer = Withholding()
    log = ServedListLog(producer, it.metrics, most=4)
    log.note(response("r1", 3))
    log.send_waiting()
    log.note(response("r2", 3))
    assert (it.counted(), it.counted("full")) == (0, 1)
    producer.futures[0].set_result(RecordMetadata("impressions", 0, 0))
    log.note(response("r3", 3))
    log.send_waiting()
    assert [one.request_id for one in impressions(producer.sent)] == ["r1", "r3"]
    assert it.counted() == 1


@pytest.mark.parametrize("error", [Overloaded("no room"), Unavailable("the producer is closed")])
def test_a_broker_that_takes_nothing_costs_the_measures_and_is_said_once(error: Exception) -> None:
    it = Telling(most=6)
    it.producer.refuse, it.producer.room = error, 1
    for name in ("r1", "r2", "r3"):
        it.log.note(response(name))
    with capture_logs() as logged:
        assert len(it.told()) == 1
    assert [(line["lists"], line["reason"]) for line in logged] == [(2, str(error))]
    assert (it.counted(), it.counted("broker")) == (1, 2)
    it.producer.refuse = None
    it.log.note(response("r4", 5))
    assert it.told()[-1].request_id == "r4", "there is room again"


def test_what_is_not_acknowledged_is_counted_as_dropped() -> None:
    it = Telling(most=3)
    it.producer.delivery = Unavailable("not in time")
    it.log.note(response("r1", 2))
    with capture_logs() as logged:
        it.log.close()
    assert (it.counted(), it.counted("broker")) == (0, 1)
    assert [line["reason"] for line in logged] == ["not in time"]


def test_what_makes_no_record_stops_nothing() -> None:
    it = Telling()
    it.log.note(response("r1", surface="x" * 257))
    it.log.note(response("r2"))
    assert [one.request_id for one in it.told()] == ["r2"]
    assert it.counted("invalid") == 1


@pytest.mark.parametrize("surprise", [TypeError("a mistake of ours"), RuntimeError()])
def test_a_surprise_costs_one_list_and_not_those_after_it(surprise: Exception) -> None:
    it = Telling(most=4)
    it.producer.refuse = surprise
    it.log.note(response("r1", 3))
    with capture_logs() as logged:
        assert it.told() == []
    assert [line["log_level"] for line in logged] == ["error", "warning"]
    assert it.counted("invalid") == 1
    it.producer.refuse = None
    it.log.note(response("r2", 3))
    assert [one.request_id for one in it.told()] == ["r2"], "there is room again"


class Surprised(FakeProducer):
    """Fails at the first record in a way that nobody foresaw, and says so."""

    def __init__(self) -> None:
        super().__init__()
        self.failed, self.took = threading.Event(), threading.Event()

    def send(self, record: Outgoing) -> Future[RecordMetadata]:
        if not self.failed.is_set():
            self.failed.set()
            raise RuntimeError("nobody foresaw this")
        sent = super().send(record)
        self.took.set()
        return sent


def test_the_telling_goes_on_after_a_surprise() -> None:
    producer = Surprised()
    log = ServedListLog(producer, Metrics())
    log.start()
    log.note(response("r1"))
    assert producer.failed.wait(WAIT)
    log.note(response("r2"))
    assert producer.took.wait(WAIT), "while it isn't being closed"
    log.close()
    assert [one.request_id for one in impressions(producer.sent)] == ["r2"]


def test_many_threads_may_note_at_once() -> None:
    it = Telling()

    def note(number: int) -> None:
        for each in range(100):
            it.log.note(response(f"{number}-{each}"))

    threads = [threading.Thread(target=note, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({one.request_id for one in it.told()}) == 800


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
    reader = Reader(shop.store, SETTINGS, Metrics(), shop.clock, shop.monotonic, impressions=log)
    said = [reader.recommend(RecommendationRequest(user_id=user, limit=5)) for user in ("ada", "bob", "ada")]
    return [{name: value for name, value in one.items() if name != "request_id"} for one in said]


def test_answers_are_the_same_while_impressions_are_refused() -> None:
    shop, it = stocked(), Telling()
    it.producer.refuse = Unavailable("the broker is away")
    usual = answers(shop, None)
    assert ids(usual[0])
    assert answers(shop, it.log) == usual
    it.log.send_waiting()
    assert (it.counted(), it.counted("broker")) == (0, 3)


def test_answers_do_not_wait_for_a_producer_that_hangs() -> None:
    shop, producer, metrics = stocked(), Blocking(), Metrics()
    log = ServedListLog(producer, metrics, most=12)
    usual = answers(shop, None)
    log.start()
    log.note(response("r0", 5))
    assert producer.entered.wait(WAIT)
    assert answers(shop, log) == usual, "answered while the producer hangs"
    assert counted(metrics, "full") == 2
    producer.leave.set()
    log.close()
    assert counted(metrics) == 2
