"""What it costs that the embedded log is on disk: acknowledgements, batches, reading back.

Each beside the floor: what the same machine takes to append as many bytes to a file and synchronise it, in one file for
all partitions, or in one for each (four synchronised writes, as segment files would need). And beside librdkafka's
in-process broker, which keeps its log in memory. Run `.venv/bin/python benchmarks/journal.py`; `--read` says how many
events are written and read back. The processor's time is that of client, broker and log together.

`--imports 3` does something else: it imports examples/movielens into a new `eddyline up`, three times with the log on
the disk and three times in memory (a file system there), in turns. It prints how long it took until all was sent, and
until all was in profiles and rows.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
from backlog import HOLD, Up
from confluent_kafka import Producer as ConfluentProducer

from eddyline.adapters.kafka import EmbeddedBroker, KafkaOptions, KafkaProducer, LogReader, Outgoing

PARTITIONS = 4
EVENT = b'{"type":"view","user_id":"ada","item_id":"a film that was seen","event_id":"' + b"e" * 240 + b'"}'
RATES = (1, 100, 1000)
BATCH, CLIENTS = 100, 4
IN_MEMORY = Path("/dev/shm")
EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "movielens"
LAG = re.compile(r"^eddyline_consumer_lag_records\{.*\} (\S+)$", re.MULTILINE)
IDLE_SECONDS = 2.0
"""The lag that a process tells is a second old."""


def event(number: int) -> Outgoing:
    return Outgoing("interactions", b"u:%d" % number, EVENT)


@contextmanager
def journal(directory: Path) -> Iterator[KafkaOptions]:
    broker = EmbeddedBroker(directory)
    yield broker.options
    broker.close()


@contextmanager
def memory(_: Path) -> Iterator[KafkaOptions]:
    host = ConfluentProducer({"bootstrap.servers": "memory", "test.mock.num.brokers": 1, "log_level": 0})
    servers = ",".join(f"{one.host}:{one.port}" for one in host.list_topics(timeout=10).brokers.values())
    host.list_topics("interactions", timeout=10)
    yield KafkaOptions(servers)


def acknowledgements(producer: KafkaProducer, rate: int, seconds: float) -> list[float]:
    """Milliseconds until each event that is sent at its time is acknowledged."""
    took: list[float] = []
    started = time.perf_counter()
    everything = threading.Event()
    count = max(5, int(rate * seconds))
    for number in range(count):
        delay = started + number / rate - time.perf_counter()
        if delay > 0:
            time.sleep(delay)
        sent = time.perf_counter()
        future = producer.send(event(number))

        def note(_: object, sent: float = sent) -> None:
            took.append((time.perf_counter() - sent) * 1000)
            if len(took) == count:
                everything.set()

        future.add_done_callback(note)
    everything.wait(30)
    return took


def batches(send: Callable[[int], None], seconds: float) -> float:
    """Events a second, in batches of `BATCH`, each acknowledged before the next."""
    done, started = 0, time.perf_counter()
    while time.perf_counter() - started < seconds:
        send(done)
        done += BATCH
    return done / (time.perf_counter() - started)


def send_batch(producer: KafkaProducer, begin: int) -> None:
    producer.send_all([event(begin + number) for number in range(BATCH)])


def clients(producer: KafkaProducer, seconds: float) -> float:
    """Events a second of `CLIENTS` that each send batches."""

    def send(_: int) -> float:
        return batches(partial(send_batch, producer), seconds)

    with ThreadPoolExecutor(CLIENTS) as threads:
        return sum(threads.map(send, range(CLIENTS)))


def file_floor(directory: Path, files: int, seconds: float) -> tuple[list[float], float]:
    """The same bytes appended to files and synchronised: for one event at a time, and in batches."""
    descriptors = [os.open(directory / f"floor-{n}", os.O_CREAT | os.O_WRONLY | os.O_APPEND) for n in range(files)]
    size = len(EVENT) + 80

    def write(count: int) -> None:
        for descriptor in descriptors:
            os.write(descriptor, b"x" * (size * count // files))
            os.fdatasync(descriptor)

    single = []
    for _ in range(200):
        started = time.perf_counter()
        write(1)
        single.append((time.perf_counter() - started) * 1000)
    return single, batches(lambda _: write(BATCH), seconds)


def percentiles(took: list[float]) -> str:
    return f"p50 {np.percentile(took, 50):6.2f} ms   p99 {np.percentile(took, 99):7.2f} ms"


def read_back(options: KafkaOptions, events: int) -> None:
    producer = KafkaProducer(options)
    started = time.perf_counter()
    for begin in range(0, events, 10_000):
        producer.send_all([event(number) for number in range(begin, min(begin + 10_000, events))])
    wrote = time.perf_counter() - started
    producer.close()
    reader = LogReader(options)
    started = time.perf_counter()
    read = sum(
        1 for n, bounds in reader.bounds("interactions").items() for _ in reader.read("interactions", n, *bounds)
    )
    took = time.perf_counter() - started
    reader.close()
    print(f"{events:,} events written by 10,000 at {events / wrote:,.0f}/s; {read:,} read back at {read / took:,.0f}/s")


def import_example(directory: Path, journal: Path) -> tuple[float, float]:
    """Return the seconds until the example was sent to a new `eddyline up`, and until all of it was handled."""
    data = directory / "data"
    data.mkdir(parents=True)
    if journal != data / "journal":
        (data / "journal").symlink_to(journal)
    env = {name: value for name, value in os.environ.items() if not name.startswith("EDDYLINE_")}
    up = Up(data, env | {HOLD: str(directory / "hold")}, directory / "log.txt")
    while up.client.get("/readyz").status_code != 200:
        time.sleep(0.1)
    command = [sys.executable, "-m", "eddyline", "import", str(EXAMPLE), "--url", str(up.client.base_url)]
    began = time.monotonic()
    subprocess.run([*command, "--state", str(directory / "state")], env=env, check=True, capture_output=True)
    sent = handled = time.monotonic()
    while time.monotonic() - handled < IDLE_SECONDS:
        if any(float(lag) > 0 for lag in LAG.findall(up.client.get("/metrics").text)):
            handled = time.monotonic()
        time.sleep(0.5)
    up.stop()
    return sent - began, handled - began


def imports(rounds: int, directory: Path) -> None:
    """Import with the log on the disk and in memory, in turns."""
    took: dict[str, list[tuple[float, float]]] = {"on the disk": [], "in memory": []}
    for number in range(rounds):
        with tempfile.TemporaryDirectory(dir=IN_MEMORY) as memory:
            places = {"on the disk": directory / f"disk-{number}", "in memory": directory / f"memory-{number}"}
            for name, place in sorted(places.items(), reverse=number % 2 == 1):
                took[name].append(import_example(place, place / "data" / "journal" if "disk" in name else Path(memory)))
                sent, handled = took[name][-1]
                print(f"import, log {name}: {sent:.1f} s, all of it handled after {handled:.1f} s", flush=True)
    sent, handled = (np.median(took["on the disk"], axis=0) / np.median(took["in memory"], axis=0)).tolist()
    print(f"on the disk / in memory, medians: sent {sent:.3f}, handled {handled:.3f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=5.0, help="for each measurement")
    parser.add_argument("--read", type=int, default=1_000_000, help="events to read back")
    parser.add_argument("--imports", type=int, default=0, metavar="ROUNDS", help="only compare imports")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=".") as place:
        directory = Path(place)
        if options.imports:
            imports(options.imports, directory)
            return
        for files in (1, PARTITIONS):
            single, rate = file_floor(directory, files, options.seconds)
            print(f"floor, {files} synchronised file(s): {percentiles(single)}   {rate:9,.0f} events/s by {BATCH}")
        for name, kind in (("in memory", memory), ("journal", journal)):
            with kind(directory / "acks") as cluster:
                producer = KafkaProducer(cluster)
                producer.send_all([event(0)])
                for rate in RATES:
                    waited = acknowledgements(producer, rate, options.seconds)
                    print(f"{name}: acknowledged at {rate:5,}/s: {percentiles(waited)}")
                fast = batches(partial(send_batch, producer), options.seconds)
                processor, began = time.process_time(), time.perf_counter()
                together = clients(producer, options.seconds)
                took = 1e6 * (time.process_time() - processor) / (together * (time.perf_counter() - began))
                print(
                    f"{name}: events/s by {BATCH}: {fast:,.0f} one batch after another, {together:,.0f} by {CLIENTS} "
                    f"({took:.0f} µs of processor each)"
                )
                producer.close()
        with journal(directory / "read") as cluster:
            read_back(cluster, options.read)
        started = time.perf_counter()
        with journal(directory / "read"):
            print(f"opened again, with {options.read:,} events, in {time.perf_counter() - started:.2f} s")


if __name__ == "__main__":
    main()
