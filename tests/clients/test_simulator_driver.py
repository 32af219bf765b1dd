"""A simulation over HTTP: what it sends, how fast, and what it does when things go wrong. Time stands still."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from typing import Any

import httpx
import pytest
from tests.clients.simulated import FakeEddyline, Json, Running

from eddyline.clients.simulator import Habits, SimulationReport
from eddyline.clients.simulator.simulation_report import Group
from eddyline.errors import EddylineError, InvalidInput, Unavailable
from eddyline.model.events import parse_timestamp

BUSY = {"Retry-After": "3"}


def run(running: Running) -> SimulationReport:
    return asyncio.run(running.run())


@pytest.fixture
def fake() -> FakeEddyline:
    return FakeEddyline()


def behaviour(seed: int, **plan: Any) -> tuple[list[tuple[str, str, Json]], Json]:
    fake = FakeEddyline()
    report = run(Running(fake, seed=seed, **plan))
    return fake.requests, report.as_json()


# -- what it does ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("concurrency", [1, 7])
def test_the_same_seed_and_the_same_answers_are_the_same_behaviour(concurrency: int) -> None:
    one, other = (behaviour(3, arrivals=60, concurrency=concurrency) for _ in range(2))
    assert one == other
    different = behaviour(4, arrivals=60, concurrency=concurrency)
    assert different[1]["all"] != one[1]["all"]


def test_the_catalogue_is_sent_first_and_waited_for(fake: FakeEddyline) -> None:
    fake.embeds_after = 8
    running = Running(fake, items=250)
    run(running)
    assert len(fake.items) == 250
    paths = [path for _, path, _ in fake.requests]
    assert paths[:4] == ["/healthz", "/v1/items", "/v1/items", "/v1/items"]
    first_list = next(number for number, path in enumerate(paths) if path.endswith("recommendations"))
    assert paths[4:first_list].count("/v1/items/sim-item-0") == 9
    assert "/v1/items/sim-item-249" in paths[4:first_list]


def test_lists_are_asked_for_as_an_app_asks(fake: FakeEddyline) -> None:
    run(Running(fake, strategy="trending", surface="front", limit=7, lists=300))
    asked = [(method, path, asked) for method, path, asked in fake.requests if path.endswith("recommendations")]
    assert {method for method, _, _ in asked} == {"GET", "POST"}
    for method, path, said in asked:
        assert (said["surface"], said["strategy"], int(said["limit"])) == ("front", "trending", 7)
        assert said["session_id"]
        device = said["context"]["device"] if method == "POST" else said["device"]
        assert device in ("phone", "tablet", "desktop")
        assert ("anonymous_id" in said) if method == "POST" else path.startswith("/v1/users/")
    lists_of_a_visit = Counter(said["session_id"] for _, _, said in asked)
    assert max(lists_of_a_visit.values()) > 1


def test_what_people_did_comes_with_the_list_it_came_from_and_an_id_of_its_own(fake: FakeEddyline) -> None:
    running = Running(fake, Habits(unattributed=0.0), lists=200)
    report = run(running)
    assert len(fake.of_type("impression")) == report.lists == len(fake.lists) == 200
    assert {event["request_id"] for event in fake.of_type("click")} <= {f"r{n}" for n in range(1, 201)}
    assert len({event["event_id"] for event in fake.events}) == len(fake.events)
    for event in fake.events:
        assert parse_timestamp(event["timestamp"]) == pytest.approx(running.clock.now, abs=60)
    assert report.clicks == len(fake.of_type("click")) == report.events["click"]
    assert report.total.seen == sum(len(event["positions"]) for event in fake.of_type("impression"))
    assert report.total.revenue == pytest.approx(sum(event["value"] for event in fake.of_type("purchase")))


def test_what_was_done_with_a_list_has_its_order_in_its_times(fake: FakeEddyline) -> None:
    run(Running(fake, Habits(unattributed=0.0, late=0.0), lists=200))
    times: defaultdict[str, list[float]] = defaultdict(list)
    for event in fake.events:
        if "request_id" in event:
            times[event["request_id"]].append(parse_timestamp(event["timestamp"]))
    assert max(len(of_list) for of_list in times.values()) > 3
    for of_list in times.values():
        assert of_list == sorted(set(of_list))


def test_a_second_run_tells_other_events(fake: FakeEddyline) -> None:
    first, second = Running(fake), Running(fake)
    second.clock.forward(3600)
    run(first)
    before = {event["event_id"] for event in fake.events}
    run(second)
    assert len({event["event_id"] for event in fake.events}) == len(fake.events) > len(before)


def test_late_events_say_when_they_happened_and_all_arrive(fake: FakeEddyline) -> None:
    running = Running(fake, Habits(late=1.0, late_seconds=5.0), rate=10.0, lists=200)
    began = running.clock.now
    report = run(running)
    assert report.late == len(fake.events) - report.identified > 200
    times = [parse_timestamp(event["timestamp"]) - began for event in fake.events]
    assert times != sorted(times)
    assert max(times) <= 20.0


def test_new_items_come_while_people_browse(fake: FakeEddyline) -> None:
    report = run(Running(fake, arrivals=30.0, rate=10.0, lists=None, duration=61.0))
    fresh = [name for name in fake.items if name.startswith("sim-new-")]
    assert len(report.new_items.items) == len(fresh) == 30
    assert all(fake.items[name]["published_at"] for name in fresh)


def test_new_items_are_followed_until_enough_have_clicked_them(fake: FakeEddyline) -> None:
    running = Running(fake, arrivals=20.0, rate=10.0, lists=None, duration=121.0, milestone=8, items=20)
    report = run(running)
    clicks = Counter(event["item_id"] for event in fake.of_type("click"))
    news = report.new_items.items
    assert {name: item.clicks for name, item in news.items()} == {name: clicks[name] for name in news}
    reached = {name: item.reached for name, item in news.items() if item.reached is not None}
    assert reached.keys() == {name for name in news if clicks[name] >= 8}
    assert reached
    assert all(0 < took.seconds < 121 and 8 <= took.lists <= report.lists for took in reached.values())
    assert all(news[name].clicks <= (news[name].showings_until or 0) <= news[name].showings for name in reached)
    assert 0.2 < sum(item.is_good for item in news.values()) / len(news) < 0.8
    assert report.as_json()["new_items"]["good"]["reached"] == sum(news[name].is_good for name in reached)


def test_a_catalogue_that_is_there_is_read_and_liked(fake: FakeEddyline) -> None:
    fake.items = {
        f"m{n}": {"item_id": f"m{n}", "title": f"M{n}", "category": kind, "tags": [kind]}
        for n, kind in enumerate(["Drama", "Comedy", "Western", "Horror"] * 10)
    }
    running = Running(fake, items=0, lists=200)
    report = run(running)
    assert not [path for method, path, _ in fake.requests if (method, path) == ("POST", "/v1/items")]
    assert running.said == ["the catalogue is about Comedy, Drama, Horror, Western"]
    assert report.clicks > 20
    assert all("price" not in fake.items[event["item_id"]] for event in fake.of_type("purchase"))


def test_a_catalogue_of_which_nothing_is_known_says_what_to_do(fake: FakeEddyline) -> None:
    fake.items = {"m": {"item_id": "m", "title": "M"}}
    with pytest.raises(EddylineError, match="--items 300"):
        run(Running(fake, items=0))


# -- the better variant ------------------------------------------------------------------------------------------------


@pytest.mark.slow(10)
def test_the_truly_better_variant_is_clicked_more_and_the_report_says_so(fake: FakeEddyline) -> None:
    fake.has_experiment = True
    report = run(Running(fake, people=40, lists=1000, items=200))
    better = report.groups[Group("usual", "learning", "learns")]
    worse = report.groups[Group("usual", "learning", "chance")]
    assert better.ctr is not None
    assert worse.ctr is not None
    assert better.ctr > 1.5 * worse.ctr
    assert better.liking_served / better.served > worse.liking_served / worse.served + 0.1
    assert better.people.isdisjoint(worse.people)
    said = {group["variant"]: group for group in report.as_json()["groups"]}
    assert said["learns"]["experiment"] == "learning"
    assert said["learns"]["ctr"] == pytest.approx(better.ctr, abs=1e-5)
    assert said["learns"]["lists"] + said["chance"]["lists"] == 1000
    ctr = [place["ctr"] for place in report.as_json()["positions"]]
    assert ctr[0] > ctr[3] > ctr[9]


# -- rate and end ------------------------------------------------------------------------------------------------------


def test_lists_are_asked_for_at_the_rate_that_was_said(fake: FakeEddyline) -> None:
    running = Running(fake, rate=8.0, lists=None, duration=20.0)
    report = run(running)
    assert report.seconds == pytest.approx(20.0, abs=0.2)
    assert report.lists == pytest.approx(160, abs=2)
    assert max(running.slept) <= 1 / 8 + 1e-9


def test_a_rate_that_was_not_reached_is_not_made_up_for_at_once(fake: FakeEddyline) -> None:
    fake.faults = [httpx.Response(503, headers={"Retry-After": "60"}, json={"detail": "busy"})]
    running = Running(fake, rate=10.0, concurrency=1, lists=100, duration=None)
    run(running)
    assert running.report.seconds >= 60 + (100 - 1 - 10 - 2) / 10


def test_without_a_rate_nothing_is_waited_for(fake: FakeEddyline) -> None:
    running = Running(fake, rate=0.0)
    assert run(running).lists == 100
    assert running.slept == []


def test_a_run_that_is_interrupted_reports_what_there_was(fake: FakeEddyline) -> None:
    running = Running(fake, lists=None, duration=None)

    async def interrupted() -> SimulationReport:
        task = asyncio.create_task(running.run())
        while running.report.lists < 50:
            await asyncio.sleep(0)
        task.cancel()
        return await task

    report = asyncio.run(interrupted())
    assert report.is_interrupted
    assert report.lists >= 50
    assert report.as_json()["interrupted"]


# -- faults ------------------------------------------------------------------------------------------------------------


def test_nobody_at_the_address_is_said_at_once() -> None:
    fake = FakeEddyline()

    def refuse(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("connection refused")

    fake.answer = refuse  # type: ignore[method-assign]
    running = Running(fake)
    with pytest.raises(Unavailable, match=r"http://eddyline can't be reached .*eddyline up.*--url"):
        run(running)
    assert running.slept == []


def test_a_busy_eddyline_is_waited_for_as_long_as_it_asks_and_counted(fake: FakeEddyline) -> None:
    fake.faults = [
        httpx.Response(503, headers=BUSY, json={"detail": "busy"}),
        httpx.Response(502),
        httpx.ReadError("gone"),
    ]
    running = Running(fake, rate=0.0, concurrency=1)
    report = run(running)
    assert running.slept == [3.0, 1.0, 2.0]
    assert (report.busy, report.unreachable, report.errors) == (2, 1, 3)
    assert report.lists == 100


def test_an_eddyline_that_stays_away_ends_the_run_after_a_minute(fake: FakeEddyline) -> None:
    fake.faults = [httpx.ConnectError("connection refused")] * 1000
    running = Running(fake, concurrency=1)
    with pytest.raises(Unavailable, match=r"can't be reached.*for a minute"):
        run(running)
    assert sum(running.slept) == pytest.approx(60, abs=1)


def test_refused_parameters_end_the_run_in_the_reader_s_words(fake: FakeEddyline) -> None:
    problem = {"status": 422, "field": "strategy", "detail": "there is no strategy 'magic'"}
    fake.faults = [httpx.Response(422, json=problem)]
    with pytest.raises(InvalidInput, match="there is no strategy 'magic'"):
        run(Running(fake, strategy="magic"))


def test_a_list_with_a_fault_is_counted_and_the_others_go_on(fake: FakeEddyline) -> None:
    fake.faults = [httpx.Response(500, json={"detail": "a bug"})]
    report = run(Running(fake))
    assert report.failed == {"a list: 500 a bug": 1}
    assert report.lists == 99


def test_refused_events_are_counted_with_their_reason(fake: FakeEddyline) -> None:
    fake.refuses = lambda event: "unknown type" if event["type"] == "impression" else None
    report = run(Running(fake))
    assert report.refused == {"impression: type: unknown type": 100}
    assert report.events["click"] == len(fake.of_type("click")) > 0
    assert report.as_json()["errors"]["refused"] == {"impression: type: unknown type": 100}


def test_an_empty_list_is_counted_and_nobody_is_told_of_it(fake: FakeEddyline) -> None:
    empty = {"request_id": "r0", "strategy": "usual", "variant": "usual", "degraded": True, "items": []}
    fake.faults = [httpx.Response(200, json=empty)]
    report = run(Running(fake))
    assert (report.total.empty, report.total.degraded) == (1, 1)
    assert len(fake.of_type("impression")) == 99
