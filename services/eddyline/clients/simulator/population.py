"""People: who they are to Eddyline, how often they come, and the calendar of who comes next. Pure."""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field
from random import Random
from typing import Final

from eddyline.clients.simulator.world import SimulatedWorld, Taste

SCREENS: Final = (4, 6, 10)
"""Items that fit on a screen: a phone's, a tablet's, a desk's."""
DEVICES: Final = ("phone", "tablet", "desktop")
DEVICE_SHARES: Final = (0.6, 0.1, 0.3)
LONGEST_PAUSE_HOURS: Final = 14 * 24.0
USUAL_PAUSE_HOURS: Final = 72.0
"""Mean pause of those who come most seldom."""
SHORTEST_PAUSE_HOURS: Final = 2.0
"""Mean pause of those who come most often."""
TAIL: Final = 1.2
"""Exponent of the Pareto distribution of visits: a few people come very often."""


@dataclass(slots=True)
class SimulatedPerson:
    """A simulated person. `usual_pause`: mean hours between visits."""

    number: int
    name: str
    random: Random
    taste: Taste
    usual_pause: float
    device: str
    screen: int
    user_id: str | None
    anonymous_id: str | None
    visits: int = 0
    events: int = 0
    clicked: set[str] = field(default_factory=set)

    @property
    def ids(self) -> dict[str, str]:
        """Give the ids by which an app names the person."""
        if self.user_id is not None:
            return {"user_id": self.user_id}
        assert self.anonymous_id is not None
        return {"anonymous_id": self.anonymous_id}


class Population:
    """A calendar of all who are around, in the order in which they come. For each who leaves, someone new comes.

    The calendar is in hours of a time of its own: a driver goes from entry to entry as fast as it wants to.
    """

    def __init__(self, world: SimulatedWorld, seed: int, count: int) -> None:
        self._world, self._seed = world, seed
        self._calendar: list[tuple[float, int]] = []
        self._people: dict[int, SimulatedPerson] = {}
        self._random = Random(f"{seed}/arrivals")
        self.now = 0.0
        """Hours."""
        self.came = self.left = 0
        for _ in range(count):
            self._arrive(within=24.0)

    def __len__(self) -> int:
        return len(self._people)

    def next(self) -> SimulatedPerson | None:
        """Take who comes next off the calendar, until they are `put` back or `leave`; None where all are here."""
        if not self._calendar:
            return None
        at, number = heapq.heappop(self._calendar)
        self.now = max(self.now, at)
        return self._people[number]

    def put(self, person: SimulatedPerson, hours: float) -> None:
        """Put someone back, to come in so many hours."""
        heapq.heappush(self._calendar, (self.now + min(hours, LONGEST_PAUSE_HOURS), person.number))

    def leave(self, person: SimulatedPerson) -> None:
        """Remove someone for good; within a day somebody new comes."""
        del self._people[person.number]
        self.left += 1
        self._arrive(within=24.0)

    def _arrive(self, within: float) -> None:
        person = make_person(self._world, self._seed, self.came)
        self.came += 1
        self._people[person.number] = person
        self.put(person, self._random.uniform(0.0, within))


def make_person(world: SimulatedWorld, seed: int, number: int) -> SimulatedPerson:
    """Make the person with this number of this seed."""
    random = Random(f"{seed}/person/{number}")
    name = f"sim-{seed}-{number}"
    is_anonymous = random.random() < world.habits.anonymous
    pause = max(SHORTEST_PAUSE_HOURS, USUAL_PAUSE_HOURS / random.paretovariate(TAIL))
    (device,) = random.choices(range(len(DEVICES)), weights=DEVICE_SHARES)
    return SimulatedPerson(
        number=number,
        name=name,
        random=random,
        taste=world.taste(random),
        usual_pause=pause,
        device=DEVICES[device],
        screen=SCREENS[device],
        user_id=None if is_anonymous else name,
        anonymous_id=f"{name}-visitor" if is_anonymous else None,
    )
