"""What the pipeline costs above its floor, in one run: parse and fold beside raw upserts, embed beside raw encode.

    .venv/bin/python benchmarks/pipeline.py

Each line gives ours, the floor, and their ratio. Absolute figures depend on the machine; the ratio is what to watch.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import numpy as np
from qdrant_process import answering_store

from eddyline.adapters.encoders import create_text_encoder
from eddyline.adapters.kafka import (
    Acknowledgements,
    ConsumeLoop,
    EmbeddedBroker,
    KafkaProducer,
    LoopOptions,
    Message,
    Outgoing,
    Record,
    RecordMetadata,
    TopicDeadLetterWriter,
    TopicPartition,
    partition_of,
)
from eddyline.adapters.telemetry import Metrics
from eddyline.adapters.vectors import ITEMS, PROFILES, Distance, EdgeStore, Point
from eddyline.clients.sources import open_source
from eddyline.embedder.handler import Embedder
from eddyline.model.distance import distance_of
from eddyline.model.events import Content, Interaction
from eddyline.model.ids import item_point_id
from eddyline.model.text import DEFAULT
from eddyline.profiler import Profiler
from eddyline.runtime.collection_setup import create_collections
from eddyline.settings import Settings

SAMPLE = Path(__file__).parents[1] / "examples" / "movielens"
EVENTS, BATCH, TRICKLE, PARTITIONS, ROUNDS = 10_000, 500, 10, 4, 200


class NowhereProducer:
    """Acknowledges everything at once."""

    def send(self, record: Outgoing) -> Future[RecordMetadata]:
        future: Future[RecordMetadata] = Future()
        future.set_result(RecordMetadata(record.topic, 0, 0))
        return future

    def send_all(self, records: Sequence[Outgoing]) -> list[RecordMetadata]:
        return [RecordMetadata(record.topic, 0, 0) for record in records]

    def begin_all(self, records: Sequence[Outgoing]) -> Acknowledgements:
        return lambda: self.send_all(records)

    def check(self) -> None: ...

    def close(self) -> None: ...


def line(name: str, ours: float, floor: float, unit: str) -> None:
    """One comparison of rates: more is better."""
    print(f"{name:<34} {ours:>10,.0f} {unit:<12} floor {floor:>10,.0f}   ratio {ours / floor:.2f}")


def interactions() -> list[Record]:
    offsets: defaultdict[int, int] = defaultdict(int)
    records = []
    for _, value in list(open_source(SAMPLE).events())[:EVENTS]:
        event = Interaction.model_validate(value)
        key = event.person.key.encode()
        partition = partition_of(key, PARTITIONS)
        records.append(
            Record("interactions", partition, offsets[partition], key, event.to_bytes(), int(time.time() * 1000), "log")
        )
        offsets[partition] += 1
    return records


def films() -> list[Content]:
    return [Content.model_validate(value) for _, value in open_source(SAMPLE).items()]


def batches(records: Sequence[Record]) -> Iterator[Sequence[Record]]:
    for start in range(0, len(records), BATCH):
        yield records[start : start + BATCH]


def profiler(directory: Path, settings: Settings, metrics: Metrics) -> None:
    """Events folded and written durably a second; the floor writes the same points without parsing or folding."""
    store, records = EdgeStore(directory / "ours"), interactions()
    create_collections(store, settings, 384, Distance.COSINE)
    rows = np.random.default_rng(1).normal(size=(1500, 384)).astype(np.float32)
    items = [film.item_id for film in films()]
    store.upsert(
        ITEMS,
        [
            Point(item_point_id(item), {"content": row}, {"item_id": item, "space": "s", "meta": {"title": item}})
            for item, row in zip(items, rows, strict=True)
        ],
    )
    written: list[list[Point]] = []
    upsert = store.upsert

    def remember(collection: str, points: Sequence[Point], **options: object) -> None:
        written.append(list(points))
        upsert(collection, points, **options)  # type: ignore[arg-type]

    store.upsert = remember  # type: ignore[method-assign]
    letters = TopicDeadLetterWriter(NowhereProducer())
    ours = Profiler(store, NowhereProducer(), letters, settings.events, settings.profile, PARTITIONS, metrics)
    ours.assigned({TopicPartition("interactions", partition): 1 for partition in range(PARTITIONS)})
    started = time.perf_counter()
    for batch in batches(records):
        ours.handle([Message(record, ours.parse(record)) for record in batch])
    took = time.perf_counter() - started
    store.close()
    raw = EdgeStore(directory / "raw")
    create_collections(raw, settings, 384, Distance.COSINE)
    started = time.perf_counter()
    for points in written:
        raw.upsert(PROFILES, points)
    floor = time.perf_counter() - started
    raw.close()
    line("profiler: parse, fold, write", len(records) / took, len(records) / floor, "events/s")


def processor(settings: Settings, metrics: Metrics, events: int) -> None:
    """The processor's time for an event, in batches as at 500 events a second: of as many people as events.

    The store's process is another, and there is no Kafka.
    """
    waiting: defaultdict[str, deque[Record]] = defaultdict(deque)
    for record in interactions()[:events]:
        waiting[(record.key or b"").decode()].append(record)
    queues, records = deque(waiting.values()), []
    while queues:
        records.append(queues[0].popleft())
        queues.rotate(-1) if queues[0] else queues.popleft()
    with answering_store() as store:
        letters = TopicDeadLetterWriter(NowhereProducer())
        ours = Profiler(
            store,
            NowhereProducer(),
            letters,
            settings.events,
            settings.profile,
            PARTITIONS,
            metrics,
            backward_window=settings.affinity.backward_window,
        )
        ours.assigned({TopicPartition("interactions", partition): 1 for partition in range(PARTITIONS)})
        rounds = []
        for start in range(0, len(records), TRICKLE * ROUNDS // 2):
            began = time.process_time()
            some = records[start : start + TRICKLE * ROUNDS // 2]
            for at in range(0, len(some), TRICKLE):
                ours.handle([Message(record, ours.parse(record)) for record in some[at : at + TRICKLE]])
            rounds.append((time.process_time() - began) / len(some) * 1e6)
    median = statistics.median(rounds)
    print(f"profiler: {TRICKLE} events at once        {median:>10,.0f} µs of the processor's time an event")


def embedder(directory: Path, settings: Settings, metrics: Metrics) -> None:
    """Items embedded and written a second; the floor encodes the same texts and throws the vectors away."""
    encoder = create_text_encoder(settings, metrics)
    store, content = EdgeStore(directory / "embedder"), films()[:512]
    create_collections(store, settings, encoder.dimension, distance_of(encoder.space))
    texts = [DEFAULT.parts(film.model_dump())[0][0] for film in content]
    encoder.encode(texts[:64])
    started = time.perf_counter()
    for start in range(0, len(texts), 128):
        encoder.encode(texts[start : start + 128])
    floor = time.perf_counter() - started
    ours = Embedder(store, encoder, NowhereProducer(), metrics)
    records = [
        Record("content", 0, offset, film.item_id.encode(), film.to_bytes(), int(time.time() * 1000), "log")
        for offset, film in enumerate(content)
    ]
    started = time.perf_counter()
    for start in range(0, len(records), 128):
        ours.handle([Message(record, ours.parse(record)) for record in records[start : start + 128]])
    took = time.perf_counter() - started
    store.close()
    line("embedder: parse, encode, write", len(texts) / took, len(texts) / floor, "items/s")


class Echo:
    """A handler that only notes when a record came: the raw way through the broker and the loop."""

    topics = ("interactions",)

    def __init__(self, seen: Callable[[], None]) -> None:
        self._seen = seen

    def parse(self, record: Record) -> bytes:
        return record.value or b""

    def handle(self, _batch: Sequence[Message[bytes]]) -> None:
        self._seen()

    def assigned(self, epochs: object) -> None: ...

    def revoked(self, partitions: object) -> None: ...

    def tick(self) -> None: ...


def freshness(directory: Path, settings: Settings, metrics: Metrics) -> None:
    """Milliseconds from producing an interaction to its profile being durable; the floor is produce → consume alone."""
    import threading

    def measure(make: Callable[[Callable[[], None], KafkaProducer], Any]) -> list[float]:
        broker = EmbeddedBroker()
        producer = KafkaProducer(broker.options)
        handled = threading.Event()
        handler = make(handled.set, producer)
        letters = TopicDeadLetterWriter(NowhereProducer())
        loop: ConsumeLoop[Any] = ConsumeLoop(
            broker.options,
            LoopOptions(),
            "profiler",
            ("interactions",),
            handler,
            letters,
        )
        thread = threading.Thread(target=loop.run)
        thread.start()
        while not loop.status().ready or not loop.status().assigned:
            time.sleep(0.01)
        took = []
        for number in range(ROUNDS):
            event = Interaction(type="click", item_id="1", user_id=f"u{number % 20}", event_id=f"e{number}")
            handled.clear()
            started = time.perf_counter()
            producer.send(Outgoing("interactions", event.person.key.encode(), event.to_bytes())).result(10)
            handled.wait(10)
            took.append((time.perf_counter() - started) * 1000)
        loop.stop()
        thread.join()
        producer.close()
        broker.close()
        return took[ROUNDS // 10 :]

    store = EdgeStore(directory / "freshness")
    create_collections(store, settings, 384, Distance.COSINE)
    row = np.ones(384, dtype=np.float32)
    store.upsert(ITEMS, [Point(item_point_id("1"), {"content": row}, {"item_id": "1", "space": "s", "meta": {}})])

    def real(seen: Callable[[], None], producer: KafkaProducer) -> Any:
        letters = TopicDeadLetterWriter(NowhereProducer())
        handler = Profiler(store, producer, letters, settings.events, settings.profile, PARTITIONS, metrics)
        handle = handler.handle

        def noted(batch: Sequence[Message[object]]) -> None:
            handle(batch)  # type: ignore[arg-type]
            seen()

        handler.handle = noted  # type: ignore[method-assign]
        return handler

    ours, floor = measure(real), measure(lambda seen, _: Echo(seen))
    store.close()
    for name, share in (("median", 50), ("99th percentile", 99)):
        mine, raw = (statistics.quantiles(times, n=100)[share - 1] for times in (ours, floor))
        print(
            f"event to durable profile, {name:<16} {mine:>6.1f} ms   floor {raw:>6.1f} ms   above {mine - raw:>5.1f} ms"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--processor", action="store_true", help="the processor's time for an event alone")
    parser.add_argument("--events", type=int, default=EVENTS, help="for that")
    options = parser.parse_args()
    settings, metrics = Settings(), Metrics()
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        if not options.processor:
            profiler(directory, settings, metrics)
        processor(settings, metrics, options.events)
        if options.processor:
            return
        embedder(directory, settings, metrics)
        freshness(directory, settings, metrics)


if __name__ == "__main__":
    main()
