"""The embedder's throughput beside that of its encoder alone, with the same texts, in one run.

    .venv/bin/python benchmarks/embedder.py

In full batches, and in a trickle of one item at a time. What is measured is the real service, with the real model and
Qdrant Edge on disk: parse, look up, encode, write. The floor encodes the same texts, as many a call, and throws the
vectors away. Both take turns, a round each, so that what else runs on the machine slows them alike; the ratio is the
median of the rounds' ratios.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path

from eddyline.adapters.encoders import TextEncoder, create_text_encoder
from eddyline.adapters.kafka import Acknowledgements, Message, Outgoing, Record, RecordMetadata
from eddyline.adapters.telemetry import Metrics
from eddyline.adapters.vectors import ITEMS, EdgeStore
from eddyline.clients.sources import open_source
from eddyline.embedder.handler import Embedder
from eddyline.model.distance import distance_of
from eddyline.model.events import Content
from eddyline.model.text import DEFAULT
from eddyline.runtime.collection_setup import create_collections
from eddyline.settings import Settings

SAMPLE = Path(__file__).parents[1] / "examples" / "movielens"


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


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--rounds", type=int, default=9)
    arguments.add_argument("--batch", type=int, default=64, help="items of a full batch; 64 are embedded at once")
    arguments.add_argument("--trickle", type=int, default=100, help="items of a round of the trickle")
    given = arguments.parse_args()
    settings, metrics = Settings(), Metrics()
    encoder = create_text_encoder(settings, metrics)
    films = [Content.model_validate(value) for _, value in open_source(SAMPLE).items()]
    encoder.encode([text_of(film) for film in films[: given.batch]])
    with tempfile.TemporaryDirectory() as name:
        store = EdgeStore(Path(name))
        create_collections(store, settings, encoder.dimension, distance_of(encoder.space))
        service = Embedder(store, encoder, NowhereProducer(), metrics)
        compare("full batches", films[: given.batch], given.batch, given.rounds, service, encoder)
        compare("trickle", films[: given.trickle], 1, given.rounds, service, encoder)
        written = store.count(ITEMS)
        store.close()
    assert written == given.rounds * (given.batch + given.trickle), "every item of every round is new"


def compare(
    name: str, films: Sequence[Content], size: int, rounds: int, service: Embedder, encoder: TextEncoder
) -> None:
    """One line: items a second, `size` a call, of both, and their ratio."""
    ours, floors = [], []
    texts = [text_of(film) for film in films]
    for number in range(rounds):
        batches = split(records(films, f"{name}-{number}"), size)
        started = time.perf_counter()
        for batch in batches:
            service.handle([Message(record, service.parse(record)) for record in batch])
        ours.append(time.perf_counter() - started)
        started = time.perf_counter()
        for start in range(0, len(texts), size):
            encoder.encode(texts[start : start + size])
        floors.append(time.perf_counter() - started)
    ratio = statistics.median(floor / took for took, floor in zip(ours, floors, strict=True))
    rate, raw = (len(films) / statistics.median(times) for times in (ours, floors))
    print(f"{name:<14}{rate:>8,.0f} items/s   raw encode {raw:>8,.0f} items/s   ratio {ratio:.2f}", flush=True)


def records(films: Sequence[Content], prefix: str) -> list[Record]:
    """As the topic holds them, under ids of their own, so that every item is new."""
    own = [film.model_copy(update={"item_id": f"{prefix}-{film.item_id}"}) for film in films]
    return [
        Record("content", 0, offset, film.item_id.encode(), film.to_bytes(), 1_700_000_000_000, "log")
        for offset, film in enumerate(own)
    ]


def split(given: Sequence[Record], size: int) -> list[Sequence[Record]]:
    return [given[start : start + size] for start in range(0, len(given), size)]


def text_of(film: Content) -> str:
    return DEFAULT.parts(film.model_dump())[0][0]


if __name__ == "__main__":
    main()
