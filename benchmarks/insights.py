"""What insights costs: `python benchmarks/insights.py [--lists N] [--rounds N] [--no-answers]`.

Folding: lists of ten items, each with what was seen of it and one click, are folded into rows in memory, batch by
batch; the floor is parsing the same records. Answers: a running Eddyline is asked for lists, in turns with the insights
worker at work and with it stopped (SIGSTOP), so that its share of the machine shows in the answers or doesn't.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path

import httpx

from eddyline.adapters.kafka import Record
from eddyline.insights.handler import PartitionHandler
from eddyline.model.events import (
    ImpressionReport,
    Interaction,
    ServedItem,
    ServedList,
    parse_impression,
    parse_person_event,
)
from eddyline.settings import InsightsSettings

LOGS = {"impressions": "a", "interactions": "b"}
PEOPLE, BATCH, ITEMS, ANSWERS = 500, 500, 200, 100
START = 1_790_000_000.0


class Rows:
    """Tables in memory."""

    def __init__(self) -> None:
        self._rows: dict[tuple[str, bytes], bytes] = {}

    def get(self, table: str, key: bytes) -> bytes | None:
        return self._rows.get((table, key))

    def put(self, table: str, key: bytes, value: bytes | None) -> None:
        if value is None:
            self._rows.pop((table, key), None)
        else:
            self._rows[table, key] = value

    def keys(self, table: str) -> list[bytes]:
        return [key for of_table, key in self._rows if of_table == table]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--lists", type=int, default=5_000)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--no-answers", action="store_true")
    given = parser.parse_args()
    records = list(_records(given.lists))
    floor, folding = _parse(records), _fold(records)
    print(f"parsed alone   {len(records) / floor:8,.0f} records/s")
    print(f"folded         {len(records) / folding:8,.0f} records/s, {floor / folding:.2f} of the floor")
    if not given.no_answers:
        _answers(given.rounds)


def _records(lists: int) -> Iterator[Record]:
    chance = random.Random(1)
    offsets = dict.fromkeys(LOGS, 0)
    for number in range(lists):
        user, at = f"u{chance.randrange(PEOPLE)}", START + number / 50
        request_id = str(uuid.UUID(int=chance.getrandbits(128)))
        items = [f"item-{chance.randrange(ITEMS)}-{rank}" for rank in range(10)]
        places = [
            ServedItem(item_id=item, rank=rank, category=f"c{rank % 4}", score=0.5)
            for rank, item in enumerate(items, 1)
        ]
        clicked, event_id = chance.choice(items), str(uuid.UUID(int=chance.getrandbits(128)))
        for topic, said in (
            (
                "impressions",
                ServedList(request_id=request_id, user_id=user, surface="home", items=places, timestamp=at),
            ),
            (
                "impressions",
                ImpressionReport(request_id=request_id, user_id=user, positions=[1, 2, 3, 4], timestamp=at),
            ),
            (
                "interactions",
                Interaction(
                    type="click", item_id=clicked, user_id=user, request_id=request_id, event_id=event_id, timestamp=at
                ),
            ),
        ):
            yield Record(topic, 0, offsets[topic], b"", said.to_bytes(), round(at * 1000), LOGS[topic])
            offsets[topic] += 1


def _parse(records: list[Record]) -> float:
    began = time.perf_counter()
    for record in records:
        if record.topic == "impressions":
            parse_impression(record.value)
        else:
            parse_person_event(record.value)
    return time.perf_counter() - began


def _fold(records: list[Record]) -> float:
    tables = Rows()
    handler = PartitionHandler(InsightsSettings(), 1, LOGS, None, lambda *_: None, lambda: START + 3600)
    began = time.perf_counter()
    for first in range(0, len(records), BATCH):
        for plan in handler.plans(tables, records[first : first + BATCH]):
            plan.to_bytes()
            plan.write(tables)
    return time.perf_counter() - began


def _answers(rounds: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        process = subprocess.Popen(
            [sys.executable, "-m", "eddyline", "up", "--data-dir", folder, "--port", "0"],
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            assert process.stdout is not None
            url = next(line.split()[2] for line in process.stdout if line.startswith("Listening"))
            with httpx.Client(base_url=url, timeout=60) as client:
                _fill(client)
                worker = _worker_of(process.pid)
                found: dict[str, list[float]] = {"worker at work": [], "worker stopped": []}
                for _ in range(rounds):
                    found["worker at work"] += _ask(client)
                    os.kill(worker, signal.SIGSTOP)
                    found["worker stopped"] += _ask(client)
                    os.kill(worker, signal.SIGCONT)
                _say(found)
        finally:
            process.terminate()
            process.wait()


def _fill(client: httpx.Client) -> None:
    client.post(
        "/v1/items", json={"items": [{"item_id": f"i{n}", "title": f"Item number {n}"} for n in range(ITEMS)]}
    ).raise_for_status()
    _await(lambda: client.get("/readyz").status_code == 200)
    _await(lambda: client.get(f"/v1/items/i{ITEMS - 1}").status_code == 200)
    events = [{"type": "click", "user_id": f"u{n}", "item_id": f"i{n}"} for n in range(ANSWERS)]
    client.post("/v1/events", json={"events": events}).raise_for_status()
    _await(lambda: client.get("/v1/insights/kpis").json()["progress"]["records"] >= ANSWERS)


def _await(condition: object) -> None:
    assert callable(condition)
    until = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.1)


def _worker_of(parent: int) -> int:
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            status, line = (folder / "stat").read_text(), (folder / "cmdline").read_bytes()
        except OSError:
            continue
        if int(status.rpartition(")")[2].split()[1]) == parent and b"insights-worker" in line:
            return int(folder.name)
    raise SystemExit("no insights worker is to be seen: this part needs Linux")


def _ask(client: httpx.Client) -> list[float]:
    taken = []
    for number in range(ANSWERS):
        began = time.perf_counter()
        client.get(f"/v1/users/u{number}/recommendations").raise_for_status()
        taken.append((time.perf_counter() - began) * 1000)
    return taken


def _say(found: Mapping[str, list[float]]) -> None:
    for words, times in found.items():
        cuts = statistics.quantiles(times, n=100)
        print(f"{words:15}answers in {cuts[49]:6.2f} ms (p50), {cuts[94]:6.2f} ms (p95), {len(times)} of them")


if __name__ == "__main__":
    main()
