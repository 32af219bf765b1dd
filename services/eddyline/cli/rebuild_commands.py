"""The commands that make a next generation: replay and reembed."""

from __future__ import annotations

from contextlib import ExitStack, closing
from dataclasses import replace

from rich.console import Console
from rich.markup import escape

from eddyline.adapters.encoders import ClipEncoder, RetryingEncoder, create_text_encoder
from eddyline.adapters.kafka import KafkaOptions, KafkaProducer, LogReader, TopicDeadLetterWriter, log_identities
from eddyline.adapters.language_detector import language_detector
from eddyline.adapters.telemetry import Metrics
from eddyline.adapters.vectors import (
    Collections,
    Filter,
    IsEmpty,
    Match,
    VectorStore,
    generations,
    image_part,
    profile_collection,
)
from eddyline.cli.terminal_output import progress_bar
from eddyline.errors import AlreadyRunning, Misconfigured
from eddyline.maintenance.generations.handover import (
    REBUILT,
    RebuildSource,
    ReportLine,
    discard_unfinished_generations,
)
from eddyline.maintenance.generations.rebuild import (
    GatedOutputs,
    ProfileRebuild,
    ReportProgress,
    TranslateRecord,
)
from eddyline.maintenance.generations.reembed import reembed
from eddyline.maintenance.generations.replay import replay
from eddyline.model.distance import distance_of
from eddyline.model.text import Template
from eddyline.runtime.collection_setup import collection_specs
from eddyline.runtime.connections import open_log, open_store
from eddyline.settings import Settings
from eddyline.topics import INTERACTIONS

WITH_PICTURES = Filter(must=(Match("image.state", ("ready",)),))


def run_replay(settings: Settings, only_log: bool, drop_old: bool, console: Console) -> None:
    """Run `eddyline replay`."""
    report = _line_printer(console)
    with ExitStack() as stack:
        store = stack.enter_context(closing(open_store(settings)))
        live = generations.live(store)
        _require_embedded_items(store, live)
        options = stack.enter_context(open_log(settings))
        reader = stack.enter_context(closing(LogReader(options)))
        records = sum(high - low for low, high in reader.bounds(INTERACTIONS).values())
        advance = stack.enter_context(progress_bar(console, "records", records))

        def create(target: Collections) -> None:
            store.ensure(profile_collection(target.profiles))

        done = replay(
            _source(settings, options, store, reader, stack, advance), store, create, report, only_log=only_log
        )
        _drop(store, live, done.collections, drop_old, report)
    counts = done.counts
    console.print(
        f"{done.people:,} profiles from {counts.handled:,} records in {done.seconds:.0f} s; {counts.carried:,} taken "
        f"over, {counts.invalid:,} records are dead letters"
    )


def give_up(settings: Settings, console: Console) -> None:
    """Run `eddyline replay --give-up`."""
    with closing(open_store(settings)) as store:
        live = generations.live(store)
        discard_unfinished_generations(store, live, _line_printer(console))
    console.print(f"{live.items} and {live.profiles} are live, and their writers go on")


def run_reembed(settings: Settings, force: bool, drop_old: bool, console: Console) -> None:
    """Run `eddyline reembed`. Raises `AlreadyRunning` where a process holds the data directory, and `Misconfigured`
    where all items are in the encoder's space already, unless `force`."""
    report = _line_printer(console)
    with ExitStack() as stack:
        try:
            store = stack.enter_context(closing(open_store(settings)))
        except AlreadyRunning as error:
            raise AlreadyRunning(
                f"another process holds the data directory {settings.data_dir}: stop it, run `eddyline reembed` again, "
                "and start it with the same settings"
            ) from error
        encoder = RetryingEncoder(create_text_encoder(settings, Metrics()), report)
        if not force:
            _check_space_differs(store, encoder.space)
        images = ClipEncoder(settings.images) if settings.images.enabled else None
        options = stack.enter_context(open_log(settings))
        reader = stack.enter_context(closing(LogReader(options)))
        source = _source(settings, options, store, reader, stack)
        live = generations.live(store)

        def create(target: Collections) -> None:
            items, profiles, _ = collection_specs(settings, encoder.dimension, distance_of(encoder.space))
            store.ensure(replace(items, name=target.items))
            store.ensure(replace(profiles, name=target.profiles))
            if images is not None:
                store.ensure(image_part(images.dimension, target.items))

        if images is None and (pictures := store.count(live.items, WITH_PICTURES)):
            report(
                f"The pictures of {pictures:,} items are left out, since images aren't enabled here: with "
                "images.enabled and the imager's images.model they are taken over"
            )
        done = reembed(
            store,
            encoder,
            settings.profile,
            create,
            report,
            source,
            advance=stack.enter_context(progress_bar(console, "items", store.count(live.items))),
            template=Template.from_settings(settings.encoder.template),
            image_space=None if images is None else images.space,
            detect=language_detector(settings.encoder.detect_language),
        )
        _drop(store, live, done.collections, drop_old, report)
    console.print(
        f"{done.items:,} items and {done.people:,} profiles in space {encoder.space}, in {done.seconds:.0f} s; "
        f"{done.counts.carried:,} profiles are approximations"
    )


def _source(
    settings: Settings,
    options: KafkaOptions,
    store: VectorStore,
    reader: LogReader,
    stack: ExitStack,
    advance: ReportProgress = lambda _: None,
) -> RebuildSource:
    """Build what makes profiles from the log; its producer is closed with `stack`."""
    producer = stack.enter_context(closing(KafkaProducer(options)))

    def make(target: Collections, translate: TranslateRecord) -> ProfileRebuild:
        outputs = GatedOutputs(producer, TopicDeadLetterWriter(producer))
        return ProfileRebuild(reader, store, outputs, settings, target, options.partitions, translate, advance)

    return RebuildSource(reader, log_identities(options, [INTERACTIONS])[INTERACTIONS], make)


def _check_space_differs(store: VectorStore, space: str) -> None:
    elsewhere = Filter(must_not=(IsEmpty("space"), Match("space", (space,))))
    if not store.scroll(generations.live(store).items, filter=elsewhere, limit=1, payload=())[0]:
        raise Misconfigured(
            f"all items are in space {space} already: change encoder.model, .distance or .template, "
            "or use --force to re-embed all the same"
        )


def _require_embedded_items(store: VectorStore, live: Collections) -> None:
    """Raise `Misconfigured` where every interaction would wait for its item."""
    embedded = Filter(must_not=(IsEmpty("space"),))
    if not store.scroll(live.items, filter=embedded, limit=1, payload=())[0]:
        raise Misconfigured(f"{live.items} holds no embedded item, so no profile can be built")


def _drop(store: VectorStore, before: Collections, now: Collections, drop_old: bool, report: ReportLine) -> None:
    """Drop the generations before the last one, and the last one with `drop_old`."""
    for name in REBUILT:
        for collection in generations.existing(store, name):
            if collection == now.named(name):
                continue
            if collection != before.named(name) or drop_old:
                store.drop(collection)
                report(f"dropped {collection}")
            else:
                report(f"{collection} is kept until the next run, to look at or to go back to; --drop-old drops it")


def _line_printer(console: Console) -> ReportLine:
    return lambda line: console.print(escape(line), highlight=False)
