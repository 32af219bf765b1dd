"""Records found again by their place."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from tests.support.kafka import KafkaForTest, wait_until

from eddyline.adapters.kafka import LogLookup, Outgoing
from eddyline.adapters.kafka.membership import Watermarks
from eddyline.errors import Unavailable

pytestmark = pytest.mark.topics("content")


def test_a_record_is_found_by_its_place_and_none_where_there_is_none(kafka: KafkaForTest) -> None:
    kafka.producer().send_all([Outgoing("content", b"k", b"%d" % n * 300_000, partition=1) for n in range(5)])
    lookup, log = LogLookup(kafka.options), kafka.log_identity("content")
    found = lookup.find("content", 1, 3, log)
    assert found is not None
    assert (found.partition, found.offset, found.value) == (1, 3, b"3" * 300_000)
    assert found.log == log
    assert lookup.find("content", 1, 3, "an earlier log") is None
    again = lookup.find("content", 1, 0, log)
    assert again is not None
    assert again.value == b"0" * 300_000
    for partition, offset in ((1, 5), (1, 10_000), (0, 0), (77, 0)):
        assert lookup.find("content", partition, offset, log) is None
    lookup.close()
    with pytest.raises(Unavailable, match="is stopping"):
        lookup.find("content", 1, 3, log)
    lookup.close()


def test_a_cluster_that_does_not_answer_is_unavailable(kafka: KafkaForTest) -> None:
    lookup = LogLookup(replace(kafka.options, bootstrap_servers="127.0.0.1:1"), patience_seconds=0.5)
    with pytest.raises(Unavailable):
        lookup.find("content", 0, 0, "log")
    lookup.close()


def test_a_log_that_was_made_anew_is_recognized(kafka: KafkaForTest, monkeypatch: pytest.MonkeyPatch) -> None:
    kafka.producer().send_all([Outgoing("content", b"k", b"v", partition=1)])
    lookup, log = LogLookup(kafka.options), kafka.log_identity("content")
    monkeypatch.setattr("eddyline.adapters.kafka.log_reader.log_identities", lambda *_: {"content": "before"})
    assert lookup.find("content", 1, 0, log) is None
    monkeypatch.undo()
    found = lookup.find("content", 1, 0, log)
    assert found is not None
    assert found.log == log
    lookup.close()


class Stuck:
    """A reader that answers when it is told to, and then that it can't."""

    def __init__(self) -> None:
        self.asked, self.go, self.asks = threading.Event(), threading.Event(), 0

    def bounds(self, topic: str) -> dict[int, Watermarks]:
        self.asks += 1
        self.asked.set()
        self.go.wait(30)
        raise Unavailable(f"{topic} doesn't answer")

    def close(self) -> None:
        """Nothing is open."""


def test_those_that_wait_for_their_turn_do_not_hold_up_a_stop(
    kafka: KafkaForTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    stuck = Stuck()
    monkeypatch.setattr("eddyline.adapters.kafka.log_lookup.LogReader", lambda *_: stuck)
    lookup = LogLookup(kafka.options, patience_seconds=60)
    with ThreadPoolExecutor(5) as pool:
        looks = [pool.submit(lookup.find, "content", 0, 0, "log") for _ in range(4)]
        assert stuck.asked.wait(30)
        closing = pool.submit(lookup.close)
        wait_until(lambda: lookup._closed, "it is told to close")
        stuck.go.set()
        closing.result(30)
        assert all(isinstance(look.exception(30), Unavailable) for look in looks)
    assert stuck.asks == 1


def test_a_turn_that_does_not_come_in_time_is_unavailable(kafka: KafkaForTest, monkeypatch: pytest.MonkeyPatch) -> None:
    stuck = Stuck()
    monkeypatch.setattr("eddyline.adapters.kafka.log_lookup.LogReader", lambda *_: stuck)
    lookup = LogLookup(kafka.options, patience_seconds=0.1)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(lookup.find, "content", 0, 0, "log")
        assert stuck.asked.wait(30)
        with pytest.raises(Unavailable, match="can't be read in time"):
            lookup.find("content", 0, 0, "log")
        stuck.go.set()
        assert isinstance(first.exception(30), Unavailable)
    lookup.close()
