"""What the worker does beside the stream: looking after idle partitions, whatever goes wrong with that."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from faust.types import TP
from tests.support.fakes import FakeDeadLetters

from eddyline.adapters.kafka import KafkaOptions
from eddyline.insights.faust import worker as module
from eddyline.insights.faust.worker import Worker
from eddyline.insights.handler import TOPICS
from eddyline.insights.retention import RetentionSweep
from eddyline.insights.rows import PROGRESS_KEY
from eddyline.insights.worker_config import WorkerConfig
from eddyline.insights.write_plan import WINDOWS
from eddyline.settings import InsightsSettings

PARTITIONS = 3


class Tables:
    """A partition's rows, in a dict."""

    rows: dict[tuple[int, str, bytes], bytes | None]

    def __init__(self, _: Mapping[str, Any], partition: int) -> None:
        self._partition = partition

    def get(self, table: str, key: bytes) -> bytes | None:
        return self.rows.get((self._partition, table, key))

    def put(self, table: str, key: bytes, value: bytes | None) -> None:
        self.rows[self._partition, table, key] = value

    def keys(self, table: str) -> list[bytes]:
        return [key for partition, name, key in self.rows if (partition, name) == (self._partition, table)]

    async def flush(self) -> None:
        """Nothing is on its way."""


@pytest.fixture
def worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Worker:
    """One that owns all partitions, in which nothing is left to read."""
    Tables.rows = {}
    monkeypatch.setattr(module, "FaustTables", Tables)
    options = KafkaOptions("nowhere:9092", partitions=PARTITIONS)
    config = WorkerConfig(
        cluster=options,
        settings=InsightsSettings(),
        directory=tmp_path,
        is_embedded=False,
        log_level="info",
        log_format="json",
    )
    worker = Worker(config, options, dict.fromkeys(TOPICS, "log"), FakeDeadLetters())
    owned = {TP(topic, partition) for topic in TOPICS for partition in range(PARTITIONS)}
    consumer = SimpleNamespace(assignment=lambda: owned, highwater=lambda _: 0)
    monkeypatch.setattr(type(worker.app), "consumer", consumer)
    worker._resume()
    return worker


def look_after(worker: Worker) -> list[int]:
    """The partitions that say how far they are measured, after one round."""
    asyncio.run(worker._guard(worker._idle))
    return [partition for partition, table, key in Tables.rows if (table, key) == (WINDOWS, PROGRESS_KEY)]


def test_an_error_in_periodic_work_ends_neither_the_worker_nor_the_round(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    crashes: list[BaseException] = []
    monkeypatch.setattr(module, "_crash", crashes.append)

    def fail(*_: object) -> None:
        raise KeyError("a row that nobody can read")

    monkeypatch.setattr(RetentionSweep, "drop_some", fail)
    assert look_after(worker) == [0, 1, 2]
    assert crashes == []


def test_what_looks_after_a_partition_says_how_far_it_is_measured(worker: Worker) -> None:
    before = time.time()
    assert look_after(worker) == [0, 1, 2]
    assert worker._handlers[0]._last.progress.at >= before


def test_a_stop_waits_for_what_is_being_written_and_nothing_is_written_after_it(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []

    async def slow_flush(_: Tables) -> None:
        await asyncio.sleep(0.05)
        said.append("written")

    monkeypatch.setattr(Tables, "flush", slow_flush)

    async def stop_meanwhile() -> None:
        work = asyncio.create_task(worker._guard(worker._idle))
        await asyncio.sleep(0.02)  # it is writing
        await worker.app.on_before_shutdown.send()  # its producer stops after this
        said.append("producer stopped")
        await work
        await worker._guard(worker._idle)

    asyncio.run(stop_meanwhile())
    assert said == ["written", "producer stopped"]
