"""The commands that make a next generation: replay and reembed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from eddyline.adapters.encoders import ClipEncoder, RetryingEncoder, create_text_encoder
from eddyline.adapters.kafka import KafkaOptions, KafkaProducer, LogReader, TopicDeadLetterWriter, log_identities
from eddyline.adapters.language_detector import language_detector
from eddyline.adapters.telemetry import Metrics
from eddyline.adapters.vectors import (
    Collections,
    Filter,
    IsEmpty,
    Match,
    Sparse,
    VectorStore,
    generations,
    image_part,
    profile_collection,
)
from eddyline.errors import AlreadyRunning, Misconfigured
from eddyline.maintenance.generations.rebuild import (
    GatedOutputs,
    ProfileRebuild,
    ReportProgress,
    TranslateRecord,
    ignore_progress,
)
from eddyline.maintenance.generations.reembed import reembed
from eddyline.maintenance.generations.replay import NAMES, ReportLine, discard_unfinished_generations, replay
from eddyline.model.distance import distance_of
from eddyline.model.text import Template
from eddyline.profiler import TOPIC
from eddyline.runtime.collection_setup import collection_specs
from eddyline.runtime.connections import kafka_options, open_store
from eddyline.settings import Settings

WITH_PICTURES = Filter(must=(Match("image.state", ("ready",)),))


@dataclass(frozen=True, slots=True)
class _Kafka:
    """What a rebuilding run needs of the cluster."""

    options: KafkaOptions
    reader: LogReader
    producer: KafkaProducer

    @property
    def log_identity(self) -> str:
        """Return the identity of the log of `interactions`."""
        return log_identities(self.options, [TOPIC])[TOPIC]


def run_replay(settings: Settings, only_log: bool, drop_old: bool, console: Console) -> None:
    """`eddyline replay`."""
    if not settings.kafka.bootstrap_servers:
        raise Misconfigured(
            "replay reads the log of a Kafka cluster: set EDDYLINE_KAFKA__BOOTSTRAP_SERVERS. (The embedded broker's "
            "log ends with its process; `eddyline reembed` rebuilds profiles from what is stored.)"
        )
    with ExitStack() as stack:
        store = _opened_store(settings, stack)
        kafka = _connected(settings, stack)
        live = generations.live(store)
        dimension = _dimension(store, live)
        tell = stack.enter_context(_bar(console, "records", _records(kafka.reader)))

        def make(target: Collections) -> ProfileRebuild:
            store.ensure(replace(profile_collection(dimension), name=target.profiles))
            return _rebuilding(settings, store, kafka, target, lambda record: record, tell)

        done = replay(kafka.reader, store, make, kafka.log_identity, _saying(console), only_log=only_log)
        _drop(store, live, done.collections, drop_old, _saying(console))
    tally = done.tally
    console.print(
        f"{done.people:,} profiles from {tally.handled:,} records in {done.seconds:.0f} s; {tally.carried:,} taken "
        f"over, {tally.invalid:,} records are dead letters" + _foreign(tally.foreign)
    )


def give_up(settings: Settings, console: Console) -> None:
    """`eddyline replay --give-up`."""
    with ExitStack() as stack:
        store = _opened_store(settings, stack)
        live = generations.live(store)
        discard_unfinished_generations(store, live, _saying(console))
    console.print(f"{live.items} and {live.profiles} are live, and their writers go on")


def run_reembed(settings: Settings, force: bool, drop_old: bool, console: Console) -> None:
    """`eddyline reembed`. Raises `AlreadyRunning` where a process holds the data directory, and `Misconfigured` where
    all items are in the encoder's space already, unless `force`."""
    say = _saying(console)
    with ExitStack() as stack:
        try:
            store = _opened_store(settings, stack)
        except AlreadyRunning as error:
            raise AlreadyRunning(
                f"another process holds the data directory {settings.data_dir}: stop it, run `eddyline reembed` again, "
                "and start it with the same settings"
            ) from error
        encoder = RetryingEncoder(create_text_encoder(settings, Metrics()), say)
        if not force:
            _check_space_differs(store, encoder.space)
        images = ClipEncoder(settings.images) if settings.images.enabled else None
        kafka = _connected(settings, stack) if settings.kafka.bootstrap_servers else None
        live = generations.live(store)

        def create(target: Collections) -> None:
            items, profiles = collection_specs(settings, encoder.dimension, distance_of(encoder.space))
            store.ensure(replace(items, name=target.items))
            store.ensure(replace(profiles, name=target.profiles))
            if images is not None:
                store.ensure(image_part(images.dimension, target.items))

        def make(target: Collections, translate: TranslateRecord) -> ProfileRebuild:
            assert kafka is not None
            return _rebuilding(settings, store, kafka, target, translate, ignore_progress)

        if images is None and (pictures := store.count(live.items, WITH_PICTURES)):
            say(
                f"The pictures of {pictures:,} items are left out, since images aren't enabled here: with "
                "images.enabled and the imager's images.model they are taken over"
            )
        if kafka is None:
            say("There is no log here: profiles are approximated from their newest items.")
        done = reembed(
            store,
            encoder,
            settings.profile,
            create,
            say,
            reader=None if kafka is None else kafka.reader,
            make=None if kafka is None else make,
            log_identity="" if kafka is None else kafka.log_identity,
            tell=stack.enter_context(_bar(console, "items", store.count(live.items))),
            template=Template.of(settings.encoder.template),
            image_space=None if images is None else images.space,
            detect=language_detector(settings.encoder.detect_language),
        )
        _drop(store, live, done.collections, drop_old, say)
    console.print(
        f"{done.items:,} items and {done.people:,} profiles in space {encoder.space}, in {done.seconds:.0f} s; "
        f"{done.approximated:,} profiles are approximations"
    )


def _opened_store(settings: Settings, stack: ExitStack) -> VectorStore:
    store = open_store(settings)
    stack.callback(store.close)
    return store


def _connected(settings: Settings, stack: ExitStack) -> _Kafka:
    options = kafka_options(settings)
    reader = LogReader(options)
    stack.callback(reader.close)
    producer = KafkaProducer(options)
    stack.callback(producer.close)
    return _Kafka(options, reader, producer)


def _rebuilding(
    settings: Settings,
    store: VectorStore,
    kafka: _Kafka,
    target: Collections,
    translate: TranslateRecord,
    tell: ReportProgress,
) -> ProfileRebuild:
    outputs = GatedOutputs(kafka.producer, TopicDeadLetterWriter(kafka.producer))
    return ProfileRebuild(
        kafka.reader, store, outputs, settings, target, kafka.options.partitions, translate=translate, tell=tell
    )


def _check_space_differs(store: VectorStore, space: str) -> None:
    elsewhere = Filter(must_not=(IsEmpty("space"), Match("space", (space,))))
    if not store.scroll(generations.live(store).items, filter=elsewhere, limit=1, payload=())[0]:
        raise Misconfigured(
            f"all items are in space {space} already: change encoder.model, .distance or .template, "
            "or use --force to re-embed all the same"
        )


def _dimension(store: VectorStore, live: Collections) -> int:
    """Of the live items' vectors."""
    after: str | None = None
    while True:
        page, after = store.scroll(live.items, after=after, payload=(), vectors=("content",))
        for point in page:
            vector = point.vectors.get("content")
            if vector is not None and not isinstance(vector, Sparse):
                return len(vector)
        if after is None:
            raise Misconfigured(f"{live.items} holds no embedded item, so no profile can be made of anything")


def _drop(store: VectorStore, before: Collections, now: Collections, drop_old: bool, say: ReportLine) -> None:
    """Generations before the last one always, the last one where it is asked for."""
    for name in NAMES:
        for collection in generations.existing(store, name):
            if collection == now.named(name):
                continue
            if collection != before.named(name) or drop_old:
                store.drop(collection)
                say(f"dropped {collection}")
            else:
                say(f"{collection} stays until the next time, to look at or to go back to; --drop-old drops it")


def _records(reader: LogReader) -> int:
    return sum(high - low for low, high in reader.bounds(TOPIC).values())


def _foreign(count: int) -> str:
    return f"; {count:,} transfers of another version could not be taken over" if count else ""


def _saying(console: Console) -> ReportLine:
    return lambda line: console.print(escape(line), highlight=False)


@contextmanager
def _bar(console: Console, what: str, total: int) -> Iterator[ReportProgress]:
    columns = (TextColumn("{task.description:<7}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(what, total=total)
        yield lambda count: progress.advance(task, count)
