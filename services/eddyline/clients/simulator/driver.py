"""Runs people against a real API: who comes next, at which rate, and what came of it.

Lists are asked for several at once, and what follows from them for the calendar is taken in the order in which they
were asked for. So with the same seed and the same answers the same happens.
"""

from __future__ import annotations

import asyncio
import heapq
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Any, Final

from eddyline.clients.simulator import catalogue
from eddyline.clients.simulator.connection import Connection, ReceivedList, Sleep
from eddyline.clients.simulator.new_items import Progress
from eddyline.clients.simulator.population import Population, SimulatedPerson
from eddyline.clients.simulator.simulation_report import Group, GroupTotals, SimulationReport
from eddyline.clients.simulator.visits import Action, NextRequest, ViewedList, Visit
from eddyline.clients.simulator.world import Habits, SimulatedWorld
from eddyline.errors import EddylineError, Unavailable
from eddyline.model.events import format_timestamp

SAMPLE: Final = 25
"""Items of the catalogue whose arrival is waited for."""
EXPLORED: Final = 300
"""Items of a catalogue that is there already, from which its topics are read."""
BURST_SECONDS: Final = 1.0
"""How much of a rate that wasn't reached is caught up."""
APART: Final = 1e-5
"""Seconds between the events of one list: their order is that of their times."""
EVENTS_AT_ONCE: Final = 500


@dataclass(frozen=True, slots=True)
class SimulationPlan:
    """Extent of a run. A `rate`, in lists a second, of 0 is as fast as it goes; `duration` is in seconds.

    It ends after the `duration`, or with so many `lists`, whichever is first. `items`: 0 takes what is there.
    `arrivals`: new items a minute; `milestone`: clicks until which each of them is followed.
    """

    people: int = 200
    items: int = 300
    rate: float = 20.0
    duration: float | None = 60.0
    lists: int | None = None
    seed: int = 0
    surface: str | None = "home"
    strategy: str | None = None
    limit: int = 10
    arrivals: float = 0.0
    milestone: int = 100
    concurrency: int = 16

    @property
    def request_parameters(self) -> dict[str, Any]:
        """List the parameters of every request."""
        given = {"limit": self.limit, "surface": self.surface, "strategy": self.strategy}
        return {name: value for name, value in given.items() if value is not None}


class RateLimiter:
    """Lets so many a second pass, at even distances."""

    def __init__(self, rate: float, sleep: Sleep, monotonic: Callable[[], float]) -> None:
        self._rate, self._sleep, self._monotonic = rate, sleep, monotonic
        self._next = monotonic()

    async def wait(self) -> None:
        """Wait until the next one may pass."""
        if self._rate <= 0:
            return
        now = self._monotonic()
        at = max(self._next, now - BURST_SECONDS)
        self._next = at + 1.0 / self._rate
        if at > now:
            await self._sleep(at - now)


@dataclass(frozen=True, slots=True)
class _Step:
    """A list that was requested, and its person and visit."""

    person: SimulatedPerson
    visit: Visit
    task: asyncio.Task[NextRequest]


class Driver:
    """One run. `clock` in epoch seconds, `monotonic` in seconds, `report_line` takes a line for whoever watches."""

    def __init__(
        self,
        connection: Connection,
        plan: SimulationPlan,
        habits: Habits,
        report: SimulationReport,
        sleep: Sleep,
        clock: Callable[[], float],
        monotonic: Callable[[], float],
        report_line: Callable[[str], None],
    ) -> None:
        self._connection, self._plan, self._habits, self._report = connection, plan, habits, report
        self._sleep, self._clock, self._monotonic, self._report_line = sleep, clock, monotonic, report_line
        self._visits: dict[int, Visit] = {}
        self._inflight: deque[_Step] = deque()
        self._late: list[tuple[float, int, dict[str, Any]]] = []
        self._asked = 0
        self._run = f"{round(clock() * 1000):x}"
        self._began = 0.0
        self._usual_appeal = 0.0
        report.new_items.milestone = plan.milestone

    async def run(self) -> SimulationReport:
        """Run until the plan is done, or the task is cancelled: the report says so.

        Raises `Unavailable` when nobody answers, at first or for a minute, `InvalidInput` when the plan's parameters
        are refused, `EddylineError` where the catalogue can't be used.
        """
        try:
            await self._connection.require_reachable()
            await self._simulate()
        except asyncio.CancelledError:
            self._report.is_interrupted = True
        finally:
            for step in self._inflight:
                step.task.cancel()
            await asyncio.gather(*(step.task for step in self._inflight), return_exceptions=True)
            self._note()
        return self._report

    async def _simulate(self) -> None:
        try:
            self._world = await (self._send_catalogue() if self._plan.items else self._read_catalogue())
            self._usual_appeal = median(map(self._world.appeal, self._world.items))
            self._people = Population(self._world, self._plan.seed, self._plan.people)
            await self._browse()
            await self._send_late(everything=True)
        except Unavailable as error:
            raise Unavailable(f"{error}, for a minute") from None

    # -- the catalogue ------------------------------------------------------------------------------------------

    async def _send_catalogue(self) -> SimulatedWorld:
        made, now = catalogue.generate_catalogue(self._plan.items), self._clock()
        world = SimulatedWorld(
            sorted({name for one in made for name in one.item.topics}), self._plan.seed, self._habits
        )
        world.add(one.item for one in made)
        self._report_line(f"sending {len(made):,} items …")
        await self._connection.put([one.published(now - one.age_days * catalogue.DAY) for one in made])
        self._report_line("waiting until they are embedded …")
        ids = [one.item.item_id for one in made]
        await self._connection.await_items(list(dict.fromkeys([*ids[:: max(1, len(ids) // SAMPLE)], ids[-1]])))
        return world

    async def _read_catalogue(self) -> SimulatedWorld:
        states = await self._connection.catalogue(EXPLORED)
        topics = catalogue.catalogue_topics(states)
        if not topics:
            raise EddylineError(
                "the catalogue has no items with categories or tags, which people could like: import one, or let the "
                "simulator make one up with --items 300"
            )
        self._report_line(f"the catalogue is about {', '.join(topics)}")
        world = SimulatedWorld(topics, self._plan.seed, self._habits)
        world.add(catalogue.item_from_state(state, world.topics) for state in states)
        return world

    async def _arrive(self) -> None:
        """Send the items that are due."""
        due = int((self._monotonic() - self._began) * self._plan.arrivals / 60.0)
        fresh = [
            self._world.new_item(f"sim-new-{self._run}-{number}").published(self._clock())
            for number in range(len(self._report.new_items.items), due)
        ]
        if fresh:
            for item in fresh:
                is_good = self._world.appeal(item["item_id"]) >= self._usual_appeal
                self._report.new_items.publish(item["item_id"], is_good, self._progress())
            await self._connection.put(fresh)

    # -- people -------------------------------------------------------------------------------------------------

    async def _browse(self) -> None:
        self._began = self._monotonic()
        limiter = RateLimiter(self._plan.rate, self._sleep, self._monotonic)
        while self._goes_on():
            person = self._people.next() if len(self._inflight) < self._plan.concurrency else None
            if person is None:
                await self._settle()
                continue
            await limiter.wait()
            await self._arrive()
            await self._send_late()
            self._ask(person)
        while self._inflight:
            await self._settle()

    def _goes_on(self) -> bool:
        plan = self._plan
        if plan.lists is not None and self._asked >= plan.lists:
            return False
        return plan.duration is None or self._monotonic() - self._began < plan.duration

    def _ask(self, person: SimulatedPerson) -> None:
        visit = self._visits.get(person.number)
        if visit is None:
            visit = self._visits[person.number] = Visit(self._world, person)
            self._report.visits += 1
        self._asked += 1
        self._inflight.append(_Step(person, visit, asyncio.create_task(self._one_list(person, visit))))

    async def _settle(self) -> None:
        """Wait for the list that was asked for first, and put the person back into the calendar."""
        step = self._inflight[0]
        then = await step.task
        self._inflight.popleft()
        if then.is_over:
            del self._visits[step.person.number]
        if then.hours is None:
            self._people.leave(step.person)
        else:
            self._people.put(step.person, then.hours)
        self._note()

    async def _one_list(self, person: SimulatedPerson, visit: Visit) -> NextRequest:
        if visit.lists == 0:
            arrived = visit.arrive()
            self._report.identified += len(arrived)
            self._report.taste_changes += visit.has_changed_taste
            await self._send(person, arrived)
        parameters = {**self._plan.request_parameters, "session_id": visit.session_id}
        answer = await self._connection.recommend(person.ids, parameters, person.device)
        if answer is None:
            return visit.give_up()
        for place in answer.items:
            await self._learn(place.item_id)
        look = visit.look(answer.request_id, answer.items, self._plan.surface)
        self._count(person, answer, look)
        await self._send(person, look.actions)
        return visit.next()

    async def _learn(self, item_id: str) -> None:
        """Read an item that is met for the first time."""
        if item_id not in self._world.items:
            state = await self._connection.item(item_id) or {}
            self._world.add([catalogue.item_from_state({**state, "item_id": item_id}, self._world.topics)])

    # -- events -------------------------------------------------------------------------------------------------

    async def _send(self, person: SimulatedPerson, actions: tuple[Action, ...] | list[Action]) -> None:
        """Send what was done, now; or later what is late."""
        now, events = self._clock(), []
        for number, action in enumerate(actions):
            person.events += 1
            name = f"sim-{self._run}-{person.name}-{person.events}"
            event = {**action.event, "event_id": name, "timestamp": format_timestamp(now + number * APART)}
            if action.late:
                self._report.late += 1
                heapq.heappush(self._late, (self._monotonic() + action.late, self._report.late, event))
            else:
                events.append(event)
        if events:
            await self._connection.send(events)

    async def _send_late(self, everything: bool = False) -> None:
        due: list[dict[str, Any]] = []
        now = self._monotonic()
        while self._late and (everything or self._late[0][0] <= now):
            due.append(heapq.heappop(self._late)[2])
        for begin in range(0, len(due), EVENTS_AT_ONCE):
            await self._connection.send(due[begin : begin + EVENTS_AT_ONCE])

    # -- the report ---------------------------------------------------------------------------------------------

    def _count(self, person: SimulatedPerson, answer: ReceivedList, look: ViewedList) -> None:
        def liking(places: tuple[Any, ...]) -> float:
            return sum(self._world.liking(person.taste, place.item_id) for place in places)

        totals = GroupTotals(
            lists=1,
            empty=not answer.items,
            degraded=answer.is_degraded,
            served=len(answer.items),
            seen=len(look.seen),
            clicks=len(look.clicked),
            dwell_seconds=look.dwell_seconds,
            conversions=look.conversions,
            revenue=look.revenue,
            liking_served=liking(answer.items),
            liking_seen=liking(look.seen),
            people={person.number},
        )
        group = Group(answer.strategy, answer.experiment, answer.variant)
        seen, clicked = (place.rank for place in look.seen), (place.rank for place in look.clicked)
        self._report.count_list(group, totals, answer.seconds, seen, clicked)
        self._report.new_items.count(
            (place.item_id for place in look.seen), (place.item_id for place in look.clicked), self._progress()
        )

    def _progress(self) -> Progress:
        return Progress(self._monotonic() - self._began, self._asked)

    def _note(self) -> None:
        if self._began:
            self._report.seconds = self._monotonic() - self._began
            self._report.people_came, self._report.people_left = self._people.came, self._people.left
            self._report.simulated_hours = self._people.now
