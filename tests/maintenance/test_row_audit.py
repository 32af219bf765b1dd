"""The audit of rows: clean for what affinity has handled, and naming each row that has lost, doubled or not applied."""

from __future__ import annotations

from typing import Any

import pytest
from tests.services.learning import Learning
from tests.support.fake_log import FakeLog
from tests.support.fakes import NOW, Clock, FakeStore

from eddyline.adapters.kafka import Message, OffsetAndMetadata, TopicPartition
from eddyline.adapters.vectors import ROWS
from eddyline.affinity import AffinityLearner
from eddyline.maintenance.audit.audit_report import AuditReport
from eddyline.maintenance.audit.rows import audit_rows
from eddyline.model.ids import item_point_id

PARTITIONS = 2


class Deployment:
    """A log of `activity`, and an affinity service that has handled some of it."""

    def __init__(self) -> None:
        self.log = FakeLog(PARTITIONS, Clock())
        self.store = FakeStore()
        self.learner = AffinityLearner(self.store, partitions=PARTITIONS)
        self.learner.assigned({TopicPartition("activity", n): 1 for n in range(PARTITIONS)})
        self.said = 0

    def list_item(self, item: str, **more: Any) -> None:
        value = {"type": "listing", "item_id": item, "fields": {"meta": {}}, **more}
        self.log.say(item, value, "activity")

    def choose(self, item: str, *recents: str, source: str | None = None) -> None:
        self.said += 1
        value = {"item_id": item, "weight": 1.0, "timestamp": NOW, "recents": list(recents)}
        self.log.say(item, {**value, "source": source or f"interactions:0:{self.said}"}, "activity")

    def work(self) -> None:
        for partition, (low, high) in self.log.bounds("activity").items():
            source = TopicPartition("activity", partition)
            at = self.log.groups["affinity"].get(source)
            records = list(self.log.read("activity", partition, at.offset if at else low, high))
            if records:
                self.learner.handle([Message(record, self.learner.parse(record)) for record in records])
            self.log.groups["affinity"][source] = OffsetAndMetadata(high, "")

    def audit(self) -> AuditReport:
        report = AuditReport()
        audit_rows(self.log, self.store, ROWS, report)
        return report

    def found(self) -> list[tuple[str, str, Any, Any]]:
        return [(one.person, one.field, one.stored, one.expected) for one in self.audit().row_differences]


@pytest.fixture
def it() -> Deployment:
    it = Deployment()
    for item in ("a", "b", "c"):
        it.list_item(item)
    it.choose("a", "b")
    it.choose("a", "c", source="twice")
    it.choose("a", "c", source="twice")
    it.choose("b", "a")
    it.work()
    return it


def test_what_was_handled_once_is_clean(it: Deployment) -> None:
    it.choose("a", "b")  # not handled yet
    report = it.audit()
    assert (report.rows_compared, report.rows_older, report.is_clean) == (3, 0, True)


def test_what_was_counted_twice_or_lost_is_named(it: Deployment) -> None:
    point = it.store.retrieve(ROWS, [item_point_id("a")])[item_point_id("a")]
    it.store.set_payload(ROWS, {point.id: {"trend": {**point.payload["trend"], "count": 3}}})
    assert it.found() == [("item a", "times chosen", 3, 2)]


def test_a_row_that_a_zombie_has_set_back_is_named(it: Deployment) -> None:
    before = it.store.retrieve(ROWS, [item_point_id("b")], vectors=("affinity",))[item_point_id("b")]
    it.choose("b", "c")
    it.work()
    it.store.upsert(ROWS, [before])
    assert it.found() == [("item b", "records not applied", 1, 0)]


def test_a_row_that_is_missing_is_named_unless_its_item_is_gone(it: Deployment) -> None:
    it.list_item("d", fields=None, gone=True)
    it.list_item("e")
    it.list_item("e", fields=None, gone=True)
    it.work()
    assert it.found() == []
    it.store.delete(ROWS, [item_point_id("c")])
    assert it.found() == [("item c", "row", None, "a row")]


def test_rows_from_before_what_the_log_holds_are_not_compared(it: Deployment) -> None:
    for partition in range(PARTITIONS):
        it.log.forget("activity", partition, 1)
    report = it.audit()
    assert report.rows_older >= 1
    assert report.is_clean


def test_a_row_of_before_there_were_rows_is_compared_from_its_next_record_on() -> None:
    learning = Learning(FakeStore())
    it = Deployment()
    it.store = learning.store  # type: ignore[assignment]
    learning.add_items("a")
    it.store.set_payload(ROWS, {item_point_id("a"): {"trend": {"count": 40}}})
    it.learner = AffinityLearner(it.store, partitions=PARTITIONS)
    it.learner.assigned({TopicPartition("activity", n): 1 for n in range(PARTITIONS)})
    it.choose("a", "b")
    it.work()
    assert it.audit().is_clean
    assert it.audit().rows_compared == 1
