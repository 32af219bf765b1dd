"""What the embedded mode does with much that isn't handled yet: a burst while the profiler stands still, and a start on
millions of events.

    .venv/bin/python benchmarks/backlog.py burst --megabytes 500
    .venv/bin/python benchmarks/backlog.py start --events 5000000 --items 50000

Each runs `eddyline up` with made vectors (see `live.py`), so no model is loaded, in a directory under the working one.

`burst` has the profiler's thread stop at a fail-point, before it handles a batch; sends events over HTTP until the log
has got so many megabytes; then lets it go on, and waits until every event is in a profile. It prints the memory
meanwhile: `allocated` is what the process has, without the files that it has mapped. `eddyline audit` checks what came
of it.

`start` puts items in over HTTP, then events into the log by the product's own producer and broker. It starts `eddyline
up` twice: with none of the events handled, and with all of them. It prints when it listened, when the first list was
there, and how long lists took and what it said of its progress in the next half minute.
"""

from __future__ import annotations

import argparse
import os
import re
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from live import LISTENING, item, item_id

HOLD = "BENCHMARK_HOLD"
"""Names the file that stops the profiler while it exists."""
PEOPLE, BATCH, SENDERS = 1000, 200, 4
PADDING = {f"field_{number}": "x" * 900 for number in range(2)}
WATCHED_SECONDS = 30.0


def serve(arguments: Sequence[str]) -> None:
    """Run the command with a profiler that stops at its fail-point."""
    from eddyline.cli import main as command
    from eddyline.profiler import Profiler

    handle, hold = Profiler.handle, Path(os.environ[HOLD])

    def held(self: Profiler, batch: Any) -> None:
        while hold.exists():
            time.sleep(0.05)
        handle(self, batch)

    Profiler.handle = held  # type: ignore[method-assign]
    sys.argv = ["eddyline", *arguments]
    command()


@contextmanager
def made_vectors() -> Iterator[dict[str, str]]:
    """Serve made vectors; yield the settings of who uses them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    encoder = subprocess.Popen([sys.executable, Path(__file__).with_name("live.py"), "--serve-encoder", str(port)])
    env = {name: value for name, value in os.environ.items() if not name.startswith("EDDYLINE_")}
    try:
        yield env | {"EDDYLINE_ENCODER__KIND": "http", "EDDYLINE_ENCODER__URL": f"http://127.0.0.1:{port}"}
    finally:
        encoder.terminate()
        encoder.wait(10)


class Up:
    """A running `eddyline up`, and a client of it. `seconds`: how long it took until it listened."""

    def __init__(self, directory: Path, env: Mapping[str, str], log: Path) -> None:
        began = time.monotonic()
        arguments = [sys.executable, __file__, "serve", "up", "--data-dir", str(directory), "--port", "0"]
        with log.open("w") as errors:
            self.process = subprocess.Popen(arguments, env=dict(env), stdout=subprocess.PIPE, stderr=errors, text=True)
        assert self.process.stdout is not None
        lines = (line for line in self.process.stdout if line.startswith(LISTENING))
        url = next(lines, None)
        if url is None:
            raise SystemExit(f"eddyline up didn't start:\n{log.read_text()[-2000:]}")
        self.seconds = time.monotonic() - began
        self.began = began
        self.client = httpx.Client(base_url=url.removeprefix(LISTENING).split()[0], timeout=60.0)

    def memory(self) -> tuple[int, int]:
        """Megabytes that it has allocated, and with the files that it has mapped."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        kib = {name: int(value) for name, value in re.findall(r"(RssAnon|VmRSS):\s+(\d+)", status)}
        return kib["RssAnon"] // 1024, kib["VmRSS"] // 1024

    def send(self, path: str, body: Any) -> None:
        """POST until it is taken."""
        while (response := self.client.post(path, json=body)).status_code == 503:
            time.sleep(0.2)
        if response.status_code != 202:
            raise SystemExit(f"{path} is refused: {response.text}")

    def has(self, number: int) -> bool:
        """Whether a made item can be read."""
        return self.client.get(f"/v1/items/{item_id(number)}").status_code == 200

    def stop(self) -> None:
        """Stop it, cleanly."""
        self.process.terminate()
        self.process.wait(120)
        self.client.close()


def put_items(up: Up, count: int) -> None:
    """Put made items, and wait until they can be found."""
    began = time.monotonic()
    for start in range(0, count, 500):
        up.send("/v1/items", {"items": [item(n, time.time()) for n in range(start, min(start + 500, count))]})
    for number in range(0, count, max(1, count // 20)):
        while not up.has(number):
            time.sleep(0.5)
    while not up.has(count - 1):
        time.sleep(0.5)
    print(f"{count:,} items embedded after {time.monotonic() - began:.0f} s", flush=True)


def click(number: int) -> dict[str, Any]:
    """One click of one of `PEOPLE`."""
    return {
        "type": "click",
        "user_id": f"p{number % PEOPLE}",
        "item_id": item_id(number * 7919 % 1000),
        "event_id": uuid.uuid4().hex,
    }


# -- a burst -----------------------------------------------------------------------------------------------------------


class Memory(threading.Thread):
    """Notes the most that a process had."""

    def __init__(self, up: Up) -> None:
        super().__init__(daemon=True)
        self._up, self._over = up, threading.Event()
        self.most = (0, 0)
        self.start()

    def run(self) -> None:
        """Look four times a second."""
        while not self._over.wait(0.25):
            now = self._up.memory()
            self.most = (max(self.most[0], now[0]), max(self.most[1], now[1]))

    def stop(self) -> str:
        """Stop, and say how much it was."""
        self._over.set()
        self.join()
        return f"at most {self.most[0]:,} MB allocated, {self.most[1]:,} MB resident"


def burst(megabytes: int, directory: Path) -> None:
    """Stop the profiler, send so much, let it go on."""
    hold = directory / "hold"
    with made_vectors() as env:
        env |= {HOLD: str(hold), "EDDYLINE_INSIGHTS__ENABLED": "false"}
        up = Up(directory / "data", env, directory / "log.txt")
        put_items(up, 1000)
        up.send("/v1/events", {"events": [click(number) for number in range(PEOPLE)]})
        _await_events(up, PEOPLE)
        print(f"before: {up.memory()[0]:,} MB allocated, {up.memory()[1]:,} MB resident", flush=True)
        hold.touch()
        watch, began = Memory(up), time.monotonic()
        sent = _send_burst(up, directory / "data" / "journal", megabytes)
        took = time.monotonic() - began
        print(
            f"{sent:,} events taken in while the profiler stood still, {sent / took:,.0f}/s: {watch.stop()}", flush=True
        )
        watch, began = Memory(up), time.monotonic()
        hold.unlink()
        _await_events(up, PEOPLE + sent)
        print(f"worked off at {sent / (time.monotonic() - began):,.0f}/s: {watch.stop()}", flush=True)
        up.stop()
        audit = [sys.executable, "-m", "eddyline", "audit", "--data-dir", str(directory / "data")]
        found = subprocess.run(audit, env=env, capture_output=True, text=True, check=False)
        print(f"audit: {found.stdout.strip() or found.stderr[-500:]}")


def _size(journal: Path) -> int:
    return sum(path.stat().st_size for path in journal.iterdir())


def _send_burst(up: Up, journal: Path, megabytes: int) -> int:
    """Send until the log has got so much bigger; return how many events that were."""
    before, sent = _size(journal), [0] * SENDERS

    def send(sender: int) -> None:
        with httpx.Client(base_url=up.client.base_url, timeout=60.0) as client:
            while _size(journal) - before < megabytes * 1e6:
                first = sent[sender] * SENDERS + sender
                events = [click(first + SENDERS * n) | {"context": PADDING} for n in range(BATCH)]
                while (response := client.post("/v1/events", json={"events": events})).status_code == 503:
                    time.sleep(0.2)
                if response.status_code != 202:
                    raise SystemExit(f"refused: {response.text}")
                sent[sender] += BATCH

    with ThreadPoolExecutor(SENDERS) as threads:
        list(threads.map(send, range(SENDERS)))
    return sum(sent)


def _await_events(up: Up, count: int) -> None:
    """Wait until so many events are in profiles; end where there are more."""
    while (known := sum(_events(up, number) for number in range(PEOPLE))) < count:
        time.sleep(5.0 if count - known > 10_000 else 0.5)
    if known > count:
        raise SystemExit(f"{known:,} events are in profiles, {count:,} were sent")


def _events(up: Up, number: int) -> int:
    response = up.client.get(f"/v1/users/p{number}")
    return int(response.json()["events"]) if response.status_code == 200 else 0


# -- a start -----------------------------------------------------------------------------------------------------------


def start(events: int, items: int, directory: Path) -> None:
    """Fill, and start twice."""
    with made_vectors() as env:
        env |= {HOLD: str(directory / "hold")}
        data, log = directory / "data", directory / "log.txt"
        up = Up(data, env, log)
        put_items(up, items)
        up.send("/v1/events", {"events": [click(number) for number in range(PEOPLE)]})
        _await_events(up, PEOPLE)
        up.stop()
        _write_events(data / "journal", events)
        _watch_start(data, env, log, "none of them handled")
        with sqlite3.connect(data / "journal" / "journal.db") as database:
            ends = "(SELECT high FROM partitions WHERE id = partition)"
            database.execute(f"UPDATE committed SET next = {ends}, stored = {ends}, reached = {ends}")
        _watch_start(data, env, log, "all of them handled")


def _write_events(journal: Path, count: int) -> None:
    from eddyline.adapters.kafka import EmbeddedBroker, KafkaProducer, Outgoing
    from eddyline.model.events import Interaction, cloud_event_headers

    began = time.monotonic()
    broker = EmbeddedBroker(journal)
    producer = KafkaProducer(broker.options)
    headers = cloud_event_headers(Interaction, "", "collector")
    for first in range(0, count, 10_000):
        producer.send_all(
            [
                Outgoing(
                    "interactions",
                    f"u:p{number % PEOPLE}".encode(),
                    Interaction.model_construct(timestamp=time.time(), **click(number)).to_bytes(),
                    headers,
                )
                for number in range(first, min(first + 10_000, count))
            ]
        )
    producer.close()
    broker.close()
    print(
        f"{count:,} events written, {count / (time.monotonic() - began):,.0f}/s; the log has {_size(journal):,} bytes",
        flush=True,
    )


def _watch_start(data: Path, env: Mapping[str, str], log: Path, what: str) -> None:
    up = Up(data, env, log)
    lists: list[float] = []
    first: float | None = None
    ready: float | None = None
    until = time.monotonic() + WATCHED_SECONDS
    while time.monotonic() < until:
        began = time.monotonic()
        if up.client.get("/v1/users/p1/recommendations").status_code == 200:
            lists.append(time.monotonic() - began)
            first = first or time.monotonic() - up.began
        if ready is None and up.client.get("/readyz").status_code == 200:
            ready = time.monotonic() - up.began
        time.sleep(0.2)
    print(
        f"started with {what}: listened after {up.seconds:.1f} s, first list {first or np.nan:.1f} s, ready "
        f"{ready or np.nan:.1f} s; lists p50 {1000 * np.median(lists):.0f} ms, at most {1000 * max(lists):.0f} ms",
        flush=True,
    )
    up.stop()
    print("\n".join(line for line in log.read_text().splitlines() if "catching up" in line or "caught up" in line))


def main() -> None:
    if sys.argv[1:2] == ["serve"]:
        serve(sys.argv[2:])
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    of_burst = commands.add_parser("burst")
    of_burst.add_argument("--megabytes", type=int, default=500)
    of_start = commands.add_parser("start")
    of_start.add_argument("--events", type=int, default=5_000_000)
    of_start.add_argument("--items", type=int, default=50_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=".", prefix="backlog-") as place:
        if options.command == "burst":
            burst(options.megabytes, Path(place))
        else:
            start(options.events, options.items, Path(place))


if __name__ == "__main__":
    main()
