"""Where the generated documents meet the services' routes."""

from __future__ import annotations

from typing import Any, cast

from eddyline import reader
from eddyline.adapters.http import create_app
from eddyline.adapters.telemetry import Metrics
from eddyline.collector import api as collector
from eddyline.collector.api import Collector
from eddyline.reader import Reader, router
from eddyline.runtime import documents
from eddyline.settings import Settings


def all_schema_files() -> dict[str, bytes]:
    """All files of `schemas/`, by name."""
    return documents.schema_files(openapi())


def openapi() -> dict[str, Any]:
    """The OpenAPI document of a process with all of the API. Nothing is connected for it."""
    from eddyline.insights import api as insights  # whose libraries are an extra

    settings, metrics, nothing = Settings(), Metrics(), cast(Any, None)
    writing = Collector(nothing, settings.events, settings.server, metrics).router()
    reading = router(Reader(nothing, settings, metrics), settings.server.max_body_bytes)
    bodies = (*collector.BODIES, *reader.BODIES)
    measuring = insights.router(nothing, nothing)
    return create_app([writing, reading, measuring], {}, metrics, bodies).openapi()
