"""The Kafkas of the tests of the consume loop."""

from __future__ import annotations

import pytest
from tests.kafka.loops import Backend, LiveBackend, ScriptedBackend


@pytest.fixture
def scripted() -> ScriptedBackend:
    """A Kafka that follows the test's script."""
    return ScriptedBackend()


@pytest.fixture(params=["scripted", pytest.param("live", marks=pytest.mark.slow(20))])
def backend(request: pytest.FixtureRequest) -> Backend:
    """The scripted Kafka, and the most real one there is: what passes on both shows that the script is true."""
    if request.param == "scripted":
        return ScriptedBackend()
    return LiveBackend(request.getfixturevalue("kafka"))
