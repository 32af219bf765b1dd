"""Reporting what was served: in the background, bounded, and no answer depends on it."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from typing import TypeAlias

import pytest
from structlog.testing import capture_logs
from tests.services.reports import ADA, VISITOR, ExposureReports, ServedReports, served_list
from tests.support.fakes import NOW, FakeProducer

from eddyline.adapters.kafka import (
    EmbeddedBroker,
    GatedProducer,
    IntakeGate,
    KafkaProducer,
    Outgoing,
    RecordMetadata,
)
from eddyline.errors import Overloaded, Unavailable
from eddyline.model.ids import Person
from eddyline.reader import ExposureLog
from eddyline.reader.reporting import ITEMS_PER_RECORD

WAIT = 30.0
BOTH = (ExposureReports, ServedReports)
Kind: TypeAlias = type[ExposureReports] | type[ServedReports]

both = pytest.mark.parametrize("kind", BOTH)


# -- both logs ---------------------------------------------------------------------------------------------------------


@both
def test_what_is_held_is_told_at_the_end_and_nothing_after_it(kind: Kind) -> None:
    it = kind()
    it.log.start()
    it.note("r1")
    it.log.close()
    assert it.names() == ["r1"]
    it.log.close()
    it.note("r2")
    it.send()
    assert it.names() == ["r1"]
    assert it.counted("full") == 1


class Withholding(FakeProducer):
    """Takes everything, and acknowledges it when told to."""

    def __init__(self) -> None:
        super().__init__()
        self.futures: list[Future[RecordMetadata]] = []

    def send(self, record: Outgoing) -> Future[RecordMetadata]:
        super().send(record)
        self.futures.append(Future())
        return self.futures[-1]


@both
def test_what_the_broker_has_not_acknowledged_counts_as_held(kind: Kind) -> None:
    producer = Withholding()
    it = kind(producer, max_items=kind.size)
    it.note("r1")
    it.send()
    it.note("r2")
    assert (it.counted(), it.counted("full")) == (0, 1)
    producer.futures[0].set_result(RecordMetadata("topic", 0, 0))
    it.note("r3")
    it.send()
    assert it.names() == ["r1", "r3"]
    assert it.counted() == 1


@both
@pytest.mark.parametrize("error", [Overloaded("no room"), Unavailable("the producer is closed")])
def test_a_broker_that_takes_nothing_costs_the_statistics_and_is_logged_once(kind: Kind, error: Exception) -> None:
    it = kind(max_items=3 * kind.size)
    it.producer.refuse, it.producer.room = error, 1
    for name in ("r1", "r2", "r3"):
        it.note(name)
    with capture_logs() as logged:
        it.send()
    assert it.names() == ["r1"]
    assert [(line[it.unit], line["reason"]) for line in logged] == [(2, str(error))]
    assert (it.counted(), it.counted("broker")) == (1, 2)
    it.producer.refuse = None
    for name in ("r4", "r5", "r6"):
        it.note(name)
    it.send()
    assert it.names() == ["r1", "r4", "r5", "r6"], "all of the room is there again"


@both
def test_what_is_not_acknowledged_is_counted_as_dropped(kind: Kind) -> None:
    it = kind()
    it.producer.delivery = Unavailable("not in time")
    it.note("r1")
    with capture_logs() as logged:
        it.log.close()
    assert (it.counted(), it.counted("broker")) == (0, 1)
    assert [line["reason"] for line in logged] == ["not in time"]


@both
@pytest.mark.parametrize("surprise", [TypeError("a mistake of ours"), RuntimeError()])
def test_a_surprise_costs_one_record_and_not_those_after_it(kind: Kind, surprise: Exception) -> None:
    it = kind(max_items=kind.size)
    it.producer.refuse = surprise
    it.note("r1")
    with capture_logs() as logged:
        it.send()
    assert it.names() == []
    assert [line["log_level"] for line in logged] == ["error", "warning"]
    assert it.counted(it.unbuildable) == 1
    it.producer.refuse = None
    it.note("r2")
    it.send()
    assert it.names() == ["r2"], "there is room again"


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


@both
def test_the_thread_goes_on_after_a_surprise(kind: Kind) -> None:
    producer = Surprised()
    it = kind(producer)
    it.log.start()
    it.note("r1")
    it.clock.forward(60)
    assert producer.failed.wait(WAIT)
    it.note("r2")
    it.clock.forward(60)
    assert producer.took.wait(WAIT), "while it isn't being closed"
    it.log.close()
    assert it.names() == ["r2"]


@both
def test_many_threads_may_note_at_once(kind: Kind) -> None:
    it = kind()

    def note(number: int) -> None:
        for each in range(100):
            it.note(f"{number}-{each}")

    threads = [threading.Thread(target=note, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    it.send()
    assert len(set(it.names())) == 800


# -- served lists ------------------------------------------------------------------------------------------------------


def test_lists_are_told_in_the_order_in_which_they_were_served() -> None:
    it = ServedReports()
    for n in range(20):
        it.log.note(served_list(f"r{n}", n % 3))
    told = it.told()
    assert [one.request_id for one in told] == [f"r{n}" for n in range(20)]
    assert told[0].took_ms == 12.5
    assert it.counted() == 20


def test_more_lists_than_fit_are_dropped_and_counted_and_there_is_room_again_afterwards() -> None:
    it = ServedReports(max_items=8)
    for name, items in (("r1", 3), ("r2", 3), ("r3", 0), ("r4", 2)):
        it.log.note(served_list(name, items))
    assert it.counted("full") == 2
    assert [one.request_id for one in it.told()] == ["r1", "r2"]
    it.log.note(served_list("r5", 7))
    assert it.told()[-1].request_id == "r5"


def test_what_makes_no_record_stops_nothing() -> None:
    it = ServedReports()
    it.log.note(served_list("r1", surface="x" * 257))
    it.note("r2")
    assert [one.request_id for one in it.told()] == ["r2"]
    assert it.counted("invalid") == 1


# -- exposures ---------------------------------------------------------------------------------------------------------


def test_a_persons_lists_of_a_minute_are_one_record_under_their_key() -> None:
    it = ExposureReports()
    it.log.note(ADA, ["a", "b"])
    assert it.told(59) == []
    it.log.note(ADA, ["b", "c"])
    (told,) = it.told(1)
    assert (told.user_id, told.anonymous_id, told.items) == ("ada", None, ["a", "b", "c"])
    assert told.timestamp == NOW
    (sent,) = it.producer.sent
    assert sent.key == b"u:ada"
    assert dict(sent.headers)["ce_type"] == b"io.eddyline.shown.v1"
    assert it.counted() == 3


def test_a_users_record_names_the_anonymous_id_that_the_first_of_its_lists_came_with() -> None:
    it, bob = ExposureReports(), Person("u", "bob")
    it.log.note(ADA, ["a"], "cookie")
    it.log.note(ADA, ["b"], "another")
    it.log.note(VISITOR, ["c"], "cookie")
    it.clock.forward(1)
    it.log.note(bob, ["d"])
    it.log.note(bob, ["e"], "late")
    told = [(one.user_id, one.anonymous_id, one.items) for one in it.told()]
    assert told == [("ada", "cookie", ["a", "b"]), (None, "cookie", ["c"]), ("bob", None, ["d", "e"])]
    assert [sent.key for sent in it.producer.sent] == [b"u:ada", b"a:cookie", b"u:bob"]


def test_everyone_has_a_minute_of_their_own() -> None:
    it = ExposureReports()
    it.log.note(ADA, ["a"])
    it.clock.forward(30)
    it.log.note(VISITOR, ["b"])
    assert [told.person for told in it.told(30)] == [ADA]
    it.log.note(ADA, ["c"])
    assert [told.person for told in it.told(30)] == [ADA, VISITOR]
    assert [told.person for told in it.told(30)] == [ADA, VISITOR, ADA]


def test_more_items_than_fit_are_dropped_and_counted_and_there_is_room_again_afterwards() -> None:
    it = ExposureReports(max_items=5)
    it.log.note(ADA, ["a", "b", "c"])
    it.log.note(VISITOR, ["a", "b", "c"])
    it.log.note(Person("u", "late"), ["a", "b"])
    assert it.counted("full") == 3
    assert [told.items for told in it.told()] == [["a", "b", "c"], ["a", "b"]]
    it.log.note(VISITOR, ["d"])
    assert it.told()[-1].items == ["d"]
    assert it.counted("full") == 3


def test_a_record_takes_no_more_items_than_it_may_hold() -> None:
    it = ExposureReports()
    it.log.note(ADA, [f"i{n}" for n in range(ITEMS_PER_RECORD + 7)])
    (told,) = it.told()
    assert len(told.items) == ITEMS_PER_RECORD
    assert it.counted("full") == 7


def test_threads_may_note_for_one_person_at_once() -> None:
    it = ExposureReports()
    threads = [threading.Thread(target=it.log.note, args=(ADA, [f"{n}-{m}" for m in range(100)])) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (told,) = it.told()
    assert len(told.items) == 800


def test_a_full_embedded_log_is_not_waited_for_and_holds_nothing_of_it() -> None:
    broker = EmbeddedBroker()
    producer, full = KafkaProducer(broker.options), [True]

    class Gate(IntakeGate):
        def __init__(self) -> None:
            """It goes by the test."""

        def admit(self) -> None:
            if full[0]:
                raise Overloaded("the disk is full")

    it = ExposureReports()
    it.log = ExposureLog(GatedProducer(producer, Gate()), it.metrics, it.clock)
    it.log.note(ADA, ["a", "b"])
    it.send()
    assert (it.counted(), it.counted("broker")) == (0, 2)
    full[0] = False
    it.log.note(ADA, ["c"])
    it.log.close()
    producer.close()
    broker.close()
    assert (it.counted(), it.counted("broker")) == (1, 2)
