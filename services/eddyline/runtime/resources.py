"""What the roles of a process share: the store, the broker, producers, encoders, and the reader's background senders.

Opened in this order and closed in reverse. Without a Kafka cluster or a Qdrant server in the settings, the embedded
broker or Qdrant Edge is opened instead, in the data directory.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import structlog

from eddyline.adapters.encoders import ClipEncoder, ImageEncoder, TextEncoder, create_text_encoder
from eddyline.adapters.event_tap import EventTap
from eddyline.adapters.kafka import (
    QUEUE_BYTES,
    DeadLetterWriter,
    EmbeddedBroker,
    GatedProducer,
    KafkaOptions,
    KafkaProducer,
    Producer,
    TopicDeadLetterWriter,
    ensure_topics,
)
from eddyline.adapters.telemetry import Metrics
from eddyline.adapters.vectors import VectorStore, generations
from eddyline.adapters.vectors.generations import Generations
from eddyline.maintenance.generations.handover import discard_unfinished_generations
from eddyline.maintenance.generations.row_completion import complete_rows
from eddyline.model.distance import distance_of
from eddyline.reader import ExposureLog, ServedListLog
from eddyline.runtime.collection_setup import create_collections, ensure_image_vectors
from eddyline.runtime.connections import journal_directory, kafka_options, open_store
from eddyline.runtime.former_data import take_in_former_data
from eddyline.runtime.rows_mark import RowsMark
from eddyline.runtime.startup_checks import ENCODER_ROLE
from eddyline.settings import Settings

log = structlog.get_logger("eddyline")


class Resources:
    """Everything that was opened for these roles; the owner closes `stack`. What no role needs is None or missing.

    A process that only reads has no `producer` and no `dead_letters`; one that only encodes has no `store` either.
    """

    store: VectorStore
    options: KafkaOptions
    producer: Producer
    intake: Producer
    """Of what comes from outside: embedded, it is refused while the log takes nothing."""
    dead_letters: DeadLetterWriter

    def __init__(self, settings: Settings, roles: tuple[str, ...], metrics: Metrics) -> None:
        """Raises `Misconfigured`, `AlreadyRunning` and `Unavailable`, with everything closed again."""
        self.settings, self.roles, self.metrics = settings, roles, metrics
        self.broker: EmbeddedBroker | None = None
        self.text_encoder: TextEncoder | None = None
        self.image_encoder: ImageEncoder | None = None
        self.exposures: ExposureLog | None = None
        self.served_lists: ServedListLog | None = None
        self.tap = EventTap(time.time)
        self.stack = ExitStack()
        try:
            self._open()
        except BaseException:
            self.stack.close()
            raise

    @property
    def has_store(self) -> bool:
        """Whether the store was opened: a process that only encodes needs none."""
        return self.roles != (ENCODER_ROLE,)

    @property
    def has_broker(self) -> bool:
        """Whether a broker was opened: a process that only reads, or only encodes, needs none."""
        return self.has_store and self.roles != ("reader",)

    def read_generations(self) -> Generations:
        """Read which collections are live, and which are sealed. Raises `Unavailable`."""
        return generations.current(self.store)

    def close_senders(self) -> None:
        """Send what the reader still has to report."""
        for sender in (self.exposures, self.served_lists):
            if sender is not None:
                sender.close()

    def _open(self) -> None:
        settings = self.settings
        if not self.has_store:
            self.text_encoder = create_text_encoder(settings, self.metrics)
            return
        self.store = open_store(settings)
        self.stack.callback(self.store.close)
        if self.has_broker:
            self._open_broker()
        else:
            self.options = kafka_options(settings)
        if "reader" in self.roles:
            self._open_senders()
        if "embedder" in self.roles:
            self.text_encoder = create_text_encoder(settings, self.metrics)
            create_collections(self.store, settings, self.text_encoder.dimension, distance_of(self.text_encoder.space))
        if not settings.qdrant.url:  # nobody else has this store open, so no rebuild can be under way
            live = generations.live(self.store)
            discard_unfinished_generations(self.store, live, log.warning)
            mark = RowsMark(settings.data_dir / "rows.json")
            if not mark.holds(live):
                complete_rows(self.store, live.items, live.rows, is_alone=True)
                self.store.flush()
                mark.leave(live)
        if "imager" in self.roles:
            self.image_encoder = ClipEncoder(settings.images)
            ensure_image_vectors(self.store, self.image_encoder.dimension)

    def _open_broker(self) -> None:
        """Open the cluster of the settings, or the embedded broker on the data directory's log."""
        settings = self.settings
        if settings.kafka.bootstrap_servers:
            self.options = kafka_options(settings)
            ensure_topics(self.options)
        else:
            self.broker = EmbeddedBroker(
                journal_directory(settings), max_bytes=settings.journal.max_bytes, rewinds=not settings.qdrant.url
            )
            self.stack.callback(self.broker.close)
            self.options = self.broker.options
            if not settings.qdrant.url:
                from eddyline.adapters.vectors import EdgeStore

                assert isinstance(self.store, EdgeStore)
                self.store.on_flush(self.broker.checkpoint)
                self.broker.hold_store_with(self.store.held)
                self.stack.callback(self.store.flush)  # while the broker can note it: the next start repeats nothing
        # The collector's limit is reached before that of the queue, whatever the consumers send beside it.
        queue_bytes = QUEUE_BYTES + settings.server.max_in_flight_bytes
        producer = KafkaProducer(self.options, queue_bytes=queue_bytes)
        self.stack.callback(producer.close)
        self.producer, self.intake, self.dead_letters = producer, producer, TopicDeadLetterWriter(producer)
        if self.broker is not None:
            take_in_former_data(settings.data_dir, producer, self.dead_letters)
            self.intake = GatedProducer(producer, self.broker.gate)

    def _open_senders(self) -> None:
        """Open what reports the reader's lists to the profiles and the measures, where settings and Kafka allow it."""
        shown, impressions = self.settings.reader.report_exposures, self.settings.insights.report_served_lists
        if not (shown or impressions) or not self.options.bootstrap_servers:
            return
        if self.has_broker:
            producer = self.intake
        else:  # its answers need no Kafka, so nothing is verified or waited for
            producer = KafkaProducer(self.options)
            self.stack.callback(producer.close)
        if shown:
            self.exposures = ExposureLog(producer, self.metrics)
        if impressions:
            self.served_lists = ServedListLog(producer, self.metrics)
        for sender in (self.exposures, self.served_lists):
            if sender is not None:
                self.stack.callback(sender.close)
                sender.start()


@contextmanager
def open_served_list_log(settings: Settings, metrics: Metrics) -> Iterator[ServedListLog | None]:
    """Open what reports the lists that a command's own reader makes; None where it is turned off, or without Kafka."""
    if not settings.insights.report_served_lists or not settings.kafka.bootstrap_servers:
        yield None
        return
    with ExitStack() as stack:
        producer = KafkaProducer(kafka_options(settings))
        stack.callback(producer.close)
        served_lists = ServedListLog(producer, metrics)
        stack.callback(served_lists.close)
        served_lists.start()
        yield served_lists
