"""Every scenario once, in short: two of them in `make test`, all in `make test-all`. `make chaos` runs them in full."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from _pytest.mark import ParameterSet
from tests.chaos.fork_server import ForkServer
from tests.chaos.load import Size
from tests.chaos.scenarios import SCENARIOS, SEED, Scenario
from tests.support.kafka import Cluster, start_cluster

pytestmark = pytest.mark.chaos

EVERY_RUN = ("killed-at-points", "poison")
"""Those that `make test` runs, too: every step of a batch's way, and poison of every kind."""

SHORT = Size(seconds=2.5, rate=250)


@pytest.fixture(scope="module")
def fork_server() -> Iterator[ForkServer]:
    fork_server = ForkServer()
    yield fork_server
    fork_server.close()


@pytest.fixture(scope="module")
def breakable() -> Iterator[Cluster]:
    """A Kafka of its own for those that kill it."""
    cluster = start_cluster()
    yield cluster
    cluster.close()


def _in_its_tier(scenario: Scenario) -> ParameterSet:
    marks = [pytest.mark.slow(90), pytest.mark.xdist_group("chaos")]
    if scenario.slug not in EVERY_RUN:
        marks.append(pytest.mark.extended)
    return pytest.param(scenario.in_short, id=scenario.slug, marks=marks)


@pytest.mark.parametrize("scenario", [_in_its_tier(each) for each in SCENARIOS])
def test_nothing_is_lost_and_nothing_doubled(
    scenario: Scenario, fork_server: ForkServer, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    cluster: Cluster = request.getfixturevalue("breakable" if scenario.breaks_broker else "kafka_cluster")
    reason = scenario.unfit(cluster)
    if reason is not None:
        pytest.skip(reason)
    outcome = scenario.play(SEED, SHORT, cluster, fork_server, tmp_path)
    assert outcome.injected > 0
    assert not outcome.findings.problems, outcome.complaint()
    assert (outcome.findings.lost, outcome.findings.doubled) == (0, 0)
    assert outcome.findings.difference < 1
