"""Several writers of one item: the newest state holds, live and rebuilt from what compaction leaves."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import count
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.fakes import NOW, Clock, FakeProducer, FakeStore, TinyEncoder, feed, record

from eddyline.adapters.kafka import Outgoing, Record
from eddyline.adapters.telemetry import Metrics
from eddyline.adapters.vectors import ITEMS
from eddyline.embedder.handler import Embedder
from eddyline.errors import InvalidEvent
from eddyline.model.ids import item_point_id

_ITEMS = count()


@dataclass
class Site:
    """An embedder and its store; shared by examples, each of which has an item of its own."""

    store: FakeStore = field(default_factory=FakeStore)
    producer: FakeProducer = field(default_factory=FakeProducer)
    metrics: Metrics = field(default_factory=Metrics)

    def __post_init__(self) -> None:
        self.embedder = Embedder(self.store, TinyEncoder(), self.producer, self.metrics, Clock())

    def visible(self, item: str) -> Any:
        point = self.store.retrieve(ITEMS, [item_point_id(item)]).get(item_point_id(item))
        if point is None or "meta" not in point.payload:
            return None
        offer = {name: value for name, value in point.payload["offer"].items() if name != "at"}
        return point.payload["meta"], offer, point.payload["servable"], point.payload["source"]["at"]


@dataclass
class Logs:
    """The logs of `content` and `availability`, and how far an embedder has read each. What it sends is on its way
    until it is delivered to their ends."""

    site: Site
    item: str
    name: str
    records: dict[str, list[Record]] = field(default_factory=lambda: {"content": [], "availability": []})
    read: dict[str, int] = field(default_factory=lambda: {"content": 0, "availability": 0})

    batch: int = 100
    sent: list[Outgoing] = field(default_factory=list)

    def append(self, topic: str, value: Any, at: float, headers: Any = ()) -> None:
        log = self.records[topic]
        log.append(record(topic, self.item, value, len(log), at=at, log=f"{self.name}-{topic}", headers=headers))

    def consume(self, topic: str, most: int, again: bool) -> None:
        start = self.read[topic]
        batch = self.records[topic][start : start + most]
        if not batch:
            return
        for _ in range(1 + again):  # a crash before the commit
            self._feed(batch)
        self.read[topic] = start + len(batch)

    def _feed(self, batch: list[Record]) -> None:
        sent = len(self.site.producer.sent)
        feed(self.site.embedder, *batch)
        for one in self.site.producer.sent[sent:]:
            if one.topic in self.records:
                self.sent.append(one)

    def deliver(self) -> None:
        for one in self.sent:
            self.append(one.topic, one.value, NOW + 1000, one.headers)
        self.sent.clear()

    def drain(self) -> None:
        for _ in range(100):
            self.deliver()
            if all(self.read[topic] == len(log) for topic, log in self.records.items()):
                return
            for topic in self.records:
                self.consume(topic, self.batch, False)
        raise AssertionError("it goes on restating for ever")


@pytest.fixture(scope="module")
def sites() -> tuple[Site, Site]:
    return Site(), Site()


times = st.integers(1, 6)
writes = st.one_of(
    st.tuples(
        st.just("content"),
        st.fixed_dictionaries(
            {"title": st.sampled_from(["red", "blue"]), "timestamp": times},
            optional={"price": st.sampled_from([1.0, 2.0]), "available": st.booleans()},
        ),
    ),
    st.tuples(
        st.just("availability"),
        st.fixed_dictionaries(
            {"available": st.booleans(), "price": st.sampled_from([None, 3.0, 4.0]), "timestamp": times}
        ),
    ),
    st.tuples(st.sampled_from(["content", "availability"]), st.none()),
)
reads = st.tuples(st.sampled_from(["content", "availability"]), st.integers(1, 4), st.booleans())
steps = st.lists(
    st.one_of(
        st.tuples(st.just("write"), writes),
        st.tuples(st.just("read"), reads),
        st.tuples(st.just("deliver"), st.none()),
    ),
    min_size=2,
    max_size=16,
)


@given(steps=steps, batch=st.sampled_from([1, 100]))
def test_live_and_rebuilt_from_the_compacted_topics_come_out_the_same(
    sites: tuple[Site, Site], steps: list[tuple[str, Any]], batch: int
) -> None:
    live, rebuilt = sites
    logs = Logs(live, f"item-{next(_ITEMS)}", "live", batch=batch)
    for step, what in steps:
        if step == "deliver":
            logs.deliver()
        elif step == "read":
            logs.consume(*what)
        else:
            topic, value = what
            logs.append(topic, value if value is None else {"item_id": logs.item, **value}, NOW)
    logs.drain()
    for order in (("content", "availability"), ("availability", "content")):
        after = Logs(rebuilt, logs.item, f"rebuilt-{next(_ITEMS)}")
        for topic in order:
            for last in logs.records[topic][-1:]:
                after.append(topic, last.value, NOW + 2000, last.headers)
            after.drain()
        assert live.visible(logs.item) == rebuilt.visible(logs.item)
        for topic in after.records:  # the next order starts anew
            after.append(topic, None, NOW + 3000)
        after.drain()


@pytest.fixture
def logs() -> Logs:
    return Logs(Site(), "a", "live")


def write(logs: Logs, topic: str, value: Any, at: float = NOW) -> None:
    logs.append(topic, value if value is None else {"item_id": "a", **value}, at)
    logs.drain()


def test_a_put_of_the_content_system_does_not_put_a_sold_out_item_back_on_sale(logs: Logs) -> None:
    write(logs, "content", {"title": "Boots", "price": 90.0})
    write(logs, "availability", {"available": False, "price": 80.0}, NOW + 1)
    write(logs, "content", {"title": "Winter boots"}, NOW + 2)
    meta, offer, servable, _ = logs.site.visible("a")
    assert (meta["title"], offer, servable) == ("Winter boots", {"available": False, "price": 80.0}, False)
    write(logs, "content", {"title": "Winter boots", "available": True}, NOW + 3)
    assert logs.site.visible("a")[1:3] == ({"available": True, "price": 80.0}, True)


def test_an_older_state_replaces_a_newer_one_neither_in_whole_nor_in_part(logs: Logs) -> None:
    write(logs, "content", {"title": "New", "price": 2.0, "timestamp": NOW + 10}, NOW + 20)
    write(logs, "content", {"title": "Old", "price": 1.0, "available": False, "timestamp": NOW + 5}, NOW + 21)
    assert logs.site.visible("a")[0]["title"] == "New"
    assert logs.site.visible("a")[1] == {"available": True, "price": 2.0}
    value = logs.site.metrics.registry.get_sample_value
    assert value("eddyline_embedder_outdated_total", {"topic": "content"}) == 1.0


def test_an_item_that_is_deleted_and_added_again_keeps_its_stock(logs: Logs) -> None:
    write(logs, "content", {"title": "Boots"})
    write(logs, "availability", {"available": False, "price": 80.0})
    write(logs, "content", None)
    assert logs.site.visible("a") is None
    write(logs, "content", {"title": "Boots"})
    assert logs.site.visible("a")[1:3] == ({"available": False, "price": 80.0}, False)


def test_what_availability_said_is_forgotten_by_its_tombstone(logs: Logs) -> None:
    write(logs, "content", {"title": "Boots", "price": 90.0})
    write(logs, "availability", {"available": False, "price": 80.0}, NOW + 1)
    write(logs, "availability", None, NOW + 2)
    assert logs.site.visible("a")[1:3] == ({"available": True, "price": 90.0}, True)


def test_a_deletion_holds_though_an_earlier_state_is_written_again_after_it(logs: Logs) -> None:
    for value in ({"title": "New", "timestamp": 5}, {"title": "Old", "timestamp": 3}):
        logs.append("content", {"item_id": "a", **value}, NOW)
    logs.consume("content", 2, False)  # which writes the newer one again: it arrives after …
    logs.append("content", None, NOW)
    logs.consume("content", 1, False)
    logs.drain()
    assert logs.site.visible("a") is None
    assert logs.records["content"][-1].value is None
    assert logs.site.store.retrieve(ITEMS, [item_point_id("a")]) == {}, "nothing of it is left"


def test_a_header_that_nobody_wrote_is_refused() -> None:
    with pytest.raises(InvalidEvent, match="is not what the embedder writes"):
        feed(
            Site().embedder,
            record("content", "a", {"item_id": "a", "title": "t"}, headers=(("eddyline-restates", b"x"),)),
        )
