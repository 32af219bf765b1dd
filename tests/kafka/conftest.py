"""The Kafkas of the tests of the consume loop."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.kafka.loops import Backend, LiveBackend, ScriptedBackend
from tests.support.kafka import KafkaForTest

from eddyline.adapters.kafka import EmbeddedBroker


@pytest.fixture
def scripted() -> ScriptedBackend:
    """A Kafka that follows the test's script."""
    return ScriptedBackend()


@pytest.fixture
def embedded() -> Iterator[EmbeddedBroker]:
    """The broker of the embedded mode."""
    broker = EmbeddedBroker()
    yield broker
    broker.close()


@pytest.fixture(params=["scripted", *(pytest.param(kind, marks=pytest.mark.slow(20)) for kind in ("embedded", "live"))])
def backend(request: pytest.FixtureRequest) -> Iterator[Backend]:
    """The scripted Kafka, the embedded broker, and the most real Kafka there is: what passes on all shows that they are
    true."""
    if request.param == "scripted":
        yield ScriptedBackend()
    elif request.param == "live":
        kafka = request.getfixturevalue("kafka")
        if kafka.kind == "in-process":
            pytest.skip("there is no other Kafka here than the embedded broker")
        yield LiveBackend(kafka)
    else:
        kafka = KafkaForTest("in-process", request.getfixturevalue("embedded").options)
        yield LiveBackend(kafka)
        for producer in kafka.producers:
            producer.close()
