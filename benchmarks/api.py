"""What one request costs the API's process, without what the services do: `python benchmarks/api.py [--requests N]`.

Requests go to the ASGI application as uvicorn hands them over, with no network. Events go to a producer that
acknowledges at once, and lists come from a reader that returns twenty made items: what remains is routing, parsing,
validation, threads, metrics and JSON. The floors are a bare Starlette route, and our `/healthz`; beside each kind is
the same with a key, one of a hundred. Figures are the processor time of one request, all threads and the kernel's part
in it: of rounds of each kind in turns, the median and the least, which what else the machine does disturbs less.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import time
from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import orjson
import uvloop
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message
from starlette.types import Scope as HttpScope

from eddyline import reader
from eddyline.adapters.http import AccessControl, KeyRing, create_app
from eddyline.adapters.http.keys import hash_key, new_key
from eddyline.adapters.kafka import Acknowledgements, Outgoing, RecordMetadata
from eddyline.adapters.telemetry import Metrics
from eddyline.collector import schemas
from eddyline.collector.api import Collector
from eddyline.settings import EventSettings, KeySettings, Scope, ServerSettings

LIST_ITEMS = 20
EVENT = {
    "type": "click",
    "user_id": "load-17",
    "item_id": "load-4711",
    "context": {"surface": "home", "device": "phone"},
}
ASKED = {"anonymous_id": "load-17", "limit": LIST_ITEMS, "surface": "home", "recent": [{"item_id": "load-4711"}]}
BARE = "bare Starlette route"
KEYED = ", with a key"
KEYS = 100
WORKS: dict[str, tuple[str, str, Any]] = {
    BARE: ("GET", "/", None),
    "GET /healthz": ("GET", "/healthz", None),
    "POST of an event": ("POST", "/v1/events", EVENT),
    "GET of a list": ("GET", f"/v1/users/load-17/recommendations?limit={LIST_ITEMS}&surface=home", None),
    "POST for a list": ("POST", "/v1/recommendations", ASKED),
}
"""By name: the request's method, its target and its body. The first goes to the bare route."""


class AcknowledgingProducer:
    """A `Producer` that keeps nothing and acknowledges at once."""

    def send(self, record: Outgoing) -> Future[RecordMetadata]:
        """Acknowledge it."""
        future: Future[RecordMetadata] = Future()
        future.set_running_or_notify_cancel()
        future.set_result(RecordMetadata(record.topic, 0, 0))
        return future

    def send_all(self, records: Sequence[Outgoing]) -> list[RecordMetadata]:
        """Acknowledge them."""
        return [self.send(record).result() for record in records]

    def begin_all(self, records: Sequence[Outgoing]) -> Acknowledgements:
        """Acknowledge them."""
        return lambda: self.send_all(records)

    def check(self) -> None:
        """It is always there."""

    def close(self) -> None:
        """Nothing to release."""


class MadeLists:
    """A `Reader` whose lists are always the same."""

    def __init__(self) -> None:
        items = [
            {
                "item_id": f"load-{number}",
                "rank": number + 1,
                "score": round(1 / (number + 1), 6),
                "title": f"theme {number} item {number}",
                "category": f"theme-{number}",
                "url": f"https://films/{number}",
            }
            for number in range(LIST_ITEMS)
        ]
        self._list = {
            "request_id": "5f6ff1f5-6f0a-4b0e-9f4c-3a55b1a0a7c1",
            "experiment": None,
            "variant": "eddyline",
            "strategy": "eddyline",
            "cold_start": False,
            "degraded": False,
            "items": items,
            "next": "x" * 200,
        }

    def recommend(self, _request: Any, _variant: str | None = None) -> dict[str, Any]:
        """Return the list."""
        return self._list


async def bare_route(_request: Request) -> Response:
    """Answer every request alike."""
    return Response(b'{"status":"ok"}', media_type="application/json")


def eddyline(keys: Sequence[KeySettings] = ()) -> ASGIApp:
    """Build the API with what costs nothing behind it."""
    metrics, lists = Metrics(), MadeLists()
    collector = Collector(AcknowledgingProducer(), EventSettings(), ServerSettings(), metrics)
    routers = [collector.router(), reader.router(lists, 1 << 20)]  # type: ignore[arg-type]
    access = AccessControl(KeyRing(Path("no keys.toml"), metrics, keys))
    return create_app(routers, {}, metrics, (*schemas.BODIES, *reader.BODIES), access=access)


def make_keys() -> tuple[str, list[KeySettings]]:
    """Make some keys; return the first, and what settings hold of all."""
    made = [new_key() for _ in range(KEYS)]
    hashes = [hash_key(key.encode()).hex() for key in made]
    scopes = frozenset({Scope.EVENTS, Scope.LISTS})
    rate = 1e9  # counted, and never reached
    held = [
        KeySettings(name=f"key-{number}", scopes=scopes, hash=one, requests_per_second=rate)
        for number, one in enumerate(hashes)
    ]
    return made[0], held


async def send_requests(app: ASGIApp, key: str, count: int, method: str, target: str, body: Any) -> None:
    """Send a request so many times, one after another, as uvicorn would hand it over."""
    content = b"" if body is None else orjson.dumps(body)
    path, _, query = target.partition("?")
    headers = {"host": "127.0.0.1", "content-type": "application/json", "user-agent": "benchmark", "accept": "*/*"}
    headers |= {"content-length": str(len(content))} | ({"authorization": f"Bearer {key}"} if key else {})
    scope: HttpScope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "scheme": "http",
        "server": ("127.0.0.1", 8000),
        "client": ("127.0.0.1", 50_000),
        "root_path": "",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
    }

    async def receive() -> Message:
        return {"type": "http.request", "body": content, "more_body": False}

    async def send(message: Message) -> None:
        if message.get("status", 200) >= 300:
            raise SystemExit(f"{method} {target}: {message['status']}")

    for _ in range(count):
        await app({**scope}, receive, send)


async def measure(requests: int, rounds: int) -> dict[str, list[float]]:
    """Return the processor seconds of one request in each round, by work."""
    key, keys = make_keys()
    bare, ours, keyed = Starlette(routes=[Route("/", bare_route)]), eddyline(), eddyline(keys)
    apps: dict[str, tuple[ASGIApp, str, tuple[str, str, Any]]] = {}
    for name, work in WORKS.items():
        apps[name] = (bare if name == BARE else ours), "", work
        if name != BARE:
            apps[name + KEYED] = keyed, key, work
    taken: dict[str, list[float]] = {name: [] for name in apps}
    for number in range(rounds + 1):
        for name, (app, sent, work) in apps.items():
            before = time.process_time()
            await send_requests(app, sent, requests, *work)
            if number:  # the first round warms up
                taken[name].append((time.process_time() - before) / requests)
    return taken


def main() -> None:
    """Parse the options, measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=500, help="of each kind in a round")
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        taken = runner.run(measure(options.requests, options.rounds))
    print(f"{options.rounds} rounds of {options.requests} requests, processor time of one")
    for name, seconds in taken.items():
        print(f"{name:34} median {1e6 * statistics.median(seconds):7.1f} µs   least {1e6 * min(seconds):7.1f} µs")
    for name in (name for name in WORKS if name != BARE):
        ratio = min(taken[name]) / min(taken[name + KEYED])
        print(f"throughput with a key to without, by the least, {name}: {ratio:.3f}")


if __name__ == "__main__":
    main()
