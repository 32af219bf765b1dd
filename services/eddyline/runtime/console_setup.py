"""The console of a process, on what its roles share."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from fastapi import APIRouter

from eddyline import console
from eddyline.adapters.experiments_file import load_experiments
from eddyline.adapters.kafka import KafkaProducer, Producer, TopicDeadLetterStore
from eddyline.console.dead_letters import DeadLetterDesk
from eddyline.console.filter_counts import FilterCounts
from eddyline.console.known import KnownItems, KnownPeople
from eddyline.console.quality import LastEvaluation
from eddyline.errors import Misconfigured
from eddyline.runtime.resources import Resources
from eddyline.settings import Settings


def console_routes(resources: Resources, is_stopping: Callable[[], bool]) -> APIRouter:
    """Build the routes of the console; what it opens is closed with the resources. `is_stopping` ends its streams."""
    settings = resources.settings
    history = console.MetricsHistory(resources.metrics)
    resources.stack.callback(history.close)
    history.start()
    shown = console.Console(
        history,
        KnownPeople(resources.store, settings, time.time),
        KnownItems(resources.store, time.time),
        FilterCounts(resources.store, settings, time.time),
        LastEvaluation(settings),
        lambda: _variants(settings),
        resources.tap if "collector" in resources.roles else None,
        _dead_letters(resources),
        is_stopping,
    )
    return console.router(shown, settings.server.max_body_bytes)


def _variants(settings: Settings) -> dict[str, Any]:
    """Name the variants of the experiments' file; `fault`: why it can't be read."""
    try:
        experiments = load_experiments(settings.experiments_file, settings)
    except Misconfigured as error:
        return {"variants": [], "fault": str(error)}
    named = [f"{one.name}/{variant.name}" for one in experiments for variant in one.variants if not variant.external]
    return {"variants": named, "fault": None}


def _dead_letters(resources: Resources) -> DeadLetterDesk | None:
    if not resources.has_broker:
        return None
    producer: Producer = resources.producer
    if resources.options.signer is not None:
        producer = KafkaProducer(resources.options.unsigned())
        resources.stack.callback(producer.close)
    store = TopicDeadLetterStore(resources.options, producer)
    resources.stack.callback(store.close)
    return DeadLetterDesk(store, producer)
