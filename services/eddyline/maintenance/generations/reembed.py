"""Reembed: every item embedded again from its stored text, and the profiles with them, in a new generation.

Items are copied while the old generation serves and is written; then its writers are sealed, the little that changed
meanwhile is copied again, and the profiles are rebuilt from the log as in a replay. Profiles that the log no longer
covers are approximated from their newest items.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from eddyline.adapters.encoders import TextEncoder
from eddyline.adapters.kafka import Record
from eddyline.adapters.vectors import ITEMS, PROFILES, Collections, VectorStore
from eddyline.maintenance.generations.approximation import OnboardingAnswers, ProfileApproximation
from eddyline.maintenance.generations.handover import (
    REBUILT,
    Handover,
    NewGeneration,
    RebuildSource,
    ReportLine,
    next_generation,
)
from eddyline.maintenance.generations.item_copy import ItemCopier
from eddyline.maintenance.generations.rebuild import RebuildCounts, ReportProgress
from eddyline.model.language import Detect, detect_no_language
from eddyline.model.text import DEFAULT, Template
from eddyline.settings import ProfileSettings

PASSES = 5
"""Most passes over the items before their writers are sealed."""
QUIET = 100
"""Changed items in a pass at which the writers are sealed."""
ITEM_WRITERS = ("embedder", "imager", "affinity")
"""Groups that write to the items, beside the profilers, which read them."""


def reembed(
    store: VectorStore,
    encoder: TextEncoder,
    settings: ProfileSettings,
    create: Callable[[Collections], None],
    report: ReportLine,
    source: RebuildSource,
    *,
    advance: ReportProgress = lambda _: None,
    template: Template = DEFAULT,
    image_space: str | None = None,
    detect: Detect = detect_no_language,
) -> NewGeneration:
    """Re-embed everything. `create` makes the collections.

    Raises `Misconfigured` when the writers don't stop, and `Unavailable`; then the old generation goes on, and what was
    made is dropped.
    """
    started = time.monotonic()
    with next_generation(store, REBUILT, create, report) as (live, target):
        copier = ItemCopier(store, encoder, live.items, target.items, template, image_space, detect)
        answers = OnboardingAnswers(encoder)
        approximation = ProfileApproximation(store, target.items, settings, encoder.space, answers)
        _copy_until_quiet(copier, report, advance)
        counts = _with_log(source, store, live, target, copier, approximation, answers, report)
    if approximation.lost:
        report(
            f"the answers of {approximation.lost:,} people are lost: the log that held them is gone; send them again "
            "(PUT /v1/users)"
        )
    seconds = time.monotonic() - started
    return NewGeneration(target, store.count(target.items), store.count(target.profiles), counts, seconds)


def _copy_until_quiet(copier: ItemCopier, report: ReportLine, advance: ReportProgress) -> None:
    for _ in range(PASSES):
        copied = copier.run(advance)
        report(f"{copied.embedded:,} texts embedded; {copied.items:,} items copied")
        if copied.changed <= QUIET:
            return


def _with_log(
    source: RebuildSource,
    store: VectorStore,
    live: Collections,
    target: Collections,
    copier: ItemCopier,
    approximation: ProfileApproximation,
    answers: OnboardingAnswers,
    report: ReportLine,
) -> RebuildCounts:
    def translate(record: Record) -> Record:
        return approximation.translate(answers.translate(record))

    rebuild = source.make(target, translate)
    answers.read(source.reader)
    rebuild.carry_over(live.profiles, source.log_identity, approximation.convert)
    report(f"{rebuild.counts.carried:,} profiles are older than the log: approximated from their newest items")
    handover = Handover(source, store, rebuild, live, report)
    handover.catch_up()
    with handover.sealed([ITEMS, PROFILES], ITEM_WRITERS):
        last = copier.run()
        report(f"the writers have stopped; {last.changed:,} items had changed since")
        answers.read(source.reader)
        handover.finish()
        handover.go_live()
    return rebuild.counts
