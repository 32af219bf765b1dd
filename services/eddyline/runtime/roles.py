"""The roles of a process, one builder each: its HTTP routes, its consumer, and what must be ready."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeAlias

from fastapi import APIRouter

from eddyline import reader
from eddyline.adapters.encoders import ClipEncoder, create_text_encoder
from eddyline.adapters.http import IdentityCheck
from eddyline.adapters.images import ImageDecoder, ImageFetcher
from eddyline.adapters.kafka import ConsumeLoop, Handler, LogLookup, LoopOptions, TopicTail
from eddyline.adapters.language_detector import language_detector
from eddyline.adapters.vectors import ITEMS, PROFILES, ROWS, Collections, image_part
from eddyline.adapters.vectors.generations import group_of
from eddyline.adapters.web import FetchLimits, GuardedFetcher
from eddyline.affinity import AffinityLearner, BlendStore, ChoiceFinder, ChoiceLearning
from eddyline.collector.api import Collector
from eddyline.embedder.handler import Embedder
from eddyline.encoder import api as encoder_api
from eddyline.feeds import api as feeds_api
from eddyline.feeds.feed_reader import FeedReader
from eddyline.feeds.feed_state import FeedView
from eddyline.feeds.handler import FeedService
from eddyline.imaging import ImageEmbedder, PendingUploads
from eddyline.model.text import Template
from eddyline.profiler import Profiler
from eddyline.reader import ExperimentsWatcher, Reader, Search, StoppedVariants
from eddyline.runtime.consumers import RoleConsumer
from eddyline.runtime.insights_role import InsightsRole
from eddyline.runtime.resources import Resources
from eddyline.runtime.startup_checks import ENCODER_ROLE
from eddyline.settings import FeedFetchSettings
from eddyline.topics import FEEDS, VERDICTS

IMAGE_BATCH = 64
"""Records in a batch of the imager: each may hold a picture, which takes the model some time and half a megabyte."""


@dataclass(frozen=True, slots=True)
class Role:
    """What a role adds to its process: routes to answer, a consumer to run, the insights job beside it."""

    routes: APIRouter | None = None
    consumer: RoleConsumer | None = None
    insights: InsightsRole | None = None


Builder: TypeAlias = Callable[[Resources], Role]
"""Builds a role on what is open. Raises `Misconfigured` where it can't work on it."""


def build_collector(resources: Resources) -> Role:
    """Build what takes in events, items and people over HTTP."""
    settings = resources.settings
    collector = Collector(
        resources.intake,
        settings.events,
        settings.server,
        resources.metrics,
        images=settings.images,
        identity=IdentityCheck(settings.identity.secret),
        attributes=settings.attributes,
        tap=resources.tap,
    )
    return Role(routes=collector.router())


def build_feeds(resources: Resources) -> Role:
    """Build what reads feeds, and the routes that make them."""
    settings, stack, partitions = resources.settings, resources.stack, resources.options.partitions
    view = FeedView(settings.feed, partitions)
    tail = TopicTail(resources.options, FEEDS, view.apply)
    stack.callback(tail.close)
    fetcher = GuardedFetcher(fetch_limits(settings.feeds))
    reader = FeedReader(fetcher.get, settings.feeds.max_bytes, time.time, settings.attributes)
    # A stop doesn't wait for its threads: what they read is read again then.
    threads = ThreadPoolExecutor(settings.feeds.concurrency, "feeds")
    stack.callback(threads.shutdown, wait=False, cancel_futures=True)
    service = FeedService(
        view,
        reader,
        resources.producer,
        threads,
        resources.metrics,
        lambda: tail.caught_up,
    )
    tail.start()
    consumer = _consumer(resources, "feeds", (), lambda _: service)
    return Role(routes=feeds_api.router(view, resources.producer, settings.server.max_body_bytes), consumer=consumer)


def build_embedder(resources: Resources) -> Role:
    """Build what turns content into searchable items."""
    encoder, settings = resources.text_encoder, resources.settings.encoder
    assert encoder is not None
    detect = language_detector(settings.detect_language)

    def handler(collections: Collections) -> Embedder:
        embedder = Embedder(
            resources.store,
            encoder,
            resources.producer,
            resources.metrics,
            items=collections.items,
            template=Template.from_settings(settings.template),
            detect=detect,
            attributes=resources.settings.attributes,
        )
        embedder.check_space()
        return embedder

    return Role(consumer=_consumer(resources, "embedder", (ITEMS,), handler))


def build_image_embedder(resources: Resources) -> Role:
    """Build what turns items' images into vectors."""
    encoder, settings, stack = resources.image_encoder, resources.settings.images, resources.stack
    assert encoder is not None
    log = LogLookup(resources.options)
    stack.callback(log.close)
    uploads = PendingUploads()
    # A stop doesn't wait for its threads: what they fetch is still pending then.
    threads = ThreadPoolExecutor(settings.concurrency, "images")
    stack.callback(threads.shutdown, wait=False, cancel_futures=True)

    def handler(collections: Collections) -> ImageEmbedder:
        resources.store.ensure(image_part(encoder.dimension, collections.items))
        return ImageEmbedder(
            resources.store,
            encoder,
            ImageFetcher(settings).fetch,
            ImageDecoder(settings.max_pixels).decode,
            log.find,
            threads,
            settings,
            resources.metrics,
            items=collections.items,
            uploads=uploads,
        )

    batch_size = min(IMAGE_BATCH, resources.settings.kafka.batch_size)
    return Role(consumer=_consumer(resources, "imager", (ITEMS,), handler, batch_size))


def build_profiler(resources: Resources) -> Role:
    """Build what folds interactions into profiles."""
    settings = resources.settings

    def handler(collections: Collections) -> Profiler:
        return Profiler(
            resources.store,
            resources.producer,
            resources.dead_letters,
            settings.events,
            settings.profile,
            resources.options.partitions,
            resources.metrics,
            collections=collections,
            backward_window=settings.affinity.backward_window,
            samples_choices=settings.learns_strategies,
        )

    def obstacle() -> str | None:
        # Items that a failure of the machine took from the store come again first: else what people did with them would
        # wait in their profiles, where only so much may.
        broker = resources.broker
        return "the embedder repeats what the store has lost" if broker and broker.repeats("embedder") else None

    return Role(consumer=_consumer(resources, "profiler", (ITEMS, PROFILES), handler, obstacle=obstacle))


def build_affinity(resources: Resources) -> Role:
    """Build what turns activity into affinity rows and trends."""
    settings, partitions = resources.settings, resources.options.partitions

    def handler(collections: Collections) -> AffinityLearner:
        choices = None
        if settings.learns_strategies:
            finder = ChoiceFinder(resources.store, collections, settings.ranking, settings.profile)
            choices = ChoiceLearning(finder, BlendStore(resources.store, settings.strategies, resources.metrics))
        return AffinityLearner(resources.store, collections, settings.affinity, partitions, resources.metrics, choices)

    # One event makes so many records of `activity`. Each batch writes a row once, however often it has changed.
    batch_size = settings.kafka.batch_size * (1 + settings.affinity.backward_window)
    return Role(consumer=_consumer(resources, "affinity", (ITEMS, ROWS), handler, batch_size))


def build_reader(resources: Resources) -> Role:
    """Build what answers with recommendations over HTTP, by the experiments but for the variants that are stopped."""
    settings, metrics, stack = resources.settings, resources.metrics, resources.stack
    board = StoppedVariants(metrics)
    experiments = _watch_experiments(resources, board.stopped)
    if resources.options.bootstrap_servers:
        verdicts = TopicTail(resources.options, VERDICTS, board.apply)
        stack.callback(verdicts.close)
        verdicts.start()
    serving = Reader(
        resources.store,
        settings,
        metrics,
        exposures=resources.exposures,
        served_lists=resources.served_lists,
        experiments=experiments.current,
    )
    stack.callback(serving.close)
    search, identity = build_search(resources, serving), IdentityCheck(settings.identity.secret)
    return Role(routes=reader.router(serving, settings.server.max_body_bytes, search, identity))


def build_search(resources: Resources, serving: Reader) -> Search | None:
    """Build the search, with the encoders of this process's embedders, or its own where the settings ask for it.

    Raises `Misconfigured` when that can't be had.
    """
    settings, encoder, images = resources.settings, resources.text_encoder, resources.image_encoder
    enabled = settings.reader.search
    if enabled is False or (enabled is None and encoder is None):
        return None
    encoder = encoder or create_text_encoder(settings, resources.metrics)
    images = images or (ClipEncoder(settings.images) if settings.images.enabled else None)
    return Search(resources.store, settings, serving.finder, serving.profiles, encoder, time.time, images)


def build_insights(resources: Resources) -> Role:
    """Build what measures, judges and compares the lists. Raises `Misconfigured` without its libraries."""
    experiments = _watch_experiments(resources)
    insights = InsightsRole(
        resources.settings,
        resources.options,
        resources.producer,
        lambda: experiments.current().experiments,
        lambda: resources.store.count(ITEMS),
        resources.broker is not None,
        resources.metrics,
    )
    return Role(routes=insights.router, insights=insights)


def build_encoder(resources: Resources) -> Role:
    """Build what turns texts into vectors over HTTP, for processes that have no encoder of their own."""
    assert resources.text_encoder is not None
    return Role(routes=encoder_api.router(resources.text_encoder, resources.settings.server.max_body_bytes))


BUILDERS: Mapping[str, Builder] = {
    "collector": build_collector,
    "feeds": build_feeds,
    "embedder": build_embedder,
    "imager": build_image_embedder,
    "profiler": build_profiler,
    "affinity": build_affinity,
    "reader": build_reader,
    "insights": build_insights,
    ENCODER_ROLE: build_encoder,
}


def fetch_limits(settings: FeedFetchSettings) -> FetchLimits:
    """Return the limits by which feeds are fetched."""
    return FetchLimits(
        "feeds",
        settings.max_bytes,
        settings.step_timeout_seconds,
        settings.total_timeout_seconds,
        settings.allowed_hosts,
        settings.allowed_networks,
    )


def _consumer(
    resources: Resources,
    name: str,
    holds: Sequence[str],
    handler: Callable[[Collections], Handler[Any]],
    batch_size: int | None = None,
    obstacle: Callable[[], str | None] = lambda: None,
) -> RoleConsumer:
    """Make a consumer with a loop on the live collections that it `holds`; each generation of profiles has a group.

    `batch_size`: most records of a batch; that of the settings by default.
    """
    kafka = resources.settings.kafka
    options = LoopOptions(batch_size or kafka.batch_size, dead_letter_share=kafka.dead_letter_share)

    def make(collections: Collections) -> ConsumeLoop[Any]:
        group = group_of(name, collections.profiles) if PROFILES in holds else name
        handling = handler(collections)
        topics: Sequence[str] = handling.topics  # type: ignore[attr-defined]
        return ConsumeLoop(
            resources.options,
            options,
            group,
            topics,
            handling,
            resources.dead_letters,
            metrics=resources.metrics,
        )

    def retire(group: str) -> None:
        if resources.broker is not None:
            resources.broker.forget_group(group)

    return RoleConsumer(name, holds, make, retire, resources.read_generations(), obstacle=obstacle)


def _watch_experiments(resources: Resources, *stopped: Callable[..., Any]) -> ExperimentsWatcher:
    experiments = ExperimentsWatcher(resources.settings, resources.metrics, *stopped)
    resources.stack.callback(experiments.close)
    experiments.start()
    return experiments
