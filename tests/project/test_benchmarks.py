"""The benchmarks that compare two ways of doing the same still run."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from tests.support.qdrant_rest import QdrantRest

from eddyline.adapters.vectors import Distance, ServerStore
from eddyline.runtime.collection_setup import create_collections
from eddyline.settings import Settings

pytestmark = [pytest.mark.process, pytest.mark.slow(40)]

ROOT = Path(__file__).parents[2]


@pytest.mark.extended  # a quarter of a minute
def test_the_guarantee_is_compared_with_none() -> None:
    command = [sys.executable, "benchmarks/delivery.py", "--rounds", "1", "--events", "300"]
    env = {**os.environ, "KAFKA_BOOTSTRAP": "in-process"}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    rates = re.findall(r"^(with the guarantee|without) +([\d,]+) events/s", done.stdout, re.MULTILINE)
    assert [words for words, _ in rates] == ["with the guarantee", "without"]
    assert all(int(rate.replace(",", "")) > 0 for _, rate in rates)
    assert len(re.findall(r"^ratio by .+ \d+\.\d\d ", done.stdout, re.MULTILINE)) == 2


def test_the_ranking_is_compared_with_blending_and_sorting_alone() -> None:
    command = [sys.executable, "benchmarks/ranking.py", "60", "--rounds", "3"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.startswith("60 candidates of 9 sources into a list of 20, 3 rounds\n")
    rows = re.findall(r"^(.+?) +(\d+\.\d{3}) +(\d+\.\d{3})$", done.stdout, re.MULTILINE)
    assert [name for name, _, _ in rows][:2] == ["floor", "terms alone"]
    assert len(rows) == 6
    assert all(0 < float(median) <= float(p99) for _, median, p99 in rows)


def test_what_profiles_take_is_printed_in_bytes_and_microseconds() -> None:
    command = [sys.executable, "benchmarks/profiles.py", "--rounds", "3"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    rows = re.findall(r"^(\S.*?)" + r" +([\d,]+)" * 3 + r" +(\d+\.\d)" * 2 + "$", done.stdout, re.MULTILINE)
    assert [name for name, *_ in rows][:4] == ["floor: vectors alone", "10 events", "100 events", "1,000 events"]
    assert len(rows) == 7
    assert all(float(write) > 0 and float(read) > 0 for *_, write, read in rows)


def test_what_items_learn_is_compared_with_its_writes() -> None:
    command = [sys.executable, "benchmarks/affinity.py", "--items", "40", "--events", "300"]
    env = {name: value for name, value in os.environ.items() if name != "QDRANT_URL"}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    found = re.findall(r"^(learnt|upserts alone) +([\d,]+) rows/s", done.stdout, re.MULTILINE)
    assert [words for words, _ in found] == ["learnt", "upserts alone"]
    assert all(int(rate.replace(",", "")) > 0 for _, rate in found)


@pytest.mark.extended  # half a minute
@pytest.mark.parametrize(("benchmark", "each"), [("pipeline", "an event"), ("affinity", "each")])
def test_what_an_event_costs_the_processor_is_printed(benchmark: str, each: str) -> None:
    command = [sys.executable, f"benchmarks/{benchmark}.py", "--processor", "--events", "300"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    figures = re.findall(rf"10 .+ at once:? +([\d,]+) µs of the processor's time {each}$", done.stdout, re.MULTILINE)
    assert [int(figure.replace(",", "")) > 0 for figure in figures] == [True]


def test_what_insights_folds_is_compared_with_parsing_alone() -> None:
    command = [sys.executable, "benchmarks/insights.py", "--lists", "100", "--no-answers"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    found = re.findall(r"^(parsed alone|folded) +([\d,]+) records/s", done.stdout, re.MULTILINE)
    assert [words for words, _ in found] == ["parsed alone", "folded"]
    assert all(int(rate.replace(",", "")) > 0 for _, rate in found)


def test_a_request_is_compared_with_a_bare_route() -> None:
    command = [sys.executable, "benchmarks/api.py", "--requests", "20", "--rounds", "2"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    rows = re.findall(r"^(.+?) +median +(\d+\.\d) µs +least +(\d+\.\d) µs$", done.stdout, re.MULTILINE)
    kinds = ["GET /healthz", "POST of an event", "GET of a list", "POST for a list"]
    twice = [name + more for name in kinds for more in ("", ", with a key")]
    assert [name for name, _, _ in rows] == ["bare Starlette route", *twice]
    ratios = re.findall(
        r"^throughput with a key to without, by the least, (.+): (\d\.\d{3})$", done.stdout, re.MULTILINE
    )
    assert [name for name, _ in ratios] == kinds
    assert all(0 < float(least) <= float(median) for _, median, least in rows)


@pytest.mark.extended  # loads the model three times
def test_backends_of_the_encoder_are_compared_with_torch(tmp_path: Path) -> None:
    pytest.importorskip("optimum.onnxruntime", reason="the extra `onnx` isn't installed")
    command = [sys.executable, "benchmarks/encoders.py", "--texts", "40", "--cache", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in done.stdout.splitlines()[4:]]
    assert [row[:2] for row in rows] == [["torch", "fp32"], ["onnx", "fp32"], ["onnx", "int8"]]
    assert all(float(figure) > 0 for row in rows for figure in row[2:5])
    assert [float(row[6]) for row in rows[:2]] == [1.0, 1.0]
    assert 0.5 < float(rows[2][6]) < 1
    assert 0.95 < float(rows[2][7]) < 1


@pytest.mark.extended  # loads the model
def test_the_embedder_is_compared_with_its_encoder_alone() -> None:
    command = [sys.executable, "benchmarks/embedder.py", "--rounds", "1", "--batch", "4", "--trickle", "2"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    found = re.findall(r"^(full batches|trickle) .+ items/s   ratio (\d+\.\d\d)$", done.stdout, re.MULTILINE)
    assert [name for name, _ in found] == ["full batches", "trickle"]
    assert all(float(ratio) > 0 for _, ratio in found)


@pytest.mark.extended  # loads the model
def test_new_items_are_followed_until_they_are_found() -> None:
    few = ["--people", "40", "--items", "60", "--new", "10", "--hours", "10", "--lists", "300", "--milestone", "2"]
    command = [sys.executable, "benchmarks/new_items.py", *few]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    found = re.search(r"^good ones: (\d+) of (\d+) reached 2 clicks; medians: (\d+)", done.stdout, re.MULTILINE)
    assert found is not None, done.stdout
    assert 0 < int(found[1]) <= int(found[2]) <= 10


@pytest.fixture
def qdrant() -> Iterator[QdrantRest]:
    """Something that answers as Qdrant does."""
    server = QdrantRest()
    yield server
    server.close()


@pytest.mark.extended  # half a minute
def test_a_load_is_sent_at_its_rates_and_what_it_took_is_printed(qdrant: QdrantRest) -> None:
    with closing(ServerStore(qdrant.url)) as store:
        create_collections(store, Settings(), 384, Distance.COSINE)
    command = [sys.executable, "benchmarks/live.py", "--items", "60", "--people", "10", "--seconds", "1"]
    command += ["--qdrant", qdrant.url]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    pattern = r"^(.+), (\d) at once +(\d+\.\d)/s +p50 .+ processor +(\d+\.\d\d) ms"
    rates = re.findall(pattern, done.stdout, re.MULTILINE)
    kinds = ("a list", "POST of an event")
    assert [(name, at_once) for name, at_once, *_ in rates] == [(kind, n) for n in "18" for kind in kinds]
    assert all(float(rate) > 0 and float(processor) > 0 for *_, rate, processor in rates)
    found = re.findall(r"^(.+?) +p50 .+ ms +\((\d+)\)$", done.stdout, re.MULTILINE)  # no failures behind the count
    assert [name for name, _ in found] == ["POST of an event", "POST to visible", "a list"], done.stdout
    assert all(int(count) > 0 for _, count in found)
    pattern = r"^raw searches, (\d) at once +(\d+\.\d)/s .+ a list +(\d+\.\d)/s .+ ratio \d"
    raw = re.findall(pattern, done.stdout, re.MULTILINE)
    assert [at_once for at_once, *_ in raw] == ["1", "8"], done.stdout
