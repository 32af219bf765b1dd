"""The console of a process, on what its roles share."""

from __future__ import annotations

import time
from collections.abc import Callable

from fastapi import APIRouter

from eddyline import console
from eddyline.adapters.kafka import KafkaProducer, Producer, TopicDeadLetterStore
from eddyline.console.dead_letters import DeadLetterDesk
from eddyline.console.known import KnownItems, KnownPeople
from eddyline.runtime.resources import Resources


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
        resources.tap if "collector" in resources.roles else None,
        _dead_letters(resources),
        is_stopping,
    )
    return console.router(shown, settings.server.max_body_bytes)


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
