"""What it costs that somebody watches a running Eddyline: `python benchmarks/console.py --url URL --pid PID` (Linux).

In rounds, each of all states in turns: nobody watches, the console's overview is open, its live events are. A round
rests for some seconds, which shows what watching alone takes, and then sends requests one after another: a click, and
the list of its person. Figures are the processor time of the process, from /proc, and the time to each list as its
caller has it: medians over the rounds; then the differences to nobody's in the same round, and the middle half of them.
"""

from __future__ import annotations

import argparse
import os
import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

STATES = {"nobody": None, "overview": "/console/api/figures", "live events": "/console/api/events"}
MEASURED = ("rest", "work", "list")
PEOPLE = 50
TICKS = os.sysconf("SC_CLK_TCK")


def processor_seconds(pid: int) -> float:
    """Return what the process has taken so far, in its own code and in the kernel."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


@contextmanager
def watching(url: str, path: str | None) -> Iterator[None]:
    """Follow a stream as the page does, from a thread."""
    if path is None:
        yield
        return
    ends, begun = threading.Event(), threading.Event()

    def follow() -> None:
        while not ends.is_set():
            with httpx.stream("GET", url + path, timeout=None) as response:
                response.raise_for_status()
                for _ in response.iter_lines():
                    begun.set()
                    if ends.is_set():
                        return

    thread = threading.Thread(target=follow, daemon=True)
    thread.start()
    if not begun.wait(10):
        raise SystemExit(f"nothing comes from {path}")
    yield
    ends.set()


def measure_round(client: httpx.Client, pid: int, items: list[str], rest: float, requests: int) -> dict[str, float]:
    """Return milliseconds: of the processor for a second of rest and for a click with its list; and to a list."""
    before = processor_seconds(pid)
    time.sleep(rest)
    rested = (processor_seconds(pid) - before) / rest
    before, taken = processor_seconds(pid), []
    for number in range(requests):
        user = f"watched-{number % PEOPLE}"
        event = {"type": "click", "user_id": user, "item_id": items[number % len(items)]}
        client.post("/v1/events", json=event).raise_for_status()
        began = time.perf_counter()
        client.get(f"/v1/users/{user}/recommendations").raise_for_status()
        taken.append(time.perf_counter() - began)
    worked = (processor_seconds(pid) - before) / requests
    return {"rest": 1000 * rested, "work": 1000 * worked, "list": 1000 * statistics.median(taken)}


def main() -> None:
    """Parse the options, measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", required=True)
    parser.add_argument("--pid", type=int, required=True)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--rest", type=float, default=5.0, help="seconds of a round without requests")
    parser.add_argument("--requests", type=int, default=200, help="clicks of a round, each with a list")
    options = parser.parse_args()
    found: dict[str, list[dict[str, float]]] = {name: [] for name in STATES}
    with httpx.Client(base_url=options.url, timeout=30.0) as client:
        items = [one["item_id"] for one in client.get("/v1/latest", params={"limit": 100}).json()["items"]]
        measure_round(client, options.pid, items, 0.1, options.requests)
        for number in range(options.rounds):
            order = list(STATES.items())
            for name, path in order if number % 2 == 0 else order[::-1]:
                with watching(options.url, path):
                    found[name].append(measure_round(client, options.pid, items, options.rest, options.requests))
    print(f"{options.rounds} rounds, milliseconds")
    print(f"{'watched by':24} {'a second of rest':>22} {'a click and its list':>22} {'to a list':>22}")
    for name, rounds in found.items():
        print(f"{name:24}", *(f"{statistics.median(one[key] for one in rounds):22.1f}" for key in MEASURED))
    for name in [name for name, path in STATES.items() if path]:
        cells = []
        for key in MEASURED:
            differences = [one[key] - nobody[key] for one, nobody in zip(found[name], found["nobody"], strict=True)]
            low, middle, high = statistics.quantiles(differences, n=4)
            cells.append(f"{middle:+.1f} ({low:+.1f} … {high:+.1f})")
        print(f"{name + ' − nobody':24}", *(f"{cell:>22}" for cell in cells))


if __name__ == "__main__":
    main()
