"""What backends and precisions of the text encoder cost and change, as a Markdown table.

    .venv/bin/python benchmarks/encoders.py

Each row is measured in a process of its own: texts a second, one a call and 32 a call, the best of three rounds;
seconds to load, once the libraries are there and what is exported is in the cache; resident memory that this and the
encoding add. Overlap@10: how many of a film's ten nearest are among the ten that torch in fp32 finds; cosine: of its
vector to torch's. The corpus: titles and genres of films in `examples/movielens`, or of the `movies.csv` given.
"""

from __future__ import annotations

import argparse
import csv
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
import sentence_transformers  # noqa: F401  before any process is forked: its own load is the same for all
import structlog
from numpy.typing import NDArray

from eddyline.adapters.encoders import TextEncoder, create_text_encoder
from eddyline.adapters.telemetry import Metrics
from eddyline.model.text import DEFAULT
from eddyline.settings import EncoderSettings, Settings

MOVIES = Path(__file__).parents[1] / "examples" / "movielens" / "movies.csv"
WAYS = (("torch", "fp32"), ("onnx", "fp32"), ("onnx", "int8"))
NEAREST, ROUNDS = 10, 3
T = TypeVar("T")


class Figures(NamedTuple):
    """Of one encoder."""

    one: float
    """Texts a second, one a call."""
    batch: float
    """Texts a second, 32 a call."""
    load: float
    """Seconds."""
    memory: int
    """Bytes."""


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--movies", type=Path, default=MOVIES, help="a movies.csv of MovieLens")
    arguments.add_argument("--texts", type=int, default=600, help="how many of its films, at most")
    arguments.add_argument("--cache", type=Path, help="a folder for what is exported; else a temporary one")
    given = arguments.parse_args()
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    texts = corpus(given.movies)[: given.texts]
    with tempfile.TemporaryDirectory() as name:
        compare(texts, given.cache or Path(name))


def corpus(movies: Path) -> list[str]:
    with movies.open(encoding="utf-8", newline="") as file:
        return [
            DEFAULT.parts({"title": row["title"], "tags": row["genres"].split("|")})[0][0]
            for row in csv.DictReader(file)
        ]


def compare(texts: list[str], cache: Path) -> None:
    print(f"{len(texts)} films, {os.cpu_count()} cores\n")
    print("| backend | precision | docs/s, 1 a call | docs/s, 32 a call | load, s | memory, MB | overlap@10 | cosine |")
    print("|---|---|--:|--:|--:|--:|--:|--:|", flush=True)
    exact: NDArray[np.float32] | None = None
    for backend, precision in WAYS:
        settings = EncoderSettings.model_validate({"backend": backend, "precision": precision, "cache_dir": cache})
        apart(load, settings)  # exports
        figures, vectors = apart(measure, settings, texts)
        exact = vectors if exact is None else exact
        cosine = float((exact * vectors).sum(axis=1).mean())
        print(
            f"| {backend} | {precision} | {figures.one:.0f} | {figures.batch:.0f} | {figures.load:.1f} "
            f"| {figures.memory / 1e6:.0f} | {overlap(exact, vectors):.3f} | {cosine:.4f} |",
            flush=True,
        )


def apart(work: Callable[..., T], *given: object) -> T:
    """What `work` returns, done in a process of its own: forked, so that the libraries are loaded but not used yet."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("fork")) as pool:
        return pool.submit(work, *given).result()


def load(settings: EncoderSettings) -> None:
    create_text_encoder(Settings(encoder=settings), Metrics())


def measure(settings: EncoderSettings, texts: list[str]) -> tuple[Figures, NDArray[np.float32]]:
    before, started = resident(), time.perf_counter()
    encoder = create_text_encoder(Settings(encoder=settings), Metrics())
    loaded = time.perf_counter() - started
    vectors = encoder.encode(texts)  # and warms up
    memory = resident() - before
    single = texts[: max(len(texts) // 5, 1)]
    one = max(rate(encoder, single, 1) for _ in range(ROUNDS))
    batch = max(rate(encoder, texts, 32) for _ in range(ROUNDS))
    return Figures(one, batch, loaded, memory), vectors


def rate(encoder: TextEncoder, texts: list[str], size: int) -> float:
    """Texts a second, `size` a call."""
    started = time.perf_counter()
    for start in range(0, len(texts), size):
        encoder.encode(texts[start : start + size])
    return len(texts) / (time.perf_counter() - started)


def resident() -> int:
    """Bytes of this process in memory (Linux)."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def overlap(exact: NDArray[np.float32], vectors: NDArray[np.float32]) -> float:
    """Share of each row's nearest ten in `exact`, itself left out, that are its nearest ten in `vectors` too."""
    both = zip(nearest(exact), nearest(vectors), strict=True)
    return float(np.mean([len(set(ours) & set(theirs)) / len(ours) for ours, theirs in both]))


def nearest(vectors: NDArray[np.float32]) -> list[list[int]]:
    scores = vectors @ vectors.T
    np.fill_diagonal(scores, -np.inf)
    count = min(NEAREST, len(vectors) - 1)
    return [[int(place) for place in np.argpartition(-row, count - 1)[:count]] for row in scores]


if __name__ == "__main__":
    main()
