"""How an Eddyline keeps up under load: events and lists sent at given rates, over HTTP, as apps send them.

    .venv/bin/python benchmarks/live.py --items 1500 --events 100 --lists 10    # starts one, embedded
    .venv/bin/python benchmarks/live.py --url http://127.0.0.1:8000 --items 100000 --events 500 --lists 20
    .venv/bin/python benchmarks/live.py --serve-encoder 8100    # made vectors, for encoder.kind = "http"

The load is open-loop: each request has its time, drawn beforehand (a Poisson process), whether or not the ones before
were answered, and its latency counts from that time. So a server that stalls is seen to stall. A probe, beside them,
sends one event of a person of its own and reads that person until the event counts: POST to visible. Before the load,
lists are asked for one after another, and as many as can be had; `/healthz` in the same two ways is the floor of HTTP.
With `--qdrant`, the raw searches of a list (two of content, one of rows, no filter, ids alone) are the store's floor.

Items are made, `load-0` and on, and so are their vectors, where the encoder is that of `--serve-encoder`; an instance
that this command starts uses it. What each process of Eddyline, Kafka and Qdrant on this machine took of the processors
is printed beside; so is what this command took, since on few cores it stands in the others' way.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import os
import random
import re
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from aiohttp import ClientError, ClientSession, ClientTimeout, TCPConnector
from numpy.typing import NDArray

from eddyline.model.ids import item_dimension

DIMENSION = 384
TOPICS = 50
"""Themes that items and people's choices keep to."""
LIST_ITEMS = 20
LOT = 500
"""Items or events in one request of the preparation."""
CLICKS_BEFORE = 5
"""What each person has chosen before anything is measured."""
POLL_SECONDS = 0.002
"""Pause between two looks of a probe."""
GIVE_UP_SECONDS = 30.0
WARM_UP_SECONDS = 5.0
"""At the beginning of the load, not measured."""
LISTENING = "Listening on "
JSON = {"content-type": "application/json"}


# -- made items, made vectors ------------------------------------------------------------------------------------------


def item_id(number: int) -> str:
    """The id of a made item."""
    return f"load-{number}"


def item(number: int, now: float) -> dict[str, Any]:
    """A made item, as the API takes it: the newest of the last ninety days first."""
    theme = number % TOPICS
    return {
        "item_id": item_id(number),
        "title": f"theme {theme} item {number}",
        "category": f"theme-{theme}",
        "tags": [f"tag-{number % 7}"],
        "price": 5 + number % 95,
        "published_at": now - (number % 90) * 86_400,
    }


class MadeVectors:
    """A `TextEncoder` without a model: a text that names a theme lies near it."""

    dimension, model, space = DIMENSION, "made-vectors", "made-vectors"

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Unit vectors, shape (len(texts), DIMENSION); the same text has the same one in every process."""
        rows = np.empty((len(texts), DIMENSION), dtype=np.float32)
        for row, text in zip(rows, texts, strict=True):
            theme = re.search(r"theme (\d+)", text)
            row[:] = _direction(theme[0] if theme else text) + 0.7 * _direction(text)
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        return rows


def _direction(text: str) -> NDArray[np.float32]:
    seed = int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")
    row = np.random.default_rng(seed).standard_normal(DIMENSION, dtype=np.float32)
    return row / np.float32(np.linalg.norm(row))


def serve_encoder(port: int) -> None:
    """Serve made vectors as `eddyline encoder` serves a model's, until interrupted."""
    import uvicorn
    from fastapi import FastAPI

    from eddyline.encoder.api import router

    app = FastAPI()
    app.include_router(router(MadeVectors(), 64 << 20))
    uvicorn.run(app, port=port, log_level="warning")


# -- a server to load --------------------------------------------------------------------------------------------------


@contextmanager
def started() -> Iterator[tuple[str, int]]:
    """Run an embedded Eddyline with made vectors on free ports; give its address and process id."""
    with tempfile.TemporaryDirectory() as directory, socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        encoder = subprocess.Popen([sys.executable, __file__, "--serve-encoder", str(port)])
        settings = {"ENCODER__KIND": "http", "ENCODER__URL": f"http://127.0.0.1:{port}", "INSIGHTS__ENABLED": "false"}
        env = {name: value for name, value in os.environ.items() if not name.startswith("EDDYLINE_")}
        env |= {f"EDDYLINE_{name}": value for name, value in settings.items()}
        try:
            _await_port(port)
            command = [sys.executable, "-m", "eddyline", "up", "--data-dir", directory, "--port", "0"]
            log = Path(directory, "log.txt")
            with log.open("w") as errors:
                server = subprocess.Popen(
                    command, env=env, cwd=directory, stdout=subprocess.PIPE, stderr=errors, text=True
                )
            assert server.stdout is not None
            try:
                for line in server.stdout:
                    if line.startswith(LISTENING):
                        yield line.removeprefix(LISTENING).split()[0], server.pid
                        break
                else:
                    raise SystemExit(f"eddyline up didn't start:\n{log.read_text()[-2000:]}")
            finally:
                server.terminate()
                server.wait(60)
        finally:
            encoder.terminate()
            encoder.wait(10)


def _await_port(port: int) -> None:
    deadline = time.monotonic() + GIVE_UP_SECONDS
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            if time.monotonic() > deadline:
                raise SystemExit("the encoder of made vectors didn't start") from None
            time.sleep(0.05)
        else:
            return


# -- the load ----------------------------------------------------------------------------------------------------------


@dataclass
class Latencies:
    """Latencies of one kind of request in seconds, and what failed, by its status or error."""

    name: str
    seconds: list[float] = field(default_factory=list)
    failed: Counter[str] = field(default_factory=Counter)

    def quantile(self, share: float) -> float:
        """In milliseconds."""
        return 1000 * float(np.quantile(self.seconds, share))

    def lines(self) -> Iterator[str]:
        """Quantiles, and a histogram in powers of two."""
        failures = "".join(f", {count} x {reason}" for reason, count in self.failed.most_common())
        if not self.seconds:
            yield f"{self.name:<18} none answered{failures}"
            return
        p50, p90, p99 = (self.quantile(share) for share in (0.5, 0.9, 0.99))
        largest = 1000 * max(self.seconds)
        yield (
            f"{self.name:<18} p50 {p50:>7.1f}   p90 {p90:>7.1f}   p99 {p99:>7.1f}   max {largest:>7.1f} ms"
            f"   ({len(self.seconds):,}{failures})"
        )
        buckets = Counter(max(0, int(np.ceil(np.log2(1000 * each)))) for each in self.seconds)
        for power in range(min(buckets), max(buckets) + 1):
            bar = "#" * round(50 * buckets[power] / len(self.seconds))
            yield f"  up to {2**power:>6,} ms {buckets[power]:>8,} {bar}"


@dataclass(frozen=True)
class Alone:
    """Requests a second, their median latency, and the processor time of one, in milliseconds."""

    rate: float
    p50: float
    processor: float


class Load:
    """People who choose items, against one Eddyline. All of it runs on one event loop."""

    def __init__(self, session: ClientSession, items: int, people: int, seed: int, processes: frozenset[int]) -> None:
        self._session, self._items, self._people, self._processes = session, items, people, processes
        self._random = random.Random(seed)
        self._run = uuid.uuid4().hex[:8]
        self._probes = 0

    # -- requests

    async def post_event(self, person: str, number: int) -> None:
        """One click."""
        await self._expect(202, "POST", "/v1/events", orjson.dumps(_click(person, number)))

    async def get_list(self) -> None:
        """The recommendations of someone who clicks, too."""
        await self._expect(200, "GET", f"/v1/users/{self._person()[0]}/recommendations?limit={LIST_ITEMS}")

    async def get_health(self) -> None:
        """What HTTP alone costs."""
        await self._expect(200, "GET", "/healthz")

    async def click(self) -> None:
        """A click of someone on an item of one of their three themes; few items get most of them."""
        person, themes = self._person()
        await self.post_event(person, self._choice(themes))

    def _choice(self, themes: Sequence[int]) -> int:
        popular = int(self._items * self._random.random() ** 3)
        return (popular - popular % TOPICS + self._random.choice(themes)) % self._items

    async def probe(self) -> None:
        """One event of a person of its own, read until it counts."""
        self._probes += 1
        person = f"probe-{self._run}-{self._probes % 20}"
        before = await self._events(person)
        await self.post_event(person, self._random.randrange(self._items))
        deadline = time.monotonic() + GIVE_UP_SECONDS
        while await self._events(person) <= before:
            if time.monotonic() > deadline:
                raise TimeoutError("not visible")
            await asyncio.sleep(POLL_SECONDS)

    async def _events(self, person: str) -> int:
        async with self._session.get(f"/v1/users/{person}") as response:
            body = await response.read()
            return int(orjson.loads(body)["events"]) if response.status == 200 else 0

    async def _expect(self, status: int, method: str, path: str, body: bytes | None = None) -> None:
        async with self._session.request(method, path, data=body, headers=JSON if body else None) as response:
            await response.read()
            if response.status != status:
                raise Refused(str(response.status))

    def _person(self, number: int | None = None) -> tuple[str, list[int]]:
        number = self._random.randrange(self._people) if number is None else number
        return f"load-{number}", [number % TOPICS, (7 * number + 3) % TOPICS, (13 * number + 5) % TOPICS]

    # -- how they are sent

    async def send_items(self) -> None:
        """The items, where they aren't there yet; return once all are found."""
        async with self._session.get(f"/v1/items/{item_id(self._items - 1)}") as response:
            if response.status == 200:
                return
        now, began = time.time(), time.monotonic()
        for start in range(0, self._items, LOT):
            lot = [item(number, now) for number in range(start, min(start + LOT, self._items))]
            await self._send_lot("/v1/items", {"items": lot})
        missing = {*range(0, self._items, max(1, self._items // 50)), self._items - 1}
        while missing:
            for number in sorted(missing):
                async with self._session.get(f"/v1/items/{item_id(number)}") as response:
                    if response.status != 200:
                        break
                    missing.discard(number)
            await asyncio.sleep(0.2)
        print(f"{self._items:,} items embedded and findable after {time.monotonic() - began:.0f} s")

    async def introduce(self) -> None:
        """Everyone has chosen something, so that a list is somebody's; return once that has been counted."""
        clicks = [
            _click(person, self._choice(themes))
            for person, themes in map(self._person, range(self._people))
            for _ in range(CLICKS_BEFORE)
        ]
        for start in range(0, len(clicks), LOT):
            await self._send_lot("/v1/events", {"events": clicks[start : start + LOT]})
        await self.probe()

    async def _send_lot(self, path: str, body: dict[str, Any]) -> None:
        while True:
            async with self._session.post(path, data=orjson.dumps(body), headers=JSON) as response:
                if response.status == 202:
                    return
                if response.status != 503:
                    raise SystemExit(f"{path} is refused: {await response.text()}")
            await asyncio.sleep(0.5)  # back-pressure: it goes on with what it holds

    async def closed(self, name: str, send: Callable[[], Awaitable[None]], at_once: int, seconds: float) -> Latencies:
        """As many requests as are answered, `at_once` of them under way at any time."""
        found, until = Latencies(name), time.monotonic() + seconds

        async def go_on() -> None:
            while time.monotonic() < until:
                await _measured(found, send, time.monotonic())

        await asyncio.gather(*(go_on() for _ in range(at_once)))
        return found

    async def alone(self, name: str, send: Callable[[], Awaitable[None]], at_once: int, seconds: float) -> Alone:
        """Measure one kind of request with nothing beside it, and what it costs until all of it has been worked off."""
        before = processor_seconds(self._processes)
        found = await self.closed(name, send, at_once, seconds)
        if not found.seconds:
            raise SystemExit(next(found.lines()))
        await self.probe()
        after = processor_seconds(self._processes)
        took = sum(after[each] - before.get(each, 0.0) for each in after if each[0] != "this benchmark")
        count = len(found.seconds)
        return Alone(count / seconds, found.quantile(0.5), 1000 * took / count)

    async def open(
        self, name: str, send: Callable[[], Awaitable[None]], rate: float, warm_up: float, seconds: float
    ) -> Latencies:
        """Requests at their times, `rate` a second on average; what falls into the warm-up isn't counted."""
        found, ignored, under_way = Latencies(name), Latencies(name), set[asyncio.Task[None]]()
        began = at = time.monotonic()
        while rate > 0 and (at := at + self._random.expovariate(rate)) < began + warm_up + seconds:
            await asyncio.sleep(max(0.0, at - time.monotonic()))
            into = found if at >= began + warm_up else ignored
            task = asyncio.create_task(_measured(into, send, at))
            under_way.add(task)
            task.add_done_callback(under_way.discard)
        await asyncio.gather(*under_way)
        return found


class RawSearches:
    """What a list searches for, asked of the store itself: the floor. `session` is one with the Qdrant server."""

    NEAREST = 50

    def __init__(self, session: ClientSession, items: int, seed: int) -> None:
        self._session, self._items = session, items
        self._random = np.random.default_rng(seed)

    async def search(self) -> None:
        """Two searches of content in one batch, and beside them one of rows."""
        vectors = MadeVectors().encode([f"theme {theme}" for theme in self._random.integers(TOPICS, size=2)])
        content = [{"query": row.tolist(), "using": "content", "limit": self.NEAREST} for row in vectors]
        recents = sorted({item_dimension(item_id(int(n))) for n in self._random.integers(self._items, size=30)})
        query = {"indices": recents, "values": [1.0 / (n + 1) for n in range(len(recents))]}
        rows = [{"query": query, "using": "affinity", "limit": self.NEAREST}]
        await asyncio.gather(self._post("items", content), self._post("rows", rows))

    async def _post(self, collection: str, searches: list[dict[str, Any]]) -> None:
        path, body = f"/collections/{collection}/points/query/batch", orjson.dumps({"searches": searches})
        async with self._session.post(path, data=body, headers=JSON) as response:
            await response.read()
            if response.status != 200:
                raise Refused(str(response.status))


def _click(person: str, number: int) -> dict[str, str]:
    return {"type": "click", "user_id": person, "item_id": item_id(number), "event_id": uuid.uuid4().hex}


class Refused(Exception):
    """Another status than the one that was expected."""


async def _measured(into: Latencies, send: Callable[[], Awaitable[None]], since: float) -> None:
    try:
        await send()
    except (ClientError, Refused, TimeoutError) as error:
        into.failed[str(error) or type(error).__name__] += 1
    else:
        into.seconds.append(time.monotonic() - since)


# -- what the processes take -------------------------------------------------------------------------------------------

KINDS = {r"kafka\.Kafka\b": "kafka", r"\bqdrant\b": "qdrant", r"eddyline(?:/__main__\.py)? ([a-z-]+)": "eddyline {}"}


def processor_seconds(processes: frozenset[int]) -> dict[tuple[str, int], float]:
    """Processor time so far of this process and of those of interest, by kind and id, from /proc; empty where there is
    none (macOS). No `processes`: all of Eddyline, Kafka and Qdrant on this machine."""
    found: dict[tuple[str, int], float] = {}
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            command = (directory / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            fields = (directory / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it has ended
        number = int(directory.name)
        if processes and number not in processes | {os.getpid()}:
            continue
        kind = "this benchmark" if number == os.getpid() else _kind(command)
        if kind is not None:
            found[kind, number] = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return found


def _kind(command: str) -> str | None:
    for pattern, kind in KINDS.items():
        if (matched := re.search(pattern, command)) is not None:
            return kind.format(*matched.groups())
    return None


# -- the command -------------------------------------------------------------------------------------------------------


async def measure(url: str, options: argparse.Namespace, processes: frozenset[int] = frozenset()) -> None:
    """Send the items, ask for lists alone, then load it, and print what was seen; `processes`: what it consists of,
    where that is known."""
    connector = TCPConnector(limit=0, keepalive_timeout=60)
    async with ClientSession(url, connector=connector, timeout=ClientTimeout(total=GIVE_UP_SECONDS)) as session:
        load = Load(session, options.items, options.people, options.seed, processes)
        await load.send_items()
        await load.introduce()
        alone = min(5.0, options.seconds)
        print(f"\nalone, for {alone:g} s each; processor time of everything but this benchmark, for one")
        for at_once in (1, 8):
            floor = await load.alone("/healthz", load.get_health, at_once, alone / 5)
            for name, send in (("a list", load.get_list), ("POST of an event", load.click)):
                ours = await load.alone(name, send, at_once, alone)
                what = f"{name}, {at_once} at once"
                print(
                    f"{what:<28} {ours.rate:>7.1f}/s   p50 {ours.p50:>6.1f} ms   processor {ours.processor:>6.2f} ms"
                    f"   /healthz {floor.rate:>7.1f}/s   ratio {ours.rate / floor.rate:.3f}"
                )
        if options.qdrant is not None:
            await compare_with_raw_searches(load, options, alone)
        warm_up = min(WARM_UP_SECONDS, options.seconds / 2)
        print(f"\n{options.events:g} events/s and {options.lists:g} lists/s for {options.seconds:g} s")
        began, before = time.monotonic(), processor_seconds(processes)
        results = await asyncio.gather(
            load.open("POST of an event", load.click, options.events, warm_up, options.seconds),
            load.open("POST to visible", load.probe, options.probes, warm_up, options.seconds),
            load.open("a list", load.get_list, options.lists, warm_up, options.seconds),
        )
        took, after = time.monotonic() - began, processor_seconds(processes)
    for result in results:
        print(*result.lines(), sep="\n")
    for process, seconds in sorted(after.items()):
        print(f"{process[0]:<18} {100 * (seconds - before.get(process, 0.0)) / took:>7.1f} % of a core")


async def compare_with_raw_searches(load: Load, options: argparse.Namespace, seconds: float) -> None:
    """Ask for lists and make their raw searches in turns, and print both."""
    key = os.environ.get("QDRANT_API_KEY")
    headers = {"api-key": key} if key else None
    async with ClientSession(options.qdrant, headers=headers, timeout=ClientTimeout(total=GIVE_UP_SECONDS)) as session:
        raw = RawSearches(session, options.items, options.seed)
        for at_once in (1, 8):
            floor = await load.closed("raw searches", raw.search, at_once, seconds)
            ours = await load.closed("a list", load.get_list, at_once, seconds)
            if not floor.seconds or not ours.seconds:
                raise SystemExit("\n".join([*floor.lines(), *ours.lines()]))
            print(
                f"raw searches, {at_once} at once       {len(floor.seconds) / seconds:>7.1f}/s   "
                f"p50 {floor.quantile(0.5):>6.1f} ms   a list {len(ours.seconds) / seconds:>7.1f}/s   "
                f"p50 {ours.quantile(0.5):>6.1f} ms   ratio {len(ours.seconds) / len(floor.seconds):.3f}"
            )


def main() -> None:
    """Parse the options, and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", help="address of a running Eddyline; without it, one is started, embedded")
    parser.add_argument("--items", type=int, default=1500, help="made items; sent where they aren't there yet")
    parser.add_argument("--people", type=int, default=1000)
    parser.add_argument("--events", type=float, default=100.0, help="events a second")
    parser.add_argument("--lists", type=float, default=10.0, help="lists a second")
    parser.add_argument("--probes", type=float, default=5.0, help="events a second that are waited for")
    parser.add_argument("--seconds", type=float, default=30.0, help="how long, after a warm-up")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--qdrant", help="its Qdrant server (key: QDRANT_API_KEY), for the floor of the store")
    parser.add_argument("--serve-encoder", type=int, metavar="PORT", help="only serve made vectors")
    options = parser.parse_args()
    if options.serve_encoder is not None:
        serve_encoder(options.serve_encoder)
    elif options.url is not None:
        asyncio.run(measure(options.url, options))
    else:
        with started() as (url, process):
            asyncio.run(measure(url, options, frozenset({process})))


if __name__ == "__main__":
    main()
