"""Runs a scenario from its beginning to its verdict."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from tests.chaos.load import Size
from tests.chaos.nursery import Nursery
from tests.chaos.scenarios import Scenario
from tests.chaos.world import Outcome, a_world
from tests.support.kafka import Cluster

SEED = int(os.environ.get("CHAOS_SEED", "1"))
"""`CHAOS_SEED=7 make test ARGS="-m chaos"` runs another history."""


def unfit(scenario: Scenario, cluster: Cluster) -> str | None:
    """Why the scenario can't be run here; None where it can."""
    if cluster.kind == "in-process":
        return f"no real Kafka: {'; '.join(cluster.fell_back)}"
    if scenario.breaks_broker and cluster.kill is None:
        return f"this Kafka ({cluster.kind}) isn't ours to kill"
    if os.environ.get("QDRANT_URL") and scenario.slug == "store-killed":
        return "the server at QDRANT_URL isn't ours to kill"
    return None


def run(scenario: Scenario, seed: int, size: Size, cluster: Cluster, nursery: Nursery, directory: Path) -> Outcome:
    """The workers' logs stay in `directory`."""
    backend = scenario.backend(nursery, directory)
    if not scenario.breaks_broker:
        cluster = replace(cluster, kill=None, start=None)
    with a_world(scenario.fault, seed, size, cluster, nursery, directory, backend, scenario.pending_seconds) as world:
        scenario.run(world)
        return world.conclude()
