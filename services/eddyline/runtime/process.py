"""The composition root: builds the real adapters, hands them to the services, runs and stops them in order."""

from __future__ import annotations

import gc
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from types import FrameType
from typing import Any

import structlog

from eddyline import reader
from eddyline.adapters.encoders import ClipEncoder, ImageEncoder, TextEncoder, create_text_encoder
from eddyline.adapters.http import HttpServer, ReadinessCheck, create_app
from eddyline.adapters.images import ImageDecoder, ImageFetcher
from eddyline.adapters.kafka import (
    QUEUE_BYTES,
    ConsumeLoop,
    DeadLetterWriter,
    EmbeddedBroker,
    FeedbackProducer,
    FileDeadLetterWriter,
    Handler,
    KafkaProducer,
    LogLookup,
    LoopOptions,
    Producer,
    RetentionGuard,
    TopicDeadLetterWriter,
    TopicTail,
    ensure_topics,
)
from eddyline.adapters.language_detector import language_detector
from eddyline.adapters.telemetry import Metrics, PrometheusLoopMetrics
from eddyline.adapters.vectors import (
    ITEMS,
    PROFILES,
    Collections,
    VectorStore,
    generations,
    image_part,
)
from eddyline.adapters.vectors.generations import Generations, group_of
from eddyline.affinity import AffinityLearner
from eddyline.collector import api as collector
from eddyline.collector.api import Collector
from eddyline.embedder.handler import Embedder
from eddyline.errors import Misconfigured
from eddyline.imaging import ImageEmbedder, PendingUploads, RetainedUploads
from eddyline.maintenance.generations.replay import discard_unfinished_generations
from eddyline.model.distance import distance_of
from eddyline.model.experiments.verdicts import TOPIC as VERDICTS
from eddyline.model.text import Template
from eddyline.profiler import Profiler
from eddyline.reader import ExperimentsWatcher, ExposureLog, Reader, Search, ServedListLog, StoppedVariants, router
from eddyline.runtime.collection_setup import check_collections, create_collections, ensure_image_vectors
from eddyline.runtime.connections import dead_letters_directory, kafka_options, open_store
from eddyline.runtime.consumers import ConsumerThreads, RoleConsumer
from eddyline.runtime.insights_role import InsightsRole
from eddyline.settings import Settings

log = structlog.get_logger("eddyline")

ROLES = ("collector", "embedder", "imager", "profiler", "affinity", "reader", "insights")
INSIGHTS_ROLE = "insights"
"""The role that the others do without: `eddyline up` leaves it out where it is turned off, or not installed."""
IMAGING_ROLE = "imager"
"""The same of images: `eddyline up` leaves it out where they are turned off."""
IMAGE_BATCH = 64
"""Records in a batch of the imager: each may hold a picture, which takes the model some time and half a megabyte."""
LISTENING = "Listening on "
"""How the line begins that says where."""
CONSUMERS = {"embedder": (ITEMS,), "imager": (ITEMS,), "profiler": (ITEMS, PROFILES), "affinity": (ITEMS,)}
"""The collections that each works on, in the order in which they are drained: each may write what the next one
reads."""


class Runtime:
    """One process with some of the roles. Without a Kafka cluster or a Qdrant server in the settings it brings the
    in-process broker or Qdrant Edge, which only a process with all roles can.

    Raises `Misconfigured` for settings that can't work, before anything is started.
    """

    def __init__(self, settings: Settings, roles: Sequence[str]) -> None:
        self._settings, self._roles = settings, tuple(role for role in ROLES if role in roles)
        self._check_roles(roles)
        self._guard: RetentionGuard | None = None
        self._broker: EmbeddedBroker | None = None
        self._stack = ExitStack()
        self._stopping = threading.Event()
        self.metrics = Metrics()
        try:
            self._build()
        except BaseException:
            self._stack.close()
            raise

    @property
    def url(self) -> str:
        """Where it listens."""
        return self._server.url

    def describe(self) -> Iterator[str]:
        """What was found and what runs, a line each."""
        if not self._settings.qdrant.url:
            items, people = self._store.count(ITEMS), self._store.count(PROFILES)
            state = f"holds {items:,} items and {people:,} profiles" if items or people else "is empty"
            yield f"The data directory {self._settings.data_dir} {state}"
        if self._broker is not None:
            yield "The broker is in this process's memory: what is acknowledged is handled before it stops"
        yield f"{LISTENING}{self.url} ({', '.join(self._roles)}; the API is described at {self.url}/docs)"

    def run(self) -> None:
        """Run until SIGTERM, SIGINT or a failure; then stop intake, finish what was taken in, commit, leave.

        Raises what made a service stop.
        """
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        gc.collect()
        gc.freeze()  # the model's objects live as long as the process: the collector need not walk them again
        with self._stack:
            try:
                self._consumers.start()
                if self._insights is not None:
                    self._insights.start()
                self._server.run()
            finally:
                for telling in (self._shown, self._impressions):  # what it sends is still to be handled
                    if telling is not None:
                        telling.close()
                self._stop_consumers()
        if self._consumers.failure is not None:
            raise self._consumers.failure

    # -- building -----------------------------------------------------------------------------------------------

    @property
    def _has_broker(self) -> bool:
        """A process that only reads needs none."""
        return self._roles != ("reader",)

    def _check_roles(self, roles: Sequence[str]) -> None:
        unknown = sorted(set(roles) - set(ROLES))
        if unknown or not roles:
            raise Misconfigured(f"unknown role {', '.join(unknown) or '(none)'}: choose from {', '.join(ROLES)}")
        if IMAGING_ROLE in roles and not self._settings.images.enabled:
            raise Misconfigured("the imager has nothing to do: set images.enabled (EDDYLINE_IMAGES__ENABLED=true)")
        if set(roles) | {INSIGHTS_ROLE, IMAGING_ROLE} == set(ROLES):
            return
        needs = []
        if self._has_broker and not self._settings.kafka.bootstrap_servers:
            needs.append(("in-process broker", "EDDYLINE_KAFKA__BOOTSTRAP_SERVERS"))
        if not self._settings.qdrant.url:
            needs.append(("embedded vector store", "EDDYLINE_QDRANT__URL"))
        if needs:
            embedded, variable = needs[0]
            raise Misconfigured(
                f"{', '.join(roles)} alone can't share the {embedded} with other processes: set {variable}, or run "
                "everything in one process with `eddyline up`"
            )

    def _build(self) -> None:
        settings = self._settings
        self._store = open_store(settings)
        self._stack.callback(self._store.close)
        if self._has_broker:
            self._open_broker()
        self._shown, self._impressions = self._open_telling()
        checks: dict[str, ReadinessCheck] = {"vectors": lambda: check_collections(self._store)}
        if self._has_broker:
            checks["broker"] = self._producer.check
        self._encoder: TextEncoder | None = None
        if "embedder" in self._roles:
            self._encoder = create_text_encoder(settings, self.metrics)
            self._detect = language_detector(settings.encoder.detect_language)
            create_collections(self._store, settings, self._encoder.dimension, distance_of(self._encoder.space))
        if not settings.qdrant.url:  # nobody else has this store open, so no rebuild can be under way
            discard_unfinished_generations(self._store, generations.live(self._store), log.warning)
        self._images: ImageEncoder | None = None
        if IMAGING_ROLE in self._roles:
            self._images = ClipEncoder(settings.images)
            ensure_image_vectors(self._store, self._images.dimension)
            self._log = LogLookup(self._options)
            self._uploads = PendingUploads() if self._broker is None else RetainedUploads()
            self._stack.callback(self._log.close)
            # A stop doesn't wait for its threads: what they fetch is still pending then.
            self._fetching = ThreadPoolExecutor(settings.images.concurrency, "images")
            self._stack.callback(self._fetching.shutdown, wait=False, cancel_futures=True)
        consumers = self._build_consumers()
        checks |= {consumer.name: consumer.check for consumer in consumers}
        routers = []
        if "collector" in self._roles:
            writing = Collector(self._producer, settings.events, settings.server, self.metrics, images=settings.images)
            routers.append(writing.router())
        self._insights: InsightsRole | None = None
        if INSIGHTS_ROLE in self._roles:
            self._insights = self._build_insights()
            routers.append(self._insights.router)
            if self._roles == (INSIGHTS_ROLE,):  # beside others it isn't needed to answer
                checks[INSIGHTS_ROLE] = self._insights.check
        if "reader" in self._roles:
            reading = Reader(
                self._store,
                settings,
                self.metrics,
                shown=self._shown,
                impressions=self._impressions,
                experiments=self._open_experiments().now,
            )
            search = build_search(self._store, settings, reading, self._encoder, self.metrics, self._images)
            routers.append(router(reading, settings.server.max_body_bytes, search))
        bodies = (*collector.BODIES, *reader.BODIES)
        app = create_app(routers, checks, self.metrics, bodies, settings.server.cors_origins)
        self._server = HttpServer(app, settings.server.host, settings.server.port)
        self._consumers = ConsumerThreads(consumers, self._read_generations, self._server.stop)

    def _open_broker(self) -> None:
        """The cluster of the settings, or the in-process broker with its guard and a file for dead letters."""
        if self._settings.kafka.bootstrap_servers:
            self._options = kafka_options(self._settings)
            ensure_topics(self._options)
        else:
            self._broker = EmbeddedBroker()
            self._guard = self._broker.guard
            self._stack.callback(self._broker.close)
            self._options = self._broker.options
        # The collector's bound is reached before that of the queue, whatever the consumers send beside it.
        queue_bytes = QUEUE_BYTES + self._settings.server.max_in_flight_bytes
        self._producer = KafkaProducer(self._options, guard=self._guard, queue_bytes=queue_bytes)
        self._stack.callback(self._producer.close)
        self._profiler_producer: Producer = self._producer
        if self._guard is not None:  # it writes to the topic that it reads, and must not wait for itself
            feedback = FeedbackProducer(self._options, self._guard, *Profiler.topics)
            self._stack.callback(feedback.close)
            self._profiler_producer = feedback
        self._dead_letters: DeadLetterWriter = (
            TopicDeadLetterWriter(self._producer)
            if self._broker is None
            else FileDeadLetterWriter(dead_letters_directory(self._settings))
        )

    def _open_telling(self) -> tuple[ExposureLog | None, ServedListLog | None]:
        """Through which the reader tells the profiles and the measures what it shows; None where it isn't to, or there
        is no Kafka."""
        settings = self._settings
        tells = settings.reader.shown or settings.insights.impressions
        if "reader" not in self._roles or not tells:
            return None, None
        if self._has_broker:
            producer = self._producer
        elif settings.kafka.bootstrap_servers:  # its answers need no Kafka, so nothing is verified or waited for
            producer = KafkaProducer(kafka_options(settings))
            self._stack.callback(producer.close)
        else:
            return None, None
        shown = ExposureLog(producer, self.metrics) if settings.reader.shown else None
        impressions = ServedListLog(producer, self.metrics) if settings.insights.impressions else None
        for telling in (shown, impressions):
            if telling is not None:
                self._stack.callback(telling.close)
                telling.start()
        return shown, impressions

    def _open_experiments(self) -> ExperimentsWatcher:
        """The experiments' file, and, where there is Kafka, which variants are stopped."""
        board = StoppedVariants(self.metrics)
        experiments = ExperimentsWatcher(self._settings, self.metrics, board.stopped)
        options = self._options if self._has_broker else kafka_options(self._settings)
        if options.bootstrap_servers:
            verdicts = TopicTail(options, VERDICTS, board.take)
            self._stack.callback(verdicts.close)
            verdicts.start()
        self._stack.callback(experiments.close)
        experiments.start()
        return experiments

    def _build_insights(self) -> InsightsRole:
        experiments = ExperimentsWatcher(self._settings, self.metrics)
        self._stack.callback(experiments.close)
        experiments.start()
        return InsightsRole(
            self._settings,
            self._options,
            self._producer,
            lambda: experiments.now().experiments,
            lambda: self._store.count(ITEMS),
            None if self._broker is None else dead_letters_directory(self._settings),
            self.metrics,
        )

    def _build_consumers(self) -> list[RoleConsumer]:
        names = [name for name in CONSUMERS if name in self._roles]
        if not names:
            return []
        now = self._read_generations()
        return [RoleConsumer(name, CONSUMERS[name], self._maker(name), self._retire, now) for name in names]

    def _read_generations(self) -> Generations:
        return generations.current(self._store)

    def _maker(self, name: str) -> Callable[[Collections], ConsumeLoop[Any]]:
        def make(collections: Collections) -> ConsumeLoop[Any]:
            group = group_of(name, collections.profiles) if name == "profiler" else name
            return self._loop(group, self._handler(name, collections))

        return make

    def _retire(self, group: str) -> None:
        if self._guard is not None:
            self._guard.unsubscribe(group)

    def _handler(self, name: str, collections: Collections) -> Handler[Any]:
        settings = self._settings
        if name == "affinity":
            partitions = self._options.partitions
            return AffinityLearner(self._store, collections.items, settings.affinity, partitions, self.metrics)
        if name == IMAGING_ROLE:
            return self._imager(collections)
        if name == "profiler":
            return Profiler(
                self._store,
                self._profiler_producer,
                self._dead_letters,
                settings.events,
                settings.profile,
                self._options.partitions,
                self.metrics,
                collections=collections,
                reverse_recents=settings.affinity.reverse_recents,
            )
        assert self._encoder is not None
        embedder = Embedder(
            self._store,
            self._encoder,
            self._producer,
            self.metrics,
            items=collections.items,
            template=Template.of(settings.encoder.template),
            detect=self._detect,
        )
        embedder.check_space()
        return embedder

    def _imager(self, collections: Collections) -> ImageEmbedder:
        assert self._images is not None
        images = self._settings.images
        self._store.ensure(image_part(self._images.dimension, collections.items))
        fetcher, decoder = ImageFetcher(images), ImageDecoder(images.max_pixels)
        return ImageEmbedder(
            self._store,
            self._images,
            fetcher.fetch,
            decoder.decode,
            self._log.find,
            self._fetching,
            images,
            self.metrics,
            items=collections.items,
            uploads=self._uploads,
        )

    def _loop(self, group: str, handler: Handler[Any]) -> ConsumeLoop[Any]:
        kafka = self._settings.kafka
        batch_size = min(IMAGE_BATCH, kafka.batch_size) if group == IMAGING_ROLE else kafka.batch_size
        options = LoopOptions(batch_size, dead_letter_share=kafka.dead_letter_share)
        topics: Sequence[str] = handler.topics  # type: ignore[attr-defined]
        return ConsumeLoop(
            self._options,
            options,
            group,
            topics,
            handler,
            self._dead_letters,
            guard=self._guard,
            metrics=PrometheusLoopMetrics(self.metrics),
        )

    # -- running ------------------------------------------------------------------------------------------------

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        if self._stopping.is_set():
            self._consumers.halt()
            return
        log.info("stopping", signal=signal.Signals(number).name)
        self._stopping.set()
        self._server.stop()

    def _stop_consumers(self) -> None:
        """The in-process broker's memory ends with this process, so everything in it is handled first."""
        self._stopping.set()
        drain = self._broker is not None and self._consumers.failure is None
        if drain and (left := self._consumers.lag()):
            log.info("finishing what was taken in; a second signal stops at once and loses it", records=left)
        self._consumers.stop(drain)
        if self._insights is not None:
            self._insights.close(drain)


@contextmanager
def open_impression_log(settings: Settings, metrics: Metrics) -> Iterator[ServedListLog | None]:
    """Through which a reader of a command tells what it made; None where it isn't to, or no Kafka is set."""
    if not settings.insights.impressions or not settings.kafka.bootstrap_servers:
        yield None
        return
    with ExitStack() as stack:
        producer = KafkaProducer(kafka_options(settings))
        stack.callback(producer.close)
        impressions = ServedListLog(producer, metrics)
        stack.callback(impressions.close)
        impressions.start()
        yield impressions


def build_search(
    store: VectorStore,
    settings: Settings,
    reading: Reader,
    embedders: TextEncoder | None,
    metrics: Metrics,
    imagers: ImageEncoder | None = None,
) -> Search | None:
    """With the encoders of the embedder and the imager in this process, or its own where the settings ask for it.

    Raises `Misconfigured` when that can't be had.
    """
    wanted = settings.reader.search
    if wanted is False or (wanted is None and embedders is None):
        return None
    encoder = embedders or create_text_encoder(settings, metrics)
    images = imagers or (ClipEncoder(settings.images) if settings.images.enabled else None)
    return Search(store, settings, reading.people, encoder, time.time, images)
