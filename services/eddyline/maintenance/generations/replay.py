"""Replay: the profiles rebuilt from the log, in a new generation, while the old one serves and is written."""

from __future__ import annotations

import time
from collections.abc import Callable

from eddyline.adapters.vectors import PROFILES, Collections, VectorStore
from eddyline.maintenance.generations.handover import (
    Handover,
    NewGeneration,
    RebuildSource,
    ReportLine,
    next_generation,
)


def replay(
    source: RebuildSource,
    store: VectorStore,
    create: Callable[[Collections], None],
    report: ReportLine,
    *,
    only_log: bool = False,
) -> NewGeneration:
    """Rebuild the profiles of the live generation; `create` makes the collection.

    Profiles that the log no longer covers are taken over, unless `only_log`. Raises `Misconfigured` when the writers
    don't stop, and `Unavailable`; then the old generation goes on, and what was rebuilt is dropped.
    """
    started = time.monotonic()
    with next_generation(store, [PROFILES], create, report) as (live, target):
        rebuild = source.make(target, lambda record: record)
        if not only_log:
            rebuild.carry_over(live.profiles, source.log_identity)
            report(f"{rebuild.counts.carried:,} profiles are older than the log, and taken over as they are")
        handover = Handover(source, store, rebuild, live, report)
        handover.catch_up()
        with handover.sealed([PROFILES]):
            handover.finish()
            handover.go_live()
    seconds = time.monotonic() - started
    return NewGeneration(target, store.count(target.items), store.count(target.profiles), rebuild.counts, seconds)
