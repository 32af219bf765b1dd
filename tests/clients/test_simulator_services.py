"""Simulated people use the services themselves: collector, embedder, profiler, affinity and reader in this process."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest
from tests.clients.simulated import Running
from tests.services.reading import Shop
from tests.support.fakes import FakeProducer, feed, redelivered

from eddyline.adapters.http import create_app
from eddyline.adapters.telemetry import Metrics
from eddyline.clients.simulator import Habits, SimulationReport
from eddyline.collector.api import Collector
from eddyline.model.events import ImpressionReport, parse_impression
from eddyline.reader import router
from eddyline.settings import Settings

PLAN: dict[str, Any] = {"people": 20, "items": 120, "lists": 120}
"""Few lists for each, lest all that they like is seen."""


class Whole(Shop):
    """A shop with its way in: what the collector takes is handled before the next request."""

    def __init__(self) -> None:
        super().__init__(Settings())
        self.taken = FakeProducer()
        settings = Settings()
        collector = Collector(self.taken, settings.events, settings.server, Metrics(), self.clock)
        app = create_app([collector.router(), router(self.reader, 1 << 20)], {}, Metrics())
        self._transport = httpx.ASGITransport(app)
        self.seen: list[ImpressionReport] = []

    def transport(self) -> httpx.AsyncBaseTransport:
        """As the network would be."""
        whole = self

        class Handled(httpx.AsyncBaseTransport):
            async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
                response = await whole._transport.handle_async_request(request)
                whole.handle()
                return response

        return Handled()

    def handle(self) -> None:
        """What the services do with what was taken."""
        while self.taken.sent:
            sent = self.taken.sent.pop(0)
            if sent.topic == "impressions":
                seen = parse_impression(sent.value)
                assert isinstance(seen, ImpressionReport)
                self.seen.append(seen)
                continue
            handler: Any = self.embedder if sent.topic == "content" else self.profiler
            feed(handler, redelivered(sent, self._next(), at=self.clock()))
            self._pass_on()


@pytest.fixture(scope="module")
def after() -> tuple[Whole, Running, SimulationReport]:
    """A run with everything in it."""
    whole = Whole()
    running = Running.on(whole.transport(), whole.clock, Habits(identify=0.5), **PLAN, arrivals=20)
    return whole, running, asyncio.run(running.run())


def test_everything_a_simulation_sends_is_taken(after: tuple[Whole, Running, SimulationReport]) -> None:
    whole, _, report = after
    assert report.errors == 0
    assert report.lists == 120
    assert {"click", "impression", "identify", "purchase"} <= report.events.keys()
    assert report.events["impression"] == len(whole.seen)
    assert report.new_items.items


def test_what_people_did_is_in_their_profiles(after: tuple[Whole, Running, SimulationReport]) -> None:
    whole, _, report = after
    with whole.open():
        known = [whole.get(f"/v1/users/sim-0-{number}") for number in range(report.people_came)]
        events = sum(answer.json()["events"] for answer in known if answer.status_code == 200)
    assert events > report.clicks / 2  # the others are of people who haven't signed in yet


@pytest.mark.slow(20)
def test_lists_are_closer_to_the_hidden_tastes_than_what_all_others_choose(
    after: tuple[Whole, Running, SimulationReport],
) -> None:
    _, _, report = after
    other = Whole()
    trending = asyncio.run(Running.on(other.transport(), other.clock, **PLAN, strategy="trending").run())
    ours, theirs = report.total, trending.total
    assert ours.liking_served / ours.served > theirs.liking_served / theirs.served + 0.05
