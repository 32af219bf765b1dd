"""What `eddyline up`, and what runs some of its roles, prints when it starts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from eddyline.adapters.vectors import ITEMS, PROFILES
from eddyline.runtime.connections import journal_directory
from eddyline.settings import Settings

if TYPE_CHECKING:
    from eddyline.runtime.process import Runtime
    from eddyline.runtime.workers import WorkerProcesses

LISTENING = "Listening on "
"""How the line begins that says where."""
WITHOUT_INSIGHTS = "Insights is left out: it needs pip install 'eddyline[insights]'"


def startup_lines(runtime: Runtime, settings: Settings) -> Iterator[str]:
    """Say what was found and what runs, a line each."""
    resources, roles = runtime.resources, ", ".join(runtime.roles)
    if not resources.has_store:
        encoder = resources.text_encoder
        assert encoder is not None
        yield f"{LISTENING}{runtime.url} (encoder {encoder.model}, {encoder.dimension} dimensions)"
        return
    if not settings.qdrant.url:
        items, people = resources.store.count(ITEMS), resources.store.count(PROFILES)
        state = f"holds {items:,} items and {people:,} profiles" if items or people else "is empty"
        yield f"The data directory {settings.data_dir} {state}"
    if resources.broker is not None:
        yield f"The log is in {journal_directory(settings)}: what is acknowledged is on disk"
    playground = f"the playground is at {runtime.url}/play, " if runtime.has_playground else ""
    yield f"{LISTENING}{runtime.url} ({roles}; {playground}the API is described at {runtime.url}/docs)"
    if settings.server.operations_port is not None:
        yield f"Metrics and health: {runtime.operations_url}"


def worker_lines(workers: WorkerProcesses) -> Iterator[str]:
    """Say where all workers answer, and each alone."""
    roles, count = ", ".join(workers.roles), len(workers.urls)
    yield f"{LISTENING}{workers.url} ({roles} in {count} workers; the API is described at {workers.url}/docs)"
    yield f"Metrics and health of each worker: {' '.join(workers.urls)}"
