"""An Eddyline in memory for simulated people, with faults to order, and a driver whose time stands still."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote

import httpx
import orjson
from tests.support.fakes import Clock

from eddyline.clients.simulator import Connection, Driver, Habits, SimulationPlan, SimulationReport

Json = dict[str, Any]


class FakeEddyline:
    """In an experiment, half of the people are in the variant `learns`: their lists begin with what is of the
    categories that they clicked, and end with what they clicked itself. All others' are in an order of chance, the same
    for the same requests."""

    def __init__(self) -> None:
        self.items: dict[str, Json] = {}
        self.requests: list[tuple[str, str, Json]] = []
        """(method, path, parameters or body) of each."""
        self.events: list[Json] = []
        self.faults: list[httpx.Response | Exception] = []
        """What the next requests for a list get."""
        self.refuses: Callable[[Json], str | None] = lambda event: None
        self.has_experiment = False
        self.embeds_after = 0
        self._liked: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self._clicked: defaultdict[str, set[str]] = defaultdict(set)

    @property
    def lists(self) -> list[Json]:
        """What was asked for with each list."""
        return [asked for _, path, asked in self.requests if path.endswith("recommendations")]

    def of_type(self, kind: str) -> list[Json]:
        return [event for event in self.events if event["type"] == kind]

    def answer(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path
        asked: Json = orjson.loads(request.content) if request.content else dict(request.url.params)
        self.requests.append((request.method, path, asked))
        if path == "/healthz":
            return httpx.Response(200)
        if path == "/v1/events":
            return self._take_events(asked["events"])
        if path == "/v1/items":
            self.items.update((item["item_id"], item) for item in asked["items"])
            return _taken([], len(asked["items"]))
        if path.startswith("/v1/items/"):
            return self._item(unquote(path.removeprefix("/v1/items/")))
        if path in ("/v1/latest", "/v1/trending"):
            return httpx.Response(200, json={"items": [{"item_id": name} for name in self.items], "next": None})
        return self._list(asked.get("user_id") or asked.get("anonymous_id") or path.split("/")[3], int(asked["limit"]))

    def _item(self, item_id: str) -> httpx.Response:
        if self.embeds_after:
            self.embeds_after -= 1
            return httpx.Response(404, json={"detail": "there is no item"})
        known = self.items.get(item_id)
        return httpx.Response(404) if known is None else httpx.Response(200, json=known)

    def _take_events(self, events: list[Json]) -> httpx.Response:
        rejected = []
        for index, event in enumerate(events):
            reason = self.refuses(event)
            if reason is not None:
                rejected.append({"index": index, "field": "type", "reason": reason})
                continue
            self.events.append(event)
            person = event.get("user_id") or event["anonymous_id"]
            if event["type"] == "click":
                self._liked[person][self.items[event["item_id"]]["category"]] += 1
                self._clicked[person].add(event["item_id"])
        return _taken(rejected, len(events))

    def _list(self, person: str, limit: int) -> httpx.Response:
        if self.faults:
            fault = self.faults.pop(0)
            if isinstance(fault, Exception):
                raise fault
            return fault
        person = person.removesuffix("-visitor")  # the same before and after they sign in
        number = len(self.lists)
        order = sorted(self.items)
        random.Random(number).shuffle(order)
        learns = self.has_experiment and random.Random(person).random() < 0.5
        if learns:
            liked, clicked = self._liked[person], self._clicked[person]
            order.sort(key=lambda name: (name in clicked, -liked[self.items[name]["category"]]))
        variant = ("learns" if learns else "chance") if self.has_experiment else "usual"
        return httpx.Response(
            200,
            json={
                "request_id": f"r{number}",
                "strategy": "usual",
                "experiment": "learning" if self.has_experiment else None,
                "variant": variant,
                "degraded": False,
                "items": [{"item_id": name, "rank": rank} for rank, name in enumerate(order[:limit], start=1)],
            },
        )


class Running:
    """A driver of this plan on a fake Eddyline. Its sleeps move its clock, and nothing else does."""

    def __init__(self, fake: FakeEddyline, habits: Habits = Habits(), **plan: Any) -> None:
        self._begin(httpx.MockTransport(lambda request: fake.answer(request)), Clock(), habits, plan)

    @classmethod
    def on(cls, transport: httpx.AsyncBaseTransport, clock: Clock, habits: Habits = Habits(), **plan: Any) -> Running:
        """On another Eddyline, which has the same clock."""
        running = cls.__new__(cls)
        running._begin(transport, clock, habits, plan)
        return running

    def _begin(self, transport: httpx.AsyncBaseTransport, clock: Clock, habits: Habits, plan: dict[str, Any]) -> None:
        self._transport, self.clock, self._habits = transport, clock, habits
        self.report = SimulationReport()
        self.slept: list[float] = []
        self.said: list[str] = []
        self.plan = SimulationPlan(**{"people": 20, "items": 60, "lists": 100, "duration": None, **plan})

    async def run(self) -> SimulationReport:
        connection = Connection(
            "http://eddyline", self.plan.concurrency, self.report, self._sleep, self.clock, self._transport
        )
        async with connection:
            driver = Driver(
                connection, self.plan, self._habits, self.report, self._sleep, self.clock, self.clock, self.said.append
            )
            return await driver.run()

    async def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.clock.forward(seconds)


def _taken(rejected: list[Json], count: int) -> httpx.Response:
    status = 422 if rejected and len(rejected) == count else 202
    return httpx.Response(status, json={"accepted": count - len(rejected), "rejected": rejected})
