"""Records found again by their place."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.support.kafka import KafkaForTest

from eddyline.adapters.kafka import LogLookup, Outgoing
from eddyline.errors import Unavailable


def test_a_record_is_found_by_its_place_and_none_where_there_is_none(kafka: KafkaForTest) -> None:
    kafka.producer().send_all([Outgoing("content", b"k", b"%d" % n * 300_000, partition=1) for n in range(5)])
    lookup = LogLookup(kafka.options)
    found = lookup.find("content", 1, 3)
    assert found is not None
    assert (found.partition, found.offset, found.value) == (1, 3, b"3" * 300_000)
    assert found.log == kafka.log_identity("content")
    again = lookup.find("content", 1, 0)
    assert again is not None
    assert again.value == b"0" * 300_000
    for partition, offset in ((1, 5), (1, 10_000), (0, 0), (77, 0)):
        assert lookup.find("content", partition, offset) is None
    lookup.close()
    with pytest.raises(Unavailable, match="stops"):
        lookup.find("content", 1, 3)
    lookup.close()


def test_a_cluster_that_does_not_answer_is_unavailable(kafka: KafkaForTest) -> None:
    lookup = LogLookup(replace(kafka.options, bootstrap_servers="127.0.0.1:1"), patience_seconds=0.5)
    with pytest.raises(Unavailable):
        lookup.find("content", 0, 0)
    lookup.close()
