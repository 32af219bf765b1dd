"""A profiler as `cli` builds it, in a process of its own, with a fail-point."""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
from tests.chaos.failpoints import (
    BreakingHandler,
    FailingHandler,
    FailingProducer,
    FailingRowStore,
    FailingStore,
    FailPoint,
)
from tests.chaos.stream import PARTITIONS, SIGNER
from tests.support.fakes import text_vector

from eddyline.adapters.kafka import (
    ConsumeLoop,
    KafkaOptions,
    KafkaProducer,
    LoopOptions,
    TopicDeadLetterWriter,
)
from eddyline.adapters.telemetry import Metrics
from eddyline.adapters.vectors import Collections, EdgeStore, Point, ServerStore, VectorStore
from eddyline.affinity import AffinityLearner
from eddyline.model.events import RowEvent
from eddyline.model.ids import item_point_id
from eddyline.profiler import GROUP, Profiler
from eddyline.settings import AffinitySettings, ProfileSettings, Settings

SPACE = "tiny-t1"
ROW_GROUP = "affinity"
ACTIONS = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP}


@dataclass(frozen=True)
class WorkerOptions:
    """A worker's configuration. `url` of a server or `directory` of Qdrant Edge; `consumer`: librdkafka's settings.

    `fail` at a point, `on` the n-th time, by `action`. `mailbox`: a directory through which others have items put into
    a store that only this process may open, and learn how many interactions are pending.
    """

    bootstrap_servers: str
    prefix: str
    collections: tuple[str, str, str]
    profile: Mapping[str, Any]
    consumer: Mapping[str, str] = field(default_factory=dict)
    batch_size: int = 500
    url: str = ""
    api_key: str | None = None
    store_prefix: str = ""
    store_timeout: float = 5.0
    directory: str = ""
    mailbox: str = ""
    fail: str | None = None
    on: int = 1
    action: str = "kill"

    def to_json(self) -> dict[str, Any]:
        """For `main`."""
        return asdict(self)

    @property
    def kafka(self) -> KafkaOptions:
        """The cluster, without what is for consumers alone."""
        return KafkaOptions(self.bootstrap_servers, prefix=self.prefix, partitions=PARTITIONS, signer=SIGNER)


# Poison comes as fast as a busy machine lets what is good come: it must not look like a fault of all producers.
LOOP = LoopOptions(backoff_initial=0.05, backoff_cap=1.0, tick_seconds=0.2, dead_letter_share=0.95)


def build(
    options: WorkerOptions, store: VectorStore, producer: KafkaProducer, point: FailPoint, metrics: Metrics
) -> tuple[ConsumeLoop[Any], FailingHandler]:
    """The profiler's loop, wrapped at its ports."""
    settings = Settings(profile=ProfileSettings(**options.profile))
    letters = TopicDeadLetterWriter(producer)
    profiler = Profiler(
        FailingStore(store, point),
        FailingProducer(producer, point),
        letters,
        settings.events,
        settings.profile,
        PARTITIONS,
        metrics,
        collections=Collections(*options.collections),
    )
    handler = FailingHandler(BreakingHandler(profiler), point)
    loop_options = LoopOptions(**{**asdict(LOOP), "batch_size": options.batch_size})
    loop = ConsumeLoop(_kafka(options), loop_options, GROUP, Profiler.topics, handler, letters, metrics=metrics)
    return loop, handler


def build_affinity(
    options: WorkerOptions, store: VectorStore, producer: KafkaProducer, point: FailPoint, metrics: Metrics
) -> ConsumeLoop[RowEvent]:
    """The loop of the affinity service beside it. Nothing is seeded: what a row holds follows from the log alone."""
    settings = AffinitySettings(seed_neighbours=0)
    row_store, collections = FailingRowStore(store, point), Collections(*options.collections)
    learner = AffinityLearner(row_store, collections, settings, PARTITIONS, metrics)
    return ConsumeLoop(
        _kafka(options),
        LOOP,
        ROW_GROUP,
        AffinityLearner.topics,
        BreakingHandler(learner),
        TopicDeadLetterWriter(producer),
        metrics=metrics,
    )


def _kafka(options: WorkerOptions) -> KafkaOptions:
    return replace(options.kafka, client=dict(options.consumer))


def item_points(items: list[str]) -> list[Point]:
    """Items as the embedder stores them."""
    return [
        Point(
            item_point_id(item),
            {"content": text_vector(item).astype(np.float32)},
            {"item_id": item, "space": SPACE, "meta": {"title": item}},
        )
        for item in items
    ]


class Mailbox:
    """Items to put, as files, each renamed when it is done; and how many interactions are pending, as of when.

    The tests' end calls `post` and `pending`, the worker's `serve`.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def post(self, item: str) -> Path:
        """Ask for an item; the path that exists when it is there."""
        name = item.replace(" ", "-")
        asked = self._directory / f"{name}.writing"
        asked.write_text(item)
        asked.rename(self._directory / f"{name}.put")
        return self._directory / f"{name}.done"

    def pending(self, since: float) -> int | None:
        """How many interactions are pending, as counted after `since` (epoch seconds); None when not counted since."""
        try:
            status = json.loads((self._directory / "status").read_text())
        except FileNotFoundError:
            return None
        return int(status["pending"]) if status["at"] > since else None

    def serve(self, put: Callable[[list[str]], None], pending: int) -> None:
        """Put what is asked for, and say how many interactions are pending."""
        for path in sorted(self._directory.glob("*.put")):
            put([path.read_text()])
            path.rename(path.with_suffix(".done"))
        status = self._directory / "status.writing"
        status.write_text(json.dumps({"pending": pending, "at": time.time()}))
        status.rename(self._directory / "status")


def main(config: dict[str, Any]) -> None:
    """Run until SIGTERM, or what was armed."""
    options = WorkerOptions(**{**config, "collections": tuple(config["collections"])})
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    point = FailPoint(options.fail, options.on, lambda: _fail(options))
    store: VectorStore = (
        EdgeStore(Path(options.directory))
        if options.directory
        else ServerStore(options.url, options.api_key, options.store_timeout, options.store_prefix)
    )
    producer = KafkaProducer(options.kafka)
    metrics = Metrics()
    loop, handler = build(options, store, producer, point, metrics)
    rows = build_affinity(options, store, producer, point, Metrics())
    rows_thread = threading.Thread(target=_run_or_die, args=(rows,), daemon=True)
    if options.mailbox:
        _serve_with_ticks(handler, Mailbox(Path(options.mailbox)), store, options, metrics)

    def leave(_number: int, _frame: FrameType | None) -> None:
        loop.stop()
        rows.stop()

    signal.signal(signal.SIGTERM, leave)
    rows_thread.start()
    try:
        loop.run()
    finally:
        rows.stop()
        rows_thread.join()
        producer.close()
        store.close()


def _run_or_die(loop: ConsumeLoop[RowEvent]) -> None:
    try:
        loop.run()
    except BaseException:
        traceback.print_exc()
        os._exit(1)


def _serve_with_ticks(
    handler: FailingHandler, mailbox: Mailbox, store: VectorStore, options: WorkerOptions, metrics: Metrics
) -> None:
    tick = handler.tick

    def serve() -> None:
        tick()
        pending = metrics.registry.get_sample_value("eddyline_profiler_waiting") or 0
        mailbox.serve(lambda items: store.upsert(options.collections[0], item_points(items)), int(pending))

    handler.tick = serve  # type: ignore[method-assign]


def _fail(options: WorkerOptions) -> None:
    print(f"{time.time():.3f} {options.action} at the point: {options.fail}", file=sys.stderr, flush=True)
    os.kill(os.getpid(), ACTIONS[options.action])
    if options.action == "kill":
        signal.pause()  # until the signal is delivered
